package reconcile

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/registry"
	sdk "carbonado.dev/sdk/component"
)

// states are the states that a component went through.
func (w *world) states(name string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, m := range w.moves[name] {
		out = append(out, m.To.String())
	}
	return out
}

// TestCase01StartThenCase02StartAgain: STARTING, then ACTIVE; a second start does nothing.
func TestCase01StartThenCase02StartAgain(t *testing.T) {
	w := newWorld(t, provider("Oracle"))
	before := w.until("Oracle", component.Active)
	want := []string{"RESOLVED", "STARTING", "ACTIVE"}
	if got := w.states("Oracle"); !slices.Equal(got, want) {
		t.Errorf("states: %v", got)
	}
	w.start("Oracle")
	if err := w.r.WaitSettled(ctx(t)); err != nil {
		t.Fatal(err)
	}
	after, _ := w.r.View("Oracle")
	if got := w.states("Oracle"); !slices.Equal(got, want) || after.Pid != before.Pid || after.Generation != before.Generation {
		t.Errorf("a second start was no no-op: %v, generation %d", got, after.Generation)
	}
}

// TestCase03AStartThatFailsLeavesNothing: its services, links and process are gone; it ends FAILED with the reason.
func TestCase03AStartThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.starts["Oracle"] = func(*sdk.C) error { return errTest.New("no licence") }
	w.more(provider("Oracle"))
	v := w.until("Oracle", component.Failed)
	if !strings.Contains(v.Cause.String(), "no licence") {
		t.Errorf("cause: %s", v.Cause)
	}
	if got := w.states("Oracle"); !slices.Equal(got[:3], []string{"RESOLVED", "STARTING", "BACKOFF"}) {
		t.Errorf("states: %v", got)
	}
	w.mu.Lock()
	live := w.live
	w.mu.Unlock()
	if left := w.r.Registry.Find(registry.Query{}); len(left) > 0 || live != 0 || v.Pid != 0 || len(v.Bindings) != 0 {
		t.Errorf("left: services %v, %d processes, %v", left, live, v.Bindings)
	}
}

// TestCase04AStopThatHangsIsForced: it ends all the same, its services are gone, and the operator is told at the end.
func TestCase04AStopThatHangsIsForced(t *testing.T) {
	w := newWorld(t, provider("Oracle"))
	w.until("Oracle", component.Active)
	w.proc("Oracle").forced = true
	err := w.r.Stop(ctx(t), "Oracle", "ann")
	if !errors.Is(err, ErrForced) {
		t.Errorf("stop: %v", err)
	}
	if v, _ := w.r.View("Oracle"); v.State.Live() || v.Pid != 0 || len(w.r.Registry.Find(registry.Query{})) != 0 {
		t.Errorf("it did not end: %s", v.State)
	}
	w.start("Oracle")
	if err := w.r.Stop(ctx(t), "Oracle", "ann"); err != nil {
		t.Errorf("the next stop, which is in order: %v", err)
	}
}

// TestCase11UninstalledWhileItStartsThenCase12: no process is left; then operations are refused by kind, what it was is readable.
func TestCase11UninstalledWhileItStartsThenCase12(t *testing.T) {
	w := newWorld(t)
	within := make(chan struct{})
	w.starts["Oracle"] = func(*sdk.C) error {
		w.mu.Lock()
		w.packages = nil
		w.mu.Unlock()
		w.apply()
		close(within)
		return nil
	}
	w.more(provider("Oracle"))
	<-within
	v := w.until("Oracle", component.Uninstalled)
	w.mu.Lock()
	live := w.live
	w.mu.Unlock()
	if live != 0 || v.Pid != 0 {
		t.Errorf("%d processes are left", live)
	}
	for name, do := range map[string]func(context.Context) error{
		"start":        func(c context.Context) error { return w.r.Start(c, "Oracle", "ann") },
		"stop":         func(c context.Context) error { return w.r.Stop(c, "Oracle", "ann") },
		"restart":      func(c context.Context) error { return w.r.Restart(c, "Oracle", "ann", false) },
		"reset-failed": func(c context.Context) error { return w.r.ResetFailed(c, "Oracle", "ann") },
	} {
		if err := do(ctx(t)); !errors.Is(err, ErrUninstalled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v.Was == nil || v.Was.Package.Version != "1.0.0" || v.Generation == 0 {
		t.Errorf("what it was can't be read: %+v", v.Was)
	}
}

// TestCase32DependantsStopBeforeProviders: each once, when everything stops.
func TestCase32DependantsStopBeforeProviders(t *testing.T) {
	w := newWorld(t, both("A", "0..1", "None"), both("B", "1..1", "A"), both("C", "1..1", "B"), both("D", "1..1", "C"))
	w.until("D", component.Active)
	w.mu.Lock()
	w.order = nil
	w.mu.Unlock()
	w.r.Shutdown(ctx(t))
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.order, ", "); got != "D DRAINING, C DRAINING, B DRAINING, A DRAINING" {
		t.Errorf("order: %s", got)
	}
}
