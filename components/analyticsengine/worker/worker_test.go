package worker

import (
	"context"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/cause"
)

func TestMain(m *testing.M) {
	if Called() {
		Main(func(_ context.Context, l statement.Limits) (statement.Database, error) { return &fake{limits: l}, nil })
		return
	}
	goleak.VerifyTestMain(m)
}

// errFake has a place and a reason, so that the test sees that both travel.
var errFake = cause.Define("CBN-SQL-021", "test", "fix")

// everything is a row with each kind of value.
var everything = []any{nil, true, int8(-1), int16(2), int32(3), int64(-4), uint8(5), uint16(6), uint32(7), uint64(8), big.NewInt(1 << 62), float32(1.5), 0.0, "", "x",
	[]byte{1, 0}, time.UnixMicro(1234567).UTC(), []any{int64(1), nil, []any{"y"}}, statement.Decimal{Unscaled: big.NewInt(-15), Text: "-1.5"}, statement.Interval{Months: 1, Days: -2, Micros: 3}}

// fake is a database in the worker; the text of a query says what it does.
type fake struct{ limits statement.Limits }

func (f *fake) Check(_ context.Context, q *sparksql.Rewritten) ([]statement.TableUse, error) {
	if q.SQL == "wrong" {
		p := q.At(3)
		return nil, errFake.Wrap(errors.New("inner"), "outer").At("", p.Line, p.Column)
	}
	return []statement.TableUse{{Name: f.limits.Zone.String(), Offset: os.Getpid()}}, nil
}

func (f *fake) Qualify(_ context.Context, q *sparksql.Rewritten, uses []statement.TableUse) (*sparksql.Rewritten, error) {
	return q.With([]sparksql.Insertion{{Offset: uses[0].Offset, Text: "das."}}), nil
}

func (f *fake) Lock(_ context.Context, files, _ []string) error {
	return os.WriteFile(filepath.Join(f.limits.Spill, files[0]), nil, 0o600)
}

func (f *fake) AddTable(_ context.Context, t statement.Table) error {
	if t.From == nil || *t.From != 0 || t.To != nil || len(t.Files[0].Dead) != 2 {
		return errFake.New("table %+v", t)
	}
	return nil
}

func (f *fake) Describe(context.Context, *sparksql.Rewritten) ([]statement.ResultColumn, error) {
	return []statement.ResultColumn{{Name: "a", Type: "INTEGER"}}, nil
}

func (f *fake) Query(ctx context.Context, q *sparksql.Rewritten, maxRows int64, sink statement.Sink) (statement.Result, error) {
	var res statement.Result
	if err := sink.Columns([]statement.ResultColumn{{Name: "a", Type: "ANY"}}); err != nil {
		return res, err
	}
	switch q.SQL {
	case "hang":
		<-ctx.Done()
		return res, errors.New("interrupted")
	case "deaf":
		select {}
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	for range maxRows {
		if ctx.Err() != nil {
			return res, ctx.Err()
		}
		if err := sink.Row(everything); err != nil {
			return res, err
		}
		res.Rows++
	}
	res.Truncated = true
	return res, nil
}

func (f *fake) Copy(_ context.Context, _ *sparksql.Rewritten, w statement.Write) (int64, error) {
	return int64(w.FirstSeq), nil
}

func (f *fake) Close() error { return nil }

type collect struct {
	columns []statement.ResultColumn
	rows    [][]any
	err     error
	first   chan struct{}
}

func (c *collect) Columns(cols []statement.ResultColumn) error {
	c.columns = cols
	if c.first != nil {
		close(c.first)
	}
	return nil
}

func (c *collect) Row(values []any) error {
	c.rows = append(c.rows, append([]any(nil), values...))
	return c.err
}

func newPool(t *testing.T) (*Pool, string) {
	t.Helper()
	spill := t.TempDir()
	p, err := NewPool(os.Args[0], spill)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(spill); len(left) > 0 {
			t.Errorf("%s is left of a worker", left[0].Name())
		}
	})
	return p, spill
}

