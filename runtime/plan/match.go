package plan

import (
	"cmp"
	"slices"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/filter"
)

// admission is the question whether a range has a version.
type admission struct{ versions, version int32 }

// property is one property of the offers of a contract.
type property struct {
	contract int32
	name     string
}

// match finds, per want, the offers that it could be wired to, and per provider whom it could serve.
func (b *builder) match() {
	b.byContract = grouped(len(b.contracts), len(b.offers), func(i int) int32 { return b.offers[i].contract })
	for contract := range int32(len(b.contracts)) {
		if list := b.byContract.of(contract); len(list) > 1 {
			slices.SortFunc(list, b.better)
		}
	}
	b.fits = make([]fit, 0, len(b.wants))
	for i := range b.wants {
		w := &b.wants[i]
		w.fits = int32(len(b.fits))
		for _, o := range b.lookup(int32(i)) {
			if b.suits(int32(i), o) {
				b.fits = append(b.fits, fit{int32(i), o})
			}
		}
		if many := len(b.fits) - int(w.fits); w.one {
			b.wires += min(many, 1)
		} else {
			b.wires += many
		}
	}
	b.users = grouped(len(b.nodes), len(b.fits), func(i int) int32 { return b.offers[b.fits[i].offer].node })
}

// offering are the offers of a service, the best first.
func (b *builder) offering(service string) []int32 {
	if contract, known := b.contracts[service]; known {
		return b.byContract.of(contract)
	}
	return nil
}

// better compares two offers of one contract, by ranking, then by the names of the components.
func (b *builder) better(x, y int32) int {
	ox, oy := &b.offers[x], &b.offers[y]
	return cmp.Or(cmp.Compare(oy.provide.Ranking, ox.provide.Ranking), cmp.Compare(b.turns[ox.node].rank(), b.turns[oy.node].rank()), cmp.Compare(x, y))
}

// require is a want as configuration changes it.
func (b *builder) require(w int32) *component.Require {
	me := &b.nodes[b.wants[w].node]
	return &me.requires[w-me.wants]
}

// fitting are the fits of a want, the best first.
func (b *builder) fitting(w int32) []fit {
	all := b.fits[b.wants[w].fits:]
	if next := int(w) + 1; next < len(b.wants) {
		return all[:b.wants[next].fits-b.wants[w].fits]
	}
	return all
}

// lookup lists the offers of a want's contract, those left out that lack a property which its filter must have. The best first.
func (b *builder) lookup(w int32) []int32 {
	contract := b.wants[w].contract
	all := b.byContract.of(contract)
	if len(all) < 8 || !b.wants[w].filtered {
		return all
	}
	name, value, required := b.require(w).Filter.Key()
	if !required {
		return all
	}
	at := property{contract, name}
	values, indexed := b.index[at]
	if !indexed {
		values = b.valuesOf(name, all)
		b.index[at] = values
	}
	if len(values) == 0 {
		return all
	}
	return values[value]
}

// valuesOf finds offers by the value of a property. It is nil if one may yet get the property, with any value.
func (b *builder) valuesOf(name string, offers []int32) map[string][]int32 {
	values := map[string][]int32{}
	for _, o := range offers {
		p := b.offers[o].provide
		if v, ok := filter.Value(p.Properties, name); ok {
			values[v] = append(values[v], o)
		} else if p.Dynamic {
			return nil
		}
	}
	return values
}

// suits tells whether an offer is what a want asks for.
func (b *builder) suits(w, number int32) bool {
	want, o := &b.wants[w], &b.offers[number]
	switch {
	case o.node == want.node || !b.admits(w, o):
		return false
	case want.filtered || o.described:
		return b.matches(&b.nodes[want.node], b.require(w), o)
	}
	return true
}

// matches tells whether an offer of another node is what a reference asks for. What a dynamic offer's properties will be is known in part
// only: a property that does not stand in the descriptor may come.
func (b *builder) matches(who *node, r *component.Require, o *offer) bool {
	return r.Versions.Has(o.provide.Version) && mismatch(r, o) == "" && b.broken(who, r, o) == nil
}

// admits tells whether a want's range has an offer's version.
func (b *builder) admits(w int32, o *offer) bool {
	versions := b.wants[w].versions
	if versions == anyVersion {
		return true
	}
	question := admission{versions, o.version}
	has, known := b.admitted[question]
	if !known {
		has = b.require(w).Versions.Has(o.provide.Version)
		b.admitted[question] = has
	}
	return has
}

// mismatch is the term of a reference's filter that an offer does not match; empty if it may.
func mismatch(r *component.Require, o *offer) string {
	return r.Filter.Failing(o.provide.Properties, o.provide.Dynamic)
}
