package conform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/pluginkit"
	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// endMost is how long a process may take to end once it was told to.
const endMost = 5 * time.Second

// contracts compares component.yaml with the descriptor sets of the package.
func (s *suite) contracts() {
	s.check("descriptor", func() (string, error) {
		var names []string
		for _, p := range s.descriptor.Provides {
			if p.Contract == "" {
				continue
			}
			b, err := os.ReadFile(filepath.Join(s.folder, filepath.FromSlash(p.Contract)))
			if err != nil {
				return "", fmt.Errorf("the contract of %s: %w", p.Service, err)
			}
			if _, err := pluginkit.FindService(b, p.Service); err != nil {
				return "", err
			}
			names = append(names, p.Contract)
		}
		info, err := os.Stat(filepath.Join(s.folder, filepath.FromSlash(s.descriptor.Executable)))
		if err != nil {
			return "", fmt.Errorf("the executable: %w", err)
		}
		if info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("%s is not executable", s.descriptor.Executable)
		}
		return strings.TrimSpace("component.yaml is right " + strings.Join(names, " ")), nil
	})
}

// byHand checks what a person sees who starts the executable.
func (s *suite) byHand(context.Context) {
	s.check("hand", func() (string, error) {
		p, err := s.start(nil)
		if err != nil {
			return "", err
		}
		defer p.kill()
		if err := p.await(s.Patience); err != nil {
			return "", fmt.Errorf("started by hand, without lifeline: %w", err)
		}
		if p.code() == 0 {
			return "", errors.New("started by hand, without lifeline, it ends with exit code 0")
		}
		if len(p.errors) == 0 {
			return "", should{errors.New("started by hand it says nothing on standard error")}
		}
		return fmt.Sprintf("%s: %s", p.ended(), cut(p.errors[len(p.errors)-1])), nil
	})
}

// strangers checks that the lifeline's word decides who may call.
func (s *suite) strangers(ctx context.Context) {
	var p *process
	defer func() {
		if p != nil {
			p.kill()
		}
	}()
	other := &layout.Kernel{PID: 1, UID: os.Geteuid()}
	if other.PID == os.Getpid() {
		other.PID = 2
	}
	if !s.must("handshake", func() (string, error) {
		started, err := s.start(other)
		if err != nil {
			return "", err
		}
		p = started
		if err := p.shake(s.Patience); err != nil {
			return "", err
		}
		return fmt.Sprintf("after %s", p.took.Round(time.Millisecond)), nil
	}) {
		return
	}
	if !s.must("handshake.line", func() (string, error) { return handshakeLine(p) }) {
		return
	}
	s.check("stdout", func() (string, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.early) > 0 {
			return "", fmt.Errorf("before the handshake line standard output has %q", cut(p.early[0]))
		}
		return "nothing before the handshake line", nil
	})
	s.check("peer.stranger", func() (string, error) {
		if err := p.dial(); err != nil {
			return "", err
		}
		defer p.conn.Close()
		if err := s.ping(ctx, p, 2*time.Second); err == nil {
			return "", fmt.Errorf("the lifeline names process %d as kernel, and process %d is let in", other.PID, os.Getpid())
		}
		return "a process that the lifeline does not name is not let in", nil
	})
	s.must("peer.kernel", func() (string, error) {
		if _, err := p.lifeline.WriteString("weather sunny\n" + self().Line()); err != nil {
			return "", err
		}
		end := time.Now().Add(s.Patience)
		for {
			if err := p.dial(); err != nil {
				return "", err
			}
			err := s.ping(ctx, p, 2*time.Second)
			if err == nil {
				return "a later line of the lifeline, after one of unknown kind, names the new kernel", nil
			}
			p.conn.Close()
			if time.Now().After(end) {
				return "", fmt.Errorf("the kernel that a later line of the lifeline names is not let in: %w", err)
			}
		}
	})
}

