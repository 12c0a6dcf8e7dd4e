package gateway

import (
	"cmp"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Properties of an HTTPRoutes registration, see http.proto.
const (
	propPrefix     = "prefix"
	propAuth       = "auth"
	propTransports = "transports"

	authRequired = "required"
	authPage     = "page"
	authNone     = "none"
)

// Paths that the gateway serves itself. No component's route wins over them.
const (
	apiPrefix   = "/api"
	signInPath  = "/signin"
	signOutPath = "/signout"
	// loginPrefix is the route whose component has a sign-in page of its own.
	loginPrefix = "/login"
)

// table is the routes in the order in which they are tried. It is immutable.
type table []entry

type entry struct {
	Route
	prefix string
	auth   string
	plain  bool // 9763 serves it too
}

// newTable orders routes: longest prefix, highest ranking, lowest id. Those that can't be served are handed to refuse.
func newTable(routes []Route, refuse func(Route, string)) table {
	var t table
	for _, r := range routes {
		e := entry{Route: r, prefix: r.Properties[propPrefix], auth: r.Properties[propAuth]}
		switch {
		case !strings.HasPrefix(e.prefix, "/") || path.Clean(e.prefix) != e.prefix || checkPath(e.prefix) != nil:
			refuse(r, "its prefix is no plain path")
			continue
		case below(e.prefix, apiPrefix) || below(e.prefix, signInPath) || below(e.prefix, signOutPath):
			refuse(r, "its prefix is the gateway's own")
			continue
		}
		if e.auth != authPage && e.auth != authNone {
			e.auth = authRequired
		}
		for _, tr := range strings.Split(r.Properties[propTransports], ",") {
			e.plain = e.plain || strings.TrimSpace(tr) == "http"
		}
		t = append(t, e)
	}
	slices.SortStableFunc(t, func(a, b entry) int {
		return cmp.Or(cmp.Compare(len(b.prefix), len(a.prefix)), cmp.Compare(a.prefix, b.prefix), cmp.Compare(b.Ranking, a.Ranking), cmp.Compare(a.ID, b.ID))
	})
	return t
}

// find gives the route of a decoded path.
func (t table) find(p string) (entry, bool) {
	for _, e := range t {
		if below(p, e.prefix) {
			return e, true
		}
	}
	return entry{}, false
}

// has reports whether some route has exactly this prefix.
func (t table) has(prefix string) bool {
	return slices.ContainsFunc(t, func(e entry) bool { return e.prefix == prefix })
}

// below reports whether p is the prefix or below it, by whole segments.
func below(p, prefix string) bool {
	if prefix == "/" {
		return strings.HasPrefix(p, "/")
	}
	return strings.HasPrefix(p, prefix) && (len(p) == len(prefix) || p[len(prefix)] == '/')
}

// checkTarget refuses requests whose path could mean one thing here and another one where it is served: what a route
// demands is decided by the path as it is decoded once, and nobody behind the gateway decodes or cleans it differently.
func checkTarget(r *http.Request) error {
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return ErrMethod.New("the method %s", r.Method)
	}
	return checkPath(r.URL.Path)
}

func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") {
		return ErrPath.New("%.80q does not begin with a slash", p)
	}
	for i := range len(p) {
		if p[i] < ' ' || p[i] == 0x7f || p[i] == '\\' {
			return ErrPath.New("%.80q has a backslash or a control character", p)
		}
	}
	segments := strings.Split(p[1:], "/")
	for i, s := range segments {
		if s == "." || s == ".." || (s == "" && i < len(segments)-1) {
			return ErrPath.New("%.80q has an empty or a dot segment", p)
		}
	}
	return nil
}
