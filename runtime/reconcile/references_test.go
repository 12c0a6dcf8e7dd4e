package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/registry"
	sdk "carbonado.dev/sdk/component"
	"carbonado.dev/sdk/filter"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// ranked is a provider with a ranking and a property kind.
func ranked(name string, ranking int, kind string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: %s, version: 1.0.0, ranking: %d, properties: {kind: %s}}]\n", name, service, ranking, kind)
}

// asks is a consumer whose reference has more keys.
func asks(name, keys string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nrequires: [{name: ref, service: %s, %s}]\n", name, service, keys)
}

// boundTo waits until the reference "ref" of a component is bound to these, and gives the component's generation.
func (w *world) boundTo(name string, providers ...string) uint64 {
	w.t.Helper()
	return w.untilView(name, func(v View) bool {
		var have []string
		for _, b := range v.Bindings {
			if !b.Suspended {
				have = append(have, b.Provider)
			}
		}
		slices.Sort(have)
		return v.State == component.Active && slices.Equal(have, providers)
	}).Generation
}

func (w *world) stop(name string) {
	w.t.Helper()
	if err := w.r.Stop(ctx(w.t), name, "ann"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) start(name string) {
	w.t.Helper()
	if err := w.r.Start(ctx(w.t), name, "ann"); err != nil {
		w.t.Fatal(err)
	}
}

// fail lets starts of a component fail, or with nil succeed again.
func (w *world) fail(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failStart[name] = err
}

// more adds packages to the plan.
func (w *world) more(descriptors ...string) {
	w.packages = append(w.packages, newWorldPackages(w.t, descriptors...)...)
	w.apply()
}

// call makes a call over the reference "ref" of a component.
func (w *world) call(name string) error {
	_, err := analyticsv1.NewAuthorizerClient(w.context(name).Ref("ref")).Authorize(ctx(w.t), &analyticsv1.AuthorizeRequest{})
	return err
}

// TestCase16HigherRankingThenTheOlder: among equals the one that was there first.
func TestCase16HigherRankingThenTheOlder(t *testing.T) {
	w := newWorld(t, asks("Asker", "cardinality: 1..1"), ranked("Low", 1, "a"), ranked("High", 5, "b"))
	w.boundTo("Asker", "High")
	w.until("Low", component.Active)
	w.more(ranked("AlsoHigh", 5, "c"))
	w.until("AlsoHigh", component.Active)
	if found := w.r.Registry.Find(registry.Query{Service: service}); len(found) != 3 || found[0].Provider != "High" || found[1].Provider != "AlsoHigh" || found[2].Provider != "Low" {
		t.Errorf("%v", found)
	}
	w.boundTo("Asker", "High")
}

// TestCase18AConsumerIsToldBeforeItsProviderGoes: it can still call the provider when it is told.
func TestCase18AConsumerIsToldBeforeItsProviderGoes(t *testing.T) {
	w := newWorld(t)
	told := make(chan error, 1)
	var gone *sdk.Bound
	w.starts["Optional"] = func(c *sdk.C) error {
		c.Refs("ref").OnUnbind(func(ctx context.Context, leaving *sdk.Bound) {
			gone = leaving
			_, err := analyticsv1.NewAuthorizerClient(leaving).Authorize(ctx, &analyticsv1.AuthorizeRequest{})
			told <- err
		})
		return nil
	}
	w.more(asks("Optional", "cardinality: 0..1"), ranked("Oracle", 0, "last"))
	w.until("Oracle", component.Active)
	w.boundTo("Optional", "Oracle")
	w.stop("Oracle")
	select {
	case err := <-told:
		if err != nil {
			t.Errorf("the provider could not be called: %v", err)
		}
	default:
		t.Fatal("the provider stopped, and its consumer was not told before")
	}
	w.boundTo("Optional")
	// Case 19: what a consumer holds of a service that is gone stays readable.
	if gone.Provider() != "Oracle" || gone.Properties()["kind"] != "last" {
		t.Errorf("the reference that is gone says %s %v", gone.Provider(), gone.Properties())
	}
}

func TestCase22TheMissingReferenceAndItsCandidatesAreNamed(t *testing.T) {
	w := newWorld(t, asks("Asker", `cardinality: 1..1, version: "[1,2)", filter: "(kind=gold)"`), ranked("Iron", 0, "iron"),
		strings.Replace(ranked("Old", 0, "gold"), "version: 1.0.0, ranking", "version: 2.0.0, ranking", 1))
	v := w.until("Asker", component.Waiting)
	for _, part := range []string{"Asker needs ref", service, "[1,2)", "(kind=gold)", "Iron provides", "kind=iron", "Old provides", "in version 2.0.0, which is not in [1,2)"} {
		if !strings.Contains(v.Cause.String(), part) {
			t.Errorf("the cause does not say %q:\n%s", part, v.Cause)
		}
	}
	if err := w.r.Start(ctx(t), "Asker", "ann"); err == nil || !strings.Contains(err.Error(), "Asker needs ref") {
		t.Errorf("start: %v", err)
	}
}

// both is a component that provides the service and needs it.
func both(name, cardinality, of string) string {
	return fmt.Sprintf("name: %[1]s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: %[2]s, version: 1.0.0, properties: {of: %[1]s}}]\n"+
		"requires: [{name: ref, service: %[2]s, cardinality: %[3]s, filter: {of: %[4]s}}]\n", name, service, cardinality, of)
}

// TestCase23ACircleOfMandatoryReferencesNeverStarts; with one optional side both start, and that side is bound later.
func TestCase23ACircleOfMandatoryReferencesNeverStarts(t *testing.T) {
	w := newWorld(t, both("A", "1..1", "B"), both("B", "1..1", "A"))
	for _, name := range []string{"A", "B"} {
		if v := w.until(name, component.Waiting); !strings.Contains(v.Cause.String(), "A → B → A") {
			t.Errorf("%s: %s", name, v.Cause)
		}
	}
	w.packages = newWorldPackages(t, both("A", "0..1", "B"), both("B", "1..1", "A"))
	w.apply()
	w.boundTo("B", "A")
	w.boundTo("A", "B")
	if v, _ := w.r.View("A"); v.Generation != 1 {
		t.Errorf("A was started anew for its optional side: generation %d", v.Generation)
	}
	if err := w.call("A"); err != nil {
		t.Error(err)
	}
}

// TestCase25AStaticReferenceStartsItsConsumerAnew when the bound provider dies and another one is there.
func TestCase25AStaticReferenceStartsItsConsumerAnew(t *testing.T) {
	w := newWorld(t, asks("Asker", "cardinality: 1..1, policy: static"), ranked("First", 5, "a"), ranked("Second", 1, "b"))
	before := w.boundTo("Asker", "First")
	w.fail("First", errTest.New("it does not come back"))
	w.proc("First").crash()
	if after := w.boundTo("Asker", "Second"); after != before+1 {
		t.Errorf("generation %d, was %d", after, before)
	}
	if v, _ := w.r.View("Asker"); v.Restarts != 0 {
		t.Error("the change is charged to the consumer")
	}
	// A provider that is stopped goes only after its static consumer has let it go.
	w.until("First", component.Failed)
	w.fail("First", nil)
	w.start("First")
	before = w.boundTo("Asker", "First") // greedy: the better one is back
	w.stop("First")
	if after := w.boundTo("Asker", "Second"); after != before+1 {
		t.Errorf("generation %d, was %d", after, before)
	}
}

// TestCase26ADynamicReferenceHasNoGap: the new provider is bound before the old one is unbound.
func TestCase26ADynamicReferenceHasNoGap(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var seen []string
	w.starts["Asker"] = func(c *sdk.C) error {
		go c.Refs("ref").Watch(c.Context(), func(all []*sdk.Bound) {
			mu.Lock()
			defer mu.Unlock()
			var names []string
			for _, b := range all {
				names = append(names, b.Provider())
			}
			seen = append(seen, strings.Join(names, "+"))
		})
		return nil
	}
	w.more(asks("Asker", "cardinality: 1..1"), ranked("First", 5, "a"), ranked("Second", 1, "b"))
	before := w.boundTo("Asker", "First")
	w.fail("First", errTest.New("it does not come back"))
	w.proc("First").crash()
	if err := w.call("Asker"); err != nil {
		t.Errorf("a call while the provider dies: %v", err)
	}
	if after := w.boundTo("Asker", "Second"); after != before {
		t.Errorf("the consumer was started anew: generation %d, was %d", after, before)
	}
	w.until("First", component.Failed)
	w.fail("First", nil)
	w.start("First")
	w.boundTo("Asker", "First")
	w.stop("First")
	if after := w.boundTo("Asker", "Second"); after != before {
		t.Errorf("the consumer was started anew: generation %d, was %d", after, before)
	}
	mu.Lock()
	defer mu.Unlock()
	if at := slices.Index(seen[1:], ""); at >= 0 {
		t.Errorf("the consumer saw a gap: %q", seen)
	}
}

// TestReluctantKeepsWhatItHas: a better provider is not taken, until the bound one goes.
func TestReluctantKeepsWhatItHas(t *testing.T) {
	w := newWorld(t, ranked("Plain", 1, "a"))
	w.until("Plain", component.Active)
	w.more(asks("Dynamic", "cardinality: 1..1, option: reluctant"), asks("Static", "cardinality: 0..1, policy: static, option: reluctant"),
		asks("Many", "cardinality: 0..n, policy: static, option: reluctant"), asks("Greedy", "cardinality: 0..n, policy: static"))
	for _, name := range []string{"Dynamic", "Static", "Many", "Greedy"} {
		w.boundTo(name, "Plain")
	}
	generations := map[string]uint64{}
	for _, v := range w.r.Views() {
		generations[v.Name] = v.Generation
	}
	w.more(ranked("Better", 9, "b"))
	if got := w.boundTo("Greedy", "Better", "Plain"); got != generations["Greedy"]+1 {
		t.Errorf("a greedy static reference to many did not start its consumer anew: generation %d", got)
	}
	for _, name := range []string{"Dynamic", "Static", "Many"} {
		if got := w.boundTo(name, "Plain"); got != generations[name] {
			t.Errorf("%s: generation %d", name, got)
		}
	}
	w.stop("Plain")
	for name, more := range map[string]uint64{"Dynamic": 0, "Static": 1, "Many": 1} {
		if got := w.boundTo(name, "Better"); got != generations[name]+more {
			t.Errorf("%s: generation %d, was %d", name, got, generations[name])
		}
	}
}

// TestAStaticReferenceThatBeganEmpty: reluctant never binds later; greedy starts its consumer anew.
func TestAStaticReferenceThatBeganEmpty(t *testing.T) {
	w := newWorld(t, asks("Reluctant", "cardinality: 0..1, policy: static, option: reluctant"), asks("Greedy", "cardinality: 0..1, policy: static"))
	w.boundTo("Reluctant")
	w.boundTo("Greedy")
	w.more(provider("Oracle"))
	if got := w.boundTo("Greedy", "Oracle"); got != 2 {
		t.Errorf("generation %d", got)
	}
	if got := w.boundTo("Reluctant"); got != 1 {
		t.Errorf("generation %d", got)
	}
}

// TestNeededAtTheStartOnly: without a provider it does not start; once it runs it goes on without one.
func TestNeededAtTheStartOnly(t *testing.T) {
	w := newWorld(t, asks("Asker", "cardinality: 1..1 at start"))
	w.until("Asker", component.Waiting)
	w.more(provider("Oracle"))
	generation := w.boundTo("Asker", "Oracle")
	w.stop("Oracle")
	if got := w.boundTo("Asker"); got != generation {
		t.Errorf("generation %d, was %d", got, generation)
	}
	w.mu.Lock()
	w.disabled["Oracle"] = true
	w.mu.Unlock()
	w.apply()
	w.boundTo("Asker")
	if err := w.r.Restart(ctx(t), "Asker", "ann", true); err == nil {
		t.Error("it was started without its provider")
	}
	w.until("Asker", component.Waiting)
}

// TestCase28MinimumCardinality: three are asked for; with two it waits; configuration may ask for fewer.
func TestCase28MinimumCardinality(t *testing.T) {
	w := newWorld(t, asks("Asker", "cardinality: 1..n, minimum: 3"), ranked("P1", 0, "a"), ranked("P2", 0, "a"))
	v := w.until("Asker", component.Waiting)
	if !strings.Contains(v.Cause.String(), "2 of 3 providers run: P1, P2") {
		t.Errorf("cause: %s", v.Cause)
	}
	w.more(ranked("P3", 0, "a"))
	w.boundTo("Asker", "P1", "P2", "P3")
	w.stop("P2")
	if v = w.until("Asker", component.Waiting); !strings.Contains(v.Cause.String(), "(2 of 3)") || !strings.Contains(v.Cause.String(), "P2") {
		t.Errorf("cause: %s", v.Cause)
	}
	two := 2
	w.mu.Lock()
	w.refs["Asker"] = map[string]*component.Override{"ref": {Minimum: &two}}
	w.mu.Unlock()
	w.apply()
	w.boundTo("Asker", "P1", "P3")
	w.stop("P1")
	w.until("Asker", component.Waiting)
}

// TestCase29AFilterChangedByConfiguration: nothing matches, it waits; changed back, it runs; to another provider, it stays.
func TestCase29AFilterChangedByConfiguration(t *testing.T) {
	w := newWorld(t, asks("Asker", `cardinality: 1..1, filter: "(kind=a)"`), ranked("PA", 0, "a"), ranked("PB", 0, "b"))
	w.until("PB", component.Active)
	w.boundTo("Asker", "PA")
	configure := func(text string) {
		t.Helper()
		w.mu.Lock()
		delete(w.refs, "Asker")
		if text != "" {
			f, err := filter.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			w.refs["Asker"] = map[string]*component.Override{"ref": {Filter: f}}
		}
		w.mu.Unlock()
		w.apply()
	}
	configure("(kind=c)")
	if v := w.until("Asker", component.Waiting); !strings.Contains(v.Cause.String(), "(kind=c)") {
		t.Errorf("cause: %s", v.Cause)
	}
	configure("")
	generation := w.boundTo("Asker", "PA")
	configure("(kind=b)")
	if got := w.boundTo("Asker", "PB"); got != generation {
		t.Errorf("a dynamic reference was given another filter and its consumer was started anew: generation %d, was %d", got, generation)
	}
	if err := w.call("Asker"); err != nil {
		t.Error(err)
	}
}
