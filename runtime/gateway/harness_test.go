package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"carbonado.dev/carbonado/runtime/tlskeys"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errWrong = cause.Define("CBN-ID-001", "wrong", "").Code(codes.Unauthenticated)

// users is an Authenticator in this process: admin/secret is an administrator, joe/secret nobody in particular.
type users struct {
	mu        sync.Mutex
	sessions  map[string]string
	n         int
	attempts  int
	addresses []string
	absent    *commonv1.Cause // there is no Authenticator
	broken    error           // it answers this
}

func (u *users) Authenticator() (analyticsv1.AuthenticatorClient, *commonv1.Cause) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.absent != nil {
		return nil, u.absent
	}
	return u, nil
}

func principal(user string) *commonv1.Principal {
	p := &commonv1.Principal{User: user, Tenant: -1234}
	if user == "admin" {
		p.Roles, p.Permissions = []string{"admin"}, []string{"/permission"}
	}
	return p
}

func (u *users) basic(b *analyticsv1.BasicCredentials) (string, error) {
	if (b.Username != "admin" && b.Username != "joe") || b.Password != "secret" {
		return "", errWrong.New("wrong user name or password")
	}
	return b.Username, nil
}

func (u *users) Authenticate(ctx context.Context, r *analyticsv1.AuthenticateRequest, _ ...grpc.CallOption) (*analyticsv1.AuthenticateResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.attempts++
	md, _ := metadata.FromOutgoingContext(ctx)
	u.addresses = append(u.addresses, md.Get(remoteAddress)...)
	if u.broken != nil {
		return nil, u.broken
	}
	var user string
	var err error
	switch c := r.Credentials.(type) {
	case *analyticsv1.AuthenticateRequest_Basic:
		user, err = u.basic(c.Basic)
	case *analyticsv1.AuthenticateRequest_Bearer:
		if user = strings.TrimPrefix(c.Bearer, "token-of-"); user == c.Bearer {
			err = errWrong.New("no such token")
		}
	case *analyticsv1.AuthenticateRequest_Session:
		if user = u.sessions[c.Session]; user == "" {
			err = errWrong.New("no such session")
		}
	}
	if err != nil {
		return nil, err
	}
	return &analyticsv1.AuthenticateResponse{Principal: principal(user)}, nil
}

func (u *users) OpenSession(_ context.Context, r *analyticsv1.OpenSessionRequest, _ ...grpc.CallOption) (*analyticsv1.OpenSessionResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.attempts++
	user := "admin"
	if b := r.GetBasic(); b != nil {
		var err error
		if user, err = u.basic(b); err != nil {
			return nil, err
		}
	} else if r.GetSignIn() != "once" {
		return nil, errWrong.New("no such link")
	}
	u.n++
	token := fmt.Sprint("session", u.n)
	if u.sessions == nil {
		u.sessions = map[string]string{}
	}
	u.sessions[token] = user
	return &analyticsv1.OpenSessionResponse{Session: token, Principal: principal(user), ExpiresUnixMs: 4102444800000}, nil
}

func (u *users) CloseSession(_ context.Context, r *analyticsv1.CloseSessionRequest, _ ...grpc.CallOption) (*analyticsv1.CloseSessionResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.sessions, r.Session)
	return &analyticsv1.CloseSessionResponse{}, nil
}

func (u *users) IssueToken(context.Context, *analyticsv1.IssueTokenRequest, ...grpc.CallOption) (*analyticsv1.IssueTokenResponse, error) {
	return nil, errors.New("the gateway issues no tokens")
}

// provider is a component's HTTPRoutes on a Unix socket. handle sees the head and the stream.
type provider struct {
	httpv1.UnimplementedHTTPRoutesServer
	mu     sync.Mutex
	handle func(*httpv1.RequestHead, stream) error
	seen   int
}

type stream = grpc.BidiStreamingServer[httpv1.ServeRequest, httpv1.ServeResponse]

