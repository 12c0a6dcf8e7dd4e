package search

import "slices"

// andMatcher matches what all of its parts match: the cheapest leads, the others are advanced to it or asked.
type andMatcher struct {
	lead   matcher
	others []matcher
	tests  []tester
}

// allOf joins parts; none of them is nil.
func allOf(parts []matcher) matcher {
	if len(parts) == 1 {
		return parts[0]
	}
	slices.SortStableFunc(parts, func(a, b matcher) int { return a.cost() - b.cost() })
	m := &andMatcher{lead: parts[0]}
	for _, p := range parts[1:] {
		if t, ok := p.(tester); ok {
			m.tests = append(m.tests, t)
		} else {
			m.others = append(m.others, p)
			p.next()
		}
	}
	return m
}

func (m *andMatcher) doc() uint32                  { return m.lead.doc() }
func (m *andMatcher) next() uint32                 { return m.align(m.lead.next()) }
func (m *andMatcher) advance(target uint32) uint32 { return m.align(m.lead.advance(target)) }
func (m *andMatcher) cost() int                    { return m.lead.cost() }

func (m *andMatcher) align(d uint32) uint32 {
search:
	for d != end {
		for _, o := range m.others {
			at := o.doc()
			if at < d {
				at = o.advance(d)
			}
			if at == end {
				return m.exhaust()
			}
			if at > d {
				d = m.lead.advance(at)
				continue search
			}
		}
		for _, t := range m.tests {
			if !t.test(d) {
				d = m.lead.next()
				continue search
			}
		}
		return d
	}
	return end
}

// exhaust brings the lead to its end, so that doc says so.
func (m *andMatcher) exhaust() uint32 {
	if d := m.lead.doc(); d != end {
		m.lead = none{}
	}
	return end
}

func (m *andMatcher) score() float64 {
	s := m.lead.score()
	for _, o := range m.others {
		s += o.score()
	}
	for _, t := range m.tests {
		s += t.score()
	}
	return s
}

// none matches nothing.
type none struct{}

func (none) doc() uint32           { return end }
func (none) next() uint32          { return end }
func (none) advance(uint32) uint32 { return end }
func (none) score() float64        { return 0 }
func (none) cost() int             { return 0 }

// orMatcher matches what any of its parts matches; the part at the least document is at 0 of a heap.
type orMatcher struct {
	heap []matcher
	at   uint32
	init bool
	size int
}

// anyOf joins parts; none of them is nil.
func anyOf(parts []matcher) matcher {
	if len(parts) == 1 {
		return parts[0]
	}
	m := &orMatcher{heap: parts}
	for _, p := range parts {
		m.size += p.cost()
	}
	return m
}

func (m *orMatcher) start() {
	m.init = true
	for _, p := range m.heap {
		p.next()
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
}

func (m *orMatcher) down(i int) {
	h := m.heap
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].doc() < h[c].doc() {
			c++
		}
		if h[i].doc() <= h[c].doc() {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

func (m *orMatcher) doc() uint32 { return m.at }

func (m *orMatcher) next() uint32 {
	if !m.init {
		m.start()
	} else if m.at != end {
		for m.heap[0].doc() == m.at {
			m.heap[0].next()
			m.down(0)
		}
	}
	m.at = m.heap[0].doc()
	return m.at
}

func (m *orMatcher) advance(target uint32) uint32 {
	if !m.init {
		m.start()
	}
	for m.heap[0].doc() < target {
		m.heap[0].advance(target)
		m.down(0)
	}
	m.at = m.heap[0].doc()
	return m.at
}

func (m *orMatcher) score() float64 { return m.sum(0) }

func (m *orMatcher) sum(i int) float64 {
	if i >= len(m.heap) || m.heap[i].doc() != m.at {
		return 0
	}
	return m.heap[i].score() + m.sum(2*i+1) + m.sum(2*i+2)
}

func (m *orMatcher) cost() int { return m.size }

// withMatcher matches what must matches; what may matches adds to the score.
type withMatcher struct {
	matcher
	may  matcher
	init bool
}

func (m *withMatcher) score() float64 {
	s, d := m.matcher.score(), m.matcher.doc()
	if !m.init {
		m.init = true
		m.may.next()
	}
	if m.may.doc() < d {
		m.may.advance(d)
	}
	if m.may.doc() == d {
		s += m.may.score()
	}
	return s
}

// butMatcher matches what its part matches and not does not.
type butMatcher struct {
	matcher
	not  matcher
	init bool
}

func (m *butMatcher) next() uint32                 { return m.skip(m.matcher.next()) }
func (m *butMatcher) advance(target uint32) uint32 { return m.skip(m.matcher.advance(target)) }

func (m *butMatcher) skip(d uint32) uint32 {
	if !m.init {
		m.init = true
		m.not.next()
	}
	for d != end {
		if m.not.doc() < d {
			m.not.advance(d)
		}
		if m.not.doc() != d {
			return d
		}
		d = m.matcher.next()
	}
	return end
}
