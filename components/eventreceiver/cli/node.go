// Package cli is the command-line verbs of EventReceiver: publish and sample. It must not know the component's inside; it asks the
// node over its admin socket and sends events as any agent does.
package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Exit codes, as documented for all verbs.
const (
	exitOK          = 0
	exitFailed      = 1
	exitNoSuch      = 4
	exitPartly      = 5
	exitUsage       = 64
	exitUnreachable = 69
	exitDenied      = 77
	exitInvalid     = 78
	exitInterrupted = 130
)

// closePatience is how long a verb waits at its end for what is queued.
const closePatience = 30 * time.Second

// ErrNode is the kind of an answer of the node that a verb can't go on with.
var ErrNode = cause.Define("CBN-CLI-030", "The node did not give what a verb needs.", "See `carbonado status` and the cause in the chain.")

// target is where a verb publishes to.
type target struct {
	inv                *component.Invocation
	urls, auth, caFile string
	user, passwordFile string
}

func (t *target) flags(f *flag.FlagSet) {
	f.StringVar(&t.urls, "url", "", "receivers, for example tcp://host:7611 (default: this node's)")
	f.StringVar(&t.auth, "auth-url", "", "where to log in, for example ssl://host:7711 (default: of this node, or the port 100 above)")
	f.StringVar(&t.caFile, "ca", "", "PEM file with the certificate to trust (default: this node's)")
	f.StringVar(&t.user, "user", "", "user (default: a credential for one hour from this node)")
	f.StringVar(&t.passwordFile, "password-file", "", "file with the password of --user")
}

// credentials is the answer of POST /api/credentials.
type credentials struct {
	Username    string            `json:"username"`
	Password    string            `json:"password"`
	Listeners   map[string]string `json:"listeners"`
	Certificate string            `json:"certificate"`
}

// exitError is an error with its exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

// Unwrap gives the error.
func (e *exitError) Unwrap() error { return e.err }

// fail prints an error and answers its exit code.
func fail(inv *component.Invocation, err error) int {
	fmt.Fprintf(inv.Stderr, "%s: %s\n", inv.Verb, err.Error())
	if p := cause.Proto(err); p.GetFix() != "" && p.GetCode() != cause.Unknown.ID() {
		fmt.Fprintf(inv.Stderr, "  fix: %s\n", p.GetFix())
	}
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	if errors.Is(err, agent.ErrLogin) {
		return exitDenied
	}
	if errors.Is(err, agent.ErrReceiver) {
		return exitUnreachable
	}
	return exitFailed
}

// ask calls the node's API and decodes its answer.
func ask(ctx context.Context, inv *component.Invocation, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := inv.Admin.Do(req)
	if err != nil {
		return &exitError{exitUnreachable, err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return &exitError{exitUnreachable, err}
	}
	if resp.StatusCode/100 == 2 {
		return json.Unmarshal(data, into)
	}
	code := exitFailed
	switch resp.StatusCode {
	case http.StatusNotFound:
		code = exitNoSuch
	case http.StatusUnauthorized, http.StatusForbidden:
		code = exitDenied
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		code = exitUnreachable
	}
	var failure struct {
		Cause *commonv1.Cause `json:"cause"`
	}
	if json.Unmarshal(data, &failure) == nil && failure.Cause.GetCode() != "" {
		return &exitError{code, cause.FromProto(failure.Cause, codes.Unknown)}
	}
	return &exitError{code, ErrNode.New("%s %s: %s: %.1000s", method, path, resp.Status, bytes.TrimSpace(data))}
}

// connect makes an agent and logs in.
func (t *target) connect(ctx context.Context, opts agent.Options) (*agent.Agent, error) {
	var node credentials
	fromNode := t.user == "" || t.urls == ""
	if fromNode {
		if err := ask(ctx, t.inv, http.MethodPost, "/api/credentials", map[string]string{"purpose": "publish"}, &node); err != nil {
			return nil, err
		}
	}
	opts.URLs, opts.AuthURLs = t.urls, t.auth
	if opts.URLs == "" {
		plain, secure := node.Listeners["EventReceiver/thrift"], node.Listeners["EventReceiver/thriftSSL"]
		if plain == "" {
			return nil, &exitError{exitUnreachable, ErrNode.New("this node runs no EventReceiver; see `carbonado plan`")}
		}
		opts.URLs = "tcp://" + reachable(plain)
		if opts.AuthURLs == "" && secure != "" {
			opts.AuthURLs = "ssl://" + reachable(secure)
		}
	}
	if err := t.credentials(&opts, node); err != nil {
		return nil, err
	}
	trust := node.Certificate
	if t.caFile != "" {
		b, err := os.ReadFile(t.caFile)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		trust = string(b)
	}
	if trust != "" {
		var err error
		if opts.TLS, err = trusting(trust); err != nil {
			return nil, err
		}
	}
	a, err := agent.New(opts)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if err := a.Connect(ctx); err != nil {
		_ = a.Close(ctx)
		return nil, err
	}
	return a, nil
}

// credentials sets who logs in. A credential of the node lasts an hour, so each login asks for another.
func (t *target) credentials(opts *agent.Options, first credentials) error {
	if t.user == "" {
		opts.Credentials = func(ctx context.Context) (string, string, error) {
			c := first
			if c.Username == "" {
				if err := ask(ctx, t.inv, http.MethodPost, "/api/credentials", map[string]string{"purpose": "publish"}, &c); err != nil {
					return "", "", err
				}
			}
			first = credentials{}
			return c.Username, c.Password, nil
		}
		return nil
	}
	b, err := os.ReadFile(t.passwordFile)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--user needs --password-file: %w", err)}
	}
	opts.Username, opts.Password = t.user, string(bytes.TrimRight(b, "\r\n"))
	return nil
}

// reachable turns an address to listen on into one to connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// trusting accepts the certificates of a PEM text and what they signed, under any name: the node's address is not always in its
// certificate.
func trusting(pem string) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, ErrNode.New("the certificate to trust is no PEM")
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // replaced by VerifyConnection, which checks all but the name
		VerifyConnection: func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				between.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
			return err
		},
	}, nil
}

// escape makes a stream id a path segment.
func escape(id string) string { return url.PathEscape(id) }
