package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config/schema"
)

const full = `name: Sample
version: 1.2.3
summary: A component with everything.
executable: bin/Sample
provides:
  - {service: acme.v1.Store, version: 1.1.0, properties: {kind: fast}, dynamic: true, ranking: 5, exported: true, contract: store.binpb}
requires:
  - {name: store, service: acme.v1.Other, version: "[1.0,2)", cardinality: 1..1, filter: {k: v}}
  - {name: more, service: acme.v1.Many, cardinality: 0..n, dynamic: true, greedy: true}
  - {name: maybe, service: acme.v1.Maybe, cardinality: 0..1}
deploys:
  - {type: eventstream, directory: eventstreams, suffix: .json}
config:
  properties:
    fsync: {type: boolean, default: true}
cli:
  - {verb: query, summary: run SQL}
ports:
  - {name: thrift, port: 7611}
  - {name: local, port: 0, host: 127.0.0.1}
shares:
  - {name: segments, mode: ro}
  - {name: staging, mode: rw}
uses: [DataService/segments]
startLevel: 10
resources: {memory: 256MiB, cpu: 1.5, files: 4096}
restart: {budget: 3, per: 90s}
privileges: [tls.server]
required: true
`

func TestDescriptor(t *testing.T) {
	d, err := catalog.ParseDescriptor("component.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "Sample" || d.Version.String() != "1.2.3" || d.Executable != "bin/Sample" || d.StartLevel != 10 || !d.Required {
		t.Errorf("%+v", d)
	}
	p := d.Provides[0]
	if p.Service != "acme.v1.Store" || p.Version.String() != "1.1.0" || p.Properties["kind"] != "fast" || !p.Dynamic || p.Ranking != 5 || !p.Exported || p.Contract != "store.binpb" || p.Line != 6 {
		t.Errorf("%+v", p)
	}
	r := d.Requires[0]
	if r.Name != "store" || r.Versions.String() != "[1.0,2)" || r.Cardinality != component.Mandatory || r.Filter.String() != "(k=v)" || r.Line != 8 {
		t.Errorf("%+v", r)
	}
	if d.Requires[1].Cardinality != component.Multiple || d.Requires[2].Cardinality != component.Optional || d.Requires[2].Versions != nil {
		t.Errorf("%+v", d.Requires)
	}
	if d.Resources != (component.Resources{Memory: 256 << 20, CPU: 1500, Files: 4096}) || d.Restart != (component.Restart{Budget: 3, Per: 90 * time.Second}) {
		t.Errorf("%+v %+v", d.Resources, d.Restart)
	}
	if len(d.Ports) != 2 || d.Ports[1] != (component.Port{Name: "local", Host: "127.0.0.1"}) || !d.Shares[1].Write || d.Shares[0].Write {
		t.Errorf("%+v %+v", d.Ports, d.Shares)
	}
	if d.Uses[0].String() != "DataService/segments" || !d.HasPrivilege("tls.server") || d.HasPrivilege("x") || d.CLI[0].Verb != "query" || d.Deploys[0].Suffix != ".json" {
		t.Errorf("%+v", d)
	}
	if string(d.Config) != `{"properties":{"fsync":{"default":true,"type":"boolean"}},"type":"object"}` {
		t.Errorf("%s", d.Config)
	}
}

