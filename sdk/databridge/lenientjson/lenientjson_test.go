package lenientjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// dump prints a value as standard JSON, so that tests compare with what they mean.
func dump(v *Value) string {
	switch v.Kind {
	case Null:
		return "null"
	case Bool, Word:
		return v.Text
	case String:
		b, _ := json.Marshal(v.Text)
		return string(b)
	case Array:
		var parts []string
		for _, i := range v.Items {
			parts = append(parts, dump(i))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	var parts []string
	for _, m := range v.Members {
		b, _ := json.Marshal(m.Name)
		parts = append(parts, string(b)+":"+dump(m.Value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"a":1,"b":[true,null,"x"]}`, `{"a":1,"b":[true,null,"x"]}`},
		{`{'a':'it"s', b:word}`, `{"a":"it\"s","b":word}`},
		{"{a=1; b=>2,}", `{"a":1,"b":2}`},
		{"// head\n# more\n{/* in */ a : [ 1 , 2, ] } // end", `{"a":[1,2]}`},
		{`"\u00e9\ud83d\ude00\n\/"`, `"é😀\n/"`},
		{"\xef\xbb\xbf{}", `{}`},
		{`{"a":TRUE,"b":-1.5e3}`, `{"a":true,"b":-1.5e3}`},
		{`{"":1}`, `{"":1}`},
	} {
		v, err := Parse([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		} else if got := dump(v); got != c.want {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		in           string
		line, column int
		text         string
	}{
		{"", 1, 1, "missing"},
		{"{\n  \"a\": 1,\n  \"a\": 2}", 3, 3, "twice"},
		{"{\"a\" 1}", 1, 6, "':'"},
		{"{\"a\":1", 1, 7, "the end"},
		{"{\"a\":\"x", 1, 6, "not closed"},
		{"{}\n {}", 2, 2, "after the end"},
		{"{a:\"\\q\"}", 1, 5, "no escape"},
		{"{a:\"\\ud800x\"}", 1, 5, "surrogate"},
		{"{a:/* x}", 1, 4, "comment"},
		{"{a:\n\xff}", 2, 1, "UTF-8"},
		{"[1 2]", 1, 4, "','"},
		{strings.Repeat("[", 1_000_000), 1, MaxDepth + 2, "nested"},
	} {
		_, err := Parse([]byte(c.in))
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%.40q: got %v, want a syntax error", c.in, err)
		} else if e.Line != c.line || e.Column != c.column || !strings.Contains(e.Text, c.text) {
			t.Errorf("%.40q: got %v, want %d:%d …%s…", c.in, e, c.line, c.column, c.text)
		}
	}
}

// FuzzParse: standard JSON without repeated names reads the same as encoding/json's; nothing panics; errors have a place.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}]}`, `{'x':y}`, `{"admin":false,"ADMIN":true}`, `[[[["`, `{a=1;b=>2}`, "/*", "\"\\u12"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Parse(data)
		if err != nil {
			var e *SyntaxError
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := Parse([]byte(dump(v)))
		if err != nil || dump(again) != dump(v) {
			t.Fatalf("%q reads as %s, which reads as %v", data, dump(v), err)
		}
	})
}
