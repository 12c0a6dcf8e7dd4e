package databridge

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Sizes of a connection's read buffer in bytes.
const (
	// smallBuffer is what an idle connection holds.
	smallBuffer = 4 << 10
	// keptBuffer is the largest buffer that a connection keeps between messages.
	keptBuffer = 256 << 10
	// largeBuffer is the size from which buffers are few (Server.LargeMessages).
	largeBuffer = 1 << 20
)

// errIdle ends a connection that was quiet between two messages: closed by its peer, or too long without one.
var errIdle = errors.New("connection is idle or closed between messages")

// input is the read side of one connection. It holds the message that is being read as a whole and contiguous, so that what
// was read is referred to by offsets from the message's start. It grows only up to limit.
type input struct {
	conn net.Conn
	buf  []byte
	// start of the current message, pos of the reader, end of what was received.
	start, pos, end int
	// limit in bytes of the current message.
	limit int
	// idle is the time to wait for a message, patience the time in which a message that began must be there.
	idle, patience time.Duration
	late           bool // the deadline of the message is set
	interrupted    bool // the connection is handed over within a message
	// large is a place per large buffer that may exist at once; nil is no limit. held: this connection has one.
	large chan struct{}
	held  bool
}

// begin waits for the first byte of the next message. It answers errIdle if none came.
func (in *input) begin(limit int) error {
	in.start, in.late, in.limit = in.pos, false, limit
	if in.end > in.pos {
		return nil
	}
	in.start, in.pos, in.end = 0, 0, 0
	if cap(in.buf) > keptBuffer || in.buf == nil {
		in.buf = make([]byte, smallBuffer)
		in.release()
	}
	if err := in.conn.SetReadDeadline(time.Now().Add(in.idle)); err != nil {
		return errIdle
	}
	n, err := in.conn.Read(in.buf)
	in.end = n
	if n > 0 {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || isReset(err) {
		return errIdle
	}
	return err
}

// need makes sure that n more bytes of the message are in the buffer behind pos.
func (in *input) need(n int) error {
	if in.end-in.pos >= n {
		return nil
	}
	return in.fill(n)
}

func (in *input) fill(n int) error {
	if n < 0 || in.pos-in.start+n > in.limit {
		return ErrTooLarge.New("a message needs %d bytes or more, the limit is %d", in.pos-in.start+n, in.limit)
	}
	if !in.late {
		in.late = true
		if err := in.conn.SetReadDeadline(time.Now().Add(in.patience)); err != nil {
			in.interrupted = errors.Is(err, errParked)
			return err
		}
	}
	for in.end-in.pos < n {
		if in.end == len(in.buf) {
			if err := in.grow(); err != nil {
				return err
			}
		}
		got, err := in.conn.Read(in.buf[in.end:])
		in.end += got
		if err != nil && in.end-in.pos < n {
			if g, ok := in.conn.(*gate); ok && g.shut() {
				in.interrupted = true
			}
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// grow makes room behind the message: it moves it to the buffer's front or doubles the buffer, so that a peer has to send half
// of what it makes us allocate.
func (in *input) grow() error {
	target := in.buf
	if in.start == 0 {
		if len(in.buf) >= largeBuffer {
			if err := in.acquire(); err != nil {
				return err
			}
		}
		target = make([]byte, 2*len(in.buf))
	}
	copy(target, in.buf[in.start:in.end])
	in.buf = target
	in.pos -= in.start
	in.end -= in.start
	in.start = 0
	return nil
}

// acquire waits for a place for a large buffer.
func (in *input) acquire() error {
	if in.held || in.large == nil {
		return nil
	}
	wait := time.NewTimer(in.patience)
	defer wait.Stop()
	select {
	case in.large <- struct{}{}:
		in.held = true
		return nil
	case <-wait.C:
		return ErrTooLarge.New("no memory for a large message within %s: too many are being read", in.patience)
	}
}

func (in *input) release() {
	if in.held {
		in.held = false
		<-in.large
	}
}

// Read lets the generated code read the rest of a session call.
func (in *input) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if in.end == in.pos {
		if err := in.need(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.pos:in.end])
	if in.pos-in.start+n > in.limit {
		return 0, ErrTooLarge.New("a message is larger than %d bytes", in.limit)
	}
	in.pos += n
	return n, nil
}

func (in *input) u8() (byte, error) {
	if err := in.need(1); err != nil {
		return 0, err
	}
	b := in.buf[in.pos]
	in.pos++
	return b, nil
}

func (in *input) u16() (uint16, error) {
	if err := in.need(2); err != nil {
		return 0, err
	}
	v := binary.BigEndian.Uint16(in.buf[in.pos:])
	in.pos += 2
	return v, nil
}

func (in *input) i32() (int32, error) {
	if err := in.need(4); err != nil {
		return 0, err
	}
	v := int32(binary.BigEndian.Uint32(in.buf[in.pos:]))
	in.pos += 4
	return v, nil
}

func (in *input) i64() (int64, error) {
	if err := in.need(8); err != nil {
		return 0, err
	}
	v := int64(binary.BigEndian.Uint64(in.buf[in.pos:]))
	in.pos += 8
	return v, nil
}

// span is a piece of the message, by offsets from its start.
type span struct{ from, to uint32 }

// bytes takes n bytes.
func (in *input) bytes(n int) (span, error) {
	if err := in.need(n); err != nil {
		return span{}, err
	}
	s := span{uint32(in.pos - in.start), uint32(in.pos - in.start + n)}
	in.pos += n
	return s, nil
}

// text takes a length and as many bytes.
func (in *input) text() (span, error) {
	n, err := in.i32()
	if err != nil {
		return span{}, err
	}
	if n < 0 {
		return span{}, ErrMalformed.New("a string of length %d", n)
	}
	return in.bytes(int(n))
}

// message is what was read of the message; spans index it.
func (in *input) message() []byte { return in.buf[in.start:in.pos] }

// drain reads and forgets what the peer still sends, so that closing does not reset a reply that is on its way.
func (in *input) drain(wait time.Duration, atMost int) {
	if in.conn.SetReadDeadline(time.Now().Add(wait)) != nil {
		return
	}
	for atMost > 0 {
		n, err := in.conn.Read(in.buf)
		if err != nil {
			return
		}
		atMost -= n
	}
}

// isReset reports whether the peer tore the connection down.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
