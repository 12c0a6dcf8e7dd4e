// Package search answers queries over a shard's snapshot: counts, and the first hits by score or by fields. It must not know
// query syntax, tables or schemas.
package search

import (
	"context"
	"math/bits"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/shard"
)

// Result is the hits asked for and the number of all. Without a sort by score the hits' scores are 0.
type Result struct {
	Hits  []Hit
	Total int
}

// window is how many documents of a disjunction are gathered at once, and after how many the context is looked at.
const window = 4096

// Run answers a request over one shard: the first Start+Count hits, for Combine. It ends with ctx's error, and with one that is
// codec.ErrDamaged where the index is.
func Run(ctx context.Context, snap *shard.Snapshot, req Request) (Result, error) {
	var r Result
	err := shard.Guard(func() (err error) {
		r, err = run(ctx, snap, req)
		return err
	})
	return r, err
}

// Count is the number of documents that match.
func Count(ctx context.Context, snap *shard.Snapshot, n query.Node) (int, error) {
	total := 0
	err := shard.Guard(func() error {
		g := newProgram(snap, false)
		for _, p := range snap.Parts {
			c, err := g.count(ctx, p, n)
			if err != nil {
				return err
			}
			total += c
		}
		return g.err()
	})
	return total, err
}

func run(ctx context.Context, snap *shard.Snapshot, req Request) (Result, error) {
	g := newProgram(snap, req.needsScore())
	c := &collector{sorts: req.sorts(), k: req.Start + req.Count, snap: snap}
	var r Result
	if all, ok := req.Node.(query.All); ok && len(snap.Parts) > 0 {
		r.Total = snap.Documents()
		if err := g.sortAll(ctx, c, all); err != nil {
			return r, err
		}
		r.Hits = c.result()
		return r, nil
	}
	for i, p := range snap.Parts {
		m, err := g.compile(p, req.Node, 1)
		if err != nil {
			return r, err
		}
		if m == nil {
			continue
		}
		c.enter(i)
		n := 0
		switch t, or := m.(*orMatcher); {
		case req.byScore() && isTerm(m):
			n, err = g.topTerm(ctx, c, p, m.(*termMatcher), req.Node)
		case or:
			n, err = g.gather(ctx, c, p, t)
		default:
			n, err = g.each(ctx, c, p, m)
		}
		if err != nil {
			return r, err
		}
		r.Total += n
	}
	r.Hits = c.result()
	return r, g.err()
}

func isTerm(m matcher) bool { _, ok := m.(*termMatcher); return ok }

// each offers every live document of a matcher to the collector.
func (g *program) each(ctx context.Context, c *collector, p *shard.Part, m matcher) (int, error) {
	n, seen := 0, 0
	for d := m.next(); d != end; d = m.next() {
		if seen++; seen%window == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		if p.Deleted.Has(d) {
			continue
		}
		n++
		s := 0.0
		if g.scored {
			s = m.score()
		}
		if err := c.add(d, s, true); err != nil {
			return n, err
		}
	}
	return n, nil
}

// topTerm is each for a single term by score: blocks whose impacts can't reach the worst hit are skipped, and counted apart.
func (g *program) topTerm(ctx context.Context, c *collector, p *shard.Part, m *termMatcher, n query.Node) (int, error) {
	total, err := g.count(ctx, p, n)
	if err != nil {
		return 0, err
	}
	checked := uint32(0) // documents below it need no look at impacts
	for d := m.next(); d != end; {
		if c.full() && d >= checked {
			last, maxTF, minLen, ok := m.Impact(d)
			if ok && m.w.score(float64(maxTF), minLen) <= c.hits[0].Score {
				if last == end {
					break
				}
				if ctx.Err() != nil {
					return total, ctx.Err()
				}
				d = m.advance(last + 1)
				continue
			}
			checked = last
			if last != end {
				checked++
			}
		}
		if !p.Deleted.Has(d) {
			if s := m.score(); !c.full() || s > c.hits[0].Score {
				if err := c.add(d, s, true); err != nil {
					return total, err
				}
			}
		}
		d = m.next()
	}
	return total, nil
}

// gather adds up a disjunction's scores a window of documents at a time.
func (g *program) gather(ctx context.Context, c *collector, p *shard.Part, m *orMatcher) (int, error) {
	var set [window / 64]uint64
	var scores [window]float64
	for _, part := range m.heap {
		part.next()
	}
	n := 0
	for base := 0; base < p.Docs(); base += window {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		to := uint32(base + window)
		for _, part := range m.heap {
			for d := part.doc(); d < to; d = part.next() {
				i := d - uint32(base)
				if set[i>>6]>>(i&63)&1 == 0 {
					set[i>>6] |= 1 << (i & 63)
					scores[i] = 0
				}
				if g.scored {
					scores[i] += part.score()
				}
			}
		}
		for w := range set {
			live := set[w]
			if at := base>>6 + w; p.Deleted != nil && at < len(p.Deleted) {
				live &^= p.Deleted[at]
			}
			set[w] = 0
			n += bits.OnesCount64(live)
			for ; live != 0; live &= live - 1 {
				i := w<<6 + bits.TrailingZeros64(live)
				if err := c.add(uint32(base+i), scores[i], true); err != nil {
					return n, err
				}
			}
		}
	}
	return n, nil
}

