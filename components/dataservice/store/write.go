package store

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"carbonado.dev/carbonado/components/dataservice/batch"
	"carbonado.dev/carbonado/components/dataservice/keyindex"
	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/source"
	"carbonado.dev/sdk/frame"
)

// Append stores one BATCH frame of a stream. done is called once, from the committer, when the frame is durable or refused; the
// frame must stay untouched until then. The frame's link sequence and stream number are rewritten.
func (s *Store) Append(stream string, h frame.Header, b, body []byte, done func(error)) {
	if h.Tenant != Tenant {
		done(ErrTenant.New("tenant %d", h.Tenant))
		return
	}
	if h.Rows == 0 {
		done(nil)
		return
	}
	if err := frame.CheckBody(b); err != nil {
		done(err)
		return
	}
	s.mu.RLock()
	src := s.streams[stream]
	s.mu.RUnlock()
	if src == nil {
		done(ErrNoBinding.New("stream %s", stream))
		return
	}
	p := &pending{src: src, h: h, b: b, body: body}
	letters, err := s.prepare(p)
	if err != nil {
		done(err)
		return
	}
	r := &request{batches: []*pending{p}, done: done}
	if len(letters) > 0 {
		// In the same group as the batch itself, so that the cause is on disk before the acknowledgement.
		dead, err := s.deadLetters(stream, p.src, body, int(h.Rows), letters)
		if err != nil {
			done(err)
			return
		}
		r.batches = append(r.batches, dead...)
	}
	s.submit(r)
}

// prepare checks a batch as far as its source needs it.
func (s *Store) prepare(p *pending) (letters []source.Poison, err error) {
	src := p.src
	if p.h.Schema != src.ID {
		return nil, ErrOtherSchema.New("stream %s", src.Spec.Stream)
	}
	body := p.body
	look := false
	keys := make([][]string, len(src.Targets))
	p.keys = keys
	s.mu.RLock()
	for i, t := range src.Targets {
		look = look || t.MayFail
		if tb := s.byID[t.Table]; tb != nil && tb.keyed() {
			keys[i] = tb.Schema.Keys
			look = true
			// The table's keys may have changed since the stream was bound: without them all rows would be one.
			for _, k := range keys[i] {
				if src.Spec.Stream != "" && !slices.ContainsFunc(t.Columns, func(c rows.Column) bool { return c.Name == k }) {
					s.mu.RUnlock()
					return nil, ErrOtherSchema.New("stream %s gives primary key %s of table %s nothing", src.Spec.Stream, k, tb.Name)
				}
			}
		}
	}
	s.mu.RUnlock()
	if !look {
		p.sides = nil
		return nil, batch.Check(src.Schema, body, int(p.h.Rows))
	}
	rec, err := batch.Parse(src.Schema, body, int(p.h.Rows))
	if err != nil {
		return nil, err
	}
	p.sides = make([]side, len(src.Targets))
	for i, t := range src.Targets {
		rs, poison := t.Rows(rec, 0)
		letters = append(letters, poison...)
		p.sides[i].poison = countRows(poison)
		if keys[i] != nil {
			p.sides[i].keys = source.Keys(rs, keys[i])
			p.sides[i].at = rs.Seq
		}
	}
	return letters, nil
}

// DeadLetters is the table of rows that could not be stored where they belong.
const DeadLetters = "__DEAD_LETTERS"

var deadColumns = []rows.Column{
	{Name: "stream", Type: rows.String}, {Name: "column", Type: rows.String}, {Name: "code", Type: rows.String},
	{Name: "cause", Type: rows.String}, {Name: "event", Type: rows.String},
}

func (s *Store) deadLetters(stream string, src *source.Source, body []byte, n int, letters []source.Poison) ([]*pending, error) {
	rec, err := batch.Parse(src.Schema, body, n)
	if err != nil {
		return nil, err
	}
	schema := manifest.Schema{}
	for _, c := range deadColumns {
		schema.Columns = append(schema.Columns, manifest.Column{Column: c})
	}
	t, err := s.CreateTable(DeadLetters, "", schema, true)
	if err != nil {
		return nil, err
	}
	out := &rows.Rows{}
	bs := make([]*array.StringBuilder, len(deadColumns))
	for i := range bs {
		bs[i] = array.NewStringBuilder(memory.DefaultAllocator)
	}
	now := s.opts.Now().UnixMilli()
	for _, l := range letters {
		out.Time = append(out.Time, now)
		for i, v := range []string{stream, l.Column, ErrValue.ID(), l.Reason, source.JSON(rec, l.Row)} {
			bs[i].Append(v)
		}
	}
	for i, c := range deadColumns {
		out.Cols = append(out.Cols, rows.Col{Column: c, Arr: bs[i].NewArray()})
	}
	s.opts.Log.Warn("events can't be stored in their table and became dead letters", "code", ErrValue.ID(), "stream", stream,
		"column", letters[0].Column, "cause", letters[0].Reason, "events", countRows(letters))
	return s.encodePut(t.ID, out)
}

