package portal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"carbonado.dev/carbonado/components/dataservice"
	"carbonado.dev/carbonado/components/identity"
	"carbonado.dev/carbonado/components/indexing"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

// The components that Portal is made for, without doubles: records that DataService has on disk, found by Indexing, asked for by
// people whom Identity knows.

const firstPassword = "first-password"

type installation struct {
	node
	records analyticsv1.RecordStoreClient
	auth    analyticsv1.AuthenticatorClient
	users   analyticsv1.UsersClient
}

func install(t *testing.T) installation {
	t.Helper()
	k := sdktest.NewKernel(t)
	store := k.Start(dataservice.Start, sdktest.WithDescriptor("../dataservice/component.yaml"))
	k.Start(indexing.Start, sdktest.WithDescriptor("../indexing/component.yaml"), sdktest.WithConfig(map[string]any{"schemaSeconds": 1, "nice": 0}))
	id := k.Start(identity.Start, sdktest.WithDescriptor("../identity/component.yaml"), sdktest.WithConfig(map[string]any{"adminPassword": firstPassword}))
	return installation{
		node:    node{k.Start(Start), k, t},
		records: analyticsv1.NewRecordStoreClient(store.Conn(analyticsv1.RecordStore_ServiceDesc.ServiceName)),
		auth:    analyticsv1.NewAuthenticatorClient(id.Conn(analyticsv1.Authenticator_ServiceDesc.ServiceName)),
		users:   analyticsv1.NewUsersClient(id.Conn(analyticsv1.Users_ServiceDesc.ServiceName)),
	}
}

func (i installation) signIn(user, password string) *commonv1.Principal {
	i.t.Helper()
	resp, err := i.auth.Authenticate(i.t.Context(), &analyticsv1.AuthenticateRequest{Credentials: &analyticsv1.AuthenticateRequest_Basic{
		Basic: &analyticsv1.BasicCredentials{Username: user, Password: password},
	}})
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.Principal
}

// put stores n readings; reading j has house j, a city of three, and time 1000 + j.
func (i installation) put(table string, n int) {
	i.t.Helper()
	schema := &analyticsv1.Schema{Columns: []*analyticsv1.Column{
		{Name: "city", Type: analyticsv1.ColumnType_COLUMN_TYPE_STRING, Indexed: true},
		{Name: "house", Type: analyticsv1.ColumnType_COLUMN_TYPE_INTEGER, Indexed: true},
		{Name: "power", Type: analyticsv1.ColumnType_COLUMN_TYPE_FLOAT},
	}}
	if _, err := i.records.CreateTable(i.t.Context(), &analyticsv1.CreateTableRequest{Tenant: -1234, Table: table, Schema: schema}); err != nil {
		i.t.Fatal(err)
	}
	fields := arrow.NewSchema([]arrow.Field{
		{Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64}, {Name: "city", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "house", Type: arrow.PrimitiveTypes.Int32, Nullable: true}, {Name: "power", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	}, nil)
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(fields))
	b := array.NewRecordBuilder(memory.DefaultAllocator, fields)
	defer b.Release()
	for j := range n {
		b.Field(0).(*array.Int64Builder).Append(1000 + int64(j))
		b.Field(1).(*array.StringBuilder).Append([]string{"Oslo", "Bern", "Rome"}[j%3])
		b.Field(2).(*array.Int32Builder).Append(int32(j))
		b.Field(3).(*array.Float32Builder).Append(rand.Float32())
	}
	rows := b.NewRecordBatch()
	defer rows.Release()
	if err := w.Write(rows); err != nil {
		i.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		i.t.Fatal(err)
	}
	if _, err := i.records.Put(i.t.Context(), &analyticsv1.PutRequest{Tenant: -1234, Table: table, ArrowIpc: out.Bytes()}); err != nil {
		i.t.Fatal(err)
	}
}

type record struct {
	ID        string `json:"id"`
	TableName string `json:"tableName"`
	Timestamp int64  `json:"timestamp"`
	Values    struct {
		City  string   `json:"city"`
		House *int     `json:"house"`
		Power *float64 `json:"power"`
	} `json:"values"`
}

func (i installation) ask(p *commonv1.Principal, method, path, body string) []record {
	i.t.Helper()
	resp, got := i.call(p, method, path, body)
	var records []record
	if err := json.Unmarshal([]byte(got), &records); err != nil || resp.StatusCode != 200 {
		i.t.Fatalf("%s %s: %d %.300s: %v", method, path, resp.StatusCode, got, err)
	}
	return records
}

