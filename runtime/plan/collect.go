package plan

import (
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"github.com/Masterminds/semver/v3"
)

// collect makes a node per name, and gathers what is offered and asked for.
func (b *builder) collect(in Input) {
	most := 1 + len(in.Packages) + len(in.Known)
	b.nodes, b.numbers = make([]node, 1, most), make(numbers, most)
	b.nodes[kernel] = node{name: KernelName, enabled: true}
	provides, requires := len(kernelServices), 0
	for _, p := range in.Packages {
		n := b.node(p.Name)
		n.pack, n.desc = p, p.Descriptor
		if in.Config != nil {
			n.config = in.Config(p.Name)
		}
		if n.desc != nil {
			provides += len(n.desc.Provides)
			requires += len(n.desc.Requires)
		}
	}
	for _, name := range in.Known {
		b.node(name)
	}
	b.offers, b.contracts = make([]offer, 0, provides), make(numbers, provides)
	b.wants, b.references = make([]want, 0, requires), make([]Reference, 0, requires)
	b.sort()
	b.offer(kernel, kernelServices)
	for i := range b.sorted {
		n := int32(i) + 1
		me := &b.nodes[n]
		d := in.Decide(me.name)
		me.enabled, me.rule, me.own = d.Enabled, d.Rule, me.ownCause(d)
		if me.desc != nil {
			b.offer(n, me.desc.Provides)
		}
	}
	for i := range b.sorted {
		b.ask(int32(i) + 1)
	}
}

// node gives the node of a name. The pointer is good until all are made.
func (b *builder) node(name string) *node {
	n, known := b.numbers[name]
	if !known {
		n = int32(len(b.nodes))
		b.numbers[name] = n
		b.nodes = append(b.nodes, node{name: name})
	}
	return &b.nodes[n]
}

// sort puts the nodes in the order of their names, and gives them their turns.
func (b *builder) sort() {
	type named struct {
		name string
		node int32
	}
	all := make([]named, 0, len(b.nodes)-1)
	for i := range b.nodes[1:] {
		all = append(all, named{b.nodes[i+1].name, int32(i) + 1})
	}
	slices.SortFunc(all, func(x, y named) int { return strings.Compare(x.name, y.name) })
	b.sorted, b.turns = make([]int32, len(all)), make([]turn, len(b.nodes))
	b.turns[kernel].key = keyOf(0, -1)
	for rank, x := range all {
		b.sorted[rank] = x.node
		level := 0
		if d := b.nodes[x.node].desc; d != nil {
			level = d.StartLevel
		}
		b.turns[x.node].key = keyOf(level, rank)
	}
}

// offer gathers what a node provides.
func (b *builder) offer(n int32, provides []component.Provide) {
	pack := b.nodes[n].pack
	for i := range provides {
		p := &provides[i]
		version, isNew := b.versions.of(p.Version.Original())
		if isNew {
			b.versionTexts = append(b.versionTexts, p.Version.String())
		}
		contract, _ := b.contracts.of(p.Service)
		b.offers = append(b.offers, offer{
			provide: p, node: n, contract: contract, version: version, dynamic: p.Dynamic, described: pack != nil && len(pack.Contracts) > 0,
		})
	}
}

// ask gathers what a node asks for, as configuration changes it. All offers are gathered.
func (b *builder) ask(n int32) {
	me := &b.nodes[n]
	me.wants = int32(len(b.wants))
	if me.desc == nil {
		return
	}
	me.requires = slices.Clip(me.desc.Requires)
	if me.config != nil && len(me.config.References) > 0 {
		me.requires = slices.Clone(me.requires)
		for i := range me.requires {
			me.requires[i] = me.requires[i].Overridden(me.config.References[me.requires[i].Name])
		}
	}
	for i := range me.requires {
		r := &me.requires[i]
		contract, isNew := b.contracts.of(r.Service)
		if isNew {
			b.offerHealth(r.Service)
		}
		ref := Reference{
			Name: r.Name, Service: r.Service, Cardinality: r.Cardinality.String(), Minimum: r.Cardinality.Min,
			Policy: r.Policy(), Option: r.Option(), Filter: r.Filter.Text(),
		}
		versions := anyVersion
		if r.Versions != nil {
			ref.Version = r.Versions.String()
			versions, _ = b.ranges.of(ref.Version)
		}
		b.references = append(b.references, ref)
		b.wants = append(b.wants, want{
			node: n, contract: contract, versions: versions, min: int32(r.Cardinality.Min),
			one: r.Cardinality.Max == 1, atStart: r.Cardinality.AtStart, filtered: r.Filter != nil,
		})
	}
	for _, u := range me.desc.Uses {
		if owner, known := b.numbers[u.Component]; known {
			b.sharers[owner] = append(b.sharers[owner], n)
		}
	}
	if me.own == nil {
		me.own = b.shareCause(me)
	}
	if len(me.desc.Gates) > 0 {
		b.gated = append(b.gated, n)
	}
}

// offerHealth makes a service that nobody offers, if it is the health of a component, an offer of that component.
func (b *builder) offerHealth(service string) {
	about, _, ok := component.HealthCondition(service)
	if n, known := b.numbers[about]; ok && known && b.nodes[n].desc != nil {
		b.offer(n, []component.Provide{{Service: service, Version: semver.New(1, 0, 0, "", ""), Dynamic: true}})
	}
}
