package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// TestRoutesByCredentialsByTransport is the table "every route, every credential, every transport".
func TestRoutesByCredentialsByTransport(t *testing.T) {
	f := newFront(t, Limits{})
	const browser = "text/html,application/xhtml+xml"
	open, err := f.users.OpenSession(t.Context(), openBasic("joe", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	credentials := map[string][]string{
		"nothing":         nil,
		"a browser":       {"Accept", browser, "Sec-Fetch-Mode", "navigate"},
		"a script":        {"Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"},
		"a session":       {"Cookie", sessionCookie + "=" + open.Session},
		"an old session":  {"Cookie", sessionCookie + "=gone"},
		"basic":           {"Authorization", basicAuth("joe", "secret")},
		"admin":           {"Authorization", basicAuth("admin", "secret")},
		"a wrong basic":   {"Authorization", basicAuth("joe", "wrong")},
		"a bearer":        {"Authorization", "Bearer token-of-joe"},
		"a wrong bearer":  {"Authorization", "bearer nothing"},
		"another scheme":  {"Authorization", "Digest username=joe"},
		"malformed basic": {"Authorization", "Basic !!!"},
	}
	const (
		joe, joeSession, joeBearer, admin = "200 joe via basic", "200 joe via session", "200 joe via bearer", "200 admin via basic"
		refused, challenge, signIn        = "401", "401 challenge", "303 /signin"
	)
	// What each route says to each credential over TLS; "default" where it is not named.
	required := map[string]string{
		"nothing": challenge, "a browser": challenge, "a script": refused, "a session": joeSession, "an old session": challenge, "basic": joe, "admin": admin,
		"a wrong basic": challenge, "a bearer": joeBearer, "a wrong bearer": challenge, "another scheme": challenge, "malformed basic": challenge,
	}
	page := map[string]string{"a browser": signIn}
	none := map[string]string{"nothing": "200 nobody", "a browser": "200 nobody", "a script": "200 nobody", "an old session": "200 nobody"}
	api := map[string]string{"a session": "403", "basic": "403", "a bearer": "403", "admin": "200 api for admin"}
	for path, want := range map[string]map[string]string{
		"/required": required, "/required/deep/er?q=1": required, "/endpoints/r": required, "/page/x": page, "/none": none, "/api": api, "/api/status": api,
	} {
		for name, headers := range credentials {
			expected, ok := want[name]
			if !ok {
				expected = required[name]
			}
			t.Run("https "+path+" with "+name, func(t *testing.T) { f.expect(t, f.secure+path, expected, headers) })
			if expected == joeSession {
				expected = required["nothing"] // browsers don't send the cookie there; a program that does is served like one
			}
			switch {
			case strings.HasPrefix(path, "/endpoints"), path == "/none":
				if name == "a session" {
					expected = joeSession
				}
				t.Run("http "+path+" with "+name, func(t *testing.T) { f.expect(t, f.plain+path, expected, headers) })
			default:
				t.Run("http "+path+" with "+name, func(t *testing.T) { f.expect(t, f.plain+path, "307 "+f.secure+path, headers) })
			}
			f.gw.throttle = newThrottle(time.Now)
		}
	}
	if got := f.users.addresses; len(got) == 0 || slices.Contains(got, "") || got[0] != "127.0.0.1" {
		t.Errorf("addresses %q", got)
	}
}

func (f *front) expect(t *testing.T, url, want string, headers []string) {
	t.Helper()
	r := f.do(http.MethodGet, url, "", headers...)
	got := fmt.Sprint(r.status)
	switch {
	case r.status == 200:
		got += " " + r.body
	case r.header.Get("Location") != "":
		location, _, _ := strings.Cut(r.header.Get("Location"), "?to=")
		got += " " + location
	case r.header.Get("WWW-Authenticate") != "":
		got += " challenge"
	}
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if r.status >= 400 {
		var fl failure
		if err := json.Unmarshal([]byte(r.body), &fl); err != nil || fl.Status != "failed" || fl.Message == "" || fl.Cause == nil || fl.Cause.Code == "" {
			t.Errorf("%q is not the JSON of a failure: %v", r.body, err)
		}
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", r.header)
		}
	}
	if r.status == 200 && r.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", r.header)
	}
}

func TestOldSessionIsClearedInTheBrowser(t *testing.T) {
	f := newFront(t, Limits{})
	r := f.do(http.MethodGet, f.secure+"/page", "", "Cookie", sessionCookie+"=gone", "Accept", "text/html")
	if c := r.header.Get("Set-Cookie"); r.status != 303 || !strings.HasPrefix(c, sessionCookie+"=;") || !strings.Contains(c, "Max-Age=0") {
		t.Errorf("%d, %q", r.status, c)
	}
	if got := r.header.Get("Location"); got != "/signin?to=%2Fpage" {
		t.Errorf("%q", got)
	}
}

