package analyticsengine_test

import (
	"os"
	"path/filepath"
	"testing"

	"carbonado.dev/carbonado/components/analyticsengine"
	"carbonado.dev/carbonado/components/dataservice"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

// TestWhatAKilledEngineStagedGoesAtItsRestart: a transaction that an earlier process noted and never ended is aborted when the component
// starts, though the store lives on.
func TestWhatAKilledEngineStagedGoesAtItsRestart(t *testing.T) {
	k := sdktest.NewKernel(t)
	d := k.Start(dataservice.Start, sdktest.WithDescriptor("../dataservice/component.yaml"))
	store := analyticsv1.NewRecordStoreClient(d.Conn(analyticsv1.RecordStore_ServiceDesc.ServiceName))
	_, err := store.CreateTable(t.Context(), &analyticsv1.CreateTableRequest{Tenant: tenant, Table: "T", Schema: &analyticsv1.Schema{
		Columns: []*analyticsv1.Column{{Name: "a", Type: analyticsv1.ColumnType_COLUMN_TYPE_INTEGER}}}})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(key string) *analyticsv1.BeginResponse {
		tx, err := store.Begin(t.Context(), &analyticsv1.BeginRequest{Tenant: tenant, Table: "T", Mode: analyticsv1.WriteMode_WRITE_MODE_APPEND, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	data := filepath.Join(k.Dir(), "repository", "data")
	left, others := begin("run:killed/0"), begin("run:another/0")
	open := filepath.Join(data, "AnalyticsEngine", "open")
	if err := os.MkdirAll(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(open, left.Transaction), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.Start(analyticsengine.StartWith(os.Args[0]))
	staging := filepath.Join(data, "DataService", "staging")
	if _, err := os.Stat(filepath.Join(staging, left.Folder)); !os.IsNotExist(err) {
		t.Errorf("what was staged is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(staging, others.Folder)); err != nil {
		t.Errorf("what somebody else stages is gone: %v", err)
	}
	if again := begin("run:killed/0"); again.Transaction == left.Transaction {
		t.Error("the transaction is still open")
	}
	if entries, _ := os.ReadDir(open); len(entries) > 0 {
		t.Errorf("%s is still noted", entries[0].Name())
	}
}
