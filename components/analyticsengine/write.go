package analyticsengine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// callTimeout bounds calls that must be made although a statement's time is over.
const callTimeout = 10 * time.Second

// declare makes a temporary table's table in the store, with its schema, once.
func (s *session) declare(ctx context.Context, t *tempTable) error {
	if t.created {
		return nil
	}
	want := storeSchema(t.options)
	info, err := s.e.store.GetTable(ctx, &analyticsv1.GetTableRequest{Tenant: s.req.Tenant, Table: t.options.Table})
	switch {
	case notFound(err) && s.req.ReadOnly:
		p := t.options.Pos
		return statement.ErrNoTable.New("there is no table %s", t.options.Table).At("", p.Line, p.Column)
	case notFound(err):
		if err := s.checkStore(ctx, t); err != nil {
			return err
		}
		_, err := s.e.store.CreateTable(ctx, &analyticsv1.CreateTableRequest{
			Tenant: s.req.Tenant, Table: t.options.Table, Store: t.options.RecordStore, Schema: want, IfNotExists: true,
		})
		if err != nil {
			return err
		}
	case err != nil:
		return err
	case s.req.ReadOnly || want == nil || covers(info.Table.Schema, want, t.options.MergeSchema):
	default:
		_, err := s.e.store.SetSchema(ctx, &analyticsv1.SetSchemaRequest{Tenant: s.req.Tenant, Table: t.options.Table, Schema: want, Merge: t.options.MergeSchema})
		if err != nil {
			return err
		}
	}
	t.created = true
	return nil
}

// checkStore refuses a record store that this node doesn't have.
func (s *session) checkStore(ctx context.Context, t *tempTable) error {
	resp, err := s.e.store.ListStores(ctx, &analyticsv1.ListStoresRequest{})
	if err != nil {
		return err
	}
	var names []string
	for _, st := range resp.Stores {
		if strings.EqualFold(st.Name, t.options.RecordStore) {
			return nil
		}
		names = append(names, st.Name)
	}
	p := t.options.Pos
	return sparksql.ErrOption.New("unknown record store %s; there are %s", t.options.RecordStore, strings.Join(names, ", ")).At("", p.Line, p.Column)
}

// storeSchema is the option schema as the store keeps it; nil without one.
func storeSchema(o sparksql.Options) *analyticsv1.Schema {
	if o.Columns == nil {
		return nil
	}
	schema := &analyticsv1.Schema{PrimaryKeys: o.PrimaryKeys}
	for _, c := range o.Columns {
		if !c.Virtual {
			schema.Columns = append(schema.Columns, &analyticsv1.Column{
				Name: c.Name, Type: storeTypes[c.Type], Indexed: c.Indexed, ScoreParam: c.ScoreParam, Facet: c.Facet,
			})
		}
	}
	return schema
}

// covers reports whether a stored schema is already what is wanted, so that a script that runs every 15 seconds changes nothing.
func covers(have, want *analyticsv1.Schema, merge bool) bool {
	columns := map[string]*analyticsv1.Column{}
	for _, c := range have.GetColumns() {
		columns[c.Name] = c
	}
	for _, c := range want.Columns {
		h := columns[c.Name]
		if h == nil || h.Type != c.Type || h.Indexed != c.Indexed || h.ScoreParam != c.ScoreParam || h.Facet != c.Facet {
			return false
		}
	}
	keys := map[string]bool{}
	for _, k := range have.GetPrimaryKeys() {
		keys[k] = true
	}
	for _, k := range want.PrimaryKeys {
		if !keys[k] {
			return false
		}
	}
	return merge || len(have.GetColumns()) == len(want.Columns) && len(have.GetPrimaryKeys()) == len(want.PrimaryKeys)
}

// writeColumns are the positions of an INSERT into a table.
func (s *session) writeColumns(ctx context.Context, name sparksql.Name) (table string, cols []statement.WriteColumn, err error) {
	temp := s.temps[strings.ToLower(name.Text)]
	if temp != nil {
		if err := s.declare(ctx, temp); err != nil {
			return "", nil, err
		}
		table = temp.options.Table
		for _, c := range temp.options.Columns {
			w := statement.WriteColumn{Name: c.Name, Macro: casts[c.Type], Type: duckTypes[c.Type]}
			switch {
			case c.Virtual && c.Name == sparksql.TimestampColumn:
				w.Role = statement.RoleTimestamp
			case c.Virtual:
				w.Role = statement.RoleTenant
			}
			cols = append(cols, w)
		}
		if cols != nil {
			return table, cols, nil
		}
	} else {
		table = strings.ToUpper(name.Text)
	}
	info, err := s.e.store.GetTable(ctx, &analyticsv1.GetTableRequest{Tenant: s.req.Tenant, Table: table})
	if notFound(err) {
		return "", nil, statement.ErrNoTable.New("there is no table %s", name.Text).At("", name.Pos.Line, name.Pos.Column)
	}
	if err != nil {
		return "", nil, err
	}
	for _, c := range info.Table.GetSchema().GetColumns() {
		typ := typeOfStore(c.Type)
		cols = append(cols, statement.WriteColumn{Name: c.Name, Macro: casts[typ], Type: duckTypes[typ]})
	}
	if cols == nil {
		return "", nil, ErrNoSchema.New("rows can't be written to %s: its schema is not known", table).At("", name.Pos.Line, name.Pos.Column)
	}
	return table, cols, nil
}

