package analyticsengine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/analyticsengine"
	"carbonado.dev/carbonado/components/analyticsengine/duck"
	"carbonado.dev/carbonado/components/analyticsengine/worker"
	"carbonado.dev/carbonado/components/dataservice"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) {
	if worker.Called() {
		worker.Main(duck.Open)
		return
	}
	goleak.VerifyTestMain(m)
}

const tenant = -1234

// world is the engine on the real store.
type world struct {
	t      *testing.T
	k      *sdktest.Kernel
	store  analyticsv1.RecordStoreClient
	data   *sdktest.Component
	comp   *sdktest.Component
	engine analyticsv1.EngineClient
}

func newWorld(t *testing.T, config map[string]any) *world { return newWorldIn(t, "", config) }

// newWorldIn keeps the store's data in a folder that outlives the world; empty: in one that doesn't.
func newWorldIn(t *testing.T, folder string, config map[string]any) *world {
	t.Helper()
	k := sdktest.NewKernel(t)
	if folder != "" {
		data := filepath.Join(k.Dir(), "repository", "data")
		if err := os.MkdirAll(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(folder, filepath.Join(data, "DataService")); err != nil {
			t.Fatal(err)
		}
	}
	d := k.Start(dataservice.Start, sdktest.WithDescriptor("../dataservice/component.yaml"))
	e := k.Start(analyticsengine.StartWith(os.Args[0]), sdktest.WithConfig(config))
	return &world{
		t: t, k: k, data: d, comp: e,
		store:  analyticsv1.NewRecordStoreClient(d.Conn(analyticsv1.RecordStore_ServiceDesc.ServiceName)),
		engine: analyticsv1.NewEngineClient(e.Conn(analyticsv1.Engine_ServiceDesc.ServiceName)),
	}
}

// answer is what a script gave: the last result as text, and counts.
type answer struct {
	result    string
	finished  int
	rows      []int64
	truncated bool
}

func (w *world) run(req *analyticsv1.ExecuteRequest) (answer, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return w.runCtx(ctx, req)
}

func (w *world) runCtx(ctx context.Context, req *analyticsv1.ExecuteRequest) (answer, error) {
	w.t.Helper()
	req.Tenant = tenant
	var a answer
	stream, err := w.engine.Execute(ctx, req)
	if err != nil {
		return a, cause.From(err)
	}
	var arrow bytes.Buffer
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return a, cause.From(err)
		}
		switch ev := resp.Event.(type) {
		case *analyticsv1.ExecuteResponse_ArrowIpc:
			arrow.Write(ev.ArrowIpc)
		case *analyticsv1.ExecuteResponse_Finished:
			a.finished++
			a.rows = append(a.rows, ev.Finished.Rows)
			a.truncated = ev.Finished.Truncated
			if arrow.Len() > 0 {
				a.result = arrowText(w.t, &arrow)
				arrow.Reset()
			}
		case *analyticsv1.ExecuteResponse_Failed:
			return a, cause.FromProto(ev.Failed, 0)
		}
	}
}

func arrowText(t *testing.T, r io.Reader) string {
	t.Helper()
	reader, err := ipc.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	var lines []string
	for reader.Next() {
		rec := reader.RecordBatch()
		for i := range int(rec.NumRows()) {
			var row []string
			for _, c := range rec.Columns() {
				row = append(row, c.ValueStr(i))
			}
			lines = append(lines, strings.Join(row, "|"))
		}
	}
	if reader.Err() != nil {
		t.Fatal(reader.Err())
	}
	return strings.Join(lines, "\n")
}

// must runs a script that has to succeed and returns its last result.
func (w *world) must(script string) string {
	w.t.Helper()
	a, err := w.run(&analyticsv1.ExecuteRequest{Script: script})
	if err != nil {
		w.t.Fatalf("%s\n%v", script, err)
	}
	return a.result
}

func (w *world) expect(query, want string) {
	w.t.Helper()
	if got := w.must(query); got != want {
		w.t.Errorf("%s\n gives %q\n want  %q", query, got, want)
	}
}

