package forward

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
	"carbonado.dev/sdk/telemetry"
)

// QueueBytes is the queue of a consumer that is not durable: 8 MiB, beyond it the oldest batches are dropped and counted.
const QueueBytes = 8 << 20

// consumer is one consuming process.
type consumer struct {
	name     string
	log      func(msg string, args ...any)
	producer *link.Producer
	cancel   context.CancelFunc
	pumped   chan struct{} // closed when the pump has ended
	up       atomic.Bool   // a link is open
	counters *telemetry.Registry

	// mu guards all below.
	mu      sync.Mutex
	bounds  []*component.Bound
	queue   []queued
	bytes   int
	dropped uint64 // batches
	told    time.Time
	wake    chan struct{} // capacity 1
}

type queued struct {
	layout *databridge.Layout
	buf    []byte
}

func newConsumer(ctx context.Context, name string, log func(string, ...any)) *consumer {
	ctx, cancel := context.WithCancel(ctx)
	c := &consumer{name: name, log: log, cancel: cancel, counters: telemetry.From(ctx), pumped: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.producer = link.NewProducer(ctx, c.open, link.Options{})
	go c.pump(ctx)
	return c
}

func (c *consumer) set(bounds []*component.Bound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bounds = bounds
}

func (c *consumer) close() {
	c.cancel()
	c.producer.Close()
	<-c.pumped
}

// open is the producer's Opener. It waits while the consumer is being restarted.
func (c *consumer) open(ctx context.Context) (link.Transport, error) {
	c.mu.Lock()
	if len(c.bounds) == 0 {
		c.mu.Unlock()
		return nil, ErrNotStored.New("consumer %s is gone", c.name)
	}
	b := c.bounds[0]
	c.mu.Unlock()
	s, err := analyticsv1.NewStreamConsumerClient(b).Consume(ctx, link.CallOption())
	if err != nil {
		return nil, err
	}
	c.up.Store(true)
	return &watched{s, c}, nil
}

// watched notices the end of a link.
type watched struct {
	link.Transport
	c *consumer
}

func (w *watched) Recv() (*linkv1.Frame, error) {
	f, err := w.Transport.Recv()
	if err != nil {
		w.c.up.Store(false)
	}
	return f, err
}

// enqueue takes a batch for a consumer that is not durable.
func (c *consumer) enqueue(l *databridge.Layout, buf []byte) {
	c.mu.Lock()
	c.queue = append(c.queue, queued{l, buf})
	c.bytes += len(buf)
	dropped := 0
	for c.bytes > QueueBytes && len(c.queue) > 1 {
		c.counters.Link(telemetry.Out, c.name, c.queue[0].layout.ID).Dropped(1)
		link.Free(c.queue[0].buf)
		c.bytes -= len(c.queue[0].buf)
		c.queue[0] = queued{}
		c.queue = c.queue[1:]
		dropped++
	}
	c.dropped += uint64(dropped)
	tell := dropped > 0 && time.Since(c.told) > 10*time.Second
	if tell {
		c.told = time.Now()
	}
	total := c.dropped
	c.mu.Unlock()
	if tell {
		c.log("a consumer that is not durable is too slow; batches were dropped", "consumer", c.name, "dropped", total)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// pump sends queued batches as the consumer grants credit.
func (c *consumer) pump(ctx context.Context) {
	defer close(c.pumped)
	for {
		c.mu.Lock()
		var q queued
		if len(c.queue) > 0 {
			q = c.queue[0]
			c.queue[0] = queued{}
			c.queue = c.queue[1:]
			c.bytes -= len(q.buf)
		}
		c.mu.Unlock()
		if q.layout == nil {
			select {
			case <-c.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		free := func(error) { link.Free(q.buf) }
		if err := c.producer.Send(ctx, q.layout.ID, q.layout.Schema, q.buf, free); err != nil {
			free(nil)
			if ctx.Err() != nil {
				return
			}
		}
	}
}