func (s *suite) ping(ctx context.Context, p *process, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r, err := grpc_health_v1.NewHealthClient(p.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"})
	if err == nil && r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("its health is %s", r.Status)
	}
	return err
}

func handshakeLine(p *process) (string, error) {
	f := strings.Split(p.line, "|")
	switch {
	case f[0] != "1":
		return "", fmt.Errorf("%q: go-plugin's core protocol is 1, not %s", p.line, f[0])
	case f[1] != "1" && f[1] != "2":
		return "", fmt.Errorf("%q: the component protocols asked for are 1 and 2, not %s", p.line, f[1])
	case f[2] != "unix":
		return "", fmt.Errorf("%q: the network is unix", p.line)
	case f[4] != "grpc":
		return "", fmt.Errorf("%q: the protocol is grpc", p.line)
	case len(f) > 5 && f[5] != "":
		return "", fmt.Errorf("%q: a certificate was not asked for", p.line)
	case len(f) > 6 && f[6] != "" && f[6] != "false":
		return "", fmt.Errorf("%q: multiplexing was not asked for", p.line)
	case filepath.Dir(filepath.Clean(f[3])) != p.run:
		return "", fmt.Errorf("the socket %s is not in PLUGIN_UNIX_SOCKET_DIR, which is %s", f[3], p.run)
	}
	info, err := os.Lstat(f[3])
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return "", fmt.Errorf("%s is no socket (%v)", f[3], err)
	}
	return p.line, nil
}

