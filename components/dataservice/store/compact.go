package store

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
)

const (
	// fanIn is how many neighbours of about one size are joined.
	fanIn = 4
	// deadShare is the share of dead rows at which a segment is rewritten, in percent.
	deadShare = 5
	// maxDeaths is how many entries of deaths a table keeps one by one before the oldest segment is rewritten for them.
	maxDeaths = 20000
	// maxAdopted is how many late adoptions one segment remembers.
	maxAdopted = 64
)

// compactLoop joins small neighbours and rewrites segments with dead rows, one at a time, behind everything else.
func (s *Store) compactLoop() {
	nice(niceCompact)
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.compactWake:
		}
		for s.err() == nil && s.ctx.Err() == nil {
			t, part := s.nextCompaction()
			if t == nil {
				break
			}
			if err := s.compact(t, part); err != nil {
				s.logf(err, "can't compact table %s", t.Name)
				break
			}
		}
		s.trimDeaths()
		signal(s.cutWake) // a manifest is due
	}
}

// nextCompaction picks neighbours of one table; they are kept until compact ends.
func (s *Store) nextCompaction() (*table, []*segFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		if part := pickCompaction(t); part != nil {
			for _, f := range part {
				f.refs++
			}
			return t, part
		}
	}
	return nil, nil
}

func pickCompaction(t *table) []*segFile {
	for i, f := range t.segs {
		if dead := deadIn(t.dead, f.MinSeq, f.MaxSeq).GetCardinality(); dead*100 >= uint64(f.Rows)*deadShare && dead > 0 {
			return t.segs[i : i+1]
		}
	}
	if t.deaths > maxDeaths && len(t.segs) > 0 {
		oldest := 0
		for i, f := range t.segs {
			if f.AsOf < t.segs[oldest].AsOf {
				oldest = i
			}
		}
		return t.segs[oldest : oldest+1]
	}
	// The smallest tier first: what is joined there may make the next one.
	for tier := 0; tier < 16; tier++ {
		for i := 0; i < len(t.segs); {
			j := i
			var n int64
			for j < len(t.segs) && tierOf(t.segs[j]) <= tier && n+t.segs[j].Rows <= maxSegment && (j == i || joinable(t, t.segs[j-1], t.segs[j])) {
				n += t.segs[j].Rows
				j++
			}
			if j-i >= fanIn {
				return t.segs[i:j]
			}
			i = max(j, i+1)
		}
	}
	return nil
}

// tierOf grows by one for each factor of four.
func tierOf(f *segFile) int {
	tier := 0
	for n := f.Rows / 256; n > 0; n /= 4 {
		tier++
	}
	return tier
}

// joinable says whether two neighbours may become one: equal names have equal types, and no open range or waiting tail row lies
// between them.
func joinable(t *table, a, b *segFile) bool {
	for _, c := range a.Columns {
		for _, d := range b.Columns {
			if c.Name == d.Name && c.Type != d.Type {
				return false
			}
		}
	}
	for first := range t.open {
		if first > a.MaxSeq && first < b.MinSeq {
			return false
		}
	}
	for _, e := range t.tail {
		if e.first > a.MaxSeq && e.first < b.MinSeq {
			return false
		}
	}
	return len(a.Adopted)+len(b.Adopted) <= maxAdopted
}

// compact writes the living rows of neighbours into one segment.
func (s *Store) compact(t *table, part []*segFile) error {
	defer func() {
		s.mu.Lock()
		for _, f := range part {
			s.unref(f)
		}
		s.mu.Unlock()
	}()
	s.mu.Lock()
	first, last := part[0].MinSeq, part[len(part)-1].MaxSeq
	dead := deadIn(t.dead, first, last)
	asOf, epoch := s.seq, t.epoch
	s.mu.Unlock()
	var cols []rows.Column
	var adopted []manifest.Adoption
	for _, f := range part {
		for _, c := range f.Columns {
			if !slices.ContainsFunc(cols, func(o rows.Column) bool { return o.Name == c.Name }) {
				cols = append(cols, c)
			}
		}
		adopted = append(adopted, f.Adopted...)
	}
	out, err := s.newSegmentWriter(t, cols)
	if err != nil {
		return err
	}
	if err := s.merge(out, part, dead); err != nil {
		return out.abandon(err)
	}
	seg, err := out.close(asOf)
	if err != nil {
		return err
	}
	if seg != nil {
		seg.Adopted = adopted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(t.segs, part[0])
	if s.byID[t.ID] != t || t.epoch != epoch || at < 0 || at+len(part) > len(t.segs) || !slices.Equal(t.segs[at:at+len(part)], part) {
		if seg != nil {
			s.discard(seg)
		}
		return nil
	}
	segs := slices.Clone(t.segs)
	if seg != nil {
		segs = slices.Replace(segs, at, at+len(part), seg)
	} else {
		segs = slices.Delete(segs, at, at+len(part))
	}
	t.segs = segs
	t.bury(dead)
	for _, f := range part {
		s.discard(f)
	}
	s.version++
	return nil
}

func (s *Store) merge(out *segmentWriter, part []*segFile, dead *roaring64.Bitmap) error {
	readers := make([]*segment.Reader, 0, len(part))
	for _, f := range part {
		r, err := s.readers.get(f)
		if err != nil {
			return err
		}
		defer s.readers.done(r)
		readers = append(readers, r.Reader)
	}
	return out.w.Merge(s.ctx, readers, segment.Keep{
		Whole: func(first, last uint64) bool { return deadIn(dead, first, last).IsEmpty() },
		Rows:  func(r *rows.Rows) *rows.Rows { return alive(r, dead) },
	})
}

// trimDeaths forgets, for tables with a long list, the deaths that are older than every segment. Subscribers from before get
// the whole table again.
func (s *Store) trimDeaths() {
	type trim struct {
		t    *table
		upTo uint64
	}
	s.mu.Lock()
	keys := s.keys
	var trims []trim
	for _, t := range s.byID {
		if t.deaths <= maxDeaths/2 {
			continue
		}
		upTo := s.seq
		for _, f := range t.segs {
			upTo = min(upTo, f.AsOf)
		}
		if len(t.tail) > 0 {
			upTo = min(upTo, t.tail[0].first)
		}
		if upTo > t.Horizon {
			trims = append(trims, trim{t, upTo})
		}
	}
	s.mu.Unlock()
	if keys == nil || len(trims) == 0 {
		return
	}
	for _, x := range trims {
		// In the committer, because it owns the index's batches.
		err := s.do(func() (*change, error) {
			b := keys.NewBatch()
			defer b.Close()
			if s.byID[x.t.ID] != x.t {
				return nil, nil
			}
			if err := b.Forget(x.t.ID, x.upTo); err != nil {
				return nil, err
			}
			n := 0
			if err := keys.Deaths(x.t.ID, x.upTo, s.seq, func(uint64, *roaring64.Bitmap) error { n++; return nil }); err != nil {
				return nil, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if err := b.Commit(keys.Applied()); err != nil {
				return nil, err
			}
			x.t.Horizon = max(x.t.Horizon, x.upTo)
			x.t.deaths = n
			s.version++
			return nil, nil
		})
		if err != nil {
			s.logf(err, "can't trim the deaths of table %s", x.t.Name)
		}
	}
}
