// Package throttle slows down who fails again and again to sign in. It must not know what an attempt is or how it is checked.
package throttle

import (
	"container/list"
	"sync"
	"time"
)

// Limits of one key. A key is what is counted together, for example a user at an address.
type Limits struct {
	// Free failures before the first delay.
	Free int
	// First delay; every further failure doubles it up to Max.
	First, Max time.Duration
	// Forget is how long after the last failure a key starts anew.
	Forget time.Duration
	// Keys is how many are remembered; beyond it the one that failed longest ago is forgotten.
	Keys int
}

// Throttle counts failures per key. It is safe for concurrent use.
type Throttle struct {
	limits Limits
	now    func() time.Time

	// mu guards keys and order.
	mu    sync.Mutex
	keys  map[string]*list.Element
	order *list.List // of *entry, the latest failure first
}

type entry struct {
	key      string
	failures int
	last     time.Time
	until    time.Time
}

// New makes a throttle with a clock; time.Now is one.
func New(limits Limits, now func() time.Time) *Throttle {
	return &Throttle{limits: limits, now: now, keys: make(map[string]*list.Element), order: list.New()}
}

// Wait is how long the key must not try again; zero means it may try now.
func (t *Throttle) Wait(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	element := t.keys[key]
	if element == nil {
		return 0
	}
	return max(0, element.Value.(*entry).until.Sub(t.now()))
}

// Failed counts a failure of the key.
func (t *Throttle) Failed(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	element := t.keys[key]
	if element == nil {
		element = t.order.PushFront(&entry{key: key})
		t.keys[key] = element
		if t.order.Len() > t.limits.Keys {
			t.forget(t.order.Back())
		}
	}
	t.order.MoveToFront(element)
	e := element.Value.(*entry)
	if now.Sub(e.last) > t.limits.Forget {
		e.failures = 0
	}
	e.failures++
	e.last = now
	if over := e.failures - t.limits.Free; over > 0 {
		delay := t.limits.Max
		if over < 32 && t.limits.First<<(over-1) < t.limits.Max {
			delay = t.limits.First << (over - 1)
		}
		e.until = now.Add(delay)
	}
}

// Succeeded forgets the key's failures.
func (t *Throttle) Succeeded(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if element := t.keys[key]; element != nil {
		t.forget(element)
	}
}

func (t *Throttle) forget(element *list.Element) {
	delete(t.keys, element.Value.(*entry).key)
	t.order.Remove(element)
}
