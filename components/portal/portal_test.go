package portal

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/portal/rest/resttest"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/sdktest"
)

func column(name string, t analyticsv1.ColumnType) *analyticsv1.Column {
	return &analyticsv1.Column{Name: name, Type: t}
}

// filled is a store with one table of every type, and one that cannot count.
func filled() *resttest.Store {
	s := resttest.New()
	city := column("city", analyticsv1.ColumnType_COLUMN_TYPE_STRING)
	city.Indexed = true
	score := column("usage", analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE)
	score.ScoreParam = true
	s.Create("Readings", "EVENT_STORE", &analyticsv1.Schema{
		Columns: []*analyticsv1.Column{
			city, score,
			column("area", analyticsv1.ColumnType_COLUMN_TYPE_FACET), column("house", analyticsv1.ColumnType_COLUMN_TYPE_INTEGER),
			column("serial", analyticsv1.ColumnType_COLUMN_TYPE_LONG), column("power", analyticsv1.ColumnType_COLUMN_TYPE_FLOAT),
			column("peak", analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN), column("raw", analyticsv1.ColumnType_COLUMN_TYPE_BINARY),
		},
		PrimaryKeys: []string{"city"},
	})
	s.Add("readings",
		resttest.Row{Timestamp: 1000, Values: map[string]any{
			"city": "Oslo \"Ø\"\n", "usage": 1.5, "area": "north,oslo", "house": int32(-7), "serial": int64(math.MaxInt64),
			"power": float32(0.1), "peak": true, "raw": []byte{0, 255},
		}, Arbitrary: `{"extra":{"a":[1,2]},"city":"hidden"}`},
		resttest.Row{Timestamp: 2000, Values: map[string]any{"city": "Bern", "usage": math.NaN(), "power": float32(1e30)}},
		resttest.Row{Timestamp: 3000, Values: map[string]any{"city": "Rome", "usage": 1e-9}},
	)
	s.Create("PLAIN", "PLAIN_STORE", &analyticsv1.Schema{})
	return s
}

type node struct {
	*sdktest.Component
	kernel *sdktest.Kernel
	t      *testing.T
}

func start(t *testing.T, store *resttest.Store, index *resttest.Index) node {
	t.Helper()
	k := sdktest.NewKernel(t)
	if store != nil {
		k.Provide(&analyticsv1.RecordStore_ServiceDesc, store, nil)
	}
	if index != nil {
		k.Provide(&analyticsv1.Index_ServiceDesc, index, nil)
	}
	return node{k.Start(Start), k, t}
}

func (n node) call(p *commonv1.Principal, method, path, body string) (*http.Response, string) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, "https://node"+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := n.HTTP(p).Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp, strings.TrimSuffix(string(raw), "\n")
}

const (
	first  = `{"id":"id0","tableName":"READINGS","timestamp":1000,"values":{"city":"Oslo \"Ø\"\n","usage":1.5,"area":"north,oslo","house":-7,"serial":9223372036854775807,"power":0.1,"peak":true,"raw":"AP8=","extra":{"a":[1,2]}}}`
	second = `{"id":"id1","tableName":"READINGS","timestamp":2000,"values":{"city":"Bern","usage":"NaN","power":1e+30}}`
	third  = `{"id":"id2","tableName":"READINGS","timestamp":3000,"values":{"city":"Rome","usage":1e-09}}`
)

