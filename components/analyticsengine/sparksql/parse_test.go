package sparksql

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestSplitKeepsSemicolonsOfStringsAndComments(t *testing.T) {
	script := "-- first; not a statement\nSELECT ';' AS a,\r\n\t\"b;\" /* ; /* ; */ ; */ ;;\n\n select `c;` from t -- end"
	sts, err := Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range sts {
		got = append(got, fmt.Sprintf("%s %d:%d %s", st.Kind, st.Pos.Line, st.Pos.Column, strings.ReplaceAll(st.SQL, "\r\n\t", "⏎")))
	}
	want := []string{"select 2:1 SELECT ';' AS a,⏎\"b;\"", "select 5:2 select `c;` from t"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLineBreaksAreBlanks is DAS's defect turned round: it deleted line breaks, so that these words ran together.
func TestLineBreaksAreBlanks(t *testing.T) {
	q := rewrite(t, "SELECT a\nFROM t")
	if q.SQL != `SELECT "a" FROM "t"` {
		t.Errorf("got %s", q.SQL)
	}
}

func rewrite(t *testing.T, script string) *Rewritten {
	t.Helper()
	sts, err := Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	q, err := sts[0].Query.Rewrite()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestRewrite(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"select metro_area, avg(power_reading) avg_usage from smartHomeData group by metro_area",
			`SELECT "metro_area" , avg( "power_reading" ) "avg_usage" FROM "smartHomeData" GROUP BY "metro_area"`},
		{"SELECT nvl(`a b`, \"x\") FROM t", `SELECT coalesce( "a b" , 'x' ) AS "nvl(` + "`a b`" + `, ""x"")" FROM "t"`},
		{"SELECT t.user, t.* FROM t LIMIT 5", `SELECT "t" . "user" , "t" . * FROM "t" LIMIT 5`},
		{"SELECT max(x)-min(x) r FROM t WHERE p AND m=\"Seattle\"",
			`SELECT max( "x" ) - min( "x" ) "r" FROM "t" WHERE "p" AND "m" = 'Seattle'`},
		{"SELECT CAST(a AS int) b FROM t", `SELECT spark_int( "a" ) "b" FROM "t"`},
		{"SELECT a FROM t x LEFT OUTER JOIN u y ON x.i == y.i", `SELECT "a" FROM "t" "x" LEFT OUTER JOIN "u" "y" ON "x" . "i" = "y" . "i"`},
		{"WITH a(x) AS (SELECT 1) SELECT * FROM a", `WITH "a" ( "x" ) AS ( SELECT 1 AS "1" ) SELECT * FROM "a"`},
		{"SELECT 'o''brien', \"say \"\"hi\"\"\"", `SELECT 'o''brien' AS "'o''brien'" , 'say "hi"' AS """say """"hi"""""""`},
		{"SELECT a FROM t ORDER BY b DESC NULLS FIRST", `SELECT "a" FROM "t" ORDER BY "b" DESC NULLS FIRST`},
		{"SELECT pragma, install, load FROM attach", `SELECT "pragma" , "install" , "load" FROM "attach"`},
	} {
		if got := rewrite(t, test.in).SQL; got != test.want {
			t.Errorf("%s\n gives %s\n  want %s", test.in, got, test.want)
		}
	}
}

func TestPositionsSurvive(t *testing.T) {
	script := "SELECT a,\n  bad_column\nFROM t"
	q := rewrite(t, script)
	q = q.With([]Insertion{{Offset: strings.Index(q.SQL, `"t"`), Text: "das."}})
	for name, want := range map[string]string{`"a"`: "1:8", `"bad_column"`: "2:3", "FROM": "3:1", `das."t"`: "3:6"} {
		p := q.At(strings.Index(q.SQL, name))
		if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != want {
			t.Errorf("%s is at %s, want %s (in %s)", name, got, want, q.SQL)
		}
	}
}

func check(script string) error {
	sts, err := Parse(script)
	if err != nil {
		return err
	}
	for _, st := range sts {
		if st.Query != nil {
			if _, err := st.Query.Rewrite(); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestRefusals is the list of what is refused, and how it is said.
func TestRefusals(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{"", "CBN-SQL-006 :1:1: no statement in the script"},
		{" ; -- nothing\n;", "CBN-SQL-006 :1:1: no statement in the script"},
		{"DROP TABLE x", "CBN-SQL-002 :1:1: DROP is refused: this engine runs CREATE TEMPORARY TABLE, INSERT INTO, INSERT OVERWRITE TABLE, SELECT and INCREMENTAL_TABLE_…"},
		{"COPY t TO 'x'", "CBN-SQL-002 :1:1: COPY is refused"},
		{"ATTACH 'x'", "CBN-SQL-002 :1:1: ATTACH is refused"},
		{"SET memory_limit = '1TB'", "CBN-SQL-002 :1:1: SET is refused"},
		{"PRAGMA database_list", "CBN-SQL-002 :1:1: PRAGMA is refused"},
		{"INSTALL httpfs", "CBN-SQL-002 :1:1: INSTALL is refused"},
		{"LOAD httpfs", "CBN-SQL-002 :1:1: LOAD is refused"},
		{"EXPORT DATABASE 'x'", "CBN-SQL-002 :1:1: EXPORT is refused"},
		{"CALL pragma_version()", "CBN-SQL-002 :1:1: CALL is refused"},
		{"FROM t", "CBN-SQL-002 :1:1: FROM is refused"},
		{"CREATE TABLE x (a int)", "CBN-SQL-002 :1:8: CREATE TABLE is refused: only CREATE TEMPORARY TABLE … USING CarbonAnalytics is run"},
		{"CREATE TEMPORARY VIEW x AS SELECT 1", "CBN-SQL-002 :1:18: CREATE TEMPORARY VIEW is refused"},
		{"CREATE TEMPORARY TABLE IF NOT EXISTS x USING CarbonAnalytics OPTIONS (tableName 'x')", "CBN-SQL-003 :1:24: IF NOT EXISTS is refused"},
		{"CREATE TEMPORARY TABLE x USING CarbonJDBC OPTIONS (tableName 'x')", "CBN-SQL-003 :1:32: the provider CarbonJDBC is refused"},
		{"CREATE TEMPORARY TABLE x(a int) USING CarbonAnalytics OPTIONS (tableName 'x')", "CBN-SQL-003 :1:25: columns before USING are refused"},
		{"INSERT INTO t (a, b) SELECT 1, 2", "CBN-SQL-003 :1:15: a list of columns is refused: INSERT is positional"},
		{"INSERT OVERWRITE t SELECT 1", "CBN-SQL-001 :1:18: TABLE expected after INSERT OVERWRITE, found \"t\""},
		{"INSERT INTO TABLE t PARTITION (a=1) SELECT 1", "CBN-SQL-003 :1:21: PARTITION is refused"},
		{"INSERT INTO TABLE db.t SELECT 1", "CBN-SQL-003 :1:19: the name db.… is refused"},
		{"INCREMENTAL_TABLE_DROP x", "CBN-SQL-002 :1:1: INCREMENTAL_TABLE_DROP is unknown"},
		{"SELECT 'abc", "CBN-SQL-001 :1:8: the string that starts here has no end"},
		{"SELECT \"abc\nfoo", "CBN-SQL-001 :1:8: the string that starts here has no end"},
		{"SELECT 1 /* open", "CBN-SQL-001 :1:10: the comment that starts here has no end"},
		{"SELECT `a", "CBN-SQL-001 :1:8: the name that starts here has no closing backtick"},
		{"SELECT (1", "CBN-SQL-001 :1:8: this parenthesis is never closed"},
		{"SELECT 1)", "CBN-SQL-001 :1:9: this parenthesis closes nothing"},
		{"SELECT 1 FROM t LATERAL VIEW explode(x) e AS y", "CBN-SQL-003 :1:17: LATERAL VIEW is refused"},
		{"SELECT explode(a) FROM t", "CBN-SQL-003 :1:8: the function explode is refused"},
		{"SELECT a FROM t SORT BY a", "CBN-SQL-003 :1:17: SORT BY is refused"},
		{"SELECT a FROM t DISTRIBUTE BY a", "CBN-SQL-003 :1:17: DISTRIBUTE BY is refused"},
		{"SELECT a FROM t CLUSTER BY a", "CBN-SQL-003 :1:17: CLUSTER BY is refused"},
		{"SELECT a FROM t TABLESAMPLE (10 PERCENT)", "CBN-SQL-003 :1:17: TABLESAMPLE is refused"},
		{"SELECT a[0] FROM t", "CBN-SQL-003 :1:9: access by [ ] is refused"},
		{"SELECT 2 ^ 3", "CBN-SQL-003 :1:10: the operator ^ is refused"},
		{"SELECT ${x}", "CBN-SQL-003 :1:8: \"$\" is refused"},
		{"SELECT ?", "CBN-SQL-003 :1:8: \"?\" is refused"},
		{"SELECT a && b FROM t", "CBN-SQL-003 :1:10: the operator && is refused"},
		{"SELECT transform(a, x -> x + 1) FROM t", "CBN-SQL-003 :1:8: the function transform is not known to this engine"},
		{"SELECT approx_count_distinct(a) FROM t", "CBN-SQL-003 :1:8: the function approx_count_distinct is refused"},
		{"SELECT * FROM read_parquet('x')", "CBN-SQL-003 :1:15: the function read_parquet is refused: statements read tables, not files"},
		{"SELECT * FROM `read_csv`('x')", "CBN-SQL-003 :1:15: the function read_csv is refused"},
		{"SELECT getenv('HOME')", "CBN-SQL-003 :1:8: the function getenv is refused"},
		{"SELECT * FROM duckdb_settings()", "CBN-SQL-003 :1:15: the function duckdb_settings is refused"},
		{"SELECT * FROM generate_series(1, 1000000000000)", "CBN-SQL-003 :1:15: the function generate_series is refused"},
		{"SELECT * FROM t, range(10)", "CBN-SQL-003 :1:18: the function range is refused"},
		{"WITH RECURSIVE t AS (SELECT 1) SELECT * FROM t", "CBN-SQL-003 :1:1: WITH RECURSIVE is refused"},
		{"SELECT DISTINCT ON (a) b FROM t", "CBN-SQL-003 :1:8: DISTINCT ON is refused"},
		{"SELECT count(DISTINCT a, b) FROM t", "CBN-SQL-003 :1:8: count(DISTINCT …) is refused"},
		{"SELECT nvl(1) FROM t", "CBN-SQL-003 :1:8: nvl takes 2 arguments, not 1"},
		{"SELECT row_number() FROM t", "CBN-SQL-001 :1:8: the function row_number needs OVER (…)"},
		{"SELECT CAST(a AS STRUCT) FROM t", "CBN-SQL-003 :1:18: CAST to STRUCT is refused"},
		{"SELECT CAST(a AS VARCHAR(3)) FROM t", "CBN-SQL-003 :1:18: CAST to VARCHAR is refused"},
		{"SELECT date_format(a, 'G') FROM t", "CBN-SQL-003 :1:23: the date pattern letter G is refused"},
		{"SELECT date_format(a, b) FROM t", "CBN-SQL-003 :1:23: this argument must be a string literal"},
		{"SELECT regexp_extract(a, '(?=x)') FROM t", "CBN-SQL-003 :1:26: the pattern looks ahead or behind"},
		{"SELECT x'1f'", "CBN-SQL-003 :1:8: hexadecimal literals are refused"},
		{"SELECT 1abc", "CBN-SQL-001 :1:8: \"1abc\" is neither a number nor a name"},
		{"SELECT \x00", "CBN-SQL-001 :1:8: the character '\\x00' has no meaning in SQL"},
		{"SELECT '\x00'", "CBN-SQL-001 :1:9: a string must not hold this character"},
		{"SELECT " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), "CBN-SQL-005 :1:208: parentheses are nested more than 200 deep"},
		{strings.Repeat(" ", MaxScriptBytes+1), "CBN-SQL-005 :1:1: the script has 1048577 bytes"},
		{"SELECT " + strings.Repeat("CAST(", 9) + "1" + strings.Repeat(" AS INT)", 9), "CBN-SQL-005 :1:33: casts and functions are nested more than 5 deep"},
		{"SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", 200), "CBN-SQL-005 :1:1: the query has 401 selects, joins and set operations"},
		{"SELECT 1" + strings.Repeat(" + 1", 12000), "CBN-SQL-005 :1:1: the query has 24002 words and symbols"},
		{"SELECT a,, b FROM t", "CBN-SQL-001 :1:10: an expression is missing in the SELECT list"},
		{"SELECT FROM t", "CBN-SQL-001 :1:8: an expression is missing in the SELECT list"},
		{"SELECT concat(a,) FROM t", "CBN-SQL-001 :1:14: an argument is missing in this list"},
	} {
		err := check(test.script)
		if err == nil {
			t.Errorf("%.80q was taken", test.script)
		} else if !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%.80q gives\n %v\n want %s", test.script, err, test.want)
		}
	}
}

