package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// door is where a request came in.
type door struct {
	scheme string
	// trusted is who asks on a socket that names its peer (the node's admin socket); nil signs in as usual.
	trusted *commonv1.Principal
}

// As serves all components' routes to one principal that was established elsewhere, whatever the routes demand.
func (g *Gateway) As(p *commonv1.Principal) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, door{scheme: "https", trusted: p}) })
}

// serve answers a request and lets its sender hear the answer.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, d door) {
	if g.options.Observe == nil {
		linger(w, r, func(w http.ResponseWriter, r *http.Request) { g.answer(w, r, d) })
		return
	}
	began, seen := time.Now(), &observed{ResponseWriter: w, rc: http.NewResponseController(w)}
	defer func() { g.options.Observe(g.routeName(r.URL.Path), seen.status, time.Since(began)) }()
	linger(seen, r, func(w http.ResponseWriter, r *http.Request) { g.answer(w, r, d) })
}

// answer is the way of every request: path, transport, origin, who asks, permission, route.
func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, d door) {
	if err := checkTarget(r); err != nil {
		fail(w, err)
		return
	}
	p := r.URL.Path
	own := below(p, apiPrefix) || p == signInPath || p == signOutPath || p == metricsPath && g.options.Metrics != nil
	route, found := g.routes.Load().find(p)
	if d.scheme == "http" && (own || !found || !route.plain) {
		g.redirect(w, r)
		return
	}
	if d.trusted == nil {
		if err := g.csrf.Check(r); err != nil {
			fail(w, ErrCrossSite.New("%s %s", r.Method, p))
			return
		}
	}
	if r.ContentLength > g.limits.Body {
		w.Header().Set("Connection", "close")
		fail(w, ErrBodyTooLarge.New("a body of %d bytes, the limit is %d", r.ContentLength, g.limits.Body))
		return
	}
	switch {
	case own && p == signInPath:
		g.signIn(w, r)
	case own && p == signOutPath:
		g.signOut(w, r)
	case own && p == metricsPath:
		g.metrics(w, r, d)
	case own:
		g.api(w, r, d)
	case found:
		g.toRoute(w, r, d, route)
	case p == "/":
		g.page(w, r)
	default:
		fail(w, ErrNoRoute.New("nothing is served under %.80q", p))
	}
}

func (g *Gateway) api(w http.ResponseWriter, r *http.Request, d door) {
	if g.options.API == nil {
		fail(w, ErrNoRoute.New("this node has no admin API"))
		return
	}
	who := g.permitted(w, r, d)
	if who == nil {
		return
	}
	secure(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	g.options.API.ServeHTTP(w, r.WithContext(WithPrincipal(r.Context(), who)))
}

// permitted is who may use the kernel's own API; nil if nobody such asks, and then that has been answered.
func (g *Gateway) permitted(w http.ResponseWriter, r *http.Request, d door) *commonv1.Principal {
	who, err := g.who(r, d, authRequired)
	if err != nil {
		g.unauthorized(w, r, err, authRequired)
		return nil
	}
	if !component.Granted(who, APIPermission) {
		fail(w, ErrForbidden.New("%s lacks %s", who.User, APIPermission))
		return nil
	}
	return who
}

func (g *Gateway) toRoute(w http.ResponseWriter, r *http.Request, d door, route entry) {
	who, err := g.who(r, d, route.auth)
	if err != nil {
		g.unauthorized(w, r, err, route.auth)
		return
	}
	g.proxy(w, r, d, route, who)
}

// who finds out who asks. Where a route demands nobody, a session that has ended is nobody, and so is everybody while no
// component can say; a wrong password stays an error.
func (g *Gateway) who(r *http.Request, d door, auth string) (*commonv1.Principal, error) {
	if d.trusted != nil {
		return d.trusted, nil
	}
	c, err := credentialsOf(r)
	if err == nil && c == nil && auth != authNone {
		if _, err := g.authenticator(); err != nil {
			return nil, err
		}
		return nil, ErrNotSignedIn.New("%s needs a sign-in", r.URL.Path)
	}
	if err != nil || c == nil {
		return nil, err
	}
	who, err := g.authenticate(r, c)
	if err != nil && auth == authNone && (c.via == "session" || errors.Is(err, ErrNoIdentity)) {
		return nil, nil
	}
	return who, err
}

// unauthorized answers a request whose sender is not known: browsers that open a page are led to the sign-in, programs get
// a challenge, scripts in a page get neither.
func (g *Gateway) unauthorized(w http.ResponseWriter, r *http.Request, err error, auth string) {
	status := statusOf(err)
	var t throttled
	if errors.As(err, &t) {
		retryAfter(w.Header(), t.wait)
	}
	if status != http.StatusUnauthorized {
		fail(w, err)
		return
	}
	if c, cerr := r.Cookie(sessionCookie); cerr == nil && c.Value != "" && r.Header.Get("Authorization") == "" {
		clearCookie(w)
	}
	if auth == authPage && opensPage(r) {
		see(w, signInPath+"?to="+url.QueryEscape(r.URL.RequestURI()))
		return
	}
	if r.Header.Get("Sec-Fetch-Mode") == "" || opensPage(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Carbonado", charset="UTF-8"`)
	}
	fail(w, err)
}

// opensPage tells a browser that goes to a page from a script or a program.
func opensPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return false
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// see answers with a redirect after which the browser gets a page.
func see(w http.ResponseWriter, location string) {
	secure(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}