const cities = `CREATE TEMPORARY TABLE cities USING CarbonAnalytics OPTIONS (tableName "CITIES", schema "name STRING -i, state STRING, people INT, area FLOAT, rank DOUBLE, big BOOLEAN, _timestamp LONG");`

func TestCreateInsertSelect(t *testing.T) {
	w := newWorld(t, nil)
	w.must(cities + `INSERT INTO TABLE cities SELECT 'Seattle', 'WA', 700000, 217.5, 1.5, true, 1000 UNION ALL SELECT "Austin", 'TX', '900000', 827, 2, false, 2000`)
	w.must(cities + `INSERT INTO cities SELECT 'Boston', NULL, 600000.9, 125, NULL, NULL, 3000`)
	w.expect(cities+`SELECT * FROM CITIES ORDER BY name`,
		"Austin|TX|900000|827|2|false|2000\nBoston|(null)|600000|125|(null)|(null)|3000\nSeattle|WA|700000|217.5|1.5|true|1000")
	// Without CREATE, in any case of the name.
	w.expect("SELECT name, _timestamp FROM cities WHERE people > 650000 ORDER BY _timestamp", "Seattle|1000\nAustin|2000")
	w.expect("SELECT state, sum(people), count(*) FROM Cities GROUP BY state ORDER BY state", "(null)|600000|1\nTX|900000|1\nWA|700000|1")
	info, err := w.store.GetTable(t.Context(), &analyticsv1.GetTableRequest{Tenant: tenant, Table: "cities"})
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Table; s.Store != "PROCESSED_DATA_STORE" || len(s.Schema.Columns) != 6 || !s.Schema.Columns[0].Indexed || s.Schema.Columns[3].Type != analyticsv1.ColumnType_COLUMN_TYPE_FLOAT {
		t.Errorf("stored as %+v", s)
	}
	// OVERWRITE replaces all rows, also by none.
	w.must(cities + `INSERT OVERWRITE TABLE cities SELECT name, state, people + 1, area, rank, big, _timestamp FROM cities WHERE state = 'WA'`)
	w.expect("SELECT name, people FROM cities", "Seattle|700001")
	w.must(cities + `INSERT OVERWRITE TABLE cities SELECT * FROM cities WHERE name = 'nobody'`)
	w.expect("SELECT count(*) FROM cities", "0")
	// CREATE … AS SELECT makes the schema of the SELECT.
	w.must(`CREATE TEMPORARY TABLE made USING CarbonAnalytics OPTIONS (tableName "MADE") AS SELECT 'x' AS a, 1 AS b, 2.5D AS c, true AS d`)
	w.expect("SELECT a, b, c, d FROM made", "x|1|2.5|true")
	// What a script has written it reads itself, and another script later reads the view of one moment.
	w.expect(cities+`INSERT INTO cities SELECT 'A', 'B', 1, 1, 1, true, 5; SELECT count(*) FROM cities`, "1")
}

func TestPrimaryKeys(t *testing.T) {
	w := newWorld(t, nil)
	const counts = `CREATE TEMPORARY TABLE counts USING CarbonAnalytics OPTIONS (tableName "COUNTS", schema "city STRING, hour INT, n LONG", primaryKeys "city, hour");`
	w.must(counts + `INSERT INTO counts SELECT 'a', 1, 10 UNION ALL SELECT 'a', 2, 20 UNION ALL SELECT 'b', 1, 30`)
	w.must(counts + `INSERT INTO counts SELECT 'a', 2, 21 UNION ALL SELECT 'b', 2, 40`)
	w.expect("SELECT city, hour, n FROM counts ORDER BY city, hour", "a|1|10\na|2|21\nb|1|30\nb|2|40")
	w.expect("SELECT sum(n) FROM counts", "101")
	w.must(counts + `INSERT OVERWRITE TABLE counts SELECT city, 0, sum(n) FROM counts GROUP BY city`)
	w.expect("SELECT * FROM (SELECT city, hour, n FROM counts) x ORDER BY city", "a|0|31\nb|0|70")
}

