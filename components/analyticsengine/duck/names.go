package duck

import "carbonado.dev/carbonado/components/analyticsengine/statement"

// The vocabulary is that of package statement, which the engine shares and which needs no DuckDB.
type (
	Limits       = statement.Limits
	TableUse     = statement.TableUse
	File         = statement.File
	Column       = statement.Column
	Table        = statement.Table
	ResultColumn = statement.ResultColumn
	Sink         = statement.Sink
	Result       = statement.Result
	Write        = statement.Write
	WriteColumn  = statement.WriteColumn
)

// Roles of written columns.
const (
	RoleColumn    = statement.RoleColumn
	RoleTimestamp = statement.RoleTimestamp
	RoleTenant    = statement.RoleTenant
)

// The kinds of errors.
var (
	ErrForbidden = statement.ErrForbidden
	ErrBind      = statement.ErrBind
	ErrRun       = statement.ErrRun
	ErrMemory    = statement.ErrMemory
	ErrTime      = statement.ErrTime
	ErrCancelled = statement.ErrCancelled
	ErrEngine    = statement.ErrEngine
)
