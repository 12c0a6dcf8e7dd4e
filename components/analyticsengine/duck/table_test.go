package duck

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

// segments makes three files: the first lacks column d, the second has two dead rows, the third is whole.
func segments(t *testing.T) []File {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a.parquet"), filepath.Join(dir, "b.parquet"), filepath.Join(dir, "it's c.parquet")
	parquet(t, a, "SELECT i AS _seq, i * 10 AS _timestamp, CAST(i % 3 AS INTEGER) AS k, 'a' || i AS s, CAST(NULL AS VARCHAR) AS _arbitrary FROM range(1, 11) r(i)")
	parquet(t, b, "SELECT i AS _seq, i * 10 AS _timestamp, CAST(i % 3 AS INTEGER) AS k, 'b' || i AS s, CAST(i AS DOUBLE) / 2 AS d FROM range(11, 21) r(i)")
	parquet(t, c, "SELECT i AS _seq, i * 10 AS _timestamp, 'c' || i AS s, CAST(i AS DOUBLE) / 2 AS d FROM range(21, 31) r(i)")
	return []File{{Path: a}, {Path: b, Dead: []uint64{12, 20}}, {Path: c}}
}

// run queries tables as the engine does.
func run(t *testing.T, script string, tables ...Table) (*collect, error) {
	t.Helper()
	ctx := context.Background()
	sts, err := sparksql.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	q, err := sts[0].Query.Rewrite()
	if err != nil {
		t.Fatal(err)
	}
	d := opened(t, testLimits)
	uses, err := d.Check(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if q, err = d.Qualify(ctx, q, uses); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, tab := range tables {
		for _, f := range tab.Files {
			files = append(files, f.Path)
		}
	}
	if err := d.Lock(ctx, files, q.Uses); err != nil {
		t.Fatal(err)
	}
	for _, tab := range tables {
		if err := d.AddTable(ctx, tab); err != nil {
			return nil, err
		}
	}
	var c collect
	_, err = d.Query(ctx, q, 1000, &c)
	return &c, err
}

func TestTable(t *testing.T) {
	files := segments(t)
	cols := []Column{{Name: "k", Type: "INTEGER"}, {Name: "d", Type: "DOUBLE"}, {Name: "s", Type: "VARCHAR"}, {Name: "later", Type: "BOOLEAN"},
		{Name: "_timestamp", Type: "BIGINT"}, {Name: "_tenantId", Type: "INTEGER", Constant: "-1234"}}
	tab := Table{Name: "events", Columns: cols, Files: files}
	from, to := int64(100), int64(130)
	window := Table{Name: "Win", Columns: cols[:3], Files: files, From: &from, To: &to}
	empty := Table{Name: "empty", Columns: cols}
	for _, test := range []struct{ query, want string }{
		{"SELECT count(*), sum(d), count(k), count(later), min(_timestamp), max(_timestamp), min(_tenantId) FROM EVENTS", "28|189|18|0|10|300|-1234"},
		{"SELECT * FROM events WHERE s = 'b11'", "2|5.5|b11|NULL|110|-1234"},
		{"SELECT count(*) FROM events WHERE s IN ('b12', 'b20', 'b13')", "1"},
		{"SELECT s FROM win ORDER BY s", "a10\nb11"},
		{"SELECT e.k, count(*) n FROM events e JOIN events f ON e.s = f.s GROUP BY e.k ORDER BY e.k", "NULL|10\n0|5\n1|7\n2|6"},
		{"SELECT count(*) FROM empty", "0"},
		{"SELECT count(*) FROM events, empty", "0"},
	} {
		got, err := run(t, test.query, tab, window, empty)
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
		} else if got.String() != test.want {
			t.Errorf("%s gives %q, want %q", test.query, got.String(), test.want)
		}
	}
	if _, err := run(t, "SELECT _seq FROM events", tab); !errors.Is(err, ErrBind) {
		t.Errorf("_seq is seen: %v", err)
	}
}

// copyOut runs a SELECT into a file and reads the file.
func copyOut(t *testing.T, script string, w Write) (int64, string, error) {
	t.Helper()
	ctx := context.Background()
	w.Path = filepath.Join(t.TempDir(), "staged.parquet")
	sts, err := sparksql.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	q, err := sts[0].Query.Rewrite()
	if err != nil {
		t.Fatal(err)
	}
	d := opened(t, testLimits)
	uses := append([]string{}, q.Uses...)
	for _, c := range w.Columns {
		uses = append(uses, sparksql.WithCalled(c.Macro)...)
	}
	if err := d.Lock(ctx, []string{w.Path}, uses); err != nil {
		t.Fatal(err)
	}
	rows, err := d.Copy(ctx, q, w)
	if err != nil {
		return 0, "", err
	}
	var c collect
	_, err = d.Query(ctx, raw("SELECT * FROM read_parquet("+quote(w.Path)+")"), 100, &c)
	if err != nil {
		t.Fatal(err)
	}
	var head []string
	for _, col := range c.cols {
		head = append(head, col.Name+" "+col.Type)
	}
	return rows, strings.Join(head, ",") + "\n" + c.String(), nil
}