func TestTheSameKeyWritesOnce(t *testing.T) {
	w := newWorld(t, nil)
	script := cities + `INSERT INTO cities SELECT 'Seattle', 'WA', 1, 1, 1, true, 1; INSERT INTO cities SELECT 'Austin', 'TX', 1, 1, 1, true, 1`
	for range 3 {
		if _, err := w.run(&analyticsv1.ExecuteRequest{Script: script, RunKey: "script:x/2026-11-25T10:00:00Z"}); err != nil {
			t.Fatal(err)
		}
	}
	w.expect("SELECT name FROM cities ORDER BY name", "Austin\nSeattle")
	if _, err := w.run(&analyticsv1.ExecuteRequest{Script: script, RunKey: "script:x/2026-11-25T10:00:15Z"}); err != nil {
		t.Fatal(err)
	}
	w.expect("SELECT count(*) FROM cities", "4")
}

func TestAFailedInsertLeavesNothing(t *testing.T) {
	w := newWorld(t, nil)
	for _, test := range []struct{ script, want string }{
		{`INSERT INTO cities SELECT 'x', 'y', 1`, "CBN-SQL-044 :1:"},
		{`INSERT INTO cities SELECT 'x', 'y', 3000000000L, 1, 1, true, 1`, "CBN-SQL-023"},
		{"INSERT INTO cities SELECT 'x',\n nope, 1, 1, 1, true, 1", "CBN-SQL-021 :2:2: Referenced column"},
		{`INSERT INTO cities SELECT name, state, people, area, rank, big, 1 FROM nothere`, "CBN-SQL-022 :1:"},
		{`INSERT INTO nothere SELECT 1`, "CBN-SQL-022 :1:"},
	} {
		_, err := w.run(&analyticsv1.ExecuteRequest{Script: cities + test.script, RunKey: "k"})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s gives %v, want %s", test.script, err, test.want)
		}
	}
	// The key that failed is free again.
	if _, err := w.run(&analyticsv1.ExecuteRequest{Script: cities + `INSERT INTO cities SELECT 'x', 'y', 1, 1, 1, true, 1`, RunKey: "k"}); err != nil {
		t.Error(err)
	}
	w.expect("SELECT count(*) FROM cities", "1")
}

func TestErrors(t *testing.T) {
	w := newWorld(t, nil)
	w.must(cities)
	for _, test := range []struct {
		req  *analyticsv1.ExecuteRequest
		want string
	}{
		{&analyticsv1.ExecuteRequest{Script: "SELECT 1;\n\nSELECT * FROM nothere"}, "CBN-SQL-022 :3:15: there is no table nothere"},
		{&analyticsv1.ExecuteRequest{Script: "SELECT *\nFROM sqlite_master"}, "CBN-SQL-022 :2:6"},
		{&analyticsv1.ExecuteRequest{Script: "SELECT * FROM 'x.parquet'"}, "CBN-SQL-001 :1:15"},
		{&analyticsv1.ExecuteRequest{Script: "SELECT * FROM pg_settings"}, "CBN-SQL-022"},
		{&analyticsv1.ExecuteRequest{Script: "DROP TABLE cities"}, "CBN-SQL-002 :1:1"},
		{&analyticsv1.ExecuteRequest{Script: cities + "INSERT INTO cities SELECT 1", ReadOnly: true}, "CBN-SQL-041"},
		{&analyticsv1.ExecuteRequest{Script: `CREATE TEMPORARY TABLE x USING CarbonAnalytics OPTIONS (tableName "NEW_ONE", schema "a int")`, ReadOnly: true}, "CBN-SQL-022"},
		{&analyticsv1.ExecuteRequest{Script: `CREATE TEMPORARY TABLE x USING CarbonAnalytics OPTIONS (tableName "NEW_ONE", schema "a int", recordStore "NOWHERE")`}, "CBN-SQL-004 :1:"},
		{&analyticsv1.ExecuteRequest{Script: `CREATE TEMPORARY TABLE x USING CarbonAnalytics OPTIONS (tableName "BARE"); SELECT * FROM x`}, "CBN-SQL-043 :1:76: Unable to scan through the table as the schema is unavailable for BARE"},
		{&analyticsv1.ExecuteRequest{Script: "SELECT count(*) FROM " + strings.Repeat("cities a, ", 0) + bigJoin, TimeoutMs: 300}, "CBN-SQL-025"},
	} {
		_, err := w.run(test.req)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s gives %v, want %s", test.req.Script, err, test.want)
		}
	}
	stream, err := w.engine.Execute(t.Context(), &analyticsv1.ExecuteRequest{Tenant: 1, Script: "SELECT 1"})
	if err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(cause.From(err), analyticsengine.ErrTenant) {
		t.Errorf("tenant 1: %v", err)
	}
	w.expect("SELECT 42", "42")
}

