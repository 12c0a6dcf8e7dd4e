package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"carbonado.dev/sdk/databridge/wire"
	"carbonado.dev/sdk/telemetry"
)

// endpoint is one receiver with the session that all its connections share.
type endpoint struct {
	agent *Agent
	addr  address

	// logging is held, as a token, by the one that logs in.
	logging chan struct{}
	// mu guards all below.
	mu      sync.Mutex
	session string
	downTil time.Time // not to be tried before
}

func newEndpoint(a *Agent, addr address) *endpoint {
	return &endpoint{agent: a, addr: addr, logging: make(chan struct{}, 1)}
}

// loginRest is how many reconnect times the agent waits after a refused login: passwords are costly to check.
const loginRest = 10

// permanent is an error that another try does not heal.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func retryable(err error) bool {
	var p permanent
	return !errors.As(err, &p)
}

func (e *endpoint) current() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.session
}

// login answers a session; one that equals stale is replaced by a new login.
func (e *endpoint) login(ctx context.Context, stale string) (string, error) {
	select {
	case e.logging <- struct{}{}:
		defer func() { <-e.logging }()
	case <-ctx.Done():
		return "", ErrReceiver.Wrap(ctx.Err(), "login at %s", e.addr.loginURL)
	}
	if s := e.current(); s != "" && s != stale {
		return s, nil
	}
	user, password := e.agent.opts.Username, e.agent.opts.Password
	if ask := e.agent.opts.Credentials; ask != nil {
		var err error
		if user, password, err = ask(ctx); err != nil {
			return "", ErrReceiver.Wrap(err, "credentials for %s", e.addr.loginURL)
		}
	}
	session := ""
	err := e.call(ctx, e.addr.login, true, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
		var err error
		session, err = c.Connect(ctx, user, password)
		return err
	})
	var refused *wire.ThriftAuthenticationException
	if errors.As(err, &refused) {
		return "", ErrLogin.New("%s at %s: %s", user, e.addr.loginURL, refused.Message)
	}
	if err != nil {
		return "", ErrReceiver.Wrap(err, "login at %s", e.addr.loginURL)
	}
	e.agent.logins.Add(1)
	e.mu.Lock()
	e.session = session
	e.mu.Unlock()
	return session, nil
}

// logout ends the session; that it does not reach the receiver is no matter: the session ends by being idle.
func (e *endpoint) logout() {
	session := e.current()
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = e.call(ctx, e.addr.login, true, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
		return c.Disconnect(ctx, session)
	})
}

func (e *endpoint) defineStream(ctx context.Context, text string) (string, error) {
	stale := ""
	for {
		session, err := e.login(ctx, stale)
		if err != nil {
			return "", err
		}
		id := ""
		err = e.call(ctx, e.addr.login, true, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
			var err error
			id, err = c.DefineStream(ctx, session, text)
			return err
		})
		var expired *wire.ThriftSessionExpiredException
		switch {
		case err == nil:
			return id, nil
		case errors.As(err, &expired) && stale == "":
			stale = session
			continue
		}
		var t thrift.TException
		var te thrift.TTransportException
		if errors.As(err, &t) && !errors.As(err, &te) {
			return "", permanent{ErrRefused.New("%s: %s", e.addr.loginURL, reason(err))}
		}
		return "", ErrReceiver.Wrap(err, "%s", e.addr.loginURL)
	}
}

// reason is the receiver's text in an exception of defineStream.
func reason(err error) string {
	var different *wire.ThriftDifferentStreamDefinitionAlreadyDefinedException
	var malformed *wire.ThriftMalformedStreamDefinitionException
	var failed *wire.ThriftStreamDefinitionException
	switch {
	case errors.As(err, &different):
		return different.Message
	case errors.As(err, &malformed):
		return malformed.Message
	case errors.As(err, &failed):
		return failed.Message
	}
	return err.Error()
}

func (e *endpoint) dial(ctx context.Context, hostPort string, secure bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.agent.opts.Timeout)
	defer cancel()
	var d net.Dialer
	if !secure {
		return d.DialContext(ctx, "tcp", hostPort)
	}
	cfg := e.agent.opts.TLS
	if cfg == nil {
		cfg = &tls.Config{}
	}
	td := tls.Dialer{NetDialer: &d, Config: cfg}
	return td.DialContext(ctx, "tcp", hostPort)
}

