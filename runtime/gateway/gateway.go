package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/telemetry"
)

// Limits of what a visitor may take; a zero field means its default.
type Limits struct {
	// Header is how long the head of a request may take (10 s).
	Header time.Duration
	// Idle is how long a connection is kept without a request (2 min).
	Idle time.Duration
	// HeaderBytes is the largest head of a request (64 KiB).
	HeaderBytes int
	// Body is the largest body of a request in bytes (100 MiB).
	Body int64
	// Pause is how long a body may stop coming, or its reader stop taking what is sent (30 s).
	Pause time.Duration
	// Open is how long a component may take to accept a request, its restart included (10 s).
	Open time.Duration
	// Answer is how long a component may take until the head of its answer (10 min: queries take time).
	Answer time.Duration
	// Drain is how long requests may go on when the gateway stops (5 s).
	Drain time.Duration
}

func (l Limits) orDefaults() Limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&l.Header, 10*time.Second)
	set(&l.Idle, 2*time.Minute)
	set(&l.Pause, 30*time.Second)
	set(&l.Open, 10*time.Second)
	set(&l.Answer, 10*time.Minute)
	set(&l.Drain, 5*time.Second)
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = 64 << 10
	}
	if l.Body <= 0 {
		l.Body = 100 << 20
	}
	return l
}

// Options of a Gateway.
type Options struct {
	// TLS is the configuration of the TLS listener (tlskeys.Pair.Server).
	TLS *tls.Config
	// Authenticators finds who knows users.
	Authenticators Authenticators
	// Nodes describes the node for the gateway's own page.
	Nodes Nodes
	// API serves /api and below. It finds who asks by PrincipalFrom; the gateway has checked APIPermission. Nil serves none.
	API http.Handler
	// Metrics serves GET /metrics, to those who have APIPermission, or to everybody with OpenMetrics. Nil serves none.
	Metrics     http.Handler
	OpenMetrics bool
	// Observe is told of each request that was answered: which route took it ("api", "signin", a component, or ""), the status, how long it
	// took. It must not block. Nil means none.
	Observe func(route string, status int, took time.Duration)
	// Telemetry takes a span of each request that goes to a component; nil means none.
	Telemetry *telemetry.Registry
	// Limits of what a visitor may take; zero fields are defaults.
	Limits Limits
	// Log takes refused sign-ins and broken routes; nil means none.
	Log hclog.Logger
	// Now is the clock of the throttle; nil means time.Now.
	Now func() time.Time
}

// APIPermission is what /api demands.
const APIPermission = "/permission/admin"

// Gateway is the front door. Its methods are safe for concurrent use.
type Gateway struct {
	options  Options
	limits   Limits
	log      hclog.Logger
	throttle *throttle
	csrf     *http.CrossOriginProtection
	routes   atomic.Pointer[table]
	// tlsPort is where 9763 sends those whom it does not serve; 0 until Run.
	tlsPort atomic.Int32
}

// New makes a gateway without routes.
func New(o Options) *Gateway {
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gateway{options: o, limits: o.Limits.orDefaults(), log: o.Log, throttle: newThrottle(o.Now), csrf: http.NewCrossOriginProtection()}
	if g.log == nil {
		g.log = hclog.NewNullLogger()
	}
	g.routes.Store(&table{})
	return g
}

// SetRoutes replaces all routes. Requests under way keep theirs.
func (g *Gateway) SetRoutes(routes []Route) {
	t := newTable(routes, func(r Route, why string) {
		g.log.Warn("a route is not served", "component", r.Component, "prefix", r.Properties[propPrefix], "reason", why)
	})
	g.routes.Store(&t)
}

// Run serves on the listeners, which it closes, until ctx ends; then requests under way get Limits.Drain. Either may be nil.
func (g *Gateway) Run(ctx context.Context, secure, plain net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	type running struct {
		server *http.Server
		done   chan error
	}
	var all []running
	start := func(l net.Listener, handler http.Handler, serve func(*http.Server) error) {
		s := g.server(base, handler)
		r := running{s, make(chan error, 1)}
		all = append(all, r)
		go func() { r.done <- serve(s) }()
	}
	if secure != nil {
		if a, ok := secure.Addr().(*net.TCPAddr); ok {
			g.tlsPort.Store(int32(a.Port))
		}
		start(secure, g.Secure(), func(s *http.Server) error {
			s.TLSConfig = g.options.TLS.Clone()
			return s.ServeTLS(secure, "", "")
		})
	}
	if plain != nil {
		start(plain, g.Plain(), func(s *http.Server) error { return s.Serve(plain) })
	}
	<-ctx.Done()
	drain, stop := context.WithTimeout(base, g.limits.Drain)
	defer stop()
	var errs []error
	for _, r := range all {
		if err := r.server.Shutdown(drain); err != nil {
			cancel() // long-lived streams end here
			errs = append(errs, r.server.Close())
		}
	}
	for _, r := range all {
		if err := <-r.done; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (g *Gateway) server(base context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: g.limits.Header,
		IdleTimeout:       g.limits.Idle,
		MaxHeaderBytes:    g.limits.HeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          log.New(debugWriter{g.log}, "", 0),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// debugWriter takes what net/http logs: broken handshakes and the like, which are the visitor's doing.
type debugWriter struct{ log hclog.Logger }

func (d debugWriter) Write(p []byte) (int, error) {
	d.log.Debug(string(p))
	return len(p), nil
}

// Secure serves what arrives over TLS.
func (g *Gateway) Secure() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, door{scheme: "https"}) })
}

// Plain serves what arrives without TLS: routes with the transport http; it redirects the rest.
func (g *Gateway) Plain() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, door{scheme: "http"}) })
}

// redirect sends a visitor of 9763 to the same address over TLS. It is temporary: the ports move with the offset.
func (g *Gateway) redirect(w http.ResponseWriter, r *http.Request) {
	host := hostOf(r.Host)
	if host == "" || !plainHost(host) {
		fail(w, ErrPath.New("the Host header %.80q", r.Host))
		return
	}
	if port := g.tlsPort.Load(); port != 0 && port != 443 {
		host = net.JoinHostPort(trimBrackets(host), strconv.Itoa(int(port)))
	}
	secure(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

func trimBrackets(h string) string {
	if len(h) > 1 && h[0] == '[' && h[len(h)-1] == ']' {
		return h[1 : len(h)-1]
	}
	return h
}

// plainHost accepts names and addresses, and nothing that could change where a Location leads.
func plainHost(h string) bool {
	for _, c := range []byte(trimBrackets(h)) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_', c == ':':
		default:
			return false
		}
	}
	return true
}
