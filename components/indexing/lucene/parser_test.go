package lucene

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/sdk/cause"
)

func fields(name string) (Type, bool) {
	switch name {
	case "a", "b", "c", "d", "y", "msg":
		return String, true
	case "_msg", "loc":
		return Keyword, true
	case "ok":
		return Boolean, true
	case "i":
		return Integer, true
	case "l", "_timestamp":
		return Long, true
	case "f":
		return Float, true
	case "x":
		return Double, true
	}
	return 0, false
}

func parse(s string) (query.Node, error) {
	return Parse(s, Options{Field: fields, Location: time.UTC})
}

// java prints a tree as Lucene's toString does.
func java(n query.Node, top bool) string {
	b := func(boost float64) string {
		if boost == 1 {
			return ""
		}
		return "^" + strconv.FormatFloat(boost, 'f', 1, 64)
	}
	switch n := n.(type) {
	case query.All:
		return "*:*" + b(n.Boost)
	case query.None:
		return ""
	case query.Bool:
		var parts []string
		for _, c := range n.Clauses {
			parts = append(parts, []string{"", "+", "-"}[c.Occur]+java(c.Node, false))
		}
		s := strings.Join(parts, " ")
		if !top || n.Boost != 1 {
			s = "(" + s + ")" + b(n.Boost)
		}
		if n.Boost != 1 {
			s = "(" + s + ")"
		}
		return s
	case query.Term:
		return n.Field + ":" + n.Text + b(n.Boost)
	case query.Phrase:
		var words []string
		for _, t := range n.Terms {
			words = append(words, t.Text)
		}
		s := n.Field + `:"` + strings.Join(words, " ") + `"`
		if n.Slop > 0 {
			s += fmt.Sprintf("~%d", n.Slop)
		}
		return s + b(n.Boost)
	case query.Pattern:
		switch n.Match {
		case query.Prefix:
			return n.Field + ":" + n.Text + "*" + b(n.Boost)
		case query.Regexp:
			return n.Field + ":/" + strings.ReplaceAll(n.Text, "/", `\/`) + "/" + b(n.Boost)
		case query.Fuzzy:
			return fmt.Sprintf("%s:%s~%d%s", n.Field, n.Text, n.Edits, b(n.Boost))
		}
		return n.Field + ":" + n.Text + b(n.Boost)
	}
	if r, ok := n.(query.TermRange); ok && r.Boost != 1 {
		boost := b(r.Boost)
		r.Boost = 1
		return r.String() + boost
	}
	return n.String()
}

// Where this parser means to differ.
var deviations = map[string]string{
	"a:*":           "every document that has a value; Lucene refuses it as a leading wildcard",
	"a:x + b:y":     "an operator holds across blanks; Lucene 5 drops it in silence",
	"a:... AND b:y": "a single + clause is its content: the same documents and scores",
	"a:x~y":         "y names no field, which DAS refuses as well",
}

func TestLikeLucene(t *testing.T) {
	p, err := os.ReadFile("testdata/classic.tsv")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(strings.TrimSpace(string(p)), "\n")[1:] {
		i := strings.LastIndexByte(line, '\t')
		q, want := line[:i], strings.TrimSpace(line[i+1:])
		n++
		if deviations[q] != "" {
			continue
		}
		got := "ERROR"
		if tree, err := parse(q); err == nil {
			got = java(tree, true)
		} else if want != "ERROR" {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", q, got, want)
		}
	}
	if n < 100 {
		t.Fatalf("only %d queries", n)
	}
}

func TestTypes(t *testing.T) {
	f64 := func(v float64) string { return strconv.FormatInt(column.OfFloat64(v), 10) }
	f32 := func(v float32) string { return strconv.FormatInt(column.OfFloat32(v), 10) }
	const top, bottom = "9223372036854775807", "-9223372036854775808"
	for q, want := range map[string]string{
		"i:5":                     "i:[5..5]",
		"i:-5":                    "i:[-5..-5]",
		"i:(-5 OR 7)":             "(-i:[5..5] i:[7..7])", // a - in front of a clause prohibits, as ever
		`i:"-5"`:                  "i:[-5..-5]",
		"i:[-5 TO -1]":            "i:[-5..-1]",
		"i:{-5 TO 10}":            "i:[-4..9]",
		"i:[1 TO 5}":              "i:[1..4]",
		"i:[* TO 5]":              "i:[" + bottom + "..5]",
		"i:[5 TO *]":              "i:[5.." + top + "]",
		"i:{* TO *}":              "i:[" + bottom + ".." + top + "]",
		"i:[5 TO 1]":              "none",
		"i:{5 TO 5}":              "none",
		"i:5^2":                   "i:[5..5]^2",
		"i:*":                     "i:exists",
		"x:1.5":                   "x:[" + f64(1.5) + ".." + f64(1.5) + "]",
		"x:-1.5e3":                "x:[" + f64(-1500) + ".." + f64(-1500) + "]",
		"x:{0 TO 1]":              "x:[" + f64(math.SmallestNonzeroFloat64) + ".." + f64(1) + "]",
		"x:0":                     "x:[" + f64(0) + ".." + f64(0) + "]",
		"x:\\-0":                  "x:[" + f64(0) + ".." + f64(0) + "]",
		"f:0.1":                   "f:[" + f32(0.1) + ".." + f32(0.1) + "]",
		"ok:true":                 `ok:"true"`,
		"ok:FALSE":                `ok:"false"`,
		"ok:[false TO true]":      "ok:[false TO true]",
		"_msg:Hello":              `_msg:"Hello"`,
		`_msg:"Hello World"`:      `_msg:"Hello World"`,
		`_msg:""`:                 `_msg:""`,
		"_msg:He*":                "_msg:prefix(He)",
		"msg:He*":                 "msg:prefix(he)",
		"msg:H?L*":                "msg:wildcard(h?l*)",
		`msg:a\*b*`:               "msg:prefix(a*b)",
		`msg:/A\W+B/`:             `msg:regexp(a\W+b)`,
		"msg:Hello~1":             "msg:fuzzy(hello)~1",
		"msg:hello~0.9":           `msg:"hello"`,
		"msg:[A TO C}":            "msg:[a TO c}",
		"_msg:[A TO C}":           "_msg:[A TO C}",
		"loc:us,ca":               `loc:"us,ca"`,
		`_timestamp:"1970-01-02"`: "_timestamp:[86400000..86400000]",
		`_timestamp:["1970-01-01 00:00:01" TO "1970-01-01 00:00:02 UTC"]`:    "_timestamp:[1000..2000]",
		`_timestamp:["1970-01-01 00:00:01 PST" TO *]`:                        "_timestamp:[28801000.." + top + "]",
		`l:["1970-01-01 01:00:00 GMT+01:00" TO "1970-01-01 00:00:00 +0000"]`: "l:[0..0]",
		`l:[1970-01-01 TO "1970-01-01 05:30:00 Asia/Kolkata"]`:               "l:[0..0]",
		"": "*:*", "  ": "*:*", "*:*^3": "*:*^3",
		"msg:(foo bar)^2 i:1": `((msg:"foo" msg:"bar")^2 i:[1..1])`,
		"(msg:foo^3)^2":       `msg:"foo"^6`,
		`msg:"a b"~0`:         "msg:phrase(a@0 b@1)",
	} {
		n, err := parse(q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
		} else if n.String() != want {
			t.Errorf("%s\n got %s\nwant %s", q, n, want)
		}
	}
}

