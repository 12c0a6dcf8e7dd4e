package plan

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/sdk/filter"
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
	// fits are, per reference, the offers that it could be wired to whether they run or not, the best first.
	fits [][]offer
	// wired are, per mandatory reference, the providers that the order rests on.
	wired map[string][]offer

	// rank is the node's place among the names; users are those that may become ready when it runs.
	rank  int
	users []*node
	// For one reach: how many preferences don't run yet, whose preference the node is, and whether it is among the ready.
	wishes  int
	wishers []*node
	queued  bool
	// marked is the last one that preferences has listed the node for.
	marked *node
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

func (o offer) runs() bool { return o.node == nil || o.node.Runs }

type builder struct {
	nodes map[string]*node
	names []string // of nodes, sorted
	// offers are the services that installed components and the kernel provide, by contract, the best first.
	offers map[string][]offer
	// index finds offers by one property: contract and property's name -> value -> offers.
	index map[[2]string]map[string][]offer
	// lasting: what is needed at the start only does not count.
	lasting bool
}

// Build works out the plan. The same input gives the same plan.
func Build(in Input) *Plan {
	b := &builder{nodes: map[string]*node{}, offers: map[string][]offer{}, index: map[[2]string]map[string][]offer{}}
	b.collect(in)
	b.last()
	started := b.start()
	for _, n := range b.nodes {
		b.wire(n)
		b.gates(n)
	}
	p := &Plan{Profile: in.Profile, Components: make([]Component, 0, len(b.nodes))}
	for _, n := range started {
		p.Components = append(p.Components, n.Component)
	}
	for _, name := range b.names {
		if n := b.nodes[name]; !n.Runs {
			n.Causes = b.causes(n)
			n.Waits = n.own == nil
			p.Components = append(p.Components, n.Component)
		}
	}
	p.byName = make(map[string]int, len(p.Components))
	for i := range p.Components {
		p.byName[p.Components[i].Name] = i
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
	for i, name := range b.names {
		n := b.nodes[name]
		n.rank = i
		n.own = n.ownCause()
		if n.desc == nil {
			continue
		}
		for i := range n.desc.Provides {
			s := &n.desc.Provides[i]
			b.offers[s.Service] = append(b.offers[s.Service], offer{n, s})
		}
		n.ask()
	}
	for _, list := range b.offers {
		slices.SortStableFunc(list, func(x, y offer) int { return cmp.Compare(y.provide.Ranking, x.provide.Ranking) })
	}
	b.offerHealth()
	for _, name := range b.names {
		n := b.nodes[name]
		if n.own == nil {
			n.own = b.shareCause(n)
		}
		n.fits = make([][]offer, len(n.Requires))
		for i := range n.Requires {
			for _, o := range b.lookup(&n.Requires[i]) {
				if fits(n, &n.Requires[i], o) {
					n.fits[i] = append(n.fits[i], o)
					if u := o.node; u != nil && n.Requires[i].Cardinality.Min > 0 && (len(u.users) == 0 || u.users[len(u.users)-1] != n) {
						u.users = append(u.users, n)
					}
				}
			}
		}
	}
}

// ask writes down the references of a component as configuration changes them.
func (n *node) ask() {
	n.Requires = slices.Grow(n.Requires, len(n.desc.Requires))
	n.References = slices.Grow(n.References, len(n.desc.Requires))
	for _, r := range n.desc.Requires {
		if n.Config != nil {
			r = r.Overridden(n.Config.References[r.Name])
		}
		n.Requires = append(n.Requires, r)
		ref := Reference{
			Name: r.Name, Service: r.Service, Cardinality: r.Cardinality.String(), Minimum: r.Cardinality.Min, Policy: r.Policy(), Option: r.Option(),
			Filter: r.Filter.Text(),
		}
		if r.Versions != nil {
			ref.Version = r.Versions.String()
		}
		n.References = append(n.References, ref)
	}
}

// offerHealth makes the health that references ask for an offer of the component that it is about.
func (b *builder) offerHealth() {
	for _, name := range b.names {
		for _, r := range b.nodes[name].Requires {
			about, _, ok := component.HealthCondition(r.Service)
			if n := b.nodes[about]; ok && n != nil && n.desc != nil && b.offers[r.Service] == nil {
				b.offers[r.Service] = []offer{{n, &component.Provide{Service: r.Service, Version: semver.New(1, 0, 0, "", ""), Dynamic: true}}}
			}
		}
	}
}

func (b *builder) node(name string, decide func(string) profile.Decision) *node {
	if n := b.nodes[name]; n != nil {
		return n
	}
	n := &node{decision: decide(name)}
	n.Name, n.Enabled, n.Rule = name, n.decision.Enabled, n.decision.Rule
	n.Wires, n.Causes, n.References = []Wire{}, []component.Cause{}, []Reference{}
	b.nodes[name] = n
	return n
}

// lookup lists the offers of a reference's contract, those left out that lack a property which its filter must have. The best first.
func (b *builder) lookup(r *component.Require) []offer {
	all := b.offers[r.Service]
	required := r.Filter.Required()
	if len(all) < 8 || len(required) == 0 {
		return all
	}
	key := slices.Sorted(maps.Keys(required))[0]
	at := [2]string{r.Service, key}
	if b.index[at] == nil {
		b.index[at] = map[string][]offer{}
		for _, o := range all {
			if v, ok := filter.Value(o.provide.Properties, key); ok {
				b.index[at][v] = append(b.index[at][v], o)
			} else if o.provide.Dynamic {
				b.index[at] = map[string][]offer{} // the property may come, with any value: no index
				break
			}
		}
	}
	if len(b.index[at]) == 0 {
		return all
	}
	return b.index[at][required[key]]
}

// fits tells whether an offer is what a reference of a component asks for. What a dynamic offer's properties will be is known
// in part only: a property that does not stand in the descriptor may come.
func fits(who *node, r *component.Require, o offer) bool {
	return o.node != who && r.Versions.Has(o.provide.Version) && mismatch(r, o) == "" && broken(who, r, o) == nil
}

// mismatch is the term of a reference's filter that an offer does not match; empty if it may.
func mismatch(r *component.Require, o offer) string {
	return r.Filter.Failing(o.provide.Properties, o.provide.Dynamic)
}

// providers lists the offers that a reference, by its index, could be wired to and that run, the best first.
func (b *builder) providers(n *node, reference int) []offer {
	var out []offer
	for _, o := range n.fits[reference] {
		if o.runs() {
			out = append(out, o)
		}
	}
	return out
}

// met tells whether running components make up the least number that a reference asks for. How many registrations a dynamic offer will
// bring is not known: it counts as all.
func (n *node) met(reference int) bool {
	r, have := &n.Requires[reference], 0
	for _, o := range n.fits[reference] {
		if o.runs() {
			if have++; have >= r.Cardinality.Min || o.provide.Dynamic {
				return true
			}
		}
	}
	return have >= r.Cardinality.Min
}

// lacks tells whether a reference is needed and running components do not satisfy it.
func (b *builder) lacks(n *node, reference int) bool {
	return n.Requires[reference].Cardinality.Needs(b.lasting) > 0 && !n.met(reference)
}

// satisfied tells whether running components satisfy all that a node needs.
func (b *builder) satisfied(n *node) bool {
	for i := range n.Requires {
		if b.lacks(n, i) {
			return false
		}
	}
	return true
}

// unmet lists the mandatory references, by index, that running components do not satisfy.
func (b *builder) unmet(n *node) []int {
	var out []int
	for i := range n.Requires {
		if b.lacks(n, i) {
			out = append(out, i)
		}
	}
	return out
}

// last finds who may go on, should it run: all that would start if nothing were needed at the start only.
func (b *builder) last() {
	if !slices.ContainsFunc(b.names, func(name string) bool {
		return slices.ContainsFunc(b.nodes[name].Requires, func(r component.Require) bool { return r.Cardinality.AtStart })
	}) {
		return // start finds the same
	}
	b.lasting = true
	for _, n := range b.reach(nil) {
		n.Lasts = true
	}
	b.lasting = false
	for _, n := range b.nodes {
		n.Runs = false
	}
}

// start finds who runs, and in which order. A component may run once each of its mandatory references has the providers that it asks
// for: what is never reached lacks one, or stands in a circle.
func (b *builder) start() []*node {
	all := b.reach(nil)
	for _, n := range all {
		n.Lasts = true // who can start can go on
	}
	prefer := b.preferences(all)
	for _, n := range all {
		n.Runs = false
	}
	order := b.reach(prefer)
	for i, n := range order {
		n.Order = i + 1
	}
	return order
}

// reach marks who runs, one at a time: among those that are ready, one whose preferences all run, by start level, then name; or, where
// there is none such, the first. It gives all that run, in that order. Preferences of nil are none.
func (b *builder) reach(prefer map[*node][]*node) []*node {
	for _, n := range b.nodes {
		n.wishes, n.wishers, n.queued = 0, nil, false
	}
	for n, others := range prefer {
		n.wishes = len(others)
		for _, o := range others {
			o.wishers = append(o.wishers, n)
		}
	}
	best, rest := &queue{}, &queue{}
	offer := func(n *node) {
		if n.Runs || n.queued || n.own != nil || !b.satisfied(n) {
			return
		}
		n.queued = true
		if n.wishes == 0 {
			heap.Push(best, n)
		} else {
			heap.Push(rest, n)
		}
	}
	for _, name := range b.names {
		offer(b.nodes[name])
	}
	var reached []*node
	for best.Len()+rest.Len() > 0 {
		from := best
		if best.Len() == 0 {
			from = rest
		}
		n := heap.Pop(from).(*node)
		if n.Runs {
			continue // it stood in both
		}
		if prefer != nil {
			b.settle(n)
		}
		n.Runs = true
		reached = append(reached, n)
		for _, u := range n.wishers {
			if u.wishes--; u.wishes == 0 && u.queued && !u.Runs {
				heap.Push(best, u)
			}
		}
		for _, u := range n.users {
			offer(u)
		}
	}
	return reached
}

// queue is a heap of nodes by start level, then name.
type queue []*node

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].desc.StartLevel, q[j].desc.StartLevel), cmp.Compare(q[i].rank, q[j].rank)) < 0
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*node)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	*q = (*q)[:last]
	return n
}

