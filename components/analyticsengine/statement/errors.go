package statement

import (
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// The kinds of errors of running a statement.
var (
	// ErrForbidden is a statement that leaves the allow-list: files, settings, DuckDB's own functions.
	ErrForbidden = cause.Define("CBN-SQL-020", "The statement uses something that scripts must not use.",
		"Read tables by name and use the functions of docs/sql.md.").Code(codes.PermissionDenied)
	// ErrBind is a statement that names a column or uses types wrongly.
	ErrBind = cause.Define("CBN-SQL-021", "The statement doesn't fit its tables.",
		"Check names and types of columns.").Code(codes.InvalidArgument)
	// ErrNoTable is a table that neither the script nor the store has.
	ErrNoTable = cause.Define("CBN-SQL-022", "There is no such table.",
		"Create it by CREATE TEMPORARY TABLE, or correct its name.").Code(codes.NotFound)
	// ErrRun is a statement that failed while it ran, on a value for instance.
	ErrRun = cause.Define("CBN-SQL-023", "The statement failed while it ran.",
		"See the reason; a value may not fit its type.").Code(codes.FailedPrecondition)
	// ErrMemory is a statement that needs more memory or disk than the engine may use.
	ErrMemory = cause.Define("CBN-SQL-024", "The statement needs more memory than the engine may use.",
		"Read less, or raise resources.memory or the setting memory of AnalyticsEngine.").Code(codes.ResourceExhausted)
	// ErrTime is a statement that ran longer than allowed.
	ErrTime = cause.Define("CBN-SQL-025", "The statement ran longer than allowed.",
		"Read less, or raise the setting timeout of AnalyticsEngine.").Code(codes.DeadlineExceeded)
	// ErrCancelled is a statement that was cancelled.
	ErrCancelled = cause.Define("CBN-SQL-026", "The statement was cancelled.", "").Code(codes.Canceled)
	// ErrEngine is DuckDB failing by itself.
	ErrEngine = cause.Define("CBN-SQL-027", "DuckDB failed.", "Report it with the statement.").Code(codes.Internal)
	// ErrWorker is a statement whose process ended before it had answered.
	ErrWorker = cause.Define("CBN-SQL-028", "The process that ran the statement ended.",
		"Run the statement again. If it ends again, see the log of AnalyticsEngine; it may need more memory than the machine has.").Code(codes.Unavailable)
)
