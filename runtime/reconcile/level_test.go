package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
)

// at is a component of a start level.
func at(name string, level int, more string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nstartLevel: %d\n%s", name, level, more)
}

// TestCase31StartLevels: up, each level done before the next; down, the reverse; one event at the end of each.
func TestCase31StartLevels(t *testing.T) {
	w := newWorld(t)
	w.r.Begin(0)
	uses := fmt.Sprintf("requires: [{name: ref, service: %s, cardinality: 1..1}]\n", service)
	gives := fmt.Sprintf("provides: [{service: %s, version: 1.0.0}]\n", service)
	w.more(at("A1", 1, gives), at("B1", 1, ""), at("A2", 2, ""), at("B2", 2, uses), at("A3", 3, ""), at("B3", 3, uses))
	for _, name := range []string{"A1", "B2", "A3"} {
		if v := w.until(name, component.Waiting); v.Cause == nil || v.Cause.Code != ErrLevel.ID() {
			t.Errorf("%s: %v", name, v.Cause)
		}
	}
	if err := w.r.SetLevel(ctx(t), 3, "ann"); err != nil {
		t.Fatal(err)
	}
	levelOf := func(entry string) byte { return strings.Fields(entry)[0][1] }
	w.mu.Lock()
	up := slices.Clone(w.order)
	w.order = nil
	w.mu.Unlock()
	if len(up) != 6 || !slices.IsSortedFunc(up, func(a, b string) int { return int(levelOf(a)) - int(levelOf(b)) }) {
		t.Errorf("up: %v", up)
	}
	if err := w.r.SetLevel(ctx(t), 1, "ann"); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	down := slices.Clone(w.order)
	changes := slices.Clone(w.levels)
	w.mu.Unlock()
	if len(down) != 4 || !slices.IsSortedFunc(down, func(a, b string) int { return int(levelOf(b)) - int(levelOf(a)) }) {
		t.Errorf("down: %v", down)
	}
	if !slices.Equal(changes, []LevelChange{{0, 3}, {3, 1}}) {
		t.Errorf("events: %v", changes)
	}
	for name, want := range map[string]component.State{"A1": component.Active, "B1": component.Active, "A2": component.Waiting, "B3": component.Waiting} {
		if v, _ := w.r.View(name); v.State != want {
			t.Errorf("%s is %s, want %s", name, v.State, want)
		}
	}
	if err := w.r.SetLevel(ctx(t), 0, "ann"); err == nil {
		t.Error("level 0 is legal")
	}
	// What comes while the level is low waits for it.
	w.more(at("C2", 2, ""))
	w.until("C2", component.Waiting)
	if err := w.r.SetLevel(ctx(t), 2, "ann"); err != nil {
		t.Fatal(err)
	}
	if v, _ := w.r.View("C2"); v.State != component.Active {
		t.Errorf("C2 is %s", v.State)
	}
}

// TestALevelThatCannotFinishDoesNotHoldTheNext: a component that fails, or waits, counts as done.
func TestALevelThatCannotFinishDoesNotHoldTheNext(t *testing.T) {
	w := newWorld(t)
	w.r.Begin(0)
	w.fail("Bad", errTest.New("no executable"))
	w.more(at("Bad", 1, ""), at("Good", 2, ""))
	if err := w.r.SetLevel(ctx(t), 2, "ann"); err != nil {
		t.Fatal(err)
	}
	w.until("Good", component.Active)
	w.until("Bad", component.Failed)
}

// TestTheFirstLevelIsDoneBeforeTheNext: a start that begins at the lowest level starts what it has at once, and waits for it.
func TestTheFirstLevelIsDoneBeforeTheNext(t *testing.T) {
	w := newWorld(t)
	w.r.Begin(1)
	w.more(at("A1", 1, ""), at("A2", 2, ""), at("B1", 1, ""))
	if err := w.r.SetLevel(ctx(t), 2, "ann"); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) != 3 || strings.Fields(w.order[2])[0] != "A2" {
		t.Errorf("order: %v", w.order)
	}
}