// preferences lists, per component, those that had better start before it: everything it could be wired to, and the owners
// of the shares it uses. A circle of preferences is broken where the order comes to it.
func (b *builder) preferences(running []*node) map[*node][]*node {
	prefer := map[*node][]*node{}
	for _, n := range running {
		var mine []*node
		add := func(o *node) {
			if o != nil && o.Runs && o.marked != n {
				o.marked = n
				mine = append(mine, o)
			}
		}
		for _, offers := range n.fits {
			for _, o := range offers {
				add(o.node)
			}
		}
		for _, u := range n.desc.Uses {
			add(b.nodes[u.Component])
		}
		if len(mine) > 0 {
			prefer[n] = mine
		}
	}
	return prefer
}

// settle fixes which providers a component starts after: the best that run at its turn, as many as it needs.
func (b *builder) settle(n *node) {
	for i := range n.Requires {
		r := &n.Requires[i]
		if r.Cardinality.Min == 0 {
			continue
		}
		offers := b.providers(n, i)
		offers = offers[:min(len(offers), r.Cardinality.Min)]
		if n.wired == nil {
			n.wired = make(map[string][]offer, len(n.Requires))
		}
		n.wired[r.Name] = offers
		for _, o := range offers {
			if o.node != nil {
				n.After = append(n.After, o.node.Name)
			}
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
	n.Wires = slices.Grow(n.Wires, len(n.Requires))
	for i := range n.Requires {
		r := &n.Requires[i]
		offers := b.providers(n, i)
		if o, ok := n.wired[r.Name]; ok && r.Cardinality.Max == 1 {
			offers = o
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
