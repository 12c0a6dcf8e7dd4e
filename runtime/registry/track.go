package registry

import (
	"context"
	"slices"
	"sync"

	"carbonado.dev/carbonado/runtime/few"
)

// EventKind says what happened to a tracked service.
type EventKind uint8

const (
	// Added: it came, or began to match.
	Added EventKind = iota + 1
	// Modified: its properties, its ranking, its suspension or its generation changed.
	Modified
	// Removed: it went for good, or ceased to match.
	Removed
)

func (k EventKind) String() string {
	switch k {
	case Added:
		return "added"
	case Modified:
		return "modified"
	case Removed:
		return "removed"
	}
	return "unknown"
}

// Event is one change as a tracker sees it. Several changes of one service that come while the tracker is busy are one
// event: what counts is what is. Service is its latest, on Removed its last, form.
type Event struct {
	Kind    EventKind
	Service Service
}

// Tracking follows the services that a query means. The tracker is called by one goroutine at a time, which the tracking owns and which
// lives while there is news: first with Added for each service present, the best first, then with each change, in order, without a gap and
// without a duplicate. It may call the registry, but not Close or Sync of its own tracking.
type Tracking struct {
	registry *Registry
	query    Query
	tracker  func(Event)

	mu   sync.Mutex // guards what follows; taken after Registry.mu where both are
	idle sync.Cond  // told when the goroutine has ended
	// told is what the tracker knows: the services it was given and not told to forget.
	told few.Map[uint64, *Service]
	// waiting is the latest form of services with news; order is the order of their first news.
	waiting few.Map[uint64, news]
	order   []uint64
	running bool // somebody tells, as a rule a goroutine of its own
	held    bool // nobody tells yet
	closed  bool
}

// news is the latest form of a service, which nobody changes any more.
type news struct {
	service *Service
	gone    bool
}

// change is one change of a service, as it was and as it is; nil is not there. Its copy of either is made for the first who wants one.
type change struct{ old, now, copy *Service }

// news is the service as it stays readable.
func (c *change) news() *Service {
	if c.copy == nil {
		last := c.now
		if last == nil {
			last = c.old
		}
		s := last.copy()
		c.copy = &s
	}
	return c.copy
}

// Track starts to follow the services that q means. Close it.
func (r *Registry) Track(q Query, tracker func(Event)) *Tracking {
	t := r.Hold(q, tracker)
	t.Go()
	return t
}

// Hold is Track, but the tracker is not called before Go or Sync. Close it.
func (r *Registry) Hold(q Query, tracker func(Event)) *Tracking {
	t := &Tracking{registry: r, query: q, tracker: tracker, held: true}
	t.idle.L = &t.mu
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.find(q)
	for i := range found {
		t.put(&found[i], false)
	}
	for key := range t.query.Keys() {
		in := r.trackings[key]
		in.Set(t, struct{}{})
		r.trackings[key] = in
	}
	return t
}

// tell puts a change before t if it concerns it.
func (t *Tracking) tell(c *change) {
	is := c.now != nil && t.query.Matches(*c.now)
	if is || c.old != nil && t.query.Matches(*c.old) {
		t.put(c.news(), !is)
	}
}

func (t *Tracking) put(s *Service, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.waiting.Get(s.ID); !ok {
		t.order = append(t.order, s.ID)
	}
	t.waiting.Set(s.ID, news{s, gone})
	if !t.held {
		t.wake()
	}
}

// wake has a goroutine tell the news, where there is any. Called under mu.
func (t *Tracking) wake() {
	if len(t.order) > 0 && !t.running && !t.closed {
		t.running = true
		go func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.run()
		}()
	}
}

// Go ends Hold.
func (t *Tracking) Go() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = false
	t.wake()
}

// run tells the tracker all news. Called under mu, which it lets go of meanwhile.
func (t *Tracking) run() {
	for len(t.order) > 0 && !t.closed {
		if ev, ok := t.take(); ok {
			t.mu.Unlock()
			t.tracker(ev)
			t.mu.Lock()
		}
	}
	t.running = false
	t.idle.Broadcast()
}

// take turns the oldest news into an event; false if the tracker need not know. Called under mu.
func (t *Tracking) take() (Event, bool) {
	id := t.order[0]
	t.order = t.order[1:]
	n, _ := t.waiting.Get(id)
	t.waiting.Delete(id)
	_, known := t.told.Get(id)
	switch {
	case n.gone && known:
		t.told.Delete(id)
		return Event{Removed, *n.service}, true
	case n.gone:
		return Event{}, false
	case known:
		t.told.Set(id, n.service)
		return Event{Modified, *n.service}, true
	}
	t.told.Set(id, n.service)
	return Event{Added, *n.service}, true
}

// Services lists what the tracker has been told of, the best first.
func (t *Tracking) Services() []Service {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Service, 0, t.told.Len())
	for _, s := range t.told.All() {
		out = append(out, *s)
	}
	slices.SortFunc(out, Better)
	return out
}

// Sync waits until the tracker has handled every change made before the call, or until ctx ends. It ends Hold, and then calls the tracker
// itself: who waits anyway need not wait for a goroutine.
func (t *Tracking) Sync(ctx context.Context) error {
	t.mu.Lock()
	if t.held {
		t.held, t.running = false, true
		t.run()
	}
	t.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.idle.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.running && !t.closed {
		if err := ctx.Err(); err != nil {
			return err
		}
		t.idle.Wait()
	}
	return nil
}

// Close ends the tracking and waits for a call of the tracker that is under way. No call comes after it. Closing twice is
// no error.
func (t *Tracking) Close() {
	t.registry.mu.Lock()
	for key := range t.query.Keys() {
		in := t.registry.trackings[key]
		if in.Delete(t); in.Len() > 0 {
			t.registry.trackings[key] = in
		} else {
			delete(t.registry.trackings, key)
		}
	}
	t.registry.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.idle.Broadcast()
	for t.running {
		t.idle.Wait()
	}
}

// Await waits until at least count services that q means are there and not suspended, and gives them, the best first. When
// ctx ends it gives those that are there and ctx's error.
func (r *Registry) Await(ctx context.Context, q Query, count int) ([]Service, error) {
	changed := make(chan struct{}, 1)
	t := r.Track(q, func(Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer t.Close()
	for {
		have := slices.DeleteFunc(r.Find(q), func(s Service) bool { return s.Suspended })
		if len(have) >= count {
			return have, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return have, ctx.Err()
		}
	}
}