func TestRecordsOfTheRealStore(t *testing.T) {
	i := install(t)
	admin := i.signIn("admin", firstPassword)
	const n = 5000
	i.put("readings", n)

	for path, want := range map[string]string{
		"/analytics/tables": `["READINGS"]`, "/analytics/tables/readings/recordcount": fmt.Sprint(n), "/analytics/recordstore?table=readings": `"EVENT_STORE"`,
		"/analytics/table_exists?table=readings": `{"message":"Table : readings exists.","status":"success"}`,
	} {
		if resp, got := i.call(admin, "GET", path, ""); resp.StatusCode != 200 || got != want {
			t.Errorf("%s: %d %s, want %s", path, resp.StatusCode, got, want)
		}
	}
	if _, got := i.call(admin, "GET", "/analytics/recordstores", ""); !strings.Contains(got, `"EVENT_STORE"`) || !strings.Contains(got, `"PROCESSED_DATA_STORE"`) {
		t.Errorf("record stores %s", got)
	}
	if _, got := i.call(admin, "GET", "/analytics/tables/readings/schema", ""); !strings.Contains(got, `"house":{"type":"INTEGER","isScoreParam":false,"isIndex":true,"isFacet":false}`) {
		t.Errorf("schema %s", got)
	}
	all := i.ask(admin, "GET", "/analytics/tables/readings", "")
	ids, houses := map[string]bool{}, map[int]bool{}
	for _, r := range all {
		ids[r.ID] = true
		houses[*r.Values.House] = true
		if r.TableName != "READINGS" || r.Timestamp != 1000+int64(*r.Values.House) || r.Values.Power == nil {
			t.Fatalf("record %+v", r)
		}
	}
	if len(all) != n || len(ids) != n || len(houses) != n {
		t.Errorf("%d records, %d ids, %d houses; want %d of each", len(all), len(ids), len(houses), n)
	}
	if got := i.ask(admin, "GET", "/analytics/tables/readings/1010/1020", ""); len(got) != 10 || got[0].Timestamp != 1010 || got[9].Timestamp != 1019 {
		t.Errorf("[1010, 1020): %d records", len(got))
	}
	if got := i.ask(admin, "GET", "/analytics/tables/readings/1010/1020/4/3?columns=city", ""); len(got) != 3 || got[0].Timestamp != 1014 || got[0].Values.House != nil || got[0].Values.City == "" {
		t.Errorf("a page of one column: %+v", got)
	}
	if resp, got := i.call(admin, "GET", "/analytics/tables/nothing", ""); resp.StatusCode != 404 || !strings.Contains(got, "[-1234:NOTHING] does not exist") {
		t.Errorf("a missing table: %d %s", resp.StatusCode, got)
	}
}

func TestSearchOfTheRealIndex(t *testing.T) {
	i := install(t)
	admin := i.signIn("admin", firstPassword)
	const n = 300
	i.put("readings", n)
	if resp, got := i.call(admin, "GET", "/analytics/indexing_done?timeout=30&table=readings", ""); resp.StatusCode != 200 {
		t.Fatalf("indexing_done: %d %s", resp.StatusCode, got)
	}
	if _, got := i.call(admin, "POST", "/analytics/search_count", `{"tableName":"readings","query":"city:Oslo"}`); got != fmt.Sprint(n/3) {
		t.Errorf("count of Oslo: %s", got)
	}
	got := i.ask(admin, "POST", "/analytics/search", `{"tableName":"readings","query":"city:bern AND house:[100 TO 200]","start":2,"count":5,"sortBy":[{"field":"house","sortType":"DESC"}]}`)
	want := []int{193, 190, 187, 184, 181} // 199 and 196 are on the page before
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for k, r := range got {
		if *r.Values.House != want[k] || r.Values.City != "Bern" {
			t.Errorf("hit %d: %+v, want house %d", k, r, want[k])
		}
	}
	if resp, got := i.call(admin, "POST", "/analytics/search", `{"tableName":"readings","query":"city:(","count":5}`); resp.StatusCode != 400 || !strings.Contains(got, "CBN-IDX-") {
		t.Errorf("a query with a syntax error: %d %s", resp.StatusCode, got)
	}
}

func TestPermissionsOfTheRealIdentity(t *testing.T) {
	i := install(t)
	i.put("readings", 3)
	if _, err := i.users.PutRole(t.Context(), &analyticsv1.PutRoleRequest{Tenant: -1234, Role: &analyticsv1.Role{Name: "reader", Permissions: []string{"/permission/admin/manage/analytics/records"}}}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []struct {
		name  string
		roles []string
		want  map[string]int
	}{
		{"ada", []string{"reader"}, map[string]int{"/analytics/tables/readings": 200, "/analytics/tables": 403}},
		{"eve", nil, map[string]int{"/analytics/tables/readings": 403, "/analytics/tables": 403, "/analytics/recordstores": 200}},
	} {
		if _, err := i.users.PutUser(t.Context(), &analyticsv1.PutUserRequest{Tenant: -1234, User: &analyticsv1.User{Name: u.name, Roles: u.roles}, Password: "a-password"}); err != nil {
			t.Fatal(err)
		}
		for path, want := range u.want {
			if resp, got := i.call(i.signIn(u.name, "a-password"), "GET", path, ""); resp.StatusCode != want {
				t.Errorf("%s %s: %d %s, want %d", u.name, path, resp.StatusCode, got, want)
			}
		}
	}
}
