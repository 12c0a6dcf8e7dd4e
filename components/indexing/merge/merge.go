// Package merge joins segments into one, field by field and term by term, leaving deleted documents out. It must not know
// which segments to join, nor hold a whole one in memory.
package merge

import (
	"bytes"
	"context"
	"math/bits"
	"slices"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/dict"
	"carbonado.dev/carbonado/components/indexing/postings"
	"carbonado.dev/carbonado/components/indexing/segment"
)

// Source is a segment and its deleted documents; nil is none.
type Source struct {
	Segment *segment.Segment
	Deleted codec.Bitmap
}

// Mapping says where a source's documents went.
type Mapping struct {
	base    uint32
	docs    uint32
	deleted codec.Bitmap
	before  []uint32 // deleted documents before each word of the bitmap
}

// Map lays the sources' live documents one after another and returns their number.
func Map(sources []Source) ([]Mapping, int) {
	maps := make([]Mapping, len(sources))
	next := uint32(0)
	for i, s := range sources {
		m := Mapping{base: next, docs: uint32(s.Segment.Docs()), deleted: s.Deleted}
		n := uint32(0)
		for _, w := range s.Deleted {
			m.before = append(m.before, n)
			n += uint32(bits.OnesCount64(w))
		}
		next += m.docs - n
		maps[i] = m
	}
	return maps, int(next)
}

// To is a document's new number; false if it was left out.
func (m *Mapping) To(doc uint32) (uint32, bool) {
	if m.deleted == nil {
		return m.base + doc, true
	}
	w := m.deleted[doc>>6]
	if w>>(doc&63)&1 != 0 {
		return 0, false
	}
	return m.base + doc - m.before[doc>>6] - uint32(bits.OnesCount64(w&(1<<(doc&63)-1))), true
}

type merger struct {
	ctx     context.Context
	w       *segment.Writer
	sources []Source
	maps    []Mapping
	it      postings.Iterator
	pos     []uint32
}

