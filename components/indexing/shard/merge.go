package shard

import (
	"context"
	"path/filepath"
	"time"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/merge"
	"carbonado.dev/carbonado/components/indexing/segment"
)

const (
	// Merges of at most so many documents have a goroutine of their own.
	smallMerge = 200_000
	// A segment with more deleted documents than a fourth is rewritten.
	deadShare = 4
	// After a failed merge this long passes before the next one.
	mergeRetry = 10 * time.Second
)

// pick finds neighbours to merge: the window of factor segments that is cheapest to rewrite, and what is small to its right. In
// a window no segment is more than half of the whole, so each rewriting of a document at least doubles its segment. Else one
// segment of which much is deleted. Segments in work part neighbours. At most limit live documents come together.
func pick(segs []segmentRecord, busy map[uint64]bool, factor, limit int) (from, to int) {
	live := func(i int) int { return segs[i].Docs - segs[i].Deleted }
	least := limit + 1
	for start := 0; start+factor <= len(segs); start++ {
		sum, most, free := 0, 0, true
		for i := start; i < start+factor; i++ {
			sum, most, free = sum+live(i), max(most, live(i)), free && !busy[segs[i].ID]
		}
		if free && 2*most <= sum && sum < least {
			least, from, to = sum, start, start+factor
		}
	}
	if to > 0 {
		for sum := least; to < len(segs) && to-from < 3*factor && !busy[segs[to].ID] && live(to) <= least/factor && sum+live(to) <= limit; to++ {
			sum += live(to)
		}
		return from, to
	}
	for i, r := range segs {
		if !busy[r.ID] && r.Docs <= limit && r.Deleted*deadShare > r.Docs {
			return i, i + 1
		}
	}
	return 0, 0
}

func (s *Shard) merger(limit int) {
	defer s.mergers.Done()
	for {
		for {
			worked, err := s.mergeOnce(limit)
			if err != nil && s.ctx.Err() == nil {
				select {
				case <-time.After(mergeRetry):
				case <-s.ctx.Done():
				}
			}
			if !worked || s.ctx.Err() != nil {
				break
			}
		}
		select {
		case <-s.wake:
			// The other merger may be the one with work to do.
			if limit == smallMerge && s.wanted(s.opts.MaxMerged) {
				s.kick()
			}
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Shard) wanted(limit int) bool {
	s.commit.Lock()
	defer s.commit.Unlock()
	from, to := pick(s.manifest.Segments, s.busy, s.opts.MergeFactor, limit)
	return to > from
}

// mergeOnce does one merge, if there is one to do.
func (s *Shard) mergeOnce(limit int) (bool, error) {
	s.commit.Lock()
	from, to := 0, 0
	if s.broken == nil {
		from, to = pick(s.manifest.Segments, s.busy, s.opts.MergeFactor, limit)
	}
	if from == to {
		s.commit.Unlock()
		return false, nil
	}
	snap := s.Acquire()
	parts := snap.Parts[from:to]
	id := s.manifest.Next
	s.manifest.Next++
	for _, p := range parts {
		s.busy[p.record.ID] = true
	}
	s.commit.Unlock()
	defer snap.Release()
	start := time.Now()
	docs, err := s.mergeParts(s.ctx, id, parts)
	if s.opts.OnMerge != nil && s.ctx.Err() == nil {
		s.opts.OnMerge(docs, time.Since(start), err)
	}
	return true, err
}

func (s *Shard) mergeParts(ctx context.Context, id uint64, parts []*Part) (int, error) {
	sources := make([]merge.Source, len(parts))
	for i, p := range parts {
		sources[i] = merge.Source{Segment: p.Segment, Deleted: p.Deleted}
	}
	maps, docs := merge.Map(sources)
	r, err := s.writeSegment(id, docs, func(w *segment.Writer) error {
		return Guard(func() error { return merge.Merge(ctx, w, sources, maps) })
	})
	s.commit.Lock()
	defer s.commit.Unlock()
	installed := false
	if err == nil && s.broken == nil {
		installed, err = s.installMerge(r, parts, maps)
	}
	for _, p := range parts {
		delete(s.busy, p.record.ID)
	}
	close(s.merged)
	s.merged = make(chan struct{})
	if !installed && s.broken == nil {
		_ = s.fs.Remove(filepath.Join(s.folder, r.file()))
	}
	s.kick()
	return docs, err
}

// installMerge replaces the parts by the merged segment, with the deletes that came meanwhile. The merge is dropped if one of
// the parts is gone, by a truncation for example. The commit lock is held.
func (s *Shard) installMerge(r segmentRecord, parts []*Part, maps []merge.Mapping) (bool, error) {
	at := -1
	for i, q := range s.manifest.Segments {
		if q.ID == parts[0].record.ID {
			at = i
		}
	}
	if at < 0 || at+len(parts) > len(s.manifest.Segments) {
		return false, nil
	}
	for i, p := range parts {
		if s.manifest.Segments[at+i].ID != p.record.ID {
			return false, nil
		}
	}
	c := s.begin()
	if err := c.adopt(r); err != nil {
		return false, err
	}
	// adopt appended it: it goes where the parts were.
	merged, last := c.parts[len(c.parts)-1], len(c.parts)-1
	deleted := codec.NewBitmap(merged.Docs())
	dead := 0
	for i, p := range parts {
		now := c.parts[at+i].Deleted
		for w := range now {
			before := uint64(0)
			if p.Deleted != nil {
				before = p.Deleted[w]
			}
			for fresh := now[w] &^ before; fresh != 0; fresh &= fresh - 1 {
				if to, ok := maps[i].To(uint32(w*64 + trailing(fresh))); ok {
					deleted.Set(to)
					dead++
				}
			}
		}
	}
	if dead > 0 {
		merged.Deleted, merged.Dead = deleted, dead
		c.touched[at] = true
	}
	tail := at + len(parts)
	c.parts = append(append(append([]*Part{}, c.parts[:at]...), merged), c.parts[tail:last]...)
	c.next.Segments = append(append(append([]segmentRecord{}, c.next.Segments[:at]...), r), c.next.Segments[tail:last]...)
	if docsGone := merged.Live() == 0; docsGone {
		c.made = append(c.made, r.file())
	}
	if err := c.install(); err != nil {
		c.abandon()
		s.broken = err
		return false, err
	}
	return true, nil
}

// Settle returns when there is nothing to merge, or with ctx's error.
func (s *Shard) Settle(ctx context.Context) error {
	for {
		s.commit.Lock()
		from, to := pick(s.manifest.Segments, s.busy, s.opts.MergeFactor, s.opts.MaxMerged)
		idle, merged, broken := from == to && len(s.busy) == 0, s.merged, s.broken
		s.commit.Unlock()
		if idle || broken != nil {
			return broken
		}
		s.kick()
		select {
		case <-merged:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