// write runs a SELECT and hands its rows to the store in one transaction. The same key writes once, however often it runs.
func (s *session) write(ctx context.Context, n int, st *sparksql.Statement, name sparksql.Name, overwrite bool) (finish, error) {
	table, cols, err := s.writeColumns(ctx, name)
	if err != nil {
		return finish{}, err
	}
	mode := analyticsv1.WriteMode_WRITE_MODE_APPEND
	if overwrite {
		mode = analyticsv1.WriteMode_WRITE_MODE_OVERWRITE
	}
	tx, err := s.e.store.Begin(ctx, &analyticsv1.BeginRequest{
		Tenant: s.req.Tenant, Table: table, Mode: mode, Key: s.runKey(n), FencingEpoch: s.req.FencingEpoch,
	})
	if err != nil {
		return finish{}, err
	}
	if tx.Committed {
		return finish{}, nil
	}
	rows := int64(0)
	if err = s.e.open.add(tx.Transaction); err == nil {
		rows, err = s.stage(ctx, st, tx, cols)
	}
	if err == nil || s.abort(ctx, tx.Transaction) {
		if rmErr := s.e.open.remove(tx.Transaction); rmErr != nil {
			s.e.c.Log().Warn("an ended transaction is still noted as open", "transaction", tx.Transaction, "error", rmErr)
		}
	}
	return finish{rows: rows}, err
}

// stage writes the staged file and commits it.
func (s *session) stage(ctx context.Context, st *sparksql.Statement, tx *analyticsv1.BeginResponse, cols []statement.WriteColumn) (int64, error) {
	folder := filepath.Join(s.e.staging, filepath.FromSlash(tx.Folder))
	if rel, err := filepath.Rel(s.e.staging, folder); err != nil || strings.HasPrefix(rel, "..") {
		return 0, ErrStaging.New("the store names a folder outside of its share: %s", tx.Folder)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, ErrStaging.Wrap(err, "folder %s", tx.Folder)
	}
	// A name of its own for each attempt: one that was given up may still write.
	file := "rows-" + randomHex(8) + ".parquet"
	out := target{path: filepath.Join(folder, file)}
	committed := false
	defer func() {
		if !committed {
			_ = os.Remove(out.path)
		}
	}()
	for _, c := range cols {
		out.uses = append(out.uses, sparksql.WithCalled(c.Macro)...)
	}
	q, err := s.open(ctx, st, &out)
	if err != nil {
		return 0, err
	}
	defer q.close()
	have, err := q.db.Describe(ctx, q.text)
	if err != nil {
		return 0, err
	}
	if len(have) != len(cols) {
		return 0, ErrColumns.New("the SELECT has %d columns, the table has %d", len(have), len(cols)).At("", st.Pos.Line, st.Pos.Column)
	}
	rows, err := q.db.Copy(ctx, q.text, statement.Write{
		Path: out.path, FirstSeq: tx.FirstSeq, MaxRows: tx.MaxRows, Columns: cols, Now: time.Now().UnixMilli(),
	})
	if err != nil {
		return 0, err
	}
	commit := &analyticsv1.CommitRequest{Transaction: tx.Transaction, FencingEpoch: s.req.FencingEpoch}
	if rows > 0 {
		commit.Files = []string{file}
		if err := syncFile(out.path); err != nil {
			return 0, ErrStaging.Wrap(err, "file %s", file)
		}
	}
	// Before the commit: if the process ends between the two, the run that follows reads from the same place again.
	if err := q.noteIncremental(ctx); err != nil {
		return 0, err
	}
	if _, err := s.e.store.Commit(ctx, commit); err != nil {
		// Whether the store has adopted the file is not known now; if not, it removes the folder.
		committed = status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded
		return 0, err
	}
	committed = rows > 0
	return rows, nil
}

// abort lets the store forget a transaction, also when the statement's time is over, and says whether it did.
func (s *session) abort(ctx context.Context, transaction string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if _, err := s.e.store.Abort(ctx, &analyticsv1.AbortRequest{Transaction: transaction}); err != nil {
		s.e.c.Log().Warn("a transaction was not aborted; it is when the component or the store starts anew", "transaction", transaction, "error", err)
		return false
	}
	return true
}

// syncFile brings a file to the disk.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
