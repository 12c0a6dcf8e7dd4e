package search

import (
	"math/bits"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/postings"
	"carbonado.dev/carbonado/components/indexing/segment"
)

const end = postings.End

// matcher walks the documents of one segment that match a query, in ascending order. It starts before the first.
type matcher interface {
	// doc is the present document, end after the last; before the first call of next or advance it means nothing.
	doc() uint32
	next() uint32
	// advance goes to the first document at or after target, which is above the present one.
	advance(target uint32) uint32
	// score is the present document's.
	score() float64
	// cost is about how many documents a whole walk meets.
	cost() int
}

// tester can also tell of any document whether it matches, cheaper than by advancing.
type tester interface {
	matcher
	test(doc uint32) bool
}

// termMatcher matches the documents of a term, scored by BM25.
type termMatcher struct {
	postings.Iterator
	field *segment.Field
	w     *weight
}

func (m *termMatcher) doc() uint32                  { return m.Doc() }
func (m *termMatcher) next() uint32                 { return m.Next() }
func (m *termMatcher) advance(target uint32) uint32 { return m.Advance(target) }
func (m *termMatcher) cost() int                    { return m.Count() }
func (m *termMatcher) score() float64 {
	return m.w.score(float64(m.Freq()), m.field.Length(m.Doc()))
}

// constantMatcher gives a term's documents one score.
type constantMatcher struct {
	*termMatcher
	boost float64
}

func (m *constantMatcher) score() float64 { return m.boost }

// spanMatcher matches a run of documents.
type spanMatcher struct {
	from, to uint32 // to is not in it
	at       uint32
	started  bool
	boost    float64
}

func (m *spanMatcher) doc() uint32 { return m.at }
func (m *spanMatcher) next() uint32 {
	if !m.started {
		m.started = true
		return m.advance(m.from)
	}
	return m.advance(m.at + 1)
}
func (m *spanMatcher) advance(target uint32) uint32 {
	m.started = true
	if m.at = max(target, m.from); m.at >= m.to {
		m.at = end
	}
	return m.at
}
func (m *spanMatcher) score() float64       { return m.boost }
func (m *spanMatcher) cost() int            { return int(m.to - m.from) }
func (m *spanMatcher) test(doc uint32) bool { return doc >= m.from && doc < m.to }

// bitsMatcher matches a set.
type bitsMatcher struct {
	set   codec.Bitmap
	n     int
	at    uint32
	fresh bool
	boost float64
}

func newBits(set codec.Bitmap, boost float64) *bitsMatcher {
	return &bitsMatcher{set: set, n: set.Count(), fresh: true, boost: boost}
}

func (m *bitsMatcher) doc() uint32 { return m.at }
func (m *bitsMatcher) next() uint32 {
	if m.fresh {
		return m.advance(0)
	}
	return m.advance(m.at + 1)
}
func (m *bitsMatcher) advance(target uint32) uint32 {
	m.fresh = false
	i := int(target >> 6)
	if i >= len(m.set) {
		m.at = end
		return end
	}
	for w := m.set[i] >> (target & 63) << (target & 63); ; w = m.set[i] {
		if w != 0 {
			m.at = uint32(i<<6 + bits.TrailingZeros64(w))
			return m.at
		}
		if i++; i == len(m.set) {
			m.at = end
			return end
		}
	}
}
func (m *bitsMatcher) score() float64       { return m.boost }
func (m *bitsMatcher) cost() int            { return m.n }
func (m *bitsMatcher) test(doc uint32) bool { return m.set.Has(doc) }

// rangeMatcher matches the documents whose number lies in a range, a block of the column at a time.
type rangeMatcher struct {
	column *column.Column
	lo, hi int64
	rows   uint32
	at     uint32
	fresh  bool
	block  int // that bits is of; -1 is none
	bits   [column.BlockRows / 64]uint64
	boost  float64
}

func (m *rangeMatcher) doc() uint32 { return m.at }
func (m *rangeMatcher) next() uint32 {
	if m.fresh {
		return m.advance(0)
	}
	return m.advance(m.at + 1)
}

func (m *rangeMatcher) advance(target uint32) uint32 {
	m.fresh = false
	for target < m.rows {
		if b := int(target / column.BlockRows); b != m.block {
			m.block = b
			m.column.Match(b, m.lo, m.hi, &m.bits)
		}
		r := target % column.BlockRows
		i := r >> 6
		for w := m.bits[i] >> (r & 63) << (r & 63); ; w = m.bits[i] {
			if w != 0 {
				m.at = uint32(m.block*column.BlockRows) + i<<6 + uint32(bits.TrailingZeros64(w))
				return m.at
			}
			if i++; int(i) == len(m.bits) {
				break
			}
		}
		target = uint32(m.block+1) * column.BlockRows
	}
	m.at = end
	return end
}
func (m *rangeMatcher) score() float64 { return m.boost }
func (m *rangeMatcher) cost() int      { return int(m.rows) }
func (m *rangeMatcher) test(doc uint32) bool {
	lo, hi := m.column.Bounds(int(doc / column.BlockRows))
	if hi < m.lo || lo > m.hi || !m.column.Has(doc) {
		return false
	}
	v := m.column.Get(doc)
	return v >= m.lo && v <= m.hi
}

// rowsMatcher matches the documents for which has is true.
type rowsMatcher struct {
	has   func(doc uint32) bool
	rows  uint32
	at    uint32
	fresh bool
	boost float64
}

func (m *rowsMatcher) doc() uint32 { return m.at }
func (m *rowsMatcher) next() uint32 {
	if m.fresh {
		return m.advance(0)
	}
	return m.advance(m.at + 1)
}
func (m *rowsMatcher) advance(target uint32) uint32 {
	m.fresh = false
	for ; target < m.rows; target++ {
		if m.has(target) {
			m.at = target
			return target
		}
	}
	m.at = end
	return end
}
func (m *rowsMatcher) score() float64       { return m.boost }
func (m *rowsMatcher) cost() int            { return int(m.rows) }
func (m *rowsMatcher) test(doc uint32) bool { return m.has(doc) }
