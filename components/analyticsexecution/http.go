package analyticsexecution

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/analyticsexecution/quartz"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// bodyLimit bounds a request's body.
const bodyLimit = 4 << 20

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

func toCauseJSON(c *commonv1.Cause) *causeJSON {
	if c == nil {
		return nil
	}
	out := &causeJSON{Code: c.Code, Text: c.Text, Fix: c.Fix, File: c.File, Line: c.Line, Column: c.Column, Chain: []causeJSON{}}
	for _, x := range c.Chain {
		out.Chain = append(out.Chain, *toCauseJSON(x))
	}
	return out
}

// runJSON is a run. Times are RFC 3339 in UTC; empty is none.
type runJSON struct {
	ID          string     `json:"id"`
	Script      string     `json:"script"`
	Started     string     `json:"started"`
	Ended       string     `json:"ended"`
	State       string     `json:"state"`
	Trigger     string     `json:"trigger"`
	Statements  int32      `json:"statements"`
	RowsWritten int64      `json:"rowsWritten"`
	Cause       *causeJSON `json:"cause"`
}

// scriptJSON is a script. Text is left out in lists.
type scriptJSON struct {
	Name     string   `json:"name"`
	Text     string   `json:"script,omitempty"`
	Cron     string   `json:"cron"`
	Editable bool     `json:"editable"`
	Running  bool     `json:"running"`
	Next     string   `json:"next"`
	Last     *runJSON `json:"last"`
}

func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

func toRunJSON(r *analyticsv1.ScriptRun) *runJSON {
	if r == nil {
		return nil
	}
	return &runJSON{
		ID: r.RunId, Script: r.Script, Started: stamp(r.StartedUnixMs), Ended: stamp(r.EndedUnixMs), State: r.State, Trigger: r.Trigger,
		Statements: r.Statements, RowsWritten: r.RowsWritten, Cause: toCauseJSON(r.Cause),
	}
}

func toScriptJSON(s *analyticsv1.Script, text bool) scriptJSON {
	out := scriptJSON{Name: s.Name, Cron: s.Cron, Editable: s.Editable, Running: s.Running, Next: stamp(s.NextUnixMs), Last: toRunJSON(s.Last)}
	if text {
		out.Text = s.Script
	}
	return out
}

// handler serves /scripts.
func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r)
			if err != nil {
				writeError(w, err)
				return
			}
			writeJSON(w, http.StatusOK, answer)
		})
	}
	route("GET /scripts", s.httpList)
	route("GET /scripts/{name}", s.httpGet)
	route("PUT /scripts/{name}", s.httpPut)
	route("DELETE /scripts/{name}", s.httpDelete)
	route("POST /scripts/{name}/run", s.httpRun)
	route("POST /scripts/{name}/cancel", s.httpCancel)
	route("GET /scripts/{name}/history", s.httpHistory)
	route("GET /scripts/{name}/next", s.httpNext)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := component.PrincipalFrom(r.Context())
		if p == nil || !component.Granted(p, permission) {
			writeError(w, ErrPermission.New("%s lacks %s", p.GetUser(), permission))
			return
		}
		if err := s.tenant(p.Tenant); err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

func (s *Service) httpList(r *http.Request) (any, error) {
	resp, err := s.List(r.Context(), &analyticsv1.ListScriptsRequest{Tenant: s.tenantID})
	if err != nil {
		return nil, err
	}
	out := []scriptJSON{}
	for _, sc := range resp.Scripts {
		out = append(out, toScriptJSON(sc, false))
	}
	return out, nil
}

func (s *Service) httpGet(r *http.Request) (any, error) {
	resp, err := s.Get(r.Context(), &analyticsv1.GetScriptRequest{Tenant: s.tenantID, Name: r.PathValue("name")})
	if err != nil {
		return nil, err
	}
	return toScriptJSON(resp.Script, true), nil
}