// bringUp starts a process and connects.
func (s *suite) bringUp(ctx context.Context) (*process, error) {
	p, err := s.start(self())
	if err != nil {
		return nil, err
	}
	if err = p.shake(s.Patience); err == nil {
		err = p.dial()
	}
	if err == nil {
		err = s.ping(ctx, p, s.Patience)
	}
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// life takes one process through a whole life.
func (s *suite) life(ctx context.Context) {
	var p *process
	if !s.must("health", func() (text string, err error) {
		p, err = s.bringUp(ctx)
		return "grpc.health.v1 says SERVING for \"plugin\"", err
	}) {
		return
	}
	defer p.kill()
	s.check("order.prepare", func() (string, error) {
		if _, err := called(ctx, s, p.control.Prepare, &controlv1.PrepareRequest{}); err == nil {
			return "", errors.New("Prepare before Configure is answered without an error")
		}
		return "Prepare before Configure is refused", nil
	})
	if !s.must("configure", func() (string, error) { return s.configure(ctx, p) }) {
		return
	}
	s.check("order.acquire", func() (string, error) {
		if _, err := called(ctx, s, p.control.Acquire, &controlv1.AcquireRequest{}); err == nil {
			return "", errors.New("Acquire before Prepare is answered without an error")
		}
		return "Acquire before Prepare is refused", nil
	})
	w := &watcher{s: s, p: p}
	if !s.must("watch", func() (string, error) { return w.open(ctx) }) {
		return
	}
	defer w.close()
	s.check("bind", func() (string, error) { return s.bindAll(ctx, p) })
	admitted := s.admitAll(ctx, p)
	if !s.must("prepare", func() (string, error) {
		return s.twice(ctx, func(ctx context.Context) error {
			_, err := p.control.Prepare(ctx, &controlv1.PrepareRequest{})
			return err
		})
	}) {
		return
	}
	s.check("publish.early", func() (string, error) {
		if n := w.published(); len(n) > 0 {
			return "", fmt.Errorf("%s is published before Acquire", n[0].Service)
		}
		return "nothing is published before Acquire", nil
	})
	if !s.must("acquire", func() (string, error) {
		return s.twice(ctx, func(ctx context.Context) error {
			_, err := p.control.Acquire(ctx, &controlv1.AcquireRequest{})
			return err
		})
	}) {
		return
	}
	s.check("publish", func() (string, error) { return w.complete(ctx) })
	s.check("health.reported", func() (string, error) { return w.healthy(ctx) })
	s.services(ctx, p, admitted)
	s.links(ctx, p, w)
	s.check("control.big", func() (string, error) {
		_, err := called(ctx, s, p.control.Admit, &controlv1.AdmitRequest{Token: token(), Consumer: strings.Repeat("x", 12<<20), Service: "x.v1.Y"})
		if err != nil {
			return "", fmt.Errorf("a call of 12 MiB: %w", err)
		}
		return "a call of 12 MiB passes", nil
	})
	s.check("bind.again", func() (string, error) { return s.rebind(ctx, p) })
	s.check("modified", func() (string, error) { return s.modified(ctx, p) })
	s.wayDown(ctx, p, w)
	s.check("log", func() (string, error) { return logLines(p) })
}

func (s *suite) configure(ctx context.Context, p *process) (string, error) {
	req, err := s.configuration(p)
	if err != nil {
		return "", err
	}
	first, err := called(ctx, s, p.control.Configure, req)
	if err != nil {
		return "", err
	}
	again, err := called(ctx, s, p.control.Configure, req)
	if err != nil {
		return "", fmt.Errorf("the second, equal call: %w", err)
	}
	if first.ServiceAddress != again.ServiceAddress {
		return "", fmt.Errorf("the second, equal call answers %s, the first %s", again.ServiceAddress, first.ServiceAddress)
	}
	path, ok := strings.CutPrefix(first.ServiceAddress, "unix://")
	if !ok || filepath.Dir(filepath.Clean(path)) != p.run {
		return "", fmt.Errorf("the service socket %q is no unix:// path in run_folder %s", first.ServiceAddress, p.run)
	}
	p.address, p.abilities = first.ServiceAddress, first.Abilities
	return first.ServiceAddress, nil
}

// twice makes a call and repeats it: each call of the life cycle is idempotent.
func (s *suite) twice(ctx context.Context, f func(context.Context) error) (string, error) {
	begin := time.Now()
	if err := s.within(ctx, f); err != nil {
		return "", err
	}
	took := time.Since(begin)
	if err := s.within(ctx, f); err != nil {
		return "", fmt.Errorf("called a second time: %w", err)
	}
	return fmt.Sprintf("in %s, and a second time", took.Round(time.Millisecond)), nil
}

// kernelServices are what the reference "kernel" has.
var kernelServices = []string{kernelv1.Coordinator_ServiceDesc.ServiceName, kernelv1.Artifacts_ServiceDesc.ServiceName}

// bindAll satisfies the reference "kernel" and every mandatory one.
func (s *suite) bindAll(ctx context.Context, p *process) (string, error) {
	names := []string{"kernel"}
	for i, service := range kernelServices {
		if _, err := called(ctx, s, p.control.Bind, s.double.bind("kernel", service, uint64(i+1))); err != nil {
			return "", fmt.Errorf("reference kernel: %w", err)
		}
	}
	for i, r := range s.descriptor.Requires {
		if r.Cardinality.Min == 0 {
			continue
		}
		if _, err := called(ctx, s, p.control.Bind, s.double.bind(r.Name, r.Service, uint64(100+i))); err != nil {
			return "", fmt.Errorf("reference %s: %w", r.Name, err)
		}
		names = append(names, r.Name)
	}
	return "references " + strings.Join(names, ", ") + " before Prepare", nil
}

// rebind takes references through what a provider's restart and end bring.
func (s *suite) rebind(ctx context.Context, p *process) (string, error) {
	for i, r := range s.descriptor.Requires {
		id := uint64(200 + i)
		if r.Cardinality.Min > 0 {
			id = uint64(100 + i)
		}
		next := s.double.bind(r.Name, r.Service, id)
		next.Generation = 2
		err := s.within(ctx, func(ctx context.Context) error {
			if _, err := p.control.Bind(ctx, s.double.bind(r.Name, r.Service, id)); err != nil {
				return err
			}
			if _, err := p.control.Suspend(ctx, &controlv1.SuspendRequest{Reference: r.Name, ServiceId: id}); err != nil {
				return err
			}
			if _, err := p.control.Bind(ctx, next); err != nil || r.Cardinality.Min > 0 {
				return err
			}
			_, err := p.control.Unbind(ctx, &controlv1.UnbindRequest{Reference: r.Name, ServiceId: id})
			return err
		})
		if err != nil {
			return "", fmt.Errorf("reference %s, bound, suspended, bound again and unbound: %w", r.Name, err)
		}
	}
	if _, err := called(ctx, s, p.control.Suspend, &controlv1.SuspendRequest{Reference: "kernel", ServiceId: 987654}); err != nil {
		return "", fmt.Errorf("Suspend of a service that is not bound: %w", err)
	}
	if _, err := called(ctx, s, p.control.Unbind, &controlv1.UnbindRequest{Reference: "kernel", ServiceId: 987654}); err != nil {
		return "", fmt.Errorf("Unbind of a service that is not bound: %w", err)
	}
	return "bound, suspended, bound again, unbound; unknown ones are no error", nil
}

// wayDown drains, releases, acquires again, and stops.
func (s *suite) wayDown(ctx context.Context, p *process, w *watcher) {
	drain := func(ctx context.Context) error {
		_, err := p.control.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: 3000})
		return err
	}
	release := func(ctx context.Context) error {
		_, err := p.control.Release(ctx, &controlv1.ReleaseRequest{})
		return err
	}
	s.check("drain", func() (string, error) {
		text, err := s.twice(ctx, drain)
		if err == nil {
			err = w.withdrawn(ctx)
		}
		return text, err
	})
	s.check("release", func() (string, error) { return s.twice(ctx, release) })
	s.check("acquire.again", func() (string, error) {
		if !slices.Contains(p.abilities, "reacquire") {
			return "Configure does not announce the ability reacquire: an update that fails restarts it", errNone
		}
		if _, err := called(ctx, s, p.control.Acquire, &controlv1.AcquireRequest{}); err != nil {
			return "", fmt.Errorf("Acquire after Release (an update that failed): %w", err)
		}
		if _, err := w.complete(ctx); err != nil {
			return "", fmt.Errorf("Acquire after Release (an update that failed): %w", err)
		}
		return "after Release it serves again", nil
	})
	s.check("stop", func() (string, error) {
		for _, step := range []func(context.Context) error{drain, release} {
			if err := s.within(ctx, step); err != nil {
				return "", fmt.Errorf("Drain and Release before it: %w", err)
			}
		}
		begin := time.Now()
		if _, err := called(ctx, s, p.control.Stop, &controlv1.StopRequest{}); err != nil && status.Code(err) != codes.Unavailable {
			return "", err
		}
		if err := p.await(endMost); err != nil {
			return "", fmt.Errorf("after Stop: %w", err)
		}
		if p.code() != 0 {
			return "", fmt.Errorf("after Stop it ends with %s%s", p.ended(), p.lastWords())
		}
		return fmt.Sprintf("exit code 0 after %s", time.Since(begin).Round(time.Millisecond)), nil
	})
}

// logLines looks at what the process said on standard error.
func logLines(p *process) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	plain := slices.IndexFunc(p.errors, func(l string) bool { return !hclog(l) })
	switch {
	case len(p.errors) > 0 && !slices.ContainsFunc(p.errors, hclog):
		return "", fmt.Errorf("no line on standard error is hclog's JSON, for example %q", cut(p.errors[0]))
	case plain >= 0:
		return "", should{fmt.Errorf("a line on standard error is not hclog's JSON, it loses its level: %q", cut(p.errors[plain]))}
	case len(p.late) > 0:
		return "", should{fmt.Errorf("standard output has lines after the handshake: %q", cut(p.late[0]))}
	}
	return fmt.Sprintf("%d lines of hclog's JSON", len(p.errors)), nil
}
