// Package worker runs statements in processes of their own, one at a time in each, so that a component that is not asked holds no database
// engine in memory, and a statement that ends its process ends itself alone. It must not know DuckDB, the record store or scripts.
package worker

import (
	"encoding/gob"
	"math/big"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// operation is what a request asks for.
type operation uint8

const (
	opOpen operation = iota + 1
	opCheck
	opQualify
	opLock
	opTable
	opDescribe
	opQuery
	opCopy
	opClose
	// opCancel ends the call of its number, if it still runs. It has no reply of its own.
	opCancel
)

// request goes to the worker. One call runs at a time; Call numbers them.
type request struct {
	Call    uint64
	Op      operation
	Limits  limits
	Query   *sparksql.Rewritten
	Uses    []statement.TableUse
	Files   []string
	Names   []string
	Table   table
	MaxRows int64
	Write   statement.Write
}

// limits are statement.Limits with the zone by name.
type limits struct {
	Memory, SpillMax int64
	Threads          int
	Spill, Zone      string
}

// table is a statement.Table whose bounds are lists of none or one: gob leaves out a pointer to 0.
type table struct {
	Name     string
	Columns  []statement.Column
	Files    []statement.File
	From, To []int64
}

// reply comes from the worker: of a query several, each with rows; the last one of each call says so.
type reply struct {
	Call    uint64
	Last    bool
	Columns []statement.ResultColumn
	// Rows is how many rows Data holds.
	Rows   int
	Data   []column
	Uses   []statement.TableUse
	Query  *sparksql.Rewritten
	Result statement.Result
	Count  int64
	// Cause is a commonv1.Cause if the call failed.
	Cause []byte
	Code  uint32
}

func init() {
	gob.Register(time.Time{})
	gob.Register(&big.Int{})
	gob.Register([]any{})
	gob.Register(statement.Decimal{})
	gob.Register(statement.Interval{})
}

func wireLimits(l statement.Limits) limits {
	w := limits{Memory: l.Memory, SpillMax: l.SpillMax, Threads: l.Threads, Spill: l.Spill, Zone: "UTC"}
	if l.Zone != nil {
		w.Zone = l.Zone.String()
	}
	return w
}

func (w limits) statement() (statement.Limits, error) {
	l := statement.Limits{Memory: w.Memory, SpillMax: w.SpillMax, Threads: w.Threads, Spill: w.Spill}
	var err error
	if l.Zone, err = time.LoadLocation(w.Zone); err != nil {
		return l, statement.ErrEngine.Wrap(err, "time zone %s", w.Zone)
	}
	return l, nil
}

func bound(p *int64) []int64 {
	if p == nil {
		return nil
	}
	return []int64{*p}
}

func unbound(l []int64) *int64 {
	if len(l) == 0 {
		return nil
	}
	return &l[0]
}

func wireTable(t statement.Table) table {
	return table{Name: t.Name, Columns: t.Columns, Files: t.Files, From: bound(t.From), To: bound(t.To)}
}

func (w table) statement() statement.Table {
	return statement.Table{Name: w.Name, Columns: w.Columns, Files: w.Files, From: unbound(w.From), To: unbound(w.To)}
}

// fail puts an error into a reply.
func (r *reply) fail(err error) {
	b, marshalErr := proto.Marshal(cause.Proto(err))
	if marshalErr != nil {
		b, _ = proto.Marshal(statement.ErrEngine.New("an error can't be told").Proto())
	}
	r.Cause, r.Code = b, uint32(status.Code(cause.From(err)))
}

// failure is the error of a reply; nil if the call succeeded.
func (r *reply) failure() error {
	if r.Cause == nil {
		return nil
	}
	var c commonv1.Cause
	if err := proto.Unmarshal(r.Cause, &c); err != nil {
		return statement.ErrEngine.Wrap(err, "an error that can't be read")
	}
	return cause.FromProto(&c, codes.Code(r.Code))
}