func TestReadSide(t *testing.T) {
	index := &resttest.Index{}
	index.Answer(&analyticsv1.SearchResponse{Hits: []*analyticsv1.Hit{{Seq: 2}, {Seq: 99}, {Seq: 0}}, Total: 17, Complete: true}, nil)
	n := start(t, filled(), index)
	for _, tc := range []struct{ method, path, body, want string }{
		{"GET", "/analytics/tables", "", `["PLAIN","READINGS"]`},
		{"GET", "/analytics/table_exists?table=Readings", "", `{"message":"Table : Readings exists.","status":"success"}`},
		{"GET", "/analytics/recordstores", "", `["EVENT_STORE","PLAIN_STORE"]`},
		{"GET", "/analytics/recordstore?table=readings", "", `"EVENT_STORE"`},
		{"GET", "/analytics/pagination/EVENT_STORE", "", `{"message":"RecordStore : EVENT_STORE support pagination.","status":"success"}`},
		{"GET", "/analytics/tables/readings/recordcount", "", `3`},
		{"GET", "/analytics/tables/plain/recordcount", "", `-1`},
		{"GET", "/analytics/tables/readings", "", `[` + first + `,` + second + `,` + third + `]`},
		{"GET", "/analytics/tables/readings/1000", "", `[` + first + `,` + second + `,` + third + `]`},
		{"GET", "/analytics/tables/readings/1000/3000", "", `[` + first + `,` + second + `]`},
		{"GET", "/analytics/tables/readings/-9223372036854775808/9223372036854775807/1", "", `[` + second + `,` + third + `]`},
		{"GET", "/analytics/tables/readings/0/9999/1/1", "", `[` + second + `]`},
		{"GET", "/analytics/tables/readings/0/9999/0/-1", "", `[` + first + `,` + second + `,` + third + `]`},
		{"GET", "/analytics/tables/readings/0/9999/0/0", "", `[]`},
		{"GET", "/analytics/tables/readings/0/9999/9/5", "", `[]`},
		{"GET", "/analytics/tables/readings/0/2000?columns=usage,extra&columns=house", "", `[{"id":"id0","tableName":"READINGS","timestamp":1000,"values":{"usage":1.5,"house":-7,"extra":{"a":[1,2]}}}]`},
		{"GET", "/analytics/tables/plain", "", `[]`},
		{"POST", "/analytics/tables/readings/keyed_records", `{"valueBatches":[{"city":"Rome"},{"city":"Paris"}],"columns":["usage"]}`, `[{"id":"id2","tableName":"READINGS","timestamp":3000,"values":{"usage":1e-09}}]`},
		{"POST", "/analytics/search", `{"tableName":"readings","query":"city:r*","start":0,"count":10,"columns":["city"],"sortBy":[{"field":"usage","sortType":"DESC"}]}`,
			`[{"id":"id2","tableName":"READINGS","timestamp":3000,"values":{"city":"Rome"}},{"id":"id0","tableName":"READINGS","timestamp":1000,"values":{"city":"Oslo \"Ø\"\n"}}]`},
		{"POST", "/analytics/search_count", `{"tableName":"readings","query":"*:*"}`, `17`},
		{"GET", "/analytics/indexing_done?timeout=5&table=readings", "", `{"message":"Indexing Completed successfully","status":"success"}`},
		{"GET", "/analytics/tables/readings/schema", "", `{"columns":{"city":{"type":"STRING","isScoreParam":false,"isIndex":true,"isFacet":false},` +
			`"usage":{"type":"DOUBLE","isScoreParam":true,"isIndex":false,"isFacet":false},` +
			`"area":{"type":"STRING","isScoreParam":false,"isIndex":false,"isFacet":true},` +
			`"house":{"type":"INTEGER","isScoreParam":false,"isIndex":false,"isFacet":false},` +
			`"serial":{"type":"LONG","isScoreParam":false,"isIndex":false,"isFacet":false},` +
			`"power":{"type":"FLOAT","isScoreParam":false,"isIndex":false,"isFacet":false},` +
			`"peak":{"type":"BOOLEAN","isScoreParam":false,"isIndex":false,"isFacet":false},` +
			`"raw":{"type":"BINARY","isScoreParam":false,"isIndex":false,"isFacet":false}},"primaryKeys":["city"]}`},
		{"GET", "/analytics/tables/plain/schema", "", `{"columns":{},"primaryKeys":[]}`},
		{"OPTIONS", "/analytics", "", ``},
		{"OPTIONS", "/analytics/", "", ``},
	} {
		resp, got := n.call(sdktest.Admin(), tc.method, tc.path, tc.body)
		if resp.StatusCode != 200 || got != tc.want {
			t.Errorf("%s %s\n got %d %s\nwant 200 %s", tc.method, tc.path, resp.StatusCode, got, tc.want)
			continue
		}
		if tc.method == "OPTIONS" {
			if resp.Header.Get("Allow") != "GET, HEAD, POST, OPTIONS" {
				t.Errorf("%s: Allow %q", tc.path, resp.Header.Get("Allow"))
			}
			continue
		}
		if !json.Valid([]byte(got)) || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: not JSON, or headers %v", tc.method, tc.path, resp.Header)
		}
	}
	search := index.Last()
	if search.Table != "readings" || search.Query != "city:r*" || search.Count != 10 || len(search.Sort) != 1 || search.Sort[0].Field != "usage" || !search.Sort[0].Descending {
		t.Errorf("the index was asked %v", search)
	}
}

