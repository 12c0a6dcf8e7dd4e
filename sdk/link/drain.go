package link

import (
	"context"
	"io"
)

type drainKey struct{}

// WithDrain makes links over a transport with this context end in order when drain is closed: frames that were taken are finished and
// acknowledged, later ones are left to their producer, which sends them again on its next link.
func WithDrain(ctx context.Context, drain <-chan struct{}) context.Context {
	return context.WithValue(ctx, drainKey{}, drain)
}

// Draining is what WithDrain gave; nil if nothing did.
func Draining(ctx context.Context) <-chan struct{} {
	drain, _ := ctx.Value(drainKey{}).(<-chan struct{})
	return drain
}

// readOrDrain reads until the link ends or is told to.
func (l *Link) readOrDrain(handle func(*Incoming) error) error {
	drain := Draining(l.t.Context())
	if drain == nil {
		return l.read(handle)
	}
	ended := make(chan error, 1)
	// It ends with the transport, which ends when Run has returned: a server's stream is not readable beyond its handler.
	go func() { ended <- l.read(handle) }()
	select {
	case err := <-ended:
		return err
	case <-drain:
	}
	l.leave()
	return io.EOF
}

// taking gives a frame to handle, unless the link is being left.
func (l *Link) taking(b []byte, handle func(*Incoming) error) error {
	l.handling.Lock()
	defer l.handling.Unlock()
	if l.left {
		Free(b)
		return io.EOF
	}
	return l.receive(b, handle)
}

// leave takes no more frames, waits until those taken are finished, and sends their acknowledgements. The end of the transport ends the
// wait.
func (l *Link) leave() {
	l.handling.Lock()
	l.left = true
	l.handling.Unlock()
	stop := context.AfterFunc(l.t.Context(), func() {
		l.mu.Lock()
		l.cond.Broadcast()
		l.mu.Unlock()
	})
	defer stop()
	l.mu.Lock()
	for l.doneUpTo < l.taken && l.err == nil && l.t.Context().Err() == nil {
		l.cond.Wait()
	}
	l.mu.Unlock()
	l.flushAcks()
}
