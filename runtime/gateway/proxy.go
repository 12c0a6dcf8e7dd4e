package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"carbonado.dev/sdk/component"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
	"carbonado.dev/sdk/telemetry"
)

const (
	// piece is how much of a body goes into one message.
	piece = 32 << 10
	// maxMessage is what one message of a component may have; the same on both ends (SEAMS.md section 4).
	maxMessage = 16 << 20
)

// hop are the headers that belong to one connection, and never pass.
var hop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// withheld are the visitor's secrets, and what only a proxy in front of us could know: components get the principal and
// the address of the peer instead.
var withheld = []string{
	"Authorization", "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
	"X-Real-Ip", "X-Remote-User",
}

// errStreamEnded is why a request's context ends when its answer is complete.
var errStreamEnded = errors.New("the answer is complete")

// proxy streams a request to a component and its answer back.
func (g *Gateway) proxy(w http.ResponseWriter, r *http.Request, d door, route entry, who *commonv1.Principal) {
	head, err := requestHead(r, d, route, who)
	if err != nil {
		fail(w, ErrComponentBroke.Wrap(err, "the request for %s can't be signed", route.Component))
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	if t := g.options.Telemetry; t.Tracing() {
		span, trace := t.Start(telemetry.ParseTrace(r.Header.Get("Traceparent")), r.Method+" "+route.prefix, diagv1.Span_KIND_SERVER)
		span.Set("component", route.Component)
		ctx = telemetry.WithTrace(ctx, trace)
		defer span.End(nil)
	}
	x := &exchange{w: w, rc: http.NewResponseController(w), r: r, route: route, limits: g.limits, cancel: cancel}
	defer func() {
		cancel(errStreamEnded)
		x.endBody()
	}()
	if err := x.open(ctx, head); err != nil {
		fail(w, x.explain(ctx, err))
		return
	}
	if err := x.answer(ctx); err != nil {
		if x.begun {
			g.log.Debug("an answer was cut", "component", route.Component, "path", r.URL.Path, "reason", err)
			panic(http.ErrAbortHandler) // net/http's way to cut an answer so that its reader notices
		}
		x.endBody()
		switch {
		case x.bodyErr != nil:
			w.Header().Set("Connection", "close")
			fail(w, x.bodyErr)
		case r.Context().Err() == nil:
			fail(w, x.explain(ctx, err))
		default:
			// The visitor has gone, or is about to: between the end of the TLS session and that of the connection it may still read what
			// net/http would say of an answer that nobody wrote, 200.
			panic(http.ErrAbortHandler)
		}
	}
}

func requestHead(r *http.Request, d door, route entry, who *commonv1.Principal) (*httpv1.RequestHead, error) {
	head := &httpv1.RequestHead{
		Method: r.Method, Url: r.URL.RequestURI(), Host: r.Host, RemoteAddress: r.RemoteAddr, Scheme: d.scheme,
		ContentLength: r.ContentLength, Principal: who,
	}
	h := r.Header.Clone()
	drop(h)
	for _, name := range withheld {
		delete(h, name)
	}
	for name, values := range h {
		head.Headers = append(head.Headers, &httpv1.Header{Name: name, Values: values})
	}
	if who != nil {
		var err error
		if head.PrincipalSignature, err = component.SignPrincipal(who, route.PrincipalKey); err != nil {
			return nil, err
		}
	}
	return head, nil
}

// drop removes the headers of the connection, and those that Connection names.
func drop(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hop {
		delete(h, name)
	}
}

// exchange is one request and its answer.
type exchange struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	r      *http.Request
	route  entry
	limits Limits
	cancel context.CancelCauseFunc

	stream grpc.BidiStreamingClient[httpv1.ServeRequest, httpv1.ServeResponse]
	// sent is closed when the goroutine that sends the body has ended; nil without one. bodyErr, what was wrong with the
	// body, may be read after it.
	sent    chan struct{}
	bodyErr error
	// unwanted is set before a body that nobody wants any more is cut.
	unwanted atomic.Bool
	// begun is true once the head of the answer was written.
	begun bool
}

// open begins the call and the sending of the body.
func (x *exchange) open(ctx context.Context, head *httpv1.RequestHead) error {
	slow := time.AfterFunc(x.limits.Open, func() {
		x.cancel(ErrComponentAway.New("%s did not take the request within %s", x.route.Component, x.limits.Open))
	})
	defer slow.Stop()
	var err error
	x.stream, err = httpv1.NewHTTPRoutesClient(x.route.Conn).Serve(ctx, grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage))
	if err != nil {
		return err
	}
	if err := x.stream.Send(&httpv1.ServeRequest{Part: &httpv1.ServeRequest_Head{Head: head}}); err != nil && !errors.Is(err, io.EOF) {
		return err // at EOF, Recv says what happened
	}
	if x.r.ContentLength == 0 || x.r.Body == nil || x.r.Body == http.NoBody {
		return x.stream.CloseSend()
	}
	_ = x.rc.EnableFullDuplex() // HTTP/1 only: else net/http swallows what is left of the body when the answer begins
	if t, ok := x.w.(*talk); ok {
		t.streams = true
	}
	x.sent = make(chan struct{})
	go func() {
		defer close(x.sent)
		if err := x.sendBody(); err != nil && !x.unwanted.Load() {
			x.bodyErr = err
			x.cancel(err)
		}
	}()
	return nil
}

