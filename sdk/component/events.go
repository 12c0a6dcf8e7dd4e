package component

import (
	"context"
	"maps"
	"slices"
	"sync"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// events keeps the present registrations and health, and tells watchers of changes. A slow watcher is served from the present
// state, so nothing piles up.
type events struct {
	// mu guards all below.
	mu      sync.Mutex
	changed chan struct{} // closed and renewed at each change
	version uint64
	health  *controlv1.HealthChanged
	healthV uint64
	live    map[uint64]versioned
	gone    map[uint64]uint64 // local id -> version of its withdrawal
}

type versioned struct {
	version uint64
	service *controlv1.ServicePublished
}

func newEvents() *events {
	return &events{changed: make(chan struct{}), live: map[uint64]versioned{}, gone: map[uint64]uint64{}, health: &controlv1.HealthChanged{Health: controlv1.Health_HEALTH_UNKNOWN}}
}

func (e *events) touch() uint64 {
	e.version++
	close(e.changed)
	e.changed = make(chan struct{})
	return e.version
}

func (e *events) setHealth(h *controlv1.HealthChanged) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.health = h
	e.healthV = e.touch()
}

func (e *events) publish(s *controlv1.ServicePublished) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live[s.LocalId] = versioned{e.touch(), s}
}

func (e *events) withdraw(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live, id)
	e.gone[id] = e.touch()
}

// watch sends the present state, Synced, then changes, until ctx ends or send fails.
func (e *events) watch(ctx context.Context, send func(*controlv1.ComponentEvent) error) error {
	var seen uint64
	for first := true; ; first = false {
		e.mu.Lock()
		var out []*controlv1.ComponentEvent
		if e.healthV > seen || first {
			out = append(out, &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Health{Health: e.health}})
		}
		if !first {
			for _, id := range slices.Sorted(maps.Keys(e.gone)) {
				if e.gone[id] > seen {
					out = append(out, &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Withdrawn{Withdrawn: &controlv1.ServiceWithdrawn{LocalId: id}}})
				}
			}
		}
		for _, id := range slices.Sorted(maps.Keys(e.live)) {
			if e.live[id].version > seen {
				out = append(out, &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Published{Published: e.live[id].service}})
			}
		}
		seen = e.version
		changed := e.changed
		e.mu.Unlock()
		if first {
			out = append(out, &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Synced{Synced: &controlv1.Synced{}}})
		}
		for _, ev := range out {
			if err := send(ev); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
