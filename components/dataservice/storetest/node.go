// Package storetest is the contract of a record store as tests: whatever provides RecordStore, EventLog and ChangeFeed passes Run. It
// must not know which store it tests.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/components/dataservice/batch"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// Tenant of all tests.
const Tenant = -1234

// Conns are the connections to a store's three services.
type Conns struct {
	Records, Log, Feed grpc.ClientConnInterface
}

// Node is an open, empty store.
type Node struct {
	Conns
	// Segments and Staging are the shared folders; empty for a store that keeps no files. What needs them is then not tested.
	Segments, Staging string
	// Restart closes the store and opens it again on the same data.
	Restart func() Conns
}

// Client is a Node with the calls that tests make.
type Client struct {
	testing.TB
	Node
	analyticsv1.RecordStoreClient
}

// NewClient makes a client for a test.
func NewClient(t testing.TB, n Node) *Client {
	return &Client{t, n, analyticsv1.NewRecordStoreClient(n.Records)}
}

// Restarted restarts the store.
func (c *Client) Restarted() {
	c.Helper()
	c.Conns = c.Node.Restart()
	c.RecordStoreClient = analyticsv1.NewRecordStoreClient(c.Records)
}

// Ctx is a context that ends with the longest a step of a test may take.
func (c *Client) Ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c.Cleanup(cancel)
	return ctx
}

// Col is short for a column of a schema.
func Col(name string, typ analyticsv1.ColumnType) *analyticsv1.Column {
	return &analyticsv1.Column{Name: name, Type: typ}
}

// Short names of the types.
const (
	String  = analyticsv1.ColumnType_COLUMN_TYPE_STRING
	Integer = analyticsv1.ColumnType_COLUMN_TYPE_INTEGER
	Long    = analyticsv1.ColumnType_COLUMN_TYPE_LONG
	Float   = analyticsv1.ColumnType_COLUMN_TYPE_FLOAT
	Double  = analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE
	Boolean = analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN
	Binary  = analyticsv1.ColumnType_COLUMN_TYPE_BINARY
	Facet   = analyticsv1.ColumnType_COLUMN_TYPE_FACET
)

// Create makes a table.
func (c *Client) Create(table string, schema *analyticsv1.Schema) *analyticsv1.TableInfo {
	c.Helper()
	r, err := c.CreateTable(c.Ctx(), &analyticsv1.CreateTableRequest{Tenant: Tenant, Table: table, Schema: schema})
	if err != nil {
		c.Fatal(err)
	}
	return r.Table
}

// Row is a record by column; `_timestamp` is an int64.
type Row map[string]any

