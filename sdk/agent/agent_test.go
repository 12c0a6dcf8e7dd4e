package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/databridgetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const stream = `{name:s,metaData:[{name:m,type:string}],payloadData:[{name:n,type:int},{name:b,type:int}]}`

func event(n int) agent.Event {
	return agent.Event{Stream: "s:1.0.0", Time: 9, Values: []any{"m", int32(n), int32(1)}}
}

func row(n int) string {
	return fmt.Sprintf("s:1.0.0 _timestamp=9 meta_m=m n=%d b=1 _arbitrary=null", n)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, r *databridgetest.Receiver, change func(*agent.Options)) *agent.Agent {
	t.Helper()
	o := agent.Options{URLs: "tcp://" + r.Plain, Username: databridgetest.User, Password: databridgetest.Password, TLS: r.ClientTLS, Reconnect: 10 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	a, err := agent.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// numbered checks that events 0 … n-1 are stored once each; in order if ordered.
func numbered(t *testing.T, rows []string, n int, ordered bool) {
	t.Helper()
	if !ordered {
		rows = slices.Clone(rows)
		slices.Sort(rows)
	}
	var want []string
	for i := range n {
		want = append(want, row(i))
	}
	if !ordered {
		slices.Sort(want)
	}
	if !slices.Equal(rows, want) {
		t.Errorf("%d rows stored, want %d once each", len(rows), n)
	}
}

func TestPublish(t *testing.T) {
	r := databridgetest.NewReceiver(t)
	ctx := within(t)
	var settled atomic.Int64
	a := start(t, r, func(o *agent.Options) {
		o.Settled = func(e []agent.Event, err error) {
			if err != nil || len(e) == 0 || len(e) > 200 {
				t.Errorf("%d events: %v", len(e), err)
			}
			settled.Add(int64(len(e)))
		}
	})
	if id, err := a.DefineStream(ctx, stream); err != nil || id != "s:1.0.0" {
		t.Fatal(id, err)
	}
	for i := range 5000 {
		if err := a.Publish(ctx, event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	numbered(t, r.Rows(), 5000, true)
	if _, err := a.DefineStream(ctx, `{name:s}`); !errors.Is(err, agent.ErrRefused) || !strings.HasSuffix(err.Error(), ": CBN-STR-002: stream s:1.0.0") {
		t.Errorf("another definition: %v", err)
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(ctx, event(0)); !errors.Is(err, agent.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	s := a.Stats()
	if s.Acknowledged != 5000 || s.Failed != 0 || s.Waiting != 0 || settled.Load() != 5000 || s.Logins != 1 || s.Resends != 0 {
		t.Errorf("%+v, settled %d", s, settled.Load())
	}
	if bundles, logins := r.Calls(); logins != 1 || uint64(bundles) != s.Bundles || bundles < 25 {
		t.Errorf("%d bundles, %d logins", bundles, logins)
	}
}

// TestNullsAndArbitrary: what the protocol alone can't say, the agent marks.
func TestNullsAndArbitrary(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	ctx := within(t)
	a := start(t, r, nil)
	for _, e := range []agent.Event{
		{Stream: "s:1.0.0", Time: 1, Values: []any{nil, nil, int32(7)}},
		{Stream: "s:1.0.0", Time: 2, Values: []any{"_null", int32(7), nil}},
		{Stream: "s:1.0.0", Time: 3, Values: []any{"x", int32(1), int32(2)}, Arbitrary: map[string]string{"k": "v"}},
	} {
		if err := a.Publish(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"s:1.0.0 _timestamp=1 meta_m=null n=null b=7 _arbitrary=null",
		"s:1.0.0 _timestamp=2 meta_m=_null n=7 b=null _arbitrary=null",
		`s:1.0.0 _timestamp=3 meta_m=x n=1 b=2 _arbitrary={"k":"v"}`,
	}
	if rows := r.Rows(); !slices.Equal(rows, want) {
		t.Errorf("got %q", rows)
	}
}

func TestBadEventsAreRefusedAtOnce(t *testing.T) {
	r := databridgetest.NewReceiver(t)
	a := start(t, r, nil)
	for _, e := range []agent.Event{{}, {Stream: "s:1.0.0", Values: []any{7}}, {Stream: "s:1.0.0", Values: []any{"\xff"}}, {Stream: "s:1.0.0", Arbitrary: map[string]string{"\xff": ""}}} {
		if err := a.Publish(within(t), e); !errors.Is(err, agent.ErrEvent) {
			t.Errorf("%v: %v", e, err)
		}
		if err := a.TryPublish(e); !errors.Is(err, agent.ErrEvent) {
			t.Errorf("%v: %v", e, err)
		}
	}
	if err := a.Close(within(t)); err != nil {
		t.Error(err)
	}
}

// TestBreaksLoseAndRepeatNothing: connections break before and after the store took a bundle, sessions expire; every event is
// stored once and acknowledged.
func TestBreaksLoseAndRepeatNothing(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	ctx := within(t)
	r.Before = func(n int, _ *databridge.Bundle) error {
		if n%5 == 1 {
			return databridge.NewFault(databridge.CloseConnection, errors.New("as asked, before"))
		}
		if n%11 == 3 {
			r.ExpireSessions()
		}
		return nil
	}
	r.After = func(n int, _ *databridge.Bundle) error {
		if n%5 == 3 {
			return databridge.NewFault(databridge.CloseConnection, errors.New("as asked, after"))
		}
		return nil
	}
	a := start(t, r, nil)
	for i := range 8000 {
		if err := a.Publish(ctx, event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	numbered(t, r.Rows(), 8000, true)
	if s := a.Stats(); s.Acknowledged != 8000 || s.Failed != 0 || s.Resends == 0 || s.Logins < 2 {
		t.Errorf("%+v", s)
	}
}

// TestRefusal: a receiver's refusal is reported with its reason, and later events go on.
func TestRefusal(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	ctx := within(t)
	var mu sync.Mutex
	var failed []error
	a := start(t, r, func(o *agent.Options) {
		o.Bundle = 1
		o.Settled = func(e []agent.Event, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
			}
		}
	})
	if err := a.Publish(ctx, agent.Event{Stream: "unknown:1.0.0"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(ctx, event(0)); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if len(failed) != 1 || !errors.Is(failed[0], agent.ErrRefused) || !strings.Contains(failed[0].Error(), "unknown:1.0.0") {
		t.Errorf("%v", failed)
	}
	numbered(t, r.Rows(), 1, true)
	if s := a.Stats(); s.Acknowledged != 1 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFullQueue: TryPublish refuses, Publish waits; both count.
func TestFullQueue(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	ctx := within(t)
	hold := make(chan struct{})
	r.Before = func(int, *databridge.Bundle) error {
		<-hold
		return nil
	}
	a := start(t, r, func(o *agent.Options) { o.Queue = 10 })
	for i := range 10 {
		if err := a.TryPublish(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.TryPublish(event(10)); !errors.Is(err, agent.ErrFull) {
		t.Errorf("%v", err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := a.Publish(short, event(10)); !errors.Is(err, agent.ErrFull) {
		t.Errorf("%v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- a.Publish(ctx, event(10)) }()
	close(hold)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
	numbered(t, r.Rows(), 11, true)
	if s := a.Stats(); s.Full != 1 {
		t.Errorf("%+v", s)
	}
}

// TestFailover: the second takes over in order, and the first gets the events again once it is back.
func TestFailover(t *testing.T) {
	first, second := databridgetest.NewReceiver(t, stream), databridgetest.NewReceiver(t, stream)
	ctx := within(t)
	a := start(t, first, func(o *agent.Options) {
		o.URLs = "tcp://" + first.Plain + "|tcp://" + second.Plain
		o.TLS = both(first, second)
	})
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			if err := a.Publish(ctx, event(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	publish(0, 300)
	if n := len(second.Rows()); n != 0 {
		t.Errorf("%d rows at the second", n)
	}
	first.Stop()
	publish(300, 600)
	rows := append(first.Rows(), second.Rows()...)
	numbered(t, rows, 600, true)
	at := len(first.Rows())
	first.Restart()
	for n := 600; len(first.Rows()) == at; n++ { // it looks back every 30 reconnect times
		publish(n, n+1) // fails when the test's time is over
	}
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestSpreadAndGroups: inside a group each event goes to one endpoint, and every group gets all.
func TestSpreadAndGroups(t *testing.T) {
	var r [3]*databridgetest.Receiver
	for i := range r {
		r[i] = databridgetest.NewReceiver(t, stream)
	}
	ctx := within(t)
	a := start(t, r[0], func(o *agent.Options) {
		o.URLs = "{tcp://" + r[0].Plain + ", tcp://" + r[1].Plain + "},{ssl://" + r[2].Secure + "}"
		o.TLS = both(r[:]...)
		o.Bundle = 10
	})
	for i := range 3000 {
		if err := a.Publish(ctx, event(i)); err != nil {
			t.Fatal(err)
		}
		if i == 1500 {
			r[0].Break()
		}
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	one, two := r[0].Rows(), r[1].Rows()
	if len(one) == 0 || len(two) == 0 {
		t.Errorf("the load was not spread: %d and %d", len(one), len(two))
	}
	numbered(t, r[2].Rows(), 3000, true)
	seen := map[string]bool{}
	for _, row := range append(one, two...) {
		seen[row] = true
	}
	if len(seen) != 3000 { // a bundle whose answer was lost may be at both
		t.Errorf("%d different events in the first group", len(seen))
	}
	if s := a.Stats(); s.Acknowledged != 6000 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// TestNothingIsSilentlyLost: with no receiver, each event is reported when it is given up or the agent is closed.
func TestNothingIsSilentlyLost(t *testing.T) {
	gone := databridgetest.NewReceiver(t, stream)
	gone.Stop()
	for _, spread := range []bool{false, true} {
		for name, give := range map[string]time.Duration{"given up": 20 * time.Millisecond, "closed": 0} {
			var failed, wrong atomic.Int64
			want := agent.ErrClosed
			if give > 0 {
				want = agent.ErrGaveUp
			}
			a := start(t, gone, func(o *agent.Options) {
				o.GiveUp = give
				if spread {
					o.URLs += "," + o.URLs
				}
				o.Settled = func(e []agent.Event, err error) {
					failed.Add(int64(len(e)))
					if !errors.Is(err, want) {
						wrong.Add(1)
						t.Errorf("%s: %v", name, err)
					}
				}
			})
			for i := range 500 {
				if err := a.Publish(within(t), event(i)); err != nil {
					t.Fatal(err)
				}
			}
			if give > 0 {
				if err := a.Close(within(t)); err != nil {
					t.Error(err)
				}
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				if err := a.Close(ctx); !errors.Is(err, agent.ErrClosed) {
					t.Errorf("Close: %v", err)
				}
				cancel()
			}
			if s := a.Stats(); failed.Load() != 500 || s.Failed != 500 || s.Waiting != 0 {
				t.Errorf("%s, spread %v: %d reported, %+v", name, spread, failed.Load(), s)
			}
		}
	}
}

// TestUnsure: events that were sent and not answered are not called unsent.
func TestUnsure(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.Before = func(int, *databridge.Bundle) error {
		once.Do(func() { close(entered) })
		<-leave
		return nil
	}
	var got atomic.Value
	a := start(t, r, func(o *agent.Options) { o.Settled = func(_ []agent.Event, err error) { got.Store(err) } })
	if err := a.Publish(within(t), event(0)); err != nil {
		t.Fatal(err)
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Close(ctx); !errors.Is(err, agent.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
	close(leave)
	if err, _ := got.Load().(error); !errors.Is(err, agent.ErrUnsure) {
		t.Errorf("settled with %v", err)
	}
}

func TestConnectSaysWhyNot(t *testing.T) {
	r := databridgetest.NewReceiver(t)
	a := start(t, r, func(o *agent.Options) { o.Password = "wrong" })
	err := a.Connect(within(t))
	if !errors.Is(err, agent.ErrLogin) || strings.Contains(err.Error(), "wrong user or password: wrong") {
		t.Errorf("%v", err)
	}
	if err := a.Close(within(t)); err != nil {
		t.Error(err)
	}
	a = start(t, r, func(o *agent.Options) { o.TLS = nil })
	if err := a.Connect(within(t)); !errors.Is(err, agent.ErrReceiver) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate nobody trusts: %v", err)
	}
	if err := a.Close(within(t)); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []agent.Options{
		{}, {URLs: "http://x:1"}, {URLs: "tcp://a:1|tcp://b:1,tcp://c:1"}, {URLs: "{tcp://a:1"}, {URLs: "{tcp://a:1}{tcp://b:1}"}, {URLs: "tcp://a:1/path"},
		{URLs: "tcp://a:1", AuthURLs: "tcp://a:2"}, {URLs: "tcp://a:1|tcp://b:1", AuthURLs: "ssl://a:2"}, {URLs: "{tcp://a:1},{tcp://b:1}", AuthURLs: "ssl://a:2"},
		{URLs: "tcp://a:1", Bundle: 201}, {URLs: "tcp://u:p@a:1"},
	} {
		if a, err := agent.New(o); !errors.Is(err, agent.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
			if a != nil {
				_ = a.Close(t.Context())
			}
		}
	}
}
