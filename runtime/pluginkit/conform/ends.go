package conform

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// beside starts two: an update makes the new one ready while the old one serves.
func (s *suite) beside(ctx context.Context) {
	s.check("beside", func() (string, error) {
		old, err := s.upTo(ctx, true)
		if err != nil {
			return "", fmt.Errorf("the first: %w", err)
		}
		defer old.kill()
		next, err := s.upTo(ctx, false)
		if err != nil {
			return "", fmt.Errorf("the second, made ready while the first serves: %w", err)
		}
		defer next.kill()
		if err := s.ping(ctx, old, s.Patience); err != nil {
			return "", fmt.Errorf("the first, while the second is made ready: %w", err)
		}
		if _, err := called(ctx, s, old.control.Drain, &controlv1.DrainRequest{DeadlineMs: 3000}); err != nil {
			return "", fmt.Errorf("Drain of the first: %w", err)
		}
		if _, err := called(ctx, s, old.control.Release, &controlv1.ReleaseRequest{}); err != nil {
			return "", fmt.Errorf("Release of the first: %w", err)
		}
		if _, err := called(ctx, s, next.control.Acquire, &controlv1.AcquireRequest{}); err != nil {
			return "", fmt.Errorf("Acquire of the second after Release of the first: %w", err)
		}
		return "a second process is made ready while the first serves, and takes over", nil
	})
}

// upTo brings a process up to Prepare, or to Acquire.
func (s *suite) upTo(ctx context.Context, acquire bool) (*process, error) {
	p, err := s.bringUp(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = s.configure(ctx, p); err == nil {
		_, err = s.bindAll(ctx, p)
	}
	if err == nil {
		_, err = called(ctx, s, p.control.Prepare, &controlv1.PrepareRequest{})
	}
	if err == nil && acquire {
		_, err = called(ctx, s, p.control.Acquire, &controlv1.AcquireRequest{})
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// ends checks every other way to end.
func (s *suite) ends(ctx context.Context) {
	end := func(name string, do, after func(*process) error) {
		s.check(name, func() (string, error) {
			p, err := s.upTo(ctx, true)
			if err != nil {
				return "", err
			}
			defer p.kill()
			begin := time.Now()
			if err := do(p); err != nil {
				return "", err
			}
			if err := p.await(endMost); err != nil {
				return "", err
			}
			return fmt.Sprintf("%s after %s", p.ended(), time.Since(begin).Round(time.Millisecond)), after(p)
		})
	}
	nothing := func(*process) error { return nil }
	end("lifeline", func(p *process) error { return p.lifeline.Close() }, func(p *process) error {
		if p.code() != layout.ExitLifeline {
			return should{fmt.Errorf("when the lifeline ends, the exit code should be %d; it ends with %s", layout.ExitLifeline, p.ended())}
		}
		return nil
	})
	end("sigterm", func(p *process) error { return p.cmd.Process.Signal(syscall.SIGTERM) }, nothing)
	end("shutdown", func(p *process) error {
		err := s.within(ctx, func(ctx context.Context) error {
			return p.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &controlv1.StopRequest{}, &controlv1.StopResponse{})
		})
		if err != nil && status.Code(err) != codes.Unavailable {
			return should{fmt.Errorf("go-plugin's Shutdown: %w", err)}
		}
		return nil
	}, nothing)
	s.check("sigint", func() (string, error) {
		p, err := s.upTo(ctx, true)
		if err != nil {
			return "", err
		}
		defer p.kill()
		if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
			return "", err
		}
		if err := p.await(300 * time.Millisecond); err == nil {
			return "", errors.New("SIGINT, which ^C sends to the whole group, ends it; the kernel decides what happens then")
		}
		return "SIGINT does not end it", s.ping(ctx, p, s.Patience)
	})
	s.check("stop.early", func() (string, error) {
		p, err := s.bringUp(ctx)
		if err != nil {
			return "", err
		}
		defer p.kill()
		if _, err := s.configure(ctx, p); err != nil {
			return "", err
		}
		if _, err := called(ctx, s, p.control.Stop, &controlv1.StopRequest{}); err != nil && status.Code(err) != codes.Unavailable {
			return "", fmt.Errorf("Stop right after Configure: %w", err)
		}
		if err := p.await(endMost); err != nil {
			return "", fmt.Errorf("after Stop, right after Configure: %w", err)
		}
		return "Stop right after Configure: " + p.ended(), nil
	})
}
