package duck

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

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
)

// failure is an error of DuckDB as it says it under errors_as_json.
type failure struct {
	Type     string `json:"exception_type"`
	Message  string `json:"exception_message"`
	Position string `json:"position"`
}

// parseFailure reads DuckDB's error text; an error that is no JSON is one of the driver.
func parseFailure(err error) failure {
	text := err.Error()
	if i := strings.IndexByte(text, '{'); i >= 0 {
		var f failure
		if json.Unmarshal([]byte(text[i:]), &f) == nil && f.Message != "" {
			f.Message = clean(f.Message)
			return f
		}
	}
	kind, message, found := strings.Cut(text, " Error: ")
	if !found {
		return failure{Message: clean(text)}
	}
	return failure{Type: kind, Message: clean(message)}
}

// clean makes one line of a message, without the excerpt of the statement that DuckDB adds.
func clean(message string) string {
	if i := strings.Index(message, "\n\nLINE "); i >= 0 {
		message = message[:i]
	}
	return strings.Join(strings.Fields(message), " ")
}

// explain turns an error of a call into a cause. The context tells a time limit from a cancel.
func explain(ctx context.Context, err error) (*cause.Error, failure) {
	if ctxErr := ctx.Err(); ctxErr != nil {
		var why *cause.Error
		if errors.As(context.Cause(ctx), &why) {
			return why, failure{}
		}
		if errors.Is(ctxErr, context.DeadlineExceeded) {
			return ErrTime.New("the statement was stopped at its time limit"), failure{}
		}
		return ErrCancelled.New("the statement was cancelled"), failure{}
	}
	var own *cause.Error
	if errors.As(err, &own) {
		return own, failure{}
	}
	f := parseFailure(err)
	switch f.Type {
	case "Binder", "Catalog", "Parser", "Syntax", "Mismatch Type":
		return ErrBind.New("%s", f.Message), f
	case "Permission":
		return ErrForbidden.New("%s", f.Message), f
	case "Out of Memory", "OutOfMemory":
		return ErrMemory.New("%s", firstSentence(f.Message)), f
	case "Interrupt", "INTERRUPT":
		return ErrCancelled.New("the statement was cancelled"), f
	case "Internal", "Fatal", "INTERNAL", "FATAL":
		return ErrEngine.New("%s", f.Message), f
	}
	if strings.Contains(f.Message, "max_temp_directory_size") || strings.Contains(f.Message, "Out of Memory") {
		return ErrMemory.New("%s", firstSentence(f.Message)), f
	}
	return ErrRun.New("%s", f.Message), f
}

// firstSentence drops DuckDB's advice, which speaks of settings that scripts can't set.
func firstSentence(s string) string {
	if i := strings.Index(s, " Possible solutions"); i >= 0 {
		s = s[:i]
	}
	if i := strings.Index(s, ". This limit was set by"); i >= 0 {
		s = s[:i]
	}
	return s
}
