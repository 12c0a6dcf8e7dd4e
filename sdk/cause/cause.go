// Package cause is the error that says what is wrong, why, where and what to do: one object from a component's code to the
// operator's terminal. It must not know who raises causes or who prints them.
package cause

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Kind is one entry of the error catalogue. Kinds are package variables made by Define and compared by identity, so
// errors.Is(err, ErrNoTable) works on both sides of a gRPC call.
type Kind struct {
	id      string
	summary string
	fix     string
	grpc    codes.Code
}

// Define makes a kind. The id is "CBN-<AREA>-<3 digits>", the summary one sentence on the kind of error, the fix what its
// reader can do. The error catalogue (docs/errors.md) is made from the calls of Define.
func Define(id, summary, fix string) *Kind {
	return &Kind{id: id, summary: summary, fix: fix, grpc: codes.FailedPrecondition}
}

// Code sets the gRPC status code under which the kind travels (default FAILED_PRECONDITION) and returns the kind.
func (k *Kind) Code(c codes.Code) *Kind {
	k.grpc = c
	return k
}

// ID is the stable code, for example "CBN-STORE-001".
func (k *Kind) ID() string { return k.id }

// Error makes a Kind usable as the target of errors.Is.
func (k *Kind) Error() string { return k.id + ": " + k.summary }

// New makes an error of this kind. The text names the culprit.
func (k *Kind) New(format string, args ...any) *Error {
	return &Error{code: k.id, text: fmt.Sprintf(format, args...), fix: k.fix, grpc: k.grpc}
}

// Wrap makes an error of this kind whose direct reason is err. A nil err is allowed. A full disk's is a DiskFull, whose fix is the
// error's too.
func (k *Kind) Wrap(err error, format string, args ...any) *Error {
	e := k.New(format, args...)
	e.wrapped = err
	if full := diskFull(err); full != nil {
		e.wrapped, e.fix = full, full.fix
	} else if full := fullIn(err); full != nil {
		e.fix = full.fix
	}
	return e
}

// Error is one cause. It is immutable once returned to a caller; At and Fix are for its maker.
type Error struct {
	code    string
	text    string
	fix     string
	file    string
	line    int
	column  int
	grpc    codes.Code
	wrapped error
	// system is what the system said where text holds it already.
	system error
}

// At says where the culprit stands. Line and column count from 1; 0 is unknown.
func (e *Error) At(file string, line, column int) *Error {
	e.file, e.line, e.column = file, line, column
	return e
}

// Fix replaces the kind's general advice by a particular one.
func (e *Error) Fix(format string, args ...any) *Error {
	e.fix = fmt.Sprintf(format, args...)
	return e
}

// Code is the stable code of the error's kind.
func (e *Error) Code() string { return e.code }

// Position is where the culprit stands; an empty file or a zero line is unknown.
func (e *Error) Position() (file string, line, column int) { return e.file, e.line, e.column }

// Error prints "CODE file:line:column: text: reason".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.code)
	if e.file != "" || e.line > 0 {
		b.WriteByte(' ')
		b.WriteString(e.file)
		if e.line > 0 {
			fmt.Fprintf(&b, ":%d", e.line)
		}
		if e.column > 0 {
			fmt.Fprintf(&b, ":%d", e.column)
		}
	}
	b.WriteString(": ")
	b.WriteString(e.text)
	if e.wrapped != nil {
		b.WriteString(": ")
		b.WriteString(e.wrapped.Error())
	}
	return b.String()
}

// Unwrap gives the direct reason.
func (e *Error) Unwrap() error {
	if e.wrapped == nil {
		return e.system
	}
	return e.wrapped
}

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(*Kind)
	return ok && k.id == e.code
}

// Proto is the error as it travels and as it is printed in JSON.
func (e *Error) Proto() *commonv1.Cause {
	c := &commonv1.Cause{Code: e.code, Text: e.text, Fix: e.fix, File: e.file, Line: int32(e.line), Column: int32(e.column)}
	if e.wrapped != nil {
		reason := Proto(e.wrapped)
		c.Chain = append([]*commonv1.Cause{reason}, reason.Chain...)
		reason.Chain = nil
	}
	return c
}

// GRPCStatus makes the error a gRPC status with the cause as its detail.
func (e *Error) GRPCStatus() *status.Status {
	st := status.New(e.grpc, e.Error())
	if with, err := st.WithDetails(e.Proto()); err == nil {
		return with
	}
	return st
}

// Unknown is the kind of errors that carry no cause of their own.
var Unknown = Define("CBN-SDK-001", "An error without a code.", "Report it: every error should have a code.").Code(codes.Unknown)

// Unreachable is the kind of a call that no provider answered in time.
var Unreachable = Define("CBN-SDK-002", "A service did not answer.", "See `carbonado component diag` of its provider.").Code(codes.Unavailable)

// From turns any error into an *Error: an *Error in the chain, the detail of a gRPC status, a DiskFull, or an Unknown around err.
// From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if st, ok := status.FromError(err); ok {
		for _, d := range st.Details() {
			if c, ok := d.(*commonv1.Cause); ok {
				return FromProto(c, st.Code())
			}
		}
		switch st.Code() {
		case codes.Unavailable, codes.DeadlineExceeded:
			return Unreachable.New("%s", st.Message())
		}
		return Unknown.New("%s", st.Message())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unreachable.New("%s", err.Error())
	}
	if full := diskFull(err); full != nil {
		return full
	}
	return Unknown.New("%s", err.Error())
}

// FromProto rebuilds an error that came over the wire. A nil cause is a nil error.
func FromProto(c *commonv1.Cause, code codes.Code) *Error {
	if c == nil {
		return nil
	}
	e := &Error{code: c.Code, text: c.Text, fix: c.Fix, file: c.File, line: int(c.Line), column: int(c.Column), grpc: code}
	next := e
	for _, r := range c.Chain {
		reason := &Error{code: r.Code, text: r.Text, fix: r.Fix, file: r.File, line: int(r.Line), column: int(r.Column), grpc: code}
		next.wrapped = reason
		next = reason
	}
	return e
}

// Proto turns any error into the message that is printed and sent. Proto(nil) is nil.
func Proto(err error) *commonv1.Cause {
	if err == nil {
		return nil
	}
	return From(err).Proto()
}
