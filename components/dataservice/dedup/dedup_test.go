package dedup

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"carbonado.dev/sdk/frame"
)

func header(counter uint64, part, parts uint16) *frame.Header {
	return &frame.Header{Source: frame.Source{1}, Counter: counter, Part: part, Parts: parts}
}

func TestGapsAreKeptWithinTheWindow(t *testing.T) {
	now := time.Unix(1000, 0)
	d := New()
	for _, c := range []uint64{5, 7, 6, 2} {
		if d.Known(header(c, 0, 1)) {
			t.Fatalf("%d is known before", c)
		}
		d.Mark(header(c, 0, 1), now)
		if !d.Known(header(c, 0, 1)) {
			t.Fatalf("%d is not known after", c)
		}
	}
	for _, c := range []uint64{0, 1, 3, 4, 8} {
		if d.Known(header(c, 0, 1)) {
			t.Fatalf("%d is known", c)
		}
	}
	d.Mark(header(3+Window, 0, 1), now)
	if !d.Known(header(3, 0, 1)) {
		t.Fatal("a gap older than the window is open")
	}
	if d.Known(header(4, 0, 1)) {
		t.Fatal("a gap within the window is closed")
	}
}

func TestABundleIsKnownPartByPart(t *testing.T) {
	now := time.Unix(1000, 0)
	d := New()
	d.Mark(header(9, 1, 3), now)
	if !d.Known(header(9, 1, 3)) || d.Known(header(9, 0, 3)) || d.Known(header(9, 2, 3)) {
		t.Fatal("parts are mixed up")
	}
	d.Mark(header(9, 0, 3), now)
	d = Load(d.Save())
	if d.Known(header(9, 2, 3)) {
		t.Fatal("the last part is known too early")
	}
	d.Mark(header(9, 2, 3), now)
	for p := range uint16(3) {
		if !d.Known(header(9, p, 3)) {
			t.Fatalf("part %d is not known", p)
		}
	}
}

func TestTheZeroSourceIsNeverKnown(t *testing.T) {
	d := New()
	h := &frame.Header{Counter: 1}
	d.Mark(h, time.Now())
	if d.Known(h) || d.Len() != 0 {
		t.Fatal("frames without source were remembered")
	}
}

func TestSendersAreForgotten(t *testing.T) {
	now := time.Unix(100000, 0)
	d := New()
	d.Mark(header(1, 0, 1), now)
	d.Expire(now)
	if d.Len() != 1 {
		t.Fatal("forgotten too early")
	}
	d.Expire(now.Add(time.Second))
	if d.Len() != 0 {
		t.Fatal("not forgotten")
	}
}

// TestModel compares with a set of all counters, for counters that never fall behind the window.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Unix(1000, 0)
		d := New()
		seen := map[uint64]bool{}
		high := rapid.Uint64Range(0, 5000).Draw(rt, "start")
		for range rapid.IntRange(1, 300).Draw(rt, "steps") {
			lo := uint64(0)
			if high >= Window {
				lo = high - Window + 1
			}
			c := rapid.Uint64Range(lo, high+40).Draw(rt, "counter")
			high = max(high, c)
			if c+Window <= high {
				continue
			}
			if d.Known(header(c, 0, 1)) != seen[c] {
				rt.Fatalf("counter %d: known %v, want %v", c, !seen[c], seen[c])
			}
			d.Mark(header(c, 0, 1), now)
			seen[c] = true
			if rapid.IntRange(0, 20).Draw(rt, "reload") == 0 {
				d = Load(d.Save())
			}
		}
	})
}
