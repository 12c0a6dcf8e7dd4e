package supervisor

import (
	"sync"
	"time"
)

// lastEventsMost is how long Close waits for the reader of Events to take the last ones.
const lastEventsMost = time.Second

// Event is a start or an end.
type Event struct {
	Kind     EventKind
	Instance *Instance
	// Exit is set where Kind is Ended.
	Exit Exit
	At   time.Time
}

// EventKind tells which.
type EventKind uint8

const (
	// Started: the component can be called.
	Started EventKind = iota + 1
	// Ended: its process is gone.
	Ended
)

// events is a channel that is never full. put does not wait.
type events struct {
	out     chan Event
	abandon chan struct{}
	done    chan struct{}

	mu     sync.Mutex // guards what follows
	more   *sync.Cond
	queue  []Event
	closed bool
	read   bool // somebody reads: an event was taken
}

func newEvents() *events {
	e := &events{out: make(chan Event), abandon: make(chan struct{}), done: make(chan struct{})}
	e.more = sync.NewCond(&e.mu)
	go e.run()
	return e
}

func (e *events) put(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.queue = append(e.queue, event)
	e.more.Signal()
}

func (e *events) run() {
	defer close(e.done)
	defer close(e.out)
	for {
		e.mu.Lock()
		for len(e.queue) == 0 && !e.closed {
			e.more.Wait()
		}
		if len(e.queue) == 0 {
			e.mu.Unlock()
			return
		}
		next := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		select {
		case e.out <- next:
			e.mu.Lock()
			e.read = true
			e.mu.Unlock()
		case <-e.abandon:
			return
		}
	}
}

// close ends the channel. Events that the reader doesn't take within a second are dropped, at once where there is none.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	wait := lastEventsMost
	if !e.read {
		wait = 0
	}
	e.more.Signal()
	e.mu.Unlock()
	late := time.AfterFunc(wait, func() { close(e.abandon) })
	<-e.done
	late.Stop()
}
