// Package service is both ends of svc.sock: a gRPC server on a Unix socket that admits callers by link token and peer
// credentials, and the dialling of one. It must not know what services are served, nor who introduces the two.
package service

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/link"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/telemetry"
)

// Errors of service sockets.
var (
	ErrPath       = cause.Define("CBN-SDK-032", "A Unix socket's path is too long.", "Install below a shorter path; a Unix path ends at 108 bytes.")
	ErrNotAllowed = cause.Define("CBN-SDK-007", "A caller has no link to this service.", "Add it to `requires` of the caller's component.yaml.").Code(codes.PermissionDenied)
	ErrPanic      = cause.Define("CBN-SDK-009", "A component's code panicked.", "Report it with the stack in the log.").Code(codes.Internal)
)

// TokenKey is the metadata key of a link token (SEAMS.md section 2).
const TokenKey = "carbonado-link-bin"

// window is the HTTP/2 window in bytes of both ends, above any link's credit so that flow control never blocks a frame that has
// credit.
const window = 16 << 20

// maxPath is the longest path of a Unix socket in bytes.
const maxPath = 107

// Server is one service socket. Create it with New, add services with Register before Start.
type Server struct {
	owner string
	log   hclog.Logger
	ctx   context.Context
	path  string
	grpc  *grpc.Server
	done  chan struct{}
	// telemetry counts the calls; nil counts none.
	telemetry *telemetry.Registry

	calls calls

	// mu guards tokens.
	mu     sync.Mutex
	tokens map[string]*admission

	mode os.FileMode // of the socket
}

// Option adds to a Server.
type Option func(*settings)

type settings struct{ allUsers bool }

// ForAllUsers lets processes of other users connect, as far as the socket's folder lets them reach it. Each call still needs a token, and
// must come from the process and the user that the token was given to.
func ForAllUsers(on bool) Option { return func(s *settings) { s.allUsers = on } }

// admission is one link token: who may call which service. Its context ends when the token is revoked.
type admission struct {
	consumer string
	service  string
	pid, uid int
	ctx      context.Context
	cancel   context.CancelFunc
}

// New makes a server that will listen at path. Calls end at the latest with ctx. The owner's name stands in errors.
func New(ctx context.Context, owner string, log hclog.Logger, path string, opts ...Option) (*Server, error) {
	if len(path) > maxPath {
		return nil, ErrPath.New("socket path %s has %d bytes, %d are possible", path, len(path), maxPath)
	}
	var set settings
	for _, o := range opts {
		o(&set)
	}
	s := &Server{owner: owner, log: log, ctx: ctx, path: path, tokens: map[string]*admission{}, mode: 0o600, telemetry: telemetry.From(ctx)}
	allow := handshake.OfUser(os.Getuid())
	if set.allUsers {
		s.mode, allow = 0o666, func(handshake.Peer) bool { return true }
	}
	s.grpc = grpc.NewServer(append(handshake.ServerOptions(allow),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.ReadBufferSize(64<<10), grpc.WriteBufferSize(64<<10),
		grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)...)
	return s, nil
}

// RegisterService adds a service; the Server is a grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

// Address is what Dial takes.
func (s *Server) Address() string { return "unix://" + s.path }

// Start listens and serves until Stop.
func (s *Server) Start() error {
	if err := os.Remove(s.path); err != nil && !os.IsNotExist(err) {
		return err
	}
	l, err := net.Listen("unix", s.path)
	if err != nil {
		return err
	}
	if err := os.Chmod(s.path, s.mode); err != nil {
		l.Close()
		return err
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.grpc.Serve(l); err != nil {
			s.log.Error("service socket ended", "error", err)
		}
	}()
	return nil
}

// flushPatience is how long Stop waits for answers that are given to reach their callers.
const flushPatience = 250 * time.Millisecond

// Stop lets answers that are given reach their callers, ends all calls that are still under way, and waits for the server. A server that
// was not started is no error.
func (s *Server) Stop() {
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		s.grpc.GracefulStop()
	}()
	select {
	case <-flushed:
	case <-time.After(flushPatience):
		s.grpc.Stop()
	}
	if s.done != nil {
		<-s.done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.tokens {
		a.cancel()
	}
	clear(s.tokens)
}

