package component

import (
	"bytes"
	"context"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// Batch is events of one stream. It is valid until the handler returns.
type Batch struct {
	// Stream is "name:version".
	Stream string
	frame.Header
	in *link.Incoming
}

// Record decodes the batch: columns `_timestamp`, the attributes in the definition's order, `_arbitrary` (streams.proto). The caller
// releases it.
func (b *Batch) Record() (arrow.RecordBatch, error) { return DecodeRecord(b.in.Schema, b.in.Body) }

// DecodeRecord decodes the body of a BATCH frame under its schema: an Arrow IPC Schema message and one RecordBatch message. The
// caller releases the record.
func DecodeRecord(schema *link.SchemaInfo, body []byte) (arrow.RecordBatch, error) {
	joined := make([]byte, 0, len(schema.Body)+len(body))
	joined = append(append(joined, schema.Body...), body...)
	r, err := ipc.NewReader(bytes.NewReader(joined))
	if err != nil {
		return nil, link.ErrProtocol.Wrap(err, "schema of a batch")
	}
	defer r.Release()
	rec, err := r.Read()
	if err != nil {
		return nil, link.ErrProtocol.Wrap(err, "body of a batch")
	}
	rec.Retain()
	return rec, nil
}

// consumers is the StreamConsumer service of one component: streams by name.
type consumers struct {
	analyticsv1.UnimplementedStreamConsumerServer
	c *C

	// mu guards handlers.
	mu       sync.Mutex
	handlers map[string]func(*link.Incoming)
	regs     map[string]*Registration
	acquired bool
	props    map[string]map[string]string
}

// Consume calls f for each batch of a stream, one at a time per producer; nil means acknowledged, an error refuses the batch.
// The component's component.yaml must provide carbonado.analytics.v1.StreamConsumer with `dynamic: true`. A durable consumer holds
// up the acknowledgement of the producer's agent; others lose the oldest batches when they are slow. May be called at any time.
func Consume(c *C, stream string, f func(context.Context, *Batch) error, durable ...bool) *Consumption {
	return ConsumeFrames(c, stream, len(durable) > 0 && durable[0], func(in *link.Incoming) {
		if err := f(c.ctx, &Batch{Stream: stream, Header: in.Header, in: in}); err != nil {
			in.Refuse(err, false)
			return
		}
		in.Ack()
	})
}

// Consumption ends a Consume.
type Consumption struct {
	s      *consumers
	stream string
}

// ConsumeFrames is Consume for those who pass frames on undecoded: f must answer each frame with Ack or Refuse, at any time. The first
// call for a component must come within Start.
func ConsumeFrames(c *C, stream string, durable bool, f func(*link.Incoming)) *Consumption {
	s := consumersOf(c)
	props := map[string]string{"stream": stream, "durable": "false"}
	if durable {
		props["durable"] = "true"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[stream] = f
	s.props[stream] = props
	if s.acquired {
		s.publish(stream)
	}
	return &Consumption{s, stream}
}

// PrepareConsumer registers the StreamConsumer service without any stream yet. Call it within Start when ConsumeFrames is first
// called later.
func PrepareConsumer(c *C) { consumersOf(c) }

func consumersOf(c *C) *consumers {
	c.mu.Lock()
	for _, m := range c.managed {
		if s, ok := m.(*consumers); ok {
			c.mu.Unlock()
			return s
		}
	}
	c.mu.Unlock()
	s := &consumers{c: c, handlers: map[string]func(*link.Incoming){}, regs: map[string]*Registration{}, props: map[string]map[string]string{}}
	analyticsv1.RegisterStreamConsumerServer(c, s)
	return s
}

// publish announces one stream; s.mu is held.
func (s *consumers) publish(stream string) {
	if old := s.regs[stream]; old != nil {
		old.Update(s.props[stream])
		return
	}
	r, err := s.c.Publish(analyticsv1.StreamConsumer_ServiceDesc.ServiceName, s.props[stream])
	if err != nil {
		s.c.log.Error("stream consumer", "stream", stream, "error", err)
		return
	}
	s.regs[stream] = r
}

// Acquire publishes the streams consumed so far.
func (s *consumers) Acquire(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acquired = true
	for stream := range s.handlers {
		s.publish(stream)
	}
	return nil
}

// Drain withdraws all streams.
func (s *consumers) Drain(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acquired = false
	clear(s.regs)
	return nil
}

// Close ends the consumption: producers stop sending; frames on their way are refused and may be sent elsewhere.
func (c *Consumption) Close() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if r := c.s.regs[c.stream]; r != nil {
		r.Withdraw()
	}
	delete(c.s.regs, c.stream)
	delete(c.s.handlers, c.stream)
	delete(c.s.props, c.stream)
}

// Consume implements analyticsv1.StreamConsumerServer: one call is one producer's link.
func (s *consumers) Consume(stream grpc.BidiStreamingServer[linkv1.Frame, linkv1.Frame]) error {
	return link.New(stream, link.Options{}).Run(func(in *link.Incoming) error {
		if in.Kind == frame.Open {
			return nil
		}
		s.mu.Lock()
		f := s.handlers[in.Name]
		s.mu.Unlock()
		if f == nil {
			in.Refuse(link.ErrRefused.New("%s no longer consumes %s", s.c.Name(), in.Name), true)
			return nil
		}
		f(in)
		return nil
	})
}
