package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

const (
	// sessionCookie begins with __Host-: browsers take it over TLS only, from this host only, for all paths.
	sessionCookie = "__Host-carbonado"
	// authTimeout is how long a sign-in may take: checks of passwords run one at a time.
	authTimeout = 10 * time.Second
	// remoteAddress is the metadata by which Identity counts failures per address.
	remoteAddress = "carbonado-remote-address"
)

// credentials are what a request carries.
type credentials struct {
	request *analyticsv1.AuthenticateRequest
	user    string // for counting failures
	via     string
}

// credentialsOf finds the credentials of a request; nil if it has none.
func credentialsOf(r *http.Request) (*credentials, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, rest, _ := strings.Cut(h, " ")
		switch {
		case strings.EqualFold(scheme, "Basic"):
			user, password, ok := r.BasicAuth()
			if !ok {
				return nil, ErrCredentials.New("malformed Basic credentials")
			}
			return &credentials{user: user, via: "basic", request: &analyticsv1.AuthenticateRequest{
				Credentials: &analyticsv1.AuthenticateRequest_Basic{Basic: &analyticsv1.BasicCredentials{Username: user, Password: password}}}}, nil
		case strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(rest) != "":
			return &credentials{user: "\x00bearer", via: "bearer", request: &analyticsv1.AuthenticateRequest{
				Credentials: &analyticsv1.AuthenticateRequest_Bearer{Bearer: strings.TrimSpace(rest)}}}, nil
		}
		return nil, ErrCredentials.New("an Authorization header that is neither Basic nor Bearer")
	}
	if c, err := r.Cookie(sessionCookie); err == nil && c.Value != "" {
		return &credentials{via: "session", request: &analyticsv1.AuthenticateRequest{
			Credentials: &analyticsv1.AuthenticateRequest_Session{Session: c.Value}}}, nil
	}
	return nil, nil
}

// authenticate turns credentials into a principal, or says why not.
func (g *Gateway) authenticate(r *http.Request, c *credentials) (*commonv1.Principal, error) {
	client, err := g.authenticator()
	if err != nil {
		return nil, err
	}
	address := hostOf(r.RemoteAddr)
	if c.via != "session" {
		if err := g.mayTry(address, c.user); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(r.Context(), remoteAddress, address), authTimeout)
	defer cancel()
	resp, err := client.Authenticate(ctx, c.request)
	if err != nil {
		if c.via != "session" {
			g.noteFailure(r, c.user, err)
		}
		return nil, authError(err)
	}
	if resp.GetPrincipal().GetUser() == "" {
		return nil, ErrNoIdentity.New("the answer names nobody")
	}
	if resp.Principal.Via == "" {
		resp.Principal.Via = c.via
	}
	return resp.Principal, nil
}

// authenticator gives the service that knows users, or says why there is none.
func (g *Gateway) authenticator() (analyticsv1.AuthenticatorClient, error) {
	client, why := g.options.Authenticators.Authenticator()
	if client != nil {
		return client, nil
	}
	if why != nil {
		return nil, ErrNoIdentity.Wrap(cause.FromProto(why, codes.Unavailable), "nobody can be signed in")
	}
	return nil, ErrNoIdentity.New("nobody can be signed in")
}

// throttled is an error that says how long to wait.
type throttled struct {
	error
	wait time.Duration
}

func (t throttled) Unwrap() error { return t.error }

func (g *Gateway) mayTry(address, user string) error {
	if wait := g.throttle.wait(address, user); wait > 0 {
		return throttled{ErrThrottled.New("too many failed sign-ins from %s", address), wait}
	}
	return nil
}

// noteFailure counts and logs wrong credentials; other errors are nobody's guess.
func (g *Gateway) noteFailure(r *http.Request, user string, err error) {
	if status.Code(err) != codes.Unauthenticated {
		return
	}
	address := hostOf(r.RemoteAddr)
	g.throttle.failed(address, user)
	g.log.Warn("sign-in refused", "user", strings.TrimPrefix(user, "\x00"), "address", address, "path", r.URL.Path, "code", cause.From(err).Code())
}

// authError keeps what Identity says to the visitor, and calls everything else its absence.
func authError(err error) error {
	e, bare := cause.From(err), errors.Is(cause.From(err), cause.Unknown) // bare: a status without a cause
	switch code := status.Code(err); {
	case code == codes.Unauthenticated && bare:
		return ErrCredentials.Wrap(e, "the credentials are refused")
	case code == codes.ResourceExhausted && bare:
		return ErrThrottled.Wrap(e, "the sign-in is put off")
	case code == codes.PermissionDenied && bare:
		return ErrForbidden.Wrap(e, "the sign-in is refused")
	case code == codes.Unauthenticated, code == codes.PermissionDenied, code == codes.ResourceExhausted, code == codes.InvalidArgument:
		return e
	}
	return ErrNoIdentity.Wrap(err, "nobody can be signed in")
}

// hostOf drops the port of an address.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
