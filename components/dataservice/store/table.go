package store

import (
	"slices"
	"sort"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/source"
	"carbonado.dev/carbonado/components/dataservice/wal"
)

// table is the state of one table. Everything in it is guarded by Store.mu.
type table struct {
	manifest.Table // Segments is empty here: they are in segs

	segs []*segFile // by MinSeq, ranges disjoint
	tail []*entry   // rows of the log that are not in segments, in order
	// dead are the rows that no longer count and still lie in segs or tail. It is shared with views while deadShared.
	dead       *roaring64.Bitmap
	deadShared bool
	// maybe are rows that the key index says are dead and that may still lie in the tail; used while the store opens.
	maybe *roaring64.Bitmap
	// deaths is about how many entries of deaths the key index keeps.
	deaths int

	journal []event
	// journalFrom is the position behind which the journal has everything.
	journalFrom uint64

	// epoch changes when rows vanish at once (truncate, drop), so that a cut under way is dropped.
	epoch uint64
	// buried grows whenever dead rows are physically removed.
	buried uint64
	// open are the first numbers of ranges that transactions reserved: no segment may span one.
	open map[uint64]bool
	cuts cutState
}

// entry is a frame of the log with rows of one table.
type entry struct {
	src    *source.Source
	target *source.Target
	pos    wal.Pos
	size   int
	rows   int // poison left out
	first  uint64
	last   uint64
	// Range of `_timestamp`; valid if timed. Guarded by Store.mu.
	timed            bool
	minTime, maxTime int64
}

type eventKind int

const (
	evRows eventKind = iota
	evDelete
	evTruncate
	evAdopt
	evOverwrite
)

// event is a change that the feed tells: rows first to last, visible at position at, and the rows that died by it.
type event struct {
	kind        eventKind
	first, last uint64
	at          uint64
	e           *entry
	died        *roaring64.Bitmap
}

// maxJournal bounds a table's journal; older changes are read from segments.
const maxJournal = 4096

func (t *table) keyed() bool { return len(t.Schema.Keys) > 0 }

func (t *table) record(ev event) {
	if len(t.journal) >= maxJournal {
		n := maxJournal / 4
		t.journalFrom = t.journal[n-1].at
		t.journal = slices.Clone(t.journal[n:])
	}
	t.journal = append(t.journal, ev)
}

// kill marks rows dead.
func (t *table) kill(dead *roaring64.Bitmap) {
	if dead.IsEmpty() {
		return
	}
	if t.deadShared {
		t.dead = t.dead.Clone()
		t.deadShared = false
	}
	t.dead.Or(dead)
}

// bury forgets dead rows that are physically gone.
func (t *table) bury(gone *roaring64.Bitmap) {
	if gone.IsEmpty() {
		return
	}
	if t.deadShared {
		t.dead = t.dead.Clone()
		t.deadShared = false
	}
	t.dead.AndNot(gone)
	t.buried++
}

// deadIn is a copy of the dead rows within a range.
func deadIn(dead *roaring64.Bitmap, first, last uint64) *roaring64.Bitmap {
	out := roaring64.New()
	if dead.IsEmpty() {
		return out
	}
	out.AddRange(first, last+1)
	out.And(dead)
	return out
}

func (t *table) live() int64 {
	n := -int64(t.dead.GetCardinality())
	for _, s := range t.segs {
		n += s.Rows
	}
	for _, e := range t.tail {
		n += int64(e.rows)
	}
	return n
}

func (t *table) bytes() int64 {
	var n int64
	for _, s := range t.segs {
		n += s.Bytes
	}
	for _, e := range t.tail {
		n += int64(e.size)
	}
	return n
}

func (t *table) insert(s *segFile) {
	i := sort.Search(len(t.segs), func(i int) bool { return t.segs[i].MinSeq > s.MinSeq })
	t.segs = slices.Insert(slices.Clone(t.segs), i, s)
}

// learn adds columns that rows have and the schema doesn't.
func (t *table) learn(cols []rows.Column) {
	for _, c := range cols {
		if c.Name == rows.ArbitraryColumn || t.has(c.Name) {
			continue
		}
		t.Extra = append(slices.Clone(t.Extra), c)
		t.SchemaVersion++
	}
}

func (t *table) has(name string) bool {
	return slices.ContainsFunc(t.Schema.Columns, func(c manifest.Column) bool { return c.Name == name }) ||
		slices.ContainsFunc(t.Extra, func(c rows.Column) bool { return c.Name == name })
}

// columns are the table's columns: declared ones, those that rows brought along, `_arbitrary`.
func columns(schema manifest.Schema, extra []rows.Column) []rows.Column {
	out := make([]rows.Column, 0, len(schema.Columns)+len(extra)+1)
	for _, c := range schema.Columns {
		out = append(out, c.Column)
	}
	for _, c := range extra {
		if !slices.ContainsFunc(out, func(o rows.Column) bool { return o.Name == c.Name }) {
			out = append(out, c)
		}
	}
	return append(out, rows.Column{Name: rows.ArbitraryColumn, Type: rows.String})
}

// view is a picture of a table that does not change. It keeps its files from being removed until release.
type view struct {
	manifest.Table
	segs []*segFile
	tail []*entry
	dead *roaring64.Bitmap
	rows int64
	size int64

	epoch, buried uint64
}

func (v *view) columns() []rows.Column { return columns(v.Schema, v.Extra) }
func (v *view) keyed() bool            { return len(v.Schema.Keys) > 0 }

// view makes a picture; Store.mu is held for writing.
func (t *table) view() *view {
	t.deadShared = true
	v := &view{Table: t.Table, segs: t.segs, tail: slices.Clone(t.tail), dead: t.dead, rows: t.live(), size: t.bytes(),
		epoch: t.epoch, buried: t.buried}
	for _, s := range v.segs {
		s.refs++
	}
	return v
}