func (p *provider) Serve(s stream) error {
	m, err := s.Recv()
	if err != nil {
		return err
	}
	p.mu.Lock()
	h := p.handle
	p.seen++
	p.mu.Unlock()
	return h(m.GetHead(), s)
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

func (p *provider) set(h func(*httpv1.RequestHead, stream) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handle = h
}

func answer(status int, headers ...string) *httpv1.ServeResponse {
	head := &httpv1.ResponseHead{Status: int32(status)}
	for i := 0; i < len(headers); i += 2 {
		head.Headers = append(head.Headers, &httpv1.Header{Name: headers[i], Values: []string{headers[i+1]}})
	}
	return &httpv1.ServeResponse{Part: &httpv1.ServeResponse_Head{Head: head}}
}

func bytesOf(b string) *httpv1.ServeResponse {
	return &httpv1.ServeResponse{Part: &httpv1.ServeResponse_Body{Body: []byte(b)}}
}

// whoAmI answers the user's name, its signature checked, or "nobody".
func whoAmI(key []byte) func(*httpv1.RequestHead, stream) error {
	return func(head *httpv1.RequestHead, s stream) error {
		name := "nobody"
		if head.Principal != nil {
			want, err := component.SignPrincipal(head.Principal, key)
			if err != nil || !hmac.Equal(want, head.PrincipalSignature) {
				name = "forged"
			} else {
				name = head.Principal.User + " via " + head.Principal.Via
			}
		}
		if err := s.Send(answer(200, "Content-Type", "text/plain")); err != nil {
			return err
		}
		return s.Send(bytesOf(name))
	}
}

// front is a gateway on two real listeners with a component behind it.
type front struct {
	t             testing.TB
	gw            *Gateway
	users         *users
	behind        *provider
	conn          *grpc.ClientConn
	secure, plain string // base URLs
	client        *http.Client
}

var key = []byte("key of the component")

func (f *front) Node() Node {
	return Node{ID: "node-1", Version: "1.0.0", Profile: "receiver", NoPortal: &commonv1.Cause{
		Code: "CBN-PLAN-003", Text: "Portal is disabled by the profile <receiver>", Fix: "Start with -dashboardNode.", File: "repository/conf/profiles.yaml", Line: 14}}
}

func newFront(t testing.TB, limits Limits, change ...func(*Options)) *front {
	t.Helper()
	f := &front{t: t, users: &users{}, behind: &provider{handle: whoAmI(key)}}
	socket := filepath.Join(t.TempDir(), "svc.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	httpv1.RegisterHTTPRoutesServer(server, f.behind)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	f.conn, err = grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tlskeys.Load(tlskeys.Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	config, err := pair.Server("1.2", "h2", "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{TLS: config, Authenticators: f.users, Nodes: f, Limits: limits, API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "api for %s", PrincipalFrom(r.Context()).GetUser())
	})}
	for _, c := range change {
		c(&o)
	}
	f.gw = New(o)
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	f.secure, f.plain = "https://"+listeners[0].Addr().String(), "http://"+listeners[1].Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.gw.Run(ctx, listeners[0], listeners[1]) }()
	f.client = f.newClient(true)
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		cancel()
		err := <-done
		server.Stop()
		if err := errors.Join(err, f.conn.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	f.routes("/page", "page", "", "/required", "", "", "/none", "none", "http,https", "/endpoints", "required", "https, http")
	return f
}

// newClient makes one that follows no redirects.
func (f *front) newClient(http2 bool) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(http2)
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: p}, //nolint:gosec // the pair is made for the test
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

// routes sets routes from triples of prefix, auth and transports.
func (f *front) routes(triples ...string) {
	var list []Route
	for i := 0; i < len(triples); i += 3 {
		p := map[string]string{"prefix": triples[i]}
		if triples[i+1] != "" {
			p["auth"] = triples[i+1]
		}
		if triples[i+2] != "" {
			p["transports"] = triples[i+2]
		}
		list = append(list, Route{ID: uint64(i), Component: "Behind", Properties: p, Conn: f.conn, PrincipalKey: key})
	}
	f.gw.SetRoutes(list)
}

type reply struct {
	status int
	header http.Header
	body   string
	proto  string
}

// do sends a request. Headers are pairs of name and value.
func (f *front) do(method, url, body string, headers ...string) reply {
	f.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, url, reader)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return f.send(f.client, req)
}

func (f *front) send(c *http.Client, req *http.Request) reply {
	f.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		f.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(data), resp.Proto}
}

func basicAuth(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// cleanOf is what a ServeMux makes of a path.
func cleanOf(p string) string {
	c := path.Clean(p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// waiting is a connection whose component is being restarted: calls wait to their end.
type waiting struct{ grpc.ClientConnInterface }

func (waiting) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
