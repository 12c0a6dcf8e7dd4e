// Package clustertest is the contract of a cluster.Coordinator as tests: every implementation passes the same suite. It
// must not know any implementation.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/cluster"
)

// Backend is one cluster under test.
type Backend interface {
	// Open joins the cluster; the test closes what it opens.
	Open(t *testing.T) Node
}

// Node is an open coordinator.
type Node interface {
	cluster.Coordinator
	Close() error
}

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Run checks a new, empty backend per case.
func Run(t *testing.T, fresh func(t *testing.T) Backend) {
	cases := []struct {
		name string
		test func(t *testing.T, b Backend)
	}{
		{"an absent key is no error", absentKey},
		{"version 0 creates only", createOnly},
		{"one of sixteen racers wins", oneWinner},
		{"versions grow and are never used again", versionsGrow},
		{"the same bytes change nothing and wake nobody", sameBytes},
		{"limits are refused", limits},
		{"values are not shared", notShared},
		{"a cancelled caller changes nothing", cancelledCaller},
		{"a lease is exclusive and renewed by its holder", leaseExclusive},
		{"a lease ends by itself and its token is outgrown", leaseExpires},
		{"release gives the lease to the next with a larger token", leaseRelease},
		{"a release under an old token changes nothing", staleRelease},
		{"a lease taken again by the same holder has a larger token", leaseAgain},
		{"thirty campaigners, one at a time, tokens in order", campaign},
		{"a watch begins with the present value", watchFirst},
		{"a watch sees creation, change and deletion", watchChanges},
		{"a watch sees its own key only", watchOthers},
		{"a slow watcher gets the latest", watchSlow},
		{"a watch ends with its context", watchEnds},
		{"close ends watches and refuses work", closeEnds},
		{"self is a member and there is one leader", members},
		{"values, versions and tokens outlive the coordinator", persistence},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

func open(t *testing.T, b Backend) Node {
	t.Helper()
	n := b.Open(t)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return c
}

func set(t *testing.T, n Node, key, value string, ifVersion uint64) uint64 {
	t.Helper()
	v, err := n.Set(ctx(t), key, []byte(value), ifVersion)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func acquire(t *testing.T, n Node, name, holder string, ttl time.Duration) cluster.Lease {
	t.Helper()
	l, err := n.Acquire(ctx(t), name, holder, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func next(t *testing.T, ch <-chan cluster.Value) cluster.Value {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("the watch has ended")
		}
		return v
	case <-time.After(patience):
		t.Fatal("the watch says nothing")
	}
	return cluster.Value{}
}

func absentKey(t *testing.T, b Backend) {
	n := open(t, b)
	v, err := n.Get(ctx(t), "k")
	if err != nil || v.Found || v.Version != 0 || v.Bytes != nil {
		t.Errorf("%+v, %v", v, err)
	}
	if err := n.Delete(ctx(t), "k", 0); err != nil {
		t.Errorf("delete of an absent key: %v", err)
	}
	if err := n.Delete(ctx(t), "k", 7); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("delete of an absent key at version 7: %v", err)
	}
}

func createOnly(t *testing.T, b Backend) {
	n := open(t, b)
	v := set(t, n, "k", "1", 0)
	if _, err := n.Set(ctx(t), "k", []byte("2"), 0); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := n.Set(ctx(t), "k", []byte("2"), v+1); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("set at a version that is not: %v", err)
	}
	if got, _ := n.Get(ctx(t), "k"); string(got.Bytes) != "1" || got.Version != v {
		t.Errorf("%+v", got)
	}
}

func oneWinner(t *testing.T, b Backend) {
	n := open(t, b)
	v := set(t, n, "k", "start", 0)
	var wins atomic.Int32
	var wg sync.WaitGroup
	c := ctx(t)
	for i := range 16 {
		wg.Go(func() {
			_, err := n.Set(c, "k", fmt.Append(nil, i), v)
			switch {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, cluster.ErrConflict):
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d winners", wins.Load())
	}
}

func versionsGrow(t *testing.T, b Backend) {
	n := open(t, b)
	var last uint64
	for i := range 5 {
		v := set(t, n, "k", fmt.Sprint(i), 0)
		w := set(t, n, "k", fmt.Sprint(i, "again"), v)
		if v <= last || w <= v {
			t.Errorf("versions %d, %d after %d", v, w, last)
		}
		last = w
		if err := n.Delete(ctx(t), "k", w); err != nil {
			t.Fatal(err)
		}
		if got, _ := n.Get(ctx(t), "k"); got.Found || got.Version != 0 {
			t.Errorf("after deletion: %+v", got)
		}
	}
}

func sameBytes(t *testing.T, b Backend) {
	n := open(t, b)
	v := set(t, n, "k", "1", 0)
	watch, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	next(t, watch)
	if again := set(t, n, "k", "1", v); again != v {
		t.Errorf("version %d became %d", v, again)
	}
	w := set(t, n, "k", "2", v)
	if got := next(t, watch); got.Version != w {
		t.Errorf("woken with %+v, want version %d", got, w)
	}
}

func limits(t *testing.T, b Backend) {
	n := open(t, b)
	long := string(bytes.Repeat([]byte("k"), cluster.MaxKey+1))
	c := ctx(t)
	_, e1 := n.Set(c, "", nil, 0)
	_, e2 := n.Set(c, long, nil, 0)
	_, e3 := n.Set(c, "k", make([]byte, cluster.MaxValue+1), 0)
	_, e4 := n.Get(c, "")
	_, e5 := n.Watch(c, long)
	_, e6 := n.Acquire(c, "", "h", time.Second)
	_, e7 := n.Acquire(c, "l", long, time.Second)
	_, e8 := n.Acquire(c, "l", "h", cluster.MinTTL-1)
	_, e9 := n.Acquire(c, "l", "h", cluster.MaxTTL+1)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8, e9, n.Delete(c, "", 0), n.Release(c, "", "h", 0)} {
		if !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("case %d: %v", i+1, err)
		}
	}
	large := bytes.Repeat([]byte{7}, cluster.MaxValue)
	if _, err := n.Set(c, "large", large, 0); err != nil {
		t.Error(err)
	}
	if got, err := n.Get(c, "large"); err != nil || !bytes.Equal(got.Bytes, large) {
		t.Errorf("the largest value came back with %d bytes, %v", len(got.Bytes), err)
	}
}

func notShared(t *testing.T, b Backend) {
	n := open(t, b)
	mine := []byte("abc")
	if _, err := n.Set(ctx(t), "k", mine, 0); err != nil {
		t.Fatal(err)
	}
	mine[0] = 'x'
	got, _ := n.Get(ctx(t), "k")
	got.Bytes[1] = 'y'
	if again, _ := n.Get(ctx(t), "k"); string(again.Bytes) != "abc" {
		t.Errorf("%q", again.Bytes)
	}
}

func cancelledCaller(t *testing.T, b Backend) {
	n := open(t, b)
	c, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Set(c, "k", []byte("1"), 0); err == nil {
		t.Error("a cancelled Set succeeded")
	}
	if _, err := n.Acquire(c, "l", "h", time.Second); err == nil {
		t.Error("a cancelled Acquire succeeded")
	}
	if v, _ := n.Get(ctx(t), "k"); v.Found {
		t.Errorf("%+v", v)
	}
	if l := acquire(t, n, "l", "other", time.Second); !l.Granted {
		t.Errorf("%+v", l)
	}
}

func leaseExclusive(t *testing.T, b Backend) {
	n := open(t, b)
	before := time.Now()
	a := acquire(t, n, "l", "a", time.Minute)
	if !a.Granted || a.Token == 0 || a.Holder != "a" || a.Expires.Before(before.Add(50*time.Second)) {
		t.Errorf("%+v", a)
	}
	other := acquire(t, n, "l", "b", time.Minute)
	if other.Granted || other.Holder != "a" {
		t.Errorf("%+v", other)
	}
	renewed := acquire(t, n, "l", "a", 2*time.Minute)
	if !renewed.Granted || renewed.Token != a.Token || !renewed.Expires.After(a.Expires) {
		t.Errorf("%+v after %+v", renewed, a)
	}
	if free := acquire(t, n, "another", "b", time.Minute); !free.Granted {
		t.Errorf("%+v", free)
	}
}

// granted asks until the lease is had.
func granted(t *testing.T, n Node, name, holder string, ttl time.Duration) cluster.Lease {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		if l := acquire(t, n, name, holder, ttl); l.Granted {
			return l
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s did not get the lease %s", holder, name)
		}
	}
}