// Merge writes the sources' live documents to w, which was made for as many as Map says. It stops with ctx's error.
func Merge(ctx context.Context, w *segment.Writer, sources []Source, maps []Mapping) error {
	m := &merger{ctx: ctx, w: w, sources: sources, maps: maps}
	// A name has the kind that the newest segment gives it; values of another kind are left out.
	kinds := map[string]segment.Kind{}
	var names []string
	for _, s := range sources {
		for _, f := range s.Segment.Fields() {
			if _, ok := kinds[f.Name]; !ok {
				names = append(names, f.Name)
			}
			kinds[f.Name] = f.Kind
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fields := make([]*segment.Field, len(sources))
		for i, s := range sources {
			if f := s.Segment.Field(name); f != nil && f.Kind == kinds[name] {
				fields[i] = f
			}
		}
		var err error
		if kind := kinds[name]; kind.Numeric() {
			err = m.column(name, kind, fields)
		} else {
			err = m.terms(name, kind, fields)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *merger) column(name string, kind segment.Kind, fields []*segment.Field) error {
	c := m.w.Column(name, kind)
	n := uint32(0)
	for i := range m.sources {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		for doc := range m.maps[i].docs {
			switch f := fields[i]; {
			case m.maps[i].deleted.Has(doc):
			case f == nil || !f.Column.Has(doc):
				c.Skip()
			default:
				c.Add(f.Column.Get(doc))
				n++
			}
		}
	}
	c.Finish()
	m.w.EndColumn(n)
	return nil
}

// cursor is a walk over one source's dictionary.
type cursor struct {
	it     *dict.Iterator
	source int
}

func (c cursor) before(d cursor) bool {
	if n := bytes.Compare(c.it.Term(), d.it.Term()); n != 0 {
		return n < 0
	}
	return c.source < d.source
}

// heap has the cursor of the least term, and of the least source, at 0.
type heap []cursor

func (h heap) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].before(h[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// advance moves the cursor at 0 on.
func (h *heap) advance() error {
	old := *h
	if c := old[0]; !c.it.Next() {
		if err := c.it.Err(); err != nil {
			return err
		}
		last := len(old) - 1
		old[0] = old[last]
		*h = old[:last]
	}
	if len(*h) > 0 {
		h.down(0)
	}
	return nil
}

func (m *merger) terms(name string, kind segment.Kind, fields []*segment.Field) error {
	t := m.w.Terms(name, kind)
	defer t.Close()
	ords := make([][]uint32, len(fields))
	var h heap
	for i, f := range fields {
		if f == nil {
			continue
		}
		if kind == segment.Keyword {
			ords[i] = make([]uint32, f.Dict.Len()+1)
		}
		it := f.Dict.Iterate()
		if it.Next() {
			h = append(h, cursor{it, i})
		} else if it.Err() != nil {
			return it.Err()
		}
	}
	for i := len(h) - 1; i >= 0; i-- {
		h.down(i)
	}
	var term []byte
	for n := 0; len(h) > 0; n++ {
		if n%1024 == 0 && m.ctx.Err() != nil {
			return m.ctx.Err()
		}
		term = append(term[:0], h[0].it.Term()...)
		t.Start()
		for len(h) > 0 && bytes.Equal(h[0].it.Term(), term) {
			c := h[0]
			if err := m.list(t, fields[c.source], c); err != nil {
				return err
			}
			if ords[c.source] != nil {
				ords[c.source][c.it.Ord()+1] = t.Len() + 1
			}
			if err := h.advance(); err != nil {
				return err
			}
		}
		t.End(term)
	}
	docs, words, most := m.count(fields)
	if err := t.Finish(docs, words); err != nil {
		return err
	}
	if kind == segment.Keyword {
		most = t.Len()
	}
	return m.rows(kind, most, fields, ords)
}

func (m *merger) list(t *segment.Terms, f *segment.Field, c cursor) error {
	l, err := f.List(c.it)
	if err != nil {
		return err
	}
	m.it.Reset(l)
	mapping := &m.maps[c.source]
	for doc := m.it.Next(); doc != postings.End; doc = m.it.Next() {
		if doc >= mapping.docs {
			return codec.Damaged("posting of document %d of %d", doc, mapping.docs)
		}
		to, live := mapping.To(doc)
		if !live {
			continue
		}
		if f.Kind == segment.Text {
			m.pos = m.it.Positions(m.pos[:0])
			t.Add(to, m.pos, f.Length(doc))
		} else {
			t.Add(to, nil, 0)
		}
	}
	return m.it.Err()
}

// count sums up the live documents of a field that has terms.
func (m *merger) count(fields []*segment.Field) (docs uint32, words uint64, most uint32) {
	for i, f := range fields {
		if f == nil {
			continue
		}
		for doc := range m.maps[i].docs {
			if m.maps[i].deleted.Has(doc) {
				continue
			}
			n := f.Length(doc)
			if f.Kind == segment.Keyword {
				n = min(f.Ordinal(doc), 1)
			}
			if n > 0 {
				docs++
				if f.Kind == segment.Text {
					words += uint64(n)
					most = max(most, n)
				}
			}
		}
	}
	return docs, words, most
}

func (m *merger) rows(kind segment.Kind, most uint32, fields []*segment.Field, ords [][]uint32) error {
	var rows *segment.Rows
	if kind == segment.Text {
		rows = m.w.Lengths(most)
	} else {
		rows = m.w.Ordinals(most)
	}
	for i, f := range fields {
		for doc := range m.maps[i].docs {
			switch {
			case m.maps[i].deleted.Has(doc):
			case f == nil:
				rows.Put(0)
			case kind == segment.Text:
				rows.Put(f.Length(doc))
			default:
				o := f.Ordinal(doc)
				if int(o) >= len(ords[i]) {
					return codec.Damaged("ordinal %d of %d", o, len(ords[i])-1)
				}
				rows.Put(ords[i][o])
			}
		}
	}
	rows.End()
	return nil
}