// sendBody passes the body on, and says what was wrong with it. It ends early without an error if the component no longer
// listens.
func (x *exchange) sendBody() error {
	body := http.MaxBytesReader(nil, x.r.Body, x.limits.Body)
	buf := make([]byte, piece)
	for {
		due := time.Now().Add(x.limits.Pause)
		_ = x.rc.SetReadDeadline(due) // not every connection has deadlines: then there is none
		if x.unwanted.Load() {
			return nil
		}
		n, err := body.Read(buf)
		if n > 0 {
			serr := x.stream.Send(&httpv1.ServeRequest{Part: &httpv1.ServeRequest_Body{Body: bytes.Clone(buf[:n])}})
			if serr != nil {
				return nil // the call has ended; Recv says why
			}
		}
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			_ = x.rc.SetReadDeadline(time.Time{})
			_ = x.stream.CloseSend() // if it fails, Recv says why
			return nil
		case errors.As(err, &large):
			return ErrBodyTooLarge.New("a body of more than %d bytes", x.limits.Body)
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(due):
			return nil // endBody woke it
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ErrBodySlow.New("no more of the body for %s", x.limits.Pause)
		case err != nil:
			return ErrBodyBroken.Wrap(err, "the rest of the body can't be read")
		}
	}
}

// endBody stops the sending of a body that nobody wants any more, and waits for it. A request that has ended is another matter: net/http
// ends it when the body can't be read, before the goroutine that reads it has said why.
func (x *exchange) endBody() {
	if x.sent == nil {
		return
	}
	select {
	case <-x.sent:
		return
	default:
	}
	wake := time.Unix(1, 0)
	if x.r.Context().Err() == nil {
		x.unwanted.Store(true)
		if x.r.ProtoMajor == 1 {
			wake = time.Now().Add(lingerPause) // a read that was ended can't go on, and linger wants to
		}
	}
	_ = x.rc.SetReadDeadline(wake)
	<-x.sent
}

// answer copies the answer: head, body, and a head with status 0 for trailers.
func (x *exchange) answer(ctx context.Context) error {
	slow := time.AfterFunc(x.limits.Answer, func() {
		x.cancel(ErrComponentAway.New("%s did not answer within %s", x.route.Component, x.limits.Answer))
	})
	defer slow.Stop()
	for {
		m, err := x.stream.Recv()
		if errors.Is(err, io.EOF) {
			if !x.begun {
				return ErrComponentBroke.New("%s ended without an answer", x.route.Component)
			}
			return nil
		}
		if err != nil {
			if why := context.Cause(ctx); why != nil && !errors.Is(why, context.Canceled) {
				return why
			}
			return err
		}
		switch part := m.Part.(type) {
		case *httpv1.ServeResponse_Head:
			err = x.head(part.Head)
			if x.begun {
				slow.Stop()
			}
		case *httpv1.ServeResponse_Body:
			if !x.begun {
				return ErrComponentBroke.New("%s answered without a head", x.route.Component)
			}
			err = x.body(part.Body)
		}
		if err != nil {
			return err
		}
	}
}

func (x *exchange) head(head *httpv1.ResponseHead) error {
	status := int(head.Status)
	switch {
	case x.begun && status == 0:
		for _, h := range head.Headers {
			for _, v := range h.Values {
				x.w.Header().Add(http.TrailerPrefix+h.Name, v)
			}
		}
		return nil
	case x.begun, status < 100, status > 999, status == http.StatusSwitchingProtocols:
		return ErrComponentBroke.New("%s answered with status %d", x.route.Component, status)
	}
	h := x.w.Header()
	given := http.Header{}
	for _, pair := range head.Headers {
		given[http.CanonicalHeaderKey(pair.Name)] = pair.Values
	}
	drop(given)
	given["Set-Cookie"] = withoutOurs(given["Set-Cookie"])
	for name, values := range given {
		if len(values) > 0 {
			h[name] = values
		}
	}
	if status >= 200 {
		secure(h)
		x.begun = true
	}
	x.deadline()
	x.w.WriteHeader(status)
	return x.flush()
}

// withoutOurs leaves out cookies by which a component would change who is signed in.
func withoutOurs(cookies []string) []string {
	var rest []string
	for _, c := range cookies {
		name, _, _ := strings.Cut(c, "=")
		if strings.TrimSpace(name) != sessionCookie {
			rest = append(rest, c)
		}
	}
	return rest
}

func (x *exchange) body(b []byte) error {
	x.deadline()
	_, err := x.w.Write(b)
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) { // answers to HEAD have no body, whatever the component sends
		return err
	}
	return x.flush()
}

// deadline bounds the next write; flush ends the bound. Between two writes a stream may be silent as long as it likes.
func (x *exchange) deadline() { _ = x.rc.SetWriteDeadline(time.Now().Add(x.limits.Pause)) }

func (x *exchange) flush() error {
	err := x.rc.Flush()
	_ = x.rc.SetWriteDeadline(time.Time{})
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// explain turns what ended an exchange into what the visitor is told.
func (x *exchange) explain(ctx context.Context, err error) error {
	if why := context.Cause(ctx); errors.Is(why, ErrComponentAway) {
		return why
	}
	if errors.Is(err, ErrComponentBroke) {
		return err
	}
	return ErrComponentAway.Wrap(err, "%s did not answer", x.route.Component)
}
