package duck

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/cause"
)

// place puts an error of DuckDB to where it stands in the script; before is how many bytes stood before the statement's text.
func place(e *cause.Error, f failure, q *sparksql.Rewritten, before int) error {
	if f.Position == "" {
		return e
	}
	offset := 0
	if _, err := fmt.Sscan(f.Position, &offset); err != nil || offset < before || offset-before > len(q.SQL) {
		return e
	}
	pos := q.At(offset - before)
	return e.At("", pos.Line, pos.Column)
}

// Query runs a checked SELECT and hands at most maxRows rows to the sink; Truncated says that there were more. Ending the context
// interrupts DuckDB.
func (d *Database) Query(ctx context.Context, q *sparksql.Rewritten, maxRows int64, sink Sink) (Result, error) {
	var res Result
	if !d.locked {
		return res, ErrEngine.New("a query needs a locked database")
	}
	const before = "SELECT * FROM ("
	statement := before + q.SQL + fmt.Sprintf("\n) AS result LIMIT %d", maxRows+1)
	rows, err := d.conn.QueryContext(ctx, statement)
	if err != nil {
		e, f := explain(ctx, err)
		return res, place(e, f, q, len(before))
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return res, d.failed(ctx, err)
	}
	cols := make([]ResultColumn, len(types))
	values := make([]any, len(types))
	targets := make([]any, len(types))
	for i, t := range types {
		cols[i] = ResultColumn{Name: t.Name(), Type: t.DatabaseTypeName()}
		targets[i] = &values[i]
	}
	if err := sink.Columns(cols); err != nil {
		return res, err
	}
	for rows.Next() {
		if res.Rows == maxRows {
			res.Truncated = true
			break
		}
		if err := rows.Scan(targets...); err != nil {
			return res, d.failed(ctx, err)
		}
		for i, v := range values {
			values[i] = plain(v)
		}
		if err := sink.Row(values); err != nil {
			return res, err
		}
		res.Rows++
	}
	if err := rows.Err(); err != nil {
		return res, d.failed(ctx, err)
	}
	return res, nil
}

// plain turns a value of the driver into one of package statement.
func plain(v any) any {
	switch v := v.(type) {
	case nil, bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, *big.Int, float32, float64, string, []byte:
		return v
	case time.Time:
		return v.UTC()
	case duckdb.Decimal:
		return statement.Decimal{Unscaled: v.Value, Text: v.String()}
	case duckdb.Interval:
		return statement.Interval{Months: v.Months, Days: v.Days, Micros: v.Micros}
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = plain(x)
		}
		return out
	}
	return fmt.Sprint(v)
}

// Describe gives the columns of a checked SELECT without running it.
func (d *Database) Describe(ctx context.Context, q *sparksql.Rewritten) ([]ResultColumn, error) {
	const before = "DESCRIBE "
	rows, err := d.conn.QueryContext(ctx, before+q.SQL)
	if err != nil {
		e, f := explain(ctx, err)
		return nil, place(e, f, q, len(before))
	}
	defer rows.Close()
	var out []ResultColumn
	for rows.Next() {
		var c ResultColumn
		var rest [4]any
		if err := rows.Scan(&c.Name, &c.Type, &rest[0], &rest[1], &rest[2], &rest[3]); err != nil {
			return nil, d.failed(ctx, err)
		}
		out = append(out, c)
	}
	if err := rows.Err(); err != nil {
		return nil, d.failed(ctx, err)
	}
	return out, nil
}

// Copy runs a checked SELECT and writes its rows, numbered from FirstSeq, into a Parquet file. It returns how many rows that were.
func (d *Database) Copy(ctx context.Context, q *sparksql.Rewritten, w Write) (int64, error) {
	if !d.locked {
		return 0, ErrEngine.New("a query needs a locked database")
	}
	var aliases, exprs []string
	timestamp := fmt.Sprintf("CAST(%d AS BIGINT)", w.Now)
	tenant := ""
	for i, c := range w.Columns {
		alias := fmt.Sprintf("c%d", i)
		aliases = append(aliases, alias)
		expr := alias
		if c.Macro != "" {
			expr = c.Macro + "(" + alias + ")"
		}
		expr = "CAST(" + expr + " AS " + c.Type + ")"
		switch c.Role {
		case RoleTimestamp:
			timestamp = fmt.Sprintf("coalesce(%s, CAST(%d AS BIGINT))", expr, w.Now)
		case RoleTenant:
			tenant = expr
		default:
			exprs = append(exprs, expr+" AS "+sparksql.QuoteName(c.Name))
		}
	}
	before := "COPY (SELECT CAST(" + fmt.Sprint(w.FirstSeq) + " + row_number() OVER () - 1 AS BIGINT) AS _seq, " + timestamp + " AS _timestamp"
	if tenant != "" {
		before = strings.Replace(before, " AS _timestamp", " + CASE WHEN coalesce("+tenant+", -1234) = -1234 THEN 0 ELSE error('a row is for another tenant; there is tenant -1234 alone') END AS _timestamp", 1)
	}
	if len(exprs) > 0 {
		before += ", " + strings.Join(exprs, ", ")
	}
	before += ", CAST(NULL AS VARCHAR) AS _arbitrary FROM ("
	statement := before + q.SQL + "\n) AS result(" + strings.Join(aliases, ", ") + ") LIMIT " + fmt.Sprint(w.MaxRows+1) +
		") TO " + quote(w.Path) + " (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 65536, USE_TMP_FILE false)"
	var rows int64
	if err := d.conn.QueryRowContext(ctx, statement).Scan(&rows); err != nil {
		e, f := explain(ctx, err)
		return 0, place(e, f, q, len(before))
	}
	if uint64(rows) > w.MaxRows {
		return 0, ErrMemory.New("the statement makes more than %d rows, which is as many as one INSERT may write", w.MaxRows)
	}
	return rows, nil
}
