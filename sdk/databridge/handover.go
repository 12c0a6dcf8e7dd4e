package databridge

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// errParked is what a connection's reader gets when it is to stop for a handover.
var errParked = errors.New("the connection is handed over")

// Parked is a plain connection between two answers, to be served by another Server, in this process or the next.
type Parked struct {
	Conn net.Conn
	// Pending is what the client has sent and nobody has answered: the beginning of a message, or nothing.
	Pending []byte
}

// Park is Drain for a server whose connections another one takes over: it stops accepting, lets calls under way be answered, and keeps
// the connections open, whatever the client has sent of its next message with them. On the secure port it is Drain: a TLS session lives
// in its process. It returns when all have come to rest or with ctx; take them with Parked.
func (s *Server) Park(ctx context.Context, l net.Listener) error {
	if s.TLS != nil {
		return s.Drain(ctx, l)
	}
	s.draining.Store(true)
	s.mu.Lock()
	s.parking = true
	for c := range s.conns {
		c.gate.close()
	}
	looped := s.looped
	s.mu.Unlock()
	_ = l.Close()
	if looped != nil {
		select {
		case <-looped:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.rest(ctx)
}

// Parked gives the connections that came to rest since Park; they are the caller's.
func (s *Server) Parked() []Parked {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.parked
	s.parked = nil
	return out
}

// Adopt serves a connection that another Server parked. Call Prepare first. ctx is that of Serve.
func (s *Server) Adopt(ctx context.Context, p Parked) {
	c := &connection{server: s, conn: p.Conn, remote: p.Conn.RemoteAddr().String()}
	_ = p.Conn.SetReadDeadline(time.Time{})
	if n := len(p.Pending); n > 0 {
		size := smallBuffer
		for size < n {
			size *= 2
		}
		c.in.buf = make([]byte, size)
		c.in.end = copy(c.in.buf, p.Pending)
	}
	s.open(ctx, c, p.Conn)
}

// park gives a connection to whoever comes next.
func (c *connection) park() {
	c.handed = true
	p := Parked{Conn: c.gate.Conn, Pending: slices.Clone(c.in.buf[c.in.start:c.in.end])}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.parked = append(c.server.parked, p)
}

// gate is a plain connection whose reader can be stopped between two reads.
type gate struct {
	net.Conn

	// mu guards closed and orders it with deadlines.
	mu     sync.Mutex
	closed bool
}

// SetReadDeadline is the connection's, until the gate is closed.
func (g *gate) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errParked
	}
	return g.Conn.SetReadDeadline(t)
}

// close makes the reader stop. What has been read is kept; what has not stays in the socket.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	_ = g.Conn.SetReadDeadline(time.Unix(1, 0))
}

// shut tells whether the reader is to stop; a connection without a gate never is.
func (g *gate) shut() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// CloseWrite lets an answer reach a client that is still sending.
func (g *gate) CloseWrite() error {
	if w, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
