package duck

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

// collect is a sink that keeps everything as text.
type collect struct {
	cols []ResultColumn
	rows [][]string
}

func (c *collect) Columns(cols []ResultColumn) error { c.cols = cols; return nil }

func (c *collect) Row(values []any) error {
	row := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			row[i] = "NULL"
		case time.Time:
			row[i] = v.UTC().Format("2006-01-02 15:04:05")
		case []byte:
			row[i] = string(v)
		default:
			row[i] = fmt.Sprint(v)
		}
	}
	c.rows = append(c.rows, row)
	return nil
}

func (c *collect) String() string {
	var b strings.Builder
	for i, r := range c.rows {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(strings.Join(r, "|"))
	}
	return b.String()
}

var testLimits = Limits{Memory: 256 << 20, Threads: 2}

// query runs one SELECT without tables, as the engine does.
func query(t *testing.T, zone *time.Location, script string) (*collect, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sts, err := sparksql.Parse(script)
	if err != nil {
		return nil, err
	}
	q, err := sts[0].Query.Rewrite()
	if err != nil {
		return nil, err
	}
	limits := testLimits
	limits.Zone = zone
	d, err := open(ctx, limits)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	uses, err := d.Check(ctx, q)
	if err != nil {
		return nil, err
	}
	if q, err = d.Qualify(ctx, q, uses); err != nil {
		return nil, err
	}
	if err := d.Lock(ctx, nil, q.Uses); err != nil {
		return nil, err
	}
	var c collect
	if _, err := d.Query(ctx, q, 1000, &c); err != nil {
		return nil, err
	}
	return &c, nil
}

