package link

import (
	"bytes"
	"context"
	"strconv"
	"sync"

	"carbonado.dev/sdk/frame"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	"carbonado.dev/sdk/telemetry"
)

// sampleBytes is the largest frame of which a sample is taken: it is copied.
const sampleBytes = 256 << 10

// meter counts what passes over one link. Without a registry on the transport's context it does nothing.
type meter struct {
	registry *telemetry.Registry
	peer     string

	// mu guards the fields below.
	mu      sync.Mutex
	names   map[uint32]string
	schemas map[uint32]*SchemaInfo
	out     map[uint32]*telemetry.Link
	in      map[string]*telemetry.Link
}

func (m *meter) open(ctx context.Context) {
	m.registry, m.peer = telemetry.From(ctx), telemetry.Peer(ctx)
	m.names, m.schemas, m.out, m.in = map[uint32]string{}, map[uint32]*SchemaInfo{}, map[uint32]*telemetry.Link{}, map[string]*telemetry.Link{}
}

// name and schema note what outgoing frames are of.
func (m *meter) name(stream uint32, name string) {
	if m.registry == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[stream] = name
	m.out[stream] = m.registry.Link(telemetry.Out, m.peer, name)
}

func (m *meter) schema(stream uint32, s *SchemaInfo) {
	if m.registry == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.schemas[stream] = s
}

func (m *meter) received(in *Incoming) {
	if m.registry == nil {
		return
	}
	m.incoming(in.Name).Frame(in.Rows, len(in.Bytes))
	if m.registry.Tracing() && in.Trace != (frame.Trace{}) {
		in.span, _ = m.registry.Start(telemetry.Trace(in.Trace), "take "+in.Name, diagv1.Span_KIND_CONSUMER)
		in.span.Set("from", m.peer)
		in.span.Set("events", strconv.Itoa(int(in.Rows)))
	}
	if m.registry.Watched() {
		m.registry.SawFrame(telemetry.In, m.peer, in.Name, in.Kind.String(), in.Rows, len(in.Bytes), m.content(in.Schema, in.Body))
	}
}

func (m *meter) incoming(name string) *telemetry.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.in[name]
	if l == nil {
		l = m.registry.Link(telemetry.In, m.peer, name)
		m.in[name] = l
	}
	return l
}

func (m *meter) refused(in *Incoming) {
	if m.registry != nil {
		m.incoming(in.Name).Refused()
	}
}

func (m *meter) sent(b []byte, stream uint32, creditBytes uint64, creditFrames uint32) {
	if m.registry == nil {
		return
	}
	m.mu.Lock()
	l, name, schema := m.out[stream], m.names[stream], m.schemas[stream]
	m.mu.Unlock()
	l.Frame(frame.Rows(b), len(b))
	l.Credit(creditBytes, creditFrames)
	if m.registry.Watched() {
		if h, body, _, err := frame.Parse(b); err == nil {
			m.registry.SawFrame(telemetry.Out, m.peer, name, h.Kind.String(), h.Rows, len(b), m.content(schema, body))
		}
	}
}

// traced gives done with the span of a frame that is about to be sent: it ends when the frame is acknowledged or refused.
func (m *meter) traced(b []byte, stream uint32, done func(error)) func(error) {
	if m.registry == nil || !m.registry.Tracing() {
		return done
	}
	h, _, _, err := frame.Parse(b)
	if err != nil || h.Trace == (frame.Trace{}) {
		return done
	}
	m.mu.Lock()
	name := m.names[stream]
	m.mu.Unlock()
	span, _ := m.registry.Start(telemetry.Trace(h.Trace), "send "+name, diagv1.Span_KIND_PRODUCER)
	span.Set("to", m.peer)
	return func(err error) {
		span.End(err)
		done(err)
	}
}

// content copies a body for a sample, and makes what writes it.
func (m *meter) content(schema *SchemaInfo, body []byte) func() func() string {
	if m.registry.Render == nil || schema == nil || len(body) > sampleBytes {
		return nil
	}
	return func() func() string {
		copied := bytes.Clone(body)
		return func() string { return m.registry.Render(schema.Body, copied) }
	}
}
