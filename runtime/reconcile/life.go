package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/carbonado/runtime/supervisor"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// start makes a process and brings it to ACTIVE, or to BACKOFF or FAILED.
func (u *unit) start(ctx context.Context, reason string) (bool, time.Duration) {
	startCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	u.mu.Lock()
	planned := u.planned
	if planned == nil { // its package went in this moment
		u.mu.Unlock()
		return true, 0
	}
	u.gen = u.r.Host.Generation(u.name)
	u.cancel = cancel
	if state, _ := u.machine.State(); state != component.Backoff {
		u.cause = nil // after a failed attempt its cause stays until one succeeds
	}
	u.mu.Unlock()
	u.move(component.Starting, reason, "kernel", nil)
	bringCtx, stop := startBound(startCtx, planned)
	err := u.bringUp(bringCtx, planned)
	if d, ok := bringCtx.Deadline(); err != nil && ok && time.Until(d) < 100*time.Millisecond {
		<-bringCtx.Done() // the component's end of a call has the same deadline, and may have ended the call a moment before
	}
	if err != nil && bringCtx.Err() != nil && startCtx.Err() == nil {
		err = ErrLate.Wrap(errors.Join(context.DeadlineExceeded, err), "not ACTIVE within %s", planned.Package.Descriptor.StartTimeout)
	}
	stop()
	u.mu.Lock()
	u.cancel = nil
	cancelled := startCtx.Err() != nil && ctx.Err() == nil
	u.mu.Unlock()
	if err == nil {
		u.setCause(nil)
		u.move(component.Active, "it serves", "kernel", nil)
		return true, 0
	}
	if cancelled {
		// Somebody wants something else: end the attempt in order.
		u.setCause(nil)
		u.move(component.Stopping, "the start was called off", "operator", nil)
		if u.process != nil {
			u.process.Stop(ctx, supervisor.DefaultLadder(component.ResultOperator))
		}
		u.forget()
		u.r.Registry.WithdrawProvider(u.name)
		u.move(component.Resolved, "the start was called off", "operator", nil)
		return true, 0
	}
	kind := component.ResultExit
	exit, had := supervisor.ExitOf(err)
	if u.process != nil {
		if late(err) {
			kind = component.ResultStartTimeout
		}
		exit, had = u.process.Kill(ctx, kind), true
	}
	u.forget()
	if !had {
		exit = supervisor.Exit{At: time.Now()}
	}
	return u.crashed(exit, component.CauseOf(ErrStart.Wrap(err, "%s did not start", u.name))), 0
}

// startBound is the time that a descriptor gives to a whole start.
func startBound(ctx context.Context, c *plan.Component) (context.Context, context.CancelFunc) {
	if d := c.Package.Descriptor.StartTimeout; d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return ctx, func() {}
}

// bringUp is the order of SEAMS.md section 3: launch, Configure, references, Prepare, Acquire, services.
func (u *unit) bringUp(ctx context.Context, planned *plan.Component) error {
	u.mu.Lock()
	u.running = planned // what does not even launch was tried too
	u.mu.Unlock()
	p, err := u.r.Host.Launch(ctx, planned, u.generation())
	if err != nil {
		return err
	}
	u.body = body{planned: planned, process: p}
	u.mu.Lock()
	u.pid, u.live = p.PID(), p
	u.mu.Unlock()
	if err := u.prepare(ctx, &u.body, func(w *wiring) {
		u.mu.Lock()
		u.links = w
		u.mu.Unlock()
	}); err != nil {
		return err
	}
	if err := u.acquire(ctx, &u.body, ""); err != nil {
		return err
	}
	return u.watch(ctx, &u.body, nil)
}

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

func (u *unit) published(s *controlv1.ServicePublished, p Process, address string, d *component.Descriptor) {
	version := s.Version
	ranking := int(s.Ranking)
	for _, provide := range d.Provides {
		if provide.Service == s.Service {
			if version == "" {
				version = provide.Version.String()
			}
			if ranking == 0 {
				ranking = provide.Ranking
			}
		}
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		v = semver.New(0, 0, 0, "", "")
	}
	_, err = u.r.Registry.Publish(registry.Publication{
		Service: s.Service, Version: v, Properties: s.Properties, Ranking: ranking, Exported: s.Exported,
		Provider: u.name, Generation: p.Generation(), LocalID: s.LocalId, Address: address, Pid: p.PID(), Uid: p.UID(),
	})
	if err != nil {
		u.r.Log.Error("registration refused", "component", u.name, "service", s.Service, "error", err)
	}
}

