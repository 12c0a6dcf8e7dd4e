package store

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow-go/v18/arrow"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
)

// Change is one step of a table's feed.
type Change struct {
	Kind ChangeKind
	// Pos is what a subscriber remembers when it has this change and all before.
	Pos uint64
	// Rows of ChangeRows, as RecordStore's rows.
	Rows arrow.RecordBatch
	// Dead of ChangeDelete, ascending.
	Dead []uint64
}

// ChangeKind says what happened.
type ChangeKind int

// The kinds of changes.
const (
	ChangeRows ChangeKind = iota
	ChangeDelete
	ChangeTruncate
	// ChangeBegin and ChangeEnd enclose what belongs to one transaction.
	ChangeBegin
	ChangeEnd
	// ChangeDropped is the last change of a table.
	ChangeDropped
	// ChangeCaughtUp comes after the last change there is now.
	ChangeCaughtUp
)

// Cursor reads the changes of one table in order. It is for one goroutine.
type Cursor struct {
	s    *Store
	id   uint32
	name string
	pos  uint64
	told bool // caught up was said at pos
	// logFile is the first log file that the cursor may still read; 0: none.
	logFile atomic.Uint64
}

// Subscribe begins to read a table's changes behind a position; 0 is the beginning.
func (s *Store) Subscribe(name string, after uint64) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	c := &Cursor{s: s, id: t.ID, name: t.Name, pos: after}
	s.cursors[c] = struct{}{}
	return c, nil
}

// Close ends the cursor.
func (c *Cursor) Close() {
	c.s.mu.Lock()
	delete(c.s.cursors, c)
	c.s.mu.Unlock()
}

// Table is the table's name.
func (c *Cursor) Table() string { return c.name }

// Next calls each with the changes that there are; it waits for one if there is none. After ChangeDropped it answers ErrNoTable.
func (c *Cursor) Next(ctx context.Context, each func(Change) error) error {
	for {
		c.s.mu.Lock()
		changed := c.s.changed
		if err := c.s.broken; err != nil {
			c.s.mu.Unlock()
			return err
		}
		t := c.s.byID[c.id]
		if t == nil {
			c.s.mu.Unlock()
			if err := each(Change{Kind: ChangeDropped, Pos: c.pos}); err != nil {
				return err
			}
			return ErrNoTable.New("table %s was dropped", c.name)
		}
		if c.pos < t.LastSeq {
			c.told = false
			v := c.s.viewOf(t)
			var events []event
			if c.pos >= t.journalFrom {
				i, _ := slices.BinarySearchFunc(t.journal, c.pos+1, func(e event, p uint64) int {
					if e.at < p {
						return -1
					}
					return 1
				})
				if i < len(t.journal) {
					events = slices.Clone(t.journal[i:min(len(t.journal), i+64)])
				}
			}
			c.remember(events)
			c.s.mu.Unlock()
			var err error
			if events != nil {
				err = c.follow(ctx, v, events, each)
			} else {
				err = c.catchUp(ctx, v, each)
			}
			c.s.release(v)
			return err
		}
		c.logFile.Store(0)
		c.s.mu.Unlock()
		if !c.told {
			c.told = true
			return each(Change{Kind: ChangeCaughtUp, Pos: c.pos})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.s.ctx.Done():
			return ErrClosed.New("the store ends")
		}
	}
}

// remember notes which log file is read next; Store.mu is held.
func (c *Cursor) remember(events []event) {
	for _, e := range events {
		if e.e != nil {
			c.logFile.Store(e.e.pos.File)
			return
		}
	}
	c.logFile.Store(0)
}

// follow tells events of the journal.
func (c *Cursor) follow(ctx context.Context, v *view, events []event, each func(Change) error) error {
	for _, e := range events {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.died != nil && !e.died.IsEmpty() {
			pos := c.pos
			if e.kind == evDelete {
				pos = e.at
			}
			if err := tellDead(e.died, pos, each); err != nil {
				return err
			}
		}
		var err error
		switch e.kind {
		case evTruncate:
			err = each(Change{Kind: ChangeTruncate, Pos: e.at})
		case evRows:
			err = c.tellEntry(ctx, v, e, each)
		case evAdopt, evOverwrite:
			err = c.tellCommit(ctx, v, e, false, each)
		}
		if err != nil {
			return err
		}
		c.pos = e.at
	}
	return nil
}

