package component_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
	"github.com/Masterminds/semver/v3"
	"pgregory.net/rapid"
)

// seams is the table of SEAMS.md section 3, as it is written there.
const seams = `
RESOLVED   -> WAITING STARTING INSTALLED UNINSTALLED
STARTING   -> ACTIVE STOPPING BACKOFF
WAITING    -> STARTING RESOLVED UNINSTALLED
ACTIVE     -> DRAINING BACKOFF
BACKOFF    -> STARTING WAITING RESOLVED FAILED
DRAINING   -> STOPPING BACKOFF
INSTALLED  -> RESOLVED FAILED UNINSTALLED
STOPPING   -> RESOLVED WAITING
FAILED     -> RESOLVED UNINSTALLED
UNINSTALLED ->
`

func TestTransitionsAreThoseOfTheSeams(t *testing.T) {
	want := map[string][]string{}
	for line := range strings.Lines(strings.TrimSpace(seams)) {
		from, to, _ := strings.Cut(line, "->")
		want[strings.TrimSpace(from)] = strings.Fields(to)
	}
	if len(component.States()) != len(want) {
		t.Fatalf("%d states, SEAMS.md has %d", len(component.States()), len(want))
	}
	for _, from := range component.States() {
		for _, to := range component.States() {
			if got, should := from.May(to), slices.Contains(want[from.String()], to.String()); got != should {
				t.Errorf("%s -> %s: allowed %t, want %t", from, to, got, should)
			}
		}
	}
}

func TestHealthTable(t *testing.T) {
	all := []component.Health{component.HealthUnknown, component.HealthOK, component.HealthWarn,
		component.HealthTemporarilyUnavailable, component.HealthCritical}
	for _, from := range all {
		for _, to := range all {
			should := from != to && to != component.HealthCritical
			if to == component.HealthCritical {
				should = from == component.HealthTemporarilyUnavailable
			}
			if got := from.May(to); got != should {
				t.Errorf("%s -> %s: allowed %t, want %t", from, to, got, should)
			}
		}
	}
	got := component.HealthOK.Path(component.HealthCritical)
	if !slices.Equal(got, []component.Health{component.HealthTemporarilyUnavailable, component.HealthCritical}) {
		t.Errorf("OK to CRITICAL goes by %v", got)
	}
	if got := component.HealthOK.Path(component.HealthOK); got != nil {
		t.Errorf("OK to OK goes by %v", got)
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for _, s := range component.States() {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back component.State
		if err := json.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%s came back as %s, %v", s, back, err)
		}
	}
	var s component.State
	if err := s.UnmarshalText([]byte("RUNNING")); err == nil {
		t.Error("RUNNING was taken for a state")
	}
	for k := component.ResultNone; k <= component.ResultReplaced; k++ {
		b, _ := k.MarshalText()
		var back component.ResultKind
		if err := back.UnmarshalText(b); err != nil || back != k {
			t.Errorf("%s came back as %s, %v", k, back, err)
		}
	}
}

func TestMachineKeepsHistoryAndRefusesWrongMoves(t *testing.T) {
	at := time.Unix(1000, 0)
	var seq uint64
	var kept []component.Transition
	m := component.NewMachine("A", func() time.Time { at = at.Add(time.Second); return at }, func() uint64 { seq++; return seq },
		func(_ string, t component.Transition) { kept = append(kept, t) })
	for _, to := range []component.State{component.Resolved, component.Starting, component.Active} {
		if _, err := m.Move(component.Move{To: to, Reason: "test", Actor: "kernel"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := m.Move(component.Move{To: component.Starting, Reason: "again", Actor: "operator"})
	if !errors.Is(err, component.ErrTransition) || !strings.Contains(err.Error(), "A cannot go from ACTIVE to STARTING (again, by operator)") {
		t.Errorf("ACTIVE to STARTING: %v", err)
	}
	if s, _ := m.State(); s != component.Active {
		t.Errorf("a refused move left %s", s)
	}
	if len(kept) != 3 || kept[2].Seq != 3 || kept[2].From != component.Starting || kept[2].Actor != "kernel" {
		t.Errorf("kept %+v", kept)
	}
	if got := component.AsOf(kept, kept[1].Time); got != component.Starting {
		t.Errorf("as of the second move: %s", got)
	}
	if got := component.AsOf(kept, time.Unix(0, 0)); got != component.Installed {
		t.Errorf("as of long ago: %s", got)
	}
}

// TestMachineIsTheTable drives a machine at random: it accepts a move exactly where the table has it, and its history replays.
func TestMachineIsTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var kept []component.Transition
		var seq uint64
		m := component.NewMachine("A", time.Now, func() uint64 { seq++; return seq }, func(_ string, x component.Transition) { kept = append(kept, x) })
		for range rapid.IntRange(0, 40).Draw(t, "moves") {
			before, _ := m.State()
			to := rapid.SampledFrom(component.States()).Draw(t, "to")
			_, err := m.Move(component.Move{To: to, Actor: "kernel"})
			if (err == nil) != before.May(to) {
				t.Fatalf("%s -> %s: %v", before, to, err)
			}
		}
		if err := component.Check(kept); err != nil {
			t.Fatal(err)
		}
		if s, _ := m.State(); s != component.AsOf(kept, time.Now()) {
			t.Fatalf("the machine is %s, its history says %s", s, component.AsOf(kept, time.Now()))
		}
	})
}