// Put stores records given as an Arrow IPC stream. It answers the first and the last of their numbers when they are durable, all or
// none.
func (s *Store) Put(name string, stream []byte) (first, last uint64, err error) {
	info, err := s.Table(name)
	if err != nil {
		return 0, 0, err
	}
	all, err := s.decodePut(&info.Table, stream)
	if err != nil {
		return 0, 0, err
	}
	r := &request{}
	for _, part := range all {
		ps, err := s.encodePut(info.ID, part)
		if err != nil {
			return 0, 0, err
		}
		r.batches = append(r.batches, ps...)
	}
	if len(r.batches) == 0 {
		return 0, 0, nil
	}
	done := make(chan error, 1)
	r.done = func(err error) { done <- err }
	s.submit(r)
	if err := <-done; err != nil {
		return 0, 0, err
	}
	end := r.batches[len(r.batches)-1]
	return r.batches[0].first, end.first + uint64(end.h.Rows) - 1, nil
}

// decodePut reads an Arrow stream as rows of a table; values take the declared types.
func (s *Store) decodePut(t *manifest.Table, stream []byte) (out []*rows.Rows, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, batch.ErrMalformed.New("records for table %s: %v", t.Name, p)
		}
	}()
	rd, err := ipc.NewReader(bytes.NewReader(stream))
	if err != nil {
		return nil, batch.ErrMalformed.Wrap(err, "records for table %s", t.Name)
	}
	defer rd.Release()
	now := s.opts.Now().UnixMilli()
	for rd.Next() {
		rec := rd.RecordBatch()
		rec.Retain() // the reader lets go of it; the memory is Go's
		r, err := putRows(t, rec, now)
		if err != nil {
			return nil, err
		}
		if r.Len() > 0 {
			out = append(out, r)
		}
	}
	if rd.Err() != nil {
		return nil, batch.ErrMalformed.Wrap(rd.Err(), "records for table %s", t.Name)
	}
	return out, nil
}

func putRows(t *manifest.Table, rec arrow.RecordBatch, now int64) (*rows.Rows, error) {
	n := int(rec.NumRows())
	out := &rows.Rows{Seq: make([]int64, n), Time: make([]int64, n)}
	for i := range out.Time {
		out.Time[i] = now
	}
	seen := map[string]bool{}
	for i, f := range rec.Schema().Fields() {
		if seen[f.Name] {
			return nil, ErrRequest.New("column %s is there twice", f.Name)
		}
		seen[f.Name] = true
		if f.Name == rows.SeqColumn || f.Name == rows.IDColumn {
			continue
		}
		typ, ok := rows.FromArrow(f.Type)
		if !ok {
			return nil, ErrRequest.New("column %s has type %s", f.Name, f.Type)
		}
		arr := rec.Column(i)
		if f.Name == rows.TimeColumn {
			if typ != rows.Long {
				return nil, ErrRequest.New("column %s has type %s", f.Name, f.Type)
			}
			for k := range n {
				if arr.IsValid(k) {
					out.Time[k] = arr.(*array.Int64).Value(k)
				}
			}
			continue
		}
		if !isColumnName(f.Name) {
			return nil, ErrName.New("column %q", f.Name)
		}
		want := typ
		if f.Name == rows.ArbitraryColumn {
			want = rows.String
		} else if d := declared(t, f.Name); d != 0 {
			want = d
		}
		if want != typ {
			if ok, _ := rows.Castable(typ, want); !ok {
				return nil, ErrValue.New("column %s of table %s is %s, the records have %s", f.Name, t.Name, rows.TypeName(want), rows.TypeName(typ))
			}
			cast, bad := rows.Cast(arr, want)
			if len(bad) > 0 {
				text, _ := rows.Text(arr, int(bad[0]))
				return nil, ErrValue.New("record %d: column %s of table %s is %s, the value is %q", bad[0]+1, f.Name, t.Name, rows.TypeName(want), text)
			}
			arr = cast
		}
		out.Cols = append(out.Cols, rows.Col{Column: rows.Column{Name: f.Name, Type: want}, Arr: arr})
	}
	return out, nil
}

