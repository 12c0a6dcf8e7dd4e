package link

import (
	"context"
	"sync"
	"time"

	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// Opener opens a transport to the consumer. It may wait, within ctx, while the consumer is being restarted.
type Opener func(ctx context.Context) (Transport, error)

// Producer sends frames to one consumer over as many links as it takes: after a break it opens a new link and sends again, in
// order, what was not acknowledged. A frame may so arrive twice; consumers drop repeats by (source, counter, part).
type Producer struct {
	open   Opener
	opts   Options
	cancel context.CancelFunc
	done   chan struct{}

	// order serialises Send and replay; it is a channel so that waiting for it can be cancelled.
	order chan struct{}

	// mu guards the fields below.
	mu      sync.Mutex
	cur     *Link
	changed chan struct{} // closed and renewed when cur changes
	pending []*item       // sent or to be sent, not finished, in order
	numbers map[string]uint32
	opened  map[uint32]bool            // on cur
	sent    map[uint32]map[string]bool // schemas by stream on cur
	lastErr error
}

type item struct {
	b        []byte
	name     string
	stream   uint32
	schema   *SchemaInfo
	done     func(error)
	finished bool
}

// NewProducer starts a producer that lives until Close or the end of ctx.
func NewProducer(ctx context.Context, open Opener, opts Options) *Producer {
	ctx, cancel := context.WithCancel(ctx)
	p := &Producer{
		open: open, opts: opts, cancel: cancel,
		done:    make(chan struct{}),
		order:   make(chan struct{}, 1),
		changed: make(chan struct{}),
		numbers: map[string]uint32{},
	}
	go p.run(ctx)
	return p
}

// Close ends the producer; frames not yet acknowledged get ErrClosed. It returns when all is finished.
func (p *Producer) Close() {
	p.cancel()
	<-p.done
}

// Send sends one sealed BATCH (or DELETE, TRUNCATE, MARK) frame of the named stream. It returns when the frame has a place in
// the order and credit; done is called exactly once, unless Send answers an error. The bytes must stay untouched until then.
// A schema's SCHEMA frame goes out by itself before its first batch on each link.
func (p *Producer) Send(ctx context.Context, name string, schema *SchemaInfo, b []byte, done func(error)) error {
	it := &item{b: b, name: name, schema: schema, done: done}
	for {
		l, err := p.link(ctx)
		if err != nil {
			return err
		}
		sent, err := p.trySend(ctx, l, it)
		if sent || err != nil {
			return err
		}
	}
}

// trySend sends an item on l. It answers false without an error if l is no longer the producer's link.
func (p *Producer) trySend(ctx context.Context, l *Link, it *item) (bool, error) {
	select {
	case p.order <- struct{}{}:
		defer func() { <-p.order }()
	case <-ctx.Done():
		return false, ctx.Err()
	case <-p.done:
		return false, ErrClosed.New("producer is closed")
	}
	p.mu.Lock()
	if p.cur != l {
		p.mu.Unlock()
		return false, nil
	}
	n, ok := p.numbers[it.name]
	if !ok {
		n = uint32(len(p.numbers) + 1)
		p.numbers[it.name] = n
	}
	it.stream = n
	p.pending = append(p.pending, it)
	p.mu.Unlock()
	if p.sendOn(ctx, l, it) == nil {
		return true, nil
	}
	// It was not sent, and both the replay and the end of run wait for the order: the item is still the last one.
	p.mu.Lock()
	p.pending = p.pending[:len(p.pending)-1]
	if p.cur == l && ctx.Err() == nil {
		p.cur = nil // its Run is about to end
	}
	p.mu.Unlock()
	return false, ctx.Err()
}

// link waits for a link that is up.
func (p *Producer) link(ctx context.Context) (*Link, error) {
	for {
		p.mu.Lock()
		l, changed, last := p.cur, p.changed, p.lastErr
		p.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if last != nil {
				return nil, ErrClosed.Wrap(last, "no link within the deadline")
			}
			return nil, ctx.Err()
		case <-p.done:
			return nil, ErrClosed.New("producer is closed")
		}
	}
}