func leaseExpires(t *testing.T, b Backend) {
	n := open(t, b)
	a := acquire(t, n, "l", "a", cluster.MinTTL)
	next := granted(t, n, "l", "b", time.Minute)
	if next.Token <= a.Token {
		t.Errorf("token %d after %d", next.Token, a.Token)
	}
	if time.Now().Before(a.Expires) {
		t.Error("given to another before it ended")
	}
	if late := acquire(t, n, "l", "a", time.Minute); late.Granted || late.Holder != "b" {
		t.Errorf("the late holder: %+v", late)
	}
}

func leaseRelease(t *testing.T, b Backend) {
	n := open(t, b)
	a := acquire(t, n, "l", "a", time.Minute)
	for range 2 {
		if err := n.Release(ctx(t), "l", "a", a.Token); err != nil {
			t.Error(err)
		}
	}
	if next := acquire(t, n, "l", "b", time.Minute); !next.Granted || next.Token <= a.Token {
		t.Errorf("%+v after %+v", next, a)
	}
}

func staleRelease(t *testing.T, b Backend) {
	n := open(t, b)
	a := acquire(t, n, "l", "a", time.Minute)
	for _, r := range []struct {
		holder string
		token  uint64
	}{{"a", a.Token - 1}, {"a", a.Token + 1}, {"b", a.Token}} {
		if err := n.Release(ctx(t), "l", r.holder, r.token); err != nil {
			t.Error(err)
		}
	}
	if l := acquire(t, n, "l", "b", time.Minute); l.Granted {
		t.Errorf("%+v", l)
	}
}

