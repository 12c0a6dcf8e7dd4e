// Package statement is the vocabulary between the engine and the process that runs one statement: what a database is asked, what it
// answers, and how it fails. It must not know DuckDB, processes or the record store.
package statement

import (
	"context"
	"math/big"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

// Database runs one statement. It is not safe for concurrent use. Close ends it and may be called twice. Ending a call's context ends
// the call.
type Database interface {
	// Check walks over a rewritten SELECT and returns the tables that it names, in order; what is not allowed is an error.
	Check(ctx context.Context, q *sparksql.Rewritten) ([]TableUse, error)
	// Qualify puts the schema of the statement's tables before the tables named and checks the result again.
	Qualify(ctx context.Context, q *sparksql.Rewritten, uses []TableUse) (*sparksql.Rewritten, error)
	// Lock closes the database to everything but the files named, for ever, and makes the macros and functions named.
	Lock(ctx context.Context, files, uses []string) error
	AddTable(ctx context.Context, t Table) error
	// Describe gives the columns of a checked SELECT without running it.
	Describe(ctx context.Context, q *sparksql.Rewritten) ([]ResultColumn, error)
	// Query runs a checked SELECT and hands at most maxRows rows to the sink.
	Query(ctx context.Context, q *sparksql.Rewritten, maxRows int64, sink Sink) (Result, error)
	// Copy runs a checked SELECT and writes its rows into a Parquet file. It returns how many rows that were.
	Copy(ctx context.Context, q *sparksql.Rewritten, w Write) (int64, error)
	Close() error
}

// Open makes a database.
type Open func(ctx context.Context, limits Limits) (Database, error)

// Limits bound one database.
type Limits struct {
	// Memory in bytes that DuckDB's buffers may take.
	Memory int64
	// Threads of DuckDB.
	Threads int
	// Spill is the folder below which data that doesn't fit is written; empty: nothing is spilled.
	Spill string
	// SpillMax in bytes.
	SpillMax int64
	// Zone is the session's time zone; nil is UTC. It must have an IANA name.
	Zone *time.Location
}

// TableUse is a table that a statement names.
type TableUse struct {
	Name string
	// Offset in the statement's rewritten text.
	Offset int
}

// File is a Parquet file of a table.
type File struct {
	// Path is absolute.
	Path string
	// Dead are values of `_seq` that no longer count.
	Dead []uint64
}

// Column is a column of a table as a statement sees it.
type Column struct {
	Name string
	// Type is DuckDB's name of the type: VARCHAR, INTEGER …
	Type string
	// Constant is an expression that stands for the column; empty: the column comes from the files.
	Constant string
}

// Table is a table that a statement reads.
type Table struct {
	// Name as the statement writes it, in any case.
	Name    string
	Columns []Column
	Files   []File
	// From and To bound `_timestamp`, [From, To); nil is open.
	From, To *int64
}

// ResultColumn is a column of a result. Type is DuckDB's name of it.
type ResultColumn struct {
	Name string
	Type string
}

// Sink takes a result: first its columns, then its rows.
type Sink interface {
	Columns(cols []ResultColumn) error
	// Row must not keep the slice.
	Row(values []any) error
}

// Result says how a query ended.
type Result struct {
	Rows      int64
	Truncated bool
}

// Values of a row are nil, bool, the int and uint types of 8 to 64 bits, *big.Int, float32, float64, string, []byte, time.Time in UTC,
// []any of these, and the two types below.

// Decimal is a number with a fixed count of digits behind the point.
type Decimal struct {
	// Unscaled is the number without its point.
	Unscaled *big.Int
	Text     string
}

// String is the number as it is written.
func (d Decimal) String() string { return d.Text }

// Interval is a span of time.
type Interval struct {
	Months, Days int32
	Micros       int64
}

// Write says how rows of a SELECT become a staged Parquet file.
type Write struct {
	// Path is absolute and was named to Lock.
	Path     string
	FirstSeq uint64
	// MaxRows that may be written; more is an error.
	MaxRows uint64
	// Columns are the table's, by position of the SELECT's; a virtual one has no name in the file.
	Columns []WriteColumn
	// Now is the `_timestamp`, in milliseconds, of rows without one of their own.
	Now int64
}

// WriteColumn is one position of the SELECT.
type WriteColumn struct {
	Name string
	// Macro casts to Type as Spark does; empty: a plain cast.
	Macro string
	Type  string
	// Role tells `_timestamp` and `_tenantId` from columns of the table.
	Role Role
}

// Role of a written column.
type Role uint8

// Roles.
const (
	RoleColumn Role = iota
	RoleTimestamp
	RoleTenant
)
