package kernel

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/carbonado/runtime/reconcile"
)

// shipped is an installation's folder with the profiles that are shipped.
const shipped = "../.."

// Arguments are laid over those in force: one profile, the last definition of a name, the order kept.
func TestArgumentsAreMerged(t *testing.T) {
	for _, c := range []struct{ name, have, with, want string }{
		{"nothing over nothing", "", "", ""},
		{"a profile takes the place of the profile", "-receiverNode", "-indexerNode", "--profile=indexer"},
		{"by its other form too", "--profile receiver", "--profile=analyzer", "--profile=analyzer"},
		{"definitions keep the profile", "-receiverNode", "-DdisableIndexing", "--profile=receiver -DdisableIndexing=true"},
		{"a definition takes the place of its name's", "-DdisableIndexing=true -DportOffset=3", "-DdisableIndexing=false", "-DportOffset=3 -DdisableIndexing=false"},
		{"others are added", "-Da=1", "-Db=2 -Dc=3", "-Da=1 -Db=2 -Dc=3"},
		{"nothing over something", "-receiverNode -Da=1", "", "--profile=receiver -Da=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := merge(shipped, strings.Fields(c.have), strings.Fields(c.with))
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("%q over %q gives %q, %v; want %q", c.with, c.have, got, err, c.want)
			}
			again, err := merge(shipped, got, strings.Fields(c.with))
			if err != nil || !sameWords(again, got) {
				t.Errorf("once more: %q, %v", again, err)
			}
		})
	}
	for _, with := range []string{"-noSuchNode", "--profile=none", "start", "-receiverNode -indexerNode", "-D=x"} {
		if _, err := merge(shipped, nil, strings.Fields(with)); !errors.Is(err, profile.ErrUsage) {
			t.Errorf("%q: %v", with, err)
		}
	}
}

func sameWords(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// A rollback takes back the rules that have come since, makes those anew that have gone, and leaves the others alone.
func TestRollbackIsToAnEntry(t *testing.T) {
	list := []admin.Deployment{
		{Number: 7, What: "first", Desired: admin.Desired{Arguments: []string{"-Da=1"}, Disabled: []string{"A", "B"}, Packages: map[string]string{"A": "1.0.0"}}},
		{Number: 9, What: "second", Desired: admin.Desired{Disabled: []string{"B"}, Packages: map[string]string{"A": "2.0.0"}}},
		{Number: 10, What: "third", Desired: admin.Desired{Disabled: []string{"B", "C"}, Packages: map[string]string{"A": "3.0.0"}}},
	}
	for _, c := range []struct {
		name                  string
		number                int
		list                  []admin.Deployment
		rules                 string
		disable, enable, args string
		version, what         string
		err                   error
	}{
		{name: "by number", number: 7, list: list, rules: "B C", disable: "A", enable: "C", args: "-Da=1", version: "1.0.0", what: "back to 7 (first)"},
		{name: "to the one before the last", number: -1, list: list, rules: "B C", enable: "C", version: "2.0.0", what: "back to 9 (second)"},
		{name: "to the last, after rules were made by hand", number: 10, list: list, rules: "D", disable: "B C", enable: "D", version: "3.0.0", what: "back to 10 (third)"},
		{name: "where nothing differs", number: 9, list: list, rules: "B", version: "2.0.0", what: "back to 9 (second)"},
		{name: "to none", number: 8, list: list, err: admin.ErrNoDeployment},
		{name: "before the first", number: -1, list: list[:1], err: admin.ErrNoDeployment},
		{name: "of nothing", number: -1, err: admin.ErrNoDeployment},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rules []profile.Rule
			for _, name := range strings.Fields(c.rules) {
				rules = append(rules, profile.Rule{Component: name})
			}
			var got target
			err := got.backTo(c.number, c.list, rules)
			if c.err != nil {
				if !errors.Is(err, c.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got.Disable, " ") != c.disable || strings.Join(got.Enable, " ") != c.enable || strings.Join(got.args, " ") != c.args ||
				got.Versions["A"] != c.version || got.what != c.what {
				t.Errorf("%+v", got)
			}
		})
	}
}

// What can't be another while the server runs is listed, the changed before the missing, by name.
func TestFixedProperties(t *testing.T) {
	for _, c := range []struct {
		now, then map[string]string
		want      string
	}{
		{nil, nil, ""},
		{map[string]string{"a": "1"}, map[string]string{"a": "1"}, ""},
		{map[string]string{"a": "1"}, map[string]string{"a": "2"}, "-Da=2"},
		{nil, map[string]string{"b": "", "a": "x"}, "-Da=x,-Db="},
		{map[string]string{"d": "1", "c": "", "a": "1"}, map[string]string{"a": "2"}, "-Da=2,without -Dc,without -Dd"},
	} {
		if got := strings.Join(fixed(c.now, c.then), ","); got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.now, c.then, got, c.want)
		}
	}
}