func TestCreateOptions(t *testing.T) {
	sts, err := Parse("create temporary table T1 using CarbonAnalytics options (streamName \"org.wso2.das.sample.smart.home.data\",\n" +
		"schema \"house_id INT -i, metro_area STRING, f FACET -i, s double -sp, g string -f -i, p facet, _timestamp LONG, _tenantId integer\",\n" +
		"primaryKeys 'house_id, METRO_AREA', recordStore 'event_store', mergeSchema \"false\", incrementalParams 'Smart, hour, 2', globalTenantAccess \"true\") ;" +
		"CREATE TEMPORARY TABLE b USING org.wso2.carbon.analytics.spark.core.sources.AnalyticsRelationProvider OPTIONS (tableName \"b\") AS SELECT 1 x")
	if err != nil {
		t.Fatal(err)
	}
	o := sts[0].Create.Options
	o.Pos = Pos{}
	want := Options{
		Table: "ORG_WSO2_DAS_SAMPLE_SMART_HOME_DATA", PrimaryKeys: []string{"house_id", "metro_area"}, RecordStore: "EVENT_STORE",
		Incremental: &Incremental{ID: "Smart", Unit: "HOUR", Buffer: 2},
		Columns: []Column{
			{Name: "house_id", Type: TypeInteger, Indexed: true}, {Name: "metro_area", Type: TypeString},
			{Name: "f", Type: TypeFacet, Indexed: true, Facet: true}, {Name: "s", Type: TypeDouble, Indexed: true, ScoreParam: true},
			{Name: "g", Type: TypeString, Indexed: true, Facet: true}, {Name: "p", Type: TypeString},
			{Name: "_timestamp", Type: TypeLong, Virtual: true}, {Name: "_tenantId", Type: TypeInteger, Virtual: true},
		},
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	if st := sts[1]; st.Kind != KindCreate || st.Query == nil || st.Create.Options.RecordStore != DefaultRecordStore || !st.Create.Options.MergeSchema {
		t.Errorf("CREATE … AS SELECT read as %+v", st.Create)
	}
}

func TestOptionErrors(t *testing.T) {
	for _, test := range []struct{ options, want string }{
		{`schema "a int"`, "option tableName (or streamName) is missing"},
		{`tableName "t", streamName "s"`, "option streamName stands twice, first at line 1"},
		{`tableName "t", colour "red"`, "unknown option colour; known are"},
		{`tableName "t", tableName "u"`, "option tableName stands twice"},
		{`tableName ""`, "option tableName is empty"},
		{`tableName "t", schema ""`, "option schema is empty"},
		{`tableName "t", schema "a"`, `schema has "a" where a column's name and type are expected`},
		{`tableName "t", schema "a int,"`, `schema has "" where`},
		{`tableName "t", schema "a number"`, "schema gives column a the unknown type number"},
		{`tableName "t", schema "a int, A string"`, "schema names column A twice"},
		{`tableName "t", schema "a int -x"`, "invalid option -x for column a"},
		{`tableName "t", schema "a int -i -sp"`, "invalid options -i -sp for column a: only -f goes with another"},
		{`tableName "t", schema "a int -i -sp -f"`, "invalid options -i -sp -f for column a"},
		{`tableName "t", schema "a int -i -i"`, "option -i stands twice for column a"},
		{`tableName "t", schema "a string -sp"`, "score-param assigned to the non-numeric column a"},
		{`tableName "t", schema "_timestamp int"`, "column _timestamp must be LONG"},
		{`tableName "t", schema "_id string"`, "schema names column _id, which is reserved"},
		{`tableName "t", schema "a int", primaryKeys "b"`, "primary key b is no column of the schema"},
		{`tableName "t", primaryKeys "a, , b"`, "option primaryKeys has an empty name"},
		{`tableName "t", primaryKeys "a, A"`, "option primaryKeys names A twice"},
		{`tableName "t", mergeSchema "yes"`, `option mergeSchema must be true or false, not "yes"`},
		{`tableName "t", incrementalParams ", HOUR"`, "incrementalParams must be"},
		{`tableName "t", incrementalParams "x, WEEK"`, `incrementalParams has the unit "WEEK"`},
		{`tableName "t", incrementalParams "x, DAY, -1"`, `incrementalParams has the buffer "-1"`},
		{`tableName "t", tenantId "1"`, "tenant 1 is refused"},
	} {
		_, err := Parse("CREATE TEMPORARY TABLE x USING CarbonAnalytics OPTIONS (" + test.options + ")")
		if err == nil {
			t.Errorf("%s was taken", test.options)
		} else if !errors.Is(err, ErrOption) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gives %v, want %s", test.options, err, test.want)
		}
	}
}