// TestSparkResults has expressions of Spark with the value that Spark 1.6 to 3 (without ANSI mode) gives.
func TestSparkResults(t *testing.T) {
	for _, test := range []struct{ expr, want string }{
		{`"Seattle" = 'Seattle'`, "true"},
		{"1 == 1", "true"},
		{"1 != 1", "false"},
		{"NULL <=> NULL", "true"},
		{"! (1 = 2)", "true"},
		{"7 / 2", "3.5"},
		{"7 DIV 2", "3"},
		{"-7 DIV 2", "-3"},
		{"1 / 0", "NULL"},
		{"1.5D / 0", "NULL"},
		{"5 % 0", "NULL"},
		{"-7 % 3", "-1"},
		{"pmod(-7, 3)", "2"},
		{"pmod(7, -3)", "1"},
		{"10L + 1", "11"},
		{"'it''s'", "it's"},
		{`'it\'s'`, "it's"},
		{`'a' 'b'`, "ab"},
		{`"a;b -- c"`, "a;b -- c"},
		{`'\u0041\n'`, "A\n"},
		{`r'\d'`, `\d`},
		{"CAST(3.7D AS INT)", "3"},
		{"CAST(-3.7D AS INT)", "-3"},
		{"CAST(3.7 AS BIGINT)", "3"},
		{"CAST('3.7' AS INT)", "3"},
		{"CAST(' 42 ' AS INT)", "42"},
		{"CAST('x' AS INT)", "NULL"},
		{"CAST('99999999999' AS INT)", "NULL"},
		{"CAST('' AS INT)", "NULL"},
		{"CAST(true AS INT)", "1"},
		{"CAST(9007199254740993 AS BIGINT)", "9007199254740993"},
		{"CAST('1.5' AS DOUBLE)", "1.5"},
		{"CAST('x' AS DOUBLE)", "NULL"},
		{"CAST('yes' AS BOOLEAN)", "true"},
		{"CAST('maybe' AS BOOLEAN)", "NULL"},
		{"CAST(0 AS BOOLEAN)", "false"},
		{"CAST(1.0E10D AS STRING)", "1.0E10"},
		{"CAST(100D AS STRING)", "100.0"},
		{"CAST(1234567.5D AS STRING)", "1234567.5"},
		{"CAST(12345678D AS STRING)", "1.2345678E7"},
		{"CAST(0.0001D AS STRING)", "1.0E-4"},
		{"CAST(CAST(0.1 AS FLOAT) AS STRING)", "0.1"},
		{"CAST(true AS STRING)", "true"},
		{"CAST('2016-02-30' AS DATE)", "NULL"},
		{"CAST('2016-02-28 10:11:12' AS DATE)", "2016-02-28 00:00:00"},
		{"CAST('2016-02-28' AS TIMESTAMP)", "2016-02-28 00:00:00"},
		{"CAST(12.345 AS DECIMAL(4,2))", "12.35"},
		{"concat('a', 1, 2.5D)", "a12.5"},
		{"concat('a', NULL)", "NULL"},
		{"concat_ws('-', 'a', NULL, 'b')", "a-b"},
		{"facet3('a', 'b', 'c')", "a,b,c"},
		{"nvl(NULL, 'x')", "x"},
		{"nvl2(NULL, 1, 2)", "2"},
		{"if(1 > 2, 'a', 'b')", "b"},
		{"isnull(NULL)", "true"},
		{"isnotnull(1)", "true"},
		{"coalesce(NULL, NULL, 3)", "3"},
		{"CASE WHEN 1 = 1 THEN 'a' ELSE 'b' END", "a"},
		{"CASE 2 WHEN 1 THEN 'a' END", "NULL"},
		{"ceil(1.2D)", "2"},
		{"floor(-1.2D)", "-2"},
		{"ceil(3)", "3"},
		{"round(2.5D)", "3"},
		{"round(-2.5D)", "-3"},
		{"round(1.005D, 2)", "1.01"},
		{"round(15, -1)", "20"},
		{"round(1.25, 1)", "1.3"},
		{"sqrt(-1)", "NaN"},
		{"ln(0)", "NULL"},
		{"log(10, 100)", "2"},
		{"log(1)", "0"},
		{"power(2, 10)", "1024"},
		{"sign(-2.5D)", "-1"},
		{"greatest(1, NULL, 3)", "3"},
		{"substring('abcdef', 0, 3)", "abc"},
		{"substring('abcdef', 2)", "bcdef"},
		{"substr('abcdef', 2, 3)", "bcd"},
		{"substring('abc', -2, 2)", "bc"},
		{"substring('abc', -5, 3)", "a"},
		{"substring('abc', 2, -1)", ""},
		{"instr('hello', 'l')", "3"},
		{"locate('l', 'hello')", "3"},
		{"length('héllo')", "5"},
		{"length(12345)", "5"},
		{"lpad('7', 3, '0')", "007"},
		{"lpad('12345', 3, '0')", "123"},
		{"regexp_extract('100-200', '([0-9]+)-([0-9]+)')", "100"},
		{"regexp_extract('100-200', '([0-9]+)-([0-9]+)', 2)", "200"},
		{"regexp_replace('a1b22', '[0-9]+', '<$0>')", "a<1>b<22>"},
		{"'foobar' RLIKE 'o+b'", "true"},
		{"'foobar' NOT RLIKE '^b'", "true"},
		{"'foobar' REGEXP '^foo' AND true", "true"},
		{`'10%' LIKE '10\%'`, "true"},
		{`'100' LIKE '10\%'`, "false"},
		{"'abc' LIKE concat('a', '%')", "true"},
		{"'abc' NOT LIKE 'b%'", "true"},
		{"size(array(1, 2, 3))", "3"},
		{"size(split('a,b,,', ','))", "4"},
		{"array_contains(array(1, 2), 2)", "true"},
		{"element_at(array('x', 'y'), 1)", "x"},
		{"year('2016-03-04')", "2016"},
		{"month('2016-03-04 05:06:07')", "3"},
		{"hour('2016-03-04 05:06:07')", "5"},
		{"dayofweek('2016-03-06')", "1"},
		{"weekofyear('2008-02-20')", "8"},
		{"datediff('2009-07-31', '2009-07-30')", "1"},
		{"date_add('2016-02-28', 2)", "2016-03-01 00:00:00"},
		{"date_sub('2016-03-01', 1)", "2016-02-29 00:00:00"},
		{"add_months('2016-01-31', 1)", "2016-02-29 00:00:00"},
		{"last_day('2016-02-01')", "2016-02-29 00:00:00"},
		{"date_format('2016-04-08 13:10:15', 'yyyy/MM/dd h:mm a')", "2016/04/08 1:10 PM"},
		{"date_format('2016-04-08', 'y-M-d EEE')", "2016-4-8 Fri"},
		{"from_unixtime(0)", "1970-01-01 00:00:00"},
		{"from_unixtime(1460121015, 'HH:mm')", "13:10"},
		{"unix_timestamp('2016-04-08 13:10:15')", "1460121015"},
		{"unix_timestamp('08.04.2016', 'dd.MM.yyyy')", "1460073600"},
		{"unix_timestamp('nonsense')", "NULL"},
		{"to_date('08.04.2016', 'dd.MM.yyyy')", "2016-04-08 00:00:00"},
		{"trunc('2016-04-08', 'MM')", "2016-04-01 00:00:00"},
		{"date_trunc('HOUR', '2016-04-08 13:10:15')", "2016-04-08 13:00:00"},
		{"EXTRACT(YEAR FROM DATE '2016-04-08')", "2016"},
		{"TIMESTAMP '2016-04-08 13:10:15' + INTERVAL 1 DAY", "2016-04-09 13:10:15"},
		{"CAST('2016-04-08' AS DATE) - INTERVAL '2' MONTHS", "2016-02-08 00:00:00"},
		{"2 IN (1, 2) AND 3 NOT IN (1, 2) AND 2 BETWEEN 1 AND 3", "true"},
		{"md5('a')", "0cc175b9c0f1b6a831c399e269772661"},
		{"reverse('abc')", "cba"},
		{"upper('a') || lower('B')", "Ab"},
		{"EXISTS (SELECT 1)", "true"},
		{"(SELECT max(x) FROM (VALUES (1), (3)) v(x))", "3"},
		{"5 & 3", "1"},
		{"5 | 3", "7"},
		{"~5", "-6"},
		{"CAST('abc' AS BINARY)", "abc"},
		{"isnan(CAST('NaN' AS DOUBLE))", "true"},
		{"pi() > 3.14 AND e() < 2.72", "true"},
		{"trim('  a ')", "a"},
		{"split('a1b2', '[0-9]')", "[a b ]"},
		{"levenshtein('kitten', 'sitting')", "3"},
		{"translate('AaBb', 'Aa', 'xy')", "xyBb"},
		{"NULL IS NULL AND 1 IS NOT NULL", "true"},
	} {
		got, err := query(t, nil, "SELECT "+test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
			continue
		}
		if got.String() != test.want {
			t.Errorf("%s = %q, Spark gives %q", test.expr, got.String(), test.want)
		}
	}
}

