// Package dedup remembers which bundles of which senders are stored, so that a repeated one is known. It must not know what
// bundles hold, nor when they are durable: the caller marks them then.
package dedup

import (
	"slices"
	"time"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/sdk/frame"
)

const (
	// Window is how many counters above the lowest open one are kept. A gap that falls out of it counts as closed.
	Window = 1024
	// Forget is how long a sender is remembered after its last bundle.
	Forget = 24 * time.Hour
)

// Table is the memory of all senders. It is not safe for concurrent use.
type Table struct {
	senders map[frame.Source]*sender
}

type sender struct {
	next  uint64              // lowest counter that is not closed
	seen  [Window / 64]uint64 // counter c in [next, next+Window) at bit c % Window
	parts map[uint64][]uint64 // parts seen of counters in the window that are not complete
	used  time.Time
}

// New is an empty memory.
func New() *Table { return &Table{senders: map[frame.Source]*sender{}} }

// Len is the number of senders.
func (t *Table) Len() int { return len(t.senders) }

// Known says whether the frame is stored. Frames of the zero source are never known.
func (t *Table) Known(h *frame.Header) bool {
	s := t.senders[h.Source]
	if s == nil || h.Source == (frame.Source{}) {
		return false
	}
	switch {
	case h.Counter < s.next:
		return true
	case h.Counter-s.next >= Window:
		return false
	case s.has(h.Counter):
		return true
	}
	p := s.parts[h.Counter]
	return int(h.Part) < 64*len(p) && p[h.Part/64]&(1<<(h.Part%64)) != 0
}

// Mark remembers a frame as stored.
func (t *Table) Mark(h *frame.Header, now time.Time) {
	if h.Source == (frame.Source{}) {
		return
	}
	s := t.senders[h.Source]
	if s == nil {
		// Frames may overtake each other, the first ones included.
		s = &sender{}
		if h.Counter >= Window {
			s.next = h.Counter - Window + 1
		}
		t.senders[h.Source] = s
	}
	s.used = now
	if h.Counter < s.next {
		return
	}
	if h.Counter-s.next >= Window {
		s.advance(h.Counter - Window + 1)
	}
	if h.Parts > 1 && !s.part(h) {
		return
	}
	delete(s.parts, h.Counter)
	i := h.Counter % Window
	s.seen[i/64] |= 1 << (i % 64)
	n := s.next
	for s.has(n) && n < s.next+Window {
		n++
	}
	s.advance(n)
}

func (s *sender) has(c uint64) bool {
	i := c % Window
	return s.seen[i/64]&(1<<(i%64)) != 0
}

// part marks a part and says whether all are there.
func (s *sender) part(h *frame.Header) bool {
	if s.parts == nil {
		s.parts = map[uint64][]uint64{}
	}
	p := s.parts[h.Counter]
	if p == nil {
		p = make([]uint64, (int(h.Parts)+63)/64)
		s.parts[h.Counter] = p
	}
	if int(h.Part) < 64*len(p) {
		p[h.Part/64] |= 1 << (h.Part % 64)
	}
	for i := range int(h.Parts) {
		if i >= 64*len(p) || p[i/64]&(1<<(i%64)) == 0 {
			return false
		}
	}
	return true
}

// advance closes all counters below n.
func (s *sender) advance(n uint64) {
	if n-s.next >= Window {
		clear(s.seen[:])
	} else {
		for c := s.next; c < n; c++ {
			i := c % Window
			s.seen[i/64] &^= 1 << (i % 64)
		}
	}
	s.next = n
	for c := range s.parts {
		if c < n {
			delete(s.parts, c)
		}
	}
}

// Expire drops senders that were last heard of before the given time.
func (t *Table) Expire(before time.Time) {
	for id, s := range t.senders {
		if s.used.Before(before) {
			delete(t.senders, id)
		}
	}
}

// Save gives the memory as it goes into a manifest.
func (t *Table) Save() []manifest.Sender {
	out := make([]manifest.Sender, 0, len(t.senders))
	for id, s := range t.senders {
		m := manifest.Sender{ID: slices.Clone(id[:]), Next: s.next, LastUsed: s.used.UnixMilli()}
		for c := s.next; c < s.next+Window; c++ {
			if s.has(c) {
				m.Seen = append(m.Seen, c)
			}
		}
		for c, p := range s.parts {
			if m.Parts == nil {
				m.Parts = map[uint64][]byte{}
			}
			b := make([]byte, 0, 8*len(p))
			for _, w := range p {
				for k := range 8 {
					b = append(b, byte(w>>(8*k)))
				}
			}
			m.Parts[c] = b
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b manifest.Sender) int { return slices.Compare(a.ID, b.ID) })
	return out
}

// Load is Save's inverse.
func Load(saved []manifest.Sender) *Table {
	t := New()
	for _, m := range saved {
		if len(m.ID) != len(frame.Source{}) {
			continue
		}
		s := &sender{next: m.Next, used: time.UnixMilli(m.LastUsed)}
		for _, c := range m.Seen {
			if c >= s.next && c-s.next < Window {
				i := c % Window
				s.seen[i/64] |= 1 << (i % 64)
			}
		}
		for c, b := range m.Parts {
			if s.parts == nil {
				s.parts = map[uint64][]uint64{}
			}
			p := make([]uint64, (len(b)+7)/8)
			for k, x := range b {
				p[k/8] |= uint64(x) << (8 * (k % 8))
			}
			s.parts[c] = p
		}
		t.senders[frame.Source(m.ID)] = s
	}
	return t
}
