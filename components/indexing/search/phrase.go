package search

import "slices"

// phraseMatcher matches documents that have the terms at their places, or near them.
type phraseMatcher struct {
	and   matcher
	terms []*termMatcher
	at    []uint32 // place of each term in the phrase
	slop  int
	w     *weight
	freq  float64

	pos   [][]uint32
	seen  []int
	start []uint32
}

func newPhrase(terms []*termMatcher, at []uint32, slop int, w *weight) *phraseMatcher {
	m := &phraseMatcher{terms: terms, at: at, slop: slop, w: w, pos: make([][]uint32, len(terms)), seen: make([]int, len(terms))}
	// A term that occurs twice in the phrase has two matchers, so that each has its own walk.
	parts := make([]matcher, len(terms))
	for i, t := range terms {
		parts[i] = t
	}
	m.and = allOf(parts)
	return m
}

func (m *phraseMatcher) doc() uint32                  { return m.and.doc() }
func (m *phraseMatcher) next() uint32                 { return m.check(m.and.next()) }
func (m *phraseMatcher) advance(target uint32) uint32 { return m.check(m.and.advance(target)) }
func (m *phraseMatcher) cost() int                    { return m.and.cost() }
func (m *phraseMatcher) score() float64               { return m.w.score(m.freq, m.terms[0].field.Length(m.doc())) }

func (m *phraseMatcher) check(d uint32) uint32 {
	for ; d != end; d = m.and.next() {
		for i, t := range m.terms {
			m.pos[i] = t.Positions(m.pos[i][:0])
		}
		if m.slop == 0 {
			m.freq = m.exact()
		} else {
			m.freq = m.sloppy()
		}
		if m.freq > 0 {
			break
		}
	}
	return d
}

// exact counts the starts at which every term is at its place.
func (m *phraseMatcher) exact() float64 {
	n := 0
	clear(m.seen)
starts:
	for _, p := range m.pos[0] {
		for i := 1; i < len(m.pos); i++ {
			list, want := m.pos[i], p+m.at[i]-m.at[0]
			k := m.seen[i]
			for k < len(list) && list[k] < want {
				k++
			}
			m.seen[i] = k
			if k == len(list) {
				break starts
			}
			if list[k] != want {
				continue starts
			}
		}
		n++
	}
	return float64(n)
}

// sloppy adds 1/(1+width) for each tightest window of at most slop: each term's start is its position less its place, and the
// window spans the starts. The same word twice in a phrase needs two positions.
func (m *phraseMatcher) sloppy() float64 {
	m.start = m.start[:0]
	const shift = 1 << 20 // starts may be negative: a term may stand before its place
	for i, list := range m.pos {
		for _, p := range list {
			m.start = append(m.start, p+shift-m.at[i])
		}
	}
	slices.Sort(m.start)
	m.start = slices.Compact(m.start)
	clear(m.seen)
	sum, width, last := 0.0, -1, uint32(0)
	for _, from := range m.start {
		to, ok := m.window(from, shift)
		if !ok {
			break
		}
		if width >= 0 && to > last && width <= m.slop {
			sum += 1 / float64(1+width)
		}
		width, last = int(to-from), to
	}
	if width >= 0 && width <= m.slop {
		sum += 1 / float64(1+width)
	}
	return sum
}

// window is the least end of a window that begins at from or after it.
func (m *phraseMatcher) window(from, shift uint32) (to uint32, ok bool) {
	to = from
	for i, list := range m.pos {
		k := m.seen[i]
		for k < len(list) && list[k]+shift-m.at[i] < from {
			k++
		}
		m.seen[i] = k
		if j := m.sameBefore(i); j >= 0 {
			// Equal words take ascending positions.
			for used := m.used(j, from, shift); k < len(list) && list[k] <= used; {
				k++
			}
		}
		if k == len(list) {
			return 0, false
		}
		to = max(to, list[k]+shift-m.at[i])
	}
	return to, true
}

// sameBefore is the nearest earlier place of the same word, -1 if there is none.
func (m *phraseMatcher) sameBefore(i int) int {
	for j := i - 1; j >= 0; j-- {
		if m.terms[j].w.term == m.terms[i].w.term {
			return j
		}
	}
	return -1
}

// used is the position that place i takes in the window from from.
func (m *phraseMatcher) used(i int, from, shift uint32) uint32 {
	list, k := m.pos[i], m.seen[i]
	if j := m.sameBefore(i); j >= 0 {
		for used := m.used(j, from, shift); k < len(list) && list[k] <= used; {
			k++
		}
	}
	if k >= len(list) {
		return 1<<32 - 1
	}
	return list[k]
}
