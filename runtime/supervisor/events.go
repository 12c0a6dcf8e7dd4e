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

	mu     sync.Mutex // guards queue, closed
	more   *sync.Cond
	queue  []Event
	closed bool
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
		case <-e.abandon:
			return
		}
	}
}

// close ends the channel. Events that nobody takes within a second are dropped.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	e.more.Signal()
	e.mu.Unlock()
	late := time.AfterFunc(lastEventsMost, func() { close(e.abandon) })
	<-e.done
	late.Stop()
}
