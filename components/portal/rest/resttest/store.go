// Package resttest is a RecordStore and an Index in memory, for tests of what reads them and of how they fail. It must not know
// how the real ones work.
package resttest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// ErrNoTable is what the real store says of a missing table.
var ErrNoTable = cause.Define("CBN-STORE-001", "The table does not exist.", "Create it.").Code(codes.NotFound)

// Row is a record; Values are of the Go types of the columns.
type Row struct {
	Timestamp int64
	Values    map[string]any
	// Arbitrary is a JSON object; empty is none.
	Arbitrary string
}

// Store is a RecordStore of tables in memory. It is safe for concurrent use.
type Store struct {
	analyticsv1.UnimplementedRecordStoreServer

	mu     sync.Mutex
	tables map[string]*table
	// broken, if set, ends every Read after the first batch.
	broken error
	// batch is how many rows go into one batch.
	batch int
}

type table struct {
	info *analyticsv1.TableInfo
	rows []Row
}

// New makes an empty store.
func New() *Store { return &Store{tables: map[string]*table{}, batch: 1000} }

// Break lets every Read fail after the first batch of one row; nil mends it.
func (s *Store) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.batch = err, 1
}

// Create makes a table or empties it.
func (s *Store) Create(name, store string, schema *analyticsv1.Schema) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = strings.ToUpper(name)
	s.tables[name] = &table{info: &analyticsv1.TableInfo{Tenant: -1234, Name: name, Store: store, Schema: schema}}
}

// Add appends rows.
func (s *Store) Add(name string, rows ...Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[strings.ToUpper(name)]
	t.rows = append(t.rows, rows...)
}

// ListStores names two stores, of which only the first can page and count.
func (s *Store) ListStores(context.Context, *analyticsv1.ListStoresRequest) (*analyticsv1.ListStoresResponse, error) {
	return &analyticsv1.ListStoresResponse{Stores: []*analyticsv1.ListStoresResponse_Store{
		{Name: "EVENT_STORE", Pagination: true, RecordCount: true, Kind: "memory"},
		{Name: "PLAIN_STORE", Kind: "memory"},
	}}, nil
}

// ListTables lists tables.
func (s *Store) ListTables(context.Context, *analyticsv1.ListTablesRequest) (*analyticsv1.ListTablesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &analyticsv1.ListTablesResponse{}
	for _, t := range s.tables {
		resp.Tables = append(resp.Tables, t.info)
	}
	return resp, nil
}

// GetTable finds a table.
func (s *Store) GetTable(_ context.Context, req *analyticsv1.GetTableRequest) (*analyticsv1.GetTableResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(req.Table)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.GetTableResponse{Table: t.info}, nil
}

// Count counts the rows of a table.
func (s *Store) Count(_ context.Context, req *analyticsv1.CountRequest) (*analyticsv1.CountResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(req.Table)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.CountResponse{Rows: int64(len(t.rows))}, nil
}

func (s *Store) find(name string) (*table, error) {
	t := s.tables[strings.ToUpper(name)]
	if t == nil {
		return nil, ErrNoTable.New("table %s", strings.ToUpper(name))
	}
	return t, nil
}

// Read answers rows in pieces that do not end where batches do.
func (s *Store) Read(req *analyticsv1.ReadRequest, stream grpc.ServerStreamingServer[analyticsv1.ReadResponse]) error {
	s.mu.Lock()
	t, err := s.find(req.Table)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	rows := slices.Clone(t.rows)
	schema, broken, batch := t.info.Schema, s.broken, s.batch
	s.mu.Unlock()

	var out bytes.Buffer
	fields := []arrow.Field{{Name: "_seq", Type: arrow.PrimitiveTypes.Int64}, {Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64}, {Name: "_id", Type: arrow.BinaryTypes.String}}
	for _, c := range schema.Columns {
		if len(req.Columns) == 0 || slices.Contains(req.Columns, c.Name) {
			fields = append(fields, arrow.Field{Name: c.Name, Type: types[c.Type], Nullable: true})
		}
	}
	fields = append(fields, arrow.Field{Name: "_arbitrary", Type: arrow.BinaryTypes.String, Nullable: true})
	arrowSchema := arrow.NewSchema(fields, nil)
	w := ipc.NewWriter(&out, ipc.WithSchema(arrowSchema))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema)
	defer b.Release()
	pending := 0
	write := func() error {
		record := b.NewRecordBatch()
		defer record.Release()
		pending = 0
		return w.Write(record)
	}
	for _, i := range choose(req, schema, rows) {
		appendRow(b, fields, i, rows[i])
		if pending++; pending == batch {
			if err := write(); err != nil {
				return err
			}
			if broken != nil {
				if err := send(stream, &out); err != nil {
					return err
				}
				return broken
			}
		}
	}
	if err := write(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return send(stream, &out)
}

