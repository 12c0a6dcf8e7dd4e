package duck

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

// AddTable makes a table. Columns that a file lacks are null; rows that are dead in their file are left out.
func (d *Database) AddTable(ctx context.Context, t Table) error {
	var sources []string
	var types, names []string
	for _, c := range t.Columns {
		if c.Constant == "" {
			types = append(types, "CAST(NULL AS "+c.Type+") AS "+sparksql.QuoteName(c.Name))
		}
		expr := c.Constant
		if expr == "" {
			expr = sparksql.QuoteName(c.Name)
		}
		names = append(names, "CAST("+expr+" AS "+c.Type+") AS "+sparksql.QuoteName(c.Name))
	}
	const hidden = "_timestamp"
	if !hasColumn(t.Columns, hidden) {
		types = append(types, "CAST(NULL AS BIGINT) AS "+hidden)
	}
	// An empty relation with every column first: a column that no file has is null instead of an error.
	sources = append(sources, "SELECT "+strings.Join(types, ", ")+" WHERE false")
	var whole []string
	for i, f := range t.Files {
		if len(f.Dead) == 0 {
			whole = append(whole, quote(f.Path))
			continue
		}
		name := fmt.Sprintf("dead_%d_%s", i, t.Name)
		if err := d.addDead(ctx, name, f.Dead); err != nil {
			return err
		}
		sources = append(sources, "SELECT f.* FROM read_parquet("+quote(f.Path)+") f ANTI JOIN main."+sparksql.QuoteName(name)+" x ON f._seq = x.seq")
	}
	if len(whole) > 0 {
		sources = append(sources, "SELECT * FROM read_parquet(["+strings.Join(whole, ", ")+"], union_by_name = true)")
	}
	var where []string
	if t.From != nil {
		where = append(where, fmt.Sprintf("%s >= %d", hidden, *t.From))
	}
	if t.To != nil {
		where = append(where, fmt.Sprintf("%s < %d", hidden, *t.To))
	}
	view := "CREATE VIEW " + schemaName + "." + sparksql.QuoteName(t.Name) + " AS SELECT " + strings.Join(names, ", ") +
		" FROM (" + strings.Join(sources, " UNION ALL BY NAME ") + ")"
	if len(where) > 0 {
		view += " WHERE " + strings.Join(where, " AND ")
	}
	if err := d.exec(ctx, view); err != nil {
		e, f := explain(ctx, err)
		if f.Type == "" {
			return e
		}
		return ErrEngine.Wrap(e, "table %s can't be read", t.Name)
	}
	return nil
}

func hasColumn(cols []Column, name string) bool {
	for _, c := range cols {
		if c.Constant == "" && strings.EqualFold(c.Name, name) {
			return true
		}
	}
	return false
}

// addDead makes a table of numbers.
func (d *Database) addDead(ctx context.Context, name string, dead []uint64) error {
	if err := d.exec(ctx, "CREATE TABLE main."+sparksql.QuoteName(name)+" (seq BIGINT)"); err != nil {
		return d.failed(ctx, err)
	}
	err := d.conn.Raw(func(raw any) error {
		a, err := duckdb.NewAppenderFromConn(raw.(driver.Conn), "main", name)
		if err != nil {
			return err
		}
		for _, s := range dead {
			if err := a.AppendRow(int64(s)); err != nil {
				_ = a.Close()
				return err
			}
		}
		return a.Close()
	})
	if err != nil {
		return d.failed(ctx, err)
	}
	return nil
}