func TestCause(t *testing.T) {
	kind := cause.Define("CBN-PLAN-999", "A test.", "Do this.")
	err := kind.Wrap(kind.New("the leaf").At("f.yaml", 3, 7), "the top")
	c := component.CauseOf(fmt.Errorf("outer: %w", err))
	if c.Text != "the top" || len(c.Chain) != 1 || c.Leaf().Place() != "f.yaml:3" || c.Fix != "Do this." {
		t.Errorf("%+v", c)
	}
	under := component.Cause{Code: "X", Text: "under"}.Because(*c)
	if len(under.Chain) != 2 || under.Chain[0].Text != "the top" || len(under.Chain[0].Chain) != 0 || under.Leaf().Text != "the leaf" {
		t.Errorf("%+v", under)
	}
	b, jerr := json.Marshal(component.Cause{Code: "X", Chain: []component.Cause{}})
	if jerr != nil || string(b) != `{"code":"X","text":"","chain":[],"fix":""}` {
		t.Errorf("%s %v", b, jerr)
	}
	if back := component.FromProto(c.Proto()); back.String() != c.String() {
		t.Errorf("%s came back as %s", c, back)
	}
	if component.CauseOf(nil) != nil || component.FromProto(nil) != nil {
		t.Error("nothing became a cause")
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		text    string
		in, out []string
	}{
		{"[1.0,2)", []string{"1.0.0", "1.9.9"}, []string{"0.9.9", "2.0.0", "2.0.0-rc.1"}},
		{"(1.2,1.9]", []string{"1.2.1", "1.9.0"}, []string{"1.2.0", "1.9.1"}},
		{"[1.4,)", []string{"1.4.0", "9.0.0"}, []string{"1.3.9"}},
		{"1.2", []string{"1.2.0", "3.0.0"}, []string{"1.1.9"}},
		{"[1.0.0,1.0.0]", []string{"1.0.0"}, []string{"1.0.1", "0.9.0"}},
	} {
		r, err := component.ParseRange(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for _, v := range c.in {
			if !r.Has(semver.MustParse(v)) {
				t.Errorf("%s lacks %s", c.text, v)
			}
		}
		for _, v := range c.out {
			if r.Has(semver.MustParse(v)) {
				t.Errorf("%s has %s", c.text, v)
			}
		}
	}
	for _, bad := range []string{"", "x", "[1", "[1.0]", "[2,1)", "(1,1)", "[1,]", "[a,b)", "[1,2", "[,2)"} {
		if r, err := component.ParseRange(bad); err == nil {
			t.Errorf("%q was read as %s", bad, r)
		}
	}
	var none *component.Range
	if !none.Has(semver.MustParse("0.0.1")) || none.String() != "any" {
		t.Error("no range is not any version")
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"[1.0,2)", "(1,2]", "1.2.3", "[,", "[1.0,)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := component.ParseRange(s)
		if err != nil {
			return
		}
		again, err := component.ParseRange(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q is read as %q, which is read as %v, %v", s, r, again, err)
		}
	})
}

func TestResult(t *testing.T) {
	crash := map[component.ResultKind]bool{component.ResultExit: true, component.ResultSignal: true, component.ResultWatchdog: true,
		component.ResultStartTimeout: true, component.ResultOutOfMemory: true}
	for k := component.ResultNone; k <= component.ResultReplaced; k++ {
		if got := (component.Result{Kind: k}).Crash(); got != crash[k] {
			t.Errorf("%s counts as a crash: %t", k, got)
		}
	}
	if s := (component.Result{Kind: component.ResultSignal, Signal: "SIGKILL"}).String(); s != "signal SIGKILL" {
		t.Error(s)
	}
}
