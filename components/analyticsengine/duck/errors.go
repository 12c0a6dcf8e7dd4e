package duck

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"carbonado.dev/sdk/cause"
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
