package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/plan"
)

// print writes a value in the chosen format; asTable writes the one for people.
func (a *app) print(v any, asTable func(io.Writer)) error {
	switch a.format {
	case "table", "":
		asTable(a.Stdout)
		return nil
	case "json":
		e := json.NewEncoder(a.Stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		// Through JSON, so that both formats have the same names.
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		var plain any
		if err := yaml.Unmarshal(b, &plain); err != nil {
			return err
		}
		clearStyle := yaml.NewEncoder(a.Stdout)
		clearStyle.SetIndent(2)
		if err := clearStyle.Encode(plain); err != nil {
			return err
		}
		return clearStyle.Close()
	}
	return plan.ErrFormat.New("there is no output format %q", a.format)
}

func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.AppendHeader(header)
	return t
}

// causeLines prints a cause and its chain down to the leaf, each with its place, then the fix.
func causeLines(w io.Writer, indent string, c *admin.Cause) {
	if c == nil {
		return
	}
	fmt.Fprintf(w, "%s%s %s%s\n", indent, c.Code, place(c), c.Text)
	for i := range c.Chain {
		fmt.Fprintf(w, "%s%s└ %s %s%s\n", indent, strings.Repeat("  ", i), c.Chain[i].Code, place(&c.Chain[i]), c.Chain[i].Text)
	}
	if fix := c.FixText(); fix != "" {
		fmt.Fprintf(w, "%sfix: %s\n", indent, fix)
	}
}

func place(c *admin.Cause) string {
	switch {
	case c.File == "":
		return ""
	case c.Line == 0:
		return c.File + ": "
	case c.Column > 0:
		return fmt.Sprintf("%s:%d:%d: ", c.File, c.Line, c.Column)
	}
	return fmt.Sprintf("%s:%d: ", c.File, c.Line)
}

// short is a cause in one cell.
func short(c *admin.Cause) string {
	if c == nil {
		return ""
	}
	text := c.Text
	if n := len(c.Chain); n > 0 {
		text += " <- " + c.Chain[n-1].Text
	}
	return text
}