// Records makes an Arrow IPC stream of rows. A column's type is that of its first value that is not nil.
func Records(t testing.TB, rows []Row) []byte {
	t.Helper()
	rec := record(t, rows, nil)
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(rec.Schema()))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func record(t testing.TB, rows []Row, schema *arrow.Schema) arrow.RecordBatch {
	t.Helper()
	if schema == nil {
		types := map[string]arrow.DataType{}
		for _, r := range rows {
			for k, v := range r {
				if v != nil && types[k] == nil {
					types[k] = typeOf(t, v)
				}
			}
		}
		var names []string
		for k := range types {
			names = append(names, k)
		}
		sort.Strings(names)
		var fields []arrow.Field
		for _, k := range names {
			fields = append(fields, arrow.Field{Name: k, Type: types[k], Nullable: true})
		}
		schema = arrow.NewSchema(fields, nil)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for _, r := range rows {
		for i, f := range schema.Fields() {
			appendValue(t, b.Field(i), r[f.Name])
		}
	}
	return b.NewRecordBatch()
}

func typeOf(t testing.TB, v any) arrow.DataType {
	switch v.(type) {
	case string:
		return arrow.BinaryTypes.String
	case int32:
		return arrow.PrimitiveTypes.Int32
	case int64:
		return arrow.PrimitiveTypes.Int64
	case float32:
		return arrow.PrimitiveTypes.Float32
	case float64:
		return arrow.PrimitiveTypes.Float64
	case bool:
		return arrow.FixedWidthTypes.Boolean
	case []byte:
		return arrow.BinaryTypes.Binary
	}
	t.Fatalf("no column has values of type %T", v)
	return nil
}

func appendValue(t testing.TB, b array.Builder, v any) {
	if v == nil {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(v.(string))
	case *array.Int32Builder:
		b.Append(v.(int32))
	case *array.Int64Builder:
		b.Append(v.(int64))
	case *array.Float32Builder:
		b.Append(v.(float32))
	case *array.Float64Builder:
		b.Append(v.(float64))
	case *array.BooleanBuilder:
		b.Append(v.(bool))
	case *array.BinaryBuilder:
		b.Append(v.([]byte))
	default:
		t.Fatalf("no builder for %T", v)
	}
}

// Value is one value of an array as Go's type; nil is null.
func Value(arr arrow.Array, i int) any {
	if arr.IsNull(i) {
		return nil
	}
	switch a := arr.(type) {
	case *array.String:
		return a.Value(i)
	case *array.Int32:
		return a.Value(i)
	case *array.Int64:
		return a.Value(i)
	case *array.Float32:
		return a.Value(i)
	case *array.Float64:
		return a.Value(i)
	case *array.Boolean:
		return a.Value(i)
	case *array.Binary:
		return slices.Clone(a.Value(i))
	}
	return fmt.Sprintf("%T", arr)
}

// RowsOf are the rows of a record.
func RowsOf(rec arrow.RecordBatch) []Row {
	out := make([]Row, rec.NumRows())
	for i := range out {
		out[i] = Row{}
		for k := range int(rec.NumCols()) {
			out[i][rec.ColumnName(k)] = Value(rec.Column(k), i)
		}
	}
	return out
}

// PutRows puts records.
func (c *Client) PutRows(table string, rows ...Row) *analyticsv1.PutResponse {
	c.Helper()
	r, err := c.Put(c.Ctx(), &analyticsv1.PutRequest{Tenant: Tenant, Table: table, ArrowIpc: Records(c, rows)})
	if err != nil {
		c.Fatal(err)
	}
	return r
}

// TryRead reads rows.
func (c *Client) TryRead(q *analyticsv1.ReadRequest) ([]Row, error) {
	q.Tenant = Tenant
	s, err := c.RecordStoreClient.Read(c.Ctx(), q)
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		all.Write(m.ArrowIpc)
	}
	r, err := ipc.NewReader(&all)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	var rows []Row
	for r.Next() {
		rows = append(rows, RowsOf(r.RecordBatch())...)
	}
	return rows, r.Err()
}

// ReadRows reads rows.
func (c *Client) ReadRows(q *analyticsv1.ReadRequest) []Row {
	c.Helper()
	rows, err := c.TryRead(q)
	if err != nil {
		c.Fatal(err)
	}
	return rows
}

// CountRows counts all rows of a table.
func (c *Client) CountRows(table string) int64 {
	c.Helper()
	r, err := c.Count(c.Ctx(), &analyticsv1.CountRequest{Tenant: Tenant, Table: table})
	if err != nil {
		c.Fatal(err)
	}
	return r.Rows
}

// Column gives one column of rows.
func Column(rows []Row, name string) []any {
	out := make([]any, len(rows))
	for i, r := range rows {
		out[i] = r[name]
	}
	return out
}

// Stream is a stream of events for tests.
type Stream struct {
	Name   string
	Schema *arrow.Schema
	Info   *link.SchemaInfo
}

// NewStream makes a stream; `_timestamp` and `_arbitrary` are added to the fields.
func NewStream(t testing.TB, name string, fields ...arrow.Field) *Stream {
	all := []arrow.Field{{Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64}}
	for _, f := range fields {
		f.Nullable = true
		all = append(all, f)
	}
	all = append(all, arrow.Field{Name: "_arbitrary", Type: arrow.BinaryTypes.String, Nullable: true})
	s := &Stream{Name: name, Schema: arrow.NewSchema(all, nil)}
	msg, err := batch.SchemaMessage(s.Schema)
	if err != nil {
		t.Fatal(err)
	}
	s.Info = &link.SchemaInfo{ID: batch.SchemaID(msg), Body: msg}
	return s
}

