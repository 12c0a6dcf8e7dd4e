package cli

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"carbonado.dev/carbonado/runtime/admin"
)

func (a *app) graphCommand() *cobra.Command {
	return &cobra.Command{Use: "graph [NAME]", Short: "Who is wired to whom: all, or one component and its neighbours (-o text, dot, json, yaml)", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		path := "/api/graph"
		if len(args) == 1 {
			path += "?component=" + url.QueryEscape(args[0])
		}
		g, err := get[admin.Graph](cmd.Context(), a, path)
		if err != nil {
			return err
		}
		switch a.format {
		case "dot":
			return dot(a.Stdout, g)
		case "text":
			a.format = "table"
		}
		return a.print(g, func(w io.Writer) { textGraph(w, g) })
	}}
}

// textGraph writes each component with what it needs and who needs it.
func textGraph(w io.Writer, g admin.Graph) {
	for _, n := range g.Nodes {
		fmt.Fprintf(w, "%s  %s, health %s\n", n.Name, n.State, n.Health)
		if n.Cause != nil {
			fmt.Fprintf(w, "  ! %s\n", short(n.Cause))
		}
		if g.Focus != "" && n.Name != g.Focus {
			continue
		}
		for _, e := range g.Edges {
			if e.From == n.Name {
				fmt.Fprintf(w, "  -> %s (%s %s) %s %s\n", e.To, e.Reference, e.Cardinality, e.Service, e.State)
			}
		}
		for _, e := range g.Edges {
			if e.To == n.Name {
				fmt.Fprintf(w, "  <- %s (%s %s) %s %s\n", e.From, e.Reference, e.Cardinality, e.Service, e.State)
			}
		}
	}
}

var nodeColours = map[string]string{"ACTIVE": "palegreen", "DISABLED": "gray90", "INSTALLED": "gray90", "RESOLVED": "gray90", "FAILED": "salmon", "BACKOFF": "orange", "WAITING": "khaki"}

// dot writes the graph for Graphviz: solid is bound, dashed is being restarted, dotted is planned only.
func dot(w io.Writer, g admin.Graph) error {
	var b strings.Builder
	b.WriteString("digraph carbonado {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=\"sans-serif\"];\n")
	for _, n := range g.Nodes {
		colour := nodeColours[n.State]
		if colour == "" {
			colour = "lightblue"
		}
		fmt.Fprintf(&b, "  %q [label=%q, fillcolor=%s];\n", n.Name, n.Name+"\n"+n.State, colour)
	}
	for _, e := range g.Edges {
		style := map[string]string{"bound": "solid", "suspended": "dashed"}[e.State]
		if style == "" {
			style = "dotted"
		}
		fmt.Fprintf(&b, "  %q -> %q [label=%q, style=%s];\n", e.From, e.To, e.Reference, style)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
