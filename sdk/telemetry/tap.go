package telemetry

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

// tapQueue is how many events a slow watcher may be behind before the oldest are left out.
const tapQueue = 256

// Tap watches calls of one service and frames of one stream.
type Tap struct {
	r       *Registry
	request *diagv1.TapRequest

	// mu guards the fields below; no send or call waits for it longer than an append takes.
	mu     sync.Mutex
	queue  []Seen
	wake   chan struct{}
	seen   uint64
	rows   uint64
	bytes  uint64
	out    uint64
	second time.Time
	taken  uint32
}

// Seen is one call or frame that a tap saw. Content is made when it is read, not when it passes.
type Seen struct {
	Event *diagv1.TapEvent
	// Content writes the sample; nil for none. It is called once, by the watcher.
	Content func() string
}

// Tap begins to watch. Close ends it.
func (r *Registry) Tap(request *diagv1.TapRequest) *Tap {
	t := &Tap{r: r, request: request, wake: make(chan struct{}, 1)}
	r.tapsMu.Lock()
	defer r.tapsMu.Unlock()
	list := []*Tap{t}
	if have := r.taps.Load(); have != nil {
		list = append(slices.Clone(*have), t)
	}
	r.taps.Store(&list)
	return t
}

// Close ends the watching.
func (t *Tap) Close() {
	t.r.tapsMu.Lock()
	defer t.r.tapsMu.Unlock()
	have := t.r.taps.Load()
	list := slices.DeleteFunc(slices.Clone(*have), func(x *Tap) bool { return x == t })
	if len(list) == 0 {
		t.r.taps.Store(nil)
		return
	}
	t.r.taps.Store(&list)
}

// Watched tells whether anybody watches: the one load that traffic costs while nobody does.
func (r *Registry) Watched() bool { return r != nil && r.taps.Load() != nil }

// SawCall tells the taps of a call that has ended. content is called within, if one of them takes a sample: the message is the caller's.
func (r *Registry) SawCall(direction, peer, method, code string, took time.Duration, size int, content func() string) {
	if !r.Watched() {
		return
	}
	service, name := split(method)
	for _, t := range *r.taps.Load() {
		if t.request.Service != service {
			continue
		}
		text := ""
		if t.sample() {
			text = content()
		}
		t.put(Seen{Event: &diagv1.TapEvent{Direction: direction, Peer: peer, Method: name, Code: code, DurationNano: int64(took), Bytes: uint64(size), Sample: text}})
	}
}

// SawFrame tells the taps of a frame. content makes what writes the sample, out of a copy: the frame's bytes are not the watcher's.
func (r *Registry) SawFrame(direction, peer, stream, kind string, rows uint32, size int, content func() func() string) {
	if !r.Watched() {
		return
	}
	for _, t := range *r.taps.Load() {
		if t.request.Stream == "" || t.request.Stream != stream && t.request.Stream != strings.SplitN(stream, ":", 2)[0] {
			continue
		}
		s := Seen{Event: &diagv1.TapEvent{Direction: direction, Peer: peer, Stream: stream, Kind: kind, Rows: rows, Bytes: uint64(size)}}
		if content != nil && t.sample() {
			s.Content = content()
		}
		t.put(s)
	}
}

// sample tells whether the next event may carry a sample.
func (t *Tap) sample() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.second) >= time.Second {
		t.second, t.taken = now, 0
	}
	if t.taken >= t.request.SamplesPerSecond {
		return false
	}
	t.taken++
	return true
}

func (t *Tap) put(s Seen) {
	t.mu.Lock()
	t.seen++
	t.rows += uint64(s.Event.Rows)
	t.bytes += s.Event.Bytes
	if len(t.queue) == tapQueue {
		t.queue = slices.Delete(t.queue, 0, 1)
		t.out++
	}
	s.Event.UnixNano = time.Now().UnixNano()
	s.Event.Seen, s.Event.SeenRows, s.Event.SeenBytes = t.seen, t.rows, t.bytes
	t.queue = append(t.queue, s)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Next waits for the next event; false when ctx has ended.
func (t *Tap) Next(ctx context.Context) (*diagv1.TapEvent, bool) {
	for {
		t.mu.Lock()
		if len(t.queue) > 0 {
			s := t.queue[0]
			t.queue = t.queue[1:]
			s.Event.LeftOut = t.out
			t.mu.Unlock()
			if s.Content != nil {
				s.Event.Sample = s.Content()
			}
			return s.Event, true
		}
		t.mu.Unlock()
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil, false
		}
	}
}
