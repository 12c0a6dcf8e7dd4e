package carbonxml_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
	"pgregory.net/rapid"
)

func parse(t *testing.T, text string) *carbonxml.Element {
	t.Helper()
	e, err := carbonxml.Parse("f.xml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEverythingKnowsItsPlace(t *testing.T) {
	e := parse(t, `<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<eventReceiver name="smart" xmlns="http://wso2.org/carbon/eventreceiver"
               trace = 'a > b' statistics="é=ß" x="1">
    <from eventAdapterType="http"/>
    <mapping
        type="json">
        ü <![CDATA[ <raw> ]]> &amp; &#x41;
    </mapping>
    <mapping/>
</eventReceiver>
`)
	place := func(what string, p carbonxml.Pos, want string) {
		t.Helper()
		if got := p.String(); got != "f.xml:"+want {
			t.Errorf("%s stands at %s, want %s", what, got, want)
		}
	}
	if e.Name != (carbonxml.Name{Space: "http://wso2.org/carbon/eventreceiver", Local: "eventReceiver"}) {
		t.Errorf("root %+v", e.Name)
	}
	place("root", e.Pos, "3:1")
	if len(e.Attrs) != 4 {
		t.Fatalf("attributes %+v", e.Attrs)
	}
	for i, want := range []struct{ name, value, place string }{
		{"name", "smart", "3:16"}, {"trace", "a > b", "4:16"}, {"statistics", "é=ß", "4:32"}, {"x", "1", "4:49"},
	} {
		a := e.Attrs[i]
		if a.Name.Local != want.name || a.Value != want.value {
			t.Errorf("attribute %+v, want %+v", a, want)
		}
		place(want.name, a.Pos, want.place)
	}
	m := e.Child("mapping")
	place("mapping", m.Pos, "6:5")
	place("type", m.Attrs[0].Pos, "7:9")
	place("text", m.TextPos, "8:9")
	if m.Value() != "ü  <raw>  & A" {
		t.Errorf("text %q", m.Value())
	}
	if !strings.Contains(m.Inner, "<![CDATA[ <raw> ]]> &amp; &#x41;") {
		t.Errorf("inner %q", m.Inner)
	}
	if len(e.All("mapping")) != 2 || e.Child("none") != nil || e.Child("none").Child("deeper") != nil || e.Path("none/x").Value() != "" {
		t.Error("children")
	}
	if a, ok := e.Child("from").Attr("eventAdapterType"); !ok || a.Value != "http" {
		t.Errorf("%+v", a)
	}
	if _, ok := e.Path("none").Attr("x"); ok {
		t.Error("an attribute of nothing")
	}
	kind := cause.Define("CBN-SDK-999", "x", "y")
	if got := e.Attrs[1].Errorf(kind, "bad").Error(); got != "CBN-SDK-999 f.xml:4:16: bad" {
		t.Error(got)
	}
	if got := m.Errorf(kind, "bad").Error(); got != "CBN-SDK-999 f.xml:6:5: bad" {
		t.Error(got)
	}
}

func TestTextPosSkipsCommentsAndCDATA(t *testing.T) {
	e := parse(t, "<a>\n <!-- x -->\n  <![CDATA[  in]]></a>")
	if e.TextPos.String() != "f.xml:3:14" || e.Value() != "in" {
		t.Errorf("%s %q", e.TextPos, e.Value())
	}
	if e := parse(t, "<a> </a>"); e.TextPos != e.Pos {
		t.Errorf("%s", e.TextPos)
	}
}

// TestRefusals is the guard: what no configuration file needs.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"DOCTYPE", "<?xml version='1.0'?>\n<!DOCTYPE a>\n<a/>", "f.xml:2:1: a DOCTYPE"},
		{"external entity", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "f.xml:1:1: a DOCTYPE"},
		{"billion laughs", "<!DOCTYPE a [<!ENTITY b \"&c;&c;\">]><a/>", "f.xml:1:1: a DOCTYPE"},
		{"DOCTYPE in the middle", "<a><!DOCTYPE b></a>", "f.xml:1:4: a DOCTYPE"},
		{"unknown entity", "<a>\n&nbsp;</a>", "f.xml:2:7: the entity &nbsp; is not allowed"},
		{"entity in an attribute", "<a x='&evil;'/>", "the entity &evil; is not allowed"},
		{"second root", "<a/>\n<b/>", "f.xml:2:1: a second root element <b>"},
		{"text behind", "<a/>\n  x", "f.xml:2:3: text stands outside"},
		{"text before", "x<a/>", "text stands outside"},
		{"duplicate attribute", `<a x="1" y="2" x="3"/>`, "f.xml:1:16: the attribute x stands twice in <a>"},
		{"duplicate by namespace", `<a xmlns:p="u" xmlns:q="u" p:x="1" q:x="2"/>`, "the attribute x stands twice"},
		{"duplicate xmlns", `<a xmlns="u" xmlns="v"/>`, "the attribute xmlns stands twice"},
		{"processing instruction", "<a><?php x ?></a>", "f.xml:1:4: a processing instruction (<?php)"},
		{"style sheet", "<?xml version='1.0'?><?xml-stylesheet href='x'?><a/>", "a processing instruction"},
		{"late declaration", "<a><?xml version='1.0'?></a>", "a processing instruction"},
		{"empty", "", "the file has no element"},
		{"only a comment", "<!-- x -->", "the file has no element"},
		{"not closed", "<a>\n<b>\n", "the file ends before <b> of line 2 is closed"},
		{"wrong end", "<a><b></a>", "f.xml:1"},
		{"no quotes", "<a x=1/>", "f.xml:1"},
		{"NUL", "<a>\x00</a>", "f.xml:1"},
		{"deep", strings.Repeat("<a>", 65) + strings.Repeat("</a>", 65), "f.xml:1:193: elements are nested more than 64 deep"},
		{"UTF-16", "\xff\xfe<\x00a\x00", "the file is UTF-16"},
		{"invalid UTF-8", "<a>\n ä\xff</a>", "f.xml:2:3: a byte here is no UTF-8"},
		{"other encoding", "<?xml version='1.0' encoding='Shift_JIS'?><a/>", "the encoding Shift_JIS is not supported"},
		{"version 1.1", "<?xml version='1.1'?><a/>", "f.xml:1"},
		{"large", "<a>" + strings.Repeat("x", 4<<20) + "</a>", "the most is 4194304"},
	} {
		_, err := carbonxml.Parse("f.xml", []byte(c.text))
		if !errors.Is(err, carbonxml.ErrXML) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	text := `<a x="1" y="2"><b/><b/></a>`
	for _, c := range []struct {
		limits carbonxml.Limits
		want   string
	}{
		{carbonxml.Limits{Bytes: 5}, "the most is 5"},
		{carbonxml.Limits{Depth: 1}, "nested more than 1 deep"},
		{carbonxml.Limits{Elements: 2}, "more than 2 elements"},
		{carbonxml.Limits{Attributes: 1}, "more than 1 attributes"},
	} {
		if _, err := carbonxml.ParseLimits("f.xml", []byte(text), c.limits); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.limits, err)
		}
	}
	if _, err := carbonxml.ParseReader("f.xml", strings.NewReader(text)); err != nil {
		t.Error(err)
	}
	if _, err := carbonxml.ParseReader("f.xml", strings.NewReader("<a>"+strings.Repeat(" ", 5<<20))); err == nil {
		t.Error("a stream that is too large was read")
	}
}

