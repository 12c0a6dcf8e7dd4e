package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/registry"
	"github.com/Masterminds/semver/v3"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const store = "carbonado.analytics.v1.RecordStore"

func pub(provider string, generation, local uint64, ranking int, props ...string) registry.Publication {
	p := registry.Publication{Service: store, Provider: provider, Generation: generation, LocalID: local, Ranking: ranking,
		Version: semver.MustParse("1.2.0"), Properties: map[string]string{}}
	for i := 0; i+1 < len(props); i += 2 {
		p.Properties[props[i]] = props[i+1]
	}
	return p
}

func publish(t *testing.T, r *registry.Registry, p registry.Publication) registry.Service {
	t.Helper()
	s, err := r.Publish(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ids(services []registry.Service) []uint64 {
	out := []uint64{}
	for _, s := range services {
		out = append(out, s.ID)
	}
	return out
}

func TestHigherRankingThenLowerID(t *testing.T) {
	r := registry.New()
	a := publish(t, r, pub("A", 1, 1, 1))
	b := publish(t, r, pub("B", 1, 1, 5))
	c := publish(t, r, pub("C", 1, 1, 5))
	if got := ids(r.Find(registry.Query{Service: store})); !slices.Equal(got, []uint64{b.ID, c.ID, a.ID}) {
		t.Errorf("found %v, want %v", got, []uint64{b.ID, c.ID, a.ID})
	}
}

func TestQuery(t *testing.T) {
	r := registry.New()
	a := publish(t, r, pub("A", 1, 1, 0, "stream", "x", "kind", "fast"))
	p := pub("B", 1, 1, 0, "stream", "y")
	p.Exported, p.Version = true, semver.MustParse("2.0.0")
	b := publish(t, r, p)
	old := rangeBelow{semver.MustParse("2.0.0")}
	for name, c := range map[string]struct {
		q    registry.Query
		want []uint64
	}{
		"all":                 {registry.Query{}, []uint64{a.ID, b.ID}},
		"other service":       {registry.Query{Service: "x.Y"}, []uint64{}},
		"filter":              {registry.Query{Filter: map[string]string{"stream": "x"}}, []uint64{a.ID}},
		"filter of two":       {registry.Query{Filter: map[string]string{"stream": "x", "kind": "slow"}}, []uint64{}},
		"filter not there":    {registry.Query{Filter: map[string]string{"none": ""}}, []uint64{}},
		"provider":            {registry.Query{Provider: "B"}, []uint64{b.ID}},
		"exported":            {registry.Query{Exported: true}, []uint64{b.ID}},
		"version":             {registry.Query{Versions: old}, []uint64{a.ID}},
		"version and service": {registry.Query{Service: store, Versions: old, Filter: map[string]string{"kind": "fast"}}, []uint64{a.ID}},
	} {
		if got := ids(r.Find(c.q)); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", name, got, c.want)
		}
	}
}

type rangeBelow struct{ end *semver.Version }

func (b rangeBelow) Has(v *semver.Version) bool { return v.LessThan(b.end) }

func TestErrors(t *testing.T) {
	r := registry.New()
	if _, err := r.Publish(registry.Publication{Provider: "A"}); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("no service: %v", err)
	}
	if err := r.Withdraw(9); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("withdraw: %v", err)
	}
	if _, err := r.Modify(9, nil, 0); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("modify: %v", err)
	}
	if _, err := r.Get(9); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	publish(t, r, pub("A", 2, 1, 0))
	if _, err := r.Publish(pub("A", 1, 7, 0)); !errors.Is(err, registry.ErrStale) {
		t.Errorf("an older generation published: %v", err)
	}
}

