package config_test

import (
	"fmt"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
)

const asker = "name: Asker\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\nrequires:\n" +
	"  - {name: one, service: t.A, cardinality: 1..1}\n  - {name: many, service: t.A, cardinality: 1..n, filter: {kind: a}}\n" +
	"config: {properties: {size: {type: integer, default: 3}}}\n"

func TestConfigurationChangesReferences(t *testing.T) {
	d, err := catalog.ParseDescriptor("component.yaml", []byte(asker))
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	write(t, home, "repository/conf/components/Asker.yaml", "size: 4\nreferences:\n  many: {filter: \"(kind=b)\", minimum: 3}\n  one: {filter: {x: y}}\n")
	c := load(t, options(home)).Component(d)
	if c.Cause != nil || len(c.Notices) != 0 || string(c.JSON) != `{"size":4}` {
		t.Fatalf("%v %v %s", c.Cause, c.Notices, c.JSON)
	}
	one, many := d.Requires[0].Overridden(c.References["one"]), d.Requires[1].Overridden(c.References["many"])
	if one.Filter.String() != "(x=y)" || one.Cardinality.String() != "1..1" || many.Filter.String() != "(kind=b)" || many.Cardinality.String() != "3..n" {
		t.Errorf("%s %s %s %s", one.Filter, one.Cardinality, many.Filter, many.Cardinality)
	}
}

// TestCase20InvalidFilterInConfiguration: file, line and position, and the component is not started.
func TestCase20InvalidFilterInConfiguration(t *testing.T) {
	d, err := catalog.ParseDescriptor("component.yaml", []byte(asker))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][2]string{
		"references:\n  many:\n    filter: \"(kind=b\"\n": {":3:13", `the filter "(kind=b" is wrong at position 1`},
		"references:\n  few: {minimum: 2}\n":              {":2:8", `Asker has no reference "few"`},
		"references:\n  one: {minimum: 2}\n":              {":2:18", `references.one takes one provider`},
		"references:\n  many: {minimum: 0}\n":             {":2:19", `must be a whole number from 1`},
		"references:\n  many: {policy: static}\n":         {":2:18", `references.many has no key "policy"`},
		"references: [many]\n":                            {":1:13", `references must hold names`},
	} {
		home := t.TempDir()
		write(t, home, "repository/conf/components/Asker.yaml", text)
		c := load(t, options(home)).Component(d).Cause
		if c == nil {
			t.Errorf("%q: no cause", text)
			continue
		}
		if place := fmt.Sprintf(":%d:%d", c.Line, c.Column); place != want[0] || c.File != "repository/conf/components/Asker.yaml" || !strings.Contains(c.Text, want[1]) {
			t.Errorf("%q: %s%s %s\nwant %s", text, c.File, place, c.Text, want)
		}
	}
}
