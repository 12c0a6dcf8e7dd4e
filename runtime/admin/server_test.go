package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// The names of SEAMS.md section 7, which scripts depend on.
func TestShapesThatScriptsDependOn(t *testing.T) {
	s, _, _ := newServer()
	for path, names := range map[string][]string{
		"/api/status":               {"state", "profile", "guardianPid", "kernelPid", "since"},
		"/api/components":           {"name", "version", "state", "health", "pid", "restarts", "disabledBy", "cause"},
		"/api/components/A/history": {"seq", "time", "from", "to", "reason", "actor"},
		"/api/artifacts":            {"path", "type", "name", "state", "revision", "digest", "owner", "since", "cause"},
		"/api/plan":                 {"components"},
	} {
		code, body := ask(t, s, "GET", path, "")
		if code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
			continue
		}
		var one map[string]any
		if strings.HasPrefix(body, "[") {
			var list []map[string]any
			if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) == 0 {
				t.Fatalf("%s: %v in %s", path, err, body)
			}
			one = list[len(list)-1]
		} else if err := json.Unmarshal([]byte(body), &one); err != nil {
			t.Fatalf("%s: %v in %s", path, err, body)
		}
		for _, n := range names {
			if _, ok := one[n]; !ok {
				t.Errorf("%s lacks %s: %s", path, n, body)
			}
		}
	}
	_, body := ask(t, s, "GET", "/api/components", "")
	var list []struct {
		Cause *Cause `json:"cause"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	if list[0].Cause != nil || list[1].Cause.Code != "CBN-PLAN-001" || list[1].Cause.Fix == "" || len(list[1].Cause.Chain) != 1 || list[1].Cause.Chain[0].Line != 3 {
		t.Errorf("%s", body)
	}
	if !strings.Contains(body, `"chain":[]`) {
		t.Errorf("an empty chain is not a list: %s", body)
	}
}

func TestReads(t *testing.T) {
	s, _, _ := newServer()
	for path, part := range map[string]string{
		"/api/components/A":                  `"detail"`,
		"/api/components/A/history?all=true": `all=true`,
		"/api/components/A/history":          `all=false`,
		"/api/components/B/diag":             `"DISABLED"`,
		"/api/services":                      `"acme.greet.v1.Greeter"`,
		"/api/profile":                       `"profile receiver"`,
		"/api/listeners":                     `"127.0.0.1:7611"`,
		"/api/artifacts?type=eventsink":      `"line":3`,
		"/api/components/A/logs?n=5":         `"A" 5 lines`,
		"/api/logs":                          `"" 100 lines`,
		"/api/nodes":                         `"state":"behind 2"`,
	} {
		if code, body := ask(t, s, "GET", path, ""); code != 200 || !strings.Contains(body, part) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := ask(t, s, "GET", "/api/artifacts?type=eventsink", ""); strings.Contains(body, "eventstreams") {
		t.Errorf("not filtered: %s", body)
	}
}

func TestChangesNameWhoAsked(t *testing.T) {
	s, n, _ := newServer()
	var want []string
	for _, verb := range []string{"start", "stop", "restart", "disable", "enable"} {
		code, body := ask(t, s, "POST", "/api/components/A/"+verb, "{}")
		if code != 200 || !strings.Contains(body, `"name":"A"`) {
			t.Errorf("%s: %d %s", verb, code, body)
		}
		if code, _ := ask(t, s, "GET", "/api/components/A/"+verb, ""); code < 400 {
			t.Errorf("%s by GET: %d", verb, code)
		}
		want = append(want, verb+" A by eve")
	}
	if got := n.taken(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestErrorsCarryTheirCause(t *testing.T) {
	s, n, k := newServer()
	check := func(method, path, body string, status int, code string) {
		t.Helper()
		got, text := ask(t, s, method, path, body)
		var f Failure
		if err := json.Unmarshal([]byte(text), &f); err != nil || got != status || f.Status != "failed" || f.Message == "" || f.Cause == nil || f.Cause.Code != code {
			t.Errorf("%s %s: %d %s (%v), want %d with %s", method, path, got, text, err, status, code)
		}
	}
	check("GET", "/api/components/X", "", 404, ErrNoComponent.ID())
	check("GET", "/api/components/X/history", "", 404, ErrNoComponent.ID())
	check("GET", "/api/components/missing/logs", "", 404, ErrNoComponent.ID())
	check("GET", "/api/logs?n=-1", "", 400, ErrInput.ID())
	check("GET", "/api/logs?n=1000000", "", 400, ErrInput.ID())
	check("GET", "/api/nothing", "", 404, ErrInput.ID())
	check("POST", "/api/credentials", `{"purpose":"everything"}`, 422, ErrInput.ID())
	check("POST", "/api/credentials", `{"purpose":"publish","admin":true}`, 422, ErrInput.ID())
	check("POST", "/api/credentials", `{`, 400, ErrInput.ID())
	for err, status := range map[error]int{
		ErrBusy.New("A"): 409, ErrRefused.New("A"): 409, ErrTimeout.New("A"): 504, ErrNoComponent.New("A"): 404,
		cause.Define("CBN-API-999", "x", "").Code(codes.Unavailable).New("x"): 503,
	} {
		n.err = err
		check("POST", "/api/components/A/stop", "{}", status, cause.From(err).Code())
	}
	n.err = errPlain
	check("POST", "/api/components/A/stop", "{}", 500, cause.Unknown.ID())
	k.absent = true
	check("POST", "/api/credentials", `{"purpose":"publish"}`, 503, "CBN-GW-090")
}

func TestAChangeThatTakesTooLongSaysSo(t *testing.T) {
	s, n, _ := newServer()
	n.waiting = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/api/components/A/stop", http.NoBody))
	}()
	<-n.waiting
	cancel()
	<-done
	if w.Code != 504 || !strings.Contains(w.Body.String(), ErrTimeout.ID()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestCredentials(t *testing.T) {
	s, _, k := newServer()
	code, body := ask(t, s, "POST", "/api/credentials", `{"purpose":"publish"}`)
	var c Credentials
	if err := json.Unmarshal([]byte(body), &c); err != nil || code != 200 {
		t.Fatalf("%d %s %v", code, body, err)
	}
	if c.Username != "token" || c.Password != "t0ken" || c.Certificate != "PEM" || c.Listeners["EventReceiver/thrift"] == "" || c.URL != "" || !c.Expires.Equal(since) {
		t.Errorf("%+v", c)
	}
	if r := k.asked[0]; r.Purpose != "publish" || r.TtlMs != publishTTL.Milliseconds() {
		t.Errorf("%v", r)
	}
	_, body = ask(t, s, "POST", "/api/credentials", `{"purpose":"sign-in"}`)
	c = Credentials{}
	if err := json.Unmarshal([]byte(body), &c); err != nil || c.URL != "https://localhost:9443/signin?token=t0ken" || c.Password != "" {
		t.Errorf("%s %v", body, err)
	}
	if r := k.asked[1]; r.Purpose != "sign-in" || r.User != "admin" || r.TtlMs != signInTTL.Milliseconds() {
		t.Errorf("%v", r)
	}
}

func TestOpenAPIDescribesEveryCall(t *testing.T) {
	s, _, _ := newServer()
	code, body := ask(t, s, "GET", "/api/openapi.json", "")
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || code != 200 || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%d %.200s %v", code, body, err)
	}
	for _, call := range []string{
		"get /api/status", "get /api/components", "get /api/components/{name}", "get /api/components/{name}/diag", "get /api/components/{name}/history",
		"post /api/components/{name}/start", "post /api/components/{name}/stop", "post /api/components/{name}/restart", "post /api/components/{name}/disable",
		"post /api/components/{name}/enable", "get /api/services", "get /api/plan", "get /api/profile", "get /api/listeners", "get /api/artifacts",
		"post /api/credentials", "get /api/events", "get /api/logs", "get /api/components/{name}/logs",
		"get /api/nodes", "post /api/nodes/commit",
	} {
		method, path, _ := strings.Cut(call, " ")
		if _, ok := doc.Paths[path][method]; !ok {
			t.Errorf("%s is not described", call)
		}
	}
	if !bytes.Contains(doc.Paths["/api/events"]["get"], []byte("text/event-stream")) {
		t.Errorf("%s", doc.Paths["/api/events"]["get"])
	}
}
