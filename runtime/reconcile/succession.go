package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// drainDeadline is how long calls under way may take on the old process: before its resources are let go, and once more after the
	// switch.
	drainDeadline = 10 * time.Second
	// releaseDeadline is how long letting go may take. A process that takes longer is killed, which lets go too.
	releaseDeadline = 5 * time.Second
	// tellDeadline is how long consumers are waited for when a provider is suspended. One that is stuck does not stop an update.
	tellDeadline = 3 * time.Second
)

// succession is one replacement under way: the successor and its machine.
type succession struct {
	u             *unit
	body          body
	machine       *component.Machine
	gen           uint64
	reason, actor string
	result        Replacement
}

// replace makes a new process beside the serving one and lets it take over. The order is that of SEAMS.md section 3: the new one's
// Prepare, the old one's Drain and Release, the new one's Acquire, references, the old one's end. Any failure leaves the old one serving,
// or makes it serve again.
func (u *unit) replace(ctx context.Context, reason, actor string) {
	prepareCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &succession{u: u, reason: reason, actor: actor, machine: u.machine.Successor(), gen: u.r.Host.Generation(u.name)}
	u.mu.Lock()
	if u.planned == nil { // its package went in this moment
		u.mu.Unlock()
		return
	}
	s.body.planned = u.planned
	s.result = Replacement{From: u.running.Package.Version, To: u.planned.Package.Version, Old: u.gen, New: s.gen, Actor: actor}
	if !same(u.running, u.planned) {
		s.result.Digest = u.planned.Package.Digest
	}
	u.cancel = cancel // an order to stop ends the preparation
	u.mu.Unlock()

	readyCtx, stop := startBound(prepareCtx, s.body.planned)
	err := s.ready(readyCtx)
	stop()
	u.mu.Lock()
	u.cancel = nil
	u.mu.Unlock()
	if err == nil {
		err = prepareCtx.Err()
	}
	if err == nil {
		err = s.takeOver(ctx)
	}
	if err != nil {
		s.abandon(ctx, err)
	}
	u.mu.Lock()
	u.next, u.exchanging = nil, false
	told := func() {}
	if err != nil {
		told = u.note(s.result)
	}
	u.mu.Unlock()
	told()
}

func (s *succession) move(to component.State, reason string, c *component.Cause) {
	if _, err := s.machine.Move(component.Move{To: to, Reason: reason, Actor: s.actor, Generation: s.gen, Cause: c.For(s.u.name)}); err != nil {
		s.u.r.Log.Error("life cycle", "component", s.u.name, "error", err)
	}
}

// ready brings the successor to where Acquire is due, and probes it. The old process serves meanwhile.
func (s *succession) ready(ctx context.Context) error {
	u := s.u
	s.move(component.Starting, s.reason, nil)
	p, err := u.r.Host.Launch(ctx, s.body.planned, s.gen)
	if err != nil {
		return err
	}
	s.body.process = p
	u.mu.Lock()
	u.next = p
	u.mu.Unlock()
	// Calls wait for the successor should the old one end.
	defer mourn(&u.body, func() { u.r.Registry.Suspend(u.name, u.process.Generation()) })()
	if err := u.prepare(ctx, &s.body, func(*wiring) {}); err != nil {
		return err
	}
	if probe, ok := p.(interface{ Ping(context.Context) error }); ok {
		return probe.Ping(ctx)
	}
	return nil
}

// mourn ends the links of a process should it end by itself while the unit's goroutine is busy with the other one, and does what else is
// due then. The function that it gives ends the looking.
func mourn(b *body, due func()) (end func()) {
	process, links, done, ended := b.process, b.wiring, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-process.Done():
			due()
			links.close()
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// exchange lets the old process go and the new one serve.
func (s *succession) exchange(ctx context.Context) error {
	u := s.u
	defer mourn(&u.body, func() {})()
	defer mourn(&s.body, func() {})()
	u.mu.Lock()
	u.exchanging = true
	u.mu.Unlock()
	u.r.Registry.Suspend(u.name, u.process.Generation())
	u.r.tellAll(ctx)
	// Should the successor end, the old one need not end its calls first: it serves again.
	alive, cancel := whileAlive(ctx, s.body.process)
	address := s.letGo(alive)
	cancel()
	if err := u.acquire(ctx, &s.body, address); err != nil {
		return err
	}
	return u.watch(ctx, &s.body, sick)
}

// takeOver exchanges the processes and makes the new one the unit's. From here on there is no way back that an order could ask for.
func (s *succession) takeOver(ctx context.Context) error {
	u := s.u
	began := time.Now()
	if err := s.exchange(ctx); err != nil {
		return err
	}
	s.result.Outcome, s.result.Stall = Updated, time.Since(began)
	old := u.body
	crashed := false
	select {
	case <-old.process.Done():
		crashed = old.process.Exit().Result.Crash()
	default:
	}
	u.machine.TakeOver(s.machine)
	u.body = s.body
	u.mu.Lock()
	u.gen, u.pid, u.live, u.links, u.running = s.gen, u.process.PID(), u.process, u.wiring, u.body.planned
	u.next, u.exchanging = old.process, false
	told := u.note(s.result)
	if u.history.fallback != nil && !same(u.running, u.history.fallback) { // a restart of what was kept changes nothing about why it was
		u.history.forget()
	}
	if crashed {
		u.crashes++
	}
	u.mu.Unlock()
	u.setCause(nil)
	u.move(component.Active, s.reason+": it serves", s.actor, nil)
	told()
	s.gen = s.result.Old
	// Should the new one end meanwhile, calls wait for the next, and the old one is not waited for.
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	defer mourn(&u.body, func() {
		cancel()
		u.r.Registry.Suspend(u.name, u.process.Generation())
	})()
	s.bury(alive, &old)
	return nil
}

// sick refuses a successor that reports itself as unable to serve.
func sick(h *controlv1.HealthChanged) error {
	if h.Health != controlv1.Health_HEALTH_CRITICAL {
		return nil
	}
	var reason error
	if h.Cause != nil {
		reason = cause.FromProto(h.Cause, codes.FailedPrecondition)
	}
	return ErrSick.Wrap(reason, "health CRITICAL after Acquire")
}

// letGo makes the old process drain and let go of what is exclusive, and answers where it hands connections over; empty if it does not.
// One that does not let go in time is killed: its successor may need what it holds.
func (s *succession) letGo(ctx context.Context) (handover string) {
	old := &s.u.body
	// What the SDK withdraws as it drains is kept for the successor.
	old.stopWatching()
	client := old.process.Component()
	if err := within(ctx, drainDeadline+time.Second, func(ctx context.Context) error {
		_, err := client.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: drainDeadline.Milliseconds(), Replaced: true})
		return err
	}); err != nil {
		s.u.r.Log.Debug("drain before a replacement", "component", s.u.name, "error", err)
	}
	release := &controlv1.ReleaseRequest{}
	if old.able(ableHandover) && s.body.able(ableHandover) {
		release.HandoverAddress = filepath.Join(old.process.RunFolder(), "ho.sock")
	}
	if err := within(ctx, releaseDeadline, func(ctx context.Context) error {
		resp, err := client.Release(ctx, release)
		if resp.GetHandover() > 0 {
			handover = release.HandoverAddress
		}
		return err
	}); err != nil {
		s.u.r.Log.Warn("a process that is to be replaced did not let go and is killed", "component", s.u.name, "error", err)
		old.process.Kill(ctx, component.ResultReplaced)
		return ""
	}
	return handover
}

