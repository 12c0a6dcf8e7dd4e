package databridge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge/wire"
)

// Handler does what clients ask for. Its methods are called concurrently, at most one at a time for each connection. An error
// that is a *Fault of a kind which the method may answer becomes that exception; other errors become application exceptions.
type Handler interface {
	// Connect signs a client in and answers its session id. Called on the secure port only.
	Connect(ctx context.Context, remote, user, password string) (session string, err error)
	Disconnect(ctx context.Context, session string) error
	DefineStream(ctx context.Context, session, definition string) (id string, err error)
	FindStreamID(ctx context.Context, session, name, version string) (id string, err error)
	// DeleteStream answers whether the stream existed. id is "name:version".
	DeleteStream(ctx context.Context, session, id string) (bool, error)
	// Alive reports whether a session may publish. The server asks before it reads on a bundle.
	Alive(session []byte) bool
	// Publish takes a bundle; nil means that all of it is stored. The bundle is valid during the call.
	Publish(ctx context.Context, b *Bundle) error
}

// Report is told of every connection that ends with an error and every call that is answered with one. It must not block.
type Report func(remote, method string, err error)

// ErrTooManyConnections is reported when a connection is closed at once.
var ErrTooManyConnections = cause.Define("CBN-RCV-009", "Too many connections are open.", "Close idle clients or raise the receiver's limit maxConnections.")

// Server speaks the protocol on one port. Set its fields before Serve.
type Server struct {
	Handler Handler
	// TLS, if set, makes this the secure port, which also offers connect and disconnect.
	TLS *tls.Config
	// Report may be nil.
	Report Report
	// Idle is how long a connection may be quiet (default 30 minutes), Patience how long a message or a TLS handshake may
	// take (default 30 seconds).
	Idle, Patience time.Duration
	// MaxBundle is the largest publish call in bytes (default 8 MiB), MaxConnections the number of connections at once
	// (default 2,048), LargeMessages how many messages of more than 1 MiB may be in memory at once (default 8).
	MaxBundle, MaxConnections, LargeMessages int

	processor *wire.ThriftSecureEventTransmissionServiceProcessor
	large     chan struct{}
	draining  atomic.Bool

	// mu guards the fields below.
	mu      sync.Mutex
	conns   map[*connection]struct{}
	parking bool // connections are kept for a successor
	parked  []Parked
	looped  chan struct{} // closed when Serve accepts no more; nil before Serve
	wg      sync.WaitGroup
}

// Limits of session calls and of publish calls whose session is not known yet, in bytes.
const (
	maxCall      = 2 << 20
	maxStranger  = 64 << 10
	maxMethod    = 64
	strictMask   = 0xffff0000
	version1     = 0x80010000
	messageCall  = 1
	messageReply = 2
	messageFault = 3
	messageOne   = 4
)

// Prepare fills in the defaults. Serve calls it; whoever may call Drain or Close before Serve has begun calls it first.
func (s *Server) Prepare() {
	if s.conns != nil {
		return
	}
	if s.Report == nil {
		s.Report = func(string, string, error) {}
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&s.MaxBundle, 8<<20)
	def(&s.MaxConnections, 2048)
	def(&s.LargeMessages, 8)
	if s.Idle == 0 {
		s.Idle = 30 * time.Minute
	}
	if s.Patience == 0 {
		s.Patience = 30 * time.Second
	}
	s.large = make(chan struct{}, s.LargeMessages)
	s.conns = map[*connection]struct{}{}
	s.processor = wire.NewThriftSecureEventTransmissionServiceProcessor(calls{s.Handler})
}

// Serve accepts connections until Drain or the end of ctx, closes l, and returns when all connections have ended. The end of
// ctx ends calls that are being answered; Drain lets them be answered first.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.Prepare()
	looped := make(chan struct{})
	s.mu.Lock()
	s.looped = looped
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.end(l, true) })
	defer stop()
	var failure error
	pause := 5 * time.Millisecond
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.draining.Load() || ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				break
			}
			var ne net.Error
			if !errors.As(err, &ne) {
				failure = err
				break
			}
			// Out of descriptors, say: others may become free.
			s.Report("", "accept", err)
			select {
			case <-time.After(pause):
				pause = min(2*pause, time.Second)
			case <-ctx.Done():
			}
			continue
		}
		pause = 5 * time.Millisecond
		s.accept(ctx, conn)
	}
	close(looped)
	if failure != nil {
		s.end(l, false)
	}
	s.wg.Wait()
	return failure
}

