package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

// TraceKey is the metadata key of a trace context (W3C Trace Context).
const TraceKey = "traceparent"

// spanQueue is how many finished spans wait for their reader before the oldest are left out.
const spanQueue = 4096

// Trace is a W3C trace context as a frame carries it: trace id (16 bytes), span id (8), flags (1). All zeros is none.
type Trace [25]byte

// Sampled tells whether spans of the trace are kept.
func (t Trace) Sampled() bool { return t[24]&1 != 0 }

// ID is the trace id in hexadecimal.
func (t Trace) ID() string { return hex.EncodeToString(t[:16]) }

// Header is the value of traceparent.
func (t Trace) Header() string {
	return "00-" + hex.EncodeToString(t[:16]) + "-" + hex.EncodeToString(t[16:24]) + "-" + hex.EncodeToString(t[24:])
}

// ParseTrace reads a traceparent; anything else is none.
func ParseTrace(header string) (t Trace) {
	parts := strings.Split(header, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 || parts[0] == "ff" {
		return Trace{}
	}
	b, err := hex.DecodeString(parts[1] + parts[2] + parts[3])
	if err != nil {
		return Trace{}
	}
	copy(t[:], b)
	if [16]byte(t[:16]) == ([16]byte{}) || [8]byte(t[16:24]) == ([8]byte{}) {
		return Trace{}
	}
	return t
}

// NewTrace begins a trace, for those who have no component around them.
func NewTrace() (t Trace) {
	_, _ = rand.Read(t[:24]) // never fails (crypto/rand)
	t[24] = 1
	return t
}

type traceKey struct{}

// WithTrace puts a trace on a context: what is done under it is part of the trace.
func WithTrace(ctx context.Context, t Trace) context.Context {
	if t == (Trace{}) {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceFrom is the trace of a context, or none.
func TraceFrom(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

// spans collects finished spans while somebody reads them.
type spans struct {
	ratio float64

	// mu guards the fields below.
	mu    sync.Mutex
	queue []*diagv1.Span
	wake  chan struct{}
	out   uint64
}

// Tracing tells whether somebody reads spans: the one load that traffic costs while nobody does.
func (r *Registry) Tracing() bool { return r != nil && r.spans.Load() != nil }

// Spans hands finished spans to send until ctx ends or send fails. A second reader takes the place of the first.
func (r *Registry) Spans(ctx context.Context, ratio float64, send func([]*diagv1.Span, uint64) error) error {
	s := &spans{ratio: ratio, wake: make(chan struct{}, 1)}
	r.spans.Store(s)
	defer r.spans.CompareAndSwap(s, nil)
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
		s.mu.Lock()
		batch, out := s.queue, s.out
		s.queue = nil
		s.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		if err := send(batch, out); err != nil {
			return err
		}
	}
}

// Span is one piece of work. The nil Span is one that is not kept.
type Span struct {
	s    *spans
	span *diagv1.Span
	// Trace is what goes on to others: the same trace, this span.
	Trace Trace
}

// Start begins a span under a parent; without one it begins a trace, for the share that is asked for. It is nil, and trace is the parent,
// while nobody reads spans or the trace is not kept.
func (r *Registry) Start(parent Trace, name string, kind diagv1.Span_Kind) (*Span, Trace) {
	if !r.Tracing() {
		return nil, parent
	}
	s := r.spans.Load()
	if s == nil {
		return nil, parent
	}
	t := parent
	if parent == (Trace{}) {
		t = NewTrace()
		if mathrand.Float64() >= s.ratio {
			t[24] = 0
		}
	}
	if !t.Sampled() {
		return nil, t
	}
	span := &diagv1.Span{TraceId: append([]byte(nil), t[:16]...), Name: name, Kind: kind, StartUnixNano: time.Now().UnixNano()}
	if parent != (Trace{}) {
		span.ParentId = append([]byte(nil), parent[16:24]...)
	}
	_, _ = rand.Read(t[16:24]) // never fails (crypto/rand)
	span.SpanId = append([]byte(nil), t[16:24]...)
	return &Span{s, span, t}, t
}

// Set adds an attribute.
func (s *Span) Set(key, value string) {
	if s == nil || value == "" {
		return
	}
	if s.span.Attributes == nil {
		s.span.Attributes = map[string]string{}
	}
	s.span.Attributes[key] = value
}

// End ends the span; err is nil if it went well. It must be called once.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	s.span.EndUnixNano = time.Now().UnixNano()
	if err != nil {
		s.span.Error = err.Error()
	}
	s.s.mu.Lock()
	if len(s.s.queue) == spanQueue {
		s.s.queue = s.s.queue[1:]
		s.s.out++
	}
	s.s.queue = append(s.s.queue, s.span)
	s.s.mu.Unlock()
	select {
	case s.s.wake <- struct{}{}:
	default:
	}
}
