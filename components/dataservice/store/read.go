package store

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"
	"sort"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/source"
)

// part is a piece of a table in `_seq` order: a segment or an entry of the log.
type part struct {
	seg         *segFile
	e           *entry
	first, last uint64
}

func (v *view) parts() []part {
	out := make([]part, 0, len(v.segs)+len(v.tail))
	for _, f := range v.segs {
		out = append(out, part{seg: f, first: f.MinSeq, last: f.MaxSeq})
	}
	for _, e := range v.tail {
		out = append(out, part{e: e, first: e.first, last: e.last})
	}
	slices.SortFunc(out, func(a, b part) int { return cmp.Compare(a.first, b.first) })
	return out
}

// span is what a scan is about: `_seq` in [first, last], `_timestamp` in [from, to).
type span struct {
	first, last uint64
	from, to    int64
}

var everything = span{first: 0, last: math.MaxInt64, from: math.MinInt64, to: math.MaxInt64}

func (p *span) timed() bool { return p.from != math.MinInt64 || p.to != math.MaxInt64 }

// within says whether a time lies in the span. The end of an open span is included.
func (p *span) within(t int64) bool { return t >= p.from && (t < p.to || p.to == math.MaxInt64) }

// scan calls each with pieces of the living rows of a view within the span, in `_seq` order, with the named columns (nil: all
// that are there).
func (s *Store) scan(ctx context.Context, v *view, names []string, in span, each func(*rows.Rows) error) error {
	for _, p := range v.parts() {
		if p.last < in.first || p.first > in.last {
			continue
		}
		if err := s.scanPart(ctx, v, p, names, in, each); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) scanPart(ctx context.Context, v *view, p part, names []string, in span, each func(*rows.Rows) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pass := func(r *rows.Rows) error {
		if r = filter(r, v.dead, in); r.Len() == 0 {
			return nil
		}
		return each(r)
	}
	if p.e != nil {
		r, _, err := s.readEntry(p.e, nil)
		if err != nil {
			return err
		}
		return pass(only(r, names))
	}
	if in.timed() && (p.seg.MaxTime < in.from || !in.within(p.seg.MinTime) && p.seg.MinTime >= in.to) {
		return nil
	}
	r, err := s.readers.get(p.seg)
	if err != nil {
		return err
	}
	defer s.readers.done(r)
	rg := segment.Range{MinSeq: in.first, MaxSeq: in.last}
	if in.timed() {
		rg.From, rg.To = in.from, in.to
	}
	return r.Scan(ctx, names, rg, pass)
}

func only(r *rows.Rows, names []string) *rows.Rows {
	if names == nil {
		return r
	}
	out := &rows.Rows{Seq: r.Seq, Time: r.Time}
	for _, c := range r.Cols {
		if slices.Contains(names, c.Name) {
			out.Cols = append(out.Cols, c)
		}
	}
	return out
}

// filter keeps living rows within the span.
func filter(r *rows.Rows, dead *roaring64.Bitmap, in span) *rows.Rows {
	n := r.Len()
	if n == 0 {
		return r
	}
	if uint64(r.Seq[0]) >= in.first && uint64(r.Seq[n-1]) <= in.last && !in.timed() {
		return alive(r, dead)
	}
	r = r.Select(r.Where(func(i int) bool {
		q := uint64(r.Seq[i])
		return q >= in.first && q <= in.last && in.within(r.Time[i])
	}))
	return alive(r, dead)
}

// fetch calls each with the living rows whose `_seq` are given in ascending order.
func (s *Store) fetch(ctx context.Context, v *view, names []string, seqs []uint64, each func(*rows.Rows) error) error {
	for _, p := range v.parts() {
		i := sort.Search(len(seqs), func(i int) bool { return seqs[i] >= p.first })
		j := sort.Search(len(seqs), func(i int) bool { return seqs[i] > p.last })
		if i == j {
			continue
		}
		want := seqs[i:j]
		if p.e != nil {
			r, _, err := s.readEntry(p.e, nil)
			if err != nil {
				return err
			}
			r = only(r, names)
			r = alive(r.Select(r.Where(func(i int) bool {
				_, ok := slices.BinarySearch(want, uint64(r.Seq[i]))
				return ok
			})), v.dead)
			if r.Len() > 0 {
				if err := each(r); err != nil {
					return err
				}
			}
			continue
		}
		rd, err := s.readers.get(p.seg)
		if err != nil {
			return err
		}
		r, err := rd.Fetch(ctx, names, want)
		s.readers.done(rd)
		if err != nil {
			return err
		}
		if r = alive(r, v.dead); r.Len() > 0 {
			if err := each(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Query is what Read is asked for.
type Query struct {
	Table       string
	Columns     []string // nil: all
	From, To    *int64
	Start       int64
	Count       int64 // <= 0: all
	NewestFirst bool
	// At most one of these.
	Seqs []uint64
	IDs  []string
	Keys []map[string]string
}

// Read answers rows as Arrow records with `_seq`, `_timestamp`, `_id` and the columns asked for. schema is called once, before
// the first record.
func (s *Store) Read(ctx context.Context, q *Query, schema func(*arrow.Schema) error, each func(arrow.RecordBatch) error) error {
	v, seqs, err := s.viewAt(q)
	if err != nil {
		return err
	}
	defer s.release(v)
	want, err := wanted(v.columns(), q.Columns)
	if err != nil {
		return err
	}
	if err := schema(rows.RecordSchema(want, true)); err != nil {
		return err
	}
	rd := &reading{s: s, v: v, want: want, names: s.needed(v, want), each: each}
	in := everything
	if q.From != nil {
		in.from = *q.From
	}
	if q.To != nil {
		in.to = *q.To
	}
	switch {
	case q.exact():
		return rd.exact(ctx, seqs)
	case q.Start < 0:
		return ErrRequest.New("start %d", q.Start)
	case q.NewestFirst:
		return rd.newest(ctx, in, q.Start, q.Count)
	}
	return rd.inOrder(ctx, in, q.Start, q.Count)
}

func (q *Query) exact() bool { return len(q.Seqs)+len(q.IDs)+len(q.Keys) > 0 }

// viewAt is a picture of the table, and the numbers of the rows asked for exactly as of the same moment.
func (s *Store) viewAt(q *Query) (v *view, seqs []uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, nil, s.broken
	}
	t, err := s.find(q.Table)
	if err != nil {
		return nil, nil, err
	}
	asked := 0
	if len(q.Seqs) > 0 {
		asked++
		seqs = q.Seqs
	}
	if len(q.IDs) > 0 {
		asked++
		seqs, err = s.seqsOfIDs(t, q.IDs)
	}
	if len(q.Keys) > 0 {
		asked++
		seqs, err = s.seqsOfKeys(t, q.Keys)
	}
	if asked > 1 {
		err = ErrRequest.New("of `_seq` numbers, ids and keys only one can be asked for")
	}
	if err != nil {
		return nil, nil, err
	}
	return s.viewOf(t), seqs, nil
}

func wanted(have []rows.Column, names []string) ([]rows.Column, error) {
	if len(names) == 0 {
		return have, nil
	}
	var out []rows.Column
	for _, n := range names {
		switch n {
		case rows.SeqColumn, rows.TimeColumn, rows.IDColumn:
			continue // always there
		}
		i := slices.IndexFunc(have, func(c rows.Column) bool { return c.Name == n })
		if i < 0 {
			return nil, ErrRequest.New("the table has no column %s", n)
		}
		if !slices.Contains(out, have[i]) {
			out = append(out, have[i])
		}
	}
	return out, nil
}

// needed are the names to read for the wanted columns and for `_id`.
func (s *Store) needed(v *view, want []rows.Column) []string {
	names := make([]string, 0, len(want)+len(v.Schema.Keys))
	for _, c := range want {
		names = append(names, c.Name)
	}
	return append(names, v.Schema.Keys...)
}

// reading is one Read under way.
type reading struct {
	s     *Store
	v     *view
	want  []rows.Column
	names []string
	each  func(arrow.RecordBatch) error
}

func (rd *reading) emit(r *rows.Rows) error {
	if r.Len() == 0 {
		return nil
	}
	return rd.each(record(rd.v, r, rd.want))
}

// record makes the Arrow record of rows, `_id` included.
func record(v *view, r *rows.Rows, want []rows.Column) arrow.RecordBatch {
	ids := array.NewStringBuilder(memory.DefaultAllocator)
	ids.Reserve(r.Len())
	if v.keyed() {
		for _, k := range source.Keys(r.Project(keyColumns(v.Schema)), v.Schema.Keys) {
			ids.Append(source.KeyID(k))
		}
	} else {
		for _, q := range r.Seq {
			ids.Append(source.SeqID(q))
		}
	}
	return r.Project(want).Record(ids.NewArray())
}

func (rd *reading) inOrder(ctx context.Context, in span, start, count int64) error {
	left := count
	if left <= 0 {
		left = math.MaxInt64
	}
	for _, p := range rd.v.parts() {
		if left == 0 {
			return nil
		}
		// A segment that the offset passes over as a whole needs no look.
		if p.seg != nil && !in.timed() && start > 0 {
			n := p.seg.Rows - int64(deadIn(rd.v.dead, p.first, p.last).GetCardinality())
			if n <= start {
				start -= n
				continue
			}
		}
		err := rd.s.scanPart(ctx, rd.v, p, rd.names, in, func(r *rows.Rows) error {
			n := int64(r.Len())
			if n <= start {
				start -= n
				return nil
			}
			end := n
			if left < n-start {
				end = start + left
			}
			r = r.Slice(int(start), int(end))
			start = 0
			left -= int64(r.Len())
			if err := rd.emit(r); err != nil {
				return err
			}
			if left == 0 {
				return errDone
			}
			return nil
		})
		if err != nil && err != errDone {
			return err
		}
	}
	return nil
}

type done struct{}

func (done) Error() string { return "done" }

var errDone error = done{}

// exact emits the rows of the given numbers in that order.
func (rd *reading) exact(ctx context.Context, seqs []uint64) error {
	const piece = 1024
	for len(seqs) > 0 {
		n := min(len(seqs), piece)
		if err := rd.exactPiece(ctx, seqs[:n]); err != nil {
			return err
		}
		seqs = seqs[n:]
	}
	return nil
}

func (rd *reading) exactPiece(ctx context.Context, seqs []uint64) error {
	sorted := slices.Clone(seqs)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	type place struct {
		r *rows.Rows
		i int
	}
	found := map[uint64]place{}
	err := rd.s.fetch(ctx, rd.v, rd.names, sorted, func(r *rows.Rows) error {
		r = r.Project(append(slices.Clone(rd.want), missingKeys(rd.v, rd.want)...))
		for i, q := range r.Seq {
			found[uint64(q)] = place{r, i}
		}
		return nil
	})
	if err != nil {
		return err
	}
	cols := append(slices.Clone(rd.want), missingKeys(rd.v, rd.want)...)
	out := &rows.Rows{Cols: make([]rows.Col, len(cols))}
	builders := make([]array.Builder, len(cols))
	for i, c := range cols {
		builders[i] = array.NewBuilder(memory.DefaultAllocator, rows.Arrow(c.Type))
	}
	for _, q := range seqs {
		p, ok := found[q]
		if !ok {
			continue
		}
		out.Seq = append(out.Seq, p.r.Seq[p.i])
		out.Time = append(out.Time, p.r.Time[p.i])
		for k := range cols {
			rows.AppendValue(builders[k], p.r.Cols[k].Arr, p.i)
		}
	}
	for i, c := range cols {
		out.Cols[i] = rows.Col{Column: c, Arr: builders[i].NewArray()}
	}
	return rd.emit(out)
}

// missingKeys are the key columns that were not asked for: `_id` needs them.
func missingKeys(v *view, want []rows.Column) []rows.Column {
	var out []rows.Column
	for _, k := range keyColumns(v.Schema) {
		if !slices.ContainsFunc(want, func(c rows.Column) bool { return c.Name == k.Name }) {
			out = append(out, k)
		}
	}
	return out
}

// timed is a row by its time.
type timed struct {
	time int64
	seq  uint64
}

// newer is the order of newest first: by time, then by number, both descending.
func newer(a, b timed) int {
	if c := cmp.Compare(b.time, a.time); c != 0 {
		return c
	}
	return cmp.Compare(b.seq, a.seq)
}

// oldestFirst is a heap with the oldest row on top.
type oldestFirst []timed

func (h oldestFirst) Len() int           { return len(h) }
func (h oldestFirst) Less(i, j int) bool { return newer(h[i], h[j]) > 0 }
func (h oldestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *oldestFirst) Push(x any)        { *h = append(*h, x.(timed)) }
func (h *oldestFirst) Pop() any {
	x := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return x
}

// passRows is how many rows one pass of a newest-first read sorts.
const passRows = 128 << 10

// newest emits rows by time descending. It sorts numbers, not rows, a limited count at a time, and looks only into segments whose
// newest row could be among them.
func (rd *reading) newest(ctx context.Context, in span, start, count int64) error {
	left := count
	if left <= 0 {
		left = math.MaxInt64
	}
	var bound *timed // rows up to and with this one are done
	for left > 0 {
		k := int(min(passRows, left))
		if start > 0 {
			k = int(min(passRows, start))
			if start < passRows && left < passRows {
				k = int(min(passRows, start+left))
			}
		}
		top, err := rd.top(ctx, in, k, bound)
		if err != nil || len(top) == 0 {
			return err
		}
		bound = &top[len(top)-1]
		short := len(top) < k
		skip := min(start, int64(len(top)))
		start -= skip
		top = top[skip:]
		if int64(len(top)) > left {
			top = top[:left]
		}
		left -= int64(len(top))
		seqs := make([]uint64, len(top))
		for i, x := range top {
			seqs[i] = x.seq
		}
		if err := rd.exact(ctx, seqs); err != nil {
			return err
		}
		if short {
			return nil
		}
	}
	return nil
}

// top gives the k newest rows behind bound, newest first.
func (rd *reading) top(ctx context.Context, in span, k int, bound *timed) ([]timed, error) {
	parts := rd.v.parts()
	for i := range parts {
		if e := parts[i].e; e != nil {
			if err := rd.s.timeEntry(e); err != nil {
				return nil, err
			}
		}
	}
	hi := func(p part) int64 {
		if p.e != nil {
			return p.e.maxTime
		}
		return p.seg.MaxTime
	}
	lo := func(p part) int64 {
		if p.e != nil {
			return p.e.minTime
		}
		return p.seg.MinTime
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(hi(b), hi(a)) })
	var h oldestFirst
	for _, p := range parts {
		if len(h) == k && hi(p) < h[0].time {
			break
		}
		if bound != nil && lo(p) > bound.time {
			continue
		}
		err := rd.s.scanPart(ctx, rd.v, p, []string{}, in, func(r *rows.Rows) error {
			for i, t := range r.Time {
				x := timed{t, uint64(r.Seq[i])}
				if bound != nil && newer(x, *bound) <= 0 {
					continue
				}
				if len(h) < k {
					heap.Push(&h, x)
				} else if newer(x, h[0]) < 0 {
					h[0] = x
					heap.Fix(&h, 0)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(h, newer)
	return h, nil
}

// timeEntry finds out the range of `_timestamp` of an entry.
func (s *Store) timeEntry(e *entry) error {
	s.mu.RLock()
	known := e.timed
	s.mu.RUnlock()
	if known {
		return nil
	}
	r, _, err := s.readEntry(e, nil)
	if err != nil {
		return err
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, t := range r.Time {
		lo, hi = min(lo, t), max(hi, t)
	}
	s.mu.Lock()
	e.minTime, e.maxTime, e.timed = lo, hi, true
	s.mu.Unlock()
	return nil
}

// Count counts living rows with `_timestamp` in [from, to); nil is open.
func (s *Store) Count(ctx context.Context, name string, from, to *int64) (int64, error) {
	v, err := s.view(name)
	if err != nil {
		return 0, err
	}
	defer s.release(v)
	if from == nil && to == nil {
		return v.rows, nil
	}
	in := everything
	if from != nil {
		in.from = *from
	}
	if to != nil {
		in.to = *to
	}
	var n int64
	for _, p := range v.parts() {
		if p.seg != nil && in.within(p.seg.MinTime) && in.within(p.seg.MaxTime) {
			n += p.seg.Rows - int64(deadIn(v.dead, p.first, p.last).GetCardinality())
			continue
		}
		err := s.scanPart(ctx, v, p, []string{}, in, func(r *rows.Rows) error { n += int64(r.Len()); return nil })
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// seqsOfIDs finds the rows of ids; what is no id, or none any more, is left out.
func (s *Store) seqsOfIDs(v *table, ids []string) ([]uint64, error) {
	out := make([]uint64, 0, len(ids))
	for _, id := range ids {
		if !v.keyed() {
			if q, ok := source.ParseSeqID(id); ok {
				out = append(out, q)
			}
			continue
		}
		k, ok := source.ParseKeyID(id)
		if !ok || s.keys == nil {
			continue
		}
		q, ok, err := s.keys.Get(v.ID, k)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, q)
		}
	}
	return out, nil
}

// seqsOfKeys finds the rows of keys given as text.
func (s *Store) seqsOfKeys(v *table, keys []map[string]string) ([]uint64, error) {
	if !v.keyed() {
		return nil, ErrRequest.New("table %s has no primary keys", v.Name)
	}
	cols := keyColumns(v.Schema)
	types := make([]rows.Type, len(cols))
	for i, c := range cols {
		types[i] = c.Type
	}
	out := make([]uint64, 0, len(keys))
	for _, m := range keys {
		values := make([]*string, len(cols))
		used := 0
		for i, c := range cols {
			if t, ok := m[c.Name]; ok {
				values[i] = &t
				used++
			}
		}
		if used != len(m) {
			return nil, ErrRequest.New("only primary keys of table %s can be given: %v", v.Name, v.Schema.Keys)
		}
		k, err := source.KeyOfText(values, types)
		if err != nil {
			return nil, ErrValue.Wrap(err, "key of table %s", v.Name)
		}
		if s.keys == nil {
			continue
		}
		q, ok, err := s.keys.Get(v.ID, k)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, q)
		}
	}
	return out, nil
}
