package server

import (
	"bytes"
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/store"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Current gives the store while it is open.
type Current func() (*store.Store, error)

// RecordStore serves analyticsv1.RecordStore.
type RecordStore struct {
	analyticsv1.UnimplementedRecordStoreServer
	current Current
}

// New serves a store.
func New(current Current) *RecordStore { return &RecordStore{current: current} }

func (r *RecordStore) open(tenant int32) (*store.Store, error) {
	if err := checkTenant(tenant); err != nil {
		return nil, err
	}
	return r.current()
}

// ListStores implements the contract.
func (r *RecordStore) ListStores(context.Context, *analyticsv1.ListStoresRequest) (*analyticsv1.ListStoresResponse, error) {
	s, err := r.current()
	if err != nil {
		return nil, err
	}
	out := &analyticsv1.ListStoresResponse{}
	for _, n := range s.Stores() {
		out.Stores = append(out.Stores, &analyticsv1.ListStoresResponse_Store{Name: n, Pagination: true, RecordCount: true, Kind: "EMBEDDED"})
	}
	return out, nil
}

// CreateTable implements the contract.
func (r *RecordStore) CreateTable(_ context.Context, q *analyticsv1.CreateTableRequest) (*analyticsv1.CreateTableResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	t, err := s.CreateTable(q.Table, q.Store, schemaFrom(q.Schema), q.IfNotExists)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.CreateTableResponse{Table: infoTo(t)}, nil
}

// DropTable implements the contract.
func (r *RecordStore) DropTable(_ context.Context, q *analyticsv1.DropTableRequest) (*analyticsv1.DropTableResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.DropTableResponse{}, s.DropTable(q.Table)
}

// ListTables implements the contract.
func (r *RecordStore) ListTables(_ context.Context, q *analyticsv1.ListTablesRequest) (*analyticsv1.ListTablesResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	out := &analyticsv1.ListTablesResponse{}
	for _, t := range s.Tables() {
		out.Tables = append(out.Tables, infoTo(t))
	}
	return out, nil
}

// GetTable implements the contract.
func (r *RecordStore) GetTable(_ context.Context, q *analyticsv1.GetTableRequest) (*analyticsv1.GetTableResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	t, err := s.Table(q.Table)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.GetTableResponse{Table: infoTo(t)}, nil
}

// SetSchema implements the contract.
func (r *RecordStore) SetSchema(_ context.Context, q *analyticsv1.SetSchemaRequest) (*analyticsv1.SetSchemaResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	t, err := s.SetSchema(q.Table, schemaFrom(q.Schema), q.Merge)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.SetSchemaResponse{Table: infoTo(t)}, nil
}

// Put implements the contract.
func (r *RecordStore) Put(_ context.Context, q *analyticsv1.PutRequest) (*analyticsv1.PutResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	first, last, err := s.Put(q.Table, q.ArrowIpc)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.PutResponse{FirstSeq: first, LastSeq: last}, nil
}

// readPiece is about the size of one message of a Read.
const readPiece = 1 << 20

// Read implements the contract.
func (r *RecordStore) Read(q *analyticsv1.ReadRequest, out analyticsv1.RecordStore_ReadServer) error {
	s, err := r.open(q.Tenant)
	if err != nil {
		return err
	}
	query := &store.Query{
		Table: q.Table, Columns: q.Columns, From: q.From, To: q.To, Start: q.Start, Count: q.Count, NewestFirst: q.NewestFirst,
		Seqs: q.Seqs, IDs: q.Ids,
	}
	for _, k := range q.Keys {
		query.Keys = append(query.Keys, k.Values)
	}
	var buf bytes.Buffer
	var w *ipc.Writer
	send := func() error {
		if buf.Len() == 0 {
			return nil
		}
		err := out.Send(&analyticsv1.ReadResponse{ArrowIpc: bytes.Clone(buf.Bytes())})
		buf.Reset()
		return err
	}
	err = s.Read(out.Context(), query,
		func(schema *arrow.Schema) error {
			w = ipc.NewWriter(&buf, ipc.WithSchema(schema))
			return nil
		},
		func(rec arrow.RecordBatch) error {
			// One record may be larger than a message may be.
			const rows = 4096
			for from := int64(0); from < rec.NumRows(); from += rows {
				part := rec.NewSlice(from, min(from+rows, rec.NumRows()))
				err := w.Write(part)
				part.Release()
				if err != nil {
					return err
				}
				if buf.Len() >= readPiece {
					if err := send(); err != nil {
						return err
					}
				}
			}
			return nil
		})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return send()
}

// Count implements the contract.
func (r *RecordStore) Count(ctx context.Context, q *analyticsv1.CountRequest) (*analyticsv1.CountResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	n, err := s.Count(ctx, q.Table, q.From, q.To)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.CountResponse{Rows: n}, nil
}

// Delete implements the contract.
func (r *RecordStore) Delete(ctx context.Context, q *analyticsv1.DeleteRequest) (*analyticsv1.DeleteResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	n, err := s.Delete(ctx, q.Table, q.From, q.To, q.Ids, q.FencingEpoch)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.DeleteResponse{Rows: n}, nil
}

// Snapshot implements the contract: one answer, and the files are kept until the caller ends the stream.
func (r *RecordStore) Snapshot(q *analyticsv1.SnapshotRequest, out analyticsv1.RecordStore_SnapshotServer) error {
	s, err := r.open(q.Tenant)
	if err != nil {
		return err
	}
	snap, err := s.Snapshot(out.Context(), q.Tables)
	if err != nil {
		return err
	}
	defer snap.Release()
	answer := &analyticsv1.SnapshotResponse{ManifestVersion: snap.Version}
	for _, t := range snap.Tables {
		x := &analyticsv1.TableSnapshot{Table: infoTo(t.Info), HighestSeq: t.LastSeq}
		for _, f := range t.Files {
			x.Files = append(x.Files, &analyticsv1.SegmentFile{
				Path: f.Path, Rows: f.Rows, Bytes: f.Bytes, MinSeq: f.MinSeq, MaxSeq: f.MaxSeq,
				MinTimestamp: f.MinTime, MaxTimestamp: f.MaxTime, Dead: f.Dead,
			})
		}
		answer.Tables = append(answer.Tables, x)
	}
	if err := out.Send(answer); err != nil {
		return err
	}
	select {
	case <-out.Context().Done():
		return nil
	case <-s.Done():
		return store.ErrClosed.New("the store ends")
	}
}

// Begin implements the contract.
func (r *RecordStore) Begin(_ context.Context, q *analyticsv1.BeginRequest) (*analyticsv1.BeginResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	if q.Mode != analyticsv1.WriteMode_WRITE_MODE_APPEND && q.Mode != analyticsv1.WriteMode_WRITE_MODE_OVERWRITE {
		return nil, store.ErrRequest.New("write mode %d", q.Mode)
	}
	b, err := s.Begin(q.Table, q.Mode == analyticsv1.WriteMode_WRITE_MODE_OVERWRITE, q.Key, q.FencingEpoch)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.BeginResponse{Transaction: b.Transaction, FirstSeq: b.First, MaxRows: b.MaxRows, Folder: b.Folder, Committed: b.Committed}, nil
}

// Commit implements the contract.
func (r *RecordStore) Commit(ctx context.Context, q *analyticsv1.CommitRequest) (*analyticsv1.CommitResponse, error) {
	s, err := r.current()
	if err != nil {
		return nil, err
	}
	version, n, err := s.Commit(ctx, q.Transaction, q.Files, q.FencingEpoch)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.CommitResponse{ManifestVersion: version, Rows: n}, nil
}

// Abort implements the contract.
func (r *RecordStore) Abort(_ context.Context, q *analyticsv1.AbortRequest) (*analyticsv1.AbortResponse, error) {
	s, err := r.current()
	if err != nil {
		return nil, err
	}
	return &analyticsv1.AbortResponse{}, s.Abort(q.Transaction)
}

// Bind implements the contract.
func (r *RecordStore) Bind(_ context.Context, q *analyticsv1.StoreBindRequest) (*analyticsv1.StoreBindResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	target := manifest.Target{Version: q.Version}
	for _, c := range q.Columns {
		if c.To == nil {
			return nil, store.ErrRequest.New("attribute %s is bound to no column", c.From)
		}
		target.Columns = append(target.Columns, manifest.TargetColumn{From: c.From, To: columnFrom(c.To).Column})
	}
	return &analyticsv1.StoreBindResponse{}, s.Bind(q.Stream, q.Table, q.StreamSchema, target)
}

// Unbind implements the contract.
func (r *RecordStore) Unbind(_ context.Context, q *analyticsv1.StoreUnbindRequest) (*analyticsv1.StoreUnbindResponse, error) {
	s, err := r.open(q.Tenant)
	if err != nil {
		return nil, err
	}
	return &analyticsv1.StoreUnbindResponse{}, s.Unbind(q.Stream, q.Table)
}