// TestSparkQueries has whole queries.
func TestSparkQueries(t *testing.T) {
	const people = "(VALUES ('a', 1, 2.0D), ('a', 3, NULL), ('b', NULL, 4.0D), ('b', 5, 6.0D)) t(k, i, d)"
	for _, test := range []struct{ query, cols, want string }{
		{"SELECT k, count(*), sum(i), avg(d) FROM " + people + " GROUP BY k ORDER BY k", "k|count(*)|sum(i)|avg(d)", "a|2|4|2\nb|2|5|5"},
		{"select i from " + people + " order by i", "i", "NULL\n1\n3\n5"},
		{"select i from " + people + " order by i desc", "i", "5\n3\n1\nNULL"},
		{"SELECT k, row_number() OVER (PARTITION BY k ORDER BY i) rn FROM " + people + " ORDER BY k, rn", "k|rn", "a|1\na|2\nb|1\nb|2"},
		{"SELECT i, sum(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) s FROM " + people + " WHERE i IS NOT NULL ORDER BY i", "i|s", "1|1\n3|4\n5|9"},
		{"SELECT k, size(collect_set(i)), size(collect_list(d)) FROM " + people + " GROUP BY k ORDER BY k", "k|size(collect_set(i))|size(collect_list(d))", "a|2|1\nb|1|2"},
		{"SELECT a.k FROM " + people + " LEFT SEMI JOIN (SELECT 'b' k) s ON t.k = s.k", "", ""},
		{"SELECT t.k AS `my key` FROM " + people + " LEFT SEMI JOIN (SELECT 'b' AS k) s ON t.k = s.k", "my key", "b\nb"},
		{"SELECT DISTINCT t.k FROM " + people + " LEFT ANTI JOIN (SELECT 'b' k) s ON t.k = s.k", "k", "a"},
		{"WITH x AS (SELECT k, max(i) m FROM " + people + " GROUP BY k), y(z) AS (SELECT m FROM x) SELECT z FROM y ORDER BY z", "z", "3\n5"},
		{"SELECT 1 user, 2 `order`, 3 AS default", "user|order|default", "1|2|3"},
		{"SELECT count(DISTINCT k) FROM " + people, "count(DISTINCT k)", "2"},
		{"(SELECT 1 a) UNION ALL (SELECT 2) ORDER BY a DESC", "a", "2\n1"},
		{"SELECT 1 AS a UNION SELECT 1 MINUS SELECT 2", "a", "1"},
		{"SELECT percentile(i, 0.5) FROM " + people, "percentile(i, 0.5)", "3"},
		{"SELECT k, i FROM " + people + " HAVING i > 1", "", ""},
		{"SELECT k FROM " + people + " GROUP BY k HAVING count(i) = 2", "k", "a"},
		{"SELECT /* ; */ 1 -- ;\n AS x", "x", "1"},
		{"SELECT t.* FROM " + people + " LIMIT 1", "k|i|d", "a|1|2"},
		{"SELECT sum(i) FILTER (WHERE k = 'a') s FROM " + people, "s", "4"},
		{"SELECT k, d, first(d) OVER (PARTITION BY k ORDER BY d) FROM " + people + " WHERE k = 'b' ORDER BY d", "k|d|first(d) OVER (PARTITION BY k ORDER BY d)", "b|4|4\nb|6|4"},
		{"SELECT avg(x)-avg(y) diff FROM (SELECT 3 x, 1 y) a CROSS JOIN (SELECT 1) b", "diff", "2"},
		{"SELECT k, sum(i) FROM " + people + " GROUP BY ROLLUP (k) ORDER BY k", "k|sum(i)", "NULL|9\na|4\nb|5"},
		{"SELECT sum(i) OVER w FROM " + people + " WINDOW w AS (PARTITION BY k) ORDER BY 1", "sum(i) OVER w", "4\n4\n5\n5"},
	} {
		got, err := query(t, nil, test.query)
		if test.cols == "" {
			if err == nil {
				t.Errorf("%s was not refused", test.query)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
			continue
		}
		var cols []string
		for _, c := range got.cols {
			cols = append(cols, c.Name)
		}
		if got.String() != test.want || strings.Join(cols, "|") != test.cols {
			t.Errorf("%s\n gives %q of %q,\n  want %q of %q", test.query, got.String(), strings.Join(cols, "|"), test.want, test.cols)
		}
	}
}

// TestZone checks that times follow the session's zone, also over the hour that comes twice.
func TestZone(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ expr, want string }{
		{"from_unixtime(0)", "1970-01-01 01:00:00"},
		{"unix_timestamp('1970-01-01 01:00:00')", "0"},
		{"unix_timestamp('2026-07-01 02:00:00')", "1782864000"},
		{"from_unixtime(1782864000)", "2026-07-01 02:00:00"},
		{"from_unixtime(1792891800, 'yyyy-MM-dd HH:mm z')", "2026-10-25 02:30 CET"},
		{"from_unixtime(1792888200, 'yyyy-MM-dd HH:mm Z')", "2026-10-25 02:30 +0200"},
		{"date_format(CAST(0 AS TIMESTAMP), 'HH:mm')", "01:00"},
		{"unix_timestamp('1970-01-01 00:00:00 +0000', 'yyyy-MM-dd HH:mm:ss Z')", "0"},
		{"hour(CAST(0L AS TIMESTAMP))", "1"},
	} {
		got, err := query(t, zone, "SELECT "+test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
		} else if got.String() != test.want {
			t.Errorf("%s = %q, want %q", test.expr, got.String(), test.want)
		}
	}
}