func (u *unit) withdrawn(local, generation uint64) {
	for _, s := range u.r.Registry.Find(registry.Query{Provider: u.name}) {
		if s.LocalID == local && s.Generation == generation {
			_ = u.r.Registry.Withdraw(s.ID) // it may have gone already
		}
	}
}

// reported takes the component's own word on its health.
func (u *unit) reported(h *controlv1.HealthChanged) {
	next, ok := map[controlv1.Health]component.Health{
		controlv1.Health_HEALTH_OK: component.HealthOK, controlv1.Health_HEALTH_WARN: component.HealthWarn,
		controlv1.Health_HEALTH_TEMPORARILY_UNAVAILABLE: component.HealthTemporarilyUnavailable, controlv1.Health_HEALTH_CRITICAL: component.HealthCritical,
	}[h.Health]
	if !ok {
		return
	}
	u.setHealth(next, component.FromProto(h.Cause))
	u.kick()
}

func (u *unit) setHealth(next component.Health, c *component.Cause) {
	u.mu.Lock()
	if u.health != next {
		u.healthSince = time.Now()
	}
	for _, h := range u.health.Path(next) {
		u.health = h
	}
	changed := u.health == next
	u.hcause = c
	u.mu.Unlock()
	if changed {
		u.r.Notify(Event{Component: u.name, Health: next, Cause: c})
	}
	u.r.touch()
}

// ended takes a process that ended by itself.
func (u *unit) ended() bool {
	exit := u.process.Exit()
	u.forget()
	return u.crashed(exit, component.CauseOf(ErrEnded.New("%s ended after %s: %s", u.name, exit.Ran.Round(time.Millisecond), exit.Result)))
}

// crashed charges the unit's budget: BACKOFF, or FAILED when it is spent.
func (u *unit) crashed(exit supervisor.Exit, c *component.Cause) bool {
	d := u.restarts.Crashed(exit.At, exit.Ran, u.r.Random())
	u.mu.Lock()
	u.crashes++
	c = c.For(u.name)
	u.last, u.tail, u.cause = exit.Result, exit.Tail, c
	u.mu.Unlock()
	u.move(component.Backoff, c.Text, "component", c)
	if d.Spent {
		spent := component.CauseOf(ErrBudget.New("%s spent its restart budget", u.name)).Because(*c)
		u.setCause(&spent)
		u.move(component.Failed, spent.Text, "kernel", &spent)
		return false
	}
	u.r.Registry.Suspend(u.name, u.generation())
	u.retryAt = time.Now().Add(d.After)
	return true
}

// stop ends the process in order. Where its services go for good, those that can't live without them end first.
func (u *unit) stop(ctx context.Context, kind component.ResultKind, reason, actor string, comesBack bool) {
	if comesBack {
		u.r.Registry.Suspend(u.name, u.generation())
	} else {
		services := u.r.leave(ctx, u.name, u.process)
		defer u.r.left(u.name, services)
	}
	u.move(component.Draining, reason, actor, nil)
	if comesBack {
		// The SDK withdraws its registrations when it drains: they are kept for the successor.
		u.stopWatching()
	}
	exit := u.process.Stop(ctx, supervisor.DefaultLadder(kind))
	u.move(component.Stopping, reason, actor, nil)
	if !comesBack {
		u.r.Registry.WithdrawProvider(u.name)
	}
	u.forget()
	u.mu.Lock()
	u.last, u.tail, u.forced = exit.Result, exit.Tail, exit.Forced
	u.mu.Unlock()
	u.move(component.Resolved, reason, actor, nil)
}

// forget empties the unit's ledger after its process has ended: links, watch, health.
func (u *unit) forget() {
	u.body.close()
	u.body = body{}
	u.mu.Lock()
	u.pid, u.live, u.links = 0, nil, nil
	u.gates, u.gcause, u.gshut = nil, nil, false
	u.mu.Unlock()
	u.setHealth(component.HealthUnknown, nil)
}
