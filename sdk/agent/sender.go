package agent

import (
	"context"
	"errors"
	"time"
)

// lookBack is how many reconnect times failover waits before it looks whether an earlier endpoint is back.
const lookBack = 30

// sender sends bundles one after the other on one connection at a time.
type sender struct {
	group     *group
	endpoints []*endpoint
	conn      *publishConn
	at        int // index of conn's endpoint
	since     time.Time
}

func (s *sender) run(ctx context.Context) {
	defer s.drop()
	for {
		if s.conn == nil && s.group.spread {
			// Others may send what this one could not: have a connection before taking a bundle.
			if !s.group.hasWork(ctx) || s.connect(ctx, time.Time{}) != nil {
				if ctx.Err() != nil {
					return
				}
				s.group.expire()
				continue
			}
		}
		b := s.group.take(ctx)
		if b == nil {
			return
		}
		s.send(ctx, b)
		if ctx.Err() != nil {
			return
		}
	}
}

func (s *sender) drop() {
	if s.conn != nil {
		_ = s.conn.conn.Close()
		s.conn = nil
	}
}

// send brings a bundle to its end, or gives it back: where the load is spread, so that another endpoint takes it, and when ctx ends.
func (s *sender) send(ctx context.Context, b *bundle) {
	a := s.group.agent
	var expires time.Time
	if a.opts.GiveUp > 0 {
		expires = b.born.Add(a.opts.GiveUp)
	}
	var last error
	expired := 0
	for try := 0; ; try++ {
		if !expires.IsZero() && time.Now().After(expires) && (try > 0 || s.conn == nil) {
			a.settle(b, ErrGaveUp.Wrap(last, "%s after %s", s.group.name, a.opts.GiveUp))
			return
		}
		s.goBack(ctx)
		if err := s.connect(ctx, expires); err != nil {
			last = err
			if ctx.Err() != nil {
				s.group.giveBack(b)
				return
			}
			continue
		}
		if b.sent {
			a.resends.Add(1)
		}
		sent, err := s.conn.publish(ctx, b)
		b.sent = b.sent || sent
		switch {
		case err == nil:
			a.settle(b, nil)
			return
		case !retryable(err):
			a.settle(b, err)
			return
		case errors.Is(err, errExpired):
			b.sent = false // the receiver did not look at it
			last = err
			session, err := s.conn.endpoint.login(ctx, s.conn.session)
			if expired++; err == nil && expired <= 3 {
				s.conn.session = session
				continue
			}
			if err != nil {
				last = err
			}
		default:
			last = err
		}
		s.conn.endpoint.down(last)
		s.drop()
		if s.group.spread || ctx.Err() != nil {
			s.group.giveBack(b)
			return
		}
	}
}

// connect has a connection to the first endpoint that answers. It waits while none does, until ctx or expires; zero is one round.
func (s *sender) connect(ctx context.Context, expires time.Time) error {
	if s.conn != nil {
		return nil
	}
	var last error
	wait := s.group.agent.opts.Reconnect
	for i, e := range s.endpoints {
		if rest := e.rest(); rest > 0 {
			wait = min(wait, rest)
			continue
		}
		c, err := e.connect(ctx)
		if err == nil {
			s.conn, s.at, s.since = c, i, time.Now()
			return nil
		}
		last = err
		e.down(err)
	}
	if !expires.IsZero() {
		wait = min(wait, max(time.Until(expires), 0))
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if last == nil {
		last = ErrReceiver.New("no endpoint of %s can be reached", s.group.name)
	}
	return last
}

// goBack looks, now and then, whether an endpoint that comes earlier in the list is back.
func (s *sender) goBack(ctx context.Context) {
	if s.conn == nil || s.at == 0 || time.Since(s.since) < lookBack*s.group.agent.opts.Reconnect {
		return
	}
	s.since = time.Now()
	for i, e := range s.endpoints[:s.at] {
		if c, err := e.connect(ctx); err == nil {
			s.drop()
			s.conn, s.at = c, i
			return
		}
		e.down(nil)
	}
}

// hasWork waits until there is something to send; false when ctx ends.
func (g *group) hasWork(ctx context.Context) bool {
	for {
		g.mu.Lock()
		has, work := len(g.ready) > 0 || g.open != nil, g.work
		g.mu.Unlock()
		if has {
			return true
		}
		select {
		case <-work:
		case <-ctx.Done():
			return false
		}
	}
}
