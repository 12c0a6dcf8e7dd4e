package plan

import (
	"cmp"
	"maps"
	"slices"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/profile"
	"github.com/Masterminds/semver/v3"
)

// KernelName is the provider's name in wires to the kernel's own services.
const KernelName = "kernel"

// kernelServices are always there: the kernel provides them to every component.
var kernelServices = []component.Provide{
	{Service: "carbonado.kernel.v1.Coordinator", Version: semver.New(1, 0, 0, "", "")},
	{Service: "carbonado.kernel.v1.Artifacts", Version: semver.New(1, 0, 0, "", "")},
}

// node is one name while the plan is made.
type node struct {
	Component
	desc     *component.Descriptor // nil unless the package can be read
	decision profile.Decision
	// own is why the component can't run whatever others do; nil if nothing.
	own *component.Cause
	// wired is, per mandatory reference, the provider that the order rests on.
	wired map[string]offer
}

// offer is one `provides` of one component, or of the kernel.
type offer struct {
	node    *node // nil for the kernel
	provide *component.Provide
}

func (o offer) name() string {
	if o.node == nil {
		return KernelName
	}
	return o.node.Name
}

type builder struct {
	nodes map[string]*node
	names []string // of nodes, sorted
	// offers are the services that installed components and the kernel provide, by contract, the best first.
	offers map[string][]offer
}

// Build works out the plan. The same input gives the same plan.
func Build(in Input) *Plan {
	b := &builder{nodes: map[string]*node{}, offers: map[string][]offer{}}
	b.collect(in)
	started := b.start()
	for _, n := range b.nodes {
		b.wire(n)
	}
	p := &Plan{Profile: in.Profile, Components: make([]Component, 0, len(b.nodes))}
	for _, n := range started {
		p.Components = append(p.Components, n.Component)
	}
	for _, name := range b.names {
		if n := b.nodes[name]; !n.Runs {
			n.Causes = b.causes(n)
			p.Components = append(p.Components, n.Component)
		}
	}
	return p
}

// collect makes a node per name and gathers what is offered.
func (b *builder) collect(in Input) {
	for _, p := range in.Packages {
		n := b.node(p.Name, in.Decide)
		n.Installed, n.Package, n.desc = true, p, p.Descriptor
		if in.Config != nil {
			n.Config = in.Config(p.Name)
		}
	}
	for _, name := range in.Known {
		b.node(name, in.Decide)
	}
	b.names = slices.Sorted(maps.Keys(b.nodes))
	for i := range kernelServices {
		s := &kernelServices[i]
		b.offers[s.Service] = append(b.offers[s.Service], offer{nil, s})
	}
	for _, name := range b.names {
		n := b.nodes[name]
		n.own = n.ownCause()
		if n.desc == nil {
			continue
		}
		for i := range n.desc.Provides {
			s := &n.desc.Provides[i]
			b.offers[s.Service] = append(b.offers[s.Service], offer{n, s})
		}
	}
	for _, list := range b.offers {
		slices.SortStableFunc(list, func(x, y offer) int { return cmp.Compare(y.provide.Ranking, x.provide.Ranking) })
	}
	for _, name := range b.names {
		if n := b.nodes[name]; n.own == nil {
			n.own = b.shareCause(n)
		}
	}
}

func (b *builder) node(name string, decide func(string) profile.Decision) *node {
	if n := b.nodes[name]; n != nil {
		return n
	}
	n := &node{decision: decide(name), wired: map[string]offer{}}
	n.Name, n.Enabled, n.Rule = name, n.decision.Enabled, n.decision.Rule
	n.Wires, n.Causes = []Wire{}, []component.Cause{}
	b.nodes[name] = n
	return n
}

// fits tells whether an offer is what a reference of a component asks for. What a dynamic offer's properties will be is known
// in part only: a property that does not stand in the descriptor may come.
func fits(who *node, r *component.Require, o offer) bool {
	return o.node != who && r.Versions.Has(o.provide.Version) && mismatch(r, o) == ""
}

// mismatch names the property of a reference's filter that an offer does not have; empty if it has all.
func mismatch(r *component.Require, o offer) string {
	for _, key := range slices.Sorted(maps.Keys(r.Filter)) {
		have, ok := o.provide.Properties[key]
		if ok && have != r.Filter[key] || !ok && !o.provide.Dynamic {
			return key
		}
	}
	return ""
}

