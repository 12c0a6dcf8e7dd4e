package reconcile

import (
	"context"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/supervisor"
)

type orderKind int

const (
	orderNone orderKind = iota
	orderStart
	orderStop
	orderRestart
	orderUpdate
	orderReset
	orderShutdown
)

// order is what somebody asked of one unit. Only the newest counts.
type order struct {
	kind  orderKind
	actor string
	hard  bool // of a restart: kill first
}

// unit is one installed component. Its goroutine alone moves the machine and owns the process; it lives while there is something to do.
type unit struct {
	r       *Reconciler
	name    string
	machine *component.Machine

	// dependants are those that the plan wires to it. They belong to the Reconciler, under its mu.
	dependants []*unit

	// owned by the unit's goroutine
	restarts  supervisor.Restarts
	body              // the serving process
	over      bool    // another unit has taken this one's place
	estate    *estate // what an earlier kernel has left, until the first step
	retryAt   time.Time
	waitSince time.Time
	settleAt  time.Time // when what an earlier process had published and this one has not goes for good; zero: nothing is left to go
	attended  Process   // its end wakes the unit

	// mu guards the fields below.
	mu      sync.Mutex
	planned *plan.Component // nil: uninstalled
	was     *plan.Component // the last that planned was
	forced  bool            // the last stop had to kill
	order   order
	held    bool // an operator stopped it
	pid     int
	gen     uint64
	crashes int
	kept    supervisor.SavedRestarts // of restarts
	health  component.Health
	hcause  *component.Cause // why health is what it is
	// healthSince is when it was reported last.
	healthSince time.Time
	gates       []GateView       // of the serving process
	gcause      *component.Cause // of a gate that is closed; nil if none is
	gshut       bool             // its deadline has passed
	cause       *component.Cause // why the unit is not ACTIVE
	last        component.Result
	tail        []string
	busy        bool // a step is under way
	dirty       bool // a kick came that no step has seen
	unmoved     bool // no news of others moves it
	speaks      bool // what it says of itself may be about others
	awake       bool // the goroutine lives
	retired     bool // it has lived for the last time
	timer       *time.Timer
	stopped     chan struct{} // closed once the order to end has been followed
	live        Process
	unfit       *unfit  // a configuration that it did not take; nil if none
	next        Process // the one that is to replace live, or that was replaced and ends
	history     Replacements
	// exchanging: live has let go or is about to, and another is to take over.
	exchanging bool
	running    *plan.Component    // what the newest process that served, or tried to, was started from
	links      *wiring            // of live, for those who look
	cancel     context.CancelFunc // ends a start under way
}

func (r *Reconciler) newUnit(c *plan.Component) *unit {
	u := &unit{r: r, name: c.Name, planned: c, health: component.HealthUnknown, dirty: true}
	if d := c.Package.Descriptor; d != nil {
		u.restarts = supervisor.NewRestarts(d.Restart)
	}
	u.machine = component.NewMachine(c.Name, time.Now, r.next, r.record)
	r.inheritance(u)
	return u
}

// setPlanned takes what a plan says; a kick comes next.
func (u *unit) setPlanned(c *plan.Component) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dirty = true
	if c != nil {
		u.was = c
	}
	u.planned = u.keepConfig(u.keep(c))
	if c == nil { // an operator's stop was about the package that is gone, and so was what it did not take
		u.held, u.unfit = false, nil
		if u.order.kind == orderStop {
			u.order = order{}
		}
	}
}

// request gives the unit an order. A start under way is cancelled if the order is not to start.
func (u *unit) request(o order) {
	u.mu.Lock()
	u.order = o
	if o.kind != orderStart && o.kind != orderUpdate && u.cancel != nil {
		u.cancel()
	}
	u.mu.Unlock()
	u.kick()
}

// end stops the unit for the kernel and returns when nothing of it runs any more, or when r.ctx has ended. It makes the unit's steps itself
// where its goroutine does not live.
func (u *unit) end() {
	ended := make(chan struct{})
	u.mu.Lock()
	if u.retired {
		u.mu.Unlock()
		return
	}
	u.order, u.stopped, u.dirty, u.unmoved = order{kind: orderShutdown, actor: KernelName}, ended, true, false
	if u.cancel != nil {
		u.cancel()
	}
	here := !u.awake
	u.awake = true
	u.mu.Unlock()
	if here {
		u.run(u.r.ctx)
	}
	select {
	case <-ended:
	case <-u.r.ctx.Done():
	}
}

