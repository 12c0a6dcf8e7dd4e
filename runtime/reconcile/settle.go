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
	for synced := false; ; {
		changed := r.changed.rings()
		late, soon, waiting := r.late(patience)
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

// late are the units that are on their way and need not be waited for; waiting says that there are others, and soon when one of these may
// become late.
func (r *Reconciler) late(patience time.Duration) (late []string, soon time.Duration, waiting bool) {
	views := r.Views()
	soon = patience
	for _, v := range views {
		if v.Settled {
			continue
		}
		left := patience - time.Since(v.Since)
		needed := slices.ContainsFunc(views, func(o View) bool {
			return o.State == component.Waiting && o.Planned != nil && slices.Contains(o.Planned.After, v.Name)
		})
		switch {
		case needed || v.State != component.Starting:
			waiting = true
		case left > 0:
			waiting, soon = true, min(soon, left)
		default:
			late = append(late, v.Name)
		}
	}
	return late, soon, waiting
}
