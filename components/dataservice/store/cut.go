package store

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/carbonado/components/dataservice/wal"
)

// cutState is what a table's next cut waits for. Guarded by Store.mu.
type cutState struct {
	rows, bytes int64
	since       time.Time // when the oldest entry of the tail came
	waiters     []chan error
	// tokens limit cuts on request to one a second in the long run, with a few at once.
	tokens float64
	filled time.Time
	// retry is when a cut that failed may be tried again; failed is why it did.
	retry  time.Time
	failed error
}

const (
	cutBurst = 4
	// maxSegment is the most rows that a cut or a compaction puts into one file.
	maxSegment = 1 << 20
	// niceCut and niceCompact are the priorities of the threads that encode segments.
	niceCut, niceCompact = 5, 10
	retryAfter           = 2 * time.Second
)

func (c *cutState) added(e *entry, now time.Time) {
	if c.rows == 0 {
		c.since = now
	}
	c.rows += int64(e.rows)
	c.bytes += int64(e.size)
}

func (c *cutState) reset() {
	c.rows, c.bytes = 0, 0
	for _, w := range c.waiters {
		w <- nil
	}
	c.waiters = nil
}

// allow takes a token, or says how long it takes until there is one.
func (c *cutState) allow(now time.Time) time.Duration {
	if c.filled.IsZero() {
		c.tokens = cutBurst
	} else {
		c.tokens = min(cutBurst, c.tokens+now.Sub(c.filled).Seconds())
	}
	c.filled = now
	if c.tokens >= 1 {
		c.tokens--
		return 0
	}
	return time.Duration((1 - c.tokens) * float64(time.Second))
}