func send(stream grpc.ServerStreamingServer[analyticsv1.ReadResponse], out *bytes.Buffer) error {
	for out.Len() > 0 {
		if err := stream.Send(&analyticsv1.ReadResponse{ArrowIpc: slices.Clone(out.Next(777))}); err != nil {
			return err
		}
	}
	return nil
}

// choose answers the indexes of the rows that are asked for, in order.
func choose(req *analyticsv1.ReadRequest, schema *analyticsv1.Schema, rows []Row) []int {
	var chosen []int
	switch {
	case len(req.Seqs) > 0:
		for _, seq := range req.Seqs {
			if seq < uint64(len(rows)) {
				chosen = append(chosen, int(seq))
			}
		}
		return chosen
	case len(req.Keys) > 0:
		for _, key := range req.Keys {
			for i, row := range rows {
				got := map[string]string{}
				for _, k := range schema.PrimaryKeys {
					got[k], _ = row.Values[k].(string)
				}
				if maps.Equal(got, key.Values) {
					chosen = append(chosen, i)
				}
			}
		}
		return chosen
	}
	for i, row := range rows {
		if (req.From == nil || row.Timestamp >= *req.From) && (req.To == nil || row.Timestamp < *req.To) {
			chosen = append(chosen, i)
		}
	}
	chosen = chosen[min(int(req.Start), len(chosen)):]
	if req.Count > 0 {
		chosen = chosen[:min(int(req.Count), len(chosen))]
	}
	return chosen
}

var types = map[analyticsv1.ColumnType]arrow.DataType{
	analyticsv1.ColumnType_COLUMN_TYPE_STRING: arrow.BinaryTypes.String, analyticsv1.ColumnType_COLUMN_TYPE_FACET: arrow.BinaryTypes.String,
	analyticsv1.ColumnType_COLUMN_TYPE_INTEGER: arrow.PrimitiveTypes.Int32, analyticsv1.ColumnType_COLUMN_TYPE_LONG: arrow.PrimitiveTypes.Int64,
	analyticsv1.ColumnType_COLUMN_TYPE_FLOAT: arrow.PrimitiveTypes.Float32, analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE: arrow.PrimitiveTypes.Float64,
	analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN: arrow.FixedWidthTypes.Boolean, analyticsv1.ColumnType_COLUMN_TYPE_BINARY: arrow.BinaryTypes.Binary,
}

func appendRow(b *array.RecordBuilder, fields []arrow.Field, seq int, row Row) {
	for i, f := range fields {
		var v any
		switch f.Name {
		case "_seq":
			v = int64(seq)
		case "_timestamp":
			v = row.Timestamp
		case "_id":
			v = "id" + strconv.Itoa(seq)
		case "_arbitrary":
			if row.Arbitrary != "" {
				v = row.Arbitrary
			}
		default:
			v = row.Values[f.Name]
		}
		switch x := v.(type) {
		case nil:
			b.Field(i).AppendNull()
		case string:
			b.Field(i).(*array.StringBuilder).Append(x)
		case int32:
			b.Field(i).(*array.Int32Builder).Append(x)
		case int64:
			b.Field(i).(*array.Int64Builder).Append(x)
		case float32:
			b.Field(i).(*array.Float32Builder).Append(x)
		case float64:
			b.Field(i).(*array.Float64Builder).Append(x)
		case bool:
			b.Field(i).(*array.BooleanBuilder).Append(x)
		case []byte:
			b.Field(i).(*array.BinaryBuilder).Append(x)
		}
	}
}

// Index answers every search with the hits it was given. It is safe for concurrent use.
type Index struct {
	analyticsv1.UnimplementedIndexServer

	mu   sync.Mutex
	resp *analyticsv1.SearchResponse
	err  error
	last *analyticsv1.SearchRequest
}

// Answer sets what is answered next and later; with an error everything fails.
func (i *Index) Answer(resp *analyticsv1.SearchResponse, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.resp, i.err = resp, err
}

// Last is the last search.
func (i *Index) Last() *analyticsv1.SearchRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last
}

// Search answers the hits.
func (i *Index) Search(_ context.Context, req *analyticsv1.SearchRequest) (*analyticsv1.SearchResponse, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = req
	return i.resp, i.err
}

// Count answers the number of all hits.
func (i *Index) Count(context.Context, *analyticsv1.SearchCountRequest) (*analyticsv1.SearchCountResponse, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return &analyticsv1.SearchCountResponse{Count: i.resp.GetTotal(), Complete: i.resp.GetComplete()}, i.err
}

// WaitForIndexing waits for ever where an incomplete answer is set.
func (i *Index) WaitForIndexing(ctx context.Context, _ *analyticsv1.WaitForIndexingRequest) (*analyticsv1.WaitForIndexingResponse, error) {
	i.mu.Lock()
	complete, err := i.resp.GetComplete(), i.err
	i.mu.Unlock()
	if !complete {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &analyticsv1.WaitForIndexingResponse{}, err
}
