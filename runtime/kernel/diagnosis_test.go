package kernel

import (
	"slices"
	"testing"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
)

func TestTheCriticalPathGoesOverProvidersAndStartLevels(t *testing.T) {
	at := func(name string, level int, after ...string) *plan.Component {
		return &plan.Component{Name: name, After: after, Package: &catalog.Package{Descriptor: &component.Descriptor{StartLevel: level}}}
	}
	running := []*plan.Component{at("Store", 10), at("Slow", 10), at("Engine", 100, "Store"), at("Script", 100, "Engine")}
	steps := map[string]*admin.BootStep{}
	for name, when := range map[string][2]int64{"Store": {10, 50}, "Slow": {10, 900}, "Engine": {900, 950}, "Script": {951, 990}} {
		steps[name] = &admin.BootStep{Name: name, StartedAtMs: when[0], ActiveAtMs: when[1]}
	}
	var b admin.Boot
	chain(&b, running, steps)
	if want := []string{"Slow", "Engine", "Script"}; !slices.Equal(b.Critical, want) || b.TotalMs != 990 {
		t.Errorf("critical %v, %d ms, want %v", b.Critical, b.TotalMs, want)
	}
	if steps["Store"].After != "" || steps["Engine"].After != "Slow" || steps["Script"].After != "Engine" {
		t.Errorf("after: Store %q, Engine %q, Script %q", steps["Store"].After, steps["Engine"].After, steps["Script"].After)
	}
}
