package gateway

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

func openBasic(user, password string) *analyticsv1.OpenSessionRequest {
	return &analyticsv1.OpenSessionRequest{Credentials: &analyticsv1.OpenSessionRequest_Basic{Basic: &analyticsv1.BasicCredentials{Username: user, Password: password}}}
}

const formType, jsonType = "application/x-www-form-urlencoded", "application/json"

func TestSignInAndOutByForm(t *testing.T) {
	f := newFront(t, Limits{})
	r := f.do("GET", f.secure+"/signin?to=/page/x%3Fq=1", "", "Accept", "text/html")
	csp := r.header.Get("Content-Security-Policy")
	if r.status != 200 || !strings.Contains(r.body, `name="password"`) || !strings.Contains(r.body, `value="/page/x?q=1"`) ||
		!strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(r.body, "<script") {
		t.Errorf("%d, CSP %q\n%s", r.status, csp, r.body)
	}
	r = f.do("POST", f.secure+"/signin", url.Values{"username": {"joe"}, "password": {"secret"}, "to": {"/page/x?q=1"}}.Encode(), "Content-Type", formType, "Accept", "text/html")
	c, err := http.ParseSetCookie(r.header.Get("Set-Cookie"))
	if err != nil || r.status != 303 || r.header.Get("Location") != "/page/x?q=1" {
		t.Fatalf("%d, %v, %v", r.status, r.header, err)
	}
	if c.Name != sessionCookie || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("%+v", c)
	}
	signed := []string{"Cookie", c.Name + "=" + c.Value}
	if r := f.do("GET", f.secure+"/page/x", "", signed...); r.body != "joe via session" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := f.do("GET", f.secure+"/signout", "", signed...); r.status != 405 {
		t.Errorf("sign-out by GET: %d", r.status)
	}
	if r := f.do("POST", f.secure+"/signout", "", append(signed, "Accept", "text/html")...); r.status != 303 || !strings.Contains(r.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := f.do("GET", f.secure+"/required", "", signed...); r.status != 401 {
		t.Errorf("after sign-out: %d", r.status)
	}
	if r := f.do("POST", f.secure+"/signout", "", "Accept", jsonType); r.status != 200 || strings.TrimSpace(r.body) != "{}" {
		t.Errorf("sign-out of nobody: %d %s", r.status, r.body)
	}
}

func TestSignInByJSON(t *testing.T) {
	f := newFront(t, Limits{})
	r := f.do("POST", f.secure+"/signin", `{"username":"admin","password":"secret"}`, "Content-Type", jsonType, "Cookie", sessionCookie+"=planted")
	var s signedIn
	if err := json.Unmarshal([]byte(r.body), &s); err != nil || r.status != 200 || s.User != "admin" || !s.Expires.Equal(time.UnixMilli(4102444800000)) {
		t.Errorf("%d %s %v", r.status, r.body, err)
	}
	first := strings.Split(r.header.Get("Set-Cookie"), ";")[0]
	if strings.Contains(first, "planted") {
		t.Error("the planted session was kept")
	}
	// A second sign-in ends the first session.
	f.do("POST", f.secure+"/signin", `{"username":"admin","password":"secret"}`, "Content-Type", jsonType, "Cookie", first)
	if r := f.do("GET", f.secure+"/required", "", "Cookie", first); r.status != 401 {
		t.Errorf("the first session: %d", r.status)
	}
	for body, status := range map[string]int{
		`{"username":"admin","password":"wrong"}`:               401,
		`{"username":"admin","password":""}`:                    400,
		`{"username":"admin","password":"secret","admin":true}`: 400,
		`{`: 400,
		`{"username":"admin","password":"` + strings.Repeat("x", 1<<17) + `"}`: 400,
	} {
		r := f.do("POST", f.secure+"/signin", body, "Content-Type", jsonType)
		var fl failure
		if err := json.Unmarshal([]byte(r.body), &fl); r.status != status || err != nil || fl.Cause == nil || fl.Cause.Code == "" || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%.40s: %d %s %v", body, r.status, r.body, err)
		}
		if strings.Contains(r.body, "secret") {
			t.Errorf("a password in %s", r.body)
		}
	}
	if r := f.do("POST", f.secure+"/signin", "x", "Content-Type", "text/plain", "Accept", jsonType); r.status != 400 {
		t.Errorf("%d", r.status)
	}
	if r := f.do("PUT", f.secure+"/signin", "x"); r.status != 405 || r.header.Get("Allow") == "" {
		t.Errorf("%d", r.status)
	}
}