// bury ends the process that was replaced: calls still under way end first, up to the drain deadline.
func (s *succession) bury(ctx context.Context, old *body) {
	u := s.u
	select {
	case <-old.process.Done():
	default:
		s.move(component.Draining, s.reason+": replaced", nil)
		_ = within(ctx, drainDeadline+time.Second, func(ctx context.Context) error {
			_, err := old.process.Component().Drain(ctx, &controlv1.DrainRequest{DeadlineMs: drainDeadline.Milliseconds(), CallsOnly: true})
			return err
		}) // it ends all the same
		s.move(component.Stopping, s.reason+": replaced", nil)
	}
	exit := old.process.Stop(ctx, supervisor.DefaultLadder(component.ResultReplaced))
	old.close()
	u.mu.Lock()
	u.last, u.tail = exit.Result, exit.Tail
	u.mu.Unlock()
	if state, _ := s.machine.State(); state == component.Stopping {
		s.move(component.Resolved, s.reason+": it has ended", nil)
	}
}

// abandon ends a successor that failed and makes the old process serve again.
func (s *succession) abandon(ctx context.Context, err error) {
	u := s.u
	reason := component.CauseOf(ErrStart.Wrap(err, "the new process of %s failed", u.name))
	if s.body.process != nil {
		kind := component.ResultExit
		if late(err) {
			kind = component.ResultStartTimeout
		}
		exit := s.body.process.Kill(ctx, kind)
		if n := len(exit.Tail); n > 0 {
			reason.Text += fmt.Sprintf("; its last line: %.200q", exit.Tail[n-1])
		}
	}
	s.body.close()
	s.result.Outcome, s.result.Cause = RolledBack, reason
	s.move(component.Stopping, "ROLLED_BACK: "+reason.Text, reason)
	s.move(component.Resolved, "ROLLED_BACK: "+reason.Text, reason)
	u.mu.Lock()
	if s.result.Update() {
		u.history.failed, u.history.fallback, u.history.why = s.result.Digest, u.running, reason
		u.planned = u.keep(u.planned)
	} else if !sameConfig(u.running, s.body.planned) && !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
		why := component.CauseOf(ErrNotTaken.New("%s could not take over with its new configuration (%s)", u.name, strings.Join(config.Changed(u.running.Config, s.body.planned.Config), ", ")))
		chained := why.Because(*reason)
		u.reject(configDigest(s.body.planned), u.running.Config, &chained)
	}
	u.mu.Unlock()
	u.restore(ctx)
}

// restore makes the old process serve again, where it had let go already. One that can't is stopped; the unit then starts anew from the
// old package.
func (u *unit) restore(ctx context.Context) {
	select {
	case <-u.process.Done():
		return // the unit sees it next
	default:
	}
	if u.unwatch != nil {
		return // it never let go
	}
	var err error = ErrRolledBack.New("its SDK can't take up what it let go of")
	if u.able(ableReacquire) {
		if err = u.acquire(ctx, &u.body, ""); err == nil {
			err = u.watch(ctx, &u.body, nil)
		}
	}
	if err == nil {
		return
	}
	u.r.Log.Warn("the old process can't serve again and is started anew", "component", u.name, "error", err)
	u.stop(ctx, component.ResultReplaced, "ROLLED_BACK: it is started anew", "kernel", true)
}

// killForRestart ends the process at once; the unit starts the next one.
func (u *unit) killForRestart(ctx context.Context, actor string) {
	const reason = "restart, killed first"
	u.r.Registry.Suspend(u.name, u.generation())
	u.move(component.Draining, reason, actor, nil)
	u.stopWatching()
	exit := u.process.Kill(ctx, component.ResultOperator)
	u.move(component.Stopping, reason, actor, nil)
	u.forget()
	u.mu.Lock()
	u.last, u.tail = exit.Result, exit.Tail
	u.mu.Unlock()
	u.move(component.Resolved, reason, actor, nil)
}
