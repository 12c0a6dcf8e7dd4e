package reconcile

import (
	"context"
	"slices"
	"time"

	"carbonado.dev/carbonado/runtime/component"
)

// WaitMostSettled is WaitSettled, but a unit that is STARTING longer than patience and that no other waits for holds nobody up: a process
// that never answers is its own affair. The names of such units are returned.
func (r *Reconciler) WaitMostSettled(ctx context.Context, patience time.Duration) (late []string, err error) {
	var rest []*unit // those that have not been looked at; the first of them held up
	// look says whether somebody holds up, and when that may change by itself.
	look := func() (soon time.Duration, waiting bool) {
		for {
			for ; len(rest) > 0; rest = rest[1:] {
				if soon, holds := r.holdsUp(rest[0], patience); holds {
					return soon, true
				}
			}
			// Nobody did when asked: now nobody must.
			rest, late = r.all(), nil
			if !slices.ContainsFunc(rest, func(u *unit) bool {
				_, holds := r.holdsUp(u, patience)
				if !holds && !u.settled() {
					late = append(late, u.name)
				}
				return holds
			}) {
				return 0, false
			}
		}
	}
	for synced := false; ; {
		changed := r.changed.rings()
		soon, waiting := look()
		switch {
		case !waiting && synced:
			return late, nil
		case !waiting:
			// A service that has just been published may not have woken its consumers yet.
			if err := r.track.Sync(ctx); err != nil {
				return nil, err
			}
			synced = true
			continue
		}
		synced = false
		t := time.NewTimer(soon)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		t.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// holdsUp tells whether a unit that is on its way has to be waited for, and for how long at most before it is asked again.
func (r *Reconciler) holdsUp(u *unit, patience time.Duration) (soon time.Duration, holds bool) {
	if u.settled() || r.unit(u.name) != u {
		return 0, false
	}
	state, since := u.machine.State()
	left := patience - time.Since(since)
	switch {
	case state != component.Starting:
		return patience, true
	case left > 0:
		return left, true
	}
	return patience, slices.ContainsFunc(r.unsorted(), func(other *unit) bool {
		s, _ := other.machine.State()
		c := other.plannedNow()
		return s == component.Waiting && c != nil && slices.Contains(c.After, u.name)
	})
}