func TestWrongPasswordShowsTheFormAgain(t *testing.T) {
	f := newFront(t, Limits{})
	r := f.do("POST", f.secure+"/signin", url.Values{"username": {`"><b>joe`}, "password": {"p4ssword"}}.Encode(), "Content-Type", formType, "Accept", "text/html")
	if r.status != 401 || !strings.Contains(r.body, "wrong user name or password") || strings.Contains(r.body, "p4ssword") || strings.Contains(r.body, "<b>joe") {
		t.Errorf("%d\n%s", r.status, r.body)
	}
}

func TestOneTimeLink(t *testing.T) {
	f := newFront(t, Limits{})
	before := f.users.attempts
	r := f.do("GET", f.secure+"/signin?token=once", "", "Accept", "text/html")
	if r.status != 200 || !strings.Contains(r.body, `value="once"`) || strings.Contains(r.body, `name="password"`) || f.users.attempts != before || r.header.Get("Set-Cookie") != "" {
		t.Errorf("%d\n%s", r.status, r.body)
	}
	r = f.do("POST", f.secure+"/signin", "token=once&to=%2F", "Content-Type", formType, "Accept", "text/html")
	if r.status != 303 || r.header.Get("Set-Cookie") == "" || r.header.Get("Location") != "/" {
		t.Errorf("%d %v", r.status, r.header)
	}
	r = f.do("POST", f.secure+"/signin", "token=spent", "Content-Type", formType, "Accept", "text/html")
	if r.status != 401 || !strings.Contains(r.body, `name="password"`) {
		t.Errorf("%d\n%s", r.status, r.body)
	}
	// A component with a page of its own shows it.
	f.routes("/", "page", "", "/login", "none", "")
	r = f.do("GET", f.secure+"/signin?token=once&to=%2Fpage", "", "Accept", "text/html")
	if r.status != 303 || r.header.Get("Location") != "/login?to=%2Fpage&token=once" {
		t.Errorf("%d %q", r.status, r.header.Get("Location"))
	}
}

func TestReturnAddressesStayHere(t *testing.T) {
	for to, want := range map[string]string{
		"": "/", "/": "/", "/a/b?c=d#e": "/a/b?c=d#e", "/a%20b": "/a%20b",
		"//evil.example": "/", "/\\evil.example": "/", "\\\\evil": "/", "https://evil.example/": "/", "javascript:alert(1)": "/", "a": "/",
		"/\t/evil": "/", "/ /evil": "/", "/../x": "/", "/%2e%2e/x": "/", "/%5cevil": "/", "/a\r\nSet-Cookie: x": "/", "/signin?to=/": "/", "/signout": "/", "/login": "/",
		"/" + strings.Repeat("x", maxTo): "/", "http:///x": "/", "///x": "/", "/%": "/",
	} {
		if got := local(to); got != want {
			t.Errorf("local(%q) = %q, want %q", to, got, want)
		}
	}
}

func TestOwnPage(t *testing.T) {
	f := newFront(t, Limits{})
	r := f.do("GET", f.secure+"/", "")
	for _, part := range []string{"node-1", "receiver", "Portal is disabled by the profile &lt;receiver&gt;", "Start with -dashboardNode.", "CBN-PLAN-003"} {
		if !strings.Contains(r.body, part) {
			t.Errorf("%q is missing in\n%s", part, r.body)
		}
	}
	if r.status != 200 || strings.Contains(r.body, "<script") || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := f.do("GET", f.secure+"/nothing", ""); r.status != 404 || !strings.Contains(r.body, ErrNoRoute.ID()) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := f.do("POST", f.secure+"/", ""); r.status != 405 {
		t.Errorf("%d", r.status)
	}
	if r := f.do("GET", f.plain+"/", ""); r.status != 307 || r.header.Get("Location") != f.secure+"/" {
		t.Errorf("%d %v", r.status, r.header)
	}
	f.routes("/", "none", "")
	if r := f.do("GET", f.secure+"/nothing", ""); r.status != 200 || r.body != "nobody" {
		t.Errorf("%d %s", r.status, r.body)
	}
}
