package reconcile

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	sdk "carbonado.dev/sdk/component"
)

// second is another contract that a gate may expect: the test's components publish it as a marker of their own capability.
const second = sdk.CapabilityService

// listener is a component with a gate "transports"; more are further keys of the gate.
func listener(more string) string {
	return fmt.Sprintf("name: Listener\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\ngates: [{name: transports, service: %s%s}]\n", service, more)
}

// gated is a world with a Listener; opened has the providers that were bound when its gate opened.
func gated(t *testing.T, gate string, others ...string) (w *world, opened chan []string) {
	w = newWorld(t)
	opened = make(chan []string, 10)
	w.starts["Listener"] = func(c *sdk.C) error {
		c.Gate("transports", func(_ context.Context, bound []*sdk.Bound) {
			var names []string
			for _, b := range bound {
				names = append(names, b.Provider())
			}
			opened <- names
		})
		return nil
	}
	w.more(append([]string{listener(gate)}, others...)...)
	w.until("Listener", component.Active)
	return w, opened
}

func (w *world) opens(opened chan []string, want int) {
	w.t.Helper()
	select {
	case got := <-opened:
		if len(got) != want {
			w.t.Errorf("the gate opened with %v, want %d", got, want)
		}
	case <-time.After(15 * time.Second):
		v, _ := w.r.View("Listener")
		w.t.Fatalf("the gate did not open: %+v", v.Gates)
	}
}

// closed waits until the gate has counted so many, and is closed.
func (w *world) closed(opened chan []string, have, want int) View {
	w.t.Helper()
	v := w.untilView("Listener", func(v View) bool {
		return len(v.Gates) == 1 && !v.Gates[0].Open && v.Gates[0].Services[0].Have == have && v.Gates[0].Services[0].Want == want
	})
	select {
	case got := <-opened:
		w.t.Fatalf("the gate opened with %v", got)
	default:
	}
	return v
}

func TestCase35TheGateOpensAfterTheThird(t *testing.T) {
	w, opened := gated(t, ", count: 3", ranked("T1", 0, "a"), ranked("T2", 0, "a"))
	v := w.closed(opened, 2, 3)
	if v.Health != component.HealthTemporarilyUnavailable || !strings.Contains(v.HealthCause.Text, "2 of 3") {
		t.Errorf("health %s, %v", v.Health, v.HealthCause)
	}
	w.more(ranked("T3", 0, "a"))
	w.opens(opened, 3)
	w.untilView("Listener", func(v View) bool { return v.Health == component.HealthOK && v.Gates[0].Open })
}

// counts is a component that says how many services of the contract it will bring, when say is called.
func counts(name string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides:\n  - {service: %s, version: 1.0.0, dynamic: true}\n"+
		"  - {service: %s, version: 1.0.0, dynamic: true, properties: {capability.service: %s}}\n", name, service, second, service)
}

