package rest

import (
	"encoding/json"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Causes that the REST API gives.
var (
	ErrRequest = cause.Define("CBN-PRT-001", "The request has a value that cannot be read.",
		"Change the value that is named; the API is described in README.md of Portal.").Code(codes.InvalidArgument)
	ErrForbidden = cause.Define("CBN-PRT-002", "The user may not do this.",
		"Ask an administrator for a role with the permission that is named.").Code(codes.PermissionDenied)
	ErrNoTable = cause.Define("CBN-PRT-003", "The table does not exist.",
		"See GET /analytics/tables for the names. A stream's table is made when its event sink is deployed.").Code(codes.NotFound)
	ErrNoIndex = cause.Define("CBN-PRT-004", "Searching needs the component Indexing, and none is there for this node.",
		"`carbonado component diag Indexing` says why. The profiles of receiver, analyzer and dashboard nodes leave it out.").Code(codes.Unavailable)
	ErrNoStore = cause.Define("CBN-PRT-005", "Reading tables needs the component DataService, and none is there for this node.",
		"`carbonado component diag DataService` says why.").Code(codes.Unavailable)
	ErrNoResource = cause.Define("CBN-PRT-006", "The REST API has no such resource.",
		"See the list of resources in README.md of Portal.").Code(codes.NotFound)
	ErrMethod = cause.Define("CBN-PRT-007", "The resource does not have this method.",
		"Use one of the methods in the header Allow.").Code(codes.Unimplemented)
	ErrTimeout = cause.Define("CBN-PRT-008", "The index did not catch up in time.",
		"Wait longer, or see how far it is behind with `carbonado component show Indexing`.").Code(codes.DeadlineExceeded)
)

// Fail answers an error as {"status":"failed","message","cause"}.
func Fail(w http.ResponseWriter, err error) {
	e := cause.From(err)
	c := e.Proto()
	writeJSON(w, statusOf(e), map[string]any{"status": "failed", "message": c.Text, "cause": causeJSON(c)})
}

// causeJSON is a cause as SEAMS.md section 7 has it.
func causeJSON(c *commonv1.Cause) map[string]any {
	chain := make([]map[string]any, 0, len(c.Chain))
	for _, reason := range c.Chain {
		chain = append(chain, causeJSON(reason))
	}
	out := map[string]any{"code": c.Code, "text": c.Text, "chain": chain, "fix": c.Fix}
	if c.File != "" {
		out["file"], out["line"], out["column"] = c.File, c.Line, c.Column
	}
	return out
}

func statusOf(e *cause.Error) int {
	switch status.Code(e) {
	case codes.InvalidArgument, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.Unimplemented:
		return http.StatusMethodNotAllowed
	case codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// done answers DAS's response bean.
func done(w http.ResponseWriter, code int, state, message string) {
	writeJSON(w, code, map[string]string{"status": state, "message": message})
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	header(w)
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(body) // fails only if the reader has gone
}

func header(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
