package component

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
)

// HTTPOption changes how the gateway treats a prefix.
type HTTPOption func(map[string]string)

// HTTPAuth is "required" (default), "page" or "none"; see HTTPRoutes in sdk/proto/carbonado/http/v1.
func HTTPAuth(how string) HTTPOption { return func(p map[string]string) { p["auth"] = how } }

// HTTPTransports is "https" (default) or "http,https".
func HTTPTransports(list string) HTTPOption {
	return func(p map[string]string) { p["transports"] = list }
}

// routes serves all prefixes of one component.
type routes struct {
	httpv1.UnimplementedHTTPRoutesServer
	c *C
	// mux is complete when Start has returned.
	mux *http.ServeMux
	// props of the registrations to publish at Acquire.
	props []map[string]string
}

// ServeHTTP lets h serve requests below a path prefix, "/scripts" or "/". Requests arrive with their whole path. component.yaml must
// provide carbonado.http.v1.HTTPRoutes with `dynamic: true`. Call it within Start; the routes are published at Acquire.
func ServeHTTP(c *C, prefix string, h http.Handler, opts ...HTTPOption) {
	props := map[string]string{"prefix": prefix}
	for _, o := range opts {
		o(props)
	}
	c.mu.Lock()
	var r *routes
	for _, m := range c.managed {
		if have, ok := m.(*routes); ok {
			r = have
		}
	}
	c.mu.Unlock()
	if r == nil {
		r = &routes{c: c, mux: http.NewServeMux()}
		httpv1.RegisterHTTPRoutesServer(c, r)
	}
	if prefix == "/" {
		r.mux.Handle("/", h)
	} else {
		r.mux.Handle(prefix, h)
		r.mux.Handle(prefix+"/", h)
	}
	r.props = append(r.props, props)
}

// Acquire publishes the routes.
func (r *routes) Acquire(context.Context) error {
	for _, p := range r.props {
		if _, err := r.c.Publish(httpv1.HTTPRoutes_ServiceDesc.ServiceName, p); err != nil {
			return err
		}
	}
	return nil
}

type principalKey struct{}

// PrincipalFrom is who asks, as the gateway signed it in; nil if nobody did (auth "none").
func PrincipalFrom(ctx context.Context) *commonv1.Principal {
	p, _ := ctx.Value(principalKey{}).(*commonv1.Principal)
	return p
}

// ContextWithPrincipal is for tests of handlers.
func ContextWithPrincipal(ctx context.Context, p *commonv1.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Granted reports whether the principal holds the permission: one of its paths is the permission or above it.
func Granted(p *commonv1.Principal, permission string) bool {
	for _, have := range p.GetPermissions() {
		if have == "/" || have == permission || (len(permission) > len(have) && permission[:len(have)] == have && permission[len(have)] == '/') {
			return true
		}
	}
	return false
}

// SignPrincipal is the signature that the gateway puts beside a principal.
func SignPrincipal(p *commonv1.Principal, key []byte) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return m.Sum(nil), nil
}

// Serve implements httpv1.HTTPRoutesServer: one call is one request.
func (r *routes) Serve(stream grpc.BidiStreamingServer[httpv1.ServeRequest, httpv1.ServeResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	head := first.GetHead()
	if head == nil {
		return ErrRequest.New("a request without a head")
	}
	ctx := stream.Context()
	if head.Principal != nil {
		want, err := SignPrincipal(head.Principal, r.c.cfg.PrincipalKey)
		if err != nil || !hmac.Equal(want, head.PrincipalSignature) {
			return ErrRequest.New("a principal with a wrong signature")
		}
		ctx = context.WithValue(ctx, principalKey{}, head.Principal)
	}
	u, err := url.ParseRequestURI(head.Url)
	if err != nil {
		return ErrRequest.Wrap(err, "request URL")
	}
	u.Scheme, u.Host = head.Scheme, head.Host
	req := &http.Request{
		Method: head.Method, URL: u, RequestURI: head.Url, Host: head.Host, RemoteAddr: head.RemoteAddress,
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: fromHeaders(head.Headers), ContentLength: head.ContentLength,
		Body: io.NopCloser(&bodyReader{stream: stream}),
	}
	if head.ContentLength == 0 {
		req.Body = http.NoBody
	}
	w := &responseWriter{stream: stream, header: http.Header{}}
	r.mux.ServeHTTP(w, req.WithContext(ctx))
	return w.finish()
}

func fromHeaders(in []*httpv1.Header) http.Header {
	h := make(http.Header, len(in))
	for _, x := range in {
		h[http.CanonicalHeaderKey(x.Name)] = x.Values
	}
	return h
}

func toHeaders(h http.Header) []*httpv1.Header {
	out := make([]*httpv1.Header, 0, len(h))
	for name, values := range h {
		out = append(out, &httpv1.Header{Name: name, Values: values})
	}
	return out
}

type bodyReader struct {
	stream grpc.BidiStreamingServer[httpv1.ServeRequest, httpv1.ServeResponse]
	rest   []byte
	err    error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		m, err := b.stream.Recv()
		if err != nil {
			b.err = err
			if errors.Is(err, io.EOF) {
				b.err = io.EOF
			}
			return 0, b.err
		}
		b.rest = m.GetBody()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// responseWriter streams a response in pieces of at most chunk bytes. It is used by one goroutine at a time, like any
// http.ResponseWriter; mu only protects against a handler's stray goroutine.
type responseWriter struct {
	stream grpc.BidiStreamingServer[httpv1.ServeRequest, httpv1.ServeResponse]
	header http.Header

	mu    sync.Mutex
	wrote bool
	buf   []byte
	err   error
}

const chunk = 32 << 10

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHead(status)
}

func (w *responseWriter) writeHead(status int) {
	if w.wrote || w.err != nil {
		return
	}
	if status >= 200 {
		w.wrote = true
	}
	w.err = w.stream.Send(&httpv1.ServeResponse{Part: &httpv1.ServeResponse_Head{Head: &httpv1.ResponseHead{Status: int32(status), Headers: toHeaders(w.header)}}})
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.wrote && w.header.Get("Content-Type") == "" {
		w.header.Set("Content-Type", http.DetectContentType(p))
	}
	w.writeHead(http.StatusOK)
	w.buf = append(w.buf, p...)
	if len(w.buf) >= chunk {
		w.flush()
	}
	return len(p), w.err
}

func (w *responseWriter) flush() {
	for len(w.buf) > 0 && w.err == nil {
		n := min(len(w.buf), chunk)
		w.err = w.stream.Send(&httpv1.ServeResponse{Part: &httpv1.ServeResponse_Body{Body: w.buf[:n]}})
		w.buf = w.buf[n:]
	}
	w.buf = w.buf[:0]
}

// Flush implements http.Flusher, for server-sent events.
func (w *responseWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHead(http.StatusOK)
	w.flush()
}

func (w *responseWriter) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHead(http.StatusOK)
	w.flush()
	return w.err
}
