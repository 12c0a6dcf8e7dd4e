package reconcile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	sdk "carbonado.dev/sdk/component"
)

// heeds is a component that depends on the health of DB.
func heeds(name, keys string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nrequires: [{name: ref, service: \"health:DB=ok\", %s}]\n", name, keys)
}

// TestCase30HealthAsADependency: as the health of DB flips, dependants end and start, are started anew, or are told, each by its policy.
func TestCase30HealthAsADependency(t *testing.T) {
	w := newWorld(t, provider("DB"), heeds("Needs", "cardinality: 1..1"), heeds("Told", "cardinality: 0..1"), heeds("Anew", "cardinality: 0..1, policy: static"),
		heeds("AtStart", "cardinality: 1..1 at start"), heeds("Patient", "cardinality: 1..1, grace: 10m"), strings.Replace(heeds("Content", "cardinality: 1..1"), "=ok", "=warn", 1))
	all := []string{"Needs", "Told", "Anew", "AtStart", "Patient", "Content"}
	generations := map[string]uint64{}
	for _, name := range all {
		generations[name] = w.boundTo(name, "health:DB")
	}
	if !w.context("Told").Ref("ref").Bound() {
		t.Error("the condition is not bound")
	}
	if err := w.context("Told").Refs("ref").All()[0].Invoke(ctx(t), "/a.B/C", nil, nil); err == nil || !strings.Contains(err.Error(), "condition") {
		t.Errorf("a call of a condition: %v", err)
	}
	w.context("DB").SetHealth(sdk.Warn, errTest.New("slow disk"))
	v := w.until("Needs", component.Waiting)
	for _, part := range []string{"health:DB=ok", "DB is ACTIVE, health WARN", "slow disk"} {
		if !strings.Contains(v.Cause.String(), part) {
			t.Errorf("the cause does not say %q: %s", part, v.Cause)
		}
	}
	for name, more := range map[string]uint64{"Told": 0, "Anew": 1, "AtStart": 0} {
		if got := w.boundTo(name); got != generations[name]+more {
			t.Errorf("%s: generation %d, was %d", name, got, generations[name])
		}
	}
	for _, name := range []string{"Patient", "Content"} {
		if got := w.boundTo(name, "health:DB"); got != generations[name] {
			t.Errorf("%s: generation %d, was %d", name, got, generations[name])
		}
	}
	w.context("DB").SetHealth(sdk.OK, nil)
	for _, name := range all {
		w.boundTo(name, "health:DB")
	}
	// A crash is a lost health too, until the next process says that it is well.
	before := w.boundTo("Needs", "health:DB")
	w.proc("DB").crash()
	w.untilView("Needs", func(v View) bool { return v.Generation > before && v.State == component.Active })
}

// TestCase30TheGraceOfACondition: a health that is lost for less than the grace is not lost.
func TestCase30TheGraceOfACondition(t *testing.T) {
	w := newWorld(t, provider("DB"), heeds("Patient", "cardinality: 1..1, grace: 200ms"))
	before := w.boundTo("Patient", "health:DB")
	lost := time.Now()
	w.context("DB").SetHealth(sdk.Warn, nil)
	w.until("Patient", component.Waiting)
	if took := time.Since(lost); took < 200*time.Millisecond {
		t.Errorf("the grace was %s", took)
	}
	w.context("DB").SetHealth(sdk.OK, nil)
	if got := w.boundTo("Patient", "health:DB"); got != before+1 {
		t.Errorf("generation %d", got)
	}
}

// TestTemporaryBecomesCritical: after the grace that component.yaml gives.
func TestTemporaryBecomesCritical(t *testing.T) {
	w := newWorld(t, provider("DB")+"health: {grace: 200ms}\n")
	w.until("DB", component.Active)
	w.context("DB").SetHealth(sdk.TemporarilyUnavailable, errTest.New("replays its log"))
	w.untilView("DB", func(v View) bool { return v.Health == component.HealthTemporarilyUnavailable })
	v := w.untilView("DB", func(v View) bool { return v.Health == component.HealthCritical })
	if !strings.Contains(v.HealthCause.String(), "200ms") || !strings.Contains(v.HealthCause.String(), "replays its log") {
		t.Errorf("%s", v.HealthCause)
	}
	w.context("DB").SetHealth(sdk.OK, nil)
	w.untilView("DB", func(v View) bool { return v.Health == component.HealthOK })
}

// TestCase59ACrashIsChargedToItsComponentAlone, and reset-failed gives the budget back.
func TestCase59ACrashIsChargedToItsComponentAlone(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	for {
		v := w.untilView("Oracle", func(v View) bool { return v.State == component.Active || v.State == component.Failed })
		if v.State == component.Failed {
			if v.Restarts != 4 { // a budget of three, and the crash that finds it spent
				t.Errorf("%d crashes", v.Restarts)
			}
			break
		}
		w.proc("Oracle").crash()
		// The crash is counted before the state moves.
		w.untilView("Oracle", func(now View) bool {
			return now.Restarts > v.Restarts && (now.Generation > v.Generation || now.State == component.Failed)
		})
	}
	if v := w.until("Asker", component.Waiting); v.Restarts != 0 {
		t.Errorf("the consumer was charged with %d crashes", v.Restarts)
	}
	started := w.proc("Oracle").generation
	if err := w.r.WaitSettled(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if got := w.proc("Oracle").generation; got != started {
		t.Errorf("a failed component was started again: generation %d", got)
	}
	if err := w.r.ResetFailed(ctx(t), "Oracle", "ann"); err != nil {
		t.Fatal(err)
	}
	w.until("Asker", component.Active)
	if err := w.r.ResetFailed(ctx(t), "Asker", "ann"); err != nil {
		t.Errorf("reset of one that has not failed: %v", err)
	}
	if err := w.r.ResetFailed(ctx(t), "Nobody", "ann"); err == nil {
		t.Error("reset of a component that there is not")
	}
}
