package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/dataservice"
	"carbonado.dev/carbonado/components/indexing"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = -1234

// pair is the real store and the real index, wired by the kernel double.
type pair struct {
	t            *testing.T
	store, index *sdktest.Component
	staging      string
}

func (p *pair) records() analyticsv1.RecordStoreClient {
	return analyticsv1.NewRecordStoreClient(p.store.Conn(analyticsv1.RecordStore_ServiceDesc.ServiceName))
}

func (p *pair) searches() analyticsv1.IndexClient {
	return analyticsv1.NewIndexClient(p.index.Conn(analyticsv1.Index_ServiceDesc.ServiceName))
}

func newPair(t *testing.T) *pair {
	k := sdktest.NewKernel(t)
	p := &pair{t: t, staging: filepath.Join(k.Dir(), "repository", "data", "DataService", "staging")}
	p.store = k.Start(dataservice.Start, sdktest.WithDescriptor("../../components/dataservice/component.yaml"))
	p.index = k.Start(indexing.Start, sdktest.WithDescriptor("../../components/indexing/component.yaml"), sdktest.WithConfig(map[string]any{"nice": 0}))
	return p
}

func (p *pair) create(ctx context.Context, name string, keys ...string) {
	_, err := p.records().CreateTable(ctx, &analyticsv1.CreateTableRequest{Tenant: tenant, Table: name, IfNotExists: true, Schema: &analyticsv1.Schema{
		Columns: []*analyticsv1.Column{
			{Name: "k", Type: analyticsv1.ColumnType_COLUMN_TYPE_INTEGER, Indexed: true},
			{Name: "msg", Type: analyticsv1.ColumnType_COLUMN_TYPE_STRING, Indexed: true},
		}, PrimaryKeys: keys}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// put stores rows (k, msg) with ascending times and returns the numbers that the store gave them.
func (p *pair) put(ctx context.Context, name string, from int64, ks []int32, msg func(k int32) string) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64}, {Name: "k", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "msg", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "_arbitrary", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, k := range ks {
		b.Field(0).(*array.Int64Builder).Append(from + int64(i))
		b.Field(1).(*array.Int32Builder).Append(k)
		b.Field(2).(*array.StringBuilder).Append(msg(k))
		b.Field(3).AppendNull()
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := w.Write(rec); err != nil {
		p.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.records().Put(ctx, &analyticsv1.PutRequest{Tenant: tenant, Table: name, ArrowIpc: buf.Bytes()}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) want(ctx context.Context, table, q string, n int) {
	p.t.Helper()
	if _, err := p.searches().WaitForIndexing(ctx, &analyticsv1.WaitForIndexingRequest{Tenant: tenant}); err != nil {
		p.t.Fatal(err)
	}
	c, err := p.searches().Count(ctx, &analyticsv1.SearchCountRequest{Tenant: tenant, Table: table, Query: q})
	if err != nil || c.Count != int64(n) {
		p.t.Fatalf("%s in %s: %v, want %d (%v)", q, table, c, n, err)
	}
}

// TestWithTheRealStore: puts, upserts and deletes in the store, with restarts of either side, are what searches find.
func TestWithTheRealStore(t *testing.T) {
	p := newPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p.create(ctx, "PLAIN")
	p.create(ctx, "KEYED", "k")
	r := rand.New(rand.NewPCG(3, 4))
	plain, at := 0, int64(1000)
	keyed := map[int32]int{}
	for round := range 12 {
		ks := make([]int32, 200)
		for i := range ks {
			ks[i] = r.Int32N(500)
		}
		p.put(ctx, "PLAIN", at, ks, func(k int32) string { return fmt.Sprintf("all round%d", round) })
		plain += len(ks)
		unique := slices.Clone(ks)
		slices.Sort(unique)
		unique = slices.Compact(unique)
		p.put(ctx, "KEYED", at, unique, func(k int32) string { return fmt.Sprintf("all round%d", round) })
		for _, k := range unique {
			keyed[k] = round
		}
		at += 1000
		switch round {
		case 2:
			p.index = p.index.Restart()
		case 4:
			p.store = p.store.Restart()
		case 6: // a whole round goes from the plain table
			if _, err := p.records().Delete(ctx, &analyticsv1.DeleteRequest{Tenant: tenant, Table: "PLAIN", From: ptr(at - 1000), To: ptr(at)}); err != nil {
				t.Fatal(err)
			}
			plain -= 200
			p.want(ctx, "PLAIN", "msg:round6", 0)
		case 8:
			if _, err := p.searches().Clear(ctx, &analyticsv1.ClearIndexRequest{Tenant: tenant, Table: "KEYED"}); err != nil {
				t.Fatal(err)
			}
		}
		if round%2 == 1 {
			p.want(ctx, "PLAIN", "msg:all", plain)
			p.want(ctx, "KEYED", "msg:all", len(keyed))
			n := 0
			for _, last := range keyed {
				if last == round-1 {
					n++
				}
			}
			p.want(ctx, "KEYED", fmt.Sprintf("msg:round%d", round-1), n)
			p.want(ctx, "KEYED", fmt.Sprintf("msg:round%d AND k:[0 TO *]", round-1), n)
		}
	}
	// Everything is read again from the store, where deletes are known by their marks.
	for _, table := range []string{"PLAIN", "KEYED"} {
		if _, err := p.searches().Clear(ctx, &analyticsv1.ClearIndexRequest{Tenant: tenant, Table: table}); err != nil {
			t.Fatal(err)
		}
	}
	p.want(ctx, "PLAIN", "*:*", plain)
	p.want(ctx, "KEYED", "*:*", len(keyed))
	// A script's INSERT OVERWRITE: the table's rows are replaced in one step.
	p.overwrite(ctx, "PLAIN", 5000)
	p.want(ctx, "PLAIN", "*:*", 5000)
	p.want(ctx, "PLAIN", "msg:all", 0)
	p.want(ctx, "PLAIN", "msg:written AND k:[0 TO 99]", 100)
	if _, err := p.records().DropTable(ctx, &analyticsv1.DropTableRequest{Tenant: tenant, Table: "PLAIN"}); err != nil {
		t.Fatal(err)
	}
	p.create(ctx, "PLAIN")
	p.put(ctx, "PLAIN", at, []int32{1, 2, 3}, func(int32) string { return "again" })
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := p.searches().WaitForIndexing(ctx, &analyticsv1.WaitForIndexingRequest{Tenant: tenant, Table: "PLAIN"}); err == nil {
			c, err := p.searches().Count(ctx, &analyticsv1.SearchCountRequest{Tenant: tenant, Table: "PLAIN"})
			if err == nil && c.Count == 3 {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the table made anew is not indexed")
		}
	}
}

// overwrite replaces a table's rows by n staged ones.
func (p *pair) overwrite(ctx context.Context, name string, n int) {
	tx, err := p.records().Begin(ctx, &analyticsv1.BeginRequest{Tenant: tenant, Table: name, Mode: analyticsv1.WriteMode_WRITE_MODE_OVERWRITE, Key: "test/1"})
	if err != nil {
		p.t.Fatal(err)
	}
	type row struct {
		Seq       int64   `parquet:"_seq"`
		Time      int64   `parquet:"_timestamp"`
		K         *int32  `parquet:"k,optional"`
		Msg       *string `parquet:"msg,optional"`
		Arbitrary *string `parquet:"_arbitrary,optional"`
	}
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{Seq: int64(tx.FirstSeq) + int64(i), Time: int64(i), K: ptr(int32(i)), Msg: ptr(fmt.Sprintf("written %d", i))}
	}
	if err := parquet.WriteFile(filepath.Join(p.staging, tx.Folder, "rows.parquet"), rows); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.records().Commit(ctx, &analyticsv1.CommitRequest{Transaction: tx.Transaction, Files: []string{"rows.parquet"}}); err != nil {
		p.t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }
