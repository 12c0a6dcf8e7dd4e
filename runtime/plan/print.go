package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"
)

// ErrFormat is the kind of a name of an output format that there is not.
var ErrFormat = cause.Define("CBN-CLI-066", "There is no such output format.", "The formats are table, json and yaml.").
	Code(codes.InvalidArgument)

// Print writes the plan as "table", "json" (SEAMS.md section 7) or "yaml". Colour is for tables on a terminal.
func (p *Plan) Print(w io.Writer, format string, colour bool) error {
	switch format {
	case "table", "":
		return p.table(w, colour)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(p)
	case "yaml":
		enc := yaml.NewEncoder(w)
		enc.SetIndent(2)
		if err := enc.Encode(p); err != nil {
			return err
		}
		return enc.Close()
	}
	return ErrFormat.New("there is no output format %q", format)
}

func (p *Plan) table(w io.Writer, colour bool) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	t.AppendHeader(table.Row{"ORDER", "COMPONENT", "RUNS", "RULE", "WIRES"})
	for i := range p.Components {
		c := &p.Components[i]
		order, runs := "-", c.verdict()
		if c.Runs {
			order = fmt.Sprint(c.Order)
		}
		if colour {
			runs = shade(c).Sprint(runs)
		}
		t.AppendRow(table.Row{order, c.Name, runs, c.Rule, strings.Join(c.wires(), ", ")})
	}
	var b strings.Builder
	for line := range strings.Lines(t.Render() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
	for i := range p.Components {
		if c := &p.Components[i]; c.Runs && len(c.Gates) > 0 {
			fmt.Fprintf(&b, "\n%s:\n  %s\n", c.Name, strings.Join(c.gateLines(), "\n  "))
		}
	}
	for i := range p.Components {
		if c := &p.Components[i]; c.Installed && c.Enabled && !c.Runs {
			fmt.Fprintf(&b, "\n%s cannot run:\n", c.Name)
			for _, x := range c.Causes {
				explain(&b, x)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdict is the word in the column RUNS.
func (c *Component) verdict() string {
	switch {
	case c.Runs:
		return "yes"
	case !c.Installed:
		return "not installed"
	case !c.Enabled:
		return "disabled"
	}
	return "cannot run"
}

func shade(c *Component) text.Color {
	switch {
	case c.Runs:
		return text.FgGreen
	case c.Installed && c.Enabled:
		return text.FgRed
	}
	return text.Faint
}

// wires lists the references with their providers: "store=DataService".
func (c *Component) wires() []string {
	out := make([]string, len(c.Wires))
	for i, w := range c.Wires {
		out[i] = w.Reference + "=" + w.Provider
	}
	return out
}

// explain writes a cause, its chain and the fix of its leaf, one entry a line.
func explain(b *strings.Builder, c component.Cause) {
	fmt.Fprintf(b, "  %s %s%s\n", c.Code, c.Text, place(c))
	for i, x := range c.Chain {
		fmt.Fprintf(b, "  %s%s %s%s\n", strings.Repeat("  ", i+1), x.Code, x.Text, place(x))
	}
	if fix := c.Leaf().Fix; fix != "" {
		fmt.Fprintf(b, "  fix: %s\n", fix)
	}
}

func place(c component.Cause) string {
	if p := c.Place(); p != "" && !strings.Contains(c.Text, p) {
		return " (" + p + ")"
	}
	return ""
}