// TestRestartKeepsIDs: a consumer that holds a service holds the same one after its provider has restarted.
func TestRestartKeepsIDs(t *testing.T) {
	r := registry.New()
	x := publish(t, r, pub("A", 1, 1, 0, "stream", "x"))
	y := publish(t, r, pub("A", 1, 2, 0, "stream", "y"))
	z := publish(t, r, pub("A", 1, 3, 0, "stream", "z"))
	other := publish(t, r, pub("B", 1, 1, 0))
	if got := ids(r.Suspend("A", 1)); !slices.Equal(got, []uint64{x.ID, y.ID, z.ID}) {
		t.Fatalf("suspended %v", got)
	}
	if again := r.Suspend("A", 1); len(again) != 0 {
		t.Errorf("suspended twice: %v", again)
	}
	for _, s := range r.Find(registry.Query{}) {
		if s.Suspended != (s.Provider == "A") {
			t.Errorf("%s: suspended %t", s, s.Suspended)
		}
	}
	// The new process publishes in another order, and one with new properties.
	y2 := publish(t, r, pub("A", 2, 1, 0, "stream", "y"))
	x2 := publish(t, r, pub("A", 2, 2, 0, "stream", "x"))
	if y2.ID != y.ID || x2.ID != x.ID || y2.Suspended || x2.Generation != 2 {
		t.Errorf("x %v -> %v, y %v -> %v", x, x2, y, y2)
	}
	if gone := ids(r.Settle("A", 2)); !slices.Equal(gone, []uint64{z.ID}) {
		t.Errorf("settled away %v, want %v", gone, z.ID)
	}
	fresh := publish(t, r, pub("A", 2, 3, 0, "stream", "new"))
	if fresh.ID <= other.ID {
		t.Errorf("the id %d was used before", fresh.ID)
	}
	if gone := r.WithdrawProvider("A"); len(gone) != 3 {
		t.Errorf("withdrew %v", gone)
	}
	if left := ids(r.Find(registry.Query{})); !slices.Equal(left, []uint64{other.ID}) {
		t.Errorf("left %v", left)
	}
}

func TestSameLocalIDIsTheSameRegistration(t *testing.T) {
	r := registry.New()
	a := publish(t, r, pub("A", 1, 1, 0, "n", "1"))
	b := publish(t, r, pub("A", 1, 1, 3, "n", "2"))
	if a.ID != b.ID || b.Revision != a.Revision+1 || b.Properties["n"] != "2" || b.Ranking != 3 {
		t.Errorf("%+v -> %+v", a, b)
	}
	c := publish(t, r, pub("A", 1, 2, 0, "n", "2"))
	if c.ID == a.ID {
		t.Error("two registrations of one process became one")
	}
	// After a restart with changed properties the local id decides.
	d := publish(t, r, pub("A", 2, 2, 0, "n", "9"))
	if d.ID != c.ID {
		t.Errorf("local id 2 got %d, want %d", d.ID, c.ID)
	}
}

// log is a tracker that writes down what it is told.
type log struct {
	mu     sync.Mutex
	events []string
}

func (l *log) add(e registry.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := fmt.Sprintf("%s %s/%d", e.Kind, e.Service.Provider, e.Service.ID)
	if e.Service.Suspended {
		s += " suspended"
	}
	l.events = append(l.events, s)
}

func (l *log) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.events
	l.events = nil
	return out
}

