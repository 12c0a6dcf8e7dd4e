// Package link carries frames between two components with credit, acknowledgements and replay: a Link is one life of one
// connection, a Producer goes on over the restarts of its peer. It must not know what frames hold.
package link

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
	"carbonado.dev/sdk/telemetry"
)

// Default credit of a consumer (SEAMS.md section 4).
const (
	DefaultBytes  = 8 << 20
	DefaultFrames = 64
)

// Errors of links.
var (
	ErrClosed   = cause.Define("CBN-LINK-005", "A link has ended.", "The peer restarts or is gone: see its state.").Code(codes.Unavailable)
	ErrProtocol = cause.Define("CBN-LINK-006", "A peer broke the link protocol.", "Both components must be built with compatible SDKs.").Code(codes.Internal)
	ErrRefused  = cause.Define("CBN-LINK-007", "A consumer refused a batch.", "See the reason in the chain.")
)

// Transport is a gRPC bidirectional stream of frames, seen from either end.
type Transport interface {
	Send(*linkv1.Frame) error
	Recv() (*linkv1.Frame, error)
	Context() context.Context
}

// Options are a link's limits; zero values are the defaults.
type Options struct {
	// Credit granted to the peer.
	Bytes  uint64
	Frames uint32
}

// SchemaInfo is a schema as it travels: the Arrow IPC Schema message and the head of its SHA-256.
type SchemaInfo struct {
	ID   frame.SchemaID
	Body []byte
}

// Incoming is a frame that a peer sent: BATCH, DELETE, TRUNCATE, MARK or OPEN. Its bytes belong to the handler until it calls
// Ack or Refuse; exactly one of both must be called, in any order between frames and from any goroutine. OPEN needs neither.
type Incoming struct {
	frame.Header
	// Bytes is the whole sealed frame, Body its body; Body aliases Bytes.
	Bytes, Body []byte
	// Name is what OPEN bound the header's stream number to, Open the OPEN frame's body.
	Name string
	Open *linkv1.Open
	// Schema of the batch as SCHEMA gave it; nil for frames without schema.
	Schema *SchemaInfo

	link *Link
	span *telemetry.Span
}

// Ack says that the frame is done. Its buffer goes back to the pool.
func (in *Incoming) Ack() { in.link.finish(in, nil, false) }

// Refuse says that the frame was not taken, and whether the same frame may succeed later.
func (in *Incoming) Refuse(err error, retry bool) { in.link.finish(in, err, retry) }

// Link is one connection with both of its directions. Create it with New, call Run once; Send may be called concurrently.
type Link struct {
	t    Transport
	opts Options

	// writeMu serialises t.Send.
	writeMu sync.Mutex

	// mu guards all below; cond tells waiters of Send that credit came or the link ended.
	mu   sync.Mutex
	cond *sync.Cond
	err  error

	// outgoing
	sent          uint64
	creditBytes   uint64
	creditFrames  uint32
	waiting       []outgoing // sent, not yet acknowledged, by sequence
	ackedUpTo     uint64
	incomingNames map[uint32]*linkv1.Open
	schemas       map[frame.SchemaID]*SchemaInfo

	meter meter

	// incoming: done holds finished sequences above doneUpTo.
	doneUpTo     uint64
	done         map[uint64]struct{}
	returnBytes  uint64
	returnFrames uint32
	refusals     []refusal
	ackSent      uint64
	wake         chan struct{}
	taken        uint64 // the highest sequence given to handle

	// handling is held while a frame is given to handle. left, which it guards: frames that come now are not taken.
	handling sync.Mutex
	left     bool
	// flushing is held by the one that writes acknowledgements.
	flushing sync.Mutex
}

type outgoing struct {
	seq  uint64
	done func(error)
}

type refusal struct {
	seq   uint64
	err   error
	retry bool
}

// New makes a link over a transport.
func New(t Transport, opts Options) *Link {
	if opts.Bytes == 0 {
		opts.Bytes = DefaultBytes
	}
	if opts.Frames == 0 {
		opts.Frames = DefaultFrames
	}
	l := &Link{
		t: t, opts: opts,
		incomingNames: map[uint32]*linkv1.Open{},
		schemas:       map[frame.SchemaID]*SchemaInfo{},
		done:          map[uint64]struct{}{},
		wake:          make(chan struct{}, 1),
	}
	l.cond = sync.NewCond(&l.mu)
	l.meter.open(t.Context())
	return l
}

