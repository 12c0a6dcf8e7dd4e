// Package telemetry counts what passes through a component, and lets somebody look at it while it does: calls, frames of links, spans.
// It must not know who looks, nor what the calls and frames are about.
package telemetry

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

// Directions of traffic, seen from the component.
const (
	In  = "in"
	Out = "out"
)

// bounds are the upper bounds of the buckets of durations, in seconds.
var bounds = [...]float64{0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10}

// Registry holds the counters, taps and spans of one component. The nil Registry counts nothing. Safe for concurrent use.
type Registry struct {
	calls sync.Map // callKey -> *Call
	links sync.Map // linkKey -> *Link
	taps  atomic.Pointer[[]*Tap]
	// tapsMu serialises changes of taps.
	tapsMu sync.Mutex
	spans  atomic.Pointer[spans]

	// Render writes the first rows of a frame's body as JSON, for samples; set before anything is counted. Nil writes none.
	Render func(schema, body []byte) string

	// mu guards gauges.
	mu     sync.Mutex
	gauges map[string]gauge
}

type gauge struct {
	help  string
	kind  diagv1.Metric_Kind
	value func() float64
}

// New makes an empty registry.
func New() *Registry { return &Registry{gauges: map[string]gauge{}} }

type registryKey struct{}
type peerKey struct{}

// With puts the registry on a context; what is done under it is counted there.
func With(ctx context.Context, r *Registry) context.Context {
	return context.WithValue(ctx, registryKey{}, r)
}

// From is the registry of a context, or nil.
func From(ctx context.Context) *Registry {
	r, _ := ctx.Value(registryKey{}).(*Registry)
	return r
}

// WithPeer names the component at the other end of what is done under the context.
func WithPeer(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, peerKey{}, name)
}

// Peer is the component at the other end, or empty.
func Peer(ctx context.Context) string {
	name, _ := ctx.Value(peerKey{}).(string)
	return name
}

// Counter reports a number that only grows; Gauge one that moves. value is called at each look and must not block.
func (r *Registry) Counter(name, help string, value func() float64) {
	r.own(name, gauge{help, diagv1.Metric_KIND_COUNTER, value})
}

// Gauge reports a number that moves.
func (r *Registry) Gauge(name, help string, value func() float64) {
	r.own(name, gauge{help, diagv1.Metric_KIND_GAUGE, value})
}

func (r *Registry) own(name string, g gauge) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gauges[name] = g
}

type callKey struct{ direction, method string }

// Call counts one method, in one direction.
type Call struct {
	count, failed, under atomic.Uint64
	nanos                atomic.Uint64
	buckets              [len(bounds)]atomic.Uint64
}

// Call is the counter of a method ("/service/Method"); nil on a nil registry.
func (r *Registry) Call(direction, method string) *Call {
	if r == nil {
		return nil
	}
	key := callKey{direction, method}
	if c, ok := r.calls.Load(key); ok {
		return c.(*Call)
	}
	c, _ := r.calls.LoadOrStore(key, &Call{})
	return c.(*Call)
}

// Begin counts a call that is under way; Done ends it.
func (c *Call) Begin() {
	if c != nil {
		c.under.Add(1)
	}
}

// Done counts a call that has ended.
func (c *Call) Done(took time.Duration, failed bool) {
	if c == nil {
		return
	}
	c.under.Add(^uint64(0))
	c.count.Add(1)
	c.nanos.Add(uint64(took))
	if failed {
		c.failed.Add(1)
	}
	seconds := took.Seconds()
	for i, b := range bounds {
		if seconds <= b {
			c.buckets[i].Add(1)
			return
		}
	}
}

type linkKey struct{ direction, peer, stream string }

// Link counts the frames of one stream with one peer, in one direction.
type Link struct {
	frames, rows, bytes, refused, dropped atomic.Uint64
	creditBytes, creditFrames             atomic.Int64
}

// Link is the counter of a stream; nil on a nil registry.
func (r *Registry) Link(direction, peer, stream string) *Link {
	if r == nil {
		return nil
	}
	key := linkKey{direction, peer, stream}
	if l, ok := r.links.Load(key); ok {
		return l.(*Link)
	}
	l, _ := r.links.LoadOrStore(key, &Link{})
	return l.(*Link)
}

