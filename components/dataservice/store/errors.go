package store

import (
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Errors of the store.
var (
	ErrNoTable = cause.Define("CBN-STORE-001", "There is no such table.",
		"See the tables with `carbonado query \"SHOW TABLES\"` or GET /analytics/tables.").Code(codes.NotFound)
	ErrTableExists = cause.Define("CBN-STORE-002", "The table is there already.",
		"Use another name, or create it only if it is not there.").Code(codes.AlreadyExists)
	ErrName = cause.Define("CBN-STORE-003", "A name can't be used.",
		"Names of tables and columns are 1 to 200 letters, digits, '_', '-' or '.', and no reserved ones.").Code(codes.InvalidArgument)
	ErrNoStore = cause.Define("CBN-STORE-004", "There is no such record store.",
		"See the names in repository/conf/datasources/analytics-datasources.xml.").Code(codes.InvalidArgument)
	ErrSchema = cause.Define("CBN-STORE-005", "A schema conflicts with the table's.",
		"Change the column's type or the keys back, or make a new table.").Code(codes.FailedPrecondition)
	ErrRequest = cause.Define("CBN-STORE-006", "A request can't be served as it is.", "Correct the request.").Code(codes.InvalidArgument)
	ErrTenant  = cause.Define("CBN-STORE-007", "Only the tenant carbon.super (-1234) is supported.",
		"Leave the tenant out or use -1234.").Code(codes.Unimplemented)
	ErrValue = cause.Define("CBN-STORE-008", "A value does not fit its column.",
		"Send a value of the column's type.").Code(codes.InvalidArgument)
	ErrNoBinding = cause.Define("CBN-STORE-011", "A stream has no binding to a table.",
		"Deploy an event sink for the stream.").Code(codes.FailedPrecondition)
	ErrOtherSchema = cause.Define("CBN-STORE-012", "A stream's frame has another schema than its binding.",
		"The stream's definition changed: the event sink binds it anew.").Code(codes.FailedPrecondition)
	ErrClosed = cause.Define("CBN-STORE-023", "The store is closing.", "Try again when the component is back.").Code(codes.Unavailable)

	ErrNoTransaction = cause.Define("CBN-STORE-070", "There is no such transaction.",
		"Begin again with the same key: a transaction ends with its commit, its abort or the store's restart.").Code(codes.NotFound)
	ErrFenced = cause.Define("CBN-STORE-071", "A newer holder of the lease has written.",
		"Nothing: this run lost its lease and another one goes on.").Code(codes.Aborted)
	ErrStaged = cause.Define("CBN-STORE-072", "Staged files can't be adopted.",
		"Write Parquet files with `_seq`, `_timestamp` and the table's columns into the transaction's folder.").Code(codes.InvalidArgument)
)
