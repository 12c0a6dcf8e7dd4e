package indexing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// memoryStore keeps tables in memory and speaks RecordStore and ChangeFeed as sdk/proto has them, over real links. A feed
// replays a table's changes after the position asked for, in order.
type memoryStore struct {
	analyticsv1.UnimplementedRecordStoreServer
	analyticsv1.UnimplementedChangeFeedServer
	t testing.TB

	mu       sync.Mutex
	tables   map[string]*memoryTable
	changed  chan struct{}
	feeds    map[int]context.CancelFunc
	nextFeed int
	opens    []uint64 // after_seq of each OPEN
	seq      uint64
}

type memoryTable struct {
	info    *analyticsv1.TableInfo
	live    map[uint64]row
	changes []change
}

type row struct {
	seq    uint64
	time   int64
	values map[string]any
}

// change is one frame to be, at a position.
type change struct {
	at   uint64
	kind frame.Kind
	rows []row
	dels []uint64
	mark *linkv1.Mark
}

func newStore(t testing.TB) *memoryStore {
	return &memoryStore{t: t, tables: map[string]*memoryTable{}, changed: make(chan struct{}), feeds: map[int]context.CancelFunc{}}
}

func (s *memoryStore) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func col(name string, typ analyticsv1.ColumnType) *analyticsv1.Column {
	return &analyticsv1.Column{Name: name, Type: typ, Indexed: true}
}

func (s *memoryStore) create(name string, columns ...*analyticsv1.Column) {
	s.locked(func() {
		t := s.tables[name]
		if t == nil {
			t = &memoryTable{info: &analyticsv1.TableInfo{Tenant: tenant, Name: name}, live: map[uint64]row{}}
			s.tables[name] = t
		}
		t.info.Schema = &analyticsv1.Schema{Columns: columns}
		t.info.SchemaVersion++
	})
}

func (s *memoryStore) drop(name string) {
	s.locked(func() {
		t := s.tables[name]
		t.changes = append(t.changes, change{at: t.info.LastSeq, kind: frame.Mark, mark: &linkv1.Mark{Dropped: true, Seq: t.info.LastSeq}})
		delete(s.tables, name)
	})
}

func (s *memoryStore) put(name string, values ...map[string]any) (seqs []uint64) {
	s.locked(func() {
		t := s.tables[name]
		rows := s.number(values)
		for _, r := range rows {
			t.live[r.seq] = r
			seqs = append(seqs, r.seq)
		}
		t.info.LastSeq = s.seq
		t.changes = append(t.changes, change{at: s.seq, kind: frame.Batch, rows: rows})
	})
	return seqs
}

// putSplit stores rows at one position in frames of one row each. Half of them are sent; finish sends the others.
func (s *memoryStore) putSplit(name string, values ...map[string]any) (seqs []uint64, finish func()) {
	var rest []change
	s.locked(func() {
		t := s.tables[name]
		rows := s.number(values)
		for i, r := range rows {
			t.live[r.seq] = r
			seqs = append(seqs, r.seq)
			c := change{at: s.seq, kind: frame.Batch, rows: []row{r}}
			if i < len(rows)/2 {
				t.changes = append(t.changes, c)
			} else {
				rest = append(rest, c)
			}
		}
	})
	return seqs, func() {
		s.locked(func() {
			t := s.tables[name]
			t.changes = append(t.changes, rest...)
			t.info.LastSeq = rest[0].at
		})
	}
}

func (s *memoryStore) number(values []map[string]any) []row {
	var rows []row
	for _, v := range values {
		s.seq++
		rows = append(rows, row{seq: s.seq, time: 1_700_000_000_000 + int64(s.seq), values: v})
	}
	return rows
}

func (s *memoryStore) remove(name string, seqs ...uint64) {
	s.locked(func() {
		t := s.tables[name]
		s.seq++
		for _, q := range seqs {
			delete(t.live, q)
		}
		t.info.LastSeq = s.seq
		t.changes = append(t.changes, change{at: s.seq, kind: frame.Delete, dels: seqs})
	})
}

