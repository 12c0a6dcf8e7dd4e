package analyticsengine

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// queryRequest is the body of POST /engine/query.
type queryRequest struct {
	SQL string `json:"sql"`
	// MaxRows of the answer; 0 is the engine's default.
	MaxRows int64 `json:"maxRows"`
	// TimeoutMs of each statement; 0 is the engine's.
	TimeoutMs int64 `json:"timeoutMs"`
	// ReadOnly refuses anything but SELECT.
	ReadOnly bool `json:"readOnly"`
}

// queryColumn is a column of an answer. Type is Spark's name.
type queryColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// queryAnswer is the answer in JSON: the result of the last statement that has one, and how many statements ran.
type queryAnswer struct {
	Columns     []queryColumn `json:"columns"`
	Rows        [][]any       `json:"rows"`
	Truncated   bool          `json:"truncated"`
	ElapsedMs   int64         `json:"elapsedMs"`
	Statements  int           `json:"statements"`
	RowsWritten int64         `json:"rowsWritten"`
}

// arrowMedia is the media type of an Arrow IPC stream.
const arrowMedia = "application/vnd.apache.arrow.stream"

// handler serves /engine.
func (e *Engine) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /engine/query", e.serveQuery)
	mux.HandleFunc("POST /engine/check", e.serveCheck)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := component.PrincipalFrom(r.Context())
		if p == nil || !component.Granted(p, permission) {
			writeError(w, ErrPermission.New("%s lacks %s", p.GetUser(), permission))
			return
		}
		if p.Tenant != e.c.Tenant() {
			writeError(w, ErrTenant.New("tenant %d", p.Tenant))
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// readRequest reads a body of JSON, strictly.
func readRequest(r *http.Request) (queryRequest, error) {
	var req queryRequest
	d := json.NewDecoder(io.LimitReader(r.Body, 2*sparksql.MaxScriptBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, ErrRequest.Wrap(err, "body")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return req, ErrRequest.New("the body has more than one value")
	}
	if strings.TrimSpace(req.SQL) == "" {
		return req, ErrRequest.New("sql is empty")
	}
	return req, nil
}

func (e *Engine) serveQuery(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	if err != nil {
		writeError(w, err)
		return
	}
	begin := time.Now()
	run := &analyticsv1.ExecuteRequest{Tenant: e.c.Tenant(), Script: req.SQL, MaxRows: req.MaxRows, TimeoutMs: req.TimeoutMs, ReadOnly: req.ReadOnly}
	if strings.Contains(r.Header.Get("Accept"), arrowMedia) {
		out := &arrowOutput{w: w}
		if err := e.run(r.Context(), run, out); err != nil {
			if !out.wrote {
				writeError(w, err)
				return
			}
			// The head is gone: an aborted body is how the client learns of it.
			panic(http.ErrAbortHandler)
		}
		if !out.wrote {
			w.WriteHeader(http.StatusNoContent)
		}
		return
	}
	out := &jsonOutput{answer: queryAnswer{Columns: []queryColumn{}, Rows: [][]any{}}}
	if err := e.run(r.Context(), run, out); err != nil {
		writeError(w, err)
		return
	}
	out.answer.ElapsedMs = time.Since(begin).Milliseconds()
	writeJSON(w, http.StatusOK, out.answer)
}

func (e *Engine) serveCheck(w http.ResponseWriter, r *http.Request) {
	req, err := readRequest(r)
	if err != nil {
		writeError(w, err)
		return
	}
	resp, err := e.Check(r.Context(), &analyticsv1.CheckRequest{Script: req.SQL})
	if err != nil {
		writeError(w, err)
		return
	}
	type answer struct {
		Statements int32       `json:"statements"`
		Causes     []causeJSON `json:"causes"`
	}
	a := answer{Statements: resp.Statements, Causes: []causeJSON{}}
	for _, c := range resp.Causes {
		a.Causes = append(a.Causes, toCauseJSON(c))
	}
	writeJSON(w, http.StatusOK, a)
}

// causeJSON is a cause as SEAMS.md section 7 prints it.
type causeJSON struct {
	Code   string      `json:"code"`
	Text   string      `json:"text"`
	Chain  []causeJSON `json:"chain"`
	Fix    string      `json:"fix"`
	File   string      `json:"file,omitempty"`
	Line   int32       `json:"line,omitempty"`
	Column int32       `json:"column,omitempty"`
}

func toCauseJSON(c *commonv1.Cause) causeJSON {
	out := causeJSON{Code: c.GetCode(), Text: c.GetText(), Fix: c.GetFix(), File: c.GetFile(), Line: c.GetLine(), Column: c.GetColumn(), Chain: []causeJSON{}}
	for _, x := range c.GetChain() {
		out.Chain = append(out.Chain, toCauseJSON(x))
	}
	return out
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		http.Error(w, "the answer can't be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes())
}

// httpStatus maps the gRPC code of a cause.
func httpStatus(err error) int {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.Unimplemented:
		return http.StatusBadRequest
	case codes.NotFound:
		return http.StatusNotFound
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.Canceled:
		return 499
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

func writeError(w http.ResponseWriter, err error) {
	c := cause.From(err)
	writeJSON(w, httpStatus(c), map[string]any{"status": "failed", "message": c.Error(), "cause": toCauseJSON(c.Proto())})
}

// jsonOutput keeps the last result.
type jsonOutput struct {
	answer queryAnswer
	kind   string
}

func (o *jsonOutput) started(_ int, st *sparksql.Statement) error {
	o.answer.Statements++
	o.kind = st.Kind
	return nil
}

func (o *jsonOutput) sink(int) statement.Sink {
	o.answer.Columns, o.answer.Rows, o.answer.Truncated = []queryColumn{}, [][]any{}, false
	return o
}

func (o *jsonOutput) Columns(cols []statement.ResultColumn) error {
	for _, c := range cols {
		o.answer.Columns = append(o.answer.Columns, queryColumn{Name: c.Name, Type: sparkType(c.Type)})
	}
	return nil
}

func (o *jsonOutput) Row(values []any) error {
	row := make([]any, len(values))
	for i, v := range values {
		x, err := jsonValue(v)
		if err != nil {
			return err
		}
		row[i] = x
	}
	o.answer.Rows = append(o.answer.Rows, row)
	return nil
}

func (o *jsonOutput) finished(_ int, done finish) error {
	switch o.kind {
	case sparksql.KindSelect, sparksql.KindIncremental:
		o.answer.Truncated = done.truncated
	default:
		o.answer.RowsWritten += done.rows
	}
	return nil
}

// sparkType names a type of DuckDB as Spark does.
func sparkType(t string) string {
	switch t {
	case "VARCHAR":
		return "string"
	case "INTEGER":
		return "int"
	case "HUGEINT", "BIGINT", "UBIGINT":
		return "bigint"
	case "BLOB":
		return "binary"
	case "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ":
		return "timestamp"
	}
	if inner, ok := strings.CutSuffix(t, "[]"); ok {
		return "array<" + sparkType(inner) + ">"
	}
	return strings.ToLower(t)
}

// arrowOutput writes the first result as an Arrow IPC stream; later ones are left out.
type arrowOutput struct {
	w      http.ResponseWriter
	result *arrowSink
	wrote  bool
}

func (o *arrowOutput) started(int, *sparksql.Statement) error { return nil }

func (o *arrowOutput) sink(int) statement.Sink {
	if o.result != nil {
		return &jsonOutput{}
	}
	o.result = &arrowSink{send: func(piece []byte) error {
		if !o.wrote {
			o.wrote = true
			o.w.Header().Set("Content-Type", arrowMedia)
		}
		_, err := o.w.Write(piece)
		return err
	}}
	return o.result
}

func (o *arrowOutput) finished(int, finish) error {
	if o.result == nil || o.result.writer == nil {
		return nil
	}
	err := o.result.close()
	o.result.writer = nil
	return err
}
