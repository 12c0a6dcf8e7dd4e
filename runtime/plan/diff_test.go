package plan_test

import (
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
)

func TestCase57ADiffSaysWhatWouldBeDoneAndInWhichOrder(t *testing.T) {
	a, b := planOf(t), planOf(t)
	if d := plan.Diff(a, b); len(d) != 0 {
		t.Fatalf("equal plans differ: %v", d)
	}
	if plan.ID(a, b) != plan.ID(b, a) || plan.ID(a, b) != plan.ID(a, planOf(t)) {
		t.Error("equal plans have several identities")
	}
	// Another package and another configuration.
	store := b.Find("DataService")
	p := *store.Package
	p.Digest = "other"
	store.Package = &p
	b.Find("Identity").Config = &config.Component{Digest: "other"}
	b.Components = append(b.Components, plan.Component{Name: "New", Installed: true, Enabled: true, Runs: true, Order: 99, Rule: "default", Package: &catalog.Package{Version: "1.0.0"}})
	var got []string
	for _, c := range plan.Diff(a, b) {
		got = append(got, string(c.Kind)+" "+c.Component)
	}
	if len(got) < 6 || got[0] != "update DataService" || got[1] != "restart Identity" || got[2] != "add New" || got[3] != "start New" {
		t.Errorf("the changes are %v", got)
	}
	rebound := map[string]bool{}
	for _, c := range got[4:] {
		rebound[c] = true
	}
	if !rebound["rebind EventSink"] || !rebound["rebind EventReceiver"] || rebound["rebind HTTPReceiver"] {
		t.Errorf("rebound are %v", got[4:])
	}
	if plan.ID(a, b) == plan.ID(a, a) {
		t.Error("another plan has the same identity")
	}
	// A profile: what stops does so in the reverse of its start, before anything starts.
	d := plan.Diff(planOf(t), planOf(t, "-dashboardNode"))
	last := 1 << 30
	for _, c := range d {
		if c.Kind != plan.Stop {
			last = -1
			continue
		}
		order := a.Find(c.Component).Order
		if order >= last {
			t.Errorf("%s stops out of order: %v", c.Component, d)
		}
		last = order
		if c.Reason == "" {
			t.Errorf("%s has no reason", c)
		}
	}
}

// TestAConfigurationIsModifiedOrReplaced: by what component.yaml says of the keys that changed.
func TestAConfigurationIsModifiedOrReplaced(t *testing.T) {
	for _, c := range []struct{ next, want string }{
		{`{"maxBody":2,"inFlight":1}`, "modify HTTPReceiver: its configuration is another one: maxBody"},
		{`{"maxBody":1,"inFlight":2}`, "restart HTTPReceiver: its configuration is another one: inFlight"},
		{`{"maxBody":2,"inFlight":2}`, "restart HTTPReceiver: its configuration is another one: inFlight, maxBody"},
	} {
		a, b := planOf(t), planOf(t)
		a.Find("HTTPReceiver").Config = config.Given("HTTPReceiver", []byte(`{"maxBody":1,"inFlight":1}`))
		b.Find("HTTPReceiver").Config = config.Given("HTTPReceiver", []byte(c.next))
		b.Find("HTTPReceiver").Package.Descriptor.Modified = []string{"maxBody"}
		if d := plan.Diff(a, b); len(d) == 0 || d[0].String() != c.want {
			t.Errorf("%v, want %s", d, c.want)
		}
	}
}
