package search

import (
	"math"

	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/postings"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

// BM25 as Lucene has had it since version 8: without the factor k1+1, which changes no order.
const (
	bm25K = 1.2
	bm25B = 0.75
)

// weight scores the occurrences of a term or a phrase.
type weight struct {
	term  string
	value float64 // idf times boost
	plain bool    // no lengths: keyword fields
	norm  [256]float64
	avg   float64
}

func (w *weight) score(freq float64, length uint32) float64 {
	if w.plain {
		return w.value * freq / (freq + bm25K)
	}
	if length < 256 {
		return w.value * freq / (freq + w.norm[length])
	}
	return w.value * freq / (freq + w.lengthNorm(length))
}

func (w *weight) lengthNorm(length uint32) float64 {
	return bm25K * (1 - bm25B + bm25B*float64(length)/w.avg)
}

// program is a query made ready for one snapshot: statistics are the snapshot's, deleted documents included, as in Lucene.
type program struct {
	snap   *shard.Snapshot
	scored bool
	stats  map[string]fieldStats
	// iterators are asked for errors when a walk is over.
	iterators []*postings.Iterator
	weights   map[weightKey]*weight
}

type weightKey struct {
	field, term string
	boost       float64
}

type fieldStats struct {
	docs  uint64
	words uint64
}

func newProgram(snap *shard.Snapshot, scored bool) *program {
	return &program{snap: snap, scored: scored, stats: map[string]fieldStats{},
		weights: map[weightKey]*weight{}}
}

// field is a part's field if it has the kind that the query means.
func field(p *shard.Part, name string, kind segment.Kind) *segment.Field {
	if f := p.Field(name); f != nil && f.Kind == kind {
		return f
	}
	return nil
}

func (g *program) statsOf(name string, kind segment.Kind) fieldStats {
	s, ok := g.stats[name]
	if !ok {
		for _, p := range g.snap.Parts {
			if f := field(p, name, kind); f != nil {
				s.docs += uint64(f.Docs)
				s.words += f.Words
			}
		}
		g.stats[name] = s
	}
	return s
}

func idf(docs, df uint64) float64 {
	return math.Log1p((float64(docs) - float64(df) + 0.5) / (float64(df) + 0.5))
}

func (g *program) newWeight(name string, kind segment.Kind, term string, idf, boost float64) *weight {
	s := g.statsOf(name, kind)
	w := &weight{term: term, value: idf * boost, plain: kind != segment.Text}
	if s.docs > 0 {
		w.avg = float64(s.words) / float64(s.docs)
	}
	if !w.plain {
		for i := range w.norm {
			w.norm[i] = w.lengthNorm(uint32(i))
		}
	}
	return w
}

// frequency is in how many documents a term occurs.
func (g *program) frequency(name string, kind segment.Kind, term string) (uint64, error) {
	df := uint64(0)
	for _, p := range g.snap.Parts {
		if f := field(p, name, kind); f != nil {
			l, err := f.Find([]byte(term))
			if err != nil {
				return 0, err
			}
			df += uint64(l.Count())
		}
	}
	return df, nil
}

// compile makes a matcher over a part; nil matches nothing. boost multiplies the node's own.
func (g *program) compile(p *shard.Part, n query.Node, boost float64) (matcher, error) {
	rows := uint32(p.Docs())
	switch n := n.(type) {
	case query.All:
		return &spanMatcher{to: rows, boost: boost * n.Boost}, nil
	case query.Bool:
		return g.compileBool(p, n, boost*n.Boost)
	case query.Term:
		f := field(p, n.Field, n.Kind)
		if f == nil {
			return nil, nil
		}
		w, err := g.weightOf(n, boost*n.Boost)
		if err != nil {
			return nil, err
		}
		return orNil(g.term(f, n.Text, w))
	case query.Phrase:
		return g.compilePhrase(p, n, boost*n.Boost)
	case query.Pattern:
		return g.compilePattern(p, n, boost*n.Boost)
	case query.TermRange:
		return g.compileTermRange(p, n, boost*n.Boost)
	case query.Range:
		if f := field(p, n.Field, n.Kind); f != nil {
			return numbers(f.Column, n.Lo, n.Hi, boost*n.Boost), nil
		}
	case query.Exists:
		f := field(p, n.Field, n.Kind)
		if f == nil {
			return nil, nil
		}
		has := func(doc uint32) bool { return f.Length(doc) > 0 }
		switch {
		case n.Kind == segment.Keyword:
			has = func(doc uint32) bool { return f.Ordinal(doc) > 0 }
		case n.Kind.Numeric():
			has = f.Column.Has
		}
		return &rowsMatcher{has: has, rows: rows, fresh: true, boost: boost * n.Boost}, nil
	}
	return nil, nil
}

// orNil keeps a nil *termMatcher from becoming a matcher that is not nil.
func orNil(m *termMatcher, err error) (matcher, error) {
	if m == nil || err != nil {
		return nil, err
	}
	return m, nil
}

// weightOf is the weight of a term, computed once per query.
func (g *program) weightOf(n query.Term, boost float64) (*weight, error) {
	key := weightKey{n.Field, n.Text, boost}
	if w := g.weights[key]; w != nil {
		return w, nil
	}
	w := &weight{term: n.Text}
	if g.scored {
		df, err := g.frequency(n.Field, n.Kind, n.Text)
		if err != nil {
			return nil, err
		}
		w = g.newWeight(n.Field, n.Kind, n.Text, idf(g.statsOf(n.Field, n.Kind).docs, df), boost)
	}
	g.weights[key] = w
	return w, nil
}

func (g *program) term(f *segment.Field, term string, w *weight) (*termMatcher, error) {
	l, err := f.Find([]byte(term))
	if err != nil || l.Count() == 0 {
		return nil, err
	}
	return g.list(f, l, w), nil
}

func (g *program) list(f *segment.Field, l postings.List, w *weight) *termMatcher {
	m := &termMatcher{field: f, w: w}
	m.Reset(l)
	g.iterators = append(g.iterators, &m.Iterator)
	return m
}

func (g *program) err() error {
	for _, it := range g.iterators {
		if err := it.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (g *program) compileBool(p *shard.Part, n query.Bool, boost float64) (matcher, error) {
	var must, may, not []matcher
	needed := false
	for _, c := range n.Clauses {
		needed = needed || c.Occur == query.Must
	}
	for _, c := range n.Clauses {
		if c.Occur == query.Should && needed && !g.scored {
			continue
		}
		m, err := g.compile(p, c.Node, boost)
		if err != nil {
			return nil, err
		}
		switch {
		case m == nil && c.Occur == query.Must:
			return nil, nil
		case m == nil:
		case c.Occur == query.Must:
			must = append(must, m)
		case c.Occur == query.Should:
			may = append(may, m)
		default:
			not = append(not, m)
		}
	}
	var m matcher
	switch {
	case len(must) > 0:
		m = allOf(must)
		if len(may) > 0 {
			m = &withMatcher{matcher: m, may: anyOf(may)}
		}
	case needed || len(may) == 0:
		return nil, nil
	default:
		m = anyOf(may)
	}
	if len(not) > 0 {
		m = &butMatcher{matcher: m, not: anyOf(not)}
	}
	return m, nil
}

func (g *program) compilePhrase(p *shard.Part, n query.Phrase, boost float64) (matcher, error) {
	f := field(p, n.Field, segment.Text)
	if f == nil {
		return nil, nil
	}
	terms, at, sum := make([]*termMatcher, len(n.Terms)), make([]uint32, len(n.Terms)), 0.0
	for i, t := range n.Terms {
		w, err := g.weightOf(query.Term{Field: n.Field, Kind: segment.Text, Text: t.Text}, 1)
		if err != nil {
			return nil, err
		}
		m, err := g.term(f, t.Text, w)
		if m == nil || err != nil {
			return nil, err
		}
		terms[i], at[i] = m, t.At
		sum += w.value
	}
	return newPhrase(terms, at, n.Slop, g.newWeight(n.Field, segment.Text, "", sum, boost)), nil
}

// numbers matches a range of a column; nil if nothing in it does.
func numbers(c *column.Column, lo, hi int64, boost float64) matcher {
	least, most := c.MinMax()
	if lo > hi || most < lo || least > hi || least > most {
		return nil
	}
	rows := uint32(c.Rows())
	if c.Ascending() {
		from := firstRow(c, lo)
		to := rows
		if hi < math.MaxInt64 {
			to = firstRow(c, hi+1)
		}
		if from >= to {
			return nil
		}
		return &spanMatcher{from: from, to: to, boost: boost}
	}
	return &rangeMatcher{column: c, lo: lo, hi: hi, rows: rows, fresh: true, block: -1, boost: boost}
}

// firstRow is the first row of an ascending column whose value is not below v.
func firstRow(c *column.Column, v int64) uint32 {
	lo, hi := uint32(0), uint32(c.Rows())
	for lo < hi {
		if mid := lo + (hi-lo)/2; c.Get(mid) < v {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