// TestEncodings: WSO2's own carbon.xml declares ISO-8859-1.
func TestEncodings(t *testing.T) {
	for name, text := range map[string]string{
		"latin 1": "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a x=\"\xfc\">\xe4</a>",
		"utf 8":   "<?xml version=\"1.0\" encoding=\"utf-8\"?><a x=\"ü\">ä</a>",
		"mark":    "\xef\xbb\xbf<a x=\"ü\">ä</a>",
	} {
		if e := parse(t, text); e.Value() != "ä" || e.Attrs[0].Value != "ü" {
			t.Errorf("%s: %q %+v", name, e.Value(), e.Attrs)
		}
	}
}

// TestPlacesPointAtTheirText: for documents made at random, each element's and attribute's place is where its name stands.
func TestPlacesPointAtTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := func() string { return rapid.SampledFrom([]string{" ", "\n", "\t ", "\n  ", "  "}).Draw(t, "space") }
		value := rapid.SampledFrom([]string{"", "v", "a=b", "ü > ß", "/", "x='1'"})
		var make func(depth int) string
		make = func(depth int) string {
			name := rapid.SampledFrom([]string{"a", "bé", "c-d"}).Draw(t, "name")
			s := "<" + name
			for i := range rapid.IntRange(0, 3).Draw(t, "attributes") {
				s += space() + fmt.Sprintf("k%d", i) + rapid.SampledFrom([]string{"=", " = ", "\n="}).Draw(t, "equals") + `"` + value.Draw(t, "value") + `"`
			}
			if depth == 0 {
				return s + rapid.SampledFrom([]string{"/>", " />", "></" + name + ">"}).Draw(t, "end")
			}
			s += ">"
			for range rapid.IntRange(0, 3).Draw(t, "children") {
				s += space() + make(depth-1) + rapid.SampledFrom([]string{"", "text ü", "<!-- < -->"}).Draw(t, "between")
			}
			return s + "</" + name + ">"
		}
		text := make(3)
		root, err := carbonxml.Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(text, "\n")
		from := func(p carbonxml.Pos) string { return string([]rune(lines[p.Line-1])[p.Column-1:]) }
		var walk func(e *carbonxml.Element)
		walk = func(e *carbonxml.Element) {
			if !strings.HasPrefix(from(e.Pos), "<"+e.Name.Local) {
				t.Fatalf("%s stands at %s, where %q is", e.Name.Local, e.Pos, from(e.Pos))
			}
			for _, a := range e.Attrs {
				if !strings.HasPrefix(from(a.Pos), a.Name.Local) {
					t.Fatalf("%s stands at %s, where %q is", a.Name.Local, a.Pos, from(a.Pos))
				}
			}
			for _, c := range e.Children {
				walk(c)
			}
		}
		walk(root)
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"<a/>", `<a b="c" xmlns:x="u" x:y='z'>t<!-- c --><![CDATA[d]]>&lt;</a>`, "<?xml version='1.0' encoding='ISO-8859-1'?>\n<a>\xe4</a>",
		"<!DOCTYPE a><a/>", "<a b='1' b='2'/>", "<a><b></a>", "<a / b='c'/>", "<a b = \"c\"d='e'/>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := carbonxml.Parse("f", data)
		if err != nil {
			if !errors.Is(err, carbonxml.ErrXML) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		var walk func(e *carbonxml.Element, depth int)
		walk = func(e *carbonxml.Element, depth int) {
			if depth > carbonxml.DefaultLimits.Depth || e.Pos.Line < 1 || e.Pos.Column < 1 || e.TextPos.Line < e.Pos.Line {
				t.Fatalf("%+v at depth %d", e, depth)
			}
			seen := map[carbonxml.Name]bool{}
			for _, a := range e.Attrs {
				if seen[a.Name] || a.Pos.Line < e.Pos.Line {
					t.Fatalf("%+v in %+v", a, e)
				}
				seen[a.Name] = true
			}
			for _, c := range e.Children {
				walk(c, depth+1)
			}
		}
		walk(e, 1)
	})
}
