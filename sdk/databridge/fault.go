package databridge

import (
	"errors"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Errors of the protocol.
var (
	ErrProtocol      = cause.Define("CBN-RCV-001", "A connection does not speak the databridge protocol.", "Use a Thrift client with the binary protocol, unframed.").Code(codes.InvalidArgument)
	ErrMalformed     = cause.Define("CBN-RCV-002", "A bundle is malformed.", "The sending agent is broken or the stream's definition differs on its side.").Code(codes.InvalidArgument)
	ErrTooLarge      = cause.Define("CBN-RCV-003", "A message is larger than allowed.", "Send smaller bundles or raise the receiver's limit maxBundle.").Code(codes.ResourceExhausted)
	ErrUnknownStream = cause.Define("CBN-RCV-004", "A bundle has an event of a stream that is not defined.", "Define the stream: deploy its file in eventstreams or call defineStream.").Code(codes.NotFound)
	ErrAmbiguous     = cause.Define("CBN-RCV-005", "The protocol does not say which attribute is null.", "Give the attribute a value, make it a string, or publish with the Go agent, which marks nulls.").Code(codes.InvalidArgument)
	ErrSession       = cause.Define("CBN-RCV-006", "A session is unknown or has expired.", "Log in again; agents do so by themselves.").Code(codes.Unauthenticated)
	ErrEventTooLarge = cause.Define("CBN-RCV-007", "An event is too large for a frame.", "Send a smaller event; the limit is 4 MiB with its headers.").Code(codes.ResourceExhausted)
	ErrUTF8          = cause.Define("CBN-RCV-008", "A string is not UTF-8.", "Encode the event's strings as UTF-8.").Code(codes.InvalidArgument)
)

// FaultKind is one of the protocol's exceptions, or the closing of the connection.
type FaultKind int

// The kinds. A method may answer those that the IDL lists for it; another kind becomes a Thrift application exception.
const (
	// CloseConnection ends the connection without a reply, so that the agent sends the bundle elsewhere or again.
	CloseConnection FaultKind = iota + 1
	UndefinedEventType
	SessionExpired
	Authentication
	DifferentDefinition
	MalformedDefinition
	DefinitionFailed
	NoDefinition
)

// Fault is an error that a Handler answers with: which exception the client gets, and why.
type Fault struct {
	Kind FaultKind
	Err  error
}

// NewFault makes a fault.
func NewFault(kind FaultKind, err error) *Fault { return &Fault{Kind: kind, Err: err} }

func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// faultKind is the kind of an error's fault, 0 if it is none.
func faultKind(err error) FaultKind {
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return 0
}
