package gateway

import (
	"container/list"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Failed sign-ins that are let through. The one per address and user stops a guesser and a program with an old password;
// the one per address stops somebody who tries many users. A sign-in that succeeds costs nothing.
const (
	userFailures    = 10
	userRefill      = 10 * time.Second
	addressFailures = 50
	addressRefill   = time.Second
	// throttleSize bounds what is remembered; the least recently used are forgotten.
	throttleSize = 20_000
)

// throttle counts failed sign-ins. It is safe for concurrent use.
type throttle struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	order  *list.List // of *bucket, most recently used first
	bucket map[string]*list.Element
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, order: list.New(), bucket: map[string]*list.Element{}}
}

// wait says how long this address must wait before it may try this user; 0 is not at all.
func (t *throttle) wait(address, user string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	var wait time.Duration
	for _, key := range keys(address, user) {
		e := t.bucket[key]
		if e == nil {
			continue
		}
		l := e.Value.(*bucket).limiter
		if have := l.TokensAt(now); have < 1 {
			wait = max(wait, time.Duration((1-have)/float64(l.Limit())*float64(time.Second)))
		}
	}
	return wait
}

// failed counts one failure.
func (t *throttle) failed(address, user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for i, key := range keys(address, user) {
		e := t.bucket[key]
		if e == nil {
			l := rate.NewLimiter(rate.Every(userRefill), userFailures)
			if i == 1 {
				l = rate.NewLimiter(rate.Every(addressRefill), addressFailures)
			}
			e = t.order.PushFront(&bucket{key: key, limiter: l})
			t.bucket[key] = e
		}
		t.order.MoveToFront(e)
		e.Value.(*bucket).limiter.AllowN(now, 1)
	}
	for t.order.Len() > throttleSize {
		last := t.order.Back()
		t.order.Remove(last)
		delete(t.bucket, last.Value.(*bucket).key)
	}
}

// keys are the user's bucket and the address's. An IPv6 address counts with its /64, which is one customer.
func keys(address, user string) []string {
	if a, err := netip.ParseAddr(address); err == nil {
		a = a.Unmap()
		if a.Is6() {
			if p, err := a.WithZone("").Prefix(64); err == nil {
				address = p.String()
			}
		} else {
			address = a.String()
		}
	}
	return []string{address + "\x00" + strings.ToLower(user), address}
}