func (p *Producer) sendOn(ctx context.Context, l *Link, it *item) error {
	p.mu.Lock()
	needOpen := !p.opened[it.stream]
	p.opened[it.stream] = true
	schemas := p.sent[it.stream]
	if schemas == nil {
		schemas = map[string]bool{}
		p.sent[it.stream] = schemas
	}
	needSchema := it.schema != nil && !schemas[string(it.schema.ID[:])]
	if needSchema {
		schemas[string(it.schema.ID[:])] = true
	}
	p.mu.Unlock()
	if needOpen {
		if err := l.SendOpen(it.stream, &linkv1.Open{Kind: linkv1.Open_KIND_STREAM, Name: it.name}); err != nil {
			return err
		}
	}
	if needSchema {
		if err := l.SendSchema(it.stream, it.schema); err != nil {
			return err
		}
	}
	return l.Send(ctx, it.b, it.stream, func(err error) { p.finish(l, it, err) })
}

// finish takes an acknowledgement or refusal. A frame whose link broke stays pending and is sent again.
func (p *Producer) finish(l *Link, it *item, err error) {
	if isClosed(err) {
		return
	}
	p.mu.Lock()
	if it.finished {
		p.mu.Unlock()
		return
	}
	it.finished = true
	for len(p.pending) > 0 && p.pending[0].finished {
		p.pending[0] = nil
		p.pending = p.pending[1:]
	}
	p.mu.Unlock()
	it.done(err)
}

func isClosed(err error) bool {
	if err == nil {
		return false
	}
	_, refused := err.(*Refused)
	return !refused
}

// run opens links one after the other until ctx ends.
func (p *Producer) run(ctx context.Context) {
	defer close(p.done)
	delay := time.Millisecond
	for ctx.Err() == nil {
		t, err := p.open(ctx)
		if err == nil {
			delay = time.Millisecond
			err = p.runLink(ctx, t)
		}
		p.mu.Lock()
		p.lastErr = err
		p.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			delay = min(2*delay, 250*time.Millisecond)
		}
	}
	// A Send that still holds the order takes its item back first and answers with the error itself; the link it writes to has ended.
	p.order <- struct{}{}
	p.mu.Lock()
	pending := p.pending
	p.pending = nil
	p.mu.Unlock()
	<-p.order
	for _, it := range pending {
		if !it.finished {
			it.finished = true
			it.done(ErrClosed.New("producer was closed before the acknowledgement"))
		}
	}
}

func (p *Producer) runLink(ctx context.Context, t Transport) error {
	l := New(t, p.opts)
	ended := make(chan error, 1)
	go func() {
		ended <- l.Run(func(in *Incoming) error {
			return ErrProtocol.New("a consumer sent a %s frame", in.Kind)
		})
	}()
	replayed := p.replay(ctx, l)
	if replayed == nil {
		p.mu.Lock()
		p.cur = l
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
	err := <-ended
	p.mu.Lock()
	p.cur = nil
	p.mu.Unlock()
	if err == nil {
		err = replayed
	}
	return err
}

// replay sends all pending frames on a new link. It owns the order meanwhile.
func (p *Producer) replay(ctx context.Context, l *Link) error {
	select {
	case p.order <- struct{}{}:
		defer func() { <-p.order }()
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	p.opened, p.sent = map[uint32]bool{}, map[uint32]map[string]bool{}
	pending := append([]*item(nil), p.pending...)
	p.mu.Unlock()
	for _, it := range pending {
		p.mu.Lock()
		skip := it.finished
		p.mu.Unlock()
		if skip {
			continue
		}
		if err := p.sendOn(ctx, l, it); err != nil {
			return err
		}
	}
	return nil
}