// Run grants credit and reads until the link ends; it calls handle for each incoming frame in order. A handle that blocks
// holds up what comes behind, not the acknowledgements of earlier frames. Run answers nil when the peer ended the link in
// order. When it returns, every frame that was sent and not acknowledged has had its done called with ErrClosed.
func (l *Link) Run(handle func(*Incoming) error) error {
	acks := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(acks)
		l.writeAcks(stop)
	}()
	err := l.readOrDrain(handle)
	close(stop)
	l.fail(err)
	<-acks
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// fail ends the link: senders wake, unacknowledged frames are reported.
func (l *Link) fail(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		err = ErrClosed.New("the peer ended the link")
	} else {
		err = ErrClosed.Wrap(err, "link broke")
	}
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	waiting := l.waiting
	l.waiting = nil
	l.cond.Broadcast()
	l.mu.Unlock()
	for _, w := range waiting {
		w.done(err)
	}
}

func (l *Link) read(handle func(*Incoming) error) error {
	if err := l.writeControl(frame.Credit, 0, &linkv1.Credit{Bytes: l.opts.Bytes, Frames: l.opts.Frames}); err != nil {
		return err
	}
	for {
		m, err := l.t.Recv()
		if err != nil {
			return err
		}
		if err := l.taking(m.Data, handle); err != nil {
			return err
		}
	}
}

func (l *Link) receive(b []byte, handle func(*Incoming) error) error {
	h, body, rest, err := frame.Parse(b)
	if err != nil {
		return err
	}
	if len(rest) != 0 {
		return ErrProtocol.New("%d bytes behind a %s frame", len(rest), h.Kind)
	}
	switch h.Kind {
	case frame.Ack:
		l.acked(h.LinkSeq)
		Free(b)
		return nil
	case frame.Credit:
		var c linkv1.Credit
		if err := proto.Unmarshal(body, &c); err != nil {
			return ErrProtocol.Wrap(err, "CREDIT")
		}
		l.mu.Lock()
		l.creditBytes += c.Bytes
		l.creditFrames += c.Frames
		l.cond.Broadcast()
		l.mu.Unlock()
		Free(b)
		return nil
	case frame.Error:
		var r linkv1.Refusal
		if err := proto.Unmarshal(body, &r); err != nil {
			return ErrProtocol.Wrap(err, "ERROR")
		}
		l.refused(h.LinkSeq, &r)
		Free(b)
		return nil
	case frame.Close:
		Free(b)
		return io.EOF
	case frame.Schema:
		l.schemas[h.Schema] = &SchemaInfo{ID: h.Schema, Body: append([]byte(nil), body...)}
		Free(b)
		return nil
	case frame.Open:
		var o linkv1.Open
		if err := proto.Unmarshal(body, &o); err != nil {
			return ErrProtocol.Wrap(err, "OPEN")
		}
		Free(b)
		l.incomingNames[h.Stream] = &o
		return handle(&Incoming{Header: h, Name: o.Name, Open: &o, link: l})
	}
	in := &Incoming{Header: h, Bytes: b, Body: body, link: l}
	if o := l.incomingNames[h.Stream]; o != nil {
		in.Name, in.Open = o.Name, o
	} else {
		return ErrProtocol.New("%s frame of stream %d before its OPEN", h.Kind, h.Stream)
	}
	l.mu.Lock()
	l.taken = max(l.taken, h.LinkSeq)
	l.mu.Unlock()
	if h.Schema != (frame.SchemaID{}) {
		if in.Schema = l.schemas[h.Schema]; in.Schema == nil {
			return ErrProtocol.New("%s frame of %s before its SCHEMA", h.Kind, in.Name)
		}
	}
	l.meter.received(in)
	return handle(in)
}

// Send sends one sealed frame that needs an acknowledgement. It waits for credit until ctx ends, stamps link sequence and
// stream number, and calls done exactly once: with nil when the peer acknowledged, with ErrRefused or ErrClosed otherwise. If
// Send answers an error, done is not called. The bytes must stay untouched until done.
func (l *Link) Send(ctx context.Context, b []byte, stream uint32, done func(error)) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.cond.Broadcast()
		l.mu.Unlock()
	})
	defer stop()
	n := uint64(len(b))
	done = l.meter.traced(b, stream, done)
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.mu.Lock()
	for l.err == nil && ctx.Err() == nil && (l.creditFrames == 0 || l.creditBytes < n) {
		l.writeMu.Unlock()
		l.cond.Wait()
		l.mu.Unlock()
		l.writeMu.Lock()
		l.mu.Lock()
	}
	if err := l.err; err != nil {
		l.mu.Unlock()
		return err
	}
	if err := ctx.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	l.creditFrames--
	l.creditBytes -= n
	l.sent++
	seq := l.sent
	l.waiting = append(l.waiting, outgoing{seq, done})
	creditBytes, creditFrames := l.creditBytes, l.creditFrames
	l.mu.Unlock()
	frame.Restamp(b, seq, stream)
	l.meter.sent(b, stream, creditBytes, creditFrames)
	if err := l.t.Send(&linkv1.Frame{Data: b}); err != nil {
		// The reader sees the real reason and reports it to done, this frame's included.
		if !errors.Is(err, io.EOF) {
			l.fail(err)
		}
	}
	return nil
}

