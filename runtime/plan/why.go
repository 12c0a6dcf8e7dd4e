package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/sdk/cause"
)

// The kinds of reasons why a component does not run.
var (
	ErrNotInstalled = cause.Define("CBN-PLAN-001", "A component is known, but not installed.",
		"Install its package with `carbonado plugin install DIR`.")
	ErrDisabled = cause.Define("CBN-PLAN-002", "A component is disabled by a rule.", "Take the rule away.")
	ErrMissing  = cause.Define("CBN-PLAN-003", "A mandatory reference has no provider that runs.",
		"See the chain: its last entry is what is missing.")
	ErrNoProvider = cause.Define("CBN-PLAN-004", "No installed component provides a service.",
		"Install a package that provides the service.")
	ErrVersion = cause.Define("CBN-PLAN-005", "A provider's version lies outside the range that a reference asks for.",
		"Install a version of the provider within the range, or of the consumer that takes it.")
	ErrFilter = cause.Define("CBN-PLAN-006", "A provider's properties are not those that a reference asks for.",
		"Correct the reference's filter, or the provider's properties.")
	ErrCycle = cause.Define("CBN-PLAN-007", "Components need each other to start.",
		"Make one of the references optional (0..1).")
	ErrShare = cause.Define("CBN-PLAN-008", "A component uses a folder that its owner does not share.",
		"Correct `uses`, or install a version of the owner that has the share.")
	ErrTooFew = cause.Define("CBN-PLAN-011", "Fewer providers of a service run than a reference asks for.",
		"Install or enable more providers, or lower the reference's `minimum`.")
	ErrPackage = cause.Define("CBN-PLAN-009", "A component's package must not be started.", "See the chain.")
	ErrConfig  = cause.Define("CBN-PLAN-010", "A component must not be started with its configuration.", "See the chain.")
)

// ownCause says why a component can't run whatever others do, d being the verdict on it; nil if nothing.
func (n *node) ownCause(d profile.Decision) *component.Cause {
	switch {
	case n.pack == nil:
		return component.CauseOf(ErrNotInstalled.New("%s is not installed", n.name))
	case !d.Enabled:
		return component.CauseOf(ErrDisabled.New("%s is disabled: %s", n.name, d.Rule).At(d.File, d.Line, 0).Fix("%s", d.Fix))
	case n.pack.Cause != nil:
		c := component.CauseOf(ErrPackage.New("the package %s %s must not be started", n.name, n.pack.Version)).Because(*n.pack.Cause)
		c.Fix = n.pack.Cause.Fix
		return &c
	case n.config != nil && n.config.Cause != nil:
		c := component.CauseOf(ErrConfig.New("the configuration of %s is not right", n.name)).Because(*n.config.Cause)
		c.Fix = n.config.Cause.Fix
		return &c
	}
	return nil
}

// shareCause reports a share that its owner, though installed, does not have.
func (b *builder) shareCause(n *node) *component.Cause {
	for _, u := range n.desc.Uses {
		i, known := b.numbers[u.Component]
		if !known || b.nodes[i].desc == nil {
			continue
		}
		owner := &b.nodes[i]
		if !slices.ContainsFunc(owner.desc.Shares, func(s component.Share) bool { return s.Name == u.Share }) {
			return component.CauseOf(ErrShare.New("%s uses %s, but %s %s has no such share", n.name, u, owner.name, owner.desc.Version).
				At(n.desc.File, 0, 0))
		}
	}
	return nil
}

// causes says why a component does not run: one entry per candidate of each unmet reference.
func (b *builder) causes(n int32) []component.Cause {
	me := &b.nodes[n]
	if me.own != nil {
		return []component.Cause{*me.own}
	}
	var out []component.Cause
	for _, w := range b.unmet(n) {
		candidates := b.candidates(w)
		for _, o := range candidates {
			out = append(out, b.chain(w, o))
		}
		if len(candidates) == 0 {
			out = append(out, b.missing(w).Because(b.tooFew(w)))
		}
	}
	return out
}

// unmet lists the mandatory references of a node that running components do not satisfy.
func (b *builder) unmet(n int32) []int32 {
	var out []int32
	for i := range b.nodes[n].requires {
		if w := b.nodes[n].wants + int32(i); b.wants[w].lacks > 0 {
			out = append(out, w)
		}
	}
	return out
}