func (s *Service) httpPut(r *http.Request) (any, error) {
	var body struct {
		Script string `json:"script"`
		Cron   string `json:"cron"`
	}
	d := json.NewDecoder(io.LimitReader(r.Body, bodyLimit))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return nil, ErrRequest.Wrap(err, "body")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrRequest.New("the body has more than one value")
	}
	name := r.PathValue("name")
	_, err := s.Save(r.Context(), &analyticsv1.SaveScriptRequest{Tenant: s.tenantID, Script: &analyticsv1.Script{Name: name, Script: body.Script, Cron: body.Cron}})
	if err != nil {
		return nil, err
	}
	return s.httpGet(r)
}

func (s *Service) httpDelete(r *http.Request) (any, error) {
	_, err := s.Delete(r.Context(), &analyticsv1.DeleteScriptRequest{Tenant: s.tenantID, Name: r.PathValue("name")})
	return map[string]bool{"deleted": true}, err
}

func (s *Service) httpRun(r *http.Request) (any, error) {
	resp, err := s.Run(r.Context(), &analyticsv1.RunScriptRequest{
		Tenant: s.tenantID, Name: r.PathValue("name"), RequestedBy: component.PrincipalFrom(r.Context()).GetUser(),
	})
	if err != nil {
		return nil, err
	}
	return toRunJSON(resp.Run), nil
}

func (s *Service) httpCancel(r *http.Request) (any, error) {
	resp, err := s.Cancel(r.Context(), &analyticsv1.CancelScriptRequest{Tenant: s.tenantID, Name: r.PathValue("name")})
	if err != nil {
		return nil, err
	}
	return map[string]bool{"cancelled": resp.Cancelled}, nil
}

// number reads a parameter within bounds.
func number(r *http.Request, name string, fallback, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, ErrRequest.New("%s must be a number from 1 to %d, not %q", name, most, text)
	}
	return n, nil
}

func (s *Service) httpHistory(r *http.Request) (any, error) {
	limit, err := number(r, "limit", 20, 10000)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if name == "-" { // no script has this name: all of them
		name = ""
	}
	resp, err := s.History(r.Context(), &analyticsv1.ScriptHistoryRequest{Tenant: s.tenantID, Name: name, Limit: int32(limit)})
	if err != nil {
		return nil, err
	}
	out := []*runJSON{}
	for _, run := range resp.Runs {
		out = append(out, toRunJSON(run))
	}
	return out, nil
}

// httpNext gives the next times of a script, or of the expression ?cron=…, in the schedule's zone.
func (s *Service) httpNext(r *http.Request) (any, error) {
	count, err := number(r, "count", 5, 100)
	if err != nil {
		return nil, err
	}
	cron := r.URL.Query().Get("cron")
	if cron == "" {
		resp, err := s.Get(r.Context(), &analyticsv1.GetScriptRequest{Tenant: s.tenantID, Name: r.PathValue("name")})
		if err != nil {
			return nil, err
		}
		cron = resp.Script.Cron
	}
	answer := struct {
		Cron  string   `json:"cron"`
		Zone  string   `json:"zone"`
		Next  []string `json:"next"`
		Never bool     `json:"never"`
	}{Cron: cron, Zone: s.zone.String(), Next: []string{}}
	if cron == "" {
		answer.Never = true
		return answer, nil
	}
	e, err := quartz.Parse(cron)
	if err != nil {
		return nil, err
	}
	for at := time.Now(); len(answer.Next) < count; {
		n := e.Next(at, s.zone)
		if n.Never {
			answer.Never = true
			break
		}
		at = n.At
		answer.Next = append(answer.Next, at.Format(time.RFC3339))
	}
	return answer, nil
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

func writeError(w http.ResponseWriter, err error) {
	c := cause.From(err)
	code := http.StatusInternalServerError
	switch status.Code(c) {
	case codes.InvalidArgument, codes.Unimplemented:
		code = http.StatusBadRequest
	case codes.NotFound:
		code = http.StatusNotFound
	case codes.PermissionDenied:
		code = http.StatusForbidden
	case codes.Aborted:
		code = http.StatusConflict
	case codes.FailedPrecondition:
		code = http.StatusUnprocessableEntity
	case codes.Unavailable:
		code = http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		code = http.StatusGatewayTimeout
	}
	writeJSON(w, code, map[string]any{"status": "failed", "message": c.Error(), "cause": toCauseJSON(c.Proto())})
}