// An ID alone stands for what was planned under it; with anything else, or unknown, the request is what it says.
func TestAnIDStandsForItsPlan(t *testing.T) {
	planned := admin.ChangeRequest{ID: "x", Disable: []string{"A"}}
	plans := map[string]admin.ChangeRequest{"x": planned}
	for _, c := range []struct {
		name    string
		r       admin.ChangeRequest
		planned bool
	}{
		{"the ID alone", admin.ChangeRequest{ID: "x"}, true},
		{"an unknown ID", admin.ChangeRequest{ID: "y"}, false},
		{"no ID", admin.ChangeRequest{}, false},
		{"arguments beside it", admin.ChangeRequest{ID: "x", Arguments: []string{"-Da=1"}}, false},
		{"a rule beside it", admin.ChangeRequest{ID: "x", Disable: []string{"B"}}, false},
		{"a rule's end beside it", admin.ChangeRequest{ID: "x", Enable: []string{"B"}}, false},
		{"a package beside it", admin.ChangeRequest{ID: "x", Packages: []string{"/p"}}, false},
		{"a rollback beside it", admin.ChangeRequest{ID: "x", Rollback: -1}, false},
	} {
		if got := asPlanned(plans, c.r); slices.Equal(got.Disable, planned.Disable) != c.planned {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// Only what runs, and is to run on, is updated; it and what is started have to run in the end.
func TestConsequencesOfChanges(t *testing.T) {
	view := func(state component.State, runs bool) reconcile.View {
		return reconcile.View{State: state, Planned: &plan.Component{Runs: runs}}
	}
	views := map[string]reconcile.View{
		"Serving": view(component.Active, true), "Starting": view(component.Starting, true), "Leaving": view(component.Active, false),
		"Failed": view(component.Failed, true), "Unplanned": {State: component.Active},
	}
	look := func(name string) (reconcile.View, bool) {
		v, ok := views[name]
		return v, ok
	}
	for _, c := range []struct {
		name            string
		changes         []plan.Change
		updated, wanted string
	}{
		{"nothing", nil, "", ""},
		{"what serves is updated, restarted, modified", []plan.Change{{Kind: plan.Update, Component: "Serving"}}, "Serving", "Serving"},
		{"restart", []plan.Change{{Kind: plan.Restart, Component: "Serving"}}, "Serving", "Serving"},
		{"modify", []plan.Change{{Kind: plan.Modify, Component: "Serving"}}, "Serving", "Serving"},
		{"what does not serve starts from the new package by itself", []plan.Change{
			{Kind: plan.Update, Component: "Starting"}, {Kind: plan.Update, Component: "Failed"}, {Kind: plan.Update, Component: "Leaving"},
			{Kind: plan.Update, Component: "Unplanned"}, {Kind: plan.Update, Component: "Unknown"}}, "", ""},
		{"the plan itself starts, stops, binds", []plan.Change{
			{Kind: plan.Stop, Component: "Leaving"}, {Kind: plan.Remove, Component: "Leaving"}, {Kind: plan.Add, Component: "New"},
			{Kind: plan.Start, Component: "New"}, {Kind: plan.Rebind, Component: "Serving"}}, "", "New"},
	} {
		t.Run(c.name, func(t *testing.T) {
			updated, wanted := consequences(c.changes, look)
			if strings.Join(updated, " ") != c.updated || strings.Join(slices.Sorted(maps.Keys(wanted)), " ") != c.wanted {
				t.Errorf("updated %v, wanted %v", updated, wanted)
			}
		})
	}
}

// at is a kernel that has an installation and nothing that runs.
func at(t *testing.T) *Kernel {
	t.Helper()
	home := t.TempDir()
	k := &Kernel{home: home, rules: profile.RulesAt(home), arguments: openArguments(home, []string{"-Da=1"}, 1)}
	var err error
	if k.deployments, err = openDeployments(home); err != nil {
		t.Fatal(err)
	}
	k.based.Store(&basis{catalog: catalog.At(home), resolution: &profile.Resolution{}})
	return k
}

// packageFolder is a package's folder.
func packageFolder(t *testing.T, name, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"component.yaml": "name: " + name + "\nversion: " + version + "\nsummary: x\nexecutable: bin/x\n", "bin/x": "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A request is worked out to a target, or refused before anything is touched.
func TestTargetOfARequest(t *testing.T) {
	k := at(t)
	hello := packageFolder(t, "Hello", "1.2.0")
	for _, c := range []struct {
		name string
		r    admin.ChangeRequest
		want string
		args string
		err  error
	}{
		{name: "as it lies", want: asItLies, args: "-Da=1"},
		{name: "a package", r: admin.ChangeRequest{Packages: []string{hello}}, want: "install Hello 1.2.0", args: "-Da=1"},
		{name: "a relative path", r: admin.ChangeRequest{Packages: []string{"hello"}}, err: admin.ErrInput},
		{name: "a rollback with more", r: admin.ChangeRequest{Rollback: 1, Packages: []string{hello}}, err: admin.ErrInput},
		{name: "a rollback to none", r: admin.ChangeRequest{Rollback: 3}, err: admin.ErrNoDeployment},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := k.target(t.Context(), c.r, "ann")
			if c.err != nil {
				if !errors.Is(err, c.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || got.what != c.want || strings.Join(got.args, " ") != c.args || got.By != "ann" || len(got.Packages) != len(c.r.Packages) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// Of several packages all are installed or none: those before the one that can't be are taken away, but for what was there.
func TestPackagesAreInstalledTogether(t *testing.T) {
	k := at(t)
	was, first, second := packageFolder(t, "Was", "1.0.0"), packageFolder(t, "First", "1.0.0"), packageFolder(t, "Second", "1.0.0")
	if err := k.install(t.Context(), []string{was}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(second, "bin", "x")); err != nil {
		t.Fatal(err)
	}
	names := func() string {
		list, err := k.basis().catalog.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, p := range list {
			out = append(out, p.Name)
		}
		return strings.Join(out, " ")
	}
	if err := k.install(t.Context(), []string{was, first, second}); err == nil || names() != "Was" {
		t.Errorf("%v, installed are %s", err, names())
	}
	if err := k.install(t.Context(), []string{was, first}); err != nil || names() != "First Was" {
		t.Errorf("%v, installed are %s", err, names())
	}
}
