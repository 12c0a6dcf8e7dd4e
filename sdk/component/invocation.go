package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Errors of CLI verbs.
var (
	ErrNoServer = cause.Define("CBN-SDK-042", "The node's server can't be reached.", "Start it with `bin/carbonado.sh start`, or set CARBON_HOME to the installation that runs.").Code(codes.Unavailable)
	ErrAnswer   = cause.Define("CBN-SDK-043", "The node's answer can't be used.", "See `carbonado status`, and the log in repository/logs.")
)

// Exit codes of Invocation.Fail.
const (
	exitFailed      = 1
	exitUnreachable = 69
)

// Invocation is one call of a CLI verb, `carbonado <verb> args…`.
type Invocation struct {
	Verb           string
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Admin reaches the node over its admin socket, signed in as operator: URLs "http://admin/…". A server that is not there is an
	// ErrNoServer.
	Admin *http.Client
}

// Fail prints an error with its code and what to do, and answers the exit code: 69 if the server can't be reached, else 1.
func (i *Invocation) Fail(err error) int {
	c := cause.From(err)
	if c.Code() == cause.Unknown.ID() {
		fmt.Fprintf(i.Stderr, "%s: %s\n", i.Verb, err)
		return exitFailed
	}
	fmt.Fprintf(i.Stderr, "%s: %s\n", i.Verb, c)
	if fix := c.Proto().GetFix(); fix != "" {
		fmt.Fprintf(i.Stderr, "  fix: %s\n", fix)
	}
	if errors.Is(err, ErrNoServer) {
		return exitUnreachable
	}
	return exitFailed
}

// AdminClient is the Admin of an Invocation: an HTTP client whose every request goes to the admin socket.
func AdminClient(socket string) *http.Client {
	return &http.Client{Transport: reaching{&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if socket == "" {
				return nil, errors.New(adminEnv + " is not set")
			}
			var d net.Dialer
			return d.DialContext(ctx, "unix", strings.TrimPrefix(socket, "unix://"))
		},
	}}}
}

// reaching says of every request without an answer that the server can't be reached, unless the caller gave it up.
type reaching struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (r reaching) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.Transport.RoundTrip(req)
	if err != nil && req.Context().Err() == nil {
		err = ErrNoServer.Wrap(err, "%s %s", req.Method, req.URL.Path)
	}
	return resp, err
}
