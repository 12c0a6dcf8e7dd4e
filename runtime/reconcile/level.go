package reconcile

import (
	"context"
	"slices"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// MaxLevel is the level at which every component may run: component.yaml knows none above it.
const MaxLevel = 1000

// levelPatience is how long a level may take before the next one is begun all the same: one stuck component must not keep the rest down.
const levelPatience = 30 * time.Second

// Kinds of error of start levels.
var (
	ErrLevel = cause.Define("CBN-SUP-141", "A component's start level lies above the server's.", "Raise it: `carbonado level N`.")
	ErrNoLvl = cause.Define("CBN-SUP-142", "There is no such start level.", "Levels are whole numbers from 1 to 1000.").Code(codes.InvalidArgument)
)

// LevelChange is the end of a change of the start level.
type LevelChange struct{ From, To int }

// Level is the start level in force, and where a change under way leads to.
func (r *Reconciler) Level() (now, target int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.level, r.target
}

// Levels are the start levels that installed components have, with their names.
func (r *Reconciler) Levels() map[int][]string {
	out := map[int][]string{}
	for _, u := range r.all() {
		if c := u.plannedNow(); c != nil && c.Package.Descriptor != nil {
			out[c.Package.Descriptor.StartLevel] = append(out[c.Package.Descriptor.StartLevel], u.name)
		}
	}
	return out
}

// Begin makes a Reconciler start at a level: the first that components have, 0, at which nothing runs, or the one at which the kernel before
// ended. It is called before the first Apply.
func (r *Reconciler) Begin(level int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.level, r.target = level, level
}

// SetLevel raises or lowers the start level, one level that a component has after the other: each is done before the next is begun. It
// returns when that is over; one event tells of it. Changes are made one at a time.
func (r *Reconciler) SetLevel(ctx context.Context, level int, actor string) error {
	if level < 1 || level > MaxLevel {
		return ErrNoLvl.New("level %d", level)
	}
	select {
	case r.leveling <- struct{}{}:
		defer func() { <-r.leveling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	from := r.level
	r.target = level
	r.mu.Unlock()
	r.touch() // whoever keeps where a change leads to does it before anything stops
	err := r.raise(ctx, from, level)
	if err == nil {
		err = r.lower(ctx, level)
	}
	r.mu.Lock()
	if err == nil {
		r.level = level
	}
	r.target = r.level
	now := r.level
	r.mu.Unlock()
	r.touch()
	for _, u := range r.all() {
		u.kick() // what waits says the level that holds now
	}
	if now != from {
		r.Notify(Event{Level: &LevelChange{from, now}, Actor: actor})
	}
	return err
}

// raise goes up to a level; the one that it begins at need not be done yet.
func (r *Reconciler) raise(ctx context.Context, from, to int) error {
	for _, step := range r.steps(from, to) {
		r.setLevel(step)
		r.kickLevel(step)
		within, cancel := context.WithTimeout(ctx, levelPatience)
		err := r.wait(within, func() bool {
			return !slices.ContainsFunc(r.all(), func(u *unit) bool { return u.startLevel() == step && !u.rests() })
		})
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Log.Warn("a start level is not done and the next one is begun", "level", step, "after", levelPatience.String())
		}
	}
	return nil
}

// lower goes down to a level: within each the reverse of the start order.
func (r *Reconciler) lower(ctx context.Context, to int) error {
	for _, step := range slices.Backward(r.steps(to+1, MaxLevel)) {
		now, _ := r.Level()
		if now < step {
			continue
		}
		r.setLevel(step - 1)
		for _, u := range r.backwards() {
			if u.startLevel() != step {
				continue
			}
			u.kick()
			if err := r.wait(ctx, func() bool { v := u.view(); return v.Settled && v.Pid == 0 }); err != nil {
				return err
			}
		}
	}
	return nil
}

// steps are the levels from low to high that components have, upwards.
func (r *Reconciler) steps(low, high int) []int {
	var out []int
	for level := range r.Levels() {
		if level >= low && level <= high {
			out = append(out, level)
		}
	}
	slices.Sort(out)
	return out
}

// backwards are all units in the reverse of the start order: first those that the plan does not run, then those that it does, from the last
// one started.
func (r *Reconciler) backwards() []*unit {
	var running []*unit
	runs := map[*unit]bool{}
	if p := r.Plan(); p != nil {
		for _, c := range slices.Backward(p.Running()) {
			if u := r.unit(c.Name); u != nil {
				running = append(running, u)
				runs[u] = true
			}
		}
	}
	others := slices.DeleteFunc(r.all(), func(u *unit) bool { return runs[u] })
	slices.Reverse(others)
	return append(others, running...)
}

func (r *Reconciler) setLevel(level int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.level = level
}

func (r *Reconciler) kickLevel(level int) {
	for _, u := range r.all() {
		if u.startLevel() == level {
			u.kick()
		}
	}
}

func (u *unit) startLevel() int {
	c := u.plannedNow()
	if c == nil || c.Package.Descriptor == nil {
		return 0
	}
	return c.Package.Descriptor.StartLevel
}

// rests tells whether a unit need not be waited for: it is settled, or its process has ended and the next attempt comes later.
func (u *unit) rests() bool {
	state, _ := u.machine.State()
	return state == component.Backoff || u.settled()
}

// above says that the unit's start level has not been reached; nil if it has.
func (u *unit) above() *component.Cause {
	level := u.startLevel()
	now, target := u.r.Level()
	if level <= now {
		return nil
	}
	why := ErrLevel.New("%s starts at level %d, the server is at %d", u.name, level, now)
	if level <= target {
		why = why.Fix("Nothing: the server is on its way to level %d.", target)
	}
	return component.CauseOf(why)
}

// ResetFailed gives a component its whole restart budget back. One that is FAILED leaves that state, and starts if it should run; it returns
// when that has begun.
func (r *Reconciler) ResetFailed(ctx context.Context, name, actor string) error {
	before, _ := r.View(name)
	return r.ask(ctx, name, func(u *unit) { u.request(order{kind: orderReset, actor: actor}) }, func(v View) (bool, error) {
		return v.State != component.Failed || v.Since != before.Since, nil
	})
}
