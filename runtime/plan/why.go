package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
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

// ownCause says why a component can't run whatever others do; nil if nothing.
func (n *node) ownCause() *component.Cause {
	d := n.decision
	switch {
	case !n.Installed:
		return component.CauseOf(ErrNotInstalled.New("%s is not installed", n.Name))
	case !n.Enabled:
		return component.CauseOf(ErrDisabled.New("%s is disabled: %s", n.Name, d.Rule).At(d.File, d.Line, 0).Fix("%s", d.Fix))
	case n.Package.Cause != nil:
		c := component.CauseOf(ErrPackage.New("the package %s %s must not be started", n.Name, n.Package.Version)).Because(*n.Package.Cause)
		c.Fix = n.Package.Cause.Fix
		return &c
	case n.Config != nil && n.Config.Cause != nil:
		c := component.CauseOf(ErrConfig.New("the configuration of %s is not right", n.Name)).Because(*n.Config.Cause)
		c.Fix = n.Config.Cause.Fix
		return &c
	}
	return nil
}

// shareCause reports a share that its owner, though installed, does not have.
func (b *builder) shareCause(n *node) *component.Cause {
	for _, u := range n.desc.Uses {
		owner := b.nodes[u.Component]
		if owner == nil || owner.desc == nil {
			continue
		}
		if !slices.ContainsFunc(owner.desc.Shares, func(s component.Share) bool { return s.Name == u.Share }) {
			return component.CauseOf(ErrShare.New("%s uses %s, but %s %s has no such share", n.Name, u, owner.Name, owner.desc.Version).
				At(n.desc.File, 0, 0))
		}
	}
	return nil
}

// causes says why a component does not run: one entry per candidate of each unmet reference.
func (b *builder) causes(n *node) []component.Cause {
	if n.own != nil {
		return []component.Cause{*n.own}
	}
	var out []component.Cause
	for _, i := range b.unmet(n) {
		candidates := b.candidates(n, i)
		for _, o := range candidates {
			out = append(out, b.chain(n, i, o))
		}
		if len(candidates) == 0 {
			out = append(out, missing(n, &n.Requires[i]).Because(b.tooFew(n, i)))
		}
	}
	return out
}

// candidates lists who could have satisfied a reference but for some reason, the likeliest first; one nil offer if nobody
// offers the service at all; none if all that are right run and are too few.
func (b *builder) candidates(n *node, reference int) []*offer {
	r := &n.Requires[reference]
	var good, bad []*offer
	few := false
	for i := range b.offers[r.Service] {
		o := &b.offers[r.Service][i]
		switch {
		case o.node == n:
		case fits(n, r, *o) && o.runs():
			few = true
		case fits(n, r, *o):
			good = append(good, o)
		default:
			bad = append(bad, o)
		}
	}
	if all := append(good, bad...); len(all) > 0 || few {
		return all
	}
	return []*offer{nil}
}

// chain follows one candidate of an unmet reference down to the leaf. On the way each component is represented by its first
// unmet reference and that one's first candidate, so the chain ends, or comes back to a component that is in it.
func (b *builder) chain(n *node, reference int, o *offer) component.Cause {
	r := &n.Requires[reference]
	top := missing(n, r)
	at := top
	path := []*node{n}
	var below []component.Cause
	for {
		if leaf := reject(n, r, o); leaf != nil {
			below = append(below, *leaf)
			break
		}
		n = o.node
		if i := slices.Index(path, n); i >= 0 {
			below = append(below, cycle(path[i:]))
			break
		}
		path = append(path, n)
		if n.own != nil {
			below = append(below, *n.own)
			break
		}
		reference = b.unmet(n)[0]
		r = &n.Requires[reference]
		below = append(below, missing(n, r))
		candidates := b.candidates(n, reference)
		if len(candidates) == 0 {
			below = append(below, b.tooFew(n, reference))
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
func missing(n *node, r *component.Require) component.Cause {
	many := ""
	if r.Cardinality.Min > 1 {
		many = fmt.Sprintf("%d of ", r.Cardinality.Min)
	}
	return *component.CauseOf(ErrMissing.New("%s needs %s%s (%s%s) to start", n.Name, many, r.Name, r.Service, wanted(r)).
		At(n.desc.File, r.Line, 0))
}

// tooFew says how many providers run where more are asked for.
func (b *builder) tooFew(n *node, reference int) component.Cause {
	var names []string
	for _, o := range b.providers(n, reference) {
		names = append(names, o.name())
	}
	return *component.CauseOf(ErrTooFew.New("%d of %d providers run: %s", len(names), n.Requires[reference].Cardinality.Min, strings.Join(names, ", ")))
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
func reject(n *node, r *component.Require, o *offer) *component.Cause {
	switch {
	case o == nil && slices.ContainsFunc(n.desc.Provides, func(p component.Provide) bool { return p.Service == r.Service }):
		return component.CauseOf(ErrNoProvider.New("no other installed component provides %s", r.Service))
	case o == nil:
		return component.CauseOf(ErrNoProvider.New("no installed component provides %s", r.Service))
	case !r.Versions.Has(o.provide.Version):
		return component.CauseOf(ErrVersion.New("%s provides %s in version %s, which is not in %s",
			o.name(), r.Service, o.provide.Version, r.Versions))
	}
	if term := mismatch(r, *o); term != "" {
		return component.CauseOf(ErrFilter.New("%s provides %s with %s, which does not match %s", o.name(), r.Service, properties(o.provide), term))
	}
	if b := broken(n, r, *o); b != nil {
		return component.CauseOf(ErrBreaks.Wrap(b, "%s %s breaks %s %s", o.name(), o.node.Package.Version, n.Name, n.Package.Version))
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

// cycle prints a circle of components, from the first by name.
func cycle(path []*node) component.Cause {
	least := 0
	for i, n := range path {
		if n.Name < path[least].Name {
			least = i
		}
	}
	var names []string
	for i := range len(path) + 1 {
		names = append(names, path[(least+i)%len(path)].Name)
	}
	return *component.CauseOf(ErrCycle.New("%s: each needs the next to start", strings.Join(names, " → ")))
}