func TestCopy(t *testing.T) {
	cols := []WriteColumn{{Name: "a", Macro: "spark_int", Type: "INTEGER"}, {Name: "b", Macro: "spark_string", Type: "VARCHAR"}, {Name: "c", Macro: "spark_float", Type: "FLOAT"}}
	w := Write{FirstSeq: 100, MaxRows: 10, Columns: cols, Now: 5}
	rows, got, err := copyOut(t, "SELECT x, x, x FROM (VALUES (3.7D), (NULL), (-2.5D)) v(x) ORDER BY x", w)
	if err != nil {
		t.Fatal(err)
	}
	want := "_seq BIGINT,_timestamp BIGINT,a INTEGER,b VARCHAR,c FLOAT,_arbitrary VARCHAR\n100|5|NULL|NULL|NULL|NULL\n101|5|-2|-2.5|-2.5|NULL\n102|5|3|3.7|3.7|NULL"
	if rows != 3 || got != want {
		t.Errorf("%d rows\ngot  %s\nwant %s", rows, got, want)
	}
	w.Columns = []WriteColumn{cols[0], {Name: "_timestamp", Macro: "spark_bigint", Type: "BIGINT", Role: RoleTimestamp}, {Name: "_tenantId", Macro: "spark_int", Type: "INTEGER", Role: RoleTenant}}
	_, got, err = copyOut(t, "SELECT 1, 77, -1234 UNION ALL SELECT 2, NULL, NULL", w)
	if want := "_seq BIGINT,_timestamp BIGINT,a INTEGER,_arbitrary VARCHAR\n100|77|1|NULL\n101|5|2|NULL"; err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	if _, _, err = copyOut(t, "SELECT 1, 77, 3", w); !errors.Is(err, ErrRun) || !strings.Contains(err.Error(), "another tenant") {
		t.Errorf("another tenant: %v", err)
	}
	w.MaxRows = 1
	if _, _, err = copyOut(t, "SELECT 1, 77, NULL UNION ALL SELECT 2, 78, NULL", w); !errors.Is(err, ErrMemory) {
		t.Errorf("too many rows: %v", err)
	}
	w.Columns = cols[:1]
	if _, _, err = copyOut(t, "SELECT 3000000000L", w); !errors.Is(err, ErrRun) {
		t.Errorf("out of range: %v", err)
	}
	if _, _, err = copyOut(t, "SELECT\n nope", w); err == nil || !strings.Contains(err.Error(), ":2:2:") {
		t.Errorf("unknown column: %v", err)
	}
}

// TestCopyNumbersRowsInOrder: what several threads make is numbered without a gap, in the order of the file.
func TestCopyNumbersRowsInOrder(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.parquet"), filepath.Join(dir, "out.parquet")
	parquet(t, in, "SELECT i AS _seq, i AS _timestamp, CAST(i AS INTEGER) AS a FROM range(600000) r(i)")
	d := opened(t, testLimits)
	lock(t, d, in, out)
	if err := d.AddTable(ctx, Table{Name: "t", Columns: []Column{{Name: "a", Type: "INTEGER"}}, Files: []File{{Path: in}}}); err != nil {
		t.Fatal(err)
	}
	rows, err := d.Copy(ctx, raw("SELECT a FROM das.t WHERE a % 3 <> 0"), Write{Path: out, FirstSeq: 1000, MaxRows: 1 << 20, Columns: []WriteColumn{{Name: "a", Type: "INTEGER"}}})
	if err != nil || rows != 400000 {
		t.Fatalf("%d rows, %v", rows, err)
	}
	var c collect
	_, err = d.Query(ctx, raw("SELECT count(*), min(_seq), max(_seq), sum(CASE WHEN _seq = 1000 + file_row_number THEN 0 ELSE 1 END) FROM read_parquet("+quote(out)+", file_row_number = true)"), 1, &c)
	if err != nil || c.String() != "400000|1000|400999|0" {
		t.Errorf("%s, %v", c.String(), err)
	}
}
