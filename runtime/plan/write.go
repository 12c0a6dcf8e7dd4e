package plan

import (
	"slices"

	"carbonado.dev/carbonado/runtime/component"
)

// write writes down what was worked out: those that run, so many, in their order, then the others by name.
func (b *builder) write(profile string, running int) *Plan {
	p := &Plan{Profile: profile, Components: make([]Component, len(b.sorted)), numbers: b.numbers, places: make([]int32, len(b.nodes))}
	next := int32(running)
	for _, n := range b.sorted {
		if t := &b.turns[n]; t.runs {
			p.places[n] = t.order - 1
		} else {
			p.places[n] = next
			next++
		}
	}
	written := ledger{wires: make([]Wire, 0, b.wires), after: make([]string, 0, b.wires)}
	for i := range b.sorted {
		n := int32(i) + 1
		me, t := &b.nodes[n], &b.turns[n]
		c := &p.Components[p.places[n]]
		*c = Component{
			Name: me.name, Installed: me.pack != nil, Enabled: me.enabled, Rule: me.rule, Package: me.pack, Config: me.config,
			Requires: me.requires, References: slices.Clip(b.references[me.wants:][:len(me.requires)]), Gates: []Gate{},
			Runs: t.runs, Order: int(t.order), Lasts: t.lasts, Causes: []component.Cause{}, Wires: []Wire{},
		}
		if t.runs {
			b.wire(n, c, &written)
		} else {
			c.Causes, c.Waits = b.causes(n), me.own == nil
		}
	}
	for _, n := range b.gated {
		p.Components[p.places[n]].Gates = b.gates(n)
	}
	return p
}

// ledger is where the parts of all components are written one after the other.
type ledger struct {
	wires []Wire
	after []string
	ranks []int32 // of those that one component starts after
}

// wire writes down the connections of a component that runs, and which components it starts after: of each mandatory reference, the best
// that run before it, as many as it needs.
func (b *builder) wire(n int32, c *Component, to *ledger) {
	wires, after := len(to.wires), len(to.after)
	to.ranks = to.ranks[:0]
	for i := range c.References {
		r, w := &c.References[i], b.nodes[n].wants+int32(i)
		one, needs := b.wants[w].one, b.wants[w].min
		for _, f := range b.fitting(w) {
			o := &b.offers[f.offer]
			provider := &b.turns[o.node]
			before := provider.order < b.turns[n].order
			if !provider.runs || one && needs > 0 && !before {
				continue
			}
			if before && needs > 0 {
				needs--
				if o.node != kernel {
					to.ranks = append(to.ranks, provider.rank())
				}
			}
			to.wires = append(to.wires, Wire{
				Reference: r.Name, Service: r.Service, Provider: b.nodes[o.node].name, Version: b.versionTexts[o.version], Cardinality: r.Cardinality,
			})
			if one {
				break
			}
		}
	}
	slices.Sort(to.ranks)
	for _, rank := range slices.Compact(to.ranks) {
		to.after = append(to.after, b.nodes[b.sorted[rank]].name)
	}
	c.Wires = slices.Clip(to.wires[wires:])
	if len(to.after) > after {
		c.After = slices.Clip(to.after[after:])
	}
}
