package sparksql

import (
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// The kinds of errors of the SQL front. All carry line and column within the script.
var (
	// ErrSyntax is text that no Spark SQL parser would take.
	ErrSyntax = cause.Define("CBN-SQL-001", "The script is not valid SQL.",
		"Correct the script at the line and column named.").Code(codes.InvalidArgument)
	// ErrStatement is a statement of a kind that this engine does not run.
	ErrStatement = cause.Define("CBN-SQL-002", "The statement is of a kind that this engine does not run.",
		"Use CREATE TEMPORARY TABLE … USING CarbonAnalytics, INSERT INTO, INSERT OVERWRITE TABLE, SELECT or INCREMENTAL_TABLE_….").Code(codes.Unimplemented)
	// ErrUnsupported is a function, clause or operator of Spark that this engine does not run. It is refused, never approximated.
	ErrUnsupported = cause.Define("CBN-SQL-003", "The statement uses a part of Spark SQL that this engine does not run.",
		"Write the statement without it; docs/sql.md lists what runs.").Code(codes.Unimplemented)
	// ErrOption is a wrong option of CREATE TEMPORARY TABLE … USING CarbonAnalytics.
	ErrOption = cause.Define("CBN-SQL-004", "An option of CREATE TEMPORARY TABLE is wrong.",
		"Correct the option; docs/sql.md lists all of them.").Code(codes.InvalidArgument)
	// ErrTooLarge is a script beyond the front's limits.
	ErrTooLarge = cause.Define("CBN-SQL-005", "The script is too large or too deeply nested.",
		"Split the script.").Code(codes.InvalidArgument)
	// ErrEmpty is a script without a statement.
	ErrEmpty = cause.Define("CBN-SQL-006", "The script has no statement.",
		"Write at least one statement; statements end with a semicolon.").Code(codes.InvalidArgument)
)

// at makes an error of a kind at a position of the script.
func at(k *cause.Kind, p Pos, format string, args ...any) *cause.Error {
	return k.New(format, args...).At("", p.Line, p.Column)
}