// bigJoin has 10^13 rows.
var bigJoin = func() string {
	var parts []string
	for i := range 13 {
		parts = append(parts, fmt.Sprintf("(VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) t%d(x%d)", i, i))
	}
	return strings.Join(parts, ", ") + " WHERE x0 + x1 + x2 + x3 + x4 + x5 + x6 > x7 + x8 + x9 + x10 + x11 + x12"
}()

func TestCancelEndsTheStatement(t *testing.T) {
	w := newWorld(t, map[string]any{"statements": 1})
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := w.engine.Execute(ctx, &analyticsv1.ExecuteRequest{Tenant: tenant, Script: "SELECT count(*) FROM " + bigJoin})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	// There is one place for statements: this one runs only if the other has ended.
	w.expect("SELECT 1", "1")
}

func TestRowLimits(t *testing.T) {
	w := newWorld(t, map[string]any{"resultRows": 3, "maxResultRows": 5})
	const ten = "SELECT x FROM (VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) v(x) ORDER BY x"
	for _, test := range []struct {
		max, rows int64
		cut       bool
	}{{0, 3, true}, {4, 4, true}, {100, 5, true}} {
		a, err := w.run(&analyticsv1.ExecuteRequest{Script: ten, MaxRows: test.max})
		if err != nil || a.rows[0] != test.rows || a.truncated != test.cut || strings.Count(a.result, "\n") != int(test.rows-1) {
			t.Errorf("max %d gives %+v, %v", test.max, a, err)
		}
	}
}

func TestIncremental(t *testing.T) {
	w := newWorld(t, map[string]any{"timeZone": "UTC"})
	const in = `CREATE TEMPORARY TABLE ev USING CarbonAnalytics OPTIONS (tableName "EV", schema "n INT, _timestamp LONG");`
	const inc = `CREATE TEMPORARY TABLE inc USING CarbonAnalytics OPTIONS (tableName "EV", schema "n INT, _timestamp LONG", incrementalParams "ev_id, HOUR, 1");`
	const hour = 3_600_000
	at := func(h int) int { return 1_600_000*3_600_000/1000 + h*hour } // a full hour
	w.must(fmt.Sprintf("%s INSERT INTO ev SELECT 1, %d UNION ALL SELECT 2, %d", in, at(1)+5, at(2)+5))
	w.expect("INCREMENTAL_TABLE_SHOW ev_id", "ev_id|-9223372036854775808|-9223372036854775808")
	w.expect(inc+"SELECT sum(n) FROM inc", "3")
	w.expect("incremental_table_show ev_id", fmt.Sprintf("ev_id|%d|-9223372036854775808", at(2)+5))
	w.expect("INCREMENTAL_TABLE_COMMIT ev_id", fmt.Sprintf("ev_id|-9223372036854775808|%d", at(2)+5))
	w.must(fmt.Sprintf("%s INSERT INTO ev SELECT 10, %d UNION ALL SELECT 20, %d", in, at(2)+9, at(4)))
	// The hour of the last event and one before it are read again: all but nothing here; after the next commit hour 3 and later.
	w.expect(inc+"SELECT sum(n) FROM inc", "33")
	w.expect("INCREMENTAL_TABLE_COMMIT ev_id", fmt.Sprintf("ev_id|%d|%d", at(2)+5, at(4)))
	w.expect(inc+"SELECT sum(n) FROM inc", "20")
	w.must("INCREMENTAL_TABLE_RESET ev_id")
	w.expect(inc+"SELECT sum(n) FROM inc", "33")
}

