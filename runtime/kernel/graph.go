package kernel

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/plan"
)

func sortBy[T any](list []T, by func(a, b T) int) { slices.SortStableFunc(list, by) }

// Graph implements admin.Seeing. What is bound is taken from the wiring as it is; references that nobody satisfies now from the plan.
func (k *Kernel) Graph(_ context.Context, focus string) (admin.Graph, error) {
	g := admin.Graph{Focus: focus, Nodes: []admin.GraphNode{}, Edges: []admin.GraphEdge{}}
	if focus != "" && focus != plan.KernelName {
		if _, err := k.viewOf(focus); err != nil {
			return g, err
		}
	}
	type key struct{ from, reference, to string }
	edges := map[key]admin.GraphEdge{}
	for _, v := range k.reconciler.Views() {
		if v.Planned == nil || v.Planned.Package.Descriptor == nil {
			continue
		}
		for _, w := range v.Planned.Wires {
			edges[key{v.Name, w.Reference, w.Provider}] = admin.GraphEdge{From: v.Name, To: w.Provider, Reference: w.Reference, Service: w.Service, Cardinality: w.Cardinality, State: "planned"}
		}
		for _, b := range v.Bindings {
			e := admin.GraphEdge{From: v.Name, To: b.Provider, Reference: b.Reference, State: "bound"}
			for _, q := range v.Planned.Package.Descriptor.Requires {
				if q.Name == b.Reference {
					e.Service, e.Cardinality = q.Service, q.Cardinality.String()
				}
			}
			if e.Service == "" {
				continue // the kernel's own services, which everybody has
			}
			if b.Suspended {
				e.State = "suspended"
			}
			edges[key{v.Name, b.Reference, b.Provider}] = e
		}
	}
	shown := map[string]bool{}
	for _, e := range edges {
		if focus == "" || e.From == focus || e.To == focus {
			g.Edges = append(g.Edges, e)
			shown[e.From], shown[e.To] = true, true
		}
	}
	sortBy(g.Edges, func(a, b admin.GraphEdge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.Reference, b.Reference), strings.Compare(a.To, b.To))
	})
	for _, v := range k.reconciler.Views() {
		if v.Planned != nil && (focus == "" || v.Name == focus || shown[v.Name]) {
			c := k.line(v)
			g.Nodes = append(g.Nodes, admin.GraphNode{Name: c.Name, State: c.State, Health: c.Health, Cause: c.Cause})
		}
	}
	if shown[plan.KernelName] {
		g.Nodes = append(g.Nodes, admin.GraphNode{Name: plan.KernelName, State: "ACTIVE", Health: "OK"})
	}
	return g, nil
}
