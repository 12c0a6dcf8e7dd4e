package agent

import (
	"context"
	"sync"
	"time"
)

// bundle is events that are sent together. Once it has a counter it keeps it, so that a repeat is known as one.
type bundle struct {
	group   *group
	events  []Event
	counter uint64
	born    time.Time
	sent    bool // at least once, wholly
}

// group is one group of endpoints with its queue.
type group struct {
	agent     *Agent
	name      string
	spread    bool
	endpoints []*endpoint

	// mu guards all below.
	mu     sync.Mutex
	open   *bundle   // being filled
	ready  []*bundle // to be sent, in order
	queued int       // events in open, ready and with senders, and reservations
	closed bool
	work   chan struct{} // closed and renewed when there is something to take
	space  chan struct{} // closed and renewed when queued falls
	pool   [][]Event
}

func newGroup(a *Agent, spec groupSpec) *group {
	g := &group{agent: a, name: spec.text, spread: spec.spread, work: make(chan struct{}), space: make(chan struct{})}
	for _, addr := range spec.addresses {
		g.endpoints = append(g.endpoints, newEndpoint(a, addr))
	}
	return g
}

// senders makes one sender per connection: of each endpoint where the load is spread, else of the group.
func (g *group) senders() []*sender {
	var out []*sender
	if !g.spread {
		for range g.agent.opts.Connections {
			out = append(out, &sender{group: g, endpoints: g.endpoints})
		}
		return out
	}
	for _, e := range g.endpoints {
		for range g.agent.opts.Connections {
			out = append(out, &sender{group: g, endpoints: []*endpoint{e}})
		}
	}
	return out
}

func (g *group) put(ctx context.Context, e Event, wait bool) error {
	for {
		g.mu.Lock()
		if g.closed {
			g.mu.Unlock()
			return ErrClosed.New("an event of stream %s", e.Stream)
		}
		if g.queued < g.agent.opts.Queue {
			g.queued++
			g.add(e)
			g.mu.Unlock()
			return nil
		}
		space := g.space
		g.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ErrFull.Wrap(ctx.Err(), "%d events wait for %s", g.agent.opts.Queue, g.name)
		}
	}
}

// reserve takes a place in the queue.
func (g *group) reserve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queued >= g.agent.opts.Queue && !g.closed {
		return false
	}
	g.queued++
	return true
}

func (g *group) unreserve() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(1)
}

func (g *group) putReserved(e Event) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		g.leave(1)
		return ErrClosed.New("an event of stream %s", e.Stream)
	}
	g.add(e)
	return nil
}

// add puts an event into the open bundle; mu is held.
func (g *group) add(e Event) {
	if g.open == nil {
		g.open = &bundle{group: g, events: g.slice(), born: time.Now()}
	}
	g.open.events = append(g.open.events, e)
	first := len(g.open.events) == 1
	if len(g.open.events) == g.agent.opts.Bundle {
		g.ready = append(g.ready, g.open)
		g.open = nil
		first = true
	}
	if first {
		g.signal(&g.work)
	}
}

func (g *group) slice() []Event {
	if n := len(g.pool); n > 0 {
		s := g.pool[n-1]
		g.pool = g.pool[:n-1]
		return s
	}
	return make([]Event, 0, g.agent.opts.Bundle)
}

// signal wakes all that wait on a channel; mu is held.
func (g *group) signal(c *chan struct{}) {
	close(*c)
	*c = make(chan struct{})
}

// leave takes events off the count; mu is held.
func (g *group) leave(n int) {
	g.queued -= n
	g.signal(&g.space)
}

// take waits for a bundle: a full one, or what there is. It answers nil when ctx ends.
func (g *group) take(ctx context.Context) *bundle {
	for {
		g.mu.Lock()
		var b *bundle
		if len(g.ready) > 0 {
			b, g.ready[0] = g.ready[0], nil
			g.ready = g.ready[1:]
		} else if g.open != nil {
			b, g.open = g.open, nil
		}
		work := g.work
		if b != nil && b.counter == 0 {
			b.counter = g.agent.next.Add(1)
		}
		g.mu.Unlock()
		if b != nil {
			return b
		}
		select {
		case <-work:
		case <-ctx.Done():
			return nil
		}
	}
}

// giveBack puts a bundle that was not settled before all others.
func (g *group) giveBack(b *bundle) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready = append([]*bundle{b}, g.ready...)
	g.signal(&g.work)
}

// settled forgets a bundle.
func (g *group) settled(b *bundle) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(b.events)
	clear(b.events)
	if len(g.pool) < 64 {
		g.pool = append(g.pool, b.events[:0])
	}
	b.events = nil
	g.leave(n)
}

// expire reports the bundles that waited too long while no endpoint could be reached.
func (g *group) expire() {
	limit := g.agent.opts.GiveUp
	if limit <= 0 {
		return
	}
	var old []*bundle
	g.mu.Lock()
	for len(g.ready) > 0 && time.Since(g.ready[0].born) > limit {
		old = append(old, g.ready[0])
		g.ready[0] = nil
		g.ready = g.ready[1:]
	}
	if len(g.ready) == 0 && g.open != nil && time.Since(g.open.born) > limit {
		old = append(old, g.open)
		g.open = nil
	}
	g.mu.Unlock()
	for _, b := range old {
		g.agent.settle(b, ErrGaveUp.New("%s after %s: no endpoint could be reached", g.name, limit))
	}
}

func (g *group) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queued
}

func (g *group) flush(ctx context.Context) error {
	for {
		g.mu.Lock()
		left, space := g.queued, g.space
		g.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-space:
		case <-ctx.Done():
			return ErrUnsure.Wrap(ctx.Err(), "%d events wait for %s", left, g.name)
		}
	}
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// abandon reports what is left after the senders ended.
func (g *group) abandon() {
	g.mu.Lock()
	left := g.ready
	if g.open != nil {
		left = append(left, g.open)
	}
	g.ready, g.open = nil, nil
	g.mu.Unlock()
	for _, b := range left {
		if b.sent {
			g.agent.settle(b, ErrUnsure.New("the agent was closed before %s answered", g.name))
			continue
		}
		g.agent.settle(b, ErrClosed.New("the agent was closed before the events were sent to %s", g.name))
	}
}