// wakeCut wakes the cutter if a table's tail is long enough; mu is held.
func (s *Store) wakeCut(effects []effect) {
	for _, ef := range effects {
		if c := &ef.t.cuts; c.rows >= s.opts.CutRows || c.bytes >= s.opts.CutBytes {
			signal(s.cutWake)
			return
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Cut puts all rows of a table that were committed before the call into segments.
func (s *Store) Cut(ctx context.Context, name string) error {
	s.mu.Lock()
	t, err := s.find(name)
	if err == nil {
		err = s.broken
	}
	if err != nil || len(t.tail) == 0 {
		s.mu.Unlock()
		return err
	}
	w := make(chan error, 1)
	t.cuts.waiters = append(t.cuts.waiters, w)
	s.mu.Unlock()
	signal(s.cutWake)
	select {
	case err := <-w:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return ErrClosed.New("the store ends")
	}
}

// cutLoop cuts tails, writes manifests, and removes what is not needed any more.
func (s *Store) cutLoop() {
	nice(niceCut)
	timer := time.NewTimer(s.opts.Idle)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.cutWake:
		case <-timer.C:
		}
		wait := s.opts.Idle
		for s.err() == nil && s.ctx.Err() == nil {
			t, waiters, again := s.nextCut()
			if t == nil {
				wait = min(wait, again)
				break
			}
			err := s.cut(t)
			if err != nil {
				if vfs.IsFull(err) {
					err = wal.ErrFull.Wrap(err, "a segment of table %s", t.Name)
				}
				s.logf(err, "can't cut table %s", t.Name)
				s.mu.Lock()
				t.cuts.retry, t.cuts.failed = s.opts.Now().Add(retryAfter), err
				s.mu.Unlock()
			}
			for _, w := range waiters {
				w <- err
			}
		}
		if s.err() == nil && s.ctx.Err() == nil {
			if err := s.checkpoint(); err != nil {
				s.logf(err, "can't write the manifest")
			}
			s.sweep()
		}
		timer.Reset(wait)
	}
}

// nice lowers the priority of the calling goroutine's thread, which it then keeps.
func nice(n int) {
	runtime.LockOSThread()
	// Without the right to do it the thread goes on as it is.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), n)
}

// nextCut picks a table that has to be cut now, or says when to look again.
func (s *Store) nextCut() (*table, []chan error, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	again := s.opts.Idle
	_, lastFile := s.log.Bounds()
	var best *table
	for _, t := range s.tables {
		c := &t.cuts
		if len(t.tail) == 0 {
			c.reset()
			continue
		}
		if now.Before(c.retry) {
			for _, w := range c.waiters {
				w <- retryError(c.failed)
			}
			c.waiters = nil
			continue
		}
		old := now.Sub(c.since) >= s.opts.CutAge || lastFile-t.tail[0].pos.File >= 4
		if c.rows >= s.opts.CutRows || c.bytes >= s.opts.CutBytes || old {
			if best == nil || len(best.cuts.waiters) == 0 {
				best = t
			}
			continue
		}
		if len(c.waiters) > 0 {
			if d := c.allow(now); d > 0 {
				again = min(again, d)
			} else {
				best = t
			}
		}
	}
	if best == nil {
		return nil, nil, again
	}
	w := best.cuts.waiters
	best.cuts.waiters = nil
	return best, w, 0
}

// retryError is told to those who ask for a cut while the last one's failure is being waited out.
func retryError(failed error) error {
	if errors.Is(failed, wal.ErrFull) {
		return failed
	}
	return ErrClosed.Wrap(failed, "the last cut failed; it is tried again in %s", retryAfter)
}

// cut writes the tail of a table into segments.
func (s *Store) cut(t *table) error {
	s.mu.Lock()
	tail := slices.Clone(t.tail)
	if len(tail) == 0 || s.byID[t.ID] != t {
		s.mu.Unlock()
		return nil
	}
	dead := deadIn(t.dead, tail[0].first, tail[len(tail)-1].last)
	asOf, epoch := s.seq, t.epoch
	order := columns(t.Schema, t.Extra)
	groups := s.groups(t, tail)
	t.cuts.rows, t.cuts.bytes, t.cuts.since = 0, 0, s.opts.Now()
	s.mu.Unlock()
	for i, g := range groups {
		seg, err := s.writeGroup(t, g, dead, asOf, order)
		if err != nil {
			s.mu.Lock()
			for _, g := range groups[i:] {
				for _, e := range g {
					t.cuts.added(e, s.opts.Now())
				}
			}
			s.mu.Unlock()
			return err
		}
		s.mu.Lock()
		if s.byID[t.ID] != t || t.epoch != epoch {
			if seg != nil {
				s.discard(seg)
			}
			s.mu.Unlock()
			return nil
		}
		last := g[len(g)-1].last
		t.tail = slices.Clone(t.tail[len(g):])
		t.Cut = last
		t.bury(deadIn(dead, g[0].first, last))
		if seg != nil {
			t.insert(seg)
		}
		s.version++
		s.mu.Unlock()
	}
	signal(s.compactWake)
	return nil
}

// groups splits a tail into what can be one segment each: no range that a transaction reserved or filled lies within, no
// column has two types, and no file becomes too long. mu is held.
func (s *Store) groups(t *table, tail []*entry) [][]*entry {
	var barriers []uint64
	for _, f := range t.segs {
		barriers = append(barriers, f.MinSeq)
	}
	for first := range t.open {
		barriers = append(barriers, first)
	}
	slices.Sort(barriers)
	var out [][]*entry
	types := map[string]rows.Type{}
	begin, n := 0, 0
	for i, e := range tail {
		cut := n+e.rows > maxSegment
		if i > begin {
			at, _ := slices.BinarySearch(barriers, tail[i-1].last)
			cut = cut || at < len(barriers) && barriers[at] < e.first
		}
		for _, c := range e.target.Columns {
			if typ, ok := types[c.Name]; ok && typ != c.Type {
				cut = true
			}
		}
		if cut && i > begin {
			out = append(out, tail[begin:i])
			begin, n = i, 0
			clear(types)
		}
		for _, c := range e.target.Columns {
			types[c.Name] = c.Type
		}
		n += e.rows
	}
	return append(out, tail[begin:])
}

// writeGroup writes one segment; nil if all its rows are dead.
func (s *Store) writeGroup(t *table, g []*entry, dead *roaring64.Bitmap, asOf uint64, order []rows.Column) (*segFile, error) {
	var cols []rows.Column
	for _, e := range g {
		for _, c := range e.target.Columns {
			if !slices.ContainsFunc(cols, func(o rows.Column) bool { return o.Name == c.Name }) {
				cols = append(cols, c)
			}
		}
	}
	place := func(c rows.Column) int {
		i := slices.IndexFunc(order, func(o rows.Column) bool { return o.Name == c.Name })
		if i < 0 {
			return len(order)
		}
		return i
	}
	slices.SortStableFunc(cols, func(a, b rows.Column) int { return place(a) - place(b) })
	out, err := s.newSegmentWriter(t, cols)
	if err != nil {
		return nil, err
	}
	var n int64
	for _, e := range g {
		n += int64(e.rows)
	}
	out.w.Expect(n)
	var buf []byte
	for _, e := range g {
		if err := s.ctx.Err(); err != nil {
			return nil, out.abandon(ErrClosed.New("the store ends"))
		}
		var r *rows.Rows
		if r, buf, err = s.readEntry(e, buf); err == nil {
			err = out.append(r, dead)
		}
		if err != nil {
			return nil, out.abandon(err)
		}
	}
	return out.close(asOf)
}

// segmentWriter is a segment file being written.
type segmentWriter struct {
	s    *Store
	w    *segment.Writer
	file interface{ Close() error }
	id   uint64
	rel  string
}

func (s *Store) newSegmentWriter(t *table, cols []rows.Column) (*segmentWriter, error) {
	id, rel := s.newSegment(t)
	path := s.segmentPath(rel)
	if err := s.makeFolder(path); err != nil {
		return nil, err
	}
	f, err := s.opts.FS.Create(path)
	if err != nil {
		return nil, err
	}
	out := &segmentWriter{s: s, file: f, id: id, rel: rel}
	if out.w, err = segment.NewWriter(f, cols, s.opts.GroupRows); err != nil {
		return nil, out.abandon(err)
	}
	return out, nil
}

// append adds the rows that are not dead.
func (o *segmentWriter) append(r *rows.Rows, dead *roaring64.Bitmap) error {
	return o.w.Append(alive(r, dead))
}

// alive leaves dead rows out.
func alive(r *rows.Rows, dead *roaring64.Bitmap) *rows.Rows {
	if r.Len() == 0 || dead.IsEmpty() {
		return r
	}
	if in := deadIn(dead, uint64(r.Seq[0]), uint64(r.Seq[r.Len()-1])); !in.IsEmpty() {
		return r.Select(r.Where(func(i int) bool { return !in.Contains(uint64(r.Seq[i])) }))
	}
	return r
}

func (o *segmentWriter) abandon(err error) error {
	return errors.Join(err, o.file.Close(), o.s.opts.FS.Remove(o.s.segmentPath(o.rel)))
}

// close makes the file durable; nil without rows.
func (o *segmentWriter) close(asOf uint64) (*segFile, error) {
	if o.w.Rows() == 0 {
		return nil, o.abandon(nil)
	}
	info, err := o.w.Close()
	if err != nil {
		return nil, o.abandon(err)
	}
	if err := o.file.Close(); err != nil {
		return nil, err
	}
	if err := o.s.syncFolder(o.rel); err != nil {
		return nil, err
	}
	return &segFile{Segment: manifest.Segment{ID: o.id, Path: o.rel, Info: info, AsOf: asOf}}, nil
}