// sortAll finds the first of all documents, blocks that can't have any left out.
func (g *program) sortAll(ctx context.Context, c *collector, n query.All) error {
	parts := c.snap.Parts
	backwards := c.sorts[0].Field != "" && c.sorts[0].Descending
	for k := range parts {
		i := k
		if backwards {
			i = len(parts) - 1 - k
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p := parts[i]
		c.enter(i)
		var col *column.Column
		if f := c.fields[0]; f != nil {
			col = f.Column
		}
		blocks := (p.Docs() + column.BlockRows - 1) / column.BlockRows
		for kb := range blocks {
			block := kb
			if backwards {
				block = blocks - 1 - kb
			}
			if col != nil && c.skipBlock(col, block) {
				continue
			}
			if c.sorts[0].Field == "" && c.full() && len(c.sorts) == 1 {
				return nil // all score the same: the first to come stay
			}
			from := uint32(block * column.BlockRows)
			to := min(from+column.BlockRows, uint32(p.Docs()))
			for d := from; d < to; d++ {
				if p.Deleted.Has(d) {
					continue
				}
				if err := c.add(d, n.Boost, !backwards); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// count is the number of live documents of a part that match.
func (g *program) count(ctx context.Context, p *shard.Part, n query.Node) (int, error) {
	if _, ok := n.(query.All); ok {
		return p.Live(), nil
	}
	m, err := g.compile(p, n, 1)
	if m == nil || err != nil {
		return 0, err
	}
	switch m := m.(type) {
	case *termMatcher:
		return countTerm(ctx, p, m)
	case *constantMatcher:
		return countTerm(ctx, p, m.termMatcher)
	case *bitsMatcher:
		total := 0
		for i, w := range m.set {
			if p.Deleted != nil {
				w &^= p.Deleted[i]
			}
			total += bits.OnesCount64(w)
		}
		return total, nil
	case *spanMatcher:
		if p.Deleted == nil {
			return int(m.to - m.from), nil
		}
	case *rangeMatcher:
		return countRange(ctx, p, m)
	case *orMatcher:
		return countOr(ctx, p, m)
	}
	total, seen := 0, 0
	for d := m.next(); d != end; d = m.next() {
		if seen++; seen%window == 0 && ctx.Err() != nil {
			return total, ctx.Err()
		}
		if !p.Deleted.Has(d) {
			total++
		}
	}
	return total, nil
}

func countTerm(ctx context.Context, p *shard.Part, m *termMatcher) (int, error) {
	if p.Deleted == nil {
		return m.Count(), nil
	}
	total := 0
	for run := m.Block(); run != nil; run = m.Block() {
		for _, d := range run {
			if !p.Deleted.Has(d) {
				total++
			}
		}
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
	}
	return total, nil
}

func countRange(ctx context.Context, p *shard.Part, m *rangeMatcher) (int, error) {
	total := 0
	for block := range (p.Docs() + column.BlockRows - 1) / column.BlockRows {
		if block%64 == 0 && ctx.Err() != nil {
			return total, ctx.Err()
		}
		n := m.column.Match(block, m.lo, m.hi, &m.bits)
		if n > 0 && p.Deleted != nil {
			n = 0
			for i, w := range m.bits {
				if at := block*len(m.bits) + i; at < len(p.Deleted) {
					n += bits.OnesCount64(w &^ p.Deleted[at])
				}
			}
		}
		total += n
	}
	return total, nil
}

// countOr unites the parts of a disjunction as a set, whole blocks of postings at a time.
func countOr(ctx context.Context, p *shard.Part, m *orMatcher) (int, error) {
	set := codec.NewBitmap(p.Docs())
	for _, part := range m.heap {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if t, ok := part.(*termMatcher); ok {
			for run := t.Block(); run != nil; run = t.Block() {
				for _, d := range run {
					set.Set(d)
				}
			}
			continue
		}
		for d := part.next(); d != end; d = part.next() {
			set.Set(d)
		}
	}
	total := 0
	for i, w := range set {
		if p.Deleted != nil {
			w &^= p.Deleted[i]
		}
		total += bits.OnesCount64(w)
	}
	return total, nil
}
