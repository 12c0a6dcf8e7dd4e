package telemetry

import (
	"context"
	"errors"
	"testing"
	"time"

	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

// A watcher that does not read holds nobody up: the oldest go, and are counted.
func TestASlowWatcherLosesTheOldest(t *testing.T) {
	r := New()
	tap := r.Tap(&diagv1.TapRequest{Stream: "S"})
	defer tap.Close()
	for i := range tapQueue + 10 {
		r.SawFrame(In, "P", "S:1.0.0", "BATCH", uint32(i), 100, nil)
	}
	r.SawFrame(In, "P", "Other:1.0.0", "BATCH", 1, 1, nil)
	ev, ok := tap.Next(context.Background())
	if !ok || ev.Rows != 10 || ev.LeftOut != 10 || ev.Seen != 11 {
		t.Errorf("the first event is %v", ev)
	}
	for range tapQueue - 1 {
		ev, _ = tap.Next(context.Background())
	}
	if ev.Rows != tapQueue+9 || ev.Seen != tapQueue+10 || ev.SeenBytes != 100*(tapQueue+10) {
		t.Errorf("the last event is %v", ev)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if ev, ok := tap.Next(ctx); ok {
		t.Errorf("there is one more: %v", ev)
	}
}

func TestSamplesAreFewAndOnlyWhereWatched(t *testing.T) {
	r := New()
	content := func() string { t.Helper(); return "content" }
	r.SawCall(In, "P", "/s.S/M", "OK", time.Second, 1, func() string { t.Error("made for nobody"); return "" })
	tap := r.Tap(&diagv1.TapRequest{Service: "s.S", SamplesPerSecond: 2})
	for range 5 {
		r.SawCall(In, "P", "/s.S/M", "OK", time.Second, 1, content)
	}
	r.SawCall(In, "P", "/s.Other/M", "OK", time.Second, 1, func() string { t.Error("made for another service"); return "" })
	samples := 0
	for range 5 {
		if ev, _ := tap.Next(context.Background()); ev.Sample != "" {
			samples++
		}
	}
	if samples != 2 {
		t.Errorf("%d samples, want 2", samples)
	}
	other := r.Tap(&diagv1.TapRequest{Service: "s.S"})
	tap.Close()
	if !r.Watched() {
		t.Error("the second watcher is forgotten")
	}
	other.Close()
	if r.Watched() {
		t.Error("a watcher is left")
	}
}

func TestCountersAddUp(t *testing.T) {
	var none *Registry
	none.Call(In, "/s.S/M").Done(time.Second, true) // no registry counts nothing
	none.Link(In, "P", "S").Frame(1, 1)
	if s, _ := none.Start(Trace{}, "x", 0); s != nil || none.Watched() || none.Tracing() {
		t.Error("no registry does something")
	}
	r := New()
	c := r.Call(In, "/s.S/M")
	c.Begin()
	c.Begin()
	c.Done(2*time.Millisecond, false)
	c.Begin()
	c.Done(time.Minute, true)
	l := r.Link(Out, "P", "S")
	l.Frame(3, 100)
	l.Frame(4, 50)
	l.Credit(7, 8)
	l.Dropped(2)
	r.Gauge("own", "A number.", func() float64 { return 42 })
	got := map[string]*diagv1.Sample{}
	for _, m := range r.Metrics() {
		if len(m.Samples) != 1 || m.Help == "" {
			t.Errorf("%s has %d samples", m.Name, len(m.Samples))
		}
		got[m.Name] = m.Samples[0]
	}
	h := got["carbonado_call_seconds"]
	if h.Count != 2 || h.Value < 60 || h.Buckets[3].Count != 1 || h.Buckets[2].Count != 0 || h.Buckets[len(h.Buckets)-1].Count != 1 || h.Labels["service"] != "s.S" || h.Labels["method"] != "M" {
		t.Errorf("the histogram is %v", h)
	}
	for name, want := range map[string]float64{
		"carbonado_calls_failed_total": 1, "carbonado_calls_under_way": 1, "carbonado_link_frames_total": 2, "carbonado_link_events_total": 7,
		"carbonado_link_bytes_total": 150, "carbonado_link_dropped_total": 2, "carbonado_link_credit_bytes": 7, "own": 42,
	} {
		if got[name] == nil || got[name].Value != want {
			t.Errorf("%s is %v, want %g", name, got[name], want)
		}
	}
}

func TestSpansAreMadeOnlyWhileSomebodyReads(t *testing.T) {
	r := New()
	parent := NewTrace()
	if s, on := r.Start(parent, "x", diagv1.Span_KIND_SERVER); s != nil || on != parent {
		t.Error("a span is made for nobody")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, got := make(chan error, 1), make(chan []*diagv1.Span, 1)
	go func() {
		ended <- r.Spans(ctx, 0, func(list []*diagv1.Span, _ uint64) error { got <- list; return nil })
	}()
	for !r.Tracing() {
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
	}
	if s, on := r.Start(Trace{}, "x", diagv1.Span_KIND_SERVER); s != nil || on.Sampled() {
		t.Error("a trace is begun with the ratio 0")
	}
	s, on := r.Start(parent, "x", diagv1.Span_KIND_SERVER)
	if s == nil || on.ID() != parent.ID() || on == parent || ParseTrace(on.Header()) != on {
		t.Fatalf("the span is %v under %s", s, on.Header())
	}
	s.Set("k", "v")
	s.End(errors.New("went wrong"))
	list := <-got
	if len(list) != 1 || list[0].Name != "x" || list[0].Error != "went wrong" || string(list[0].ParentId) != string(parent[16:24]) || list[0].Attributes["k"] != "v" {
		t.Errorf("the spans are %v", list)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if r.Tracing() {
		t.Error("spans are still made")
	}
	for _, bad := range []string{"", "00-0-0-0", "00-00000000000000000000000000000000-0000000000000001-01", "ff-" + on.Header()[3:], "00-" + on.Header()[3:20]} {
		if ParseTrace(bad) != (Trace{}) {
			t.Errorf("%q is a trace", bad)
		}
	}
}

func BenchmarkCallNobodyWatches(b *testing.B) {
	r := New()
	for b.Loop() {
		c, began := r.Call(In, "/carbonado.analytics.v1.RecordStore/Get"), time.Now()
		c.Begin()
		c.Done(time.Since(began), false)
		if r.Watched() || r.Tracing() {
			b.Fatal("somebody watches")
		}
	}
}
