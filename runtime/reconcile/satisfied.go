package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
)

// plannedNow is what the plan says about the unit; nil if it is uninstalled.
func (u *unit) plannedNow() *plan.Component {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.planned
}

// missing is the first mandatory reference without enough providers that stay; nil if all have them. Suspended providers count: they come
// back. running: the unit is ACTIVE, so that what is needed at the start only does not count.
func (u *unit) missing(running bool) *component.Cause {
	c := u.plannedNow()
	if c == nil {
		return nil
	}
	if above := u.above(); above != nil {
		return above
	}
	if c.Waits && !(running && c.Lasts) {
		return waitsFor(c)
	}
	for i := range c.Requires {
		q := &c.Requires[i]
		if need := q.Cardinality.Needs(running); need > 0 && len(u.r.providers(q, u.name)) < need {
			return u.r.explainMissing(u.name, q)
		}
	}
	if n, ok := u.r.Host.(Needs); ok && !running {
		return n.Needs(u.r.ctx, c)
	}
	return nil
}

// waitsFor is the plan's word on a component that only lacks providers: its first cause, with the other candidates that failed.
func waitsFor(c *plan.Component) *component.Cause {
	if len(c.Causes) == 0 {
		return component.CauseOf(ErrMissing.New("%s lacks a provider", c.Name))
	}
	out := c.Causes[0]
	var others []string
	for _, x := range c.Causes[1:] {
		others = append(others, x.Leaf().Text)
	}
	if len(others) > 0 {
		out.Text += "; also: " + strings.Join(others, "; ")
	}
	return &out
}

// providers are the services that satisfy a reference, those of leaving components excepted.
func (r *Reconciler) providers(q *component.Require, consumer string) []registry.Service {
	found := r.Registry.Find(queryOf(*q))
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.DeleteFunc(found, func(s registry.Service) bool { return s.Provider == consumer || r.leaving[ownerOf(s)] })
}

func (r *Reconciler) isLeaving(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.leaving[name]
}

// explainMissing names the reference, and what is the matter with the components that the plan would wire it to.
func (r *Reconciler) explainMissing(name string, q *component.Require) *component.Cause {
	asked := q.Service
	if q.Versions != nil {
		asked += " " + q.Versions.String()
	}
	if q.Filter != nil {
		asked += " with " + q.Filter.String()
	}
	text := fmt.Sprintf("%s needs %s for its reference %s", name, asked, q.Name)
	if q.Cardinality.Min > 1 {
		text += fmt.Sprintf(" (%d of %d)", len(r.providers(q, name)), q.Cardinality.Min)
	}
	c := component.CauseOf(ErrMissing.New("%s", text))
	if about, _, ok := component.HealthCondition(q.Service); ok {
		out := c.Because(*r.unhealthy(about))
		return &out
	}
	p := r.Plan()
	if p == nil {
		return c
	}
	planned := p.Find(name)
	if planned == nil {
		return c
	}
	for _, w := range planned.Wires {
		if w.Reference != q.Name || w.Provider == name {
			continue
		}
		provider := r.unit(w.Provider)
		if provider == nil || len(r.Registry.Find(registry.Query{Service: q.Service, Provider: w.Provider})) > 0 && !r.isLeaving(w.Provider) {
			continue
		}
		v := provider.view()
		reason := component.CauseOf(ErrMissing.New("its provider %s is %s", w.Provider, v.State))
		if v.Cause != nil {
			*reason = reason.Because(*v.Cause)
		}
		out := c.Because(*reason)
		return &out
	}
	return c
}

// needs tells whether a unit can't live on without a component that leaves: a mandatory reference has too few other providers, or a static
// one holds it.
func (u *unit) needs(name string) bool {
	c := u.plannedNow()
	if c == nil {
		return false
	}
	for i := range c.Requires {
		q := &c.Requires[i]
		need := q.Cardinality.Needs(true)
		if need == 0 {
			continue
		}
		query := queryOf(*q)
		query.Provider = name
		if about, _, ok := component.HealthCondition(q.Service); ok {
			if about != name {
				continue
			}
			query.Provider = component.HealthService + name
		}
		if len(u.r.Registry.Find(query)) > 0 && len(u.r.providers(q, u.name)) < need {
			return true
		}
	}
	u.mu.Lock()
	w := u.links
	u.mu.Unlock()
	return w != nil && w.holdsFast(name)
}

// noteUsers notes who has to look again when a service comes or goes, or when a component changes its state. Called under mu.
func (r *Reconciler) noteUsers(p *plan.Plan) {
	r.users, r.askers, r.dependants = map[string][]string{}, map[registry.Key][]string{}, map[string][]string{}
	for i := range p.Components {
		c := &p.Components[i]
		for _, q := range c.Requires {
			r.users[q.Service] = append(r.users[q.Service], c.Name)
			for _, key := range queryOf(q).Keys() {
				r.askers[key] = append(r.askers[key], c.Name)
			}
		}
		for _, g := range c.Gates {
			for _, s := range g.Services {
				for _, share := range s.From {
					r.dependants[share.Component] = append(r.dependants[share.Component], c.Name)
				}
			}
		}
		for _, w := range c.Wires {
			r.dependants[w.Provider] = append(r.dependants[w.Provider], c.Name)
		}
	}
}

// kickUsers wakes the units that ask for a contract, and the provider of a service of it that changed: who asked for what it was before
// is not known any more.
func (r *Reconciler) kickUsers(s registry.Service) {
	r.kickNamed(func() []string { return append([]string{s.Provider}, r.users[s.Service]...) })
}

// kickAskers wakes the units that may mean a service that came or goes, and its provider.
func (r *Reconciler) kickAskers(s registry.Service) {
	r.kickNamed(func() []string { return append([]string{s.Provider}, r.askersOf(s)...) })
}

// askersOf lists the units that may mean a service as it is. Called under mu.
func (r *Reconciler) askersOf(s registry.Service) []string {
	var out []string
	for _, key := range s.Keys() {
		out = append(out, r.askers[key]...)
	}
	return out
}

// askersAt lists the units that may mean one of some services.
func (r *Reconciler) askersAt(services []registry.Service) []*unit {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []*unit
	for _, s := range services {
		for _, name := range r.askersOf(s) {
			if u := r.units[name]; u != nil {
				out = append(out, u)
			}
		}
	}
	return out
}

// kickNamed wakes the units that names, called under mu, lists.
func (r *Reconciler) kickNamed(names func() []string) {
	r.mu.RLock()
	var units []*unit
	for _, name := range names() {
		if u := r.units[name]; u != nil {
			units = append(units, u)
		}
	}
	r.mu.RUnlock()
	for _, u := range units {
		u.kick()
	}
}
