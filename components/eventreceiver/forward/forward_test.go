package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// pipe is a transport in memory.
type pipe struct {
	ctx     context.Context
	cancel  context.CancelFunc
	in, out chan []byte
}

func newPipe(ctx context.Context) (client, server *pipe) {
	ctx, cancel := context.WithCancel(ctx)
	a, b := make(chan []byte, 16), make(chan []byte, 16)
	return &pipe{ctx, cancel, a, b}, &pipe{ctx, cancel, b, a}
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) Send(f *linkv1.Frame) error {
	b := link.Alloc(len(f.Data))
	copy(b, f.Data)
	select {
	case p.out <- b:
		return nil
	case <-p.ctx.Done():
		return io.EOF
	}
}

func (p *pipe) Recv() (*linkv1.Frame, error) {
	select {
	case b := <-p.in:
		return &linkv1.Frame{Data: b}, nil
	case <-p.ctx.Done():
		return nil, errors.New("broken pipe")
	}
}

// peer is the consuming side of one consumer.
type peer struct {
	// take answers a frame; it may keep it.
	take func(*link.Incoming)

	// mu guards all below.
	mu   sync.Mutex
	away bool
	back chan struct{}
	conn *pipe
	wg   sync.WaitGroup
}

// open is what consumer.open does, without a component: it waits while the peer is away.
func (p *peer) open(c *consumer) link.Opener {
	return func(ctx context.Context) (link.Transport, error) {
		p.mu.Lock()
		back := p.back
		if !p.away {
			back = nil
		}
		p.mu.Unlock()
		if back != nil {
			select {
			case <-back:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		client, server := newPipe(ctx)
		p.mu.Lock()
		p.conn = server
		p.mu.Unlock()
		p.wg.Go(func() {
			_ = link.New(server, link.Options{}).Run(func(in *link.Incoming) error {
				if in.Kind != frame.Open {
					p.take(in)
				}
				return nil
			})
		})
		c.up.Store(true)
		return &watched{client, c}, nil
	}
}

// leave breaks the link; the peer comes back with come.
func (p *peer) leave() {
	p.mu.Lock()
	p.away, p.back = true, make(chan struct{})
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		conn.cancel()
	}
}

func (p *peer) come() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = false
	close(p.back)
}

func layout(t *testing.T, text string) *databridge.Layout {
	d, _, err := streamdef.Parse("", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return databridge.NewLayout(d)
}

// setup makes a forwarder with one consumer of stream s.
func setup(t *testing.T, p *peer, durable bool) (*Forwarder, *databridge.Layout) {
	f := New(t.Context(), Timing{}, func(string, ...any) {})
	l := layout(t, `{name:s,durable:none,payloadData:[{name:n,type:int}]}`)
	if durable {
		l = layout(t, `{name:s,payloadData:[{name:n,type:int}]}`)
	}
	if p == nil {
		return f, l
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &consumer{name: "peer", log: f.log, cancel: cancel, pumped: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.producer = link.NewProducer(ctx, p.open(c), link.Options{})
	go c.pump(ctx)
	f.links["peer"] = c
	r := &route{}
	if durable {
		r.durable = []*consumer{c}
	} else {
		r.volatile = []*consumer{c}
	}
	f.routes.Store(&map[string]*route{"s:1.0.0": r})
	return f, l
}

func parts(t *testing.T, l *databridge.Layout, counter uint64) []databridge.Part {
	rows := databridge.NewRows(l)
	if err := rows.Add(1, []any{int32(counter)}, nil); err != nil {
		t.Fatal(err)
	}
	out, err := rows.Parts(databridge.Stamp{Counter: counter}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHold: a batch waits 10 s for a consumer that is away, whether it was sent already or not; no timer delays the usual answer.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []uint64
		var kept []*link.Incoming
		keep := false
		p := &peer{take: func(in *link.Incoming) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, in.Counter)
			if keep {
				kept = append(kept, in)
				return
			}
			in.Ack()
		}}
		f, l := setup(t, p, true)
		synctest.Wait()
		began := time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 1)); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		// Away before the batch comes.
		p.leave()
		synctest.Wait()
		began = time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 2)); !errors.Is(err, ErrNotStored) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		// Back within the time.
		time.AfterFunc(9*time.Second, p.come)
		began = time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 3)); err != nil || time.Since(began) > 9500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		// Away after the batch was sent: it is sent again when the consumer is back, but its sender has been told.
		mu.Lock()
		keep = true
		mu.Unlock()
		time.AfterFunc(time.Second, p.leave)
		began = time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 4)); !errors.Is(err, ErrNotStored) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		mu.Lock()
		keep = false
		mu.Unlock()
		p.come()
		time.Sleep(time.Second)
		mu.Lock()
		if got := fmt.Sprint(seen); got != "[1 3 4 4]" {
			t.Errorf("the consumer saw %s", got)
		}
		mu.Unlock()
		f.Close()
		p.wg.Wait()
	})
}

// TestPatience: a consumer that is there and does not answer is waited for as long as agents do.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{take: func(in *link.Incoming) {}}
		f, l := setup(t, p, true)
		synctest.Wait()
		began := time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 1)); !errors.Is(err, ErrNotStored) || time.Since(began) != 25*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		f.Close()
		p.wg.Wait()
	})
}

var errTest = cause.Define("CBN-RCV-991", "test", "")

func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{take: func(in *link.Incoming) { in.Refuse(errTest.New("as asked"), in.Counter == 2) }}
		f, l := setup(t, p, true)
		if err := f.Forward(t.Context(), parts(t, l, 1)); !errors.Is(err, ErrRefused) || !errors.Is(err, errTest) {
			t.Errorf("%v", err)
		}
		if err := f.Forward(t.Context(), parts(t, l, 2)); !errors.Is(err, ErrNotStored) {
			t.Errorf("%v", err)
		}
		f.Close()
		p.wg.Wait()
	})
}

// TestGate: for 10 s after Open a stream may wait for its first consumer; then it is refused at once.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := setup(t, nil, true)
		f.Open()
		began := time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 1)); !errors.Is(err, ErrNoConsumer) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		began = time.Now()
		if err := f.Forward(t.Context(), parts(t, l, 2)); !errors.Is(err, ErrNoConsumer) || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		f.Close()
		if err := f.Forward(t.Context(), nil); err != nil {
			t.Errorf("nothing to forward: %v", err)
		}
	})
}

// TestVolatileDropsOldest: without credit the queue keeps its 8 MiB, drops the oldest and counts.
func TestVolatileDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{take: func(in *link.Incoming) {}}
		f, l := setup(t, p, false)
		c := f.links["peer"]
		synctest.Wait()
		big := databridge.NewRows(l)
		for range 20_000 {
			if err := big.Add(1, []any{int32(1)}, nil); err != nil {
				t.Fatal(err)
			}
		}
		const batches = 200
		for i := range batches {
			out, err := big.Parts(databridge.Stamp{Counter: uint64(i + 1)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Forward(t.Context(), out); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		c.mu.Lock()
		if c.bytes > QueueBytes || c.dropped == 0 || int(c.dropped)+len(c.queue) > batches || len(c.queue) == 0 {
			t.Errorf("%d bytes in %d batches queued, %d dropped", c.bytes, len(c.queue), c.dropped)
		}
		c.mu.Unlock()
		f.Close()
		p.wg.Wait()
	})
}
