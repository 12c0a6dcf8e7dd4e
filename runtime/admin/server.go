package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

const (
	// changeTimeout bounds a call that changes a component; a stop has to wait for those that depend on it.
	changeTimeout = 2 * time.Minute
	// publishTTL and signInTTL are how long credentials last (SEAMS.md section 6).
	publishTTL = time.Hour
	signInTTL  = 10 * time.Minute
	// maxLogLines is the most lines of a log that one request gets.
	maxLogLines = 10_000
)

// ErrInput is the kind of a request that can't be understood.
var ErrInput = cause.Define("CBN-API-005", "The request can't be understood.", "See /api/openapi.json for what the call takes.").Code(codes.InvalidArgument)

// Options of the API.
type Options struct {
	Runtime   Runtime
	Artifacts Artifacts
	// Authenticators issues credentials.
	Authenticators gateway.Authenticators
	// Certificate is the PEM of the server's certificate, for clients on this node.
	Certificate []byte
	// PublicURL is where a browser on this node reaches the gateway, for example "https://localhost:9443".
	PublicURL string
	Version   string
	// Errors is the error catalogue as docs/errors.md has it.
	Errors string
}

// Server is the API's handler for paths below /api. Who asks is gateway.PrincipalFrom; whether they may is decided before it.
type Server struct {
	Options
	mux *http.ServeMux
	api huma.API
	// alive is the time between two signs of life of GET /api/events, patience how long a reader may take for one write.
	alive, patience time.Duration
}

// New makes the API.
func New(o Options) *Server {
	s := &Server{Options: o, mux: http.NewServeMux(), alive: aliveEvery, patience: readerPatience}
	c := huma.DefaultConfig("Carbonado admin API", o.Version)
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "/api/openapi", "", "/api/schemas"
	c.CreateHooks = nil // no $schema links in bodies: their shapes are SEAMS.md section 7
	s.api = humago.New(s.mux, c)
	s.register()
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// OpenAPI is the description of the API, for docs and tests.
func (s *Server) OpenAPI() ([]byte, error) { return s.api.OpenAPI().MarshalJSON() }

// Failure is the body of every answer that is no success.
type Failure struct {
	Status  string `json:"status" enum:"failed"`
	Message string `json:"message"`
	Cause   *Cause `json:"cause"`
	code    int
}

// Error implements error.
func (f *Failure) Error() string { return f.Message }

// GetStatus implements huma.StatusError.
func (f *Failure) GetStatus() int { return f.code }

// ContentType implements huma.ContentTypeFilter: failures are plain JSON.
func (f *Failure) ContentType(string) string { return "application/json" }

func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		text := message
		for _, e := range errs {
			text += ": " + e.Error()
		}
		return &Failure{Status: "failed", Message: text, Cause: CauseOf(ErrInput.New("%s", text).Proto()), code: status}
	}
}

// failure turns an error of the Runtime into an answer.
func failure(err error) error {
	if err == nil {
		return nil
	}
	c := cause.From(err)
	return &Failure{Status: "failed", Message: c.Error(), Cause: CauseOf(c.Proto()), code: httpStatus(err)}
}

func httpStatus(err error) int {
	switch cause.From(err).GRPCStatus().Code() {
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

func actor(ctx context.Context) string {
	if p := gateway.PrincipalFrom(ctx); p != nil {
		return p.User
	}
	return "operator"
}

type named struct {
	Name string `path:"name" doc:"Name of the component"`
}

type body[T any] struct{ Body T }

// get registers a call without side effects that answers a value.
func get[I, T any](s *Server, id, path, summary string, f func(context.Context, *I) (T, error)) {
	huma.Register(s.api, huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Errors: []int{401, 403, 404, 503}},
		func(ctx context.Context, in *I) (*body[T], error) {
			v, err := f(ctx, in)
			if err != nil {
				return nil, failure(err)
			}
			return &body[T]{v}, nil
		})
}

type none struct{}

func (s *Server) register() {
	r := s.Runtime
	get(s, "status", "/api/status", "State of this node", func(ctx context.Context, _ *none) (Status, error) { return r.Status(ctx) })
	get(s, "components", "/api/components", "Installed components", func(ctx context.Context, _ *none) ([]Component, error) { return r.Components(ctx) })
	get(s, "component", "/api/components/{name}", "One component in detail", func(ctx context.Context, in *named) (Component, error) { return r.Component(ctx, in.Name) })
	type historyInput struct {
		Name string `path:"name" doc:"Name of the component"`
		All  bool   `query:"all" doc:"Earlier kernel runs too"`
	}
	get(s, "history", "/api/components/{name}/history", "Transitions of a component", func(ctx context.Context, in *historyInput) ([]Transition, error) {
		return r.History(ctx, in.Name, in.All)
	})
	get(s, "services", "/api/services", "Registered services", func(ctx context.Context, _ *none) ([]ServiceInfo, error) { return r.Services(ctx) })
	get(s, "plan", "/api/plan", "The present plan", func(ctx context.Context, _ *none) (any, error) { return r.Plan(ctx) })
	get(s, "profile", "/api/profile", "Which rule decided what", func(ctx context.Context, _ *none) (Profile, error) { return r.Profile(ctx) })
	get(s, "listeners", "/api/listeners", "Where this node listens", func(ctx context.Context, _ *none) (map[string]string, error) { return r.Listeners(ctx) })
	type artifactInput struct {
		Type string `query:"type" doc:"Only this type"`
	}
	get(s, "artifacts", "/api/artifacts", "Files of the repository and what became of them", func(_ context.Context, in *artifactInput) ([]ArtifactLine, error) {
		return lines(s.Artifacts.List(in.Type)), nil
	})
	for verb, f := range map[string]func(context.Context, string, string) error{"start": r.Start, "stop": r.Stop, "disable": r.Disable, "enable": r.Enable} {
		huma.Register(s.api, huma.Operation{OperationID: verb, Method: http.MethodPost, Path: "/api/components/{name}/" + verb, Summary: verb + " a component", Errors: []int{401, 403, 404, 409, 504}},
			func(ctx context.Context, in *named) (*body[Component], error) {
				ctx, cancel := context.WithTimeout(ctx, changeTimeout)
				defer cancel()
				if err := f(ctx, in.Name, actor(ctx)); err != nil {
					if ctx.Err() != nil {
						err = ErrTimeout.Wrap(err, "%s of %s", verb, in.Name)
					}
					return nil, failure(err)
				}
				c, err := r.Component(ctx, in.Name)
				if err != nil {
					return nil, failure(err)
				}
				return &body[Component]{c}, nil
			})
	}
	huma.Register(s.api, huma.Operation{OperationID: "credentials", Method: http.MethodPost, Path: "/api/credentials", Summary: "A short-lived credential", Errors: []int{400, 401, 403, 503}}, s.credentials)
	s.registerSeeing()
	s.registerCatalogue()
	s.registerChanges()
	s.registerUpdates()
	s.registerAttach()
	s.registerPackages()
	s.registerWatching()
	s.registerUpgrade()
	s.registerLevels()
	s.registerNodes()
	s.registerEvents()
	s.registerLogs()
	s.mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeFailure(w, &Failure{Status: "failed", Message: "no such call: " + r.Method + " " + r.URL.Path, Cause: CauseOf(ErrInput.New("%s %s", r.Method, r.URL.Path).Proto()), code: http.StatusNotFound})
	})
}

