package analyticsengine

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"carbonado.dev/sdk/component"
)

// admin answers every request of the command line.
type admin struct {
	status int
	body   string
	got    string
}

func (a *admin) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.got = r.Method + " " + r.URL.String() + " " + string(b)
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(strings.NewReader(a.body)), Header: http.Header{}}, nil
}

func ask(t *testing.T, a *admin, stdin string, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := runQuery(context.Background(), &component.Invocation{
		Verb: "query", Args: args, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Admin: &http.Client{Transport: a},
	})
	return code, out.String(), errs.String()
}

func TestQueryPrints(t *testing.T) {
	const body = `{"columns":[{"name":"a","type":"bigint"},{"name":"b c","type":"string"}],"rows":[[9007199254740993,"x,\"y\""],[null,"\u001b[31mred"]],"truncated":true,"elapsedMs":3,"statements":1,"rowsWritten":0}`
	for _, test := range []struct{ format, want string }{
		{"table", " a                 b c      \n 9007199254740993  x,\"y\"    \n NULL              \ufffd[31mred \n"},
		{"csv", "a,b c\n9007199254740993,\"x,\"\"y\"\"\"\n,\ufffd[31mred\n"},
		{"json", "{\n  \"columns\": [\n    {\n      \"name\": \"a\",\n      \"type\": \"bigint\"\n    },"},
		{"yaml", "columns:\n    - name: a\n      type: bigint\n    - name: b c\n      type: string\nrows:\n    - [9007199254740993, 'x,\"y\"']\n    - [null, \"\\e[31mred\"]\ntruncated: true\n"},
	} {
		a := &admin{status: 200, body: body}
		code, out, errs := ask(t, a, "", "SELECT 1", "-o", test.format, "--rows", "2")
		if code != 0 || !strings.HasPrefix(out, test.want) {
			t.Errorf("%s gives %d\n%q\nwant\n%q", test.format, code, out, test.want)
		}
		if !strings.Contains(errs, "cut at 2 rows") || a.got != `POST http://admin/engine/query {"sql":"SELECT 1","maxRows":2,"timeoutMs":0,"readOnly":false}` {
			t.Errorf("%s says %q and sends %s", test.format, errs, a.got)
		}
	}
	if code, out, _ := ask(t, &admin{status: 200, body: `{"statements":2,"rowsWritten":7,"elapsedMs":5}`}, "INSERT …", "-"); code != 0 || out != "2 statements, 7 rows written, 5 ms\n" {
		t.Errorf("%d %q", code, out)
	}
}

func TestQueryFails(t *testing.T) {
	const failure = `{"cause":{"code":"CBN-SQL-021","text":"no column","fix":"Check names.","line":2,"column":5,"chain":[{"code":"CBN-X-001","text":"deeper"}]}}`
	for _, test := range []struct {
		a    *admin
		args []string
		code int
		errs string
	}{
		{&admin{status: 400, body: failure}, []string{"SELECT x"}, 1, "CBN-SQL-021 line 2, column 5: no column\n  because CBN-X-001: deeper\n  fix: Check names.\n"},
		{&admin{status: 503, body: failure}, []string{"SELECT x"}, 69, "CBN-SQL-021"},
		{&admin{status: 404, body: "<html>"}, []string{"SELECT x"}, 69, "query: CBN-SDK-043: the server answers Not Found\n  fix: "},
		{&admin{}, nil, 64, "usage: carbonado query"},
		{&admin{}, []string{"a", "b"}, 64, "usage"},
		{&admin{}, []string{"a", "-o", "xml"}, 64, "unknown format \"xml\""},
		{&admin{}, []string{"-x", "a"}, 64, "usage"},
	} {
		code, out, errs := ask(t, test.a, "", test.args...)
		if code != test.code || !strings.HasPrefix(errs, test.errs) || out != "" {
			t.Errorf("%v gives %d %q %q, want %d %q", test.args, code, out, errs, test.code, test.errs)
		}
	}
}