// callOff ends a start under way.
func (u *unit) callOff() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cancel != nil {
		u.cancel()
	}
}

// step moves the unit one or more states towards what is wanted and says when to look again at the latest.
func (u *unit) step(ctx context.Context) time.Duration {
	for range len(component.States()) * 2 {
		if again, next := u.once(ctx); !again {
			return next
		}
	}
	return time.Second
}

// once makes at most one move. again: look once more at once.
func (u *unit) once(ctx context.Context) (again bool, next time.Duration) {
	if u.estate != nil {
		u.takeOver(ctx)
		return true, 0
	}
	o := u.takeOrder()
	want, why := u.wanted()
	state, _ := u.machine.State()
	if u.process != nil {
		select {
		case <-u.process.Done():
			return u.ended(), 0
		default:
		}
	}
	switch state {
	case component.Installed:
		u.setCause(why)
		switch {
		case u.uninstalled():
			u.move(component.Uninstalled, "its package is gone", "kernel", nil)
			return false, never
		case want:
			u.move(component.Resolved, "the plan says that it runs", "kernel", nil)
			return true, 0
		}
		return false, never
	case component.Resolved:
		if !want {
			u.r.Registry.WithdrawProvider(u.name) // what was kept for a successor that is not wanted any more
			u.setCause(why)
			switch {
			case u.uninstalled():
				u.move(component.Uninstalled, "its package is gone", "kernel", nil)
				return true, 0
			case o.kind == orderShutdown || u.isHeld():
				return false, never
			}
			u.move(component.Installed, text(why), "kernel", why)
			return true, 0
		}
		if missing := u.missing(false); missing != nil {
			return u.await(missing)
		}
		return u.start(ctx, "its references are satisfied")
	case component.Waiting:
		if !want {
			u.move(component.Resolved, text(why), "kernel", why)
			return true, 0
		}
		if missing := u.missing(false); missing != nil {
			if late := time.Since(u.waitSince) - WaitDeadline; late >= 0 && missing.Code != ErrLevel.ID() {
				missing.Text += "; the wait is over its deadline of " + WaitDeadline.String()
			}
			u.setCause(missing)
			if left := WaitDeadline - time.Since(u.waitSince); left > 0 {
				return false, left
			}
			return false, relook
		}
		return u.start(ctx, "what it waited for is there")
	case component.Uninstalled:
		if !u.uninstalled() {
			u.r.renew(u) // this machine has ended: the package's return is another unit
		}
		return false, never
	case component.Active:
		return u.active(ctx, o, want, why)
	case component.Backoff:
		return u.backoff(ctx, o, want, why)
	case component.Failed:
		switch {
		case u.uninstalled():
			u.move(component.Uninstalled, "its package is gone", "kernel", nil)
			return false, never
		case o.kind == orderStart || o.kind == orderRestart || o.kind == orderUpdate || o.kind == orderReset:
			u.restarts.Reset()
			u.setCause(nil)
			u.move(component.Resolved, "reset", o.actor, nil)
			return true, 0
		case u.renewed():
			u.restarts.Reset()
			u.setCause(nil)
			u.move(component.Resolved, "its package or its configuration is another one", "kernel", nil)
			return true, 0
		}
	}
	return false, never
}

func (u *unit) active(ctx context.Context, o order, want bool, why *component.Cause) (bool, time.Duration) {
	switch {
	case o.kind == orderRestart && o.hard:
		u.killForRestart(ctx, o.actor)
		return true, 0
	case !want:
		actor := "kernel"
		if o.actor != "" {
			actor = o.actor
		}
		u.stop(ctx, component.ResultOperator, text(why), actor, false)
		u.setCause(why)
		return true, 0
	}
	if c := u.plannedNow(); c != nil {
		u.wiring.update(ctx, c)
	}
	if missing := u.missing(true); missing != nil {
		u.stop(ctx, component.ResultOK, missing.Text, "kernel", false)
		return true, 0
	}
	if name := u.wiring.changed(); name != "" {
		u.stop(ctx, component.ResultReplaced, "its static reference "+name+" changes", "kernel", true)
		return true, 0
	}
	if u.restarts.Spent() {
		u.restarts.Reset()
	}
	if u.modify(ctx, o) {
		return true, 0
	}
	if reason, actor := u.outdated(o); reason != "" {
		u.replace(ctx, reason, actor)
		return true, 0
	}
	grace := u.graceLeft()
	failed, next := u.lookAtGates(ctx)
	if failed {
		return true, 0
	}
	next = min(next, grace)
	if late := u.settleLate(); late > 0 {
		next = min(next, late)
	}
	return false, next
}