func TestLargeAnswersStream(t *testing.T) {
	store := resttest.New()
	store.Create("BIG", "EVENT_STORE", &analyticsv1.Schema{Columns: []*analyticsv1.Column{column("n", analyticsv1.ColumnType_COLUMN_TYPE_LONG)}})
	const rows = 30_000
	for i := range int64(rows) {
		store.Add("BIG", resttest.Row{Timestamp: i, Values: map[string]any{"n": i}})
	}
	index := &resttest.Index{}
	hits := &analyticsv1.SearchResponse{Complete: false}
	for i := range uint64(rows) {
		hits.Hits = append(hits.Hits, &analyticsv1.Hit{Seq: rows - 1 - i})
	}
	index.Answer(hits, nil)
	n := start(t, store, index)
	for path, body := range map[string]string{"/analytics/tables/big": "", "/analytics/search": `{"tableName":"big","count":30000}`} {
		method := "GET"
		if body != "" {
			method = "POST"
		}
		resp, got := n.call(sdktest.Admin(), method, path, body)
		var records []struct{ Values struct{ N int64 } }
		if err := json.Unmarshal([]byte(got), &records); err != nil || len(records) != rows {
			t.Fatalf("%s: %d records, %v", path, len(records), err)
		}
		for i, r := range records {
			want := int64(i)
			if body != "" {
				want = rows - 1 - want
			}
			if r.Values.N != want {
				t.Fatalf("%s: record %d has n = %d, want %d", path, i, r.Values.N, want)
			}
		}
		if body != "" && resp.Header.Get("Carbonado-Complete") != "false" {
			t.Errorf("%s: an incomplete answer does not say so", path)
		}
	}
}