// providers lists the offers that a reference could be wired to and that run, the best first.
func (b *builder) providers(who *node, r *component.Require) []offer {
	var out []offer
	for _, o := range b.offers[r.Service] {
		if fits(who, r, o) && (o.node == nil || o.node.Runs) {
			out = append(out, o)
		}
	}
	return out
}

// unmet lists the mandatory references that no running component satisfies.
func (b *builder) unmet(n *node) []*component.Require {
	var out []*component.Require
	for i := range n.desc.Requires {
		r := &n.desc.Requires[i]
		if r.Cardinality.Min > 0 && len(b.providers(n, r)) == 0 {
			out = append(out, r)
		}
	}
	return out
}

// start finds who runs, and in which order. A component may run once each of its mandatory references has a provider that
// runs: what is never reached lacks one, or stands in a circle.
func (b *builder) start() []*node {
	all := b.reach(nil)
	prefer := b.preferences(all)
	for _, n := range all {
		n.Runs = false
	}
	var order []*node
	b.reach(func(ready []*node) *node {
		n := first(ready, func(n *node) bool {
			return !slices.ContainsFunc(prefer[n], func(p *node) bool { return !p.Runs })
		})
		b.settle(n)
		order = append(order, n)
		n.Order = len(order)
		return n
	})
	return order
}

// reach marks who runs, one at a time, chosen by pick among those that are ready (by start level, then name). Without pick
// any order will do. It gives all that run.
func (b *builder) reach(pick func(ready []*node) *node) []*node {
	var reached []*node
	for {
		var ready []*node
		for _, name := range b.names {
			if n := b.nodes[name]; !n.Runs && n.own == nil && len(b.unmet(n)) == 0 {
				ready = append(ready, n)
			}
		}
		if len(ready) == 0 {
			return reached
		}
		if pick != nil {
			slices.SortStableFunc(ready, func(x, y *node) int { return cmp.Compare(x.desc.StartLevel, y.desc.StartLevel) })
			ready = []*node{pick(ready)}
		}
		for _, n := range ready {
			n.Runs = true
		}
		reached = append(reached, ready...)
	}
}

// first gives the first node that is right, or else the first.
func first(nodes []*node, right func(*node) bool) *node {
	if i := slices.IndexFunc(nodes, right); i >= 0 {
		return nodes[i]
	}
	return nodes[0]
}

// preferences lists, per component, those that had better start before it: everything it could be wired to, and the owners
// of the shares it uses. A circle of preferences is broken where the order comes to it.
func (b *builder) preferences(running []*node) map[*node][]*node {
	prefer := map[*node][]*node{}
	for _, n := range running {
		for i := range n.desc.Requires {
			for _, o := range b.providers(n, &n.desc.Requires[i]) {
				if o.node != nil {
					prefer[n] = append(prefer[n], o.node)
				}
			}
		}
		for _, u := range n.desc.Uses {
			if o := b.nodes[u.Component]; o != nil && o.Runs {
				prefer[n] = append(prefer[n], o)
			}
		}
	}
	return prefer
}

// settle fixes which providers a component starts after: the best that run at its turn.
func (b *builder) settle(n *node) {
	for i := range n.desc.Requires {
		r := &n.desc.Requires[i]
		if r.Cardinality.Min == 0 {
			continue
		}
		o := b.providers(n, r)[0]
		n.wired[r.Name] = o
		if o.node != nil {
			n.After = append(n.After, o.node.Name)
		}
	}
	slices.Sort(n.After)
	n.After = slices.Compact(n.After)
}

// wire writes down the connections of a component that runs.
func (b *builder) wire(n *node) {
	if !n.Runs {
		return
	}
	for i := range n.desc.Requires {
		r := &n.desc.Requires[i]
		offers := b.providers(n, r)
		if o, ok := n.wired[r.Name]; ok && r.Cardinality.Max == 1 {
			offers = []offer{o}
		} else if r.Cardinality.Max == 1 && len(offers) > 1 {
			offers = offers[:1]
		}
		for _, o := range offers {
			n.Wires = append(n.Wires, Wire{
				Reference: r.Name, Service: r.Service, Provider: o.name(),
				Version: o.provide.Version.String(), Cardinality: r.Cardinality.String(),
			})
		}
	}
}
