package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
)

// Causes of what the gateway refuses.
var (
	ErrNotSignedIn = cause.Define("CBN-GW-010", "Nobody is signed in.",
		"Sign in, or send credentials with the request.").Code(codes.Unauthenticated)
	ErrCredentials = cause.Define("CBN-GW-011", "The credentials can't be understood.",
		"Send Basic or Bearer credentials, or sign in.").Code(codes.Unauthenticated)
	ErrThrottled = cause.Define("CBN-GW-012", "Too many failed sign-ins.",
		"Wait, then try again with the right password.").Code(codes.ResourceExhausted)
	ErrForbidden = cause.Define("CBN-GW-013", "The permission is missing.",
		"Ask for a role that holds it.").Code(codes.PermissionDenied)
	ErrNoIdentity = cause.Define("CBN-GW-014", "No component can say who asks.",
		"See `carbonado component diag Identity` on the node; the CLI there works without it.").Code(codes.Unavailable)
	ErrNoRoute = cause.Define("CBN-GW-015", "Nothing is served under that path on this node.",
		"See `carbonado service ls` for what is.").Code(codes.NotFound)
	ErrPath = cause.Define("CBN-GW-016", "The path is malformed.",
		"Use a plain path, without dot segments, empty segments and backslashes.").Code(codes.InvalidArgument)
	ErrCrossSite = cause.Define("CBN-GW-017", "The request comes from another site.",
		"Send it from a page of this server, or from a program.").Code(codes.PermissionDenied)
	ErrBodyTooLarge = cause.Define("CBN-GW-018", "The request's body is too large.",
		"Send less at once; the limit is FileUploadConfig/TotalFileSizeLimit in carbon.xml.").Code(codes.InvalidArgument)
	ErrBodySlow = cause.Define("CBN-GW-019", "The request's body stopped coming.",
		"Send the body without pauses.").Code(codes.DeadlineExceeded)
	ErrComponentAway = cause.Define("CBN-GW-020", "The component that serves the path does not answer.",
		"See `carbonado component diag` of the component.").Code(codes.Unavailable)
	ErrComponentBroke = cause.Define("CBN-GW-021", "The component that serves the path answered wrongly.",
		"See `carbonado component logs` of the component.").Code(codes.Internal)
	ErrMethod = cause.Define("CBN-GW-022", "The method is not served.",
		"Use the method that the documentation names.").Code(codes.Unimplemented)
	ErrSignIn = cause.Define("CBN-GW-023", "The sign-in can't be understood.",
		"Send username and password, or the token of a sign-in link.").Code(codes.InvalidArgument)
	ErrBodyBroken = cause.Define("CBN-GW-024", "The request's body is malformed or was cut.",
		"Send the whole body as announced.").Code(codes.InvalidArgument)
)

// failure is the JSON of every error that the gateway answers itself.
type failure struct {
	Status  string           `json:"status"`
	Message string           `json:"message"`
	Cause   *component.Cause `json:"cause"`
}

// statusOf gives the HTTP status of an error.
func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrBodySlow):
		return http.StatusRequestTimeout
	case errors.Is(err, ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrMethod):
		return http.StatusMethodNotAllowed
	}
	switch cause.From(err).GRPCStatus().Code() {
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable, codes.DeadlineExceeded:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// fail answers an error as JSON.
func fail(w http.ResponseWriter, err error) {
	status := statusOf(err)
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusTooManyRequests:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "10")
		}
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	c := component.CauseOf(err)
	body, merr := json.Marshal(failure{Status: "failed", Message: c.Text, Cause: c})
	if merr != nil {
		body = []byte(`{"status":"failed"}`)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the visitor may be gone
}

// retryAfter names a wait in whole seconds, at least one.
func retryAfter(h http.Header, d time.Duration) {
	h.Set("Retry-After", strconv.Itoa(max(1, int(d.Round(time.Second)/time.Second))))
}

// secure sets the headers that every answer carries where it has none of its own. There is no Strict-Transport-Security: it
// would hold for 9763 of the same host too, where agents post.
func secure(h http.Header) {
	for name, value := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "same-origin",
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
	} {
		if _, ok := h[name]; !ok {
			h.Set(name, value)
		}
	}
}