// call makes one session call on a connection of its own.
func (e *endpoint) call(ctx context.Context, hostPort string, secure bool, f func(context.Context, *wire.ThriftSecureEventTransmissionServiceClient) error) error {
	conn, err := e.dial(ctx, hostPort, secure)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline := time.Now().Add(e.agent.opts.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	p := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransport(bufio.NewReader(conn), conn), &thrift.TConfiguration{})
	return f(ctx, wire.NewThriftSecureEventTransmissionServiceClient(thrift.NewTStandardClient(p, p)))
}

// down notes that the endpoint can't be used, so that it is not tried at once again; after a refused login much later.
func (e *endpoint) down(why error) {
	rest := e.agent.opts.Reconnect
	if errors.Is(why, ErrLogin) {
		rest *= loginRest
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.downTil = time.Now().Add(rest)
}

// rest is how long the endpoint is not to be tried.
func (e *endpoint) rest() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Until(e.downTil)
}

// publishConn is a connection on which bundles are sent.
type publishConn struct {
	endpoint *endpoint
	conn     net.Conn
	in       *bufio.Reader
	session  string
	seq      uint32
	head     []byte
	enc      encoder
}

// connect opens a connection with a session.
func (e *endpoint) connect(ctx context.Context) (*publishConn, error) {
	session, err := e.login(ctx, "")
	if err != nil {
		return nil, err
	}
	conn, err := e.dial(ctx, e.addr.publish, e.addr.secure)
	if err != nil {
		return nil, ErrReceiver.Wrap(err, "%s", e.addr.publishURL)
	}
	e.agent.connects.Add(1)
	return &publishConn{endpoint: e, conn: conn, in: bufio.NewReaderSize(conn, 512), session: session}, nil
}

// errExpired says that the receiver does not know the session.
var errExpired = errors.New("the session has expired")

// publish sends a bundle and waits for the answer. sent reports whether the bundle may have reached the receiver. After any error but
// a permanent one and errExpired the connection is of no use.
func (p *publishConn) publish(ctx context.Context, b *bundle) (sent bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetDeadline(time.Now()) })
	defer stop()
	if err := p.conn.SetDeadline(time.Now().Add(p.endpoint.agent.opts.Timeout)); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	p.seq++
	h := binary.BigEndian.AppendUint32(p.head[:0], 0x80010001)
	h = append(binary.BigEndian.AppendUint32(h, 7), "publish"...)
	h = binary.BigEndian.AppendUint32(h, p.seq)
	h = field(h, tStruct, 1)
	h = field(h, tString, 1)
	p.head = append(binary.BigEndian.AppendUint32(h, uint32(len(p.session))), p.session...)
	var trace telemetry.Trace
	if f := p.endpoint.agent.opts.Trace; f != nil {
		trace = f(b.events)
	}
	body := p.enc.encode(b.events, p.endpoint.agent.source, b.counter, trace)
	buffers := net.Buffers{p.head, body}
	if _, err := buffers.WriteTo(p.conn); err != nil {
		return true, ErrReceiver.Wrap(err, "%s", p.endpoint.addr.publishURL)
	}
	err = p.answer()
	if err != nil && retryable(err) && !errors.Is(err, errExpired) {
		err = ErrReceiver.Wrap(err, "%s", p.endpoint.addr.publishURL)
	}
	return true, err
}

// answer reads the reply of a publish call.
func (p *publishConn) answer() error {
	var head [19]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head[:])>>16 != 0x8001 || string(head[8:15]) != "publish" {
		return ErrReceiver.New("an answer that is no answer to publish")
	}
	if got := binary.BigEndian.Uint32(head[15:]); got != p.seq {
		return ErrReceiver.New("an answer to call %d instead of %d", got, p.seq)
	}
	if head[3] == 2 { // a reply; usually it is empty
		b, err := p.in.ReadByte()
		if err != nil || b == stop {
			return err
		}
		if err := p.in.UnreadByte(); err != nil {
			return err
		}
	}
	proto := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransportR(p.in), &thrift.TConfiguration{MaxMessageSize: 1 << 20})
	ctx := context.Background() // the connection's deadline holds
	if head[3] == 3 {
		x := thrift.NewTApplicationException(0, "")
		if err := x.Read(ctx, proto); err != nil {
			return err
		}
		return permanent{ErrRefused.New("%s", x.Error())}
	}
	result := wire.NewThriftEventTransmissionServicePublishResult()
	if err := result.Read(ctx, proto); err != nil {
		return err
	}
	switch {
	case result.Se != nil:
		return errExpired
	case result.Ue != nil:
		return permanent{ErrRefused.New("%s", result.Ue.Message)}
	}
	return nil
}