func TestCheck(t *testing.T) {
	w := newWorld(t, nil)
	resp, err := w.engine.Check(t.Context(), &analyticsv1.CheckRequest{Script: "SELECT 1;\nDROP TABLE x;\nSELECT a FROM WHERE;\nSELECT getenv('x');\nSELECT a FROM t"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range resp.Causes {
		got = append(got, fmt.Sprintf("%s %d:%d", c.Code, c.Line, c.Column))
	}
	if want := "[CBN-SQL-002 2:1 CBN-SQL-003 4:8 CBN-SQL-001 3:15]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if resp, err = w.engine.Check(t.Context(), &analyticsv1.CheckRequest{Script: "SELECT a FROM t; SELECT 2"}); err != nil || len(resp.Causes) != 0 || resp.Statements != 2 {
		t.Errorf("a good script: %+v, %v", resp, err)
	}
}

func TestHTTP(t *testing.T) {
	w := newWorld(t, nil)
	w.must(cities + `INSERT INTO cities SELECT 'Seattle', 'WA', 700000, 217.5, 1.5, true, 1000`)
	post := func(p *commonv1.Principal, accept, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://node/engine/query", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := w.comp.HTTP(p).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(accept, "arrow") && resp.StatusCode == 200 {
			return resp.StatusCode, arrowText(t, bytes.NewReader(b))
		}
		return resp.StatusCode, string(b)
	}
	admin := sdktest.Admin()
	nobody := &commonv1.Principal{User: "n", Tenant: tenant, Permissions: []string{"/permission/admin/login"}}
	for _, test := range []struct {
		p            *commonv1.Principal
		accept, body string
		status       int
		want         string
	}{
		{admin, "", `{"sql": "SELECT name, people, area, big, _timestamp, NULL, array(1,2) FROM cities"}`, 200,
			`{"columns":[{"name":"name","type":"string"},{"name":"people","type":"int"},{"name":"area","type":"float"},{"name":"big","type":"boolean"},{"name":"_timestamp","type":"bigint"},{"name":"NULL","type":"int"},{"name":"array(1,2)","type":"array<int>"}],"rows":[["Seattle",700000,217.5,true,1000,null,[1,2]]],"truncated":false,`},
		{admin, "application/vnd.apache.arrow.stream", `{"sql": "SELECT name FROM cities"}`, 200, "Seattle"},
		{admin, "", `{"sql": "SELECT 1 UNION ALL SELECT 2", "maxRows": 1}`, 200, `"truncated":true`},
		{admin, "", `{"sql": "SELECT nope FROM cities"}`, 400, `"code":"CBN-SQL-021"`},
		{admin, "", `{"sql": "SELECT 1 FROM nowhere"}`, 404, `"line":1,"column":15`},
		{admin, "application/vnd.apache.arrow.stream", `{"sql": "SELECT 1 FROM nowhere"}`, 404, "CBN-SQL-022"},
		{admin, "", `{"sql": "SELECT 1", "colour": "red"}`, 400, "CBN-SQL-047"},
		{admin, "", `{"sql": "SELECT 1"} {}`, 400, "CBN-SQL-047"},
		{admin, "", `{"sql": " "}`, 400, "CBN-SQL-047"},
		{admin, "", `{"sql": "SET threads = 1"}`, 400, "CBN-SQL-002"},
		{admin, "", `{"sql": "SELECT count(*) FROM ` + bigJoin + `", "timeoutMs": 200}`, 504, "CBN-SQL-025"},
		{nobody, "", `{"sql": "SELECT 1"}`, 403, "CBN-SQL-046"},
		{nil, "", `{"sql": "SELECT 1"}`, 403, "CBN-SQL-046"},
	} {
		status, body := post(test.p, test.accept, test.body)
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s gives %d %s\n want %d %s", test.body, status, body, test.status, test.want)
		}
	}
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
