package service

import (
	"context"
	"sync"
	"time"
)

// How long a drain waits for streaming calls before exclusive resources are let go. A dialogue is a link, which ends by itself, or a
// request over HTTP. An answer may be a snapshot, which goes on beside the successor until the process ends. Streams without an end of
// their own end at link.Draining.
const (
	dialoguePatience = 3 * time.Second
	answerPatience   = 200 * time.Millisecond
)

// calls counts what is under way on a service socket.
type calls struct {
	// mu guards all below; changed is closed and renewed when a call ends.
	mu sync.Mutex
	// unary calls, dialogues (both sides send), answers (only the server does).
	unary, dialogues, answers int
	drain                     chan struct{} // closed while links are to end
	changed                   chan struct{}
}

// begin counts a call of one kind; the function that it gives ends it.
func (c *calls) begin(kind *int) (end func()) {
	c.mu.Lock()
	*kind++
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		*kind--
		if c.changed != nil {
			close(c.changed)
			c.changed = nil
		}
	}
}

// draining is closed when links are to end in order.
func (c *calls) draining() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drain == nil {
		c.drain = make(chan struct{})
	}
	return c.drain
}

// wait waits until nothing is left, as counted under mu.
func (c *calls) wait(ctx context.Context, left func() int) bool {
	for {
		c.mu.Lock()
		done := left() == 0
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Drain makes links end in order, so that their producers keep what is not acknowledged, and waits for unary calls until ctx ends and
// for streaming ones a little. It answers whether nothing is left. New calls are served all the same: the kernel has told consumers
// before.
func (s *Server) Drain(ctx context.Context) bool {
	c := &s.calls
	c.draining()
	c.mu.Lock()
	select {
	case <-c.drain:
	default:
		close(c.drain)
	}
	c.mu.Unlock()
	if !c.wait(ctx, func() int { return c.unary }) {
		return false
	}
	dialogues, cancel := context.WithTimeout(ctx, dialoguePatience)
	defer cancel()
	c.wait(dialogues, func() int { return c.dialogues })
	ctx, cancel = context.WithTimeout(ctx, answerPatience)
	defer cancel()
	return s.Quiet(ctx)
}

// Quiet waits until no call is under way, or until ctx ends.
func (s *Server) Quiet(ctx context.Context) bool {
	return s.calls.wait(ctx, func() int { return s.calls.unary + s.calls.dialogues + s.calls.answers })
}

// Resume lets links begin again after a Drain.
func (s *Server) Resume() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	s.calls.drain = nil
}