// candidates lists who could have satisfied a reference but for some reason, the likeliest first; one nil offer if nobody
// offers the service at all; none if all that are right run and are too few.
func (b *builder) candidates(w int32) []*offer {
	var good, bad []*offer
	few := false
	for _, i := range b.byContract.of(b.wants[w].contract) {
		o := &b.offers[i]
		switch {
		case o.node == b.wants[w].node:
		case !b.suits(w, i):
			bad = append(bad, o)
		case b.turns[o.node].runs:
			few = true
		default:
			good = append(good, o)
		}
	}
	if all := append(good, bad...); len(all) > 0 || few {
		return all
	}
	return []*offer{nil}
}

// chain follows one candidate of an unmet reference down to the leaf. On the way each component is represented by its first
// unmet reference and that one's first candidate, so the chain ends, or comes back to a component that is in it.
func (b *builder) chain(w int32, o *offer) component.Cause {
	at := b.missing(w)
	path := []int32{b.wants[w].node}
	var below []component.Cause
	for {
		if leaf := b.reject(w, o); leaf != nil {
			below = append(below, *leaf)
			break
		}
		n := o.node
		if i := slices.Index(path, n); i >= 0 {
			below = append(below, b.cycle(path[i:]))
			break
		}
		path = append(path, n)
		if own := b.nodes[n].own; own != nil {
			below = append(below, *own)
			break
		}
		w = b.unmet(n)[0]
		below = append(below, b.missing(w))
		candidates := b.candidates(w)
		if len(candidates) == 0 {
			below = append(below, b.tooFew(w))
			break
		}
		o = candidates[0]
	}
	for _, c := range below {
		at = at.Because(c)
	}
	return at
}

// missing is the cause that stands for an unmet reference.
func (b *builder) missing(w int32) component.Cause {
	n, r := &b.nodes[b.wants[w].node], b.require(w)
	many := ""
	if r.Cardinality.Min > 1 {
		many = fmt.Sprintf("%d of ", r.Cardinality.Min)
	}
	return *component.CauseOf(ErrMissing.New("%s needs %s%s (%s%s) to start", n.name, many, r.Name, r.Service, wanted(r)).
		At(n.desc.File, r.Line, 0))
}

// tooFew says how many providers run where more are asked for.
func (b *builder) tooFew(w int32) component.Cause {
	var names []string
	for _, f := range b.fitting(w) {
		if provider := b.offers[f.offer].node; b.turns[provider].runs {
			names = append(names, b.nodes[provider].name)
		}
	}
	return *component.CauseOf(ErrTooFew.New("%d of %d providers run: %s", len(names), b.wants[w].min, strings.Join(names, ", ")))
}

// wanted writes a reference's range and filter.
func wanted(r *component.Require) string {
	s := ""
	if r.Versions != nil {
		s = " " + r.Versions.String()
	}
	if r.Filter != nil {
		s += " with " + r.Filter.String()
	}
	return s
}

// reject says why an offer will never do for a reference; nil if only its provider does not run.
func (b *builder) reject(w int32, o *offer) *component.Cause {
	n, r := &b.nodes[b.wants[w].node], b.require(w)
	switch {
	case o == nil && slices.ContainsFunc(n.desc.Provides, func(p component.Provide) bool { return p.Service == r.Service }):
		return component.CauseOf(ErrNoProvider.New("no other installed component provides %s", r.Service))
	case o == nil:
		return component.CauseOf(ErrNoProvider.New("no installed component provides %s", r.Service))
	}
	provider := &b.nodes[o.node]
	if !r.Versions.Has(o.provide.Version) {
		return component.CauseOf(ErrVersion.New("%s provides %s in version %s, which is not in %s",
			provider.name, r.Service, o.provide.Version, r.Versions))
	}
	if term := mismatch(r, o); term != "" {
		return component.CauseOf(ErrFilter.New("%s provides %s with %s, which does not match %s",
			provider.name, r.Service, properties(o.provide), term))
	}
	if err := b.broken(n, r, o); err != nil {
		return component.CauseOf(ErrBreaks.Wrap(err, "%s %s breaks %s %s", provider.name, provider.pack.Version, n.name, n.pack.Version))
	}
	return nil
}

// properties writes what an offer has for the eye.
func properties(p *component.Provide) string {
	if len(p.Properties) == 0 {
		return "no properties"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(p.Properties)) {
		parts = append(parts, k+"="+p.Properties[k])
	}
	return strings.Join(parts, ", ")
}

// cycle prints a circle of nodes, from the first by name.
func (b *builder) cycle(path []int32) component.Cause {
	least := 0
	for i, n := range path {
		if b.nodes[n].name < b.nodes[path[least]].name {
			least = i
		}
	}
	var names []string
	for i := range len(path) + 1 {
		names = append(names, b.nodes[path[(least+i)%len(path)]].name)
	}
	return *component.CauseOf(ErrCycle.New("%s: each needs the next to start", strings.Join(names, " → ")))
}