// SendOpen binds a stream number to a name for the rest of the link.
func (l *Link) SendOpen(stream uint32, open *linkv1.Open) error {
	body, err := proto.Marshal(open)
	if err != nil {
		return err
	}
	l.meter.name(stream, open.Name)
	return l.write(&frame.Header{Kind: frame.Open, Stream: stream}, body)
}

// SendSchema sends a schema; it must come before the first batch of that schema.
func (l *Link) SendSchema(stream uint32, s *SchemaInfo) error {
	l.meter.schema(stream, s)
	return l.write(&frame.Header{Kind: frame.Schema, Stream: stream, Schema: s.ID}, s.Body)
}

// SendClose ends this side in order.
func (l *Link) SendClose() error { return l.write(&frame.Header{Kind: frame.Close}, nil) }

func (l *Link) writeControl(kind frame.Kind, seq uint64, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return l.write(&frame.Header{Kind: kind, LinkSeq: seq}, body)
}

func (l *Link) write(h *frame.Header, body []byte) error {
	b, err := frame.Append(nil, h, body)
	if err != nil {
		return err
	}
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	return l.t.Send(&linkv1.Frame{Data: b})
}

func (l *Link) acked(upTo uint64) {
	l.mu.Lock()
	l.ackedUpTo = max(l.ackedUpTo, upTo)
	n := 0
	for n < len(l.waiting) && l.waiting[n].seq <= upTo {
		n++
	}
	finished := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	l.mu.Unlock()
	for _, w := range finished {
		w.done(nil)
	}
}

func (l *Link) refused(seq uint64, r *linkv1.Refusal) {
	l.mu.Lock()
	var done func(error)
	for i, w := range l.waiting {
		if w.seq == seq {
			done = w.done
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			break
		}
	}
	l.mu.Unlock()
	if done != nil {
		done(&Refused{Reason: cause.FromProto(r.Cause, codes.FailedPrecondition), Retry: r.Retry})
	}
}

// Refused is the error of a frame that the consumer did not take. errors.Is(err, ErrRefused) holds.
type Refused struct {
	Reason *cause.Error
	// Retry: the same frame may succeed later.
	Retry bool
}

func (r *Refused) Error() string { return ErrRefused.ID() + ": refused: " + r.Reason.Error() }

// Unwrap gives the consumer's reason.
func (r *Refused) Unwrap() error { return r.Reason }

// Is reports that a Refused is an ErrRefused.
func (r *Refused) Is(target error) bool { return target == error(ErrRefused) }

func (l *Link) finish(in *Incoming, err error, retry bool) {
	size := uint64(len(in.Bytes))
	seq := in.LinkSeq
	if seq == 0 {
		return // OPEN
	}
	in.span.End(err)
	if err != nil {
		l.meter.refused(in)
	}
	Free(in.Bytes)
	in.Bytes, in.Body = nil, nil
	l.mu.Lock()
	if err != nil {
		l.refusals = append(l.refusals, refusal{seq, err, retry})
	}
	l.returnBytes += size
	l.returnFrames++
	if seq == l.doneUpTo+1 {
		l.doneUpTo++
		for {
			if _, ok := l.done[l.doneUpTo+1]; !ok {
				break
			}
			l.doneUpTo++
			delete(l.done, l.doneUpTo)
		}
	} else {
		l.done[seq] = struct{}{}
	}
	l.cond.Broadcast()
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// writeAcks sends refusals, acknowledgements and credit as frames finish; what piles up while it writes goes out in one.
func (l *Link) writeAcks(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-l.wake:
		}
		if !l.flushAcks() {
			return
		}
	}
}

// flushAcks sends what has finished since the last time; false if the link is broken.
func (l *Link) flushAcks() bool {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.mu.Lock()
	refusals, upTo, bytes, frames := l.refusals, l.doneUpTo, l.returnBytes, l.returnFrames
	l.refusals, l.returnBytes, l.returnFrames = nil, 0, 0
	ackNeeded := upTo > l.ackSent
	l.ackSent = upTo
	l.mu.Unlock()
	for _, r := range refusals {
		if l.writeControl(frame.Error, r.seq, &linkv1.Refusal{Cause: cause.Proto(r.err), Retry: r.retry}) != nil {
			return false
		}
	}
	if ackNeeded && l.write(&frame.Header{Kind: frame.Ack, LinkSeq: upTo}, nil) != nil {
		return false
	}
	return l.writeControl(frame.Credit, 0, &linkv1.Credit{Bytes: bytes, Frames: frames}) == nil
}
