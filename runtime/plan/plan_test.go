package plan_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
	"pgregory.net/rapid"
)

// pack makes a usable package of a name and more lines of its component.yaml.
func pack(t testing.TB, name string, lines ...string) *catalog.Package {
	t.Helper()
	text := fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: x\nexecutable: bin/x\n%s\n", name, strings.Join(lines, "\n"))
	d, err := catalog.ParseDescriptor("plugins/"+name+"/1.0.0/component.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &catalog.Package{Name: name, Version: "1.0.0", Descriptor: d}
}

func input(packages ...*catalog.Package) plan.Input {
	return plan.Input{Profile: "default", Packages: packages, Decide: func(string) profile.Decision {
		return profile.Decision{Enabled: true, By: profile.ByDefault, Rule: "default: no rule names it"}
	}}
}

// disable gives in with a component disabled by a flag.
func disable(in plan.Input, names ...string) plan.Input {
	decide := in.Decide
	in.Decide = func(name string) profile.Decision {
		if slices.Contains(names, name) {
			return profile.Decision{By: profile.ByFlag, Rule: "-Ddisable" + name + "=true (argument 1)", Fix: "Start without -Ddisable" + name + "=true."}
		}
		return decide(name)
	}
	return in
}

// order writes the plan's start order, and behind a bar who does not run.
func order(p *plan.Plan) string {
	var on, off []string
	for _, c := range p.Components {
		if c.Runs {
			on = append(on, c.Name)
		} else {
			off = append(off, c.Name)
		}
	}
	return strings.Join(on, " ") + " | " + strings.Join(off, " ")
}

// why writes all causes of a component, one a line.
func why(t *testing.T, p *plan.Plan, name string) string {
	t.Helper()
	c := p.Find(name)
	if c == nil || c.Runs {
		t.Fatalf("%s runs, or is not in the plan", name)
	}
	var out []string
	for _, x := range c.Causes {
		out = append(out, x.String())
	}
	return strings.Join(out, "\n")
}

const (
	givesA = `provides: [{service: t.A, version: 1.2.0, properties: {kind: fast}}]`
	needsA = `requires: [{name: a, service: t.A, version: "[1.0,2)", cardinality: 1..1}]`
)

func TestOrderFollowsWires(t *testing.T) {
	p := plan.Build(input(
		pack(t, "Consumer", needsA),
		pack(t, "Zed", givesA),
		pack(t, "Alone"),
		pack(t, "Early", "startLevel: 1"),
	))
	if got := order(p); got != "Early Alone Zed Consumer | " {
		t.Errorf("order %s", got)
	}
	c := p.Find("Consumer")
	want := plan.Wire{Reference: "a", Service: "t.A", Provider: "Zed", Version: "1.2.0", Cardinality: "1..1"}
	if len(c.Wires) != 1 || c.Wires[0] != want || !slices.Equal(c.After, []string{"Zed"}) || c.Order != 4 {
		t.Errorf("%+v", c)
	}
	if len(p.Broken()) != 0 || len(p.Running()) != 4 {
		t.Error("broken")
	}
}

func TestJSONIsThatOfTheSeams(t *testing.T) {
	in := disable(input(pack(t, "Zed", givesA), pack(t, "Consumer", needsA)), "Zed")
	in.Known = []string{"DataPurging", "Zed"}
	b, err := json.Marshal(plan.Build(in))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"components":[` +
		`{"name":"Consumer","installed":true,"enabled":true,"runs":false,"rule":"default: no rule names it","order":0,"wires":[],"causes":[` +
		`{"code":"CBN-PLAN-003","text":"Consumer needs a (t.A [1.0,2)) to start","chain":[` +
		`{"code":"CBN-PLAN-002","text":"Zed is disabled: -DdisableZed=true (argument 1)","chain":[],"fix":"Start without -DdisableZed=true."}],` +
		`"fix":"See the chain: its last entry is what is missing.","file":"plugins/Consumer/1.0.0/component.yaml","line":5}],` +
		`"references":[{"name":"a","service":"t.A","version":"[1.0,2)","cardinality":"1..1","minimum":1,"policy":"dynamic","option":"greedy","filter":""}],"gates":[]},` +
		`{"name":"DataPurging","installed":false,"enabled":true,"runs":false,"rule":"default: no rule names it","order":0,"wires":[],"causes":[` +
		`{"code":"CBN-PLAN-001","text":"DataPurging is not installed","chain":[],"fix":"Install its package with ` + "`carbonado plugin install DIR`" + `."}],"references":[],"gates":[]},` +
		`{"name":"Zed","installed":true,"enabled":false,"runs":false,"rule":"-DdisableZed=true (argument 1)","order":0,"wires":[],"causes":[` +
		`{"code":"CBN-PLAN-002","text":"Zed is disabled: -DdisableZed=true (argument 1)","chain":[],"fix":"Start without -DdisableZed=true."}],"references":[],"gates":[]}]}`
	if string(b) != want {
		t.Errorf("\n%s\nwant\n%s", b, want)
	}
}

func TestStrictCountsInstalledAndEnabledOnly(t *testing.T) {
	in := disable(input(pack(t, "Zed", givesA), pack(t, "Consumer", needsA)), "Zed")
	in.Known = []string{"DataPurging"}
	broken := plan.Build(in).Broken()
	if len(broken) != 1 || broken[0].Name != "Consumer" {
		t.Errorf("%v", broken)
	}
}

func TestWhyNot(t *testing.T) {
	for _, c := range []struct {
		name string
		in   plan.Input
		who  string
		want string
	}{
		{"nobody provides it", input(pack(t, "C", needsA)), "C",
			"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A [1.0,2)) to start <- CBN-PLAN-004 no installed component provides t.A"},
		{"version", input(pack(t, "C", needsA), pack(t, "P", `provides: [{service: t.A, version: 2.0.0}]`)), "C",
			"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A [1.0,2)) to start <- CBN-PLAN-005 P provides t.A in version 2.0.0, which is not in [1.0,2)"},
		{"filter", input(pack(t, "C", `requires: [{name: a, service: t.A, cardinality: 1..1, filter: {kind: slow}}]`), pack(t, "P", givesA)), "C",
			"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A with (kind=slow)) to start <- CBN-PLAN-006 P provides t.A with kind=fast, which does not match (kind=slow)"},
		{"filter without property", input(pack(t, "C", `requires: [{name: a, service: t.A, cardinality: 1..1, filter: {other: x}}]`), pack(t, "P", givesA)), "C",
			"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A with (other=x)) to start <- CBN-PLAN-006 P provides t.A with kind=fast, which does not match (other=x)"},
		{"itself", input(pack(t, "C", needsA, givesA)), "C",
			"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A [1.0,2)) to start <- CBN-PLAN-004 no other installed component provides t.A"},
		{"chain down to the leaf", disable(input(
			pack(t, "D", `requires: [{name: c, service: t.C, cardinality: 1..1}]`),
			pack(t, "C", `provides: [{service: t.C, version: 1.0.0}]`, `requires: [{name: b, service: t.B, cardinality: 1..1}]`),
			pack(t, "B", `provides: [{service: t.B, version: 1.0.0}]`, needsA),
			pack(t, "A", givesA)), "A"), "D",
			"CBN-PLAN-003 plugins/D/1.0.0/component.yaml:5: D needs c (t.C) to start" +
				" <- CBN-PLAN-003 plugins/C/1.0.0/component.yaml:6: C needs b (t.B) to start" +
				" <- CBN-PLAN-003 plugins/B/1.0.0/component.yaml:6: B needs a (t.A [1.0,2)) to start" +
				" <- CBN-PLAN-002 A is disabled: -DdisableA=true (argument 1)"},
		{"every candidate", disable(input(pack(t, "C", needsA), pack(t, "P", givesA), pack(t, "Q", `provides: [{service: t.A, version: 3.0.0}]`)), "P"), "C",
			"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A [1.0,2)) to start <- CBN-PLAN-002 P is disabled: -DdisableP=true (argument 1)\n" +
				"CBN-PLAN-003 plugins/C/1.0.0/component.yaml:5: C needs a (t.A [1.0,2)) to start <- CBN-PLAN-005 Q provides t.A in version 3.0.0, which is not in [1.0,2)"},
		{"share", input(pack(t, "C", "uses: [P/segments]"), pack(t, "P")), "C",
			"CBN-PLAN-008 plugins/C/1.0.0/component.yaml: C uses P/segments, but P 1.0.0 has no such share"},
	} {
		if got := why(t, plan.Build(c.in), c.who); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

func TestCircles(t *testing.T) {
	a := pack(t, "A", `provides: [{service: t.A, version: 1.0.0}]`, `requires: [{name: b, service: t.B, cardinality: 1..1}]`)
	b := pack(t, "B", `provides: [{service: t.B, version: 1.0.0}]`, `requires: [{name: a, service: t.A, cardinality: 1..1}]`)
	optional := pack(t, "B", `provides: [{service: t.B, version: 1.0.0}]`, `requires: [{name: a, service: t.A, cardinality: 0..1}]`)
	d := pack(t, "D", `requires: [{name: b, service: t.B, cardinality: 1..1}]`)

	p := plan.Build(input(a, b, d))
	if order(p) != " | A B D" {
		t.Fatalf("%s", order(p))
	}
	for _, who := range []string{"A", "B", "D"} {
		leaf := p.Find(who).Causes[0].Leaf()
		if leaf.Code != "CBN-PLAN-007" || leaf.Text != "A → B → A: each needs the next to start" {
			t.Errorf("%s: %s", who, p.Find(who).Causes[0])
		}
	}
	if p := plan.Build(input(a, optional)); order(p) != "B A | " || p.Find("B").Wires[0].Provider != "A" {
		t.Errorf("one side optional: %s %+v", order(p), p.Find("B").Wires)
	}
	// Another provider that is out of the circle breaks it, although the one in it ranks higher.
	other := pack(t, "Other", `provides: [{service: t.A, version: 1.0.0, ranking: -5}]`)
	p = plan.Build(input(a, b, other))
	if order(p) != "Other B A | " || p.Find("B").Wires[0].Provider != "Other" {
		t.Errorf("a way out: %s %+v", order(p), p.Find("B").Wires)
	}
	x, y := pack(t, "X", `requires: [{name: y, service: t.Y, cardinality: 0..1}]`, `provides: [{service: t.X, version: 1.0.0}]`),
		pack(t, "Y", `requires: [{name: x, service: t.X, cardinality: 0..1}]`, `provides: [{service: t.Y, version: 1.0.0}]`)
	if p := plan.Build(input(y, x)); order(p) != "X Y | " {
		t.Errorf("both optional: %s", order(p))
	}
}

func TestCardinalities(t *testing.T) {
	p := plan.Build(input(
		pack(t, "Low", givesA), pack(t, "High", `provides: [{service: t.A, version: 1.0.0, ranking: 7}]`),
		pack(t, "One", needsA),
		pack(t, "Maybe", `requires: [{name: a, service: t.A, cardinality: 0..1}, {name: none, service: t.None, cardinality: 0..1}]`),
		pack(t, "Many", `requires: [{name: a, service: t.A, cardinality: 0..n}]`),
	))
	wires := func(who string) string {
		var out []string
		for _, w := range p.Find(who).Wires {
			out = append(out, w.Reference+"="+w.Provider+" "+w.Cardinality)
		}
		return strings.Join(out, ", ")
	}
	for who, want := range map[string]string{"One": "a=High 1..1", "Maybe": "a=High 0..1", "Many": "a=High 0..n, a=Low 0..n"} {
		if got := wires(who); got != want {
			t.Errorf("%s: %s, want %s", who, got, want)
		}
	}
	if order(p) != "High Low Many Maybe One | " {
		t.Errorf("providers of optional references start first too: %s", order(p))
	}
}

func TestKernelServicesAreAlwaysThere(t *testing.T) {
	p := plan.Build(input(pack(t, "C", `requires: [{name: leases, service: carbonado.kernel.v1.Coordinator, version: "[1.0,2)", cardinality: 1..1}]`)))
	if c := p.Find("C"); !c.Runs || c.Wires[0].Provider != plan.KernelName || len(c.After) != 0 {
		t.Errorf("%+v", c)
	}
}

// TestDynamicOffers: what a component will publish is known in part only.
func TestDynamicOffers(t *testing.T) {
	need := pack(t, "C", `requires: [{name: a, service: t.A, cardinality: 1..1, filter: {stream: s, kind: fast}}]`)
	if p := plan.Build(input(need, pack(t, "P", `provides: [{service: t.A, version: 1.0.0, dynamic: true, properties: {kind: fast}}]`))); !p.Find("C").Runs {
		t.Errorf("%s", why(t, p, "C"))
	}
	p := plan.Build(input(need, pack(t, "P", `provides: [{service: t.A, version: 1.0.0, dynamic: true, properties: {kind: slow}}]`)))
	if p.Find("C").Runs {
		t.Error("a property that contradicts was overlooked")
	}
}

func TestBrokenPackagesAndConfiguration(t *testing.T) {
	bad := pack(t, "P", givesA)
	bad.Cause = component.CauseOf(catalog.ErrDigest.New("plugins/P/1.0.0/bin/x has the SHA-256 1, but 2 was installed"))
	p := plan.Build(input(bad, pack(t, "C", needsA)))
	if got := why(t, p, "C"); !strings.HasSuffix(got, "<- CBN-PLAN-009 the package P 1.0.0 must not be started <- CBN-PKG-003 plugins/P/1.0.0/bin/x has the SHA-256 1, but 2 was installed") {
		t.Error(got)
	}
	if fix := p.Find("P").Causes[0].Fix; !strings.Contains(fix, "carbonado plugin install") {
		t.Error(fix)
	}
	unreadable := &catalog.Package{Name: "U", Version: "1.0.0", Cause: component.CauseOf(catalog.ErrDescriptor.New("x"))}
	if p := plan.Build(input(unreadable)); p.Find("U").Runs || len(p.Broken()) != 1 {
		t.Errorf("%+v", p)
	}
	in := input(pack(t, "C"))
	in.Config = func(string) *config.Component {
		return &config.Component{Cause: &component.Cause{Code: "CBN-CFG-003", Text: "port", Chain: []component.Cause{}, File: "f.yaml", Line: 3}}
	}
	if got := why(t, plan.Build(in), "C"); got != "CBN-PLAN-010 the configuration of C is not right <- CBN-CFG-003 f.yaml:3: port" {
		t.Error(got)
	}
}

func TestUsesAreStartedFirst(t *testing.T) {
	p := plan.Build(input(pack(t, "Engine", "uses: [Store/segments, NotInstalled/x]"), pack(t, "Store", "shares: [{name: segments, mode: ro}]")))
	if order(p) != "Store Engine | " {
		t.Error(order(p))
	}
}

// TestPlanningAllocatesByTheBuild: what a build works with is made in a few pieces, however many components there are.
func TestPlanningAllocatesByTheBuild(t *testing.T) {
	allocations := func(components int) float64 {
		packages := []*catalog.Package{pack(t, "C0", "provides: [{service: t.S0, version: 1.0.0}]")}
		for i := 1; i < components; i++ {
			packages = append(packages, pack(t, fmt.Sprintf("C%d", i), fmt.Sprintf("provides: [{service: t.S%d, version: 1.0.0}]", i),
				fmt.Sprintf(`requires: [{name: a, service: t.S%d, version: "[1.0,2)", cardinality: 1..1}, {name: b, service: t.S0, cardinality: 0..1}]`, i-1)))
		}
		in := input(packages...)
		return testing.AllocsPerRun(3, func() { plan.Build(in) })
	}
	if few, many := allocations(100), allocations(400); many > few+50 {
		t.Errorf("%g allocations for 100 components, %g for 400", few, many)
	}
}

// world makes an installation at random.
func world(t *rapid.T, tb testing.TB) plan.Input {
	services := []string{"t.A", "t.B", "t.C", "t.D"}
	var packages []*catalog.Package
	var off, known []string
	n := rapid.IntRange(0, 9).Draw(t, "components")
	for i := range n {
		name := fmt.Sprintf("N%d", i)
		var lines []string
		if k := rapid.IntRange(0, 2).Draw(t, "provides"); k > 0 {
			var list []string
			for range k {
				list = append(list, fmt.Sprintf("{service: %s, version: %d.0.0, ranking: %d, dynamic: %t, properties: {p: %q}}",
					rapid.SampledFrom(services).Draw(t, "service"), rapid.IntRange(1, 2).Draw(t, "version"), rapid.IntRange(0, 2).Draw(t, "ranking"),
					rapid.Bool().Draw(t, "dynamic"), rapid.SampledFrom([]string{"1", "2"}).Draw(t, "p")))
			}
			lines = append(lines, "provides: ["+strings.Join(list, ", ")+"]")
		}
		if k := rapid.IntRange(0, 3).Draw(t, "requires"); k > 0 {
			var list []string
			for j := range k {
				filter := rapid.SampledFrom([]string{"", "", `, filter: {p: "1"}`, `, version: "[1.0,2)"`}).Draw(t, "filter")
				list = append(list, fmt.Sprintf("{name: r%d, service: %s, cardinality: %s%s}", j, rapid.SampledFrom(services).Draw(t, "service"),
					rapid.SampledFrom([]string{"1..1", "1..1", "0..1", "0..n"}).Draw(t, "cardinality"), filter))
			}
			lines = append(lines, "requires: ["+strings.Join(list, ", ")+"]")
		}
		lines = append(lines, fmt.Sprintf("startLevel: %d", rapid.IntRange(1, 3).Draw(t, "level")))
		packages = append(packages, pack(tb, name, lines...))
		if rapid.IntRange(0, 5).Draw(t, "off") == 0 {
			off = append(off, name)
		}
	}
	if rapid.Bool().Draw(t, "known") {
		known = []string{"Known", "N0"}
	}
	in := disable(input(packages...), off...)
	in.Known = known
	return in
}

func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := world(rt, t)
		first, err := json.Marshal(plan.Build(in))
		if err != nil {
			rt.Fatal(err)
		}
		in.Packages = rapid.Permutation(in.Packages).Draw(rt, "order")
		second, _ := json.Marshal(plan.Build(in))
		if string(first) != string(second) {
			rt.Fatalf("\n%s\n%s", first, second)
		}
	})
}

// TestPlansHold: the rules that every plan keeps, whatever is installed.
func TestPlansHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := world(rt, t)
		p := plan.Build(in)
		if len(p.Components) < len(in.Packages) {
			rt.Fatalf("%d packages, %d components", len(in.Packages), len(p.Components))
		}
		for i, c := range p.Components {
			switch {
			case c.Runs && (!c.Installed || !c.Enabled || len(c.Causes) != 0 || c.Order != i+1):
				rt.Fatalf("runs: %+v", c)
			case !c.Runs && (len(c.Causes) == 0 || c.Order != 0 || len(c.Wires) != 0):
				rt.Fatalf("does not run: %+v", c)
			case !c.Runs:
				for _, x := range c.Causes {
					if leaf := x.Leaf(); leaf.Code == "CBN-PLAN-003" || leaf.Fix == "" {
						rt.Fatalf("%s: the chain ends half-way: %s", c.Name, x)
					}
				}
				continue
			}
			for _, r := range c.Package.Descriptor.Requires {
				wired := 0
				for _, w := range c.Wires {
					if w.Reference != r.Name {
						continue
					}
					wired++
					provider := p.Find(w.Provider)
					if !provider.Runs || provider.Name == c.Name {
						rt.Fatalf("%s is wired to %s, which does not run", c.Name, w.Provider)
					}
					if r.Cardinality.Min > 0 && (provider.Order >= c.Order || !slices.Contains(c.After, w.Provider)) {
						rt.Fatalf("%s starts at %d, its provider %s at %d", c.Name, c.Order, w.Provider, provider.Order)
					}
				}
				if wired < r.Cardinality.Min || r.Cardinality.Max != component.Many && wired > r.Cardinality.Max {
					rt.Fatalf("%s: %s has %d wires", c.Name, r.Name, wired)
				}
			}
		}
	})
}

// TestMoreNeverHurts: switching a component on stops no other one.
func TestMoreNeverHurts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := world(rt, t)
		all := in
		all.Decide = input().Decide
		with := plan.Build(all)
		for _, c := range plan.Build(in).Running() {
			if !with.Find(c.Name).Runs {
				rt.Fatalf("%s runs only while others are disabled", c.Name)
			}
		}
	})
}