func sync1(t *testing.T, tr *registry.Tracking) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := tr.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestTrackTellsOfEveryChange(t *testing.T) {
	r := registry.New()
	publish(t, r, pub("Low", 1, 1, 0, "stream", "x"))
	publish(t, r, pub("High", 1, 1, 9, "stream", "x"))
	publish(t, r, pub("Other", 1, 1, 0, "stream", "y"))
	var l log
	tr := r.Track(registry.Query{Filter: map[string]string{"stream": "x"}}, l.add)
	defer tr.Close()
	expect := func(what string, want ...string) {
		t.Helper()
		sync1(t, tr)
		if got := l.take(); !slices.Equal(got, want) {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}
	expect("at first", "added High/2", "added Low/1")
	publish(t, r, pub("Late", 1, 1, 0, "stream", "x"))
	expect("a new one", "added Late/4")
	if _, err := r.Modify(4, map[string]string{"stream": "x", "k": "v"}, 1); err != nil {
		t.Fatal(err)
	}
	expect("new properties", "modified Late/4")
	if _, err := r.Modify(4, map[string]string{"stream": "z"}, 1); err != nil {
		t.Fatal(err)
	}
	expect("it matches no more", "removed Late/4")
	if _, err := r.Modify(4, map[string]string{"stream": "x"}, 1); err != nil {
		t.Fatal(err)
	}
	expect("it matches again", "added Late/4")
	r.Suspend("High", 1)
	expect("restarting", "modified High/2 suspended")
	publish(t, r, pub("High", 2, 1, 9, "stream", "x"))
	expect("back", "modified High/2")
	r.WithdrawProvider("High")
	expect("gone", "removed High/2")
	if err := r.Withdraw(3); err != nil {
		t.Fatal(err)
	}
	expect("one that never matched")
	if got := ids(tr.Services()); !slices.Equal(got, []uint64{4, 1}) {
		t.Errorf("the tracking knows %v", got)
	}
}

// TestHold: nothing is told before Sync, which tells it by itself, or Go; what comes later is told as ever.
func TestHold(t *testing.T) {
	for name, end := range map[string]func(*registry.Tracking){"Sync": func(tr *registry.Tracking) { sync1(t, tr) }, "Go": (*registry.Tracking).Go} {
		r := registry.New()
		publish(t, r, pub("A", 1, 1, 0))
		var l log
		tr := r.Hold(registry.Query{}, l.add)
		publish(t, r, pub("B", 1, 1, 0))
		if got := l.take(); len(got) > 0 || len(tr.Services()) > 0 {
			t.Errorf("before %s: %q", name, got)
		}
		end(tr)
		sync1(t, tr)
		if got := l.take(); !slices.Equal(got, []string{"added A/1", "added B/2"}) {
			t.Errorf("after %s: %q", name, got)
		}
		r.WithdrawProvider("A")
		sync1(t, tr)
		if got := l.take(); !slices.Equal(got, []string{"removed A/1"}) {
			t.Errorf("later, %s: %q", name, got)
		}
		tr.Close()
	}
	r := registry.New()
	publish(t, r, pub("A", 1, 1, 0))
	tr := r.Hold(registry.Query{}, func(e registry.Event) { t.Errorf("told %v, and was closed before", e) })
	tr.Close()
	tr.Go()
	sync1(t, tr)
}

// TestCount: what Find gives, counted; each service once, whatever it is asked by.
func TestCount(t *testing.T) {
	r := registry.New()
	publish(t, r, pub("A", 1, 1, 0, "n", "1", "N", "1"))
	publish(t, r, pub("B", 1, 1, 0, "n", "2"))
	for _, q := range []registry.Query{{}, {Provider: "A"}, {Filter: map[string]string{"n": "1"}}, {AnyOf: []registry.Query{{Provider: "A"}, {Filter: map[string]string{"N": "1"}}, {}}}} {
		want := len(r.Find(q))
		if got := r.Count(q, func(registry.Service) bool { return true }); got != want || want == 0 {
			t.Errorf("%+v: %d, but %d", q, got, want)
		}
		if got := r.Count(q, func(s registry.Service) bool { return s.Provider == "B" }); got > 1 {
			t.Errorf("%+v: %d of B", q, got)
		}
	}
}

// TestTrackerMayCallTheRegistry: trackers publish and withdraw from within their call, and nothing locks up.
func TestTrackerMayCallTheRegistry(t *testing.T) {
	r := registry.New()
	done := make(chan registry.Service, 1)
	tr := r.Track(registry.Query{Provider: "A"}, func(e registry.Event) {
		if e.Kind == registry.Added {
			s, err := r.Publish(pub("B", 1, 1, 0))
			if err != nil || len(r.Find(registry.Query{})) != 2 {
				t.Errorf("from within: %v", err)
			}
			done <- s
		}
	})
	defer tr.Close()
	publish(t, r, pub("A", 1, 1, 0))
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the tracker was not called")
	}
}

// TestSlowTrackerMissesNothingThatCounts: changes that come while the tracker is busy are told as what they amount to.
func TestSlowTrackerMissesNothingThatCounts(t *testing.T) {
	r := registry.New()
	enter, leave := make(chan struct{}), make(chan struct{})
	var l log
	var once sync.Once
	tr := r.Track(registry.Query{}, func(e registry.Event) {
		once.Do(func() { close(enter); <-leave })
		l.add(e)
	})
	defer tr.Close()
	publish(t, r, pub("A", 1, 1, 0))
	<-enter
	b := publish(t, r, pub("B", 1, 1, 0))
	publish(t, r, pub("C", 1, 1, 0))
	if err := r.Withdraw(b.ID); err != nil { // came and went unseen
		t.Fatal(err)
	}
	r.Suspend("C", 1)
	publish(t, r, pub("C", 2, 1, 0))
	close(leave)
	sync1(t, tr)
	if got := l.take(); !slices.Equal(got, []string{"added A/1", "added C/3"}) {
		t.Errorf("told %q", got)
	}
}