func TestDescriptorDefaults(t *testing.T) {
	d, err := catalog.ParseDescriptor("c.yaml", []byte("name: A\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d.StartLevel != 100 || d.Restart != component.DefaultRestart || d.Required || d.Resources != (component.Resources{}) {
		t.Errorf("%+v", d)
	}
}

// TestZeroIsNotAbsent: where a number may be 0, it says something else than its absence.
func TestZeroIsNotAbsent(t *testing.T) {
	parse := func(more string) *component.Descriptor {
		t.Helper()
		d, err := catalog.ParseDescriptor("c.yaml", []byte("name: A\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\n"+more))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for more, want := range map[string]component.Restart{
		"":                                component.DefaultRestart,
		"restart: {}\n":                   component.DefaultRestart,
		"restart: {per: 1m}\n":            {Budget: 5, Per: time.Minute},
		"restart: {budget: 0}\n":          {Budget: 0, Per: 10 * time.Minute},
		"restart: {budget: 0, per: 1m}\n": {Budget: 0, Per: time.Minute},
	} {
		if got := parse(more).Restart; got != want {
			t.Errorf("%q gives %+v, want %+v", more, got, want)
		}
	}
	const dynamic = "provides: [{service: a.v1.A, version: 1.0.0, dynamic: true%s}]\n"
	for count, want := range map[string]int{"": 0, ", count: 0": 0, ", count: 3": 3} {
		if got := parse(fmt.Sprintf(dynamic, count)).Provides[0].Count; got != want {
			t.Errorf("count %q gives %d", count, got)
		}
	}
	const gate = "gates: [{name: g, service: a.v1.A%s}]\n"
	for count, want := range map[string]int{"": component.Computed, ", count: 0": 0} {
		if got := parse(fmt.Sprintf(gate, count)).Gates[0].Services[0].Count; got != want {
			t.Errorf("a gate's count %q gives %d", count, got)
		}
	}
	// Where 0 would say nothing, it is refused.
	for _, zero := range []string{"startLevel: 0", "resources: {cpu: 0}", "resources: {files: 0}", "resources: {processes: 0}", "resources: {memory: 0MiB}",
		"watchdog: 0s", "startTimeout: 0s", "health: {grace: 0s}", "restart: {per: 0s}", "requires: [{name: r, service: a.v1.A, cardinality: 0..n, minimum: 0}]"} {
		if _, err := catalog.ParseDescriptor("c.yaml", []byte("name: A\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\n"+zero+"\n")); err == nil {
			t.Errorf("%s is taken", zero)
		}
	}
}

// TestDescriptorFaults: each fault names file, line and what to do.
func TestDescriptorFaults(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"version as number", "version: 1.2.3", "version: 1.2", "c.yaml:2:10: version is a number, but must be a string"},
		{"version of two", "version: 1.2.3", `version: "1.2"`, "c.yaml:2:10: version does not have the right form"},
		{"version with zero", "version: 1.2.3", `version: "1.02.3"`, "c.yaml:2:10: version does not have the right form"},
		{"name", "name: Sample", "name: my-sample", "c.yaml:1:7: name does not have the right form"},
		{"kernel", "name: Sample", "name: kernel", "c.yaml:1:7: name has a value that is reserved"},
		{"unknown key", "summary: A", "sumary: A", `c.yaml:3:1: the file has no key "sumary"`},
		{"missing", "executable: bin/Sample\n", "", `needs "executable"`},
		{"path out", "executable: bin/Sample", "executable: ../Sample", "c.yaml:4:13: executable does not have the right form"},
		{"absolute", "executable: bin/Sample", "executable: /bin/sh", "c.yaml:4:13: executable does not have the right form"},
		{"cardinality", "cardinality: 1..1", "cardinality: 2..n", "c.yaml:8:76: requires[0].cardinality: value must be one of"},
		{"static", "dynamic: true, greedy", "dynamic: false, greedy", "c.yaml:9:69: requires[1].dynamic: value must be true"},
		{"minimum of one", "cardinality: 1..1", "minimum: 2, cardinality: 1..1", "minimum is for the cardinalities 0..n and 1..n, not for 1..1"},
		{"policy", "dynamic: true, greedy", "policy: lazy, greedy", "requires[1].policy: value must be one of"},
		{"grace", "cardinality: 1..1", "grace: 3s, cardinality: 1..1", "grace is for references to a health"},
		{"reserved key", "fsync: {type: boolean", "references: {type: boolean", `the key "references" is the kernel's`},
		{"range", `"[1.0,2)"`, `"[2.0,1)"`, `c.yaml:8:52: no version lies in the range "[2.0,1)"`},
		{"twice", "name: more", "name: store", `c.yaml:9:12: name "store" stands twice under requires; the first is in line 8`},
		{"own share", "uses: [DataService/segments]", "uses: [Sample/segments]", "c.yaml:24:8: Sample needs no `uses`"},
		{"use", "uses: [DataService/segments]", "uses: [segments]", "c.yaml:24:8: uses[0] does not have the right form"},
		{"memory", "memory: 256MiB", "memory: 256", "c.yaml:26:21: resources.memory is a number, but must be a string"},
		{"per", "per: 90s", "per: fast", "c.yaml:27:27: restart.per does not have the right form"},
		{"privilege", "privileges: [tls.server]", "privileges: [root]", "c.yaml:28:14: no privilege is called \"root\""},
		{"path of a privilege", "privileges: [tls.server]", "privileges: [\"repository.read:../conf\"]", "c.yaml:28:14: privilege repository.read: \"../conf\" is no path within repository/"},
		{"data of others", "privileges: [tls.server]", "privileges: [\"repository.read:data/Identity\"]", "see shares and uses"},
		{"property", "properties: {kind: fast}", "properties: {kind: 1}", "c.yaml:6:65: provides[0].properties.kind is a number, but must be a string"},
		{"config", "fsync: {type: boolean", "fsync: {type: bool", "c.yaml:14:3: the configuration's schema is wrong"},
		{"config type", "config:\n", "config:\n  type: array\n", "c.yaml:14:9: a component's configuration is an object, not array"},
		{"reference kernel", "name: maybe", "name: kernel", "c.yaml:10:12: requires[2].name has a value that is reserved"},
		{"duplicate", "required: true\n", "required: true\nname: Again\n", `c.yaml:30:1: the key "name" stands twice; the first is in line 1`},
	} {
		if !strings.Contains(full, c.old) {
			t.Fatalf("%s: %q is not in the sample", c.name, c.old)
		}
		_, err := catalog.ParseDescriptor("c.yaml", []byte(strings.Replace(full, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := catalog.ParseDescriptor("c.yaml", []byte("name: a-b\nversion: x\nsummary: s\nexecutable: bin/x\nfoo: 1\n"))
	for _, want := range []string{"c.yaml:1:7", "c.yaml:2:10", "c.yaml:5:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if !errors.Is(err, schema.ErrValue) || !errors.Is(err, schema.ErrKey) {
		t.Errorf("the kinds are lost: %v", err)
	}
}

// TestDescriptorsOfTheTree reads every component.yaml of this repository.
func TestDescriptorsOfTheTree(t *testing.T) {
	files, err := filepath.Glob("../../components/*/component.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	examples, _ := filepath.Glob("../../plugins/examples/*/component.yaml")
	for _, f := range append(files, examples...) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.ParseDescriptor(f, data); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParseDescriptor(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("name: A\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\nconfig: {$ref: '#/properties'}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := catalog.ParseDescriptor("c.yaml", data)
		if err == nil && (d.Name == "" || d.Version == nil || len(d.Config) == 0) {
			t.Fatalf("half a descriptor: %+v", d)
		}
	})
}
