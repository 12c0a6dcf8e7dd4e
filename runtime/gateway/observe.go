package gateway

import (
	"net/http"
)

// metricsPath is where a collector of metrics looks.
const metricsPath = "/metrics"

// observed remembers the status of an answer. It lets through what net/http's ResponseController can do.
type observed struct {
	http.ResponseWriter
	rc     *http.ResponseController
	status int
}

// WriteHeader implements http.ResponseWriter. Interim answers are not the one.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 && status >= 200 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (o *observed) Write(p []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (o *observed) Flush() { _ = o.rc.Flush() } // a writer that can't flush has nothing to say about it

// Unwrap is for http.ResponseController.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// routeName is who takes a path, in few names.
func (g *Gateway) routeName(p string) string {
	switch {
	case below(p, apiPrefix):
		return "api"
	case p == signInPath, p == signOutPath:
		return "signin"
	case p == metricsPath && g.options.Metrics != nil:
		return "metrics"
	}
	if e, ok := g.routes.Load().find(p); ok {
		return e.Component
	}
	return ""
}

// metrics lets those in who may see them.
func (g *Gateway) metrics(w http.ResponseWriter, r *http.Request, d door) {
	if !g.options.OpenMetrics && g.permitted(w, r, d) == nil {
		return
	}
	secure(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	g.options.Metrics.ServeHTTP(w, r)
}
