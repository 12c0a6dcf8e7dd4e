package analyticsengine

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// query is a SELECT that is ready to run: its database is open and locked, its snapshot leased. close ends both.
type query struct {
	s    *session
	db   statement.Database
	text *sparksql.Rewritten
	// release ends the snapshot's stream and the statement's place.
	release []func()
	// read are incremental tables that the query reads.
	read []incrementalRead
}

func (q *query) close() {
	if q.db != nil {
		q.s.e.closing(q.db)
	}
	for i := len(q.release) - 1; i >= 0; i-- {
		q.release[i]()
	}
}

// target is the file that an INSERT writes.
type target struct {
	path string
	uses []string
}

// source is a table that a query reads.
type source struct {
	// name as the query writes it.
	name string
	// table in the store, upper case.
	table string
	temp  *tempTable
}

// open makes a statement's SELECT ready: rewrite, check, snapshot, lock, tables.
func (s *session) open(ctx context.Context, st *sparksql.Statement, write *target) (_ *query, err error) {
	text, err := st.Query.Rewrite()
	if err != nil {
		return nil, err
	}
	leave, err := s.e.enter(ctx)
	if err != nil {
		return nil, err
	}
	q := &query{s: s, release: []func(){leave}}
	defer func() {
		if err != nil {
			q.close()
		}
	}()
	if q.db, err = s.e.workers.Open(ctx, s.e.limits); err != nil {
		return nil, err
	}
	uses, err := q.db.Check(ctx, text)
	if err != nil {
		return nil, err
	}
	if q.text, err = q.db.Qualify(ctx, text, uses); err != nil {
		return nil, err
	}
	sources, err := s.sources(ctx, text, uses)
	if err != nil {
		return nil, err
	}
	tables, err := q.snapshot(ctx, sources)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, t := range tables {
		for _, f := range t.Files {
			files = append(files, f.Path)
		}
	}
	macros := q.text.Uses
	if write != nil {
		files = append(files, write.path)
		macros = append(append([]string{}, macros...), write.uses...)
	}
	if err := q.db.Lock(ctx, files, macros); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := q.db.AddTable(ctx, t); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// sources finds the tables that a query names: the script's own first, then the store's.
func (s *session) sources(ctx context.Context, text *sparksql.Rewritten, uses []statement.TableUse) ([]source, error) {
	var out []source
	seen := map[string]bool{}
	for _, u := range uses {
		key := strings.ToLower(u.Name)
		if seen[key] {
			continue
		}
		seen[key] = true
		if t := s.temps[key]; t != nil {
			if err := s.declare(ctx, t); err != nil {
				return nil, err
			}
			out = append(out, source{name: u.Name, table: t.options.Table, temp: t})
			continue
		}
		info, err := s.e.store.GetTable(ctx, &analyticsv1.GetTableRequest{Tenant: s.req.Tenant, Table: u.Name})
		if status.Code(err) == codes.NotFound {
			pos := text.At(u.Offset)
			return nil, statement.ErrNoTable.New("there is no table %s", u.Name).At("", pos.Line, pos.Column)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, source{name: u.Name, table: info.Table.Name})
	}
	return out, nil
}

// snapshot leases the files of the sources until the query is closed.
func (q *query) snapshot(ctx context.Context, sources []source) ([]statement.Table, error) {
	if len(sources) == 0 {
		return nil, nil
	}
	req := &analyticsv1.SnapshotRequest{Tenant: q.s.req.Tenant}
	seen := map[string]bool{}
	for _, src := range sources {
		if !seen[src.table] {
			seen[src.table] = true
			req.Tables = append(req.Tables, src.table)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := q.s.e.store.Snapshot(ctx, req)
	if err != nil {
		cancel()
		return nil, err
	}
	q.release = append(q.release, cancel)
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	byName := map[string]*analyticsv1.TableSnapshot{}
	for _, t := range resp.Tables {
		byName[strings.ToUpper(t.Table.Name)] = t
	}
	var out []statement.Table
	for _, src := range sources {
		t := byName[strings.ToUpper(src.table)]
		if t == nil {
			return nil, statement.ErrNoTable.New("the snapshot lacks table %s", src.table)
		}
		tab, err := q.table(ctx, src, t)
		if err != nil {
			return nil, err
		}
		out = append(out, tab...)
	}
	return out, nil
}

// table makes DuckDB's view of a source; an incremental one has a second view for its greatest time.
func (q *query) table(ctx context.Context, src source, t *analyticsv1.TableSnapshot) ([]statement.Table, error) {
	tab := statement.Table{Name: src.name}
	for _, f := range t.Files {
		path := filepath.Join(q.s.e.segments, filepath.FromSlash(f.Path))
		if rel, err := filepath.Rel(q.s.e.segments, path); err != nil || strings.HasPrefix(rel, "..") {
			return nil, statement.ErrEngine.New("the store names a file outside of its share: %s", f.Path)
		}
		tab.Files = append(tab.Files, statement.File{Path: path, Dead: f.Dead})
	}
	var err error
	if tab.Columns, err = viewColumns(src, t.Table); err != nil {
		return nil, err
	}
	if src.temp == nil || src.temp.options.Incremental == nil {
		return []statement.Table{tab}, nil
	}
	from, err := q.s.e.incrementalFrom(ctx, src.temp.options.Incremental)
	if err != nil {
		return nil, err
	}
	tab.From = from
	times := statement.Table{Name: "times of " + src.name, Files: tab.Files, From: from, Columns: []statement.Column{{Name: sparksql.TimestampColumn, Type: "BIGINT"}}}
	q.read = append(q.read, incrementalRead{id: src.temp.options.Incremental.ID, view: times.Name})
	return []statement.Table{tab, times}, nil
}

// viewColumns are the columns that a query sees: those of the option schema, or the stored ones; of a table without CREATE also the
// record's time.
func viewColumns(src source, info *analyticsv1.TableInfo) ([]statement.Column, error) {
	var cols []statement.Column
	if src.temp != nil && src.temp.options.Columns != nil {
		for _, c := range src.temp.options.Columns {
			col := statement.Column{Name: c.Name, Type: duckTypes[c.Type]}
			if c.Virtual && c.Name == sparksql.TenantColumn {
				col.Constant = "-1234"
			}
			cols = append(cols, col)
		}
		return cols, nil
	}
	if len(info.GetSchema().GetColumns()) == 0 {
		return nil, ErrNoSchema.New("Unable to scan through the table as the schema is unavailable for %s", src.table)
	}
	seen := map[string]string{}
	for _, c := range info.Schema.Columns {
		if other, twice := seen[strings.ToLower(c.Name)]; twice {
			return nil, ErrNoSchema.New("table %s has the columns %s and %s, which differ in case alone: name the columns wanted in the option schema", src.table, other, c.Name)
		}
		seen[strings.ToLower(c.Name)] = c.Name
		cols = append(cols, statement.Column{Name: c.Name, Type: duckTypes[typeOfStore(c.Type)]})
	}
	if src.temp == nil && seen[sparksql.TimestampColumn] == "" {
		cols = append(cols, statement.Column{Name: sparksql.TimestampColumn, Type: "BIGINT"})
	}
	return cols, nil
}

// duckTypes are DuckDB's types of the tables' types.
var duckTypes = map[sparksql.Type]string{
	sparksql.TypeString: "VARCHAR", sparksql.TypeFacet: "VARCHAR", sparksql.TypeInteger: "INTEGER", sparksql.TypeLong: "BIGINT",
	sparksql.TypeFloat: "FLOAT", sparksql.TypeDouble: "DOUBLE", sparksql.TypeBoolean: "BOOLEAN", sparksql.TypeBinary: "BLOB",
}

// casts are the macros that cast to a type as Spark does.
var casts = map[sparksql.Type]string{
	sparksql.TypeString: "spark_string", sparksql.TypeFacet: "spark_string", sparksql.TypeInteger: "spark_int", sparksql.TypeLong: "spark_bigint",
	sparksql.TypeFloat: "spark_float", sparksql.TypeDouble: "spark_double", sparksql.TypeBoolean: "spark_boolean", sparksql.TypeBinary: "spark_binary",
}

var storeTypes = map[sparksql.Type]analyticsv1.ColumnType{
	sparksql.TypeString: analyticsv1.ColumnType_COLUMN_TYPE_STRING, sparksql.TypeFacet: analyticsv1.ColumnType_COLUMN_TYPE_STRING,
	sparksql.TypeInteger: analyticsv1.ColumnType_COLUMN_TYPE_INTEGER, sparksql.TypeLong: analyticsv1.ColumnType_COLUMN_TYPE_LONG,
	sparksql.TypeFloat: analyticsv1.ColumnType_COLUMN_TYPE_FLOAT, sparksql.TypeDouble: analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE,
	sparksql.TypeBoolean: analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN, sparksql.TypeBinary: analyticsv1.ColumnType_COLUMN_TYPE_BINARY,
}

func typeOfStore(t analyticsv1.ColumnType) sparksql.Type {
	if t == analyticsv1.ColumnType_COLUMN_TYPE_FACET {
		return sparksql.TypeFacet
	}
	for mine, theirs := range storeTypes {
		if theirs == t && mine != sparksql.TypeFacet {
			return mine
		}
	}
	return sparksql.TypeString
}

// typeOfDuck maps a result's type to a table's.
func typeOfDuck(t string) (sparksql.Type, bool) {
	switch {
	case t == "VARCHAR":
		return sparksql.TypeString, true
	case t == "TINYINT" || t == "SMALLINT" || t == "INTEGER":
		return sparksql.TypeInteger, true
	case t == "BIGINT" || t == "HUGEINT":
		return sparksql.TypeLong, true
	case t == "FLOAT":
		return sparksql.TypeFloat, true
	case t == "DOUBLE" || strings.HasPrefix(t, "DECIMAL"):
		return sparksql.TypeDouble, true
	case t == "BOOLEAN":
		return sparksql.TypeBoolean, true
	case t == "BLOB":
		return sparksql.TypeBinary, true
	}
	return 0, false
}

// notFound reports whether a call found no table.
func notFound(err error) bool {
	return status.Code(err) == codes.NotFound || errors.Is(err, statement.ErrNoTable)
}
