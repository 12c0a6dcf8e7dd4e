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
		if need := q.Cardinality.Needs(running); need > 0 && u.r.provided(q, u.name) < need {
			return u.r.explainMissing(c, q)
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
	return slices.DeleteFunc(r.Registry.Find(queryOf(*q)), func(s registry.Service) bool { return s.Provider == consumer || r.leaving.has(ownerOf(s)) })
}

// provided is how many services satisfy a reference.
func (r *Reconciler) provided(q *component.Require, consumer string) int {
	return r.Registry.Count(queryOf(*q), func(s registry.Service) bool { return s.Provider != consumer && !r.leaving.has(ownerOf(s)) })
}

// missingOne is an ErrMissing whose text is still to be written: thousands of units may wait at once, and each says anew why whenever a
// provider of its has moved.
var missingOne = *component.CauseOf(ErrMissing.New(""))

// explainMissing names the reference, and what is the matter with the components that the plan would wire it to.
func (r *Reconciler) explainMissing(planned *plan.Component, q *component.Require) *component.Cause {
	c, versions, with := missingOne, "", ""
	if q.Versions != nil {
		versions = " " + q.Versions.String()
	}
	if q.Filter != nil {
		with = " with " + q.Filter.String()
	}
	c.Text = planned.Name + " needs " + q.Service + versions + with + " for its reference " + q.Name
	if q.Cardinality.Min > 1 {
		c.Text += fmt.Sprintf(" (%d of %d)", r.provided(q, planned.Name), q.Cardinality.Min)
	}
	if about, _, ok := component.HealthCondition(q.Service); ok {
		c = c.Because(*r.unhealthy(about))
		return &c
	}
	for _, w := range planned.Wires {
		if w.Reference != q.Name || w.Provider == planned.Name {
			continue
		}
		provider := r.unit(w.Provider)
		if provider == nil || r.serves(w.Provider, q.Service) && !r.leaving.has(w.Provider) {
			continue
		}
		state, why := provider.stands()
		reason := missingOne
		reason.Text = "its provider " + w.Provider + " is " + state.String()
		if why != nil {
			reason = reason.Because(*why)
		}
		c = c.Because(reason)
		return &c
	}
	return &c
}

// serves tells whether a component has registered a service.
func (r *Reconciler) serves(name, service string) bool {
	return r.Registry.Count(registry.Query{Service: service, Provider: name}, func(registry.Service) bool { return true }) > 0
}

// stands is the unit's state, and why it is not ACTIVE.
func (u *unit) stands() (component.State, *component.Cause) {
	state, _ := u.machine.State()
	u.mu.Lock()
	defer u.mu.Unlock()
	return state, u.cause
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
		if len(u.r.Registry.Find(query)) > 0 && u.r.provided(q, u.name) < need {
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
	r.users, r.askers = map[string][]*unit{}, map[registry.Key][]*unit{}
	for _, u := range r.units {
		u.dependants = nil
	}
	for i := range p.Components {
		c := &p.Components[i]
		u := r.units[c.Name]
		if u == nil {
			continue
		}
		for _, q := range c.Requires {
			r.users[q.Service] = append(r.users[q.Service], u)
			for key := range queryOf(q).Keys() {
				r.askers[key] = append(r.askers[key], u)
			}
		}
		dependsOn := func(name string) {
			if provider := r.units[name]; provider != nil {
				provider.dependants = append(provider.dependants, u)
			}
		}
		for _, g := range c.Gates {
			for _, s := range g.Services {
				for _, share := range s.From {
					dependsOn(share.Component)
				}
			}
		}
		for _, w := range c.Wires {
			dependsOn(w.Provider)
		}
	}
}

// kickUsers wakes the units that ask for a contract, and the provider of a service of it that changed: who asked for what it was before
// is not known any more.
func (r *Reconciler) kickUsers(s registry.Service) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.units[s.Provider].hear()
	hearAll(r.users[s.Service])
}

// kickAskers wakes the units that may mean a service that came or goes, and its provider.
func (r *Reconciler) kickAskers(s registry.Service) {
	r.kickAskersOf([]registry.Service{s})
}

func (r *Reconciler) kickAskersOf(services []registry.Service) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range services {
		r.units[services[i].Provider].hear()
		for key := range services[i].Keys() {
			hearAll(r.askers[key])
		}
	}
}

// tellDependants has the units that the plan wires to one that has moved say so, where they wait for it. What can start them is news of
// services, not this.
func (r *Reconciler) tellDependants(u *unit) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, d := range u.dependants {
		d.hearOf()
	}
}

func hearAll(units []*unit) {
	for _, u := range units {
		u.hear()
	}
}

// askersAt lists the units that may mean one of some services.
func (r *Reconciler) askersAt(services []registry.Service) []*unit {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []*unit
	for i := range services {
		for key := range services[i].Keys() {
			out = append(out, r.askers[key]...)
		}
	}
	return out
}
