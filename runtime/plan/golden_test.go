package plan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// tree makes packages of every component.yaml of this repository.
func tree(t *testing.T) []*catalog.Package {
	t.Helper()
	files, err := filepath.Glob("../../components/*/component.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	var out []*catalog.Package
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := catalog.ParseDescriptor(f, data)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &catalog.Package{Name: d.Name, Version: d.Version.String(), Descriptor: d})
	}
	return out
}

// planOf is the plan of this repository's components for a command line.
func planOf(t *testing.T, args ...string) *plan.Plan {
	t.Helper()
	set, err := profile.Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	packages := tree(t)
	req := profile.Request{}
	for _, p := range packages {
		req.Installed = append(req.Installed, p.Name)
	}
	if req.Args, _, err = set.ParseArgs(args); err != nil {
		t.Fatal(err)
	}
	r, err := set.Resolve(req)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Build(plan.Input{Profile: r.Profile, Packages: packages, Decide: r.Decide, Known: r.Known()})
}

// golden writes a plan without the lines of descriptors, which change with every edit.
func golden(p *plan.Plan) string {
	var b strings.Builder
	for _, c := range p.Components {
		verdict := "runs"
		switch {
		case c.Runs:
		case !c.Installed && !c.Enabled:
			verdict = "not installed, disabled"
		case !c.Installed:
			verdict = "not installed"
		case !c.Enabled:
			verdict = "disabled"
		default:
			verdict = "cannot run"
		}
		fmt.Fprintf(&b, "%2d %s: %s\n     rule: %s\n", c.Order, c.Name, verdict, c.Rule)
		if len(c.After) > 0 {
			fmt.Fprintf(&b, "     after: %s\n", strings.Join(c.After, ", "))
		}
		for _, w := range c.Wires {
			fmt.Fprintf(&b, "     wire: %s %s -> %s (%s %s)\n", w.Reference, w.Cardinality, w.Provider, w.Service, w.Version)
		}
		for _, x := range c.Causes {
			fmt.Fprintf(&b, "     cause: %s %s\n", x.Code, x.Text)
			for _, y := range x.Chain {
				fmt.Fprintf(&b, "            %s %s\n", y.Code, y.Text)
			}
		}
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, args := range map[string][]string{
		"default": nil, "receiver": {"-receiverNode"}, "indexer": {"-indexerNode"}, "analyzer": {"-analyzerNode"}, "dashboard": {"-dashboardNode"},
		"without-store": {"-DdisableDataService=true"},
	} {
		t.Run(name, func(t *testing.T) {
			got := golden(planOf(t, args...))
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the plan has changed; if it should, run: go test ./runtime/plan -run Golden -update\n%s", difference(string(want), got))
			}
		})
	}
}

// difference shows the first line that differs, with what stands before it.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			have := "(end)"
			if i < len(g) {
				have = g[i]
			}
			return fmt.Sprintf("%s\nline %d\nwant %s\ngot  %s", strings.Join(w[max(0, i-3):i], "\n"), i+1, w[i], have)
		}
	}
	return "more lines:\n" + strings.Join(g[len(w):], "\n")
}

// TestDescriptors: in each profile every enabled component of this repository can run, and what DAS's table names is on and off
// as DAS.md section 1.2 says.
func TestDescriptors(t *testing.T) {
	table := map[string]string{
		"":               "+AnalyticsEngine +AnalyticsExecution +Indexing +EventSink",
		"-receiverNode":  "-AnalyticsEngine -AnalyticsExecution -Indexing +EventSink",
		"-indexerNode":   "-AnalyticsEngine -AnalyticsExecution +Indexing -EventSink",
		"-analyzerNode":  "+AnalyticsEngine +AnalyticsExecution -Indexing -EventSink",
		"-dashboardNode": "-AnalyticsEngine -AnalyticsExecution -Indexing -EventSink",
	}
	for word, want := range table {
		p := planOf(t, strings.Fields(word)...)
		for _, c := range p.Broken() {
			t.Errorf("%q: %s cannot run: %v", word, c.Name, c.Causes)
		}
		for _, w := range append(strings.Fields(want), "+DataService", "+EventReceiver", "+HTTPReceiver", "+Identity", "+Portal") {
			if c := p.Find(w[1:]); c == nil || c.Runs != (w[0] == '+') {
				t.Errorf("%q: want %s, got %+v", word, w, c)
			}
		}
	}
}
