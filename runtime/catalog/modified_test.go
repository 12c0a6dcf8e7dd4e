package catalog_test

import (
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
)

func TestModifiedNamesKeysOfTheConfiguration(t *testing.T) {
	text := "name: X\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nconfig: {properties: {a: {type: string}, b: {type: string}}}\nmodified: "
	d, err := catalog.ParseDescriptor("component.yaml", []byte(text+"[a]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !d.InPlace([]string{"a"}) || d.InPlace([]string{"a", "b"}) || d.InPlace(nil) || d.InPlace([]string{"*"}) {
		t.Errorf("%v", d.Modified)
	}
	if d, err = catalog.ParseDescriptor("component.yaml", []byte(text+"[\"*\"]\n")); err != nil || !d.InPlace([]string{"a", "b"}) || !d.InPlace([]string{"*"}) {
		t.Errorf("%v, %v", d, err)
	}
	if _, err = catalog.ParseDescriptor("component.yaml", []byte(text+"[a, c]\n")); err == nil || !strings.Contains(err.Error(), `no key "c"`) {
		t.Errorf("%v", err)
	}
}
