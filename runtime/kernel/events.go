package kernel

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
)

// eventBuffer is how many events a slow reader may be behind before it loses some.
const eventBuffer = 256

// events passes what happens to those who read GET /api/events.
type events struct {
	// mu guards the fields below.
	mu      sync.Mutex
	seq     uint64
	readers map[chan admin.Event]bool // true: it lost something
}

func newEvents() *events { return &events{readers: map[chan admin.Event]bool{}} }

func (e *events) subscribe(ctx context.Context) <-chan admin.Event {
	ch := make(chan admin.Event, eventBuffer)
	e.mu.Lock()
	e.readers[ch] = false
	e.mu.Unlock()
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.readers, ch)
		close(ch)
	})
	return ch
}

func (e *events) send(ev admin.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	ev.Seq, ev.Time = e.seq, time.Now().UTC()
	for ch, lost := range e.readers {
		if lost && len(ch) < cap(ch)-1 {
			ch <- admin.Event{Seq: e.seq, Time: ev.Time, Kind: "lost", Text: "some events were left out: read the present state again"}
			e.readers[ch] = false
		}
		select {
		case ch <- ev:
		default:
			e.readers[ch] = true
		}
	}
}

func (e *events) reconcile(ev reconcile.Event) {
	switch {
	case ev.Level != nil:
		e.send(admin.Event{Kind: "level", State: strconv.Itoa(ev.Level.To), Text: fmt.Sprintf("STARTLEVEL_CHANGED: %d -> %d, by %s", ev.Level.From, ev.Level.To, ev.Actor)})
	case ev.Replaced != nil:
		switch r := ev.Replaced; {
		case r.Outcome == reconcile.Modified, r.Outcome == reconcile.NotTaken:
			e.send(admin.Event{Kind: "configuration", Component: ev.Component, State: string(r.Outcome), Cause: printed(ev.Cause),
				Text: fmt.Sprintf("%s: configuration %s", ev.Component, r.Outcome)})
		case r.Update():
			e.send(admin.Event{Kind: "update", Component: ev.Component, State: string(r.Outcome), Cause: printed(ev.Cause),
				Text: fmt.Sprintf("%s: %s -> %s: %s", ev.Component, r.From, r.To, r.Outcome)})
		}
	case ev.Transition != nil:
		t := transition(*ev.Transition)
		e.send(admin.Event{Kind: "transition", Component: ev.Component, Transition: &t, State: t.To, Cause: printed(ev.Cause),
			Text: fmt.Sprintf("%s: %s -> %s (%s)", ev.Component, t.From, t.To, t.Reason)})
	case ev.Service != nil:
		s := ev.Service.Service
		what := ev.Service.Kind.String()
		if ev.Service.Kind == registry.Modified && s.Suspended {
			what = "suspended"
		}
		e.send(admin.Event{Kind: "service", Component: ev.Component, Text: fmt.Sprintf("%s of %s: %s", s.Service, s.Provider, what)})
	case ev.Health != 0:
		e.send(admin.Event{Kind: "health", Component: ev.Component, Health: ev.Health.String(), Cause: printed(ev.Cause), Text: fmt.Sprintf("%s: health %s", ev.Component, ev.Health)})
	}
}

func (e *events) artifact(a deploy.Artifact) {
	e.send(admin.Event{Kind: "artifact", Component: a.Owner, Text: fmt.Sprintf("%s is %s", a.Path, a.State), Cause: admin.CauseOf(a.Cause)})
}

// deployment is a deploy.Listener.
func (e *events) deployment(_ context.Context, l deploy.Lifecycle) error {
	text := fmt.Sprintf("%s %s of %s", l.Phase, l.Operation, l.Path)
	if l.Result != "" {
		text += fmt.Sprintf(": %s", l.Result)
	}
	e.send(admin.Event{Kind: "deployment", Component: l.Owner, Text: text, Cause: admin.CauseOf(l.Cause), Deployment: &admin.ArtifactOperation{
		Phase: string(l.Phase), Operation: string(l.Operation), Path: l.Path, Type: l.Type, Digest: l.Digest, Transaction: l.Transaction, Result: string(l.Result), Trace: l.Trace,
	}})
	return nil
}

func (e *events) status(state string) {
	e.send(admin.Event{Kind: "status", Text: "the server is " + state, State: state})
}

func transition(t component.Transition) admin.Transition {
	return admin.Transition{Seq: t.Seq, Time: t.Time.UTC(), From: t.From.String(), To: t.To.String(), Reason: t.Reason, Actor: t.Actor, Generation: t.Generation, Beside: t.Beside}
}

func printed(c *component.Cause) *admin.Cause { return admin.CauseOf(c.Proto()) }