// ArtifactLine is one line of `carbonado artifact ls`.
type ArtifactLine struct {
	Path     string `json:"path"`
	Type     string `json:"type"`
	Name     string `json:"name"`
	State    string `json:"state"`
	Revision uint64 `json:"revision"`
	Digest   string `json:"digest"`
	// Running is the digest of what the owner runs: the last good content where Digest is FAULTY; empty if nothing runs.
	Running  string    `json:"running"`
	Owner    string    `json:"owner"`
	Since    time.Time `json:"since"`
	WaitsFor []string  `json:"waitsFor"`
	// Application is the path of the .car that it is in; empty for a file.
	Application string `json:"application"`
	Cause       *Cause `json:"cause"`
}

func lines(in []deploy.Artifact) []ArtifactLine {
	out := make([]ArtifactLine, 0, len(in))
	for _, a := range in {
		waits := a.WaitsFor
		if waits == nil {
			waits = []string{}
		}
		out = append(out, ArtifactLine{
			Path: a.Path, Type: a.Type, Name: a.Name, State: string(a.State), Revision: a.Revision, Digest: a.Digest, Running: a.Running, Owner: a.Owner,
			Since: a.Since.UTC(), WaitsFor: waits, Application: a.Application, Cause: CauseOf(a.Cause),
		})
	}
	return out
}

// Credentials answers POST /api/credentials.
type Credentials struct {
	Username string    `json:"username,omitempty"`
	Password string    `json:"password,omitempty"`
	Expires  time.Time `json:"expires"`
	// URL of the one-time sign-in page.
	URL string `json:"url,omitempty"`
	// Listeners and Certificate say where this node listens and what to trust.
	Listeners   map[string]string `json:"listeners,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
}

type credentialsInput struct {
	Body struct {
		Purpose string `json:"purpose" enum:"publish,sign-in" doc:"publish: to send events; sign-in: a link that opens one browser session"`
		User    string `json:"user,omitempty" doc:"Who signs in; default admin"`
	}
}

func (s *Server) credentials(ctx context.Context, in *credentialsInput) (*body[Credentials], error) {
	c, err := s.Credential(ctx, in.Body.Purpose, in.Body.User)
	if err != nil {
		return nil, failure(err)
	}
	return &body[Credentials]{c}, nil
}

// Credential makes a short-lived credential: purpose "publish" or "sign-in".
func (s *Server) Credential(ctx context.Context, purpose, user string) (Credentials, error) {
	auth, why := s.Authenticators.Authenticator()
	if auth == nil {
		return Credentials{}, cause.FromProto(why, codes.Unavailable)
	}
	ttl := publishTTL
	if purpose == "sign-in" {
		ttl = signInTTL
		if user == "" {
			user = "admin"
		}
	}
	t, err := auth.IssueToken(ctx, &analyticsv1.IssueTokenRequest{Purpose: purpose, User: user, TtlMs: ttl.Milliseconds()})
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{Expires: time.UnixMilli(t.ExpiresUnixMs).UTC()}
	if purpose == "sign-in" {
		c.URL = s.PublicURL + "/signin?token=" + t.Token
		return c, nil
	}
	c.Username, c.Password, c.Certificate = "token", t.Token, string(s.Certificate)
	if c.Listeners, err = s.Runtime.Listeners(ctx); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// NewFailure is for clients: a failure of that HTTP status, to be filled from its body.
func NewFailure(status int) *Failure { return &Failure{code: status} }