func TestRefusals(t *testing.T) {
	index := &resttest.Index{}
	index.Answer(&analyticsv1.SearchResponse{}, nil)
	n := start(t, filled(), index)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code, text         string
	}{
		{"GET", "/analytics/table_exists", "", 400, "CBN-PRT-001", "Query param 'table' is not provided"},
		{"GET", "/analytics/recordstore?table=", "", 400, "CBN-PRT-001", "Query param 'table' is not provided"},
		{"GET", "/analytics/recordstore?table=none", "", 404, "CBN-PRT-003", "[-1234:NONE] does not exist"},
		{"GET", "/analytics/tables/none", "", 404, "CBN-PRT-003", "[-1234:NONE] does not exist"},
		{"GET", "/analytics/tables/none/0/1/0/0", "", 404, "CBN-PRT-003", "[-1234:NONE] does not exist"},
		{"GET", "/analytics/tables/none/schema", "", 404, "CBN-PRT-003", "[-1234:NONE] does not exist"},
		{"GET", "/analytics/tables/none/recordcount", "", 404, "CBN-PRT-003", "[-1234:NONE] does not exist"},
		{"GET", "/analytics/tables/readings/yesterday", "", 400, "CBN-PRT-001", `from: "yesterday"`},
		{"GET", "/analytics/tables/readings/0/99999999999999999999", "", 400, "CBN-PRT-001", `to: "99999999999999999999"`},
		{"GET", "/analytics/tables/readings/0/1/-1", "", 400, "CBN-PRT-001", "start: -1 is less than 0"},
		{"GET", "/analytics/tables/readings/0/1/0/-2", "", 400, "CBN-PRT-001", "count: -2 is less than -1"},
		{"GET", "/analytics/nothing", "", 404, "CBN-PRT-006", "/analytics/nothing"},
		{"GET", "/analytics/tables/a/0/1/2/3/4", "", 404, "CBN-PRT-006", "no resource"},
		{"DELETE", "/analytics/tables/readings", "", 405, "CBN-PRT-007", "DELETE"},
		{"POST", "/analytics/tables", "", 405, "CBN-PRT-007", "GET, HEAD"},
		{"GET", "/analytics/search", "", 405, "CBN-PRT-007", "POST"},
		{"POST", "/analytics/search", "", 400, "CBN-PRT-001", "Search parameters not provided"},
		{"POST", "/analytics/search", "[1]", 400, "CBN-PRT-001", "not the expected JSON object"},
		{"POST", "/analytics/search", `{"tableName":"readings","count":1} {}`, 400, "CBN-PRT-001", "more than one"},
		{"POST", "/analytics/search", `{"tableName":"readings","quary":"x","count":1}`, 400, "CBN-PRT-001", "quary"},
		{"POST", "/analytics/search", `{"tableName":"` + strings.Repeat("x", 1<<20) + `"}`, 400, "CBN-PRT-001", "too large"},
		{"POST", "/analytics/search", strings.Repeat("[", 100_000), 400, "CBN-PRT-001", "not the expected JSON object"},
		{"POST", "/analytics/search", `{"query":"x","count":1}`, 400, "CBN-PRT-001", "tableName is not provided"},
		{"POST", "/analytics/search", `{"tableName":"none","count":1}`, 404, "CBN-PRT-003", "[-1234:NONE] does not exist"},
		{"POST", "/analytics/search", `{"tableName":"readings"}`, 400, "CBN-PRT-001", "count: 0 is not above 0"},
		{"POST", "/analytics/search", `{"tableName":"readings","count":1,"start":-1}`, 400, "CBN-PRT-001", "start: -1"},
		{"POST", "/analytics/search", `{"tableName":"readings","count":1,"sortBy":[{"field":"a","sortType":"UP"}]}`, 400, "CBN-PRT-001", "neither ASC nor DESC"},
		{"POST", "/analytics/search_count", ``, 400, "CBN-PRT-001", "Search parameters not provided"},
		{"POST", "/analytics/tables/readings/keyed_records", ``, 400, "CBN-PRT-001", "List of records are empty"},
		{"POST", "/analytics/tables/readings/keyed_records", `{"valueBatches":[]}`, 400, "CBN-PRT-001", "valueBatches has 0 entries"},
		{"POST", "/analytics/tables/readings/keyed_records", `{"valueBatches":[{"city":null}]}`, 400, "CBN-PRT-001", "valueBatches[0].city"},
		{"GET", "/analytics/indexing_done", "", 400, "CBN-PRT-001", `timeout: ""`},
		{"GET", "/analytics/indexing_done?timeout=0&table=readings", "", 500, "CBN-PRT-008", "did not catch up within 0s"},
		{"GET", "/portal/apis/dashboards/none", "", 404, "CBN-PRT-012", `dashboard "none"`},
	} {
		resp, got := n.call(sdktest.Admin(), tc.method, tc.path, tc.body)
		var body struct {
			Status, Message string
			Cause           struct{ Code, Text, Fix string }
		}
		if err := json.Unmarshal([]byte(got), &body); err != nil {
			t.Errorf("%s %s: %d %s: %v", tc.method, tc.path, resp.StatusCode, got, err)
			continue
		}
		if resp.StatusCode != tc.status || body.Status != "failed" || body.Cause.Code != tc.code || !strings.Contains(body.Message, tc.text) || body.Cause.Fix == "" {
			t.Errorf("%s %s %.60s\n got %d %s\nwant %d %s %s", tc.method, tc.path, tc.body, resp.StatusCode, got, tc.status, tc.code, tc.text)
		}
	}
	for _, path := range []string{"/analytics/table_exists?table=none", "/analytics/pagination/PLAIN_STORE", "/analytics/pagination/none"} {
		if resp, got := n.call(sdktest.Admin(), "GET", path, ""); resp.StatusCode != 404 || !strings.Contains(got, `"status":"non-existent"`) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
}

