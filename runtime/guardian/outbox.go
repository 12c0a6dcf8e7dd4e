package guardian

import (
	"sync"

	"golang.org/x/sys/unix"
)

// outbox sends replies in order without ever making the guardian wait: a kernel that does not read (stopped, say) must not keep it
// from its work. What waits is bounded by what the kernel has asked for.
type outbox struct {
	wire wire
	done chan struct{}

	mu     sync.Mutex // guards queue, closed
	more   *sync.Cond
	queue  []outgoing
	closed bool
}

type outgoing struct {
	reply
	fds []int
}

func newOutbox(w wire) *outbox {
	o := &outbox{wire: w, done: make(chan struct{})}
	o.more = sync.NewCond(&o.mu)
	go o.run()
	return o
}

// put queues a reply. The descriptors stay the caller's; copies are sent.
func (o *outbox) put(r reply, fds ...int) {
	out := outgoing{reply: r}
	for _, fd := range fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			out.Error, out.Errno = err.Error(), 0
			break
		}
		out.fds = append(out.fds, copied)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		closeAll(out.fds)
		return
	}
	o.queue = append(o.queue, out)
	o.more.Signal()
}

func (o *outbox) run() {
	defer close(o.done)
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.more.Wait()
		}
		if o.closed {
			for _, out := range o.queue {
				closeAll(out.fds)
			}
			o.mu.Unlock()
			return
		}
		out := o.queue[0]
		o.queue = o.queue[1:]
		o.mu.Unlock()
		// An error means that the kernel is gone, which is seen elsewhere.
		_ = o.wire.send(out.reply, out.fds...)
		closeAll(out.fds)
	}
}

// close drops what is queued and waits for the sender. The wire must be closed before.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.more.Signal()
	o.mu.Unlock()
	<-o.done
}
