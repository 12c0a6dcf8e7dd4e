package component

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/handshake"
)

// ErrHandover is the kind of connections that could not be handed to the next process.
var ErrHandover = cause.Define("CBN-SDK-040", "Connections could not be handed over to the component's next process.",
	"Nothing is lost: their clients connect anew. See the component's log for the reason.")

const (
	// handoverPatience bounds the handing over of all connections, and, twice, the wait for a successor.
	handoverPatience = 10 * time.Second
	// maxHandoverState is the largest state of one connection in bytes: what a client has sent and nobody has read yet.
	maxHandoverState = 64 << 20
)

// Handed is something that a process hands to its successor: a connection with what must be known of it, or a state alone.
type Handed struct {
	// Conn is nil for a state alone. It must be a TCP or Unix connection: a TLS session can't be handed over.
	Conn  net.Conn
	State []byte
}

// Handover makes connections outlive this process when another one takes its place (an update, `component restart`). kind names them
// in both versions of the component. give is called after Release and gives what is to be handed over; nothing of it may be read,
// written or closed from then on. take is called in the successor, after its Acquirers, once for each, in the same order; it is also
// called in this process, when the successor failed and this one serves again. Call it within Start.
func (c *C) Handover(kind string, give func() []Handed, take func(Handed) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handover = append(c.handover, handing{kind, give, take})
}

// Replaced tells, from Drain on, whether a successor takes over: then connections that Handover will give stay open.
func (c *C) Replaced() bool { return c.replaced.Load() }

// handing is one kind of connections.
type handing struct {
	kind string
	give func() []Handed
	take func(Handed) error
}

// handovers is what a component hands over.
type handovers []handing

func (h handovers) find(kind string) (handing, bool) {
	i := slices.IndexFunc(h, func(x handing) bool { return x.kind == kind })
	if i < 0 {
		return handing{}, false
	}
	return h[i], true
}

// handed is one thing of a kind.
type handed struct {
	Handed
	kind string
}

func (h handed) close() {
	if h.Conn != nil {
		_ = h.Conn.Close()
	}
}

func closeAll(all []handed) {
	for _, h := range all {
		h.close()
	}
}

// handoverServer waits for a successor and gives it what there is.
type handoverServer struct {
	items    []handed
	listener *net.UnixListener
	done     chan struct{}

	// mu guards taken: the successor has confirmed that everything is its own.
	mu    sync.Mutex
	taken bool
}

// offerHandover collects what is to be handed over and waits for the successor at a socket; nil if there is nothing.
func (c *C) offerHandover(address string) (*handoverServer, error) {
	s := &handoverServer{done: make(chan struct{})}
	for _, h := range c.handover {
		for _, x := range h.give() {
			s.items = append(s.items, handed{x, h.kind})
		}
	}
	if len(s.items) == 0 {
		return nil, nil
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		closeAll(s.items)
		return nil, ErrHandover.Wrap(err, "no socket at %s", address)
	}
	s.listener = l
	go s.serve()
	return s, nil
}

func (s *handoverServer) count() int { return len(s.items) }

// serve gives everything to the successor, once. It ends with the listener.
func (s *handoverServer) serve() {
	defer close(s.done)
	conn, err := s.listener.AcceptUnix()
	if err != nil {
		return
	}
	defer conn.Close()
	if p, err := handshake.PeerOf(conn); err != nil || p.UID != os.Getuid() {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(handoverPatience))
	for _, x := range s.items {
		if x.send(conn) != nil {
			return
		}
	}
	if _, err := conn.Write(make([]byte, headSize)); err != nil { // the end: a kind of no length
		return
	}
	var confirmed [1]byte
	if _, err := io.ReadFull(conn, confirmed[:]); err != nil {
		return
	}
	s.mu.Lock()
	s.taken = true
	s.mu.Unlock()
	closeAll(s.items) // this process's copies
}

// back ends the offer and gives what the successor has not taken.
func (s *handoverServer) back() []handed {
	_ = s.listener.Close()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return nil
	}
	return s.items
}

// close ends the offer and what the successor has not taken.
func (s *handoverServer) close() { closeAll(s.back()) }

// headSize is that of the head of one thing: bytes of the kind, bytes of the state, 1 if a descriptor comes with it.
const headSize = 9

func (h handed) send(to *net.UnixConn) error {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(h.kind)))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(h.State)))
	if h.Conn == nil {
		if _, err := to.Write(append(head, 0)); err != nil {
			return err
		}
	} else {
		sc, ok := h.Conn.(syscall.Conn)
		if !ok {
			return ErrHandover.New("a connection of type %T has no descriptor", h.Conn)
		}
		raw, err := sc.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) { _, _, failed = to.WriteMsgUnix(append(head, 1), syscall.UnixRights(int(fd)), nil) })
		if err = errors.Join(err, failed); err != nil {
			return err
		}
	}
	_, err := to.Write(append([]byte(h.kind), h.State...))
	return err
}

func receiveHanded(from *net.UnixConn) (h handed, err error) {
	head, oob := make([]byte, headSize), make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := from.ReadMsgUnix(head, oob)
	if err != nil {
		return h, err
	}
	if oobn > 0 {
		if h.Conn, err = connOf(oob[:oobn]); err != nil {
			return h, err
		}
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if _, err = io.ReadFull(from, head[n:]); err != nil {
		return h, err
	}
	kind, state := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if kind > 256 || state > maxHandoverState || (head[8] == 1) != (h.Conn != nil) {
		return h, ErrHandover.New("the predecessor's message is not right")
	}
	body := make([]byte, kind+state)
	if _, err = io.ReadFull(from, body); err != nil {
		return h, err
	}
	h.kind, h.State = string(body[:kind]), body[kind:]
	return h, nil
}

// connOf makes a connection of the one descriptor of a control message.
func connOf(oob []byte) (net.Conn, error) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil || len(fds) != 1 {
			continue
		}
		syscall.CloseOnExec(fds[0])
		f := os.NewFile(uintptr(fds[0]), "handed over")
		conn, err := net.FileConn(f)
		return conn, errors.Join(err, f.Close())
	}
	return nil, ErrHandover.New("a message without its descriptor")
}

// takeOver takes what the predecessor offers at a socket. All is received before anything of it is used: either everything changes
// hands or nothing does.
func (c *C) takeOver(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, handoverPatience)
	defer cancel()
	var d net.Dialer
	dialled, err := d.DialContext(ctx, "unix", address)
	if err != nil {
		return ErrHandover.Wrap(err, "the predecessor does not answer")
	}
	conn := dialled.(*net.UnixConn)
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if p, err := handshake.PeerOf(conn); err != nil || p.UID != os.Getuid() {
		return ErrHandover.New("%s is served by another user", address)
	}
	var all []handed
	for {
		h, err := receiveHanded(conn)
		if err != nil {
			closeAll(all)
			return ErrHandover.Wrap(err, "after %d connections", len(all))
		}
		if h.kind == "" {
			break
		}
		all = append(all, h)
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		closeAll(all)
		return ErrHandover.Wrap(err, "the predecessor is gone")
	}
	c.take(all)
	return nil
}

// take gives things to those who hand over that kind. What nobody takes is closed.
func (c *C) take(all []handed) {
	for _, x := range all {
		h, ok := c.handover.find(x.kind)
		if !ok {
			c.log.Warn("a predecessor's connection has no taker", "kind", x.kind)
			x.close()
			continue
		}
		if err := h.take(x.Handed); err != nil {
			c.log.Warn("a predecessor's connection was not taken", "kind", x.kind, "error", err)
			x.close()
		}
	}
}
