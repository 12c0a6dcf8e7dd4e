// Package web serves the built page: index.html with a nonce of its own for each answer, and assets that never change. It must
// not know what the page shows.
package web

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// placeholder stands in index.html where the nonce goes; vite.config.ts has the same word.
const placeholder = "CARBONADO-NONCE"

// Pages are the first segments of the paths that are views of the page.
var Pages = []string{"", "login", "dashboards", "components", "boot", "errors", "account"}

// policy is the Content-Security-Policy; %s is the nonce.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-%s'; connect-src 'self'; img-src 'self' data:; " +
	"frame-ancestors 'none'; form-action 'self'; base-uri 'none'"

// missing is shown by a binary without the page.
const missing = `<!doctype html><html lang="en"><title>Carbonado</title><h1>This build has no web page</h1>` +
	`<p><code>make build</code> makes it (it needs Node), and builds the Portal with the tag <code>ui</code>.</p>` +
	`<p>The REST API at <code>/analytics</code> and the command line work without it.</p></html>`

// Handler serves the page from its files; nil files give a text that says how to build it.
func Handler(files fs.FS) (http.Handler, error) {
	h := &handler{files: files, pages: map[string]bool{}}
	for _, p := range Pages {
		h.pages[p] = true
	}
	if files == nil {
		h.index = []byte(missing)
		return h, nil
	}
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		return nil, fmt.Errorf("the built page: %w", err)
	}
	if !bytes.Contains(index, []byte(placeholder)) {
		return nil, fmt.Errorf("the built page has no place for the nonce: %s is missing", placeholder)
	}
	h.index = index
	return h, nil
}

type handler struct {
	files fs.FS
	index []byte
	pages map[string]bool
}

// ServeHTTP answers GET and HEAD.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(r.URL.Path, "/assets/") {
		h.asset(w, r)
		return
	}
	h.page(w, r)
}

func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	var raw [16]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	nonce := base64.RawURLEncoding.EncodeToString(raw[:])
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", fmt.Sprintf(policy, nonce))
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body := bytes.ReplaceAll(h.index, []byte(placeholder), []byte(nonce))
	if !h.pages[first] {
		// The page says so in its own words.
		w.WriteHeader(http.StatusNotFound)
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // fails only if the reader has gone
	}
}

func (h *handler) asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	body, encoding, err := h.read(name, r.Header.Get("Accept-Encoding"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	head := w.Header()
	head.Set("Content-Type", contentType(name))
	head.Set("Vary", "Accept-Encoding")
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	if encoding != "" {
		head.Set("Content-Encoding", encoding)
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // fails only if the reader has gone
	}
}

// read finds the smallest form that the client takes.
func (h *handler) read(name, accepts string) (body []byte, encoding string, err error) {
	if h.files == nil || !strings.HasPrefix(name, "assets/") || strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz") {
		return nil, "", fs.ErrNotExist
	}
	for _, form := range []struct{ token, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if !takes(accepts, form.token) {
			continue
		}
		if body, err := fs.ReadFile(h.files, name+form.suffix); err == nil {
			return body, form.token, nil
		}
	}
	body, err = fs.ReadFile(h.files, name)
	return body, "", err
}

// takes reads an Accept-Encoding header as far as it matters: a named coding that is not given the weight 0.
func takes(accepts, token string) bool {
	for part := range strings.SplitSeq(accepts, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(coding) != token {
			continue
		}
		q, ok := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		n, err := strconv.ParseFloat(q, 64)
		return !ok || err == nil && n > 0
	}
	return false
}

func contentType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}
