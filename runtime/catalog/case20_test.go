package catalog_test

import (
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
)

// TestCase20InvalidFilterIsRefusedWithItsPosition: a filter that can't be read never reaches run time.
func TestCase20InvalidFilterIsRefusedWithItsPosition(t *testing.T) {
	const head = "name: A\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\nrequires:\n  - {name: r, service: t.A, cardinality: 1..1, filter: "
	for text, want := range map[string]string{
		`"(kind=a"`:          `c.yaml:6:56: the filter "(kind=a" is wrong at position 1: this ( is not closed`,
		`"(&(kind=a)(x>3))"`: `c.yaml:6:56: the filter "(&(kind=a)(x>3))" is wrong at position 13: one of = ~= >= <= is missing`,
		`{kind: 3}`:          `c.yaml:6:63: requires[0].filter.kind is a number, but must be a string`,
		`7`:                  `c.yaml:6:56: requires[0].filter is a number, but must be`,
	} {
		_, err := catalog.ParseDescriptor("c.yaml", []byte(head+text+"}\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
	d, err := catalog.ParseDescriptor("c.yaml", []byte(head+`"(&(kind=a)(!(old=*)))"`+"}\n"))
	if err != nil || !d.Requires[0].Filter.Matches(map[string]string{"Kind": "a"}) || d.Requires[0].Filter.Matches(map[string]string{"kind": "a", "old": "1"}) {
		t.Errorf("%v", err)
	}
}
