package strictyaml_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/config/strictyaml"
)

func TestParse(t *testing.T) {
	d, err := strictyaml.Parse("f.yaml", []byte("a: 1\nb: [x, 2.5, true, null, 0x10]\nc:\n  d: \"1\"\n  e: 2026-11-25\n  yes: no\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"a": json.Number("1"),
		"b": []any{"x", json.Number("2.5"), true, nil, json.Number("16")},
		"c": map[string]any{"d": "1", "e": "2026-11-25", "yes": "no"},
	}
	if !reflect.DeepEqual(d.Value, want) {
		t.Errorf("%#v", d.Value)
	}
	for _, c := range []struct {
		path         []string
		line, column int
	}{
		{nil, 1, 1}, {[]string{"a"}, 1, 4}, {[]string{"b", "1"}, 2, 8}, {[]string{"c", "d"}, 4, 6},
		{[]string{"c", "nothing"}, 4, 3}, {[]string{"nothing", "x"}, 1, 1},
	} {
		if p := d.At(c.path...); p.Line != c.line || p.Column != c.column {
			t.Errorf("%v stands at %v, want %d:%d", c.path, p, c.line, c.column)
		}
	}
	if p := d.KeyAt("c", "d"); p.Line != 4 || p.Column != 3 {
		t.Errorf("the key c.d stands at %v", p)
	}
}

func TestEmptyIsAnEmptyMap(t *testing.T) {
	for _, s := range []string{"", "# nothing\n", "---\n", "null\n"} {
		d, err := strictyaml.Parse("f", []byte(s))
		if err != nil || !reflect.DeepEqual(d.Value, map[string]any{}) {
			t.Errorf("%q: %#v, %v", s, d, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"duplicate key", "a: 1\nb: 2\na: 3\n", `f.yaml:3:1: the key "a" stands twice; the first is in line 1`},
		{"duplicate deep", "x:\n  a: 1\n  a: 1\n", `f.yaml:3:3: the key "a" stands twice`},
		{"anchor", "a: &x 1\nb: 2\n", "f.yaml:1:4: anchors and aliases"},
		{"alias", "a: &x {b: 1}\nc: *x\n", "f.yaml:1:4: anchors"},
		{"merge", "a: {b: 1}\nc:\n  <<: {d: 1}\n", "f.yaml:3:3: a key must be plain text"},
		{"tag", "a: !!str 1\n", "f.yaml:1:4: tags such as !!str are not allowed"},
		{"own tag", "a: !x 1\n", "f.yaml:1:4: tags such as !x are not allowed"},
		{"two documents", "a: 1\n---\nb: 1\n", "a second document begins here"},
		{"map as key", "{a: 1}: 2\n", "a key must be plain text"},
		{"syntax", "a: 1\n b: 2\n", "f.yaml:2: mapping values are not allowed"},
		{"tab", "a:\n\tb: 1\n", "f.yaml:2"},
		{"not finite", "a: .inf\n", "f.yaml:1:4"},
		{"octal in disguise", "a: 010\n", "f.yaml:1:4: 010 could be read as octal"},
		{"deep", strings.Repeat("[", 70) + strings.Repeat("]", 70), "nested more than 64 deep"},
		{"large", "a: " + strings.Repeat("x", strictyaml.MaxBytes), "the most is 1048576"},
	} {
		_, err := strictyaml.Parse("f.yaml", []byte(c.text))
		if !errors.Is(err, strictyaml.ErrYAML) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: 1", "- x\n- {a: [1, 2]}", "a: &x 1\nb: *x", "? a\n: b", "\"\\u0041\": 'x'", "a: |\n  text\n", "%YAML 1.2\n---\na"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := strictyaml.Parse("f", data)
		if err != nil {
			if !errors.Is(err, strictyaml.ErrYAML) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if _, err := json.Marshal(d.Value); err != nil {
			t.Fatalf("%q is no JSON: %v", data, err)
		}
	})
}
