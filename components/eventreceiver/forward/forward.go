// Package forward hands batches to the consumers of their stream: one link per consumer process, durable consumers before
// the agent is answered, the others through a bounded queue. It must not know where batches come from.
package forward

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/link"
)

// Errors of forwarding.
var (
	ErrNoConsumer = cause.Define("CBN-RCV-030", "A stream has no durable consumer on this node.", "Deploy an eventsink for the stream, or set \"durable\": \"none\" in its definition.").Code(codes.FailedPrecondition)
	ErrNotStored  = cause.Define("CBN-RCV-031", "Events could not be stored in time.", "The agent sends them again; see the consumer's state with `carbonado component ls`.").Code(codes.Unavailable)
	ErrRefused    = cause.Define("CBN-RCV-032", "A consumer refused events.", "See the reason in the chain.").Code(codes.FailedPrecondition)
)

// Timing of a Forwarder; zero fields are the defaults.
type Timing struct {
	// Hold is how long a batch waits for a consumer that is being restarted (10 s), Patience how long for one that is there (25 s,
	// below the 30 s after which WSO2's agents give up).
	Hold, Patience time.Duration
	// Gate is how long after Open a stream may wait for its first consumer (10 s): at a start the others start too.
	Gate time.Duration
}

// Forwarder is safe for concurrent use.
type Forwarder struct {
	ctx    context.Context
	timing Timing
	log    func(msg string, args ...any)

	routes atomic.Pointer[map[string]*route]
	gate   atomic.Int64 // unix ns until which streams may wait for a consumer

	// mu guards all below.
	mu      sync.Mutex
	links   map[string]*consumer
	changed chan struct{}
	closed  bool
}

// route is who consumes a stream.
type route struct{ durable, volatile []*consumer }

// New makes a forwarder without consumers; it lives until Close. log is told of consumers and dropped batches.
func New(ctx context.Context, timing Timing, log func(msg string, args ...any)) *Forwarder {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&timing.Hold, 10*time.Second)
	def(&timing.Patience, 25*time.Second)
	def(&timing.Gate, 10*time.Second)
	f := &Forwarder{ctx: ctx, timing: timing, log: log, links: map[string]*consumer{}, changed: make(chan struct{})}
	f.routes.Store(&map[string]*route{})
	return f
}

// Open begins the time in which streams wait for their first consumer.
func (f *Forwarder) Open() { f.gate.Store(time.Now().Add(f.timing.Gate).UnixNano()) }

// Gate is how much is left of that time; streams may not be defined yet either.
func (f *Forwarder) Gate() time.Duration { return time.Until(time.Unix(0, f.gate.Load())) }

// Set takes the present consumers: call it at each change (component.Refs.Watch).
func (f *Forwarder) Set(bound []*component.Bound) {
	byProvider := map[string][]*component.Bound{}
	for _, b := range bound {
		byProvider[b.Provider()] = append(byProvider[b.Provider()], b)
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	var gone []*consumer
	for name, c := range f.links {
		if byProvider[name] == nil {
			gone = append(gone, c)
			delete(f.links, name)
		}
	}
	routes := map[string]*route{}
	for name, bounds := range byProvider {
		c := f.links[name]
		if c == nil {
			c = newConsumer(f.ctx, name, f.log)
			f.links[name] = c
		}
		c.set(bounds)
		durable := map[string]bool{}
		for _, b := range bounds {
			p := b.Properties()
			durable[p["stream"]] = durable[p["stream"]] || p["durable"] == "true"
		}
		for stream, d := range durable {
			r := routes[stream]
			if r == nil {
				r = &route{}
				routes[stream] = r
			}
			if d {
				r.durable = append(r.durable, c)
			} else {
				r.volatile = append(r.volatile, c)
			}
		}
	}
	f.routes.Store(&routes)
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	for _, c := range gone {
		c.close()
	}
}

// Close ends all links; batches under way fail with ErrNotStored.
func (f *Forwarder) Close() {
	f.mu.Lock()
	f.closed = true
	links := f.links
	f.links = map[string]*consumer{}
	f.routes.Store(&map[string]*route{})
	f.mu.Unlock()
	for _, c := range links {
		c.close()
	}
}

// routeOf finds a stream's consumers and, while the gate is open, waits for a durable one.
func (f *Forwarder) routeOf(ctx context.Context, l *databridge.Layout) (*route, error) {
	for {
		r := (*f.routes.Load())[l.ID]
		if r != nil && len(r.durable) > 0 {
			return r, nil
		}
		if l.Definition.Durable == "none" {
			if r == nil {
				r = &route{}
			}
			return r, nil
		}
		left := f.Gate()
		if left <= 0 {
			return nil, ErrNoConsumer.New("stream %s", l.ID)
		}
		f.mu.Lock()
		changed := f.changed
		now := (*f.routes.Load())[l.ID]
		f.mu.Unlock()
		if now != nil && len(now.durable) > 0 {
			return now, nil
		}
		t := time.NewTimer(left)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ErrNotStored.Wrap(ctx.Err(), "stream %s", l.ID)
		}
		t.Stop()
	}
}

