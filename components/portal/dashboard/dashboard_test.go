package dashboard

import (
	"errors"
	"os"
	"strings"
	"testing"

	"carbonado.dev/sdk/cause"
)

const good = `{
  "id": "power",
  "title": "Power",
  "refreshSeconds": 3,
  "permissions": {"viewers": ["analyst"]},
  "landing": "one",
  "pages": [
    {"id": "one", "title": "One", "gadgets": [
      {"id": "total", "title": "Total", "x": 0, "y": 0, "width": 3, "height": 2,
       "chart": {"type": "number"}, "data": {"countOf": "T"}},
      {"id": "bars", "title": "Bars", "x": 3, "y": 0, "width": 9, "height": 4,
       "chart": {"type": "bar", "x": "city", "y": ["avg"], "sort": "value"}, "data": {"table": "U", "columns": ["city", "avg"]}},
      {"id": "line", "title": "Line", "x": 0, "y": 4, "width": 12, "height": 4,
       "chart": {"type": "line", "x": "t", "y": ["v"]}, "data": {"sql": "SELECT 1"}}
    ]}
  ]
}`

func TestParse(t *testing.T) {
	def, err := Parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if def.ID != "power" || len(def.Pages[0].Gadgets) != 3 || def.Pages[0].Gadgets[1].Data.Limit != usualRows {
		t.Errorf("got %+v", def)
	}
}

func TestSampleIsRight(t *testing.T) {
	content, err := os.ReadFile("../../../repository/deployment/server/dashboards/smart-home.json")
	if err != nil {
		t.Fatal(err)
	}
	def, err := Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, page := range def.Pages {
		for _, g := range page.Gadgets {
			types[g.Chart.Type] = true
		}
	}
	for _, want := range []string{"number", "bar", "line"} {
		if !types[want] {
			t.Errorf("no gadget of type %s", want)
		}
	}
}

// Each is refused with the line and column of the culprit.
func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		old, new string
		line     int
		text     string
	}{
		"no JSON":           {`"Power",`, `"Power"`, 4, "no JSON"},
		"cut off":           {"\n  ]\n}", "", 15, "ends too early"},
		"text after it":     {"\n  ]\n}", "\n  ]\n} {}", 17, "something after"},
		"key twice":         {`"refreshSeconds": 3`, `"Title": "x"`, 4, "stands twice"},
		"unknown key":       {`"sort": "value"`, `"colour": "red"`, 12, `"colour" is unknown`},
		"prototype":         {`"landing"`, `"__proto__": {}, "landing"`, 6, `"__proto__" is unknown`},
		"wrong type":        {`"width": 9`, `"width": "9"`, 11, "instead of a whole number"},
		"upper-case id":     {`"power"`, `"Power!"`, 2, "is not made of"},
		"no title":          {`"title": "Power"`, `"title": ""`, 3, "title: is missing"},
		"refresh":           {`: 3,`, `: -3,`, 4, "refreshSeconds"},
		"landing":           {`"landing": "one"`, `"landing": "two"`, 6, `no page "two"`},
		"gadget twice":      {`"id": "bars"`, `"id": "total"`, 11, "stands twice"},
		"beyond the grid":   {`"x": 3`, `"x": 4`, 11, "12 columns"},
		"no x":              {`"x": "city", `, ``, 12, "needs a column x"},
		"unknown chart":     {`"type": "line"`, `"type": "pie3d"`, 14, "none of number"},
		"two sources":       {`"countOf": "T"`, `"countOf": "T", "sql": "x"`, 10, "exactly one"},
		"no source":         {`"sql": "SELECT 1"`, ``, 14, "exactly one"},
		"limit":             {`"table": "U",`, `"table": "U", "limit": 5001,`, 12, "limit"},
		"columns of sql":    {`"sql": "SELECT 1"`, `"sql": "SELECT 1", "columns": ["a"]`, 14, "go with table"},
		"number with rows":  {`"countOf": "T"`, `"table": "T"`, 10, "one column y"},
		"bars of a count":   {`"table": "U", "columns": ["city", "avg"]`, `"countOf": "U"`, 12, "one number"},
		"not even an array": {`[{"id"`, `{"id"`, 8, ""},
		"too deep":          {`"Power"`, strings.Repeat("[", 100), 3, "deeper than"},
	} {
		t.Run(name, func(t *testing.T) {
			var text string
			if name == "not even an array" {
				text = "\n\n[]"
				tc.line = 3
			} else if text = strings.Replace(good, tc.old, tc.new, 1); text == good {
				t.Fatal("the replacement changes nothing")
			}
			_, err := Parse([]byte(text))
			if !errors.Is(err, ErrDefinition) {
				t.Fatalf("got %v", err)
			}
			_, line, column := cause.From(err).Position()
			if line != tc.line || column < 1 || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got line %d, %v; want line %d and %q", line, err, tc.line, tc.text)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"id":1e999}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		def, err := Parse(content)
		if err == nil && (def == nil || def.ID == "" || len(def.Pages) == 0) {
			t.Fatalf("accepted %q as %+v", content, def)
		}
		if err != nil && !errors.Is(err, ErrDefinition) {
			t.Fatalf("%q: %v has no code", content, err)
		}
	})
}

func TestPositionIsTheBeginOfTheValue(t *testing.T) {
	_, err := Parse([]byte("{\n  \"id\": \"Power!\"\n}"))
	if _, line, column := cause.From(err).Position(); line != 2 || column != 9 {
		t.Errorf("line %d, column %d: %v; want 2, 9", line, column, err)
	}
}