func TestWithoutIdentity(t *testing.T) {
	f := newFront(t, Limits{})
	f.users.absent = &commonv1.Cause{Code: "CBN-SUP-009", Text: "Identity is FAILED"}
	for _, c := range []struct {
		path   string
		header []string
		status int
	}{
		{"/api/status", nil, 503}, {"/api/status", []string{"Authorization", basicAuth("admin", "secret")}, 503},
		{"/required", nil, 503}, {"/page", []string{"Accept", "text/html"}, 503}, {"/none", nil, 200},
		{"/none", []string{"Cookie", sessionCookie + "=x"}, 200}, {"/none", []string{"Authorization", basicAuth("joe", "secret")}, 200},
	} {
		r := f.do(http.MethodGet, f.secure+c.path, "", c.header...)
		if r.status != c.status {
			t.Errorf("%s: %d %s", c.path, r.status, r.body)
		}
		if r.status == 503 && (!strings.Contains(r.body, "Identity is FAILED") || !strings.Contains(r.body, ErrNoIdentity.ID()) || r.header.Get("Retry-After") == "") {
			t.Errorf("%s: %s", c.path, r.body)
		}
	}
	if r := f.do(http.MethodPost, f.secure+"/signin", `{"username":"a","password":"b"}`, "Content-Type", "application/json"); r.status != 503 {
		t.Errorf("sign-in: %d", r.status)
	}

	f.users.absent, f.users.broken = nil, status.Error(codes.Unavailable, "restarting")
	if r := f.do(http.MethodGet, f.secure+"/required", "", "Authorization", basicAuth("joe", "secret")); r.status != 503 {
		t.Errorf("%d %s", r.status, r.body)
	}
	f.users.broken = status.Error(codes.ResourceExhausted, "busy")
	if r := f.do(http.MethodGet, f.secure+"/required", "", "Authorization", basicAuth("joe", "secret")); r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

func TestFailedSignInsAreThrottled(t *testing.T) {
	now := time.Now()
	f := newFront(t, Limits{}, func(o *Options) { o.Now = func() time.Time { return now } })
	try := func(user, password string) int {
		return f.do(http.MethodGet, f.secure+"/required", "", "Authorization", basicAuth(user, password)).status
	}
	for i := range userFailures {
		if got := try("joe", "wrong"); got != 401 {
			t.Fatalf("attempt %d: %d", i, got)
		}
	}
	before := f.users.attempts
	r := f.do(http.MethodPost, f.secure+"/signin", `{"username":"Joe","password":"secret"}`, "Content-Type", "application/json")
	if r.status != 429 || r.header.Get("Retry-After") != "10" || f.users.attempts != before {
		t.Errorf("%d, Retry-After %q, %d checks", r.status, r.header.Get("Retry-After"), f.users.attempts-before)
	}
	if got := try("admin", "secret"); got != 200 {
		t.Errorf("another user: %d", got)
	}
	now = now.Add(userRefill)
	if got := try("joe", "secret"); got != 200 {
		t.Errorf("after the wait: %d", got)
	}
	if got := try("joe", "secret"); got != 200 {
		t.Errorf("success costs: %d", got)
	}
	// Many users from one address.
	refused := 0
	for i := range 2 * addressFailures {
		if try(fmt.Sprint("user", i), "x") == 429 {
			refused++
		}
	}
	if refused < addressFailures-10 {
		t.Errorf("%d of %d refused", refused, 2*addressFailures)
	}
	if got := try("admin", "secret"); got != 429 {
		t.Errorf("the address is not throttled: %d", got)
	}
}

func TestThrottleForgetsAndJoinsIPv6(t *testing.T) {
	now := time.Now()
	th := newThrottle(func() time.Time { return now })
	for i := range 2 * throttleSize {
		th.failed(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "u")
	}
	if n := th.order.Len(); n != throttleSize || len(th.bucket) != n {
		t.Errorf("%d remembered", n)
	}
	for i := range userFailures {
		th.failed(fmt.Sprintf("2001:db8::%x", i+1), "u")
	}
	if th.wait("2001:db8::ffff", "u") == 0 || th.wait("2001:db8:0:1::1", "u") != 0 {
		t.Error("an IPv6 customer has one /64")
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	f := newFront(t, Limits{})
	origin := strings.Replace(f.secure, "127.0.0.1", "127.0.0.1", 1)
	for _, c := range []struct {
		name    string
		method  string
		headers []string
		status  int
	}{
		{"another site's form", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"another origin without Sec-Fetch", "POST", []string{"Origin", "https://evil.example"}, 403},
		{"a sister site", "DELETE", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://a.example"}, 403},
		{"our own page", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", origin}, 200},
		{"a program", "POST", nil, 200},
		{"another site's link", "GET", []string{"Sec-Fetch-Site", "cross-site"}, 200},
	} {
		for _, path := range []string{"/required", "/none"} {
			headers := append([]string{"Authorization", basicAuth("joe", "secret")}, c.headers...)
			if r := f.do(c.method, f.secure+path, "", headers...); r.status != c.status {
				t.Errorf("%s to %s: %d %s", c.name, path, r.status, r.body)
			}
		}
	}
	if r := f.do("POST", f.secure+"/signin", `{"username":"admin","password":"secret"}`, "Content-Type", "application/json", "Sec-Fetch-Site", "cross-site"); r.status != 403 {
		t.Errorf("cross-site sign-in: %d", r.status)
	}
}