// Every resource against every permission of DAS.md section 9.2.
func TestPermissions(t *testing.T) {
	index := &resttest.Index{}
	index.Answer(&analyticsv1.SearchResponse{Complete: true}, nil)
	n := start(t, filled(), index)
	const list, get, search = "table/list", "records/get", "records/search"
	for _, tc := range []struct{ method, path, body, needs string }{
		{"GET", "/analytics/tables", "", list},
		{"GET", "/analytics/table_exists?table=readings", "", list},
		{"GET", "/analytics/recordstore?table=readings", "", list},
		{"GET", "/analytics/tables/readings/schema", "", list},
		{"GET", "/analytics/tables/readings/recordcount", "", get},
		{"GET", "/analytics/tables/readings", "", get},
		{"GET", "/analytics/tables/readings/0/1/0/1", "", get},
		{"POST", "/analytics/tables/readings/keyed_records", `{"valueBatches":[{"city":"x"}]}`, get},
		{"POST", "/analytics/search", `{"tableName":"readings","count":1}`, search},
		{"POST", "/analytics/search_count", `{"tableName":"readings"}`, search},
		{"GET", "/analytics/recordstores", "", ""},
		{"GET", "/analytics/pagination/EVENT_STORE", "", ""},
	} {
		for _, held := range []string{"", list, get, search} {
			p := &commonv1.Principal{User: "ada", Tenant: -1234}
			if held != "" {
				p.Permissions = []string{"/permission/admin/manage/analytics/" + held}
			}
			want := 403
			if held == tc.needs || tc.needs == "" {
				want = 200
			}
			resp, got := n.call(p, tc.method, tc.path, tc.body)
			if resp.StatusCode != want {
				t.Errorf("%s %s with %q: %d %s, want %d", tc.method, tc.path, held, resp.StatusCode, got, want)
			}
			if want == 403 && !strings.Contains(got, "User[ada] does not have required permission to") {
				t.Errorf("%s %s: %s", tc.method, tc.path, got)
			}
		}
	}
}