// Frame counts one frame.
func (l *Link) Frame(rows uint32, bytes int) {
	if l == nil {
		return
	}
	l.frames.Add(1)
	l.rows.Add(uint64(rows))
	l.bytes.Add(uint64(bytes))
}

// Refused counts a frame that was not taken, Dropped frames that were given up because the peer was too slow.
func (l *Link) Refused() {
	if l != nil {
		l.refused.Add(1)
	}
}

// Dropped counts frames that were given up.
func (l *Link) Dropped(n int) {
	if l != nil {
		l.dropped.Add(uint64(n))
	}
}

// Credit sets what the peer grants now.
func (l *Link) Credit(bytes uint64, frames uint32) {
	if l != nil {
		l.creditBytes.Store(int64(bytes))
		l.creditFrames.Store(int64(frames))
	}
}

// family collects the samples of one name.
type family struct{ m *diagv1.Metric }

func (f family) add(labels map[string]string, value float64) {
	f.m.Samples = append(f.m.Samples, &diagv1.Sample{Labels: labels, Value: value})
}

// Metrics is everything as it is now, by name.
func (r *Registry) Metrics() []*diagv1.Metric {
	var out []*diagv1.Metric
	family := func(name, help string, kind diagv1.Metric_Kind) family {
		m := &diagv1.Metric{Name: name, Help: help, Kind: kind}
		out = append(out, m)
		return family{m}
	}
	counter, gaugeKind := diagv1.Metric_KIND_COUNTER, diagv1.Metric_KIND_GAUGE
	seconds := family("carbonado_call_seconds", "Duration of calls that have ended.", diagv1.Metric_KIND_HISTOGRAM)
	failed := family("carbonado_calls_failed_total", "Calls that ended with an error.", counter)
	under := family("carbonado_calls_under_way", "Calls that have not ended.", gaugeKind)
	r.calls.Range(func(k, v any) bool {
		key, c := k.(callKey), v.(*Call)
		service, method := split(key.method)
		labels := map[string]string{"direction": key.direction, "service": service, "method": method}
		s := &diagv1.Sample{Labels: labels, Count: c.count.Load(), Value: float64(c.nanos.Load()) / 1e9}
		sum := uint64(0)
		for i, b := range bounds {
			sum += c.buckets[i].Load()
			s.Buckets = append(s.Buckets, &diagv1.Bucket{UpperBound: b, Count: sum})
		}
		seconds.m.Samples = append(seconds.m.Samples, s)
		failed.add(labels, float64(c.failed.Load()))
		under.add(labels, float64(c.under.Load()))
		return true
	})
	frames := family("carbonado_link_frames_total", "Frames of links.", counter)
	rows := family("carbonado_link_events_total", "Events in the frames of links.", counter)
	bytes := family("carbonado_link_bytes_total", "Bytes of the frames of links.", counter)
	refused := family("carbonado_link_refused_total", "Frames that were refused.", counter)
	dropped := family("carbonado_link_dropped_total", "Frames that were given up because a consumer that is not durable was too slow.", counter)
	creditBytes := family("carbonado_link_credit_bytes", "Bytes that the consumer grants now.", gaugeKind)
	creditFrames := family("carbonado_link_credit_frames", "Frames that the consumer grants now.", gaugeKind)
	r.links.Range(func(k, v any) bool {
		key, l := k.(linkKey), v.(*Link)
		labels := map[string]string{"direction": key.direction, "peer": key.peer, "stream": key.stream}
		frames.add(labels, float64(l.frames.Load()))
		rows.add(labels, float64(l.rows.Load()))
		bytes.add(labels, float64(l.bytes.Load()))
		refused.add(labels, float64(l.refused.Load()))
		dropped.add(labels, float64(l.dropped.Load()))
		if key.direction == Out {
			creditBytes.add(labels, float64(l.creditBytes.Load()))
			creditFrames.add(labels, float64(l.creditFrames.Load()))
		}
		return true
	})
	r.mu.Lock()
	own := maps.Clone(r.gauges)
	r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(own)) {
		g := own[name]
		family(name, g.help, g.kind).add(map[string]string{}, g.value())
	}
	out = slices.DeleteFunc(out, func(m *diagv1.Metric) bool { return len(m.Samples) == 0 })
	return out
}

// split takes "/service/Method" apart.
func split(full string) (service, method string) {
	for i := len(full) - 1; i > 0; i-- {
		if full[i] == '/' {
			return full[1:i], full[i+1:]
		}
	}
	return full, ""
}