// overwrite replaces all rows in one transaction, sent in frames of `size` rows. half stops before the end and returns a function
// that goes on.
func (s *memoryStore) overwrite(name string, size int, half bool, values ...map[string]any) (finish func()) {
	var rest []change
	s.locked(func() {
		t := s.tables[name]
		rows := s.number(values)
		cs := []change{{at: s.seq, kind: frame.Mark, mark: &linkv1.Mark{Edge: linkv1.Mark_EDGE_BEGIN, Seq: s.seq}}, {at: s.seq, kind: frame.Truncate}}
		for part := range slices.Chunk(rows, size) {
			cs = append(cs, change{at: s.seq, kind: frame.Batch, rows: part})
		}
		cs = append(cs, change{at: s.seq, kind: frame.Mark, mark: &linkv1.Mark{Edge: linkv1.Mark_EDGE_END, Seq: s.seq}})
		n := len(cs)
		if half {
			n = len(cs) / 2
		}
		t.changes, rest = append(t.changes, cs[:n]...), cs[n:]
		clear(t.live)
		for _, r := range rows {
			t.live[r.seq] = r
		}
		if !half {
			t.info.LastSeq = s.seq
		}
	})
	return func() {
		s.locked(func() {
			t := s.tables[name]
			t.changes = append(t.changes, rest...)
			t.info.LastSeq = max(t.info.LastSeq, rest[len(rest)-1].at)
		})
	}
}

// breakFeeds ends every subscription.
func (s *memoryStore) breakFeeds() {
	s.locked(func() {
		for _, cancel := range s.feeds {
			cancel()
		}
	})
}

func (s *memoryStore) ListTables(context.Context, *analyticsv1.ListTablesRequest) (*analyticsv1.ListTablesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &analyticsv1.ListTablesResponse{}
	for _, name := range slices.Sorted(maps.Keys(s.tables)) {
		resp.Tables = append(resp.Tables, proto.Clone(s.tables[name].info).(*analyticsv1.TableInfo))
	}
	return resp, nil
}

func (s *memoryStore) Read(req *analyticsv1.ReadRequest, stream grpc.ServerStreamingServer[analyticsv1.ReadResponse]) error {
	s.mu.Lock()
	t := s.tables[req.Table]
	var rows []row
	for _, q := range req.Seqs {
		if r, ok := t.live[q]; ok {
			rows = append(rows, r)
		}
	}
	sc := arrowSchema(t.info.Schema)
	s.mu.Unlock()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(sc))
	rec := recordOf(sc, rows)
	defer rec.Release()
	if err := w.Write(rec); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	for piece := range slices.Chunk(buf.Bytes(), 1000) {
		if err := stream.Send(&analyticsv1.ReadResponse{ArrowIpc: piece}); err != nil {
			return err
		}
	}
	return nil
}

func arrowSchema(s *analyticsv1.Schema) *arrow.Schema {
	fields := []arrow.Field{{Name: "_seq", Type: arrow.PrimitiveTypes.Int64}, {Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64}, {Name: "_id", Type: arrow.BinaryTypes.String}}
	types := map[analyticsv1.ColumnType]arrow.DataType{
		analyticsv1.ColumnType_COLUMN_TYPE_STRING: arrow.BinaryTypes.String, analyticsv1.ColumnType_COLUMN_TYPE_FACET: arrow.BinaryTypes.String,
		analyticsv1.ColumnType_COLUMN_TYPE_INTEGER: arrow.PrimitiveTypes.Int32, analyticsv1.ColumnType_COLUMN_TYPE_LONG: arrow.PrimitiveTypes.Int64,
		analyticsv1.ColumnType_COLUMN_TYPE_FLOAT: arrow.PrimitiveTypes.Float32, analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE: arrow.PrimitiveTypes.Float64,
		analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN: arrow.FixedWidthTypes.Boolean,
	}
	for _, c := range s.GetColumns() {
		fields = append(fields, arrow.Field{Name: c.Name, Type: types[c.Type], Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: "_arbitrary", Type: arrow.BinaryTypes.String, Nullable: true})
	return arrow.NewSchema(fields, nil)
}

func recordOf(sc *arrow.Schema, rows []row) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	for _, r := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(r.seq))
		b.Field(1).(*array.Int64Builder).Append(r.time)
		b.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("id-%d", r.seq))
		for i, f := range sc.Fields()[3:] {
			v := r.values[f.Name]
			if v == nil {
				b.Field(i + 3).AppendNull()
				continue
			}
			switch fb := b.Field(i + 3).(type) {
			case *array.StringBuilder:
				fb.Append(v.(string))
			case *array.Int32Builder:
				fb.Append(int32(v.(int)))
			case *array.Int64Builder:
				fb.Append(int64(v.(int)))
			case *array.Float32Builder:
				fb.Append(float32(v.(float64)))
			case *array.Float64Builder:
				fb.Append(v.(float64))
			case *array.BooleanBuilder:
				fb.Append(v.(bool))
			}
		}
	}
	return b.NewRecordBatch()
}