func TestCloseWaitsAndIsFinal(t *testing.T) {
	r := registry.New()
	calls := 0
	tr := r.Track(registry.Query{}, func(registry.Event) { calls++ })
	publish(t, r, pub("A", 1, 1, 0))
	sync1(t, tr)
	tr.Close()
	tr.Close()
	publish(t, r, pub("B", 1, 1, 0))
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestAwait(t *testing.T) {
	r := registry.New()
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if have, err := r.Await(short, registry.Query{}, 1); !errors.Is(err, context.DeadlineExceeded) || len(have) != 0 {
		t.Errorf("none there: %v, %v", have, err)
	}
	if have, err := r.Await(short, registry.Query{}, 0); err != nil || len(have) != 0 {
		t.Errorf("none wanted: %v, %v", have, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	got := make(chan []registry.Service, 1)
	go func() {
		have, err := r.Await(ctx, registry.Query{Service: store}, 2)
		if err != nil {
			t.Error(err)
		}
		got <- have
	}()
	publish(t, r, pub("A", 1, 1, 0))
	r.Suspend("A", 1) // a suspended one does not count
	publish(t, r, pub("B", 1, 1, 0))
	publish(t, r, pub("C", 1, 1, 0))
	if have := <-got; len(have) < 2 {
		t.Errorf("awaited 2, got %v", have)
	}
}

// TestTrackersAgreeWithFind lets many goroutines change the registry; in the end each tracker knows what Find finds.
func TestTrackersAgreeWithFind(t *testing.T) {
	r := registry.New()
	queries := []registry.Query{{}, {Filter: map[string]string{"k": "1"}}, {Provider: "P2"}}
	seen := make([]map[uint64]registry.Service, len(queries))
	var trackings []*registry.Tracking
	for i, q := range queries {
		seen[i] = map[uint64]registry.Service{}
		trackings = append(trackings, r.Track(q, func(e registry.Event) {
			_, known := seen[i][e.Service.ID]
			if known == (e.Kind == registry.Added) {
				t.Errorf("%s of %s, known %t", e.Kind, e.Service, known)
			}
			if e.Kind == registry.Removed {
				delete(seen[i], e.Service.ID)
				return
			}
			seen[i][e.Service.ID] = e.Service
		}))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			provider := fmt.Sprintf("P%d", g)
			for i := range 200 {
				gen := uint64(i/10 + 1)
				s, err := r.Publish(pub(provider, gen, uint64(i%5), i%3, "k", fmt.Sprint(i%2)))
				if err != nil {
					t.Error(err)
					return
				}
				switch i % 7 {
				case 1:
					_, _ = r.Modify(s.ID, map[string]string{"k": fmt.Sprint(i % 3)}, i)
				case 2:
					_ = r.Withdraw(s.ID)
				case 3:
					r.Suspend(provider, gen)
				case 4:
					r.Settle(provider, gen)
				case 5:
					r.Find(registry.Query{Provider: provider})
				}
			}
		})
	}
	wg.Wait()
	for i, tr := range trackings {
		sync1(t, tr)
		tr.Close()
		want := r.Find(queries[i])
		if len(want) != len(seen[i]) {
			t.Errorf("query %d: the tracker knows %d, there are %d", i, len(seen[i]), len(want))
		}
		for _, s := range want {
			if seen[i][s.ID].Revision != s.Revision {
				t.Errorf("query %d: %s: the tracker knows revision %d, there is %d", i, s, seen[i][s.ID].Revision, s.Revision)
			}
		}
	}
}

// TestAgainstModel: ids are never given twice, and a registration is found exactly while it is registered, whatever is done.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := registry.New()
		model := map[uint64]bool{}
		var last uint64
		generation := map[string]uint64{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			provider := rapid.SampledFrom([]string{"A", "B"}).Draw(t, "provider")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				s, err := r.Publish(pub(provider, generation[provider], rapid.Uint64Range(1, 3).Draw(t, "local"), 0, "p", rapid.SampledFrom([]string{"1", "2"}).Draw(t, "property")))
				if err != nil {
					t.Fatal(err)
				}
				if s.ID > last {
					last = s.ID
				} else if !model[s.ID] {
					t.Fatalf("id %d came back", s.ID)
				}
				model[s.ID] = true
			case 2:
				r.Suspend(provider, generation[provider])
				generation[provider]++
			case 3:
				for _, s := range r.Settle(provider, generation[provider]) {
					delete(model, s.ID)
				}
			case 4:
				for _, s := range r.WithdrawProvider(provider) {
					delete(model, s.ID)
				}
			}
			found := r.Find(registry.Query{})
			if len(found) != len(model) {
				t.Fatalf("found %d, want %d", len(found), len(model))
			}
			locals := map[string]bool{}
			for _, s := range found {
				key := fmt.Sprint(s.Provider, s.Generation, s.LocalID)
				if !model[s.ID] || locals[key] {
					t.Fatalf("%s should not be there, or is there twice", s)
				}
				locals[key] = true
			}
		}
	})
}