func TestParseAllGoesOn(t *testing.T) {
	sts, errs := ParseAll("SELECT 1; DROP TABLE x; SELECT 2; FOO")
	if len(sts) != 2 || len(errs) != 2 {
		t.Errorf("%d statements, errors %v", len(sts), errs)
	}
}

func FuzzScript(f *testing.F) {
	for _, s := range []string{
		"SELECT a FROM t WHERE x = 'it''s' AND y LIKE '%\\_' -- c\n; INSERT INTO TABLE a SELECT /* /* */ */ 1",
		"CREATE TEMPORARY TABLE t USING CarbonAnalytics OPTIONS (tableName \"t\", schema \"a int -i, b facet -f\")",
		"INSERT OVERWRITE TABLE x WITH q(a) AS (SELECT CAST(b AS DECIMAL(3,2)) FROM c) SELECT sum(a) OVER (PARTITION BY b ROWS 1 PRECEDING) FROM q",
		"INCREMENTAL_TABLE_SHOW a, b", "SELECT r'\\d' RLIKE x, 1.5e-3D, INTERVAL '1' DAY", "SELECT '\\u00e9\\101' \"a\"\"b\" `c``d`",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		tokens, err := Tokenize(script)
		if err != nil {
			return
		}
		last := 0
		for _, tok := range tokens {
			if tok.Pos.Offset < last || tok.End <= tok.Pos.Offset || tok.End > len(script) {
				t.Fatalf("token %+v overlaps or is empty; the one before ended at %d", tok, last)
			}
			if lines := strings.Count(script[:tok.Pos.Offset], "\n"); tok.Pos.Line != lines+1 {
				t.Fatalf("token %+v is in line %d", tok, lines+1)
			}
			last = tok.End
		}
		sts, _ := ParseAll(script)
		for _, st := range sts {
			if !strings.Contains(script, st.SQL) {
				t.Fatalf("statement %q is no part of the script", st.SQL)
			}
			if st.Query == nil {
				continue
			}
			q, err := st.Query.Rewrite()
			if err != nil {
				continue
			}
			// What comes out has no comment, no dollar quote and no open string: DuckDB reads the tokens that we wrote.
			again, err := Tokenize(strings.NewReplacer(`\`, `\\`).Replace(q.SQL))
			if err != nil {
				t.Fatalf("%q came out as %q: %v", script, q.SQL, err)
			}
			for _, tok := range again {
				if tok.Kind == Quoted || tok.Kind == Symbol && strings.ContainsAny(tok.Text, "$?@#[]{}^;:\\") {
					t.Fatalf("%q came out as %q", script, q.SQL)
				}
			}
		}
	})
}

// TestDocumentedFunctions keeps docs/sql.md true.
func TestDocumentedFunctions(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "## Functions")
	text, _, _ = strings.Cut(text, "## Limits")
	listed := map[string]bool{}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !(r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }) {
		listed[w] = true
	}
	for name := range functions {
		if !listed[name] && !strings.HasPrefix(name, "facet") {
			t.Errorf("function %s is not in docs/sql.md", name)
		}
	}
}