func (u *unit) backoff(ctx context.Context, o order, want bool, why *component.Cause) (bool, time.Duration) {
	switch {
	case !want:
		u.setCause(why)
		u.move(component.Resolved, text(why), "kernel", why)
		return true, 0
	case o.kind == orderStart || o.kind == orderRestart || o.kind == orderUpdate || o.kind == orderReset:
		u.restarts.Reset()
	case time.Now().Before(u.retryAt):
		return false, time.Until(u.retryAt)
	}
	if missing := u.missing(false); missing != nil {
		return u.await(missing)
	}
	return u.start(ctx, "next attempt")
}

// takeOrder takes the newest order; stop and start change what is wanted from now on.
func (u *unit) takeOrder() order {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.order
	switch o.kind {
	case orderStop:
		u.held = true
	case orderStart, orderRestart, orderUpdate:
		u.held = false
		u.order = order{}
	case orderReset:
		u.order = order{}
		u.restarts.Reset()
	}
	return o
}

func (u *unit) isHeld() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.held
}

func (u *unit) uninstalled() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.planned == nil
}

// wanted says whether the unit should run, and if not why.
func (u *unit) wanted() (bool, *component.Cause) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.planned == nil:
		return false, component.CauseOf(ErrDisabled.New("the package of %s is gone", u.name))
	case u.order.kind == orderShutdown:
		return false, component.CauseOf(ErrStopped.New("the kernel stops"))
	case u.held:
		return false, component.CauseOf(ErrStopped.New("%s was stopped by %s", u.name, u.order.actor))
	case u.planned.Runs, u.planned.Waits:
		return true, nil
	case !u.planned.Enabled && len(u.planned.Causes) > 0: // the plan knows the rule's place, and who turns it round
		c := u.planned.Causes[0]
		return false, &c
	case !u.planned.Enabled:
		return false, component.CauseOf(ErrDisabled.New("%s is disabled by %s", u.name, u.planned.Rule))
	case len(u.planned.Causes) > 0:
		c := u.planned.Causes[0]
		return false, &c
	}
	return false, component.CauseOf(ErrDisabled.New("the plan does not run %s", u.name))
}

// setCause says why the unit is not ACTIVE; watchers are told of each change, so that a past time can be asked about.
func (u *unit) setCause(c *component.Cause) {
	c = c.For(u.name)
	u.mu.Lock()
	changed := !u.cause.Same(c)
	u.cause = c
	u.mu.Unlock()
	if changed {
		u.r.Notify(Event{Component: u.name, CauseChanged: true, Cause: c})
	}
}

func (u *unit) move(to component.State, reason, actor string, c *component.Cause) {
	c = c.For(u.name)
	if _, err := u.machine.Move(component.Move{To: to, Reason: reason, Actor: actor, Generation: u.generation(), Cause: c}); err != nil {
		u.r.Log.Error("life cycle", "component", u.name, "error", err)
	}
	switch to {
	case component.Waiting, component.Failed, component.Installed, component.Uninstalled:
		// It does not come back by itself: what was kept for its return goes, and its consumers don't wait for it.
		u.r.Registry.WithdrawProvider(u.name)
	}
	u.r.touch()
	u.r.tellDependants(u)
}

// await begins to wait for what is missing.
func (u *unit) await(missing *component.Cause) (bool, time.Duration) {
	u.waitSince = time.Now()
	u.setCause(missing)
	u.move(component.Waiting, missing.Text, "kernel", missing)
	return false, WaitDeadline
}

func (u *unit) generation() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.gen
}

func text(c *component.Cause) string {
	if c == nil {
		return ""
	}
	return c.Text
}
