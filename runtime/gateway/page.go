package gateway

import (
	"bytes"
	"crypto/rand"
	"html/template"
	"net/http"

	"carbonado.dev/carbonado/runtime/component"
)

// The gateway's own pages: what a node without a console shows. They have no script.
var pages = template.Must(template.New("").Parse(`
{{define "head"}}<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}} – Carbonado</title>
<style nonce="{{.Nonce}}">
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem}
label{display:block;margin:.75rem 0 .25rem}
input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}
button{font:inherit;margin-top:1.25rem;padding:.5rem 1.25rem}
dt{font-weight:600}dd{margin:0 0 .75rem}
.wrong{border-left:.25rem solid #c22;padding-left:.75rem}
code{font-size:.9em}
</style></head><body><main><h1>{{.Title}}</h1>{{end}}

{{define "cause"}}<div class="wrong" role="alert"><p>{{.Text}}</p>{{range .Chain}}<p>{{.Text}}{{with .Place}} <code>{{.}}</code>{{end}}</p>{{end}}
{{with .Fix}}<p>{{.}}</p>{{end}}<p><code>{{.Code}}</code></p></div>{{end}}

{{define "signin"}}{{template "head" .}}
{{with .Cause}}{{template "cause" .}}{{end}}
<form method="post" action="/signin">
<input type="hidden" name="to" value="{{.Form.To}}">
{{if .Form.Token}}<input type="hidden" name="token" value="{{.Form.Token}}">
<p>This link signs you in once.</p><button autofocus>Sign in</button>
{{else}}<label for="u">User name</label><input id="u" name="username" value="{{.Form.Username}}" autocomplete="username" required autofocus>
<label for="p">Password</label><input id="p" name="password" type="password" autocomplete="current-password" required>
<button>Sign in</button>{{end}}
</form></main></body></html>{{end}}

{{define "node"}}{{template "head" .}}
<dl><dt>Node</dt><dd>{{.Node.ID}}</dd><dt>Profile</dt><dd>{{.Node.Profile}}</dd></dl>
<p>This node serves no console.</p>
{{with .Cause}}{{template "cause" .}}{{end}}
<p>On the node, <code>carbonado status</code> and <code>carbonado plan</code> say more.</p>
</main></body></html>{{end}}
`))

type pageData struct {
	Title string
	Nonce string
	Form  signInForm
	Node  Node
	Cause *component.Cause
}

func (g *Gateway) form(w http.ResponseWriter, r *http.Request, f signInForm, err error) {
	status := http.StatusOK
	if err != nil {
		status = statusOf(err)
	}
	render(w, r, "signin", status, pageData{Title: "Sign in", Form: f, Cause: component.CauseOf(err)})
}

// page is "/" where no component serves it.
func (g *Gateway) page(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, ErrMethod.New("the method %s of /", r.Method))
		return
	}
	n := g.options.Nodes.Node()
	render(w, r, "node", http.StatusOK, pageData{Title: "Carbonado", Node: n, Cause: component.FromProto(n.NoPortal)})
}

func render(w http.ResponseWriter, r *http.Request, name string, status int, d pageData) {
	d.Nonce = rand.Text()
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, d); err != nil {
		fail(w, ErrComponentBroke.Wrap(err, "the page can't be made"))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+d.Nonce+"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	secure(h)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // the visitor may be gone
	}
}