func TestErrorsNameTheColumn(t *testing.T) {
	deep := strings.Repeat("(", 100) + "a:x" + strings.Repeat(")", 100)
	for _, c := range []struct {
		q      string
		kind   *cause.Kind
		column int
	}{
		{"foo", ErrNoField, 1}, {"a:x foo", ErrNoField, 5}, {`"x y"`, ErrNoField, 1}, {"[1 TO 2]", ErrNoField, 1}, {"*", ErrNoField, 1},
		{"a:x nope:y", ErrUnknownField, 5}, {"i:x", ErrValue, 3}, {"i:1.5", ErrValue, 3}, {"i:[1 TO x]", ErrValue, 9}, {"i:1*", ErrValue, 3},
		{"l:2020-13-45", ErrValue, 3}, {"ok:maybe", ErrValue, 4}, {"x:abc", ErrValue, 3}, {"a:*x", ErrLeadingWildcard, 3}, {"a:?x", ErrLeadingWildcard, 3},
		{"größe:x", ErrUnknownField, 1}, {"a:größe (", ErrSyntax, 10}, {"a:(x", ErrSyntax, 3}, {"a:x)", ErrSyntax, 4}, {`a:"x`, ErrSyntax, 3},
		{"a:[1 TO 2", ErrSyntax, 10}, {"a:/[/", ErrSyntax, 3}, {"i:5~", ErrSyntax, 4}, {"a:x*~", ErrSyntax, 5}, {deep, ErrLimit, 65},
		{"a:-x", ErrSyntax, 3}, {"*:x", ErrSyntax, 1}, {`a:\u12`, ErrSyntax, 3}, {"a:]", ErrSyntax, 3},
		{strings.Repeat("a:x ", 2000), ErrLimit, 0}, {"a:" + strings.Repeat("x", 70000), ErrLimit, 0},
		{`a:(` + strings.Repeat("x-", 3000) + ")", ErrLimit, 0},
	} {
		_, err := parse(c.q)
		var e *cause.Error
		if !errors.As(err, &e) || !errors.Is(err, c.kind) {
			t.Errorf("%.40s: %v, want %s", c.q, err, c.kind.ID())
			continue
		}
		if _, _, col := e.Position(); col != c.column {
			t.Errorf("%.40s: column %d, want %d (%v)", c.q, col, c.column, err)
		}
	}
}

func TestSettings(t *testing.T) {
	n, err := Parse("a:*x", Options{Field: fields, AllowLeadingWildcard: true})
	if err != nil || n.String() != "a:wildcard(*x)" {
		t.Fatal(n, err)
	}
	n, err = Parse(`a:the a:"the fox and hound" b:fox`, Options{Field: fields, Stop: analysis.English})
	if err != nil || n.String() != `(a:phrase(fox@0 hound@2) b:"fox")` {
		t.Fatal(n, err)
	}
}

// FuzzParse: no text makes the parser fail without a code, nor loop, nor nest deeper than it says.
func FuzzParse(f *testing.F) {
	p, err := os.ReadFile("testdata/classic.tsv")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(string(p), "\n") {
		f.Add(strings.Split(line, "\t")[0])
	}
	f.Add(`i:[-5 TO *} l:"2020-01-01 00:00:00 PST" ok:(true OR x:1.5e3)^2`)
	f.Fuzz(func(t *testing.T, q string) {
		n, err := parse(q)
		if err == nil {
			if n.String() == "" {
				t.Fatal("an empty tree")
			}
			return
		}
		if cause.From(err).Code() == cause.Unknown.ID() {
			t.Fatalf("%q: error without a code: %v", q, err)
		}
	})
}