// encode splits an IPC stream into its schema message and its batch message.
func encode(sc *arrow.Schema, rec arrow.RecordBatch) (schema, body []byte, err error) {
	var head, all bytes.Buffer
	w := ipc.NewWriter(&head, ipc.WithSchema(sc))
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	const eos = 8
	schema = head.Bytes()[:head.Len()-eos]
	w = ipc.NewWriter(&all, ipc.WithSchema(sc))
	if err := w.Write(rec); err != nil {
		return nil, nil, err
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	return schema, all.Bytes()[len(schema) : all.Len()-eos], nil
}

func (s *memoryStore) Subscribe(stream grpc.BidiStreamingServer[linkv1.Frame, linkv1.Frame]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	s.mu.Lock()
	s.nextFeed++
	id := s.nextFeed
	s.feeds[id] = cancel
	s.mu.Unlock()
	l := link.New(stream, link.Options{})
	var senders sync.WaitGroup
	defer senders.Wait()
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- l.Run(func(in *link.Incoming) error {
			if in.Open == nil {
				in.Ack()
				return nil
			}
			s.mu.Lock()
			s.opens = append(s.opens, in.Open.AfterSeq)
			t := s.tables[in.Name]
			s.mu.Unlock()
			if t == nil {
				return fmt.Errorf("no table %s", in.Name)
			}
			if err := l.SendOpen(in.Stream, &linkv1.Open{Kind: linkv1.Open_KIND_TABLE, Name: in.Name}); err != nil {
				return err
			}
			senders.Add(1)
			go func() {
				defer senders.Done()
				if err := s.send(ctx, l, in.Stream, t, in.Open.AfterSeq); err != nil && ctx.Err() == nil {
					s.t.Errorf("feed of %s: %v", in.Name, err)
				}
			}()
			return nil
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *memoryStore) send(ctx context.Context, l *link.Link, stream uint32, t *memoryTable, after uint64) error {
	var last frame.SchemaID
	at, told := after, false
	for i := 0; ; i++ {
		var c change
		for {
			s.mu.Lock()
			have, changed, lastSeq := i < len(t.changes), s.changed, t.info.LastSeq
			if have {
				c = t.changes[i]
			}
			sc := arrowSchema(t.info.Schema)
			s.mu.Unlock()
			if have && c.at > after {
				at, told = max(at, c.at), false
				if err := s.sendOne(ctx, l, stream, c, sc, &last); err != nil {
					return err
				}
			}
			if have {
				break
			}
			if !told && at <= lastSeq {
				told = true
				up := change{at: at, kind: frame.Mark, mark: &linkv1.Mark{Edge: linkv1.Mark_EDGE_CAUGHT_UP, Seq: at}}
				if err := s.sendOne(ctx, l, stream, up, sc, &last); err != nil {
					return err
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

func (s *memoryStore) sendOne(ctx context.Context, l *link.Link, stream uint32, c change, sc *arrow.Schema, last *frame.SchemaID) error {
	h := &frame.Header{Kind: c.kind, Counter: c.at, Tenant: tenant}
	var body []byte
	switch c.kind {
	case frame.Batch, frame.Delete:
		rows := c.rows
		if c.kind == frame.Delete {
			sc = arrow.NewSchema([]arrow.Field{{Name: "_seq", Type: arrow.PrimitiveTypes.Int64}}, nil)
		}
		var rec arrow.RecordBatch
		if c.kind == frame.Delete {
			b := array.NewInt64Builder(memory.DefaultAllocator)
			for _, q := range c.dels {
				b.Append(int64(q))
			}
			rec = array.NewRecordBatch(sc, []arrow.Array{b.NewArray()}, int64(len(c.dels)))
		} else {
			rec = recordOf(sc, rows)
		}
		schema, b, err := encode(sc, rec)
		rec.Release()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(schema)
		h.Schema, h.Rows, body = frame.SchemaID(sum[:8]), uint32(len(rows)), b
		if h.Schema != *last {
			if err := l.SendSchema(stream, &link.SchemaInfo{ID: h.Schema, Body: schema}); err != nil {
				return err
			}
			*last = h.Schema
		}
	case frame.Mark:
		b, err := proto.Marshal(c.mark)
		if err != nil {
			return err
		}
		body = b
	}
	f, err := frame.Append(nil, h, body)
	if err != nil {
		return err
	}
	return l.Send(ctx, f, stream, func(error) {})
}

func words(n int) string { return strings.Repeat("word ", n) }