func open(t *testing.T, p *Pool, spill string) statement.Database {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	db, err := p.Open(t.Context(), statement.Limits{Memory: 1, Threads: 1, Spill: spill, SpillMax: 1, Zone: zone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func text(s string) *sparksql.Rewritten { return &sparksql.Rewritten{SQL: s} }

// pid is the worker's, which the fake gives as an offset.
func pid(t *testing.T, db statement.Database) int {
	t.Helper()
	uses, err := db.Check(t.Context(), text(""))
	if err != nil {
		t.Fatal(err)
	}
	return uses[0].Offset
}

func TestEverythingTravels(t *testing.T) {
	p, spill := newPool(t)
	db := open(t, p, spill)
	uses, err := db.Check(t.Context(), text("SELECT"))
	if err != nil || uses[0].Name != "Europe/Berlin" {
		t.Fatalf("%v %v", uses, err)
	}
	marked := &sparksql.Rewritten{SQL: "wrong", Marks: []sparksql.Mark{{Offset: 0, Pos: sparksql.Pos{Line: 1, Column: 1}}, {Offset: 2, Pos: sparksql.Pos{Line: 7, Column: 9}}}}
	_, err = db.Check(t.Context(), marked)
	var c *cause.Error
	if !errors.As(err, &c) || !errors.Is(err, errFake) || !strings.Contains(err.Error(), "inner") {
		t.Fatalf("error %v", err)
	}
	if _, line, column := c.Position(); line != 7 || column != 9 {
		t.Errorf("the error is at %d:%d", line, column)
	}
	q, err := db.Qualify(t.Context(), marked, []statement.TableUse{{Name: "t", Offset: 2}})
	if err != nil || q.SQL != "wrdas.ong" || q.At(7) != (sparksql.Pos{Line: 7, Column: 9}) {
		t.Errorf("qualified %+v, %v", q, err)
	}
	if err := db.Lock(t.Context(), []string{"spilled"}, nil); err != nil {
		t.Fatal(err)
	}
	zero := int64(0)
	if err := db.AddTable(t.Context(), statement.Table{Name: "t", From: &zero, Files: []statement.File{{Dead: []uint64{1, 1 << 63}}}}); err != nil {
		t.Error(err)
	}
	if cols, err := db.Describe(t.Context(), text("")); err != nil || cols[0].Name != "a" {
		t.Errorf("%v %v", cols, err)
	}
	if n, err := db.Copy(t.Context(), text(""), statement.Write{FirstSeq: 42}); err != nil || n != 42 {
		t.Errorf("%d %v", n, err)
	}
	var got collect
	const rows = 3*batchRows + 1
	res, err := db.Query(t.Context(), text(""), rows, &got)
	if err != nil || res.Rows != rows || !res.Truncated || len(got.rows) != rows || len(got.columns) != 1 {
		t.Fatalf("%+v %v, %d rows", res, err, len(got.rows))
	}
	for _, i := range []int{0, rows - 1} {
		if !reflect.DeepEqual(got.rows[i], everything) {
			t.Errorf("row %d\ngot  %#v\nwant %#v", i, got.rows[i], everything)
		}
	}
	// A query without rows has its columns.
	got = collect{}
	if _, err := db.Query(t.Context(), text(""), 0, &got); err != nil || len(got.columns) != 1 {
		t.Errorf("%v %v", got.columns, err)
	}
}

// TestAWorkerServesManyAndEndsAtRest: statements one after the other share a process; without statements there is none.
func TestAWorkerServesManyAndEndsAtRest(t *testing.T) {
	p, spill := newPool(t)
	first := open(t, p, spill)
	other := open(t, p, spill)
	a, b := pid(t, first), pid(t, other)
	if a == b {
		t.Fatal("two statements at once share a process")
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	again := open(t, p, spill)
	if pid(t, again) != a {
		t.Error("a worker at rest was not used")
	}
	w := again.(*session).w
	again.Close()
	other.Close()
	select {
	case <-w.done:
	case <-time.After(20 * Rest):
		t.Error("a worker at rest did not end")
	}
	if w.err != nil {
		t.Errorf("it ended with %v", w.err)
	}
}

// TestAKilledWorkerFailsItsStatementAlone: one clear error, then the next statement runs; one killed at rest is not noticed.
func TestAKilledWorkerFailsItsStatementAlone(t *testing.T) {
	p, spill := newPool(t)
	db, other := open(t, p, spill), open(t, p, spill)
	_, err := db.Query(t.Context(), text("crash"), 1, &collect{})
	if !errors.Is(err, statement.ErrWorker) || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("error %v", err)
	}
	if _, err := db.Check(t.Context(), text("")); !errors.Is(err, statement.ErrWorker) {
		t.Errorf("a statement went on in another process: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	victim := pid(t, other)
	w := other.(*session).w
	other.Close()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if next := open(t, p, spill); pid(t, next) == victim {
		t.Error("a killed worker answers")
	}
	<-w.done
}

func TestCancel(t *testing.T) {
	p, spill := newPool(t)
	why := statement.ErrTime.New("too long")
	for _, query := range []string{"hang", "deaf", "endless"} {
		db := open(t, p, spill)
		ctx, cancel := context.WithCancelCause(t.Context())
		// The columns come before the query hangs only in one that sends rows.
		first := make(chan struct{})
		if query == "endless" {
			go func() { <-first; cancel(why) }()
		} else {
			time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		}
		_, err := db.Query(ctx, text(query), 1<<40, &collect{first: first})
		if !errors.Is(err, statement.ErrTime) {
			t.Errorf("%s: %v", query, err)
		}
		// A call that listens leaves the worker as it was; one that doesn't has been killed.
		if _, err := db.Check(t.Context(), text("")); errors.Is(err, statement.ErrWorker) != (query == "deaf") {
			t.Errorf("after %s: %v", query, err)
		}
		cancel(nil)
		db.Close()
	}
}

// TestASinkThatFailsEndsTheQuery: its own error comes back, and the worker can be used again.
func TestASinkThatFailsEndsTheQuery(t *testing.T) {
	p, spill := newPool(t)
	db := open(t, p, spill)
	full := errors.New("full")
	if _, err := db.Query(t.Context(), text("endless"), 1<<40, &collect{err: full}); !errors.Is(err, full) {
		t.Fatalf("error %v", err)
	}
	pid(t, db)
}

// TestCloseEndsRunningStatements: the component that stops doesn't wait for them.
func TestCloseEndsRunningStatements(t *testing.T) {
	p, err := NewPool(os.Args[0], "")
	if err != nil {
		t.Fatal(err)
	}
	db := open(t, p, "")
	ended := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		_, err := db.Query(context.Background(), text("endless"), 1<<40, &collect{first: first})
		ended <- err
	}()
	<-first
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, statement.ErrCancelled) {
		t.Errorf("error %v", err)
	}
	if _, err := p.Open(t.Context(), statement.Limits{}); !errors.Is(err, statement.ErrCancelled) {
		t.Errorf("a stopped engine opens a database: %v", err)
	}
}

// TestNoWorkerOutlivesItsParent: the conversation's end is the worker's end, also while a statement runs.
func TestNoWorkerOutlivesItsParent(t *testing.T) {
	p, spill := newPool(t)
	db := open(t, p, spill)
	w := db.(*session).w
	first := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := db.Query(context.Background(), text("endless"), 1<<40, &collect{first: first})
		ended <- err
	}()
	<-first
	w.conn.Close()
	select {
	case <-w.done:
	case <-time.After(10 * time.Second):
		t.Error("the worker lives on")
	}
	if err := <-ended; !errors.Is(err, statement.ErrWorker) {
		t.Errorf("error %v", err)
	}
}