// Frame makes a BATCH frame of events.
func (s *Stream) Frame(t testing.TB, source frame.Source, counter uint64, rows []Row) []byte {
	t.Helper()
	h := frame.Header{Source: source, Counter: counter, Part: 0, Parts: 1, Tenant: Tenant}
	b, err := batch.Seal(h, s.Info.ID, record(t, rows, s.Schema))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Bind binds the stream's attributes to equal columns of a table.
func (c *Client) BindAll(s *Stream, table string) {
	c.Helper()
	q := &analyticsv1.StoreBindRequest{Tenant: Tenant, Stream: s.Name, Table: table, StreamSchema: s.Info.Body}
	for _, f := range s.Schema.Fields() {
		if f.Name == "_timestamp" || f.Name == "_arbitrary" {
			continue
		}
		q.Columns = append(q.Columns, &analyticsv1.BindingColumn{From: f.Name, To: Col(f.Name, columnType(f.Type))})
	}
	if _, err := c.Bind(c.Ctx(), q); err != nil {
		c.Fatal(err)
	}
}

func columnType(t arrow.DataType) analyticsv1.ColumnType {
	switch t.ID() {
	case arrow.INT32:
		return Integer
	case arrow.INT64:
		return Long
	case arrow.FLOAT32:
		return Float
	case arrow.FLOAT64:
		return Double
	case arrow.BOOL:
		return Boolean
	case arrow.BINARY:
		return Binary
	}
	return String
}

// Producer is a link to the log.
type Producer struct {
	*link.Producer
	c *Client
}

// NewProducer opens a link to the log that lives as long as the test.
func (c *Client) NewProducer() *Producer {
	ctx, cancel := context.WithCancel(context.Background())
	conn := c.Conns.Log
	p := link.NewProducer(ctx, func(ctx context.Context) (link.Transport, error) {
		return analyticsv1.NewEventLogClient(conn).Append(ctx, link.CallOption())
	}, link.Options{})
	var once sync.Once
	c.Cleanup(func() { once.Do(func() { p.Close(); cancel() }) })
	return &Producer{p, c}
}

// Append sends one frame and waits for its fate.
func (p *Producer) Append(s *Stream, b []byte) error {
	done := make(chan error, 1)
	ctx := p.c.Ctx()
	if err := p.Send(ctx, s.Name, s.Info, b, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Change is one frame of a feed.
type Change struct {
	Kind frame.Kind
	Pos  uint64
	Rows []Row
	Dead []uint64
	Mark *linkv1.Mark
}

// Feed reads the changes of one table until it has caught up for the first time; more says whether to go on after that.
func (c *Client) Feed(table string, after uint64, more func(Change) bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t, err := analyticsv1.NewChangeFeedClient(c.Conns.Feed).Subscribe(ctx, link.CallOption())
	if err != nil {
		c.Fatal(err)
	}
	l := link.New(t, link.Options{})
	if err := l.SendOpen(1, &linkv1.Open{Kind: linkv1.Open_KIND_TABLE, Name: table, AfterSeq: after}); err != nil {
		c.Fatal(err)
	}
	var failed error
	err = l.Run(func(in *link.Incoming) error {
		if in.Kind == frame.Open {
			return nil
		}
		defer in.Ack()
		ch := Change{Kind: in.Kind, Pos: in.Counter}
		switch in.Kind {
		case frame.Batch, frame.Delete:
			schema, err := batch.ParseSchema(in.Schema.Body)
			if err != nil {
				return err
			}
			rec, err := batch.Parse(schema, bytes.Clone(in.Body), int(in.Header.Rows))
			if err != nil {
				return err
			}
			rows := RowsOf(rec)
			if in.Kind == frame.Batch {
				ch.Rows = rows
				break
			}
			for _, r := range rows {
				ch.Dead = append(ch.Dead, uint64(r["_seq"].(int64)))
			}
		case frame.Mark:
			ch.Mark = &linkv1.Mark{}
			if err := proto.Unmarshal(in.Body, ch.Mark); err != nil {
				return err
			}
		}
		if !more(ch) {
			cancel()
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		failed = err
	}
	if failed != nil {
		c.Fatal(failed)
	}
}

var errEnough = errors.New("enough")

// eventually waits until a condition holds, at most as long as a step of a test may take.
func (c *Client) eventually(what string, ok func() bool) {
	c.Helper()
	ctx := c.Ctx()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			c.Fatalf("not so in time: %s", what)
		case <-tick.C:
		}
	}
}