func leaseAgain(t *testing.T, b Backend) {
	n := open(t, b)
	a := acquire(t, n, "l", "a", time.Minute)
	if err := n.Release(ctx(t), "l", "a", a.Token); err != nil {
		t.Fatal(err)
	}
	if again := acquire(t, n, "l", "a", time.Minute); !again.Granted || again.Token <= a.Token {
		t.Errorf("%+v after %+v", again, a)
	}
}

func campaign(t *testing.T, b Backend) {
	n := open(t, b)
	var inside atomic.Int32
	var mu sync.Mutex
	var tokens []uint64
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			holder := fmt.Sprint("holder ", i)
			for {
				l, err := n.Acquire(t.Context(), "l", holder, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				if !l.Granted {
					continue
				}
				if inside.Add(1) != 1 {
					t.Error("two holders at once")
				}
				mu.Lock()
				tokens = append(tokens, l.Token)
				mu.Unlock()
				inside.Add(-1)
				if err := n.Release(t.Context(), "l", holder, l.Token); err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	for i := 1; i < len(tokens); i++ {
		if tokens[i] <= tokens[i-1] {
			t.Fatalf("tokens %v", tokens)
		}
	}
	if len(tokens) != 30 {
		t.Errorf("%d holders", len(tokens))
	}
}

func watchFirst(t *testing.T, b Backend) {
	n := open(t, b)
	empty, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	if v := next(t, empty); v.Found {
		t.Errorf("%+v", v)
	}
	version := set(t, n, "k", "1", 0)
	full, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	if v := next(t, full); !v.Found || string(v.Bytes) != "1" || v.Version != version {
		t.Errorf("%+v", v)
	}
}

func watchChanges(t *testing.T, b Backend) {
	n := open(t, b)
	w, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	next(t, w)
	v := set(t, n, "k", "1", 0)
	if got := next(t, w); string(got.Bytes) != "1" || got.Version != v {
		t.Errorf("%+v", got)
	}
	v = set(t, n, "k", "2", v)
	if got := next(t, w); string(got.Bytes) != "2" {
		t.Errorf("%+v", got)
	}
	if err := n.Delete(ctx(t), "k", v); err != nil {
		t.Fatal(err)
	}
	if got := next(t, w); got.Found || got.Version != 0 {
		t.Errorf("%+v", got)
	}
}

func watchOthers(t *testing.T, b Backend) {
	n := open(t, b)
	w, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	next(t, w)
	set(t, n, "k2", "other", 0)
	set(t, n, "kk", "other", 0)
	set(t, n, "k", "mine", 0)
	if got := next(t, w); string(got.Bytes) != "mine" {
		t.Errorf("%+v", got)
	}
}

func watchSlow(t *testing.T, b Backend) {
	n := open(t, b)
	w, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	var v uint64
	for i := range 50 {
		v = set(t, n, "k", fmt.Sprint(i), v)
	}
	for got := next(t, w); got.Version != v; got = next(t, w) {
		if got.Version > v {
			t.Fatalf("%+v, the last is %d", got, v)
		}
	}
}

func watchEnds(t *testing.T, b Backend) {
	n := open(t, b)
	c, cancel := context.WithCancel(t.Context())
	w, err := n.Watch(c, "k")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	drained(t, w)
}

// drained waits for a watch to end.
func drained(t *testing.T, w <-chan cluster.Value) {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case _, ok := <-w:
			if !ok {
				return
			}
		case <-end:
			t.Fatal("the watch does not end")
		}
	}
}

func closeEnds(t *testing.T, b Backend) {
	n := b.Open(t)
	w, err := n.Watch(ctx(t), "k")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	drained(t, w)
	if _, err := n.Get(ctx(t), "k"); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := n.Acquire(ctx(t), "l", "h", time.Second); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func members(t *testing.T, b Backend) {
	n := open(t, b)
	list, err := n.Members(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	self, leaders := 0, 0
	for _, m := range list {
		if m.NodeID == "" {
			t.Errorf("%+v", m)
		}
		if m.Self {
			self++
		}
		if m.Leader {
			leaders++
		}
	}
	if self != 1 || leaders != 1 {
		t.Errorf("%+v", list)
	}
}

func persistence(t *testing.T, b Backend) {
	var version, token uint64
	for i := range 4 {
		n := b.Open(t)
		got, err := n.Get(ctx(t), "k")
		if err != nil || got.Version != version || (i > 0 && string(got.Bytes) != fmt.Sprint(i-1)) {
			t.Errorf("round %d: %+v, %v", i, got, err)
		}
		v := set(t, n, "k", fmt.Sprint(i), version)
		l := granted(t, n, "l", fmt.Sprint("holder ", i), cluster.MinTTL)
		if v <= version || l.Token <= token {
			t.Errorf("round %d: version %d after %d, token %d after %d", i, v, version, l.Token, token)
		}
		version, token = v, l.Token
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
