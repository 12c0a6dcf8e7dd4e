package eventreceiver

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/eventreceiver/forward"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	"carbonado.dev/sdk/telemetry"
)

// Errors of Thrift calls.
var (
	ErrLogin      = cause.Define("CBN-RCV-040", "A client could not log in.", "Check user and password, and that the user may publish.").Code(codes.Unauthenticated)
	ErrPermission = cause.Define("CBN-RCV-041", "A user may not publish events.", "Grant the permission /permission/admin/publish/wso2event to one of the user's roles.").Code(codes.PermissionDenied)
	ErrTenant     = cause.Define("CBN-RCV-042", "A tenant is not supported.", "Use the tenant carbon.super.").Code(codes.Unimplemented)
)

// publishPermission is what DAS asks of a publisher.
const publishPermission = "/permission/admin/publish/wso2event"

const (
	// loginPatience bounds a login: Identity checks one password at a time.
	loginPatience = 20 * time.Second
	// definePatience bounds the definition of a stream: a file is written and deployed.
	definePatience = 20 * time.Second
	// remoteKey tells Identity where credentials came from, for its throttle.
	remoteKey = "carbonado-remote-address"
)

// thriftHandler does what Thrift clients ask for.
type thriftHandler struct{ r *receiver }

func (h *thriftHandler) Connect(ctx context.Context, remote, user, password string) (string, error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, remoteKey, remote), loginPatience)
	defer cancel()
	resp, err := h.r.auth.Authenticate(ctx, &analyticsv1.AuthenticateRequest{
		Credentials: &analyticsv1.AuthenticateRequest_Basic{Basic: &analyticsv1.BasicCredentials{Username: user, Password: password}},
	})
	switch {
	case status.Code(err) == codes.Unauthenticated:
		// The client is not told which part was wrong.
		return "", databridge.NewFault(databridge.Authentication, ErrLogin.Wrap(cause.From(err), "user %.100q", user))
	case err != nil:
		return "", databridge.NewFault(databridge.Authentication, ErrLogin.Wrap(cause.From(err), "the login of %.100q could not be checked", user))
	}
	p := resp.GetPrincipal()
	if p.GetTenant() != h.r.c.Tenant() {
		return "", databridge.NewFault(databridge.Authentication, ErrTenant.New("user %.100q is of tenant %d", user, p.GetTenant()))
	}
	if !component.Granted(p, publishPermission) {
		return "", databridge.NewFault(databridge.Authentication, ErrPermission.New("user %.100q", user))
	}
	return h.r.sessions.Open(p.GetUser()).ID, nil
}

func (h *thriftHandler) Disconnect(_ context.Context, session string) error {
	h.r.sessions.Close(session)
	return nil
}

func (h *thriftHandler) Alive(session []byte) bool { return h.r.sessions.Use(session) != nil }

// signedIn refuses a session that has ended.
func (h *thriftHandler) signedIn(session string) error {
	if h.r.sessions.Use([]byte(session)) == nil {
		return databridge.NewFault(databridge.SessionExpired, databridge.ErrSession.New("the session is unknown or has expired"))
	}
	return nil
}

func (h *thriftHandler) DefineStream(ctx context.Context, session, definition string) (string, error) {
	if err := h.signedIn(session); err != nil {
		return "", err
	}
	d, _, err := streamdef.Parse("definition", []byte(definition))
	if err != nil {
		return "", databridge.NewFault(databridge.MalformedDefinition, err)
	}
	if err := h.r.defineStream(ctx, d); err != nil {
		kind := databridge.DefinitionFailed
		if errors.Is(err, streamdef.ErrDifferent) {
			kind = databridge.DifferentDefinition
		}
		return "", databridge.NewFault(kind, err)
	}
	return d.ID(), nil
}

func (h *thriftHandler) FindStreamID(_ context.Context, session, name, version string) (string, error) {
	if err := h.signedIn(session); err != nil {
		return "", err
	}
	s, err := h.r.streams.Get(name + ":" + version)
	if err != nil {
		return "", databridge.NewFault(databridge.NoDefinition, err)
	}
	return s.ID, nil
}

func (h *thriftHandler) DeleteStream(ctx context.Context, session, id string) (bool, error) {
	if err := h.signedIn(session); err != nil {
		return false, err
	}
	return h.r.deleteStream(ctx, id)
}

// Publish stores a bundle or refuses it as a whole.
func (h *thriftHandler) Publish(ctx context.Context, b *databridge.Bundle) (err error) {
	r := h.r
	stamp := databridge.Stamp{Source: b.Source, Counter: b.Counter, Tenant: r.c.Tenant()}
	if !b.HasID {
		stamp = r.stamp()
	} else {
		stamp.Trace = b.Trace
	}
	if t := r.c.Telemetry(); t.Tracing() {
		span, trace := t.Start(telemetry.Trace(stamp.Trace), "receive bundle", diagv1.Span_KIND_SERVER)
		stamp.Trace = frame.Trace(trace)
		defer func() { span.End(err) }()
	}
	var few [4]databridge.Part
	parts, err := b.Transpose(r.streams.Layout, time.Now().UnixMilli(), stamp, few[:0])
	if errors.Is(err, databridge.ErrUnknownStream) && r.forward.Gate() > 0 {
		parts, err = r.transposeAtStart(ctx, b, stamp)
	}
	if err != nil {
		r.report.refused(b.Held())
		return databridge.NewFault(databridge.UndefinedEventType, err)
	}
	switch err = r.forward.Forward(ctx, parts); {
	case err == nil:
		r.events.Add(uint64(b.Events))
		return nil
	case errors.Is(err, forward.ErrNotStored):
		return databridge.NewFault(databridge.CloseConnection, err)
	default:
		r.report.refused(b.Held())
		return databridge.NewFault(databridge.UndefinedEventType, err)
	}
}

// transposeAtStart waits for a stream that is not defined yet: just after the start its file may still be on its way.
func (r *receiver) transposeAtStart(ctx context.Context, b *databridge.Bundle, stamp databridge.Stamp) ([]databridge.Part, error) {
	for {
		_, changed := r.streams.Streams()
		parts, err := b.Transpose(r.streams.Layout, time.Now().UnixMilli(), stamp, nil)
		left := r.forward.Gate()
		if !errors.Is(err, databridge.ErrUnknownStream) || left <= 0 {
			return parts, err
		}
		t := time.NewTimer(left)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return nil, err
		}
	}
}