func TestNodeWithoutStoreOrIndexSaysWhy(t *testing.T) {
	n := start(t, filled(), nil)
	for path, body := range map[string]string{"/analytics/search": `{"tableName":"readings","count":1}`, "/analytics/search_count": `{"tableName":"readings"}`} {
		if resp, got := n.call(sdktest.Admin(), "POST", path, body); resp.StatusCode != 503 || !strings.Contains(got, "CBN-PRT-004") || !strings.Contains(got, "Indexing") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
	if resp, got := n.call(sdktest.Admin(), "GET", "/analytics/indexing_done?timeout=1", ""); resp.StatusCode != 503 || !strings.Contains(got, "CBN-PRT-004") {
		t.Errorf("indexing_done: %d %s", resp.StatusCode, got)
	}
	bare := start(t, nil, nil)
	for _, path := range []string{"/analytics/tables", "/analytics/tables/readings", "/analytics/recordstores", "/analytics/tables/readings/recordcount"} {
		if resp, got := bare.call(sdktest.Admin(), "GET", path, ""); resp.StatusCode != 503 || !strings.Contains(got, "CBN-PRT-005") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
}

// A broken answer must not look like a whole one.
func TestAnswerThatBreaksOffIsNoJSON(t *testing.T) {
	store := filled()
	store.Break(cause.Define("CBN-STORE-099", "broken", "mend it").Code(codes.DataLoss).New("segment 7"))
	n := start(t, store, nil)
	_, got := n.call(sdktest.Admin(), "GET", "/analytics/tables/readings", "")
	if json.Valid([]byte(got)) {
		t.Errorf("got %s", got)
	}
}

func TestIndexErrorsKeepTheirCause(t *testing.T) {
	index := &resttest.Index{}
	n := start(t, filled(), index)
	bad := cause.Define("CBN-IDX-010", "The query cannot be parsed.", "Correct it.").Code(codes.InvalidArgument)
	index.Answer(nil, bad.New("column 3: unexpected ')'"))
	if resp, got := n.call(sdktest.Admin(), "POST", "/analytics/search", `{"tableName":"readings","query":"a:)","count":1}`); resp.StatusCode != 400 || !strings.Contains(got, "CBN-IDX-010") || !strings.Contains(got, "column 3") {
		t.Errorf("bad query: %d %s", resp.StatusCode, got)
	}
	index.Answer(nil, errors.New("disk on fire"))
	if resp, got := n.call(sdktest.Admin(), "POST", "/analytics/search_count", `{"tableName":"readings"}`); resp.StatusCode != 500 || !strings.Contains(got, "disk on fire") {
		t.Errorf("plain error: %d %s", resp.StatusCode, got)
	}
}

const definition = `{"id":"power","title":"Power","permissions":{"viewers":["analyst"]},"pages":[{"id":"one","title":"One","gadgets":[]}]}`

func TestDashboardsAreDeployedAndShownToTheirViewers(t *testing.T) {
	n := start(t, nil, nil)
	k := n.kernel
	ada := &commonv1.Principal{User: "ada", Tenant: -1234, Roles: []string{"everyone"}}
	analyst := &commonv1.Principal{User: "ben", Tenant: -1234, Roles: []string{"analyst", "everyone"}}
	k.MustDeploy("dashboards/power.json", definition)
	k.MustDeploy("dashboards/open.json", strings.NewReplacer(`"power"`, `"open"`, `["analyst"]`, `["Internal/everyone"]`).Replace(definition))

	ids := func(p *commonv1.Principal) []string {
		resp, got := n.call(p, "GET", "/portal/apis/dashboards", "")
		var list []struct{ ID string }
		if err := json.Unmarshal([]byte(got), &list); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, got)
		}
		out := []string{}
		for _, d := range list {
			out = append(out, d.ID)
		}
		return out
	}
	for _, tc := range []struct {
		who  *commonv1.Principal
		want []string
	}{{sdktest.Admin(), []string{"open", "power"}}, {analyst, []string{"open", "power"}}, {ada, []string{"open"}}} {
		if got := ids(tc.who); !slices.Equal(got, tc.want) {
			t.Errorf("%s sees %v, want %v", tc.who.User, got, tc.want)
		}
	}
	if resp, got := n.call(ada, "GET", "/portal/apis/dashboards/power", ""); resp.StatusCode != 403 || !strings.Contains(got, "CBN-PRT-013") {
		t.Errorf("not a viewer: %d %s", resp.StatusCode, got)
	}

	if state, why := k.Deploy("dashboards/copy.json", definition); state != controlv1.DeployResponse_STATE_FAULTY || why.Code != "CBN-PRT-011" {
		t.Errorf("the same id from another file: %v %v", state, why)
	}
	if state, why := k.Deploy("dashboards/power.json", "{\n \"id\": 1}"); state != controlv1.DeployResponse_STATE_FAULTY || why.Code != "CBN-PRT-010" || why.Line != 2 || !strings.HasSuffix(why.File, "dashboards/power.json") {
		t.Errorf("a faulty update: %v %v", state, why)
	}
	if resp, got := n.call(analyst, "GET", "/portal/apis/dashboards/power", ""); resp.StatusCode != 200 || !strings.Contains(got, `"title":"Power"`) {
		t.Errorf("the last good one: %d %s", resp.StatusCode, got)
	}
	k.MustDeploy("dashboards/power.json", strings.Replace(definition, `"Power"`, `"More power"`, 1))
	if _, got := n.call(analyst, "GET", "/portal/apis/dashboards/power", ""); !strings.Contains(got, `"title":"More power"`) {
		t.Errorf("updated: %s", got)
	}
	k.Undeploy("dashboards/power.json")
	if got := ids(sdktest.Admin()); !slices.Equal(got, []string{"open"}) {
		t.Errorf("after undeploy: %v", got)
	}
}

func TestWhatNobodyServesIsSaidInJSON(t *testing.T) {
	n := start(t, nil, nil)
	resp, got := n.call(sdktest.Admin(), "POST", "/engine/query", `{"sql":"SELECT 1"}`)
	if resp.StatusCode != 404 || !strings.Contains(got, "CBN-PRT-014") || !strings.Contains(got, "/engine/query") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
}

func TestRoutesAndPage(t *testing.T) {
	n := start(t, nil, nil)
	auth := map[string]string{}
	for _, props := range n.Published("carbonado.http.v1.HTTPRoutes") {
		auth[props["prefix"]] = props["auth"]
	}
	want := map[string]string{"/": "page", "/analytics": "", "/login": "none", "/assets": "none"}
	if len(auth) != len(want) {
		t.Errorf("routes %v", auth)
	}
	for prefix, how := range want {
		if got, ok := auth[prefix]; !ok || got != how {
			t.Errorf("route %s: auth %q, want %q", prefix, got, how)
		}
	}
	resp, got := n.call(nil, "GET", "/login", "")
	if resp.StatusCode != 200 || !strings.Contains(got, "<!doctype html>") || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "'nonce-") {
		t.Errorf("login: %d %v %s", resp.StatusCode, resp.Header, got)
	}
}
