package reconcile

import (
	"context"
	"math"
	"time"

	"carbonado.dev/carbonado/runtime/component"
)

// never is when to look again where nothing is due.
const never = time.Duration(math.MaxInt64)

// run is the unit's goroutine: it makes steps while there is a reason to, and leaves a timer for the next one. When ctx has ended it kills
// what is left. Thousands of units that stand by cost no stacks.
func (u *unit) run(ctx context.Context) {
	for again := true; again; {
		u.mu.Lock()
		u.busy, u.dirty = true, false
		u.mu.Unlock()
		next, last := time.Duration(0), ctx.Err() != nil
		if last {
			if u.process != nil {
				u.process.Kill(context.Background(), component.ResultOperator)
				u.forget()
			}
		} else {
			next = u.step(ctx)
			u.remember()
			u.judge()
			u.attend()
			last = u.over
		}
		again = u.pause(next, last)
		u.r.touch()
	}
}

// kick has the unit make a step, or one more after the one under way.
func (u *unit) kick() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wake()
}

// look is kick where there is something that no step has seen.
func (u *unit) look() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.dirty {
		u.wake()
	}
}

// hear is kick for what happened to another unit or to a service. Nobody hears nothing.
func (u *unit) hear() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.unmoved {
		u.wake()
	}
}

// hearsay is how old what a unit says of another one may be: a provider that starts makes several moves in a row, and thousands may wait.
const hearsay = 10 * time.Millisecond

// hearOf is hear for a move of a unit that this one may speak of: the step has time.
func (u *unit) hearOf() {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.dirty || u.retired:
	case u.awake:
		u.dirty = true
	case u.speaks:
		u.dirty = true
		u.rest(hearsay, false)
	}
}

// wake is kick under mu.
func (u *unit) wake() {
	u.dirty, u.unmoved = true, false
	if !u.awake && !u.retired {
		u.awake = true
		go u.run(u.r.ctx)
	}
}

// retire has the unit end for good: at once where there is nothing to kill.
func (u *unit) retire() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.awake || u.process != nil {
		u.wake()
	} else {
		u.rest(never, true)
	}
}

// pause ends a step. It answers whether another is due at once; otherwise the goroutine ends, and the next one begins at the latest after
// next.
func (u *unit) pause(next time.Duration, last bool) (again bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.busy = false
	if u.dirty && !last {
		return true
	}
	u.awake = false
	if u.stopped != nil && u.pid == 0 {
		close(u.stopped)
		u.stopped = nil
	}
	state, _ := u.machine.State()
	u.speaks = state == component.Waiting || len(u.gates) > 0
	switch state {
	case component.Installed, component.Resolved, component.Failed, component.Uninstalled:
		u.unmoved = true // what it waits for is an order or another plan
	}
	u.rest(next, last)
	return false
}

// rest leaves a timer for the next step, or none after the last. Called under mu.
func (u *unit) rest(next time.Duration, last bool) {
	if (last || next >= never) && u.timer != nil {
		u.timer.Stop()
	}
	switch {
	case last && !u.retired:
		u.retired = true
		u.r.wg.Done()
	case last, next >= never:
	case u.timer == nil:
		u.timer = time.AfterFunc(next, u.kick)
	default:
		u.timer.Reset(next)
	}
}

// attend has the unit woken by the end of its process, where nobody follows that process who would.
func (u *unit) attend() {
	p := u.process
	if p == nil || u.unwatch != nil || u.attended == p {
		return
	}
	u.attended = p
	u.r.wg.Go(func() {
		select {
		case <-p.Done():
			u.kick()
		case <-u.r.ctx.Done():
		}
	})
}
