package link

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is a transport in memory. Each end reads what the other sends.
type pipe struct {
	ctx     context.Context
	cancel  context.CancelFunc
	in, out chan []byte
}

func newPipe(ctx context.Context) (client, server *pipe) {
	ctx, cancel := context.WithCancel(ctx)
	a, b := make(chan []byte, 16), make(chan []byte, 16)
	return &pipe{ctx: ctx, cancel: cancel, in: a, out: b}, &pipe{ctx: ctx, cancel: cancel, in: b, out: a}
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) Send(f *linkv1.Frame) error {
	b := Alloc(len(f.Data))
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

func batch(t *testing.T, counter uint64) []byte {
	t.Helper()
	b, err := frame.Append(nil, &frame.Header{Kind: frame.Batch, Counter: counter, Schema: frame.SchemaID{1}, Rows: 1}, []byte("body of the batch"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var testSchema = &SchemaInfo{ID: frame.SchemaID{1}, Body: []byte("schema")}

// consumer serves pipes and records counters; each life ends when kill is called.
type consumer struct {
	mu       sync.Mutex
	seen     []uint64
	hold     func(counter uint64) bool // leave the frame without an answer
	refuse   func(counter uint64) error
	lives    []*pipe
	arrivals chan uint64
	wg       sync.WaitGroup
}

func newConsumer(t *testing.T) *consumer {
	c := &consumer{arrivals: make(chan uint64, 1024)}
	t.Cleanup(c.wg.Wait)
	return c
}

func (c *consumer) open(ctx context.Context) (Transport, error) {
	client, server := newPipe(ctx)
	c.mu.Lock()
	c.lives = append(c.lives, server)
	c.mu.Unlock()
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		_ = New(server, Options{Frames: 4}).Run(func(in *Incoming) error {
			if in.Kind == frame.Open {
				return nil
			}
			if in.Name != "s:1.0.0" || string(in.Schema.Body) != "schema" || frame.CheckBody(in.Bytes) != nil {
				return errors.New("bad frame")
			}
			c.mu.Lock()
			c.seen = append(c.seen, in.Counter)
			hold := c.hold != nil && c.hold(in.Counter)
			var refuse error
			if c.refuse != nil {
				refuse = c.refuse(in.Counter)
			}
			c.mu.Unlock()
			c.arrivals <- in.Counter
			switch {
			case hold:
			case refuse != nil:
				in.Refuse(refuse, true)
			default:
				in.Ack()
			}
			return nil
		})
	}()
	return client, nil
}

func (c *consumer) breakLink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lives[len(c.lives)-1].cancel()
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestProducerAcknowledgesAllUnderSmallCredit(t *testing.T) {
	ctx := testContext(t)
	c := newConsumer(t)
	p := NewProducer(ctx, c.open, Options{})
	defer p.Close()
	const n = 200
	acked := make(chan error, n)
	for i := range uint64(n) {
		if err := p.Send(ctx, "s:1.0.0", testSchema, batch(t, i+1), func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, got := range c.seen {
		if got != uint64(i+1) {
			t.Fatalf("frame %d came as %d", i+1, got)
		}
	}
}

func TestProducerReplaysInOrderAfterABreak(t *testing.T) {
	ctx := testContext(t)
	c := newConsumer(t)
	c.hold = func(counter uint64) bool { return counter == 2 || counter == 3 }
	p := NewProducer(ctx, c.open, Options{})
	defer p.Close()
	acked := make(chan uint64, 3)
	for i := uint64(1); i <= 3; i++ {
		if err := p.Send(ctx, "s:1.0.0", testSchema, batch(t, i), func(err error) {
			if err != nil {
				t.Error(err)
			}
			acked <- i
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-acked; got != 1 {
		t.Fatalf("acknowledged %d first", got)
	}
	for range 3 {
		<-c.arrivals
	}
	c.mu.Lock()
	c.hold = nil
	c.mu.Unlock()
	c.breakLink()
	if a, b := <-acked, <-acked; a != 2 || b != 3 {
		t.Fatalf("acknowledged %d, %d after the break", a, b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.seen; len(got) != 5 || got[3] != 2 || got[4] != 3 {
		t.Fatalf("consumer saw %v, want 1 2 3 2 3", got)
	}
}

func TestRefusalReachesTheSenderAndOthersGoOn(t *testing.T) {
	ctx := testContext(t)
	kind := cause.Define("CBN-LINK-901", "test", "")
	c := newConsumer(t)
	c.refuse = func(counter uint64) error {
		if counter == 1 {
			return kind.New("not this one")
		}
		return nil
	}
	p := NewProducer(ctx, c.open, Options{})
	defer p.Close()
	results := make(chan error, 2)
	for i := uint64(1); i <= 2; i++ {
		if err := p.Send(ctx, "s:1.0.0", testSchema, batch(t, i), func(err error) { results <- err }); err != nil {
			t.Fatal(err)
		}
	}
	first, second := <-results, <-results
	var refused *Refused
	if !errors.Is(first, ErrRefused) || !errors.Is(first, kind) || !errors.As(first, &refused) || !refused.Retry {
		t.Errorf("first: %v", first)
	}
	if second != nil {
		t.Errorf("second: %v", second)
	}
}

func TestSendWaitsForALinkUntilItsDeadline(t *testing.T) {
	p := NewProducer(testContext(t), func(ctx context.Context) (Transport, error) {
		return nil, errors.New("nobody is there")
	}, Options{})
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	err := p.Send(ctx, "s:1.0.0", testSchema, batch(t, 1), func(error) { t.Error("done was called") })
	if err == nil || !errors.Is(err, ErrClosed) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestPendingFramesAreReportedAtClose(t *testing.T) {
	ctx := testContext(t)
	c := newConsumer(t)
	c.hold = func(uint64) bool { return true }
	p := NewProducer(ctx, c.open, Options{})
	result := make(chan error, 1)
	if err := p.Send(ctx, "s:1.0.0", testSchema, batch(t, 1), func(err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	<-c.arrivals
	p.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// A Send in progress owns the order and takes its own item back on an error, so Close must not touch the pending ones before.
func TestCloseWaitsForASendInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t)
		c.hold = func(uint64) bool { return true }
		p := NewProducer(t.Context(), c.open, Options{})
		reports := make(chan error, 1)
		if err := p.Send(t.Context(), "s:1.0.0", testSchema, batch(t, 1), func(err error) { reports <- err }); err != nil {
			t.Fatal(err)
		}
		<-c.arrivals
		p.order <- struct{}{} // as a Send does
		closed := make(chan struct{})
		go func() { p.Close(); close(closed) }()
		synctest.Wait()
		if len(reports) != 0 {
			t.Error("the pending frames were reported while a Send was in progress")
		}
		<-p.order
		<-closed
		if err := <-reports; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