// Forward hands the parts of one bundle over and returns when every durable consumer has acknowledged all of them. It takes the
// parts' buffers in any case. Errors are ErrNoConsumer (nothing was sent), ErrRefused, or ErrNotStored: then the sender may send
// the bundle again.
func (f *Forwarder) Forward(ctx context.Context, parts []databridge.Part) error {
	if len(parts) == 0 {
		return nil
	}
	var few [1]*route
	routes := few[:0]
	for i := range parts {
		r, err := f.routeOf(ctx, parts[i].Layout)
		if err != nil {
			databridge.FreeParts(parts)
			return err
		}
		routes = append(routes, r)
	}
	b := &bundle{done: make(chan struct{})}
	b.left.Store(1) // the loop below
	sendCtx, cancel := context.WithTimeout(ctx, f.timing.Patience)
	defer cancel()
	for i, r := range routes {
		p := parts[i]
		parts[i].Frame = nil
		for _, c := range r.volatile {
			c.enqueue(p.Layout, copyOf(p.Frame))
		}
		if len(r.durable) == 0 {
			link.Free(p.Frame)
			continue
		}
		copies := make([][]byte, 1, len(r.durable))
		copies[0] = p.Frame
		for range r.durable[1:] {
			copies = append(copies, copyOf(p.Frame))
		}
		for j, c := range r.durable {
			f.send(sendCtx, c, p.Layout, copies[j], b)
		}
	}
	b.finish(nil)
	return f.wait(ctx, b, routes)
}

// send gives one frame to one durable consumer. While the consumer is away it waits for as long as a batch may be held.
func (f *Forwarder) send(ctx context.Context, c *consumer, l *databridge.Layout, buf []byte, b *bundle) {
	if !c.up.Load() {
		held, cancel := context.WithTimeout(ctx, f.timing.Hold)
		defer cancel()
		ctx = held
	}
	b.left.Add(1)
	err := c.producer.Send(ctx, l.ID, l.Schema, buf, func(err error) {
		link.Free(buf)
		b.finish(err)
	})
	if err != nil {
		link.Free(buf)
		b.finish(err)
	}
}

// wait waits for the acknowledgements: as long as all consumers are up, else no longer than a batch may be held.
func (f *Forwarder) wait(ctx context.Context, b *bundle, routes []*route) error {
	select {
	case <-b.done:
		return b.result()
	default:
	}
	began := time.Now()
	t := time.NewTimer(f.timing.Hold)
	defer t.Stop()
	for {
		select {
		case <-b.done:
			return b.result()
		case <-ctx.Done():
			return ErrNotStored.Wrap(ctx.Err(), "the receiver stops")
		case <-t.C:
		}
		waited := time.Since(began)
		if c := away(routes); c != nil {
			return ErrNotStored.New("consumer %s is being restarted, for more than %s", c.name, f.timing.Hold)
		}
		if waited >= f.timing.Patience {
			return ErrNotStored.New("no acknowledgement within %s", f.timing.Patience)
		}
		t.Reset(min(time.Second, f.timing.Patience-waited))
	}
}

// away finds a durable consumer that has no link now.
func away(routes []*route) *consumer {
	for _, r := range routes {
		for _, c := range r.durable {
			if !c.up.Load() {
				return c
			}
		}
	}
	return nil
}

// bundle counts the acknowledgements that are due.
type bundle struct {
	left atomic.Int64
	done chan struct{}

	// mu guards err, the first failure.
	mu  sync.Mutex
	err error
}

func (b *bundle) finish(err error) {
	if err != nil {
		b.mu.Lock()
		if b.err == nil {
			b.err = err
		}
		b.mu.Unlock()
	}
	if b.left.Add(-1) == 0 {
		close(b.done)
	}
}

func (b *bundle) result() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		return nil
	}
	var refused *link.Refused
	if errors.As(b.err, &refused) && !refused.Retry {
		return ErrRefused.Wrap(refused.Reason, "events were refused")
	}
	return ErrNotStored.Wrap(b.err, "no acknowledgement")
}

func copyOf(b []byte) []byte {
	c := link.Alloc(len(b))
	copy(c, b)
	return c
}
