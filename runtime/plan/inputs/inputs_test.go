package inputs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/profile"
)

// home makes an installation with the shipped conf/ and two packages.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []string{"carbon.xml", "profiles.yaml"} {
		data, err := os.ReadFile(filepath.Join("../../../repository/conf", f))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "repository/conf", f), string(data))
	}
	install(t, dir, "Store", "1.0.0", "provides: [{service: t.Store, version: 1.0.0}]\nconfig: {properties: {fsync: {type: boolean, default: true}}}")
	install(t, dir, "Hello", "1.0.0", `requires: [{name: store, service: t.Store, version: "[1.0,2)", cardinality: 1..1}]`)
	return dir
}

func install(t *testing.T, home, name, version, lines string) *catalog.Package {
	t.Helper()
	src := t.TempDir()
	write(t, filepath.Join(src, "component.yaml"), "name: "+name+"\nversion: "+version+"\nsummary: x\nexecutable: bin/"+name+"\n"+lines+"\n")
	write(t, filepath.Join(src, "bin", name), "program of "+name)
	if err := os.Chmod(filepath.Join(src, "bin", name), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := catalog.At(home).Install(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, home string, args ...string) *inputs.Inputs {
	t.Helper()
	in, err := inputs.Read(context.Background(), home, args)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestPrintedPlan(t *testing.T) {
	dir := home(t)
	in := read(t, dir, "-receiverNode", "-DdisableStore=true", "--rest")
	if !slices.Equal(in.Rest, []string{"--rest"}) {
		t.Errorf("rest %v", in.Rest)
	}
	var table, tinted, js, yaml bytes.Buffer
	p := in.Plan()
	for _, c := range []struct {
		to     *bytes.Buffer
		format string
		colour bool
	}{{&table, "table", false}, {&tinted, "", true}, {&js, "json", true}, {&yaml, "yaml", false}} {
		if err := p.Print(c.to, c.format, c.colour); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"ORDER  COMPONENT", "-  Store", "disabled       -DdisableStore=true (argument 2)",
		"DataPurging         not installed  profile receiver: disableDataPurging=false (repository/conf/profiles.yaml:21)",
		"\nHello cannot run:\n  CBN-PLAN-003 Hello needs store (t.Store [1.0,2)) to start (plugins/Hello/1.0.0/component.yaml:5)\n" +
			"    CBN-PLAN-002 Store is disabled: -DdisableStore=true (argument 2)\n  fix: Start without -DdisableStore=true.\n",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%s\nlacks %q", table.String(), want)
		}
	}
	if strings.Contains(table.String(), "\x1b") || !strings.Contains(tinted.String(), "\x1b[31mcannot run") {
		t.Errorf("colours: %q", tinted.String())
	}
	if strings.Contains(js.String(), "\x1b") || !strings.Contains(js.String(), `"name": "Hello"`) || !strings.Contains(yaml.String(), "- name: Hello\n") || !strings.Contains(yaml.String(), "code: CBN-PLAN-002") {
		t.Errorf("%s\n%s", js.String(), yaml.String())
	}
	if err := p.Print(&js, "xml", false); err == nil || !strings.Contains(err.Error(), `no output format "xml"`) {
		t.Error(err)
	}
}

func TestDefaultPlan(t *testing.T) {
	in := read(t, home(t))
	p := in.Plan()
	if len(p.Broken()) != 0 || len(p.Running()) != 2 || p.Find("Hello").Wires[0].Provider != "Store" {
		t.Errorf("%+v", p)
	}
	if c := p.Find("Store"); string(c.Config.JSON) != `{"fsync":true}` || c.Package.Descriptor.Name != "Store" {
		t.Errorf("%+v", c)
	}
	if len(in.Notices) != 0 {
		t.Errorf("%v", in.Notices)
	}
}

// TestUnknownFlagReadsNoFurther: a wrong flag ends it whatever else is wrong.
func TestUnknownFlagReadsNoFurther(t *testing.T) {
	dir := home(t)
	write(t, filepath.Join(dir, "repository/conf/carbon.xml"), "broken")
	if _, err := inputs.Read(context.Background(), dir, []string{"-DdisableHallo=true"}); !errors.Is(err, profile.ErrUsage) || !strings.Contains(component.CauseOf(err).Fix, "disableHello") {
		t.Error(err)
	}
}

func TestThirdPartiesHaveTheSameFlag(t *testing.T) {
	dir := home(t)
	p := read(t, dir, "-DdisableHello=true").Plan()
	if c := p.Find("Hello"); c.Runs || c.Enabled || c.Rule != "-DdisableHello=true (argument 1)" {
		t.Errorf("%+v", c)
	}
	// Once installed, always known: the flag stays legal and gives a notice.
	if err := catalog.At(dir).Uninstall("Hello", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	in := read(t, dir, "-DdisableHello=true")
	if len(in.Notices) != 1 || !strings.Contains(in.Notices[0].Text, "Hello was once installed and is not now") || in.Plan().Find("Hello") != nil {
		t.Errorf("%v", in.Notices)
	}
}

func TestLastingRule(t *testing.T) {
	dir := home(t)
	if err := profile.RulesAt(dir).Disable("Hello", "admin", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if c := read(t, dir).Plan().Find("Hello"); c.Enabled || !strings.Contains(c.Rule, "component disable Hello, by admin (repository/data/kernel/rules.yaml:3)") {
		t.Errorf("%+v", c)
	}
}

func TestHighestVersionWinsEvenIfItIsBroken(t *testing.T) {
	dir := home(t)
	newer := install(t, dir, "Store", "1.10.0", "provides: [{service: t.Store, version: 1.1.0}]")
	install(t, dir, "Store", "1.9.0", "provides: [{service: t.Store, version: 1.0.0}]")
	if w := read(t, dir).Plan().Find("Hello").Wires[0]; w.Version != "1.1.0" {
		t.Errorf("%+v", w)
	}
	write(t, filepath.Join(newer.Dir, "bin", "Store"), "another program")
	p := read(t, dir).Plan()
	if c := p.Find("Store"); c.Runs || c.Causes[0].Leaf().Code != "CBN-PKG-003" {
		t.Errorf("%+v", c)
	}
	if len(p.Broken()) != 2 {
		t.Errorf("%v", p.Broken())
	}
}

// TestReadWritesNothing: `carbonado plan` leaves an installation as it was.
func TestReadWritesNothing(t *testing.T) {
	dir := home(t)
	look := func() (out []string) {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			out = append(out, path+" "+info.ModTime().String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := look()
	read(t, dir, "-analyzerNode").Plan()
	if !slices.Equal(before, look()) {
		t.Error("something was written")
	}
}