// Drain stops accepting, closes quiet connections, and the others once their call is answered. It returns when all have ended
// or with ctx.
func (s *Server) Drain(ctx context.Context, l net.Listener) error {
	s.end(l, false)
	return s.rest(ctx)
}

// rest waits until no connection is served any more.
func (s *Server) rest(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends all connections at once, calls under way included. The listener is ended by Drain or by its owner.
func (s *Server) Close() {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.end(true)
	}
}

// CloseConnections ends all connections at once and goes on accepting others.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.conn.Close()
	}
}

// end closes the listener and the connections: all of them, or those between two calls.
func (s *Server) end(l net.Listener, all bool) {
	s.draining.Store(true)
	_ = l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.end(all)
	}
}

func (s *Server) accept(ctx context.Context, raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
	}
	c := &connection{server: s, conn: raw, remote: raw.RemoteAddr().String()}
	if s.TLS != nil {
		c.seen = &seenConn{Conn: raw}
		c.conn = tls.Server(c.seen, s.TLS)
	}
	s.open(ctx, c, raw)
}

// open lets a connection begin, unless there are too many.
func (s *Server) open(ctx context.Context, c *connection, raw net.Conn) {
	if s.TLS == nil {
		c.gate = &gate{Conn: c.conn}
		c.conn = c.gate
	}
	c.in.conn, c.in.idle, c.in.patience, c.in.large = c.conn, s.Idle, s.Patience, s.large
	s.mu.Lock()
	if s.parking { // it came in the last moment
		s.parked = append(s.parked, Parked{Conn: raw})
		s.mu.Unlock()
		return
	}
	full := len(s.conns) >= s.MaxConnections
	if !full && !s.draining.Load() {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	} else {
		c = nil
	}
	s.mu.Unlock()
	if c == nil {
		_ = raw.Close()
		if full {
			s.Report(raw.RemoteAddr().String(), "accept", ErrTooManyConnections.New("%d are open", s.MaxConnections))
		}
		return
	}
	go func() {
		defer s.wg.Done()
		defer func() {
			if !c.handed {
				_ = c.conn.Close()
			}
			c.in.release()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
		c.run(ctx)
	}()
}

// seenConn remembers whether a byte was read, so that a bare connection is told from a failed handshake.
type seenConn struct {
	net.Conn
	any atomic.Bool
}

func (c *seenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.any.Store(true)
	}
	return n, err
}

// connection is one client.
type connection struct {
	server *Server
	conn   net.Conn
	seen   *seenConn
	gate   *gate // nil on the secure port
	handed bool  // it belongs to the server's successor
	remote string
	in     input
	bundle Bundle
	out    []byte

	// mu guards busy and ended: end closes quiet connections only.
	mu          sync.Mutex
	busy, ended bool
}

func (c *connection) end(all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if all || !c.busy {
		_ = c.conn.Close()
	}
}

// setBusy marks the time between a message's first byte and its answer. It answers false if the connection is to end.
func (c *connection) setBusy(busy bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
	return !c.ended
}

func (c *connection) run(ctx context.Context) {
	if t, ok := c.conn.(*tls.Conn); ok {
		if !c.handshake(ctx, t) {
			return
		}
	}
	for {
		if c.gate.shut() {
			c.in.start = c.in.pos // what is before has been answered
			c.park()
			return
		}
		err := c.in.begin(maxCall)
		if err != nil && c.gate.shut() {
			c.park()
			return
		}
		if err != nil {
			if !errors.Is(err, errIdle) {
				c.server.Report(c.remote, "", ErrProtocol.Wrap(err, "reading a message"))
			}
			return
		}
		if !c.setBusy(true) {
			return
		}
		ok := c.call(ctx)
		if c.in.interrupted {
			c.park()
			return
		}
		if !ok || !c.setBusy(false) {
			return
		}
	}
}