func (c *Cursor) tellEntry(ctx context.Context, v *view, e event, each func(Change) error) error {
	// A position may lie within a batch: it is that of the last row that lived when the batch was told.
	first := max(e.first, c.pos+1)
	if e.e != nil {
		r, _, err := c.s.readEntry(e.e, nil)
		if err == nil {
			r = filter(r, v.dead, span{first: first, last: e.last, from: everything.from, to: everything.to})
			if e.died != nil {
				// Rows that the same batch replaced may be forgotten as dead already.
				r = alive(r, e.died)
			}
			return c.tell(v, r, e.at, each)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return c.s.scan(ctx, v, nil, span{first: first, last: e.last, from: everything.from, to: everything.to}, func(r *rows.Rows) error {
		return c.tell(v, r, uint64(r.Seq[r.Len()-1]), each)
	})
}

// tellCommit tells what a transaction wrote. within: an enclosing transaction is told already.
func (c *Cursor) tellCommit(ctx context.Context, v *view, e event, within bool, each func(Change) error) error {
	if !within {
		if err := each(Change{Kind: ChangeBegin, Pos: c.pos}); err != nil {
			return err
		}
	}
	first := e.first
	// A subscriber that began after the commit was told the rows one by one and may have stopped among them.
	partly := c.pos >= e.first && c.pos <= e.last
	if partly {
		first = c.pos + 1
	}
	if e.kind == evOverwrite && !partly {
		if err := each(Change{Kind: ChangeTruncate, Pos: e.at}); err != nil {
			return err
		}
	}
	if e.last >= first {
		err := c.s.scan(ctx, v, nil, span{first: first, last: e.last, from: everything.from, to: everything.to}, func(r *rows.Rows) error {
			return c.tell(v, r, e.at, each)
		})
		if err != nil {
			return err
		}
	}
	if within {
		return nil
	}
	return each(Change{Kind: ChangeEnd, Pos: e.at})
}

// tellRows is how many rows one change has at most.
const (
	tellRows  = 1000
	tellBytes = 1 << 20
)

func (c *Cursor) tell(v *view, r *rows.Rows, pos uint64, each func(Change) error) error {
	if r.Len() == 0 {
		return nil
	}
	if n := r.Len(); n > tellRows || n > 1 && r.Bytes() > tellBytes {
		half := n / 2
		// The position of rows that come in order is their own; others have one for all.
		first := min(pos, uint64(r.Seq[half-1]))
		if pos != uint64(r.Seq[n-1]) {
			first = pos
		}
		if err := c.tell(v, r.Slice(0, half), first, each); err != nil {
			return err
		}
		return c.tell(v, r.Slice(half, n), pos, each)
	}
	return each(Change{Kind: ChangeRows, Pos: pos, Rows: record(v, r, v.columns())})
}

func tellDead(dead *roaring64.Bitmap, pos uint64, each func(Change) error) error {
	const piece = 64 << 10
	buf := make([]uint64, piece)
	for it := dead.ManyIterator(); ; {
		n := it.NextMany(buf)
		if n == 0 {
			return nil
		}
		if err := each(Change{Kind: ChangeDelete, Pos: pos, Dead: slices.Clone(buf[:n])}); err != nil {
			return err
		}
	}
}

// catchUp tells, from segments and the log's tail, what a view has and the position doesn't.
func (c *Cursor) catchUp(ctx context.Context, v *view, each func(Change) error) error {
	end := v.LastSeq
	late := lateAdoptions(v, c.pos)
	anew := c.pos > 0 && c.pos < v.Horizon
	if anew {
		// What died since is not known one by one any more.
		if err := each(Change{Kind: ChangeBegin, Pos: c.pos}); err != nil {
			return err
		}
		if err := each(Change{Kind: ChangeTruncate, Pos: 0}); err != nil {
			return err
		}
		c.pos = 0
		late = lateAdoptions(v, 0)
	} else if c.pos > 0 {
		c.s.mu.RLock()
		keys := c.s.keys
		c.s.mu.RUnlock()
		if keys != nil {
			all := roaring64.New()
			err := keys.Deaths(c.id, c.pos, end, func(_ uint64, dead *roaring64.Bitmap) error { all.Or(dead); return nil })
			if err != nil {
				return err
			}
			c.s.mu.RLock()
			t := c.s.byID[c.id]
			trimmed := t == nil || t.Horizon > c.pos
			c.s.mu.RUnlock()
			if trimmed {
				return nil // deaths were forgotten meanwhile: Next looks again
			}
			if err := tellDead(all, c.pos, each); err != nil {
				return err
			}
		}
	}
	from := c.pos
	for _, a := range late {
		if err := c.tellRange(ctx, v, late, from, a.At-1, each); err != nil {
			return err
		}
		c.pos = max(c.pos, a.At-1)
		if err := c.tellCommit(ctx, v, event{kind: evAdopt, first: a.First, last: a.Last, at: a.At}, anew, each); err != nil {
			return err
		}
		c.pos = a.At
		from = a.At
	}
	if err := c.tellRange(ctx, v, late, from, end, each); err != nil {
		return err
	}
	if anew {
		if err := each(Change{Kind: ChangeEnd, Pos: end}); err != nil {
			return err
		}
	}
	c.pos = end
	return nil
}

// lateAdoptions are the ranges that became visible behind a position, in the order in which they did.
func lateAdoptions(v *view, pos uint64) []manifest.Adoption {
	var out []manifest.Adoption
	for _, f := range v.segs {
		for _, a := range f.Adopted {
			if a.At > pos {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, func(a, b manifest.Adoption) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	return out
}

// tellRange tells the rows with numbers in (after, upTo], those of late ranges left out.
func (c *Cursor) tellRange(ctx context.Context, v *view, late []manifest.Adoption, after, upTo uint64, each func(Change) error) error {
	if after >= upTo {
		return nil
	}
	return c.s.scan(ctx, v, nil, span{first: after + 1, last: upTo, from: everything.from, to: everything.to}, func(r *rows.Rows) error {
		if len(late) > 0 {
			r = r.Select(r.Where(func(i int) bool {
				q := uint64(r.Seq[i])
				return !slices.ContainsFunc(late, func(a manifest.Adoption) bool { return q >= a.First && q <= a.Last })
			}))
			if r.Len() == 0 {
				return nil
			}
		}
		return c.tell(v, r, uint64(r.Seq[r.Len()-1]), each)
	})
}
