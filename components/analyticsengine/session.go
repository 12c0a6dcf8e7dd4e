package analyticsengine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// output takes what a script gives.
type output interface {
	started(n int, st *sparksql.Statement) error
	// sink takes the rows of statement n.
	sink(n int) statement.Sink
	finished(n int, done finish) error
}

// finish says how a statement ended.
type finish struct {
	rows      int64
	elapsed   time.Duration
	truncated bool
}

// session is one run of a script. Temporary tables live as long.
type session struct {
	e   *Engine
	req *analyticsv1.ExecuteRequest
	out output
	// temps by lower-case name.
	temps map[string]*tempTable
	key   string
	rows  int64
}

// tempTable is a table of CREATE TEMPORARY TABLE.
type tempTable struct {
	name    string
	options sparksql.Options
	// created says that the store has the table and its schema.
	created bool
}

// run runs a script's statements in order and stops at the first that fails.
func (e *Engine) run(ctx context.Context, req *analyticsv1.ExecuteRequest, out output) error {
	sts, err := sparksql.Parse(req.Script)
	if err != nil {
		return err
	}
	s := &session{e: e, req: req, out: out, temps: map[string]*tempTable{}, key: req.RunKey, rows: req.MaxRows}
	if s.key == "" {
		s.key = "run:" + randomHex(12)
	}
	if s.rows <= 0 {
		s.rows = e.cfg.ResultRows
	}
	s.rows = min(s.rows, e.cfg.MaxResultRows)
	if req.ReadOnly {
		for _, st := range sts {
			// CREATE TEMPORARY TABLE then only says how an existing table is read.
			if st.Kind == sparksql.KindSelect || st.Kind == sparksql.KindCreate && st.Query == nil {
				continue
			}
			return ErrReadOnly.New("%s is no SELECT", strings.ToUpper(st.Kind)).At("", st.Pos.Line, st.Pos.Column)
		}
	}
	for n, st := range sts {
		if err := s.statement(ctx, n, st); err != nil {
			return err
		}
	}
	return nil
}

// statement runs one statement under its time limit.
func (s *session) statement(ctx context.Context, n int, st *sparksql.Statement) error {
	limit := time.Duration(s.e.cfg.TimeoutSeconds) * time.Second
	if ms := s.req.TimeoutMs; ms > 0 && time.Duration(ms)*time.Millisecond < limit {
		limit = time.Duration(ms) * time.Millisecond
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, statement.ErrTime.New("the statement ran longer than %s", limit).At("", st.Pos.Line, st.Pos.Column))
	defer cancel()
	begin := time.Now()
	if err := s.out.started(n, st); err != nil {
		return err
	}
	var done finish
	var err error
	switch st.Kind {
	case sparksql.KindCreate:
		done, err = s.create(ctx, n, st)
	case sparksql.KindInsert:
		done, err = s.insert(ctx, n, st)
	case sparksql.KindSelect:
		done, err = s.selectRows(ctx, n, st)
	case sparksql.KindIncremental:
		done, err = s.incremental(ctx, n, st)
	}
	if err != nil {
		return s.explain(ctx, st, err)
	}
	done.elapsed = time.Since(begin)
	return s.out.finished(n, done)
}

// explain makes sure that an error has a code and a place in the script.
func (s *session) explain(ctx context.Context, st *sparksql.Statement, err error) error {
	var c *cause.Error
	if ctx.Err() != nil {
		// What a call says when its time is over is less than why it was over.
		if errors.As(context.Cause(ctx), &c) {
			return c
		}
		return statement.ErrCancelled.New("the statement was cancelled").At("", st.Pos.Line, st.Pos.Column)
	}
	c = cause.From(err)
	if _, line, _ := c.Position(); line == 0 {
		c.At("", st.Pos.Line, st.Pos.Column)
	}
	return c
}

// create makes a temporary table, and with AS SELECT replaces its rows.
func (s *session) create(ctx context.Context, n int, st *sparksql.Statement) (finish, error) {
	name := st.Create.Name
	key := strings.ToLower(name.Text)
	t := &tempTable{name: name.Text, options: st.Create.Options}
	if st.Query != nil && t.options.Columns == nil {
		cols, err := s.columnsOf(ctx, st)
		if err != nil {
			return finish{}, err
		}
		t.options.Columns = cols
	}
	if err := s.declare(ctx, t); err != nil {
		return finish{}, err
	}
	s.temps[key] = t
	if st.Query == nil {
		return finish{}, nil
	}
	return s.write(ctx, n, st, name, true)
}

// columnsOf makes a schema from a SELECT's columns.
func (s *session) columnsOf(ctx context.Context, st *sparksql.Statement) ([]sparksql.Column, error) {
	q, err := s.open(ctx, st, nil)
	if err != nil {
		return nil, err
	}
	defer q.close()
	cols, err := q.db.Describe(ctx, q.text)
	if err != nil {
		return nil, err
	}
	var out []sparksql.Column
	for _, c := range cols {
		typ, ok := typeOfDuck(c.Type)
		if !ok {
			return nil, ErrColumns.New("column %s has the type %s, which a table can't keep: cast it, or give the option schema", c.Name, c.Type)
		}
		col := sparksql.Column{Name: c.Name, Type: typ}
		if strings.EqualFold(c.Name, sparksql.TimestampColumn) {
			col.Name, col.Virtual = sparksql.TimestampColumn, true
		}
		out = append(out, col)
	}
	return out, nil
}

// insert runs INSERT INTO and INSERT OVERWRITE.
func (s *session) insert(ctx context.Context, n int, st *sparksql.Statement) (finish, error) {
	return s.write(ctx, n, st, st.Insert.Table, st.Insert.Overwrite)
}

// selectRows runs SELECT.
func (s *session) selectRows(ctx context.Context, n int, st *sparksql.Statement) (finish, error) {
	q, err := s.open(ctx, st, nil)
	if err != nil {
		return finish{}, err
	}
	defer q.close()
	res, err := q.db.Query(ctx, q.text, s.rows, s.out.sink(n))
	if err != nil {
		return finish{}, err
	}
	if err := q.noteIncremental(ctx); err != nil {
		return finish{}, err
	}
	return finish{rows: res.Rows, truncated: res.Truncated}, nil
}

// randomHex gives n random bytes as text.
func randomHex(n int) string {
	b := make([]byte, n)
	// crypto/rand ends the program where it fails.
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// runKey names a statement's transaction.
func (s *session) runKey(n int) string { return fmt.Sprintf("%s/%d", s.key, n) }
