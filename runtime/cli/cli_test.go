package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"carbonado.dev/carbonado/runtime/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is an admin API of fixed answers behind a real admin socket.
type answers map[string]string

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := a[r.Method+" "+r.URL.RequestURI()]
	if !ok {
		text = `404 {"status":"failed","message":"no such call","cause":null}`
	}
	var code int
	if _, err := fmt.Sscan(text, &code); err == nil {
		_, text, _ = strings.Cut(text, " ")
		w.WriteHeader(code)
	}
	_, _ = io.WriteString(w, text)
}

const causeJSON = `{"code":"CBN-PLAN-002","text":"Indexing needs RecordStore","chain":[{"code":"CBN-PLAN-001","text":"DataService is disabled","chain":[],"fix":"Start without -DdisableDataService.","file":"repository/conf/profiles.yaml","line":12}],"fix":"See the chain."}`

var node = answers{
	"GET /api/status":                                    `{"state":"RUNNING","profile":"default","guardianPid":1,"kernelPid":2,"since":"2026-11-25T10:00:00Z","nodeId":"n","version":"1.0.0","deployment":{"generation":7,"digest":"d7"},"components":{"ACTIVE":1},"causes":[` + causeJSON + `]}`,
	"GET /api/components":                                `[{"name":"DataService","version":"1.0.0","state":"ACTIVE","health":"OK","pid":7,"restarts":1,"disabledBy":"","cause":null},{"name":"Indexing","version":"1.0.0","state":"WAITING","health":"UNKNOWN","pid":0,"restarts":0,"disabledBy":"","cause":` + causeJSON + `},{"name":"Portal","version":"1.0.0","state":"DISABLED","health":"UNKNOWN","pid":0,"restarts":0,"disabledBy":"profile receiver","cause":null}]`,
	"GET /api/components/Indexing":                       `{"name":"Indexing","version":"1.0.0","state":"WAITING","health":"UNKNOWN","detail":{"summary":"s","since":"2026-11-25T10:00:00Z","requires":[{"name":"store","service":"S","bound":[]}]},"cause":` + causeJSON + `}`,
	"GET /api/components/Indexing/diag":                  `{"name":"Indexing","state":"WAITING","health":"UNKNOWN","since":"2026-11-25T10:00:00Z","profile":"default","cause":` + causeJSON + `,"blocks":["Portal"],"lastResult":"exit code 3","evidence":["last line"]}`,
	"GET /api/components/DataService/diag":               `{"name":"DataService","state":"ACTIVE","health":"OK","since":"2026-11-25T10:00:00Z","profile":"default","cause":null,"blocks":[],"evidence":[]}`,
	"GET /api/components/Indexing/history?all=true":      `[{"seq":3,"time":"2026-11-25T10:00:00Z","from":"RESOLVED","to":"WAITING","reason":"RecordStore is missing","actor":"kernel","generation":0}]`,
	"GET /api/components/Indexing/logs?n=5&follow=false": "a line\n",
	"GET /api/logs?n=100&follow=false":                   "another line\n",
	"GET /api/components/Nobody":                         `404 {"status":"failed","message":"CBN-API-001: component Nobody","cause":{"code":"CBN-API-001","text":"component Nobody","chain":[],"fix":"See the list."}}`,
	"POST /api/components/DataService/restart":           `{"name":"DataService","state":"ACTIVE"}`,
	"POST /api/components/Busy/stop":                     `409 {"status":"failed","message":"busy","cause":{"code":"CBN-API-002","text":"busy","chain":[],"fix":""}}`,
	"POST /api/components/Refused/start":                 `409 {"status":"failed","message":"refused","cause":{"code":"CBN-API-003","text":"refused","chain":[],"fix":""}}`,
	"POST /api/components/Slow/stop":                     `504 {"status":"failed","message":"slow","cause":{"code":"CBN-API-004","text":"slow","chain":[],"fix":""}}`,
	"POST /api/components/Forbidden/stop":                `403 {"status":"failed","message":"no","cause":{"code":"CBN-GW-013","text":"no","chain":[],"fix":""}}`,
	"POST /api/components/Broken/stop":                   `200 this is not JSON`,
	"GET /api/services":                                  `[{"id":1,"service":"acme.Greeter","version":"1.0.0","provider":"DataService","properties":{"a":"b"},"users":["Portal/x"]}]`,
	"GET /api/artifacts":                                 `[{"path":"deployment/server/eventsink/b.xml","type":"eventsink","name":"b","state":"FAULTY","revision":2,"digest":"d","owner":"EventSink","since":"2026-11-25T10:00:00Z","cause":{"code":"CBN-STR-002","text":"unknown type","chain":[],"fix":"","file":"deployment/server/eventsink/b.xml","line":3}}]`,
	"GET /api/nodes":                                     `[{"node":"n1","address":"10.0.0.1","generation":7,"digest":"0123456789abcdef","state":"current","behind":0,"since":"2026-11-25T10:00:00Z","member":true,"committer":true,"self":true,"problem":""},{"node":"n2","address":"","generation":5,"digest":"fedcba9876543210","state":"behind 2","behind":2,"since":"2026-11-25T09:00:00Z","member":false,"committer":false,"self":false,"problem":"its disk is full"}]`,
	"POST /api/nodes/commit":                             `{"generation":8,"digest":"d8","committer":"n1","time":"2026-11-25T10:00:00Z"}`,
	"POST /api/credentials":                              `{"url":"https://localhost:9443/signin?token=x","expires":"2026-11-25T10:00:00Z"}`,
}

