package analyticsexecution

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"carbonado.dev/sdk/component"
)

// admin answers every request of the command line.
type admin struct {
	status int
	body   string
	got    string
}

func (a *admin) RoundTrip(r *http.Request) (*http.Response, error) {
	a.got = r.Method + " " + r.URL.Path + " " + r.URL.RawQuery
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(strings.NewReader(a.body)), Header: http.Header{}}, nil
}

func TestScriptCommands(t *testing.T) {
	const run = `{"id":"1","script":"a","started":"2026-11-25T10:00:00.000Z","ended":"","state":"%","trigger":"ann","statements":2,"rowsWritten":7,"cause":null}`
	succeeded, failed := strings.Replace(run, "%", "SUCCEEDED", 1), strings.Replace(run, "%", "FAILED", 1)
	const failure = `{"status":"failed","message":"x","cause":{"code":"CBN-SCR-003","text":"script \"b\"","fix":"See ls.","file":"f.xml","line":3,"column":4,"chain":[{"code":"CBN-X-001","text":"deeper"}]}}`
	for _, test := range []struct {
		args      string
		status    int
		body      string
		code      int
		got       string
		out, errs string
	}{
		{"ls", 200, `[{"name":"a","cron":"","editable":true,"running":true,"next":"","last":` + succeeded + `}]`, 0, "GET /scripts ",
			" NAME  CRON  NEXT  LAST     ENDED \n a     -     -     RUNNING  -     \n", ""},
		{"ls -o json", 200, `[]`, 0, "GET /scripts ", "[]\n", ""},
		{"-o yaml ls", 200, `[{"name":"a","cron":"c","editable":true}]`, 0, "GET /scripts ", "- cron: c\n  editable: true\n  last: null\n  name: a\n  next: \"\"\n  running: false\n", ""},
		{"show a", 200, `{"name":"a","script":"SELECT 1"}`, 0, "GET /scripts/a ", "SELECT 1\n", ""},
		{"run a", 200, succeeded, 0, "POST /scripts/a/run ", " SCRIPT  STARTED ", ""},
		{"run a", 200, failed, 1, "POST /scripts/a/run ", " SCRIPT  STARTED ", ""},
		{"run b", 404, failure, 1, "POST /scripts/b/run ", "", "CBN-SCR-003 f.xml:3:4: script \"b\"\n  because CBN-X-001: deeper\n  fix: See ls.\n"},
		{"run b", 404, "<html>", 69, "POST /scripts/b/run ", "", "script: CBN-SDK-043: the server answers Not Found\n  fix: "},
		{"cancel a", 200, `{"cancelled":true}`, 0, "POST /scripts/a/cancel ", " SCRIPT  CANCELLED \n a       true      \n", ""},
		{"history", 200, "[" + succeeded + "]", 0, "GET /scripts/-/history limit=20", " SCRIPT  STARTED ", ""},
		{"history a -n 3", 200, "[]", 0, "GET /scripts/a/history limit=3", "", ""},
		{"next a -n 2", 200, `{"cron":"c","zone":"UTC","next":["2026-11-25T10:00:00Z"],"never":true}`, 0, "GET /scripts/a/next count=2", " NEXT (UTC)           \n 2026-11-25T10:00:00Z \n never                \n", ""},
		{"next --cron 0_0", 200, `{"cron":"0_0","zone":"UTC","next":[],"never":true}`, 0, "GET /scripts/-/next count=5&cron=0_0", " NEXT (UTC) \n never      \n", ""},
		{"next", 0, "", 64, "", "", "unknown command"},
		{"", 0, "", 64, "", "", "a command is missing"},
		{"frobnicate a", 0, "", 64, "", "", "unknown command"},
		{"ls -o xml", 0, "", 64, "", "", "unknown format"},
		{"ls --frob", 0, "", 64, "", "", "flag provided but not defined"},
		{"--help", 0, "", 0, "", "usage: carbonado script", ""},
	} {
		a := &admin{status: test.status, body: test.body}
		var out, errs bytes.Buffer
		code := runScript(context.Background(), &component.Invocation{Verb: "script", Args: strings.Fields(test.args), Stdout: &out, Stderr: &errs, Admin: &http.Client{Transport: a}})
		if code != test.code || a.got != test.got || !strings.HasPrefix(out.String(), test.out) || !strings.HasPrefix(errs.String(), test.errs) {
			t.Errorf("script %s gives %d, asks %q, prints\n%q\n%q\nwant %d, %q,\n%q\n%q", test.args, code, a.got, out.String(), errs.String(), test.code, test.got, test.out, test.errs)
		}
	}
}

// busy is a script whose run is under way at first.
type busy struct {
	asked int
	runs  int // how many times it is
	done  string
}

func (b *busy) RoundTrip(*http.Request) (*http.Response, error) {
	b.asked++
	status, body := http.StatusOK, b.done
	if b.asked <= b.runs {
		status, body = http.StatusConflict, `{"status":"failed","message":"x","cause":{"code":"CBN-SCR-004","text":"script a runs since 10:00:00","fix":"Wait for its end, or cancel it."}}`
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
}

// TestRunWaitsForThePresentRun: up to its patience, and says so once; then it is refused as ever.
func TestRunWaitsForThePresentRun(t *testing.T) {
	const done = `{"id":"1","script":"a","started":"2026-11-25T10:00:00.000Z","ended":"","state":"SUCCEEDED","trigger":"ann","statements":2,"rowsWritten":7,"cause":null}`
	for name, x := range map[string]struct{ runs, code int }{"it ends": {3, exitOK}, "it does not": {1 << 30, exitFailed}} {
		synctest.Test(t, func(t *testing.T) {
			b := &busy{runs: x.runs, done: done}
			var out, errs bytes.Buffer
			code := runScript(t.Context(), &component.Invocation{Args: []string{"run", "a"}, Admin: &http.Client{Transport: b}, Stdout: &out, Stderr: &errs})
			if code != x.code || strings.Count(errs.String(), "it is run again when that has ended") != 1 {
				t.Errorf("%s: %d %s", name, code, errs.String())
			}
			if refused := strings.Contains(errs.String(), "CBN-SCR-004: script a runs since"); refused != (code == exitFailed) {
				t.Errorf("%s: %s", name, errs.String())
			}
		})
	}
}