func (c *connection) handshake(ctx context.Context, t *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, c.server.Patience)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		if c.seen.any.Load() && !errors.Is(err, net.ErrClosed) {
			c.server.Report(c.remote, "tls", ErrProtocol.Wrap(err, "TLS handshake"))
		}
		return false
	}
	return true
}

// call reads and answers one message. It answers false if the connection is to be closed.
func (c *connection) call(ctx context.Context) bool {
	name, typ, seq, err := c.messageHead()
	if err != nil {
		return c.broken("", err)
	}
	if typ != messageCall && typ != messageOne {
		c.server.Report(c.remote, name, ErrProtocol.New("a message of type %d", typ))
		return false
	}
	if name == "publish" {
		return c.publish(ctx, seq)
	}
	if c.server.TLS == nil && (name == "connect" || name == "disconnect") {
		// Not offered here: a password must not travel in clear.
		c.server.Report(c.remote, name, ErrProtocol.New("%s on the plain port; it is offered on the TLS port only", name))
		c.fault(name, seq, thrift.UNKNOWN_METHOD, name+" is offered on the TLS port only")
		return false
	}
	f, ok := c.server.processor.GetProcessorFunction(name)
	if !ok {
		c.server.Report(c.remote, name, ErrProtocol.New("unknown method %q", name))
		c.fault(name, seq, thrift.UNKNOWN_METHOD, "unknown method "+name)
		return false
	}
	var failed error
	ctx = context.WithValue(ctx, callKey{}, &callInfo{remote: c.remote, failed: &failed})
	out := thrift.NewTMemoryBuffer()
	config := &thrift.TConfiguration{MaxMessageSize: maxCall, MaxFrameSize: maxCall}
	_, err = f.Process(ctx, seq, thrift.NewTBinaryProtocolConf(source{&c.in}, config), thrift.NewTBinaryProtocolConf(out, config))
	if c.in.interrupted {
		return false
	}
	if failed != nil {
		c.server.Report(c.remote, name, failed)
		err = nil // it was answered
	}
	if out.Len() > 0 && !c.write(out.Bytes()) {
		return false
	}
	if err != nil {
		return c.broken(name, err)
	}
	return true
}

// broken reports why a message could not be read; the connection can't go on, because the message's end is unknown.
func (c *connection) broken(method string, err error) bool {
	if c.in.interrupted {
		return false // the successor reads it from its beginning
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || isReset(err):
		err = ErrProtocol.Wrap(err, "the connection ended within a message")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrProtocol.New("a message was not complete within %s", c.server.Patience)
	}
	var e *cause.Error
	if !errors.As(err, &e) {
		err = ErrProtocol.Wrap(err, "reading a message")
	}
	c.server.Report(c.remote, method, err)
	return false
}

func (c *connection) messageHead() (name string, typ byte, seq int32, err error) {
	first, err := c.in.i32()
	if err != nil {
		return "", 0, 0, err
	}
	size := first
	if first < 0 {
		if uint32(first)&strictMask != version1 {
			return "", 0, 0, ErrProtocol.New("a message starts with %08x", uint32(first))
		}
		typ = byte(first)
		if size, err = c.in.i32(); err != nil {
			return "", 0, 0, err
		}
	}
	if size < 0 || size > maxMethod {
		return "", 0, 0, ErrProtocol.New("a method name of %d bytes; this may be another protocol", size)
	}
	s, err := c.in.bytes(int(size))
	if err != nil {
		return "", 0, 0, err
	}
	if name = methodName(c.in.buf[c.in.start+int(s.from) : c.in.start+int(s.to)]); first >= 0 {
		if typ, err = c.in.u8(); err != nil {
			return "", 0, 0, err
		}
	}
	seq, err = c.in.i32()
	return name, typ, seq, err
}

// methodName spares the allocation for the one name that is frequent.
func methodName(b []byte) string {
	if string(b) == "publish" {
		return "publish"
	}
	return string(b)
}
