package schema_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
)

const object = `{
  "type": "object", "required": ["name"],
  "properties": {
    "name": {"type": "string", "pattern": "^[a-z]+$", "description": "Small letters."},
    "count": {"type": "integer", "minimum": 1, "default": 3},
    "password": {"type": "string", "x-secret": true, "minLength": 4},
    "where": {"type": "object", "additionalProperties": false, "properties": {"host": {"type": "string", "default": "localhost"}, "port": {"type": "integer"}}},
    "list": {"type": "array", "items": {"$ref": "#/$defs/entry"}},
    "free": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "string"}}
  },
  "$defs": {"entry": {"type": "object", "properties": {"key": {"type": "string", "x-secret": true}, "n": {"type": "number", "default": 1}}}}
}`

func compiled(t *testing.T) *schema.Schema {
	t.Helper()
	s, err := schema.Compile("test", []byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t *testing.T, text string) *strictyaml.Document {
	t.Helper()
	d, err := strictyaml.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCheckNamesEveryFaultWithItsLine(t *testing.T) {
	d := parse(t, "name: X1\ncount: 0\npassword: abc\nwhere:\n  host: h\n  prot: 1\nlist:\n  - {key: k}\n  - {n: many}\nfree: {a: b, B: c}\n")
	var got []string
	for _, f := range compiled(t).Check(d) {
		got = append(got, f.Error()+" | "+f.Proto().Fix)
	}
	want := []string{
		"CBN-CFG-003 f.yaml:1:7: name does not have the right form | Small letters.",
		"CBN-CFG-003 f.yaml:2:8: count: minimum: got 0, want 1 | Correct the line that is named.",
		"CBN-CFG-003 f.yaml:3:11: password is a secret that is not as its schema asks for | Correct the line that is named.",
		`CBN-CFG-004 f.yaml:6:3: where has no key "prot" | Did you mean "port"?`,
		"CBN-CFG-003 f.yaml:9:9: list[1].n is a string, but must be a number | Correct the line that is named.",
		`CBN-CFG-004 f.yaml:10:14: a key may not be called "B" here | Remove it, or correct its spelling.`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	missing := compiled(t).Check(parse(t, "count: 5\n"))
	if len(missing) != 1 || !strings.Contains(missing[0].Error(), `f.yaml:1:1: the file needs "name"`) {
		t.Errorf("%v", missing)
	}
	if faults := compiled(t).Check(parse(t, "name: a\n")); faults != nil {
		t.Errorf("a right file has faults: %v", faults)
	}
}

func TestUnknownKeys(t *testing.T) {
	d := parse(t, "name: a\ncuont: 3\nfree: {any: thing}\nlist:\n  - {ky: 1}\n")
	paths, faults := compiled(t).Unknown(d)
	if !reflect.DeepEqual(paths, [][]string{{"cuont"}, {"list", "0", "ky"}}) {
		t.Errorf("%v", paths)
	}
	if !strings.Contains(faults[0].Error(), `f.yaml:2:1: the file has no key "cuont"`) || faults[0].Proto().Fix != `Did you mean "count"?` {
		t.Errorf("%v, %s", faults[0], faults[0].Proto().Fix)
	}
	if !strings.Contains(faults[1].Error(), `f.yaml:5:6: list[0] has no key "ky"`) {
		t.Errorf("%v", faults[1])
	}
}

func TestDefaultsAndRedaction(t *testing.T) {
	s := compiled(t)
	d := parse(t, "name: a\npassword: hush\nlist: [{key: k}]\n")
	before, _ := json.Marshal(d.Value)
	full := s.Defaults(d.Value)
	got, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"count":3,"list":[{"key":"k","n":1}],"name":"a","password":"hush","where":{"host":"localhost"}}`; string(got) != want {
		t.Errorf("defaults: %s", got)
	}
	hidden, _ := json.Marshal(s.Redact(full))
	if want := `{"count":3,"list":[{"key":"***","n":1}],"name":"a","password":"***","where":{"host":"localhost"}}`; string(hidden) != want {
		t.Errorf("redacted: %s", hidden)
	}
	if after, _ := json.Marshal(d.Value); string(after) != string(before) {
		t.Error("the document was changed")
	}
	if s.Type([]string{"where", "port"}) != "integer" || s.Type([]string{"list", "0", "n"}) != "number" || s.Type([]string{"no"}) != "" {
		t.Error("wrong types")
	}
}

func TestWrongSchemas(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no JSON", "{", "is no JSON"},
		{"no object", "[]", "is no object"},
		{"wrong type", `{"type": "strnig"}`, "at type"},
		{"another document", `{"$ref": "file:///etc/passwd"}`, "may not refer to another document"},
		{"another host", `{"$ref": "https://example.org/x.json"}`, "may not refer to another document"},
	} {
		_, err := schema.Compile("s", []byte(c.text))
		if !errors.Is(err, schema.ErrSchema) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"disableIndexing", "disableMl", "enableMl"}
	for word, want := range map[string]string{
		"disableindexing": "disableIndexing", "disbaleIndexing": "disableIndexing", "disableIndexng": "disableIndexing",
		"disableXx": "disableMl", "somethingElse": "", "": "",
	} {
		if got := schema.Nearest(word, names); got != want {
			t.Errorf("%q is near %q, want %q", word, got, want)
		}
	}
}
