package admin

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// registerLogs adds the calls that answer with text, and describes them.
func (s *Server) registerLogs() {
	lines := []*huma.Param{
		{Name: "n", In: "query", Description: "How many of the last lines, at most 10,000", Schema: &huma.Schema{Type: huma.TypeInteger, Default: 100}},
		{Name: "follow", In: "query", Description: "Go on as lines come", Schema: &huma.Schema{Type: huma.TypeBoolean}},
	}
	for path, op := range map[string]huma.Operation{
		"/api/logs": {OperationID: "logs", Summary: "The server's log", Parameters: lines},
		"/api/components/{name}/logs": {OperationID: "componentLogs", Summary: "A component's log", Parameters: append([]*huma.Param{
			{Name: "name", In: "path", Required: true, Description: "Name of the component", Schema: &huma.Schema{Type: huma.TypeString}}}, lines...)},
	} {
		s.mux.HandleFunc("GET "+path, s.logs)
		op.Method, op.Path = http.MethodGet, path
		op.Responses = map[string]*huma.Response{"200": {Description: "Lines", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}}
		s.api.OpenAPI().AddOperation(&op)
	}
}

// logs answers GET /api/logs and GET /api/components/{name}/logs?n=100&follow=true as plain text.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	n := 100
	if text := r.URL.Query().Get("n"); text != "" {
		v, err := strconv.Atoi(text)
		if err != nil || v < 0 || v > maxLogLines {
			writeFailure(w, failure(ErrInput.New("n=%s: a number from 0 to %d", text, maxLogLines)).(*Failure))
			return
		}
		n = v
	}
	out := &flushing{w: w}
	err := s.Runtime.Logs(r.Context(), r.PathValue("name"), n, r.URL.Query().Get("follow") == "true", out)
	if err != nil && !out.wrote {
		writeFailure(w, failure(err).(*Failure))
		return
	}
	if !out.wrote {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
}

// flushing sets the content type at the first byte and flushes when asked to.
type flushing struct {
	w     http.ResponseWriter
	wrote bool
}

func (f *flushing) Write(p []byte) (int, error) {
	if !f.wrote {
		f.wrote = true
		f.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	return f.w.Write(p)
}

// Flush implements http.Flusher.
func (f *flushing) Flush() {
	if fl, ok := f.w.(http.Flusher); ok {
		fl.Flush()
	}
}

func writeFailure(w http.ResponseWriter, f *Failure) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.code)
	_ = json.NewEncoder(w).Encode(f) // the client is gone if this fails
}
