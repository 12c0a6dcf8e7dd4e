package builder

import "carbonado.dev/carbonado/components/indexing/segment"

// sortTokens orders the tokens by term, then as they came: by document and position. starts[r] is the first token of the
// term of rank r.
func (f *Field) sortTokens() {
	n := f.terms.len()
	f.order = f.terms.order(f.order)
	f.rank = grow(f.rank, n)
	for r, k := range f.order {
		f.rank[k.id] = uint32(r)
	}
	f.starts = grow(f.starts, n+2)
	clear(f.starts)
	for _, t := range f.tokens {
		f.starts[f.rank[t.term]+2]++
	}
	for i := 2; i < len(f.starts); i++ {
		f.starts[i] += f.starts[i-1]
	}
	if cap(f.sorted) < len(f.tokens) {
		f.sorted = make([]token, len(f.tokens), cap(f.tokens))
	}
	f.sorted = f.sorted[:len(f.tokens)]
	for _, t := range f.tokens {
		r := f.rank[t.term] + 1
		f.sorted[f.starts[r]] = t
		f.starts[r]++
	}
}

func grow(p []uint32, n int) []uint32 {
	if cap(p) < n {
		return make([]uint32, n, n+n/2)
	}
	return p[:n]
}

func (f *Field) writeText(w *segment.Writer) error {
	f.sortTokens()
	t := w.Terms(f.name, segment.Text)
	defer t.Close()
	for r, k := range f.order {
		t.Start()
		run := f.sorted[f.starts[r]:f.starts[r+1]]
		for i := 0; i < len(run); {
			doc := run[i].doc
			f.pos = f.pos[:0]
			for ; i < len(run) && run[i].doc == doc; i++ {
				f.pos = append(f.pos, run[i].pos)
			}
			t.Add(doc, f.pos, f.perDoc[doc])
		}
		t.End(f.terms.term(k.id))
	}
	if err := t.Finish(f.docs, f.words); err != nil {
		return err
	}
	most := uint32(0)
	for _, n := range f.perDoc {
		most = max(most, n)
	}
	rows := w.Lengths(most)
	for _, n := range f.perDoc {
		rows.Put(n)
	}
	for range f.b.docs - uint32(len(f.perDoc)) {
		rows.Put(0)
	}
	rows.End()
	return nil
}

func (f *Field) writeKeyword(w *segment.Writer) error {
	f.sortTokens()
	t := w.Terms(f.name, segment.Keyword)
	defer t.Close()
	for r, k := range f.order {
		t.Start()
		last := uint32(0)
		for i, tok := range f.sorted[f.starts[r]:f.starts[r+1]] {
			if i == 0 || tok.doc != last {
				t.Add(tok.doc, nil, 0)
				last = tok.doc
			}
		}
		t.End(f.terms.term(k.id))
	}
	if err := t.Finish(f.docs, 0); err != nil {
		return err
	}
	rows := w.Ordinals(uint32(f.terms.len()))
	for _, id := range f.perDoc {
		if id == 0 {
			rows.Put(0)
		} else {
			rows.Put(f.rank[id-1] + 1)
		}
	}
	for range f.b.docs - uint32(len(f.perDoc)) {
		rows.Put(0)
	}
	rows.End()
	return nil
}

func (f *Field) writeNumbers(w *segment.Writer) {
	c := w.Column(f.name, f.kind)
	next := 0
	for doc, v := range f.nums {
		if next < len(f.missing) && f.missing[next] == uint32(doc) {
			next++
			c.Skip()
		} else {
			c.Add(v)
		}
	}
	for range f.b.docs - uint32(len(f.nums)) {
		c.Skip()
	}
	c.Finish()
	w.EndColumn(f.docs)
}
