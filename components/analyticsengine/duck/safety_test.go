package duck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func opened(t *testing.T, limits Limits) *Database {
	t.Helper()
	d, err := open(context.Background(), limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func lock(t *testing.T, d *Database, files ...string) {
	t.Helper()
	if err := d.Lock(context.Background(), files, nil); err != nil {
		t.Fatal(err)
	}
}

// raw is text of DuckDB as no rewriting of ours would make it: the allow-list must hold by itself.
func raw(text string) *sparksql.Rewritten { return &sparksql.Rewritten{SQL: text} }

func TestAllowList(t *testing.T) {
	d := opened(t, testLimits)
	for _, text := range []string{
		"COPY t TO 'x'", "COPY (SELECT 1) TO '/tmp/x'", "ATTACH 'x' AS y", "SET threads = 9", "RESET threads", "PRAGMA version", "INSTALL httpfs",
		"LOAD httpfs", "EXPORT DATABASE 'x'", "IMPORT DATABASE 'x'", "CREATE TABLE x (a INT)", "CREATE MACRO m() AS 1", "DROP VIEW das.t",
		"INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "CALL pragma_version()", "CHECKPOINT", "VACUUM", "BEGIN", "EXPLAIN SELECT 1",
		"DESCRIBE t", "SHOW TABLES", "SUMMARIZE t", "PIVOT t ON a USING sum(b)", "SELECT 1; SELECT 2",
		"SELECT * FROM read_parquet('x')", "SELECT * FROM 'x.parquet' t, read_csv('y')", "SELECT * FROM glob('*')", "SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM duckdb_settings()", "SELECT * FROM pragma_database_list()", "SELECT * FROM range(10)",
		"SELECT * FROM generate_series(1, 1000000000000)", "SELECT unnest([1, 2])", "SELECT * FROM unnest([1, 2])", "SELECT * FROM query('SELECT 1')",
		"SELECT * FROM query_table('t')", "SELECT * FROM parquet_metadata('x')", "SELECT * FROM sniff_csv('x')", "SELECT * FROM (SHOW TABLES)",
		"SELECT * FROM (DESCRIBE t)", "SELECT * FROM (FROM read_csv('x'))", "SELECT * FROM (PIVOT t ON a USING sum(b))",
		"SELECT getenv('HOME')", "SELECT current_setting('threads')", "SELECT getvariable('x')", "SELECT version()", "SELECT current_database()",
		"SELECT list_transform([1], x -> x)", "SELECT json_serialize_sql('SELECT 1')", "SELECT json_execute_serialized_sql('x')", "SELECT write_log('x')",
		"SELECT generate_series(1, 1000000000000)", "SELECT range(1000000000000)", "SELECT repeat('x', 3) FROM main.t", "SELECT * FROM memory.das.t",
		"SELECT * FROM information_schema.tables", "SELECT * FROM pg_catalog.pg_class", "SELECT * FROM main.sqlite_master", "SELECT * FROM t TABLESAMPLE 10%",
		"SELECT * FROM t AT (VERSION => 1)", "SELECT * FROM t ASOF JOIN u ON t.a >= u.a", "SELECT * FROM t POSITIONAL JOIN u",
		"SELECT DISTINCT ON (a) b FROM t", "SELECT a FROM t QUALIFY row_number() OVER () = 1", "SELECT a FROM t USING SAMPLE 5", "SELECT COLUMNS(*) FROM t",
		"SELECT * EXCLUDE (a) FROM t", "SELECT * REPLACE (1 AS a) FROM t", "SELECT #1 FROM t", "SELECT ? FROM t", "SELECT $x FROM t", "SELECT a[1] FROM t",
		"SELECT {'a': 1}", "SELECT a COLLATE nocase FROM t", "SELECT CAST(a AS JSON) FROM t", "SELECT a::UUID FROM t", "SELECT a.b.c.d FROM t",
		"SELECT a FROM t LIMIT 10%", "WITH RECURSIVE r AS (SELECT 1 a UNION ALL SELECT a + 1 FROM r) SELECT * FROM r",
		"SELECT a FROM t UNION BY NAME SELECT getenv('x')", "SELECT (SELECT getenv('x'))", "SELECT a FROM t ORDER BY getenv('x')",
		"SELECT a FROM t WHERE EXISTS (SELECT * FROM read_csv('x'))", "SELECT sum(a) FILTER (WHERE getenv('x') = '') FROM t",
		"SELECT sum(a) OVER (PARTITION BY getenv('x')) FROM t", "SELECT CASE WHEN getenv('x') = '' THEN 1 END", "VALUES (getenv('x'))",
		"WITH q AS (SELECT * FROM read_csv('x')) SELECT 1", "SELECT a FROM t GROUP BY getenv('x')", "SELECT a IN (SELECT getenv('x')) FROM t",
		"SELECT list(a ORDER BY getenv('x')) FROM t", "SELECT a FROM t LIMIT (SELECT getenv('x'))", "SELECT * FROM t JOIN u ON getenv('x') = ''",
		"SELECT a BETWEEN getenv('x') AND '' FROM t", "SELECT lag(a, 1, getenv('x')) OVER (ORDER BY a) FROM t", "SELECT pg_sleep(10)", "SELECT sleep_ms(1000)",
		"SELECT nextval('s')", "SELECT * FROM (VALUES (getenv('x'))) v(a)", "SELECT a::getenv FROM t", "SELECT TRY(getenv('x'))",
	} {
		_, err := d.Check(context.Background(), raw(text))
		if err == nil {
			t.Errorf("%s was let through", text)
		} else if !errors.Is(err, ErrForbidden) && !errors.Is(err, sparksql.ErrSyntax) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTablesAndCommonTableExpressions(t *testing.T) {
	d := opened(t, testLimits)
	q := raw("WITH a AS (SELECT * FROM a), b AS (SELECT * FROM a JOIN c USING (x)) SELECT * FROM a, b, (WITH c AS (SELECT 1) SELECT * FROM c) s, c WHERE EXISTS (SELECT 1 FROM a, D)")
	uses, err := d.Check(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if q, err = d.Qualify(context.Background(), q, uses); err != nil {
		t.Fatal(err)
	}
	want := "WITH a AS (SELECT * FROM das.a), b AS (SELECT * FROM a JOIN das.c USING (x)) SELECT * FROM a, b, (WITH c AS (SELECT 1) SELECT * FROM c) s, das.c WHERE EXISTS (SELECT 1 FROM a, das.D)"
	if q.SQL != want {
		t.Errorf("got  %s\nwant %s", q.SQL, want)
	}
	// A name that is not in the list must not pass the second look.
	if _, err := d.walk(context.Background(), raw("SELECT * FROM das.t, sqlite_master"), map[string]bool{"t": true}); !errors.Is(err, ErrForbidden) {
		t.Errorf("sqlite_master: %v", err)
	}
}

// TestLockedDatabase is the second wall: what the allow-list would let slip finds a database that opens nothing but its files.
func TestLockedDatabase(t *testing.T) {
	dir := t.TempDir()
	segment, staged, other := filepath.Join(dir, "segment.parquet"), filepath.Join(dir, "staged.parquet"), filepath.Join(dir, "other.parquet")
	parquet(t, segment, "SELECT 1 AS _seq")
	before, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	d := opened(t, testLimits)
	lock(t, d, segment, staged)
	ctx := context.Background()
	if err := d.exec(ctx, "SELECT * FROM read_parquet("+quote(segment)+")"); err != nil {
		t.Errorf("the file named can't be read: %v", err)
	}
	for _, text := range []string{
		"SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_csv('/etc/passwd')", "COPY (SELECT 1) TO " + quote(other), "SELECT * FROM glob('/etc/*')",
		"COPY (SELECT 1 a) TO " + quote(segment), "ATTACH " + quote(filepath.Join(dir, "x.duckdb")), "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
		"SET lock_configuration = false", "SET allowed_paths = ['/etc/passwd']", "SET memory_limit = '100GB'", "RESET memory_limit", "SET temp_directory = '/tmp'",
		"EXPORT DATABASE " + quote(filepath.Join(dir, "export")), "SELECT * FROM read_csv('http://localhost/x')", "CREATE SECRET s (TYPE S3)",
	} {
		err := d.exec(ctx, text)
		// A glob of forbidden places may be empty instead of refused.
		if err == nil && !strings.Contains(text, "glob") {
			t.Errorf("%s ran", text)
		}
	}
	after, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the segment was written")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("files were made: %v", entries)
	}
}

// parquet writes a file by an open database.
func parquet(t *testing.T, path, query string) {
	t.Helper()
	d := opened(t, testLimits)
	if err := d.exec(context.Background(), "COPY ("+query+") TO "+quote(path)+" (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
}

const (
	recursive  = "WITH RECURSIVE r AS (SELECT 1 a UNION ALL SELECT a + 1 FROM r) SELECT count(*) FROM r"
	series     = "SELECT count(*) FROM generate_series(1, 1000000000000) g(i) WHERE i % 7 = 3"
	seriesList = "SELECT max(i) FROM range(100000000000) r(i)"
)

func bigJoin() string {
	const ten = "(VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10))"
	var parts []string
	for i := 0; i < 13; i++ {
		parts = append(parts, fmt.Sprintf("%s t%d(x%d)", ten, i, i))
	}
	return "SELECT count(*) FROM " + strings.Join(parts, ", ") + " WHERE x0 + x1 + x2 + x3 + x4 + x5 + x6 > x7 + x8 + x9 + x10 + x11 + x12"
}

func TestCancelInterrupts(t *testing.T) {
	for name, text := range map[string]string{"cross join": bigJoin(), "recursive": recursive, "series": series, "range": seriesList} {
		t.Run(name, func(t *testing.T) {
			d := opened(t, testLimits)
			lock(t, d)
			// The deadline is the only clock here: a cancelled call must come back long before the watchdog.
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			watchdog := time.AfterFunc(20*time.Second, func() { panic("the statement was not interrupted") })
			defer watchdog.Stop()
			_, err := d.Query(ctx, raw(text), 10, &collect{})
			if !errors.Is(err, ErrTime) {
				t.Errorf("the time limit gives %v", err)
			}
			ctx, stop := context.WithCancel(context.Background())
			time.AfterFunc(200*time.Millisecond, stop)
			_, err = d.Query(ctx, raw(text), 10, &collect{})
			if !errors.Is(err, ErrCancelled) {
				t.Errorf("cancel gives %v", err)
			}
			// The database is fit for use afterwards.
			var c collect
			if _, err := d.Query(context.Background(), raw("SELECT 42"), 10, &c); err != nil || c.String() != "42" {
				t.Errorf("after cancel: %q, %v", c.String(), err)
			}
		})
	}
}

func TestMemoryLimit(t *testing.T) {
	limits := Limits{Memory: 32 << 20, Threads: 1}
	for _, spill := range []bool{false, true} {
		if spill {
			limits.Spill, limits.SpillMax = t.TempDir(), 16<<20
		}
		d := opened(t, limits)
		lock(t, d)
		_, err := d.Query(context.Background(), raw("SELECT * FROM (SELECT i, md5(CAST(i AS VARCHAR)) m FROM range(10000000) r(i)) ORDER BY m"), 1<<40, &collect{})
		if !errors.Is(err, ErrMemory) {
			t.Errorf("spill %v: %v", spill, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if spill {
			if entries, _ := os.ReadDir(limits.Spill); len(entries) != 0 {
				t.Errorf("spilled files are left: %v", entries)
			}
		}
	}
}

func TestRowLimit(t *testing.T) {
	d := opened(t, testLimits)
	lock(t, d)
	for _, test := range []struct {
		limit, rows int64
		truncated   bool
	}{{5, 5, true}, {10, 10, false}, {11, 10, false}, {0, 0, true}} {
		res, err := d.Query(context.Background(), raw("SELECT * FROM range(10) r(i) ORDER BY i DESC"), test.limit, &collect{})
		if err != nil || res.Rows != test.rows || res.Truncated != test.truncated {
			t.Errorf("limit %d gives %+v, %v", test.limit, res, err)
		}
	}
}

func TestErrorsPointIntoTheScript(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"SELECT a,\n  nope\nFROM (SELECT 1 a) x", "CBN-SQL-021 :2:3: Referenced column \"nope\" not found in FROM clause! Candidate bindings: \"a\""},
		{"SELECT 1\nFROM (SELECT 1 a) x WHERE a LIKE", "CBN-SQL-003 :2:29: the pattern of LIKE must be one operand"},
		{"SELECT a\nFROM (SELECT 1 a) x\nGROUP BY WHERE", "CBN-SQL-001 :3:10: syntax error at or near \"WHERE\""},
		{"SELECT sum('x')", "CBN-SQL-02"},
		{"SELECT *\nFROM 'file.parquet'", ""},
	} {
		_, err := query(t, nil, test.script)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q gives %v, want %s", test.script, err, test.want)
		}
	}
}