// TestCase36StaticAndComputedCounts: three that are known, and three that a component says at run time.
func TestCase36StaticAndComputedCounts(t *testing.T) {
	w, opened := gated(t, ", count: 3", ranked("T1", 0, "a"), ranked("T2", 0, "a"), ranked("T3", 0, "a"), counts("Many"))
	w.until("Many", component.Active)
	v := w.closed(opened, 3, 3)
	if !strings.Contains(v.HealthCause.Text, "Many has not said how many it brings") {
		t.Errorf("%s", v.HealthCause.Text)
	}
	c := w.context("Many")
	if _, err := c.Capability(service, 3); err != nil {
		t.Fatal(err)
	}
	w.closed(opened, 3, 6)
	for i := range 3 {
		if _, err := c.Publish(service, map[string]string{"n": fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.opens(opened, 6)
}

// TestCase37SeveralKindsInOneGate: it opens when both are complete.
func TestCase37SeveralKindsInOneGate(t *testing.T) {
	w := newWorld(t)
	opened := make(chan []string, 1)
	w.starts["Listener"] = func(c *sdk.C) error {
		c.Gate("both", func(_ context.Context, bound []*sdk.Bound) { opened <- make([]string, len(bound)) })
		return nil
	}
	w.more(fmt.Sprintf("name: Listener\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\ngates:\n  - name: both\n    services: [{service: %[1]s, filter: \"(kind=tcp)\", count: 1}, {service: %[1]s, filter: \"(kind=udp)\", count: 2}]\n", service),
		ranked("A", 0, "udp"), ranked("B", 0, "udp"))
	w.untilView("Listener", func(v View) bool {
		return len(v.Gates) == 1 && !v.Gates[0].Open && v.Gates[0].Services[0].Have == 0 && v.Gates[0].Services[1].Have == 2
	})
	w.more(ranked("C", 0, "tcp"))
	w.opens(opened, 3)
}

func TestCase38ZeroExpectedOpensAtOnce(t *testing.T) {
	w, opened := gated(t, "")
	w.opens(opened, 0)
}

// TestCase39ALateProvider: the gate waits for one that registers later, by the count that its package says.
func TestCase39ALateProvider(t *testing.T) {
	w, opened := gated(t, "", fmt.Sprintf("name: Late\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: %s, version: 1.0.0, dynamic: true, count: 1}]\n", service))
	w.closed(opened, 0, 1)
	w.untilView("Listener", func(v View) bool {
		return v.HealthCause != nil && strings.Contains(v.HealthCause.Text, "Late brought 0 of 1 and is ACTIVE")
	})
	if _, err := w.context("Late").Publish(service, nil); err != nil {
		t.Fatal(err)
	}
	w.opens(opened, 1)
}

// TestCase40AProviderThatNeverComes: at the deadline the state is that of the policy, and names provider, service, have and want.
func TestCase40AProviderThatNeverComes(t *testing.T) {
	w := newWorld(t)
	w.fail("Gone", errTest.New("no executable"))
	gone := strings.Replace(ranked("Gone", 0, "a"), "\nprovides", "\nrestart: {budget: 1, per: 10m}\nprovides", 1)
	w.more(listener(", deadline: 300ms"), gone, ranked("T1", 0, "a"))
	v := w.untilView("Listener", func(v View) bool { return v.Health == component.HealthCritical })
	for _, part := range []string{"transports", service, "1 of 2", "Gone brought 0 of 1 and is ", "its deadline of 300ms has passed"} {
		if !strings.Contains(v.HealthCause.Text, part) {
			t.Errorf("the cause does not say %q: %s", part, v.HealthCause.Text)
		}
	}
	if v.State != component.Active || !v.Gates[0].Expired {
		t.Errorf("%s %+v", v.State, v.Gates)
	}
	// It may still come.
	w.until("Gone", component.Failed)
	w.fail("Gone", nil)
	w.start("Gone")
	w.untilView("Listener", func(v View) bool { return v.Health == component.HealthOK && v.Gates[0].Open })
}

func TestCase40TheGateThatFails(t *testing.T) {
	w, opened := gated(t, ", count: 1, deadline: 300ms, policy: fail")
	v := w.until("Listener", component.Failed)
	if v.Cause == nil || v.Cause.Code != ErrGate.ID() || !strings.Contains(v.Cause.Text, "0 of 1") || v.Restarts != 0 {
		t.Errorf("%v, restarts %d", v.Cause, v.Restarts)
	}
	w.more(ranked("T1", 0, "a"))
	w.until("T1", component.Active)
	w.start("Listener")
	w.opens(opened, 1)
}

// TestCase42SkippedServicesAreNotCounted: neither expected nor had.
func TestCase42SkippedServicesAreNotCounted(t *testing.T) {
	skipped := strings.Replace(ranked("Aside", 0, "a"), "kind: a", `kind: a, gate.skip: "true"`, 1)
	w, opened := gated(t, ", count: 2", skipped, ranked("T1", 0, "a"))
	w.until("Aside", component.Active)
	w.closed(opened, 1, 2)
	w.more(ranked("T2", 0, "a"))
	w.opens(opened, 3) // it is bound all the same
}

// TestCase43ADisabledProviderLowersTheCount: the plan says so, and by which rule.
func TestCase43ADisabledProviderLowersTheCount(t *testing.T) {
	w := newWorld(t)
	w.disabled["T2"] = true
	opened := make(chan []string, 1)
	w.starts["Listener"] = func(c *sdk.C) error {
		c.Gate("transports", func(_ context.Context, bound []*sdk.Bound) { opened <- make([]string, len(bound)) })
		return nil
	}
	w.more(listener(", count: 3"), ranked("T1", 0, "a"), ranked("T2", 0, "a"), ranked("T3", 0, "a"))
	w.opens(opened, 2)
	var b strings.Builder
	if err := w.r.Plan().Print(&b, "table", false); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "gate transports: expects 2 of "+service+" (T1, T3); 1 less: T2 is disabled by test; at 1m0s degrade") {
		t.Errorf("the plan does not explain it:\n%s", b.String())
	}
}

// TestAGateIsLoweredWhileItWaits: disabling the provider that is missing opens it.
func TestAGateIsLoweredWhileItWaits(t *testing.T) {
	w := newWorld(t)
	w.fail("T2", errTest.New("no executable"))
	opened := make(chan []string, 1)
	w.starts["Listener"] = func(c *sdk.C) error {
		c.Gate("transports", func(_ context.Context, bound []*sdk.Bound) { opened <- make([]string, len(bound)) })
		return nil
	}
	w.more(listener(""), ranked("T1", 0, "a"), ranked("T2", 0, "a"))
	w.closed(opened, 1, 2)
	w.mu.Lock()
	w.disabled["T2"] = true
	w.mu.Unlock()
	w.apply()
	w.opens(opened, 1)
}

// TestCase44ALateServiceIsADynamicEvent: the gate opens once; what comes later is told by the reference.
func TestCase44ALateServiceIsADynamicEvent(t *testing.T) {
	w, opened := gated(t, ", count: 1", ranked("T1", 0, "a"))
	w.opens(opened, 1)
	seen := make(chan int, 100)
	c := w.context("Listener")
	watch, end := context.WithCancel(c.Context())
	defer end()
	go c.Refs("transports").Watch(watch, func(all []*sdk.Bound) { seen <- len(all) })
	w.more(ranked("T2", 0, "a"))
	for n := range seen {
		if n == 2 {
			break
		}
	}
	select {
	case <-opened:
		t.Error("the gate opened twice")
	default:
	}
	// Usable after boot too: another process of the listener has a gate of its own.
	if err := w.r.Restart(ctx(t), "Listener", "ann", false); err != nil {
		t.Fatal(err)
	}
	w.opens(opened, 2)
}
