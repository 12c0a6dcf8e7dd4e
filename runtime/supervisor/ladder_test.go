package supervisor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/supervisor"
)

func TestLadder(t *testing.T) {
	short := supervisor.Ladder{
		Kind: component.ResultReplaced, Drain: 200 * time.Millisecond, Release: 200 * time.Millisecond, Stop: 200 * time.Millisecond,
		Exit: 3 * time.Second, Term: 200 * time.Millisecond, // a program with the race detector takes a second to exit
	}
	all := short.Drain + short.Release + short.Stop + short.Exit + short.Term
	for _, c := range []struct {
		name   string
		do     []string
		freeze bool
		forced bool
		signal string
		calls  []string
	}{
		{name: "drain hangs", do: []string{"stuck drain"}, calls: []string{"called release", "called stop"}},
		{name: "does not exit after Stop", do: []string{"stuck exit"}, signal: "SIGTERM", calls: []string{"called drain", "called release", "called stop"}},
		{name: "all calls hang", do: []string{"stuck all"}, signal: "SIGTERM"},
		{name: "all calls hang and deaf to SIGTERM", do: []string{"stuck all", "deaf"}, signal: "SIGKILL", forced: true},
		{name: "frozen", freeze: true, signal: "SIGKILL", forced: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			i := b.start(b.spec("Good"))
			for _, do := range c.do {
				b.do(i, do)
			}
			if c.freeze {
				freeze(t, i.PID())
			}
			begin := time.Now()
			exit := i.Stop(b.context(), short)
			if took := time.Since(begin); took > all+2*time.Second {
				t.Errorf("it took %s", took)
			}
			if exit.Result.Kind != component.ResultReplaced || exit.Result.Signal != c.signal || exit.Forced != c.forced {
				t.Errorf("exit %+v", exit)
			}
			if !slices.Equal(exit.Tail, c.calls) {
				t.Errorf("calls %q, want %q", exit.Tail, c.calls)
			}
			if alive(i.PID()) {
				t.Error("it lives")
			}
		})
	}
	t.Run("the caller's time is over", func(t *testing.T) {
		b := newBench(t)
		i := b.start(b.spec("Good"))
		b.do(i, "stuck drain")
		b.do(i, "deaf")
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		exit := i.Stop(ctx, supervisor.DefaultLadder(component.ResultOperator))
		if took := time.Since(begin); took > 2*time.Second || !exit.Forced {
			t.Errorf("after %s: %+v", took, exit)
		}
	})
	t.Run("single rungs", func(t *testing.T) {
		b := newBench(t)
		i := b.start(b.spec("Good"))
		exit := i.Stop(b.context(), supervisor.Ladder{Kind: component.ResultReplaced, Stop: longest, Exit: longest})
		if !slices.Equal(exit.Tail, []string{"called stop"}) || exit.Forced {
			t.Errorf("exit %+v", exit)
		}
	})
}

func TestPingOfAFrozenProcessHasADeadline(t *testing.T) {
	b := newBench(t)
	i := b.start(b.spec("Good"))
	freeze(t, i.PID())
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := i.Ping(ctx); !errors.Is(err, supervisor.ErrSilent) {
		t.Errorf("%v", err)
	}
}

func TestFailedStarts(t *testing.T) {
	quick := func(s *supervisor.Spec) { s.StartTimeout = 500 * time.Millisecond }
	for _, c := range []struct {
		name   string
		change func(*supervisor.Spec)
		is     error
		says   string
		result component.Result
		none   bool // no process was made
	}{
		{name: "Dying", is: supervisor.ErrStart, says: "no such table: orders", result: component.Result{Kind: component.ResultExit, Code: 5}},
		{name: "Panicking", is: supervisor.ErrStart, says: "Panicking ended", result: component.Result{Kind: component.ResultExit, Code: 2}},
		{name: "Mute", change: quick, is: supervisor.ErrStartTimeout, says: "I wait for my database", result: component.Result{Kind: component.ResultStartTimeout, Signal: "SIGKILL"}},
		{name: "Later", is: supervisor.ErrHandshake, says: "99", result: component.Result{Kind: component.ResultStartTimeout, Signal: "SIGKILL"}},
		{name: "Outside", is: supervisor.ErrHandshake, says: "not in its run folder", result: component.Result{Kind: component.ResultStartTimeout, Signal: "SIGKILL"}},
		{name: "Network", is: supervisor.ErrHandshake, says: "not in its run folder", result: component.Result{Kind: component.ResultStartTimeout, Signal: "SIGKILL"}},
		{name: "Impostor", is: supervisor.ErrHandshake, says: "not the one expected", result: component.Result{Kind: component.ResultStartTimeout, Signal: "SIGKILL"}},
		{name: "Good", change: func(s *supervisor.Spec) { s.Digest = strings.Repeat("0", 64) }, is: supervisor.ErrDigest, says: selfDigest(), none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.Digest = "" }, is: supervisor.ErrDigest, none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.Executable += ".none" }, is: supervisor.ErrExecutable, none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.Executable = "/proc/self/exe" }, is: supervisor.ErrExecutable, says: "symbolic link", none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.Executable = "/dev/null" }, is: supervisor.ErrExecutable, says: "regular", none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.Executable = "bin/x" }, is: supervisor.ErrSpec, none: true},
		{name: "../Good", is: supervisor.ErrSpec, none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.DataFolder = "/dev/null/data" }, is: supervisor.ErrFolder, none: true},
		{name: "Good", change: func(s *supervisor.Spec) { s.Listeners = []supervisor.Listener{{Name: "a", Key: "nobody/a"}} }, is: supervisor.ErrFork, says: "nobody/a", none: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			spec := b.spec(c.name)
			if c.change != nil {
				c.change(&spec)
			}
			begin := time.Now()
			i, err := b.Start(b.context(), spec)
			if i != nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("instance %v, error %v, want %v with %q", i, err, c.is, c.says)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("it took %s to say so", took)
			}
			exit, ok := supervisor.ExitOf(err)
			if ok == c.none || exit.Result != c.result {
				t.Errorf("exit %+v, %t", exit, ok)
			}
		})
	}
}

func TestStartCanBeGivenUp(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		b.logged("Mute", "I wait for my database")
		cancel()
	}()
	_, err := b.Start(ctx, b.spec("Mute"))
	if !errors.Is(err, supervisor.ErrCancelled) {
		t.Errorf("%v", err)
	}
	if exit, ok := supervisor.ExitOf(err); !ok || exit.Result.Kind.String() != "operator" {
		t.Errorf("exit %+v", exit)
	}
}