func declared(t *manifest.Table, name string) rows.Type {
	if typ := typeOf(t.Schema, name); typ != 0 {
		return typ
	}
	for _, c := range t.Extra {
		if c.Name == name {
			return c.Type
		}
	}
	return 0
}

// putSources are the sources of records put, by table and columns. Few shapes are common; the memory starts anew when there are
// many.
type putSources struct {
	mu sync.Mutex
	by map[string]*source.Source
}

const maxPutSources = 256

func (p *putSources) get(table uint32, cols []rows.Column) (*source.Source, error) {
	var key strings.Builder
	key.WriteString(strconv.FormatUint(uint64(table), 10))
	for _, c := range cols {
		key.WriteString("\x00" + c.Name + "\x00" + c.Type.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if src := p.by[key.String()]; src != nil {
		return src, nil
	}
	fields := []arrow.Field{{Name: rows.TimeColumn, Type: arrow.PrimitiveTypes.Int64}}
	target := manifest.Target{Table: table}
	for _, c := range cols {
		fields = append(fields, arrow.Field{Name: c.Name, Type: rows.Arrow(c.Type), Nullable: true})
		// Values have their column's type already; a facet is a string that was turned.
		to := c
		if to.Type == rows.Facet {
			to.Type = rows.String
		}
		if c.Name != rows.ArbitraryColumn {
			target.Columns = append(target.Columns, manifest.TargetColumn{From: c.Name, To: to})
		}
	}
	msg, err := batch.SchemaMessage(arrow.NewSchema(fields, nil))
	if err != nil {
		return nil, err
	}
	src, err := source.Compile(manifest.Source{Schema: msg, Targets: []manifest.Target{target}})
	if err != nil {
		return nil, err
	}
	if p.by == nil || len(p.by) >= maxPutSources {
		p.by = map[string]*source.Source{}
	}
	p.by[key.String()] = src
	return src, nil
}

// putBytes is about the size of one frame of records.
const putBytes = 1 << 20

// encodePut makes frames of rows.
func (s *Store) encodePut(table uint32, r *rows.Rows) ([]*pending, error) {
	src, err := s.puts.get(table, r.Columns())
	if err != nil {
		return nil, err
	}
	n := len(r.Time)
	r = &rows.Rows{Seq: make([]int64, n), Time: r.Time, Cols: r.Cols}
	step := max(1, n/(r.Bytes()/putBytes+1))
	var out []*pending
	for from := 0; from < n; from += step {
		ps, err := s.encodePart(src, r.Slice(from, min(from+step, n)))
		if err != nil {
			return nil, err
		}
		out = append(out, ps...)
	}
	return out, nil
}

func (s *Store) encodePart(src *source.Source, r *rows.Rows) ([]*pending, error) {
	cols := []arrow.Array{rows.Int64s(r.Time)}
	for _, c := range r.Cols {
		cols = append(cols, c.Arr)
	}
	rec := array.NewRecordBatch(src.Schema, cols, int64(len(r.Time)))
	b, err := batch.Seal(frame.Header{Tenant: Tenant, Parts: 1}, src.ID, rec)
	if err != nil {
		if n := len(r.Time); n > 1 {
			// Rows of very different sizes: halves are smaller.
			a, err := s.encodePart(src, r.Slice(0, n/2))
			if err != nil {
				return nil, err
			}
			z, err := s.encodePart(src, r.Slice(n/2, n))
			return append(a, z...), err
		}
		return nil, err
	}
	h, body, _, err := frame.Parse(b)
	if err != nil {
		return nil, err
	}
	p := &pending{src: src, h: h, b: b, body: body}
	_, err = s.prepare(p)
	return []*pending{p}, err
}

// Delete removes rows by time, by id, or all. It answers how many when that is durable.
func (s *Store) Delete(ctx context.Context, name string, from, to *int64, ids []string, epoch uint64) (int64, error) {
	if len(ids) > 0 && (from != nil || to != nil) {
		return 0, ErrRequest.New("rows are deleted by ids or by time, not both")
	}
	info, err := s.Table(name)
	if err != nil {
		return 0, err
	}
	fence := "table:" + info.Name
	if err := s.raise(fence, epoch); err != nil {
		return 0, err
	}
	if len(ids) == 0 && from == nil && to == nil {
		return s.truncate(name)
	}
	var total int64
	for {
		n, err := s.deleteOnce(ctx, name, from, to, ids)
		total += n
		if err != errMoved {
			signal(s.compactWake)
			return total, err
		}
	}
}

// errMoved says that rows were physically removed since the view was taken, so that it can't be told any more which of them the
// view's numbers mean.
var errMoved = ErrRequest.New("the table was compacted meanwhile")

func (s *Store) deleteOnce(ctx context.Context, name string, from, to *int64, ids []string) (total int64, err error) {
	v, seqs, err := s.viewAt(&Query{Table: name, IDs: ids})
	if err != nil {
		return 0, err
	}
	defer s.release(v)
	flush := func(dead *roaring64.Bitmap, keys map[uint64]keyindex.Key) error {
		n, err := s.kill(v, dead, keys)
		total += n
		return err
	}
	dead := roaring64.New()
	keys := map[uint64]keyindex.Key{}
	collect := func(r *rows.Rows) error {
		if v.keyed() {
			for i, k := range source.Keys(r.Project(keyColumns(v.Schema)), v.Schema.Keys) {
				keys[uint64(r.Seq[i])] = k
			}
		}
		for _, q := range r.Seq {
			dead.Add(uint64(q))
		}
		if dead.GetSizeInBytes() < maxDelete && len(keys)*len(keyindex.Key{}) < maxDelete {
			return nil
		}
		err := flush(dead, keys)
		dead, keys = roaring64.New(), map[uint64]keyindex.Key{}
		return err
	}
	if len(ids) > 0 {
		slices.Sort(seqs)
		err = s.fetch(ctx, v, keysOf(v), slices.Compact(seqs), collect)
	} else {
		in := everything
		if from != nil {
			in.from = *from
		}
		if to != nil {
			in.to = *to
		}
		err = s.scan(ctx, v, keysOf(v), in, collect)
	}
	if err == nil {
		err = flush(dead, keys)
	}
	return total, err
}

// maxDelete bounds one record of deletes in bytes.
const maxDelete = 1 << 20

func keysOf(v *view) []string {
	if v.keyed() {
		return v.Schema.Keys
	}
	return []string{}
}

// kill marks those rows of a view dead that still live.
func (s *Store) kill(v *view, dead *roaring64.Bitmap, keys map[uint64]keyindex.Key) (n int64, err error) {
	if dead.IsEmpty() {
		return 0, nil
	}
	err = s.do(func() (*change, error) {
		t := s.byID[v.ID]
		if t == nil {
			return nil, ErrNoTable.New("the table was dropped")
		}
		s.mu.RLock()
		moved := t.buried != v.buried || t.epoch != v.epoch
		dead.AndNot(t.dead)
		s.mu.RUnlock()
		if moved {
			return nil, errMoved
		}
		if dead.IsEmpty() {
			return nil, nil
		}
		b, err := dead.ToBytes()
		if err != nil {
			return nil, err
		}
		c := &change{Op: opDelete, Table: v.ID, Dead: b, dead: dead}
		if t.keyed() {
			for _, q := range dead.ToArray() {
				k := keys[q]
				c.Keys = append(c.Keys, k[:]...)
			}
		}
		n = int64(dead.GetCardinality())
		return c, nil
	})
	return n, err
}

func (s *Store) truncate(name string) (n int64, err error) {
	err = s.do(func() (*change, error) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		t, err := s.find(name)
		if err != nil {
			return nil, err
		}
		n = t.live()
		return &change{Op: opTruncate, Table: t.ID}, nil
	})
	signal(s.cutWake)
	return n, err
}

// raise refuses an epoch that is lower than one seen, and remembers a higher one.
func (s *Store) raise(fence string, epoch uint64) error {
	return s.do(func() (*change, error) { return s.fence(fence, epoch) })
}

// fence is raise's decision; it runs in the committer.
func (s *Store) fence(fence string, epoch uint64) (*change, error) {
	switch seen := s.fences[fence]; {
	case epoch < seen:
		return nil, ErrFenced.New("%s: epoch %d, %d was seen", fence, epoch, seen)
	case epoch > seen:
		return &change{Op: opFence, Fence: fence, Epoch: epoch}, nil
	}
	return nil, nil
}