// home makes an installation's folder, with a server where api is given.
func home(t *testing.T, api http.Handler) string {
	t.Helper()
	dir := t.TempDir()
	run := filepath.Join(dir, "repository", "run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if api == nil {
		return dir
	}
	s, err := admin.ListenSocket(run, api)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// run gives the exit code and both outputs of one command.
func run(home string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(Program{Home: home, Version: "1.2.3", Server: func(args []string) int { fmt.Fprint(&out, strings.Join(args, " ")); return 121 },
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}, args)
	return code, out.String(), errs.String()
}

func TestCommandsInEveryFormat(t *testing.T) {
	dir := home(t, node)
	for _, c := range []struct {
		args  string
		code  int
		parts []string // of the table
	}{
		{"status", 0, []string{"RUNNING", "profile default", "deployment generation 7, digest d7", "CBN-PLAN-002", "repository/conf/profiles.yaml:12", "fix: Start without"}},
		{"component ls", 0, []string{"NAME", "DataService", "Indexing needs RecordStore <- DataService is disabled", "disabled by profile receiver"}},
		{"component show Indexing", 0, []string{"requires store S", "nobody"}},
		{"component diag Indexing", ExitInactive, []string{"WAITING", "CBN-PLAN-002", "└ CBN-PLAN-001", "fix: Start without -DdisableDataService.", "blocks: Portal", "exit code 3", "| last line"}},
		{"component diag DataService", 0, []string{"it is as asked for"}},
		{"component history Indexing --all", 0, []string{"RESOLVED", "RecordStore is missing"}},
		{"component restart DataService", 0, []string{"DataService is ACTIVE"}},
		{"service ls", 0, []string{"acme.Greeter", "a=b", "Portal/x"}},
		{"artifact ls", 0, []string{"FAULTY", "b.xml:3", "unknown type"}},
		{"node ls", 0, []string{"NODE", "SINCE", "10.0.0.1", "0123456789ab  current", "committer", "n2    away", "behind 2", "2026-11-25T09:00:00Z", "n2: its disk is full"}},
		{"node commit", 0, []string{"generation 8, digest d8"}},
		{"open", 0, []string{"https://localhost:9443/signin?token=x"}},
		{"version", 0, []string{"1.2.3"}},
	} {
		args := strings.Fields(c.args)
		code, out, errs := run(dir, args...)
		if code != c.code || errs != "" {
			t.Errorf("%s: exit %d, %s", c.args, code, errs)
		}
		for _, p := range c.parts {
			if !strings.Contains(out, p) {
				t.Errorf("%s: %q is missing in\n%s", c.args, p, out)
			}
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: colour without a terminal", c.args)
		}
		var fromJSON, fromYAML any
		code, out, _ = run(dir, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(out), &fromJSON); err != nil || code != c.code {
			t.Errorf("%s -o json: exit %d, %v in\n%s", c.args, code, err, out)
		}
		code, out, _ = run(dir, append([]string{"-o", "yaml"}, args...)...)
		if err := yaml.Unmarshal([]byte(out), &fromYAML); err != nil || code != c.code {
			t.Errorf("-o yaml %s: exit %d, %v in\n%s", c.args, code, err, out)
		}
		if names(fromJSON) != names(fromYAML) || names(fromJSON) == "" {
			t.Errorf("%s: the names differ: %s and %s", c.args, names(fromJSON), names(fromYAML))
		}
	}
}

// names lists the keys of an answer, so that two formats can be compared.
func names(v any) string {
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	b, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return strings.Join(strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' }), "")
}

func TestLogsAreCopied(t *testing.T) {
	dir := home(t, node)
	if code, out, _ := run(dir, "component", "logs", "Indexing", "-n", "5"); code != 0 || out != "a line\n" {
		t.Errorf("%d %q", code, out)
	}
	if code, out, _ := run(dir, "component", "logs"); code != 0 || out != "another line\n" {
		t.Errorf("%d %q", code, out)
	}
}

func TestExitCodes(t *testing.T) {
	dir, empty := home(t, node), home(t, nil)
	for _, c := range []struct {
		home, args string
		code       int
		stderr     string
	}{
		{dir, "component show Nobody", ExitNotFound, "CBN-API-001: component Nobody\n  fix: See the list."},
		{dir, "component stop Busy", ExitBusy, "busy"},
		{dir, "component start Refused", ExitFailed, "refused"},
		{dir, "component stop Slow", ExitTimeout, "slow"},
		{dir, "component stop Forbidden", ExitNotPermitted, "no"},
		{dir, "component stop Broken", ExitFailed, "invalid character"},
		{dir, "component ls -o xml", ExitUsage, "CBN-CLI-066"},
		{dir, "component ls --nothing", ExitUsage, "unknown flag"},
		{dir, "component show", ExitUsage, "accepts 1 arg"},
		{dir, "nonsense", ExitUsage, "neither a command nor a verb"},
		{dir, "status extra", ExitUsage, "unknown command"},
		{empty, "status", ExitUnreachable, "CBN-CLI-069"},
		{empty, "open", ExitUnreachable, "fix: Start it"},
		{filepath.Join(empty, "nowhere"), "status", ExitUnreachable, "CBN-CLI-069"},
		{empty, "version", ExitOK, ""},
		{empty, "help", ExitOK, ""},
		{empty, "completion bash", ExitOK, ""},
		{empty, "server -receiverNode -DportOffset=1", 121, ""},
	} {
		code, out, errs := run(c.home, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errs, c.stderr) || (c.stderr == "" && errs != "") {
			t.Errorf("%s: exit %d, want %d: %q", c.args, code, c.code, errs)
		}
		if c.code != 0 && c.code != 121 && out != "" {
			t.Errorf("%s: an error on standard output: %q", c.args, out)
		}
	}
	if _, out, _ := run(empty, "server", "-receiverNode", "-DportOffset=1"); out != "-receiverNode -DportOffset=1" {
		t.Errorf("the server got %q", out)
	}
}

func TestHomeIsFound(t *testing.T) {
	t.Setenv("CARBON_HOME", "/somewhere/../else")
	if got, err := Home(); err != nil || got != "/else" {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv("CARBON_HOME", "")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Home(); err != nil || got != filepath.Dir(filepath.Dir(exe)) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFailureIsAnError(t *testing.T) {
	var f *admin.Failure
	if !errors.As(error(admin.NewFailure(404)), &f) || codeOfStatus(f) != ExitNotFound {
		t.Error("a failure lost its status")
	}
	for status, code := range map[int]int{400: ExitUsage, 401: ExitNotPermitted, 422: ExitUsage, 500: ExitFailed, 503: ExitUnreachable} {
		if got := codeOfStatus(admin.NewFailure(status)); got != code {
			t.Errorf("%d: %d, want %d", status, got, code)
		}
	}
}