// Admit lets a consumer in. The same token twice is the same admission.
func (s *Server) Admit(req *controlv1.AdmitRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens[string(req.Token)] != nil {
		return
	}
	a := &admission{consumer: req.Consumer, service: req.Service, pid: int(req.ConsumerPid), uid: int(req.ConsumerUid)}
	a.ctx, a.cancel = context.WithCancel(s.ctx)
	s.tokens[string(req.Token)] = a
}

// Revoke ends the calls of a token and forgets it; an unknown one is no error.
func (s *Server) Revoke(token []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.tokens[string(token)]; a != nil {
		a.cancel()
		delete(s.tokens, string(token))
	}
}

// Admissions are the present ones, as they were asked for.
func (s *Server) Admissions() []*controlv1.AdmitRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*controlv1.AdmitRequest, 0, len(s.tokens))
	for token, a := range s.tokens {
		out = append(out, &controlv1.AdmitRequest{
			Token: []byte(token), Consumer: a.consumer, Service: a.service, ConsumerPid: int32(a.pid), ConsumerUid: int32(a.uid),
		})
	}
	return out
}

// authorize finds the caller's admission and ties the call's context to it.
func (s *Server) authorize(ctx context.Context, fullMethod string) (context.Context, context.CancelFunc, error) {
	var token string
	if v := metadata.ValueFromIncomingContext(ctx, TokenKey); len(v) == 1 {
		token = v[0]
	}
	s.mu.Lock()
	a := s.tokens[token]
	s.mu.Unlock()
	service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if a == nil || a.service != service {
		return nil, nil, ErrNotAllowed.New("call of %s on %s without a link", fullMethod, s.owner)
	}
	if p, ok := handshake.PeerFrom(ctx); !ok || (a.pid != 0 && p.PID != a.pid) || p.UID != a.uid {
		return nil, nil, ErrNotAllowed.New("call of %s on %s by another process than %s", fullMethod, s.owner, a.consumer)
	}
	ctx = context.WithValue(ctx, callerKey{}, a.consumer)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.ctx, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

type callerKey struct{}

// CallerFrom is the name of the component that made the call, as the kernel introduced it; "kernel" for the kernel itself.
func CallerFrom(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	ctx, cancel, err := s.authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	defer cancel()
	defer s.calls.begin(&s.calls.unary)()
	if s.telemetry != nil {
		return s.observed(ctx, req, info, handler)
	}
	defer s.Recovered(info.FullMethod, &err)
	reply, err = handler(ctx, req)
	return reply, asStatus(err)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx, cancel, err := s.authorize(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer cancel()
	kind := &s.calls.answers
	if info.IsClientStream {
		kind = &s.calls.dialogues
	}
	defer s.calls.begin(kind)()
	if s.telemetry != nil {
		var done func(error)
		ctx, done = s.observedStream(ctx, info.FullMethod)
		defer func() { done(err) }()
	}
	defer s.Recovered(info.FullMethod, &err)
	return asStatus(handler(srv, &contextStream{ss, link.WithDrain(ctx, s.calls.draining())}))
}

type contextStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *contextStream) Context() context.Context { return s.ctx }

// Recovered, deferred, turns a panic into an error.
func (s *Server) Recovered(method string, err *error) {
	if r := recover(); r != nil {
		s.log.Error("panic", "in", method, "value", fmt.Sprint(r), "stack", string(debug.Stack()))
		*err = ErrPanic.New("%s of %s: %v", method, s.owner, r)
	}
}

// asStatus lets a cause anywhere in the chain travel as a gRPC status; other errors stay as they are.
func asStatus(err error) error {
	if err == nil {
		return nil
	}
	if e := cause.From(err); e.Code() != cause.Unknown.ID() {
		return e.GRPCStatus().Err()
	}
	return err
}

// Dial makes a connection to a service socket whose listener is exactly that process (pid 0: any of the uid). It connects at the
// first call. Calls need WithToken.
func Dial(address string, pid, uid int) (*grpc.ClientConn, error) {
	allow := handshake.Exactly(pid, uid)
	if pid == 0 {
		allow = handshake.OfUser(uid)
	}
	return grpc.NewClient(address, append(handshake.DialOptions(allow),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithReadBufferSize(64<<10), grpc.WithWriteBufferSize(64<<10),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
	)...)
}

// WithToken puts a link token on the calls of a context.
func WithToken(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, TokenKey, token)
}
