package search

import (
	"bytes"
	"cmp"
	"slices"

	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

// Sort is one key of an order.
type Sort struct {
	// Field and Kind name a numeric or keyword field; an empty Field is the score.
	Field      string
	Kind       segment.Kind
	Descending bool
}

// Key is the value of a hit for one Sort.
type Key struct {
	Missing bool
	Number  int64
	Score   float64
	Text    []byte
}

// Hit is a document found.
type Hit struct {
	Seq   uint64
	Score float64
	Keys  []Key

	part int
	doc  uint32
}

// compare orders hits: below 0 if x comes first. Documents without a value come last, either way.
func compare(sorts []Sort, x, y []Key) int {
	for i, s := range sorts {
		a, b := &x[i], &y[i]
		if a.Missing || b.Missing {
			if a.Missing != b.Missing {
				if a.Missing {
					return 1
				}
				return -1
			}
			continue
		}
		c := 0
		switch {
		case s.Field == "":
			c = cmp.Compare(a.Score, b.Score)
		case s.Kind == segment.Keyword:
			c = bytes.Compare(a.Text, b.Text)
		default:
			c = cmp.Compare(a.Number, b.Number)
		}
		if s.Descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// collector keeps the first k hits of an order. hits is a heap with the last of them at 0.
type collector struct {
	sorts []Sort
	k     int
	snap  *shard.Snapshot
	hits  []Hit

	part   int
	fields []*segment.Field // of the part, per sort
	bound  int64            // of the part: the worst hit's first key as a number, or as twice an ordinal
	keys   []Key
}

func (c *collector) full() bool { return len(c.hits) == c.k }

// worse tells whether x comes after y.
func (c *collector) worse(x, y *Hit) bool {
	if n := compare(c.sorts, x.Keys, y.Keys); n != 0 {
		return n > 0
	}
	if x.part != y.part {
		return x.part > y.part
	}
	return x.doc > y.doc
}

func (c *collector) enter(part int) {
	c.part = part
	c.fields = c.fields[:0]
	for _, s := range c.sorts {
		var f *segment.Field
		if s.Field != "" {
			f = field(c.snap.Parts[part], s.Field, s.Kind)
		}
		c.fields = append(c.fields, f)
	}
	c.rebound()
}

// rebound states the worst hit's first key in terms of the part, for a quick look at each document.
func (c *collector) rebound() {
	f := c.fields[0]
	if !c.full() || f == nil || c.hits[0].Keys[0].Missing {
		return
	}
	k := c.hits[0].Keys[0]
	if f.Kind != segment.Keyword {
		c.bound = k.Number
		return
	}
	// An ordinal is one more than the term's number; a term that is not there lies between two ordinals.
	it := f.Dict.Iterate()
	if !it.Seek(k.Text) {
		c.bound = 2*int64(f.Dict.Len()) + 1
	} else if c.bound = 2 * int64(it.Ord()+1); !bytes.Equal(it.Term(), k.Text) {
		c.bound--
	}
}

// hopeless tells from the first key alone that a document does not come before the worst hit. It must not say so of one that
// ties with it, unless documents come in ascending order.
func (c *collector) hopeless(doc uint32, ascending bool) bool {
	if !c.full() {
		return false
	}
	f := c.fields[0]
	if f == nil {
		return c.sorts[0].Field != "" && !c.hits[0].Keys[0].Missing
	}
	if c.hits[0].Keys[0].Missing {
		return false
	}
	var v int64
	if f.Kind == segment.Keyword {
		v = 2 * int64(f.Ordinal(doc))
		if v == 0 {
			return true
		}
	} else {
		if !f.Column.Has(doc) {
			return true
		}
		v = f.Column.Get(doc)
	}
	if v == c.bound {
		return ascending && len(c.sorts) == 1
	}
	return (v > c.bound) != c.sorts[0].Descending
}

// add offers a document.
func (c *collector) add(doc uint32, score float64, ascending bool) error {
	if c.hopeless(doc, ascending) {
		return nil
	}
	if s := c.sorts[0]; s.Field == "" && s.Descending && ascending && c.full() && (score < c.hits[0].Score || score == c.hits[0].Score && len(c.sorts) == 1) {
		return nil
	}
	h := Hit{part: c.part, doc: doc, Score: score}
	if cap(c.keys) < len(c.sorts) {
		c.keys = make([]Key, len(c.sorts))
	}
	h.Keys = c.keys[:len(c.sorts)]
	if err := c.read(&h); err != nil {
		return err
	}
	if c.full() {
		if !c.worse(&c.hits[0], &h) {
			return nil
		}
		h.Keys = slices.Clone(h.Keys)
		c.hits[0] = h
		c.down(0)
		c.rebound()
		return nil
	}
	h.Keys = slices.Clone(h.Keys)
	c.hits = append(c.hits, h)
	c.up(len(c.hits) - 1)
	if c.full() {
		c.rebound()
	}
	return nil
}

func (c *collector) read(h *Hit) error {
	for i, s := range c.sorts {
		k, f := &h.Keys[i], c.fields[i]
		*k = Key{}
		switch {
		case s.Field == "":
			k.Score = h.Score
		case f == nil:
			k.Missing = true
		case s.Kind == segment.Keyword:
			o := f.Ordinal(h.doc)
			if k.Missing = o == 0; !k.Missing {
				it := f.Dict.Iterate()
				if !it.SeekOrd(int(o) - 1) {
					return it.Err()
				}
				k.Text = bytes.Clone(it.Term())
			}
		default:
			if k.Missing = !f.Column.Has(h.doc); !k.Missing {
				k.Number = f.Column.Get(h.doc)
			}
		}
	}
	return nil
}

func (c *collector) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !c.worse(&c.hits[i], &c.hits[p]) {
			return
		}
		c.hits[i], c.hits[p] = c.hits[p], c.hits[i]
		i = p
	}
}

func (c *collector) down(i int) {
	for {
		w := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(c.hits); k++ {
			if c.worse(&c.hits[k], &c.hits[w]) {
				w = k
			}
		}
		if w == i {
			return
		}
		c.hits[i], c.hits[w] = c.hits[w], c.hits[i]
		i = w
	}
}

// result is the hits in order, with their rows.
func (c *collector) result() []Hit {
	slices.SortFunc(c.hits, func(x, y Hit) int {
		if c.worse(&y, &x) {
			return -1
		}
		return 1
	})
	for i := range c.hits {
		h := &c.hits[i]
		h.Seq = c.snap.Parts[h.part].SeqOf(h.doc)
	}
	return c.hits
}

// skipBlock tells that no document of a column's block comes before the worst hit.
func (c *collector) skipBlock(col *column.Column, block int) bool {
	if !c.full() || c.hits[0].Keys[0].Missing {
		return false
	}
	lo, hi := col.Bounds(block)
	if lo > hi {
		return true
	}
	if c.sorts[0].Descending {
		return hi < c.bound
	}
	return lo > c.bound
}

// Combine joins the results of several shards for the same request.
func Combine(results []Result, req Request) Result {
	var out Result
	for _, r := range results {
		out.Total += r.Total
		out.Hits = append(out.Hits, r.Hits...)
	}
	sorts := req.sorts()
	slices.SortStableFunc(out.Hits, func(x, y Hit) int {
		if n := compare(sorts, x.Keys, y.Keys); n != 0 {
			return n
		}
		return cmp.Compare(x.Seq, y.Seq)
	})
	out.Hits = page(out.Hits, req.Start, req.Count)
	return out
}

func page(hits []Hit, start, count int) []Hit {
	start = min(start, len(hits))
	return hits[start:min(start+count, len(hits))]
}

// Request is a query and the part of its answer that is wanted.
type Request struct {
	Node  query.Node
	Start int
	Count int
	// Sort is the order; none is by score, descending. Ties are in order of arrival.
	Sort []Sort
}

func (r Request) sorts() []Sort {
	if len(r.Sort) == 0 {
		return []Sort{{Descending: true}}
	}
	return r.Sort
}

// byScore tells that nothing but the score decides.
func (r Request) byScore() bool {
	s := r.sorts()
	return s[0].Field == "" && s[0].Descending && len(s) == 1
}

// needsScore tells that scores are to be computed: where they decide, and where hits show them.
func (r Request) needsScore() bool {
	for _, s := range r.sorts() {
		if s.Field == "" {
			return true
		}
	}
	return false
}
