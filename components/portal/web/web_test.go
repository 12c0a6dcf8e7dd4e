package web

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func files() fstest.MapFS {
	return fstest.MapFS{
		"index.html":        {Data: []byte(`<meta property="csp-nonce" nonce="CARBONADO-NONCE"><script type="module" nonce="CARBONADO-NONCE" src="/assets/a-1.js">`)},
		"assets/a-1.js":     {Data: []byte("plain")},
		"assets/a-1.js.br":  {Data: []byte("brotli")},
		"assets/a-1.js.gz":  {Data: []byte("gzip")},
		"assets/b-2.css":    {Data: []byte("css")},
		"assets/b-2.css.gz": {Data: []byte("gzip")},
	}
}

func get(t *testing.T, h http.Handler, method, path, accepts string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept-Encoding", accepts)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryPageHasItsOwnNonce(t *testing.T) {
	h, err := Handler(files())
	if err != nil {
		t.Fatal(err)
	}
	nonces := map[string]bool{}
	for _, path := range []string{"/", "/login", "/dashboards/smart-home", "/components"} {
		w := get(t, h, "GET", path, "br")
		csp := w.Header().Get("Content-Security-Policy")
		m := regexp.MustCompile(`'nonce-([\w-]{22})'`).FindStringSubmatch(csp)
		if w.Code != 200 || m == nil {
			t.Fatalf("%s: %d, policy %q", path, w.Code, csp)
		}
		if nonces[m[1]] {
			t.Errorf("%s: the nonce was given before", path)
		}
		nonces[m[1]] = true
		if body := w.Body.String(); strings.Count(body, `nonce="`+m[1]+`"`) != 2 || strings.Contains(body, placeholder) {
			t.Errorf("%s: body %s", path, body)
		}
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q is not strict", path, csp)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a page with a nonce may be stored", path)
		}
	}
}

func TestAssets(t *testing.T) {
	h, err := Handler(files())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, accepts, body, encoding, typ string }{
		{"/assets/a-1.js", "gzip, deflate, br", "brotli", "br", "text/javascript; charset=utf-8"},
		{"/assets/a-1.js", "gzip", "gzip", "gzip", "text/javascript; charset=utf-8"},
		{"/assets/a-1.js", "br;q=0, gzip;q=0.5", "gzip", "gzip", "text/javascript; charset=utf-8"},
		{"/assets/a-1.js", "", "plain", "", "text/javascript; charset=utf-8"},
		{"/assets/b-2.css", "br, gzip", "gzip", "gzip", "text/css; charset=utf-8"},
	} {
		w := get(t, h, "GET", tc.path, tc.accepts)
		head := w.Header()
		if w.Code != 200 || w.Body.String() != tc.body || head.Get("Content-Encoding") != tc.encoding || head.Get("Content-Type") != tc.typ {
			t.Errorf("%s for %q: %d %q %v", tc.path, tc.accepts, w.Code, w.Body, head)
		}
		if !strings.Contains(head.Get("Cache-Control"), "immutable") || head.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", tc.path, head)
		}
	}
	for _, path := range []string{"/assets/none.js", "/assets/a-1.js.br", "/assets/", "/assets/../index.html"} {
		if w := get(t, h, "GET", path, "br"); w.Code != 404 || w.Header().Get("Cache-Control") != "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestOtherMethodsAndPaths(t *testing.T) {
	h, err := Handler(files())
	if err != nil {
		t.Fatal(err)
	}
	if w := get(t, h, "POST", "/", ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", w.Code)
	}
	if w := get(t, h, "HEAD", "/", ""); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := get(t, h, "GET", "/nowhere", ""); w.Code != 404 || !strings.Contains(w.Body.String(), "/assets/a-1.js") {
		t.Errorf("unknown path: %d %s", w.Code, w.Body)
	}
}

func TestBuildWithoutPageSaysSo(t *testing.T) {
	h, err := Handler(nil)
	if err != nil {
		t.Fatal(err)
	}
	if w := get(t, h, "GET", "/", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "make build") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get(t, h, "GET", "/assets/a-1.js", ""); w.Code != 404 {
		t.Errorf("asset: %d", w.Code)
	}
}

func TestPageWithoutPlaceForTheNonceIsRefused(t *testing.T) {
	if _, err := Handler(fstest.MapFS{"index.html": {Data: []byte("<html>")}}); err == nil {
		t.Error("accepted")
	}
}
