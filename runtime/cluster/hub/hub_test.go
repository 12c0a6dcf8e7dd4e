package hub_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/clustertest"
	"carbonado.dev/carbonado/runtime/cluster/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type backend struct{ *hub.Hub }

func (b backend) Open(*testing.T) clustertest.Node { return b.Join("node-2", "127.0.0.1:9443") }

func TestContract(t *testing.T) {
	clustertest.Run(t, func(*testing.T) clustertest.Backend {
		h := hub.New()
		h.Join("node-1", "127.0.0.1:9444")
		h.Join("node-3", "127.0.0.1:9445")
		return backend{h}
	})
}

func next(t *testing.T, w <-chan cluster.Value) cluster.Value {
	t.Helper()
	select {
	case v := <-w:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("the watch says nothing")
	}
	return cluster.Value{}
}

func silent(t *testing.T, w <-chan cluster.Value) {
	t.Helper()
	select {
	case v := <-w:
		t.Errorf("the watch says %+v", v)
	default:
	}
}

func ids(t *testing.T, m *hub.Member) (list []string, leader string) {
	t.Helper()
	all, err := m.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		list = append(list, x.NodeID)
		if x.Leader {
			leader = x.NodeID
		}
	}
	return list, leader
}

func TestMembersAgree(t *testing.T) {
	h := hub.New()
	a, b := h.Join("a", "a:1"), h.Join("b", "b:1")
	ctx := t.Context()
	w, err := b.Watch(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	next(t, w)
	v, err := a.Set(ctx, "k", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, w); string(got.Bytes) != "1" || got.Version != v {
		t.Errorf("%+v", got)
	}
	if l, err := a.Acquire(ctx, "l", "a", time.Minute); err != nil || !l.Granted {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := b.Acquire(ctx, "l", "b", time.Minute); err != nil || l.Granted || l.Holder != "a" {
		t.Errorf("%+v, %v", l, err)
	}
	if list, leader := ids(t, b); len(list) != 2 || leader != "a" {
		t.Errorf("%v, %s leads", list, leader)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if list, leader := ids(t, b); len(list) != 1 || leader != "b" {
		t.Errorf("%v, %s leads", list, leader)
	}
}

func TestCutOff(t *testing.T) {
	h := hub.New()
	a, b := h.Join("a", "a:1"), h.Join("b", "b:1")
	ctx := t.Context()
	w, err := a.Watch(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	next(t, w)
	a.Cut()
	calls := func() []error {
		_, e1 := a.Get(ctx, "k")
		_, e2 := a.Set(ctx, "mine", []byte("1"), 0)
		_, e3 := a.Acquire(ctx, "l", "a", time.Minute)
		_, e4 := a.Members(ctx)
		_, e5 := a.Watch(ctx, "k")
		return []error{e1, e2, e3, e4, e5, a.Delete(ctx, "k", 0), a.Release(ctx, "l", "a", 1)}
	}
	for i, err := range calls() {
		if !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("call %d: %v", i+1, err)
		}
	}
	if _, err := b.Set(ctx, "k", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	silent(t, w)
	if v, _ := b.Get(ctx, "mine"); v.Found {
		t.Error("a call of a member that was cut off was done")
	}
	if list, leader := ids(t, b); len(list) != 1 || leader != "b" {
		t.Errorf("%v, %s leads", list, leader)
	}
	a.Mend()
	if v := next(t, w); string(v.Bytes) != "1" {
		t.Errorf("%+v", v)
	}
	if list, _ := ids(t, b); len(list) != 2 {
		t.Errorf("%v", list)
	}
}

// What is asked for is done, and nobody who asked knows.
func TestAnswersAreLost(t *testing.T) {
	h := hub.New()
	a, b := h.Join("a", "a:1"), h.Join("b", "b:1")
	ctx := t.Context()
	a.LoseAnswers()
	if _, err := a.Set(ctx, "k", []byte("1"), 0); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := a.Watch(ctx, "k"); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if v, err := b.Get(ctx, "k"); err != nil || string(v.Bytes) != "1" {
		t.Errorf("%+v, %v", v, err)
	}
	a.Mend()
	if _, err := a.Set(ctx, "k", []byte("2"), 0); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("%v", err)
	}
}
