package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/sdk/cause"
)

var errTest = cause.Define("CBN-TEST-001", "Something is missing.", "Do something.")

func causeOf(format string, args ...any) *component.Cause {
	return component.CauseOf(errTest.New(format, args...))
}

// The chain is followed through the components that it names, to the leaf as it is now; circles end.
func TestCase71TheChainLeadsToTheLeafAsItIsNow(t *testing.T) {
	known := map[string]bool{"A": true, "B": true, "C": true, "D": true}
	stale := causeOf("A needs acme.D.Service of B").Because(*causeOf("its provider B is STARTING"))
	causes := map[string]*component.Cause{"B": causeOf("B needs C"), "C": causeOf("C needs D"), "D": causeOf("D was stopped by A")}
	got := fresh("A", &stale, known, func(n string) *component.Cause { return causes[n] })
	if got.Leaf().Text != "D was stopped by A" || len(got.Chain) != 3 {
		t.Errorf("the chain is %s", got)
	}
	causes["D"] = causeOf("D needs B")
	got = fresh("A", &stale, known, func(n string) *component.Cause { return causes[n] })
	if got.Leaf().Text != "D needs B" {
		t.Errorf("the circle is %s", got)
	}
	delete(causes, "B")
	if got = fresh("A", &stale, known, func(n string) *component.Cause { return causes[n] }); got.Leaf().Text != "its provider B is STARTING" {
		t.Errorf("without news the chain is %s", got)
	}
	if fresh("A", nil, known, nil) != nil {
		t.Error("no cause became one")
	}
}

// write puts a line into a history at second n.
func write(t *testing.T, f *os.File, n int, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	if _, err := fmt.Fprintf(f, `{"time":%q,%s}`+"\n", second(n).Format(time.RFC3339), text); err != nil {
		t.Fatal(err)
	}
}

func second(n int) time.Time { return time.Date(2026, 11, 25, 10, 0, n, 0, time.UTC) }

func TestAPastTimeIsReadFromTheRecord(t *testing.T) {
	folder := t.TempDir()
	f, err := os.Create(filepath.Join(folder, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	move := func(n int, from, to string) {
		write(t, f, n, `"component":"A","seq":%d,"from":%q,"to":%q,"reason":"r%d","actor":"kernel"`, n, from, to, n)
	}
	write(t, f, 1, `"note":"begin","text":"receiver"`)
	write(t, f, 2, `"note":"rule","component":"A","rule":"default","enabled":true`)
	move(3, "INSTALLED", "RESOLVED")
	write(t, f, 4, `"note":"cause","component":"A","cause":{"code":"X","text":"A needs B","chain":[]}`)
	move(4, "RESOLVED", "WAITING")
	write(t, f, 5, `"note":"cause","component":"B","cause":{"code":"Y","text":"B has no port","chain":[]}`)
	move(7, "WAITING", "STARTING")
	move(8, "STARTING", "ACTIVE")
	write(t, f, 9, `"note":"health","component":"A","health":"CRITICAL","cause":{"code":"Z","text":"the disk is full","chain":[]}`)
	fmt.Fprint(f, `{"cut short`+"\n") // a crash in the middle of a line
	// The first run was killed; the second one ended in order.
	write(t, f, 20, `"note":"begin","text":"default"`)
	write(t, f, 30, `"note":"end"`)
	write(t, f, 40, `"note":"begin","text":"default"`)
	f.Close()
	h := &history{path: f.Name()}
	for _, c := range []struct {
		second  int
		running bool
		state   component.State
		leaf    string
		until   int
	}{
		{3, true, component.Resolved, "", 4},
		{4, true, component.Waiting, "A needs B", 7},
		{6, true, component.Waiting, "B has no port", 7},
		{7, true, component.Starting, "", 8},
		{8, true, component.Active, "", 0},
		{15, true, component.Active, "the disk is full", 0},
		{25, true, component.Installed, "", 0},
		{35, false, component.Installed, "", 0},
		{50, true, component.Installed, "", 0},
	} {
		p := h.at(second(c.second))
		u := p.units["A"]
		leaf := ""
		if x := p.causeOf("A"); x != nil {
			leaf = x.Leaf().Text
		}
		until := time.Time{}
		if c.until > 0 {
			until = second(c.until)
		}
		if p.running != c.running || u.state != c.state || leaf != c.leaf || !u.until.Equal(until) {
			t.Errorf("at %d: running %v, %s, %q, until %s; want %v, %s, %q, %s", c.second, p.running, u.state, leaf, u.until, c.running, c.state, c.leaf, until)
		}
	}
	if p := h.at(second(35)); !p.ended.Equal(second(30)) || !p.next.Equal(second(40)) || p.profile != "default" {
		t.Errorf("between the runs: %+v", p)
	}
	if p := h.at(second(0)); p.running || len(p.units) > 0 || !p.begun.IsZero() {
		t.Errorf("before the first line: %+v", p)
	}
}

// What the kernel writes is what it reads, and a transition is not doubled by the notes beside it.
func TestWhatIsRecordedIsRead(t *testing.T) {
	h, err := openHistory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h.begin("default")
	c := causeOf("A needs B")
	h.event(reconcile.Event{Component: "A", CauseChanged: true, Cause: c})
	h.record("A", component.Transition{Seq: 1, Time: time.Now(), From: component.Installed, To: component.Resolved, Actor: "kernel"})
	h.event(reconcile.Event{Component: "A", Health: component.HealthWarn, Cause: c})
	if got := h.of("A", true); len(got) != 1 || got[0].To != component.Resolved {
		t.Errorf("the transitions are %v", got)
	}
	u := h.at(time.Now()).units["A"]
	if u == nil || u.state != component.Resolved || u.health != "WARN" || u.cause == nil || !strings.Contains(u.cause.String(), "A needs B") {
		t.Errorf("A is %+v", u)
	}
	h.end()
	if h.at(time.Now()).running {
		t.Error("the run has not ended")
	}
	h.close()
}

// While a successor gets ready the old process serves, and its end afterwards is not the component's.
func TestAPastTimeKnowsSuccessors(t *testing.T) {
	folder := t.TempDir()
	f, err := os.Create(filepath.Join(folder, "history.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	move := func(n, generation int, from, to string) {
		write(t, f, n, `"component":"A","seq":%d,"from":%q,"to":%q,"reason":"r%d","actor":"kernel","generation":%d`, n, from, to, n, generation)
	}
	write(t, f, 1, `"note":"begin"`)
	move(2, 1, "RESOLVED", "STARTING")
	move(3, 1, "STARTING", "ACTIVE")
	move(4, 2, "RESOLVED", "STARTING")
	move(6, 2, "STARTING", "ACTIVE")
	move(7, 1, "ACTIVE", "DRAINING")
	move(8, 1, "DRAINING", "STOPPING")
	move(9, 1, "STOPPING", "RESOLVED")
	move(12, 2, "ACTIVE", "BACKOFF")
	f.Close()
	h := &history{path: f.Name()}
	for at, want := range map[int]string{2: "STARTING until 3", 5: "ACTIVE until 6", 7: "ACTIVE until 12", 10: "ACTIVE until 12", 12: "BACKOFF until "} {
		u := h.at(second(at)).units["A"]
		until := ""
		if !u.until.IsZero() {
			until = fmt.Sprint(u.until.Second())
		}
		if got := fmt.Sprintf("%s until %s", u.state, until); got != want {
			t.Errorf("at %d it is %s, want %s", at, got, want)
		}
	}
}
