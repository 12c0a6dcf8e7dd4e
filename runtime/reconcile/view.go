package reconcile

import (
	"slices"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
)

// View is what is known about one unit at one moment.
type View struct {
	Name  string
	State component.State
	Since time.Time
	// Planned is nil for an uninstalled component.
	Planned *plan.Component
	// Health as the component reports it; TEMPORARILY_UNAVAILABLE also while a mandatory provider is being restarted.
	Health      component.Health
	HealthCause *component.Cause
	// Cause is why the unit is not ACTIVE; nil if it is.
	Cause *component.Cause
	// ConfigCause is why the configuration that stands in the file is not the one in force; nil if it is.
	ConfigCause *component.Cause
	Pid         int
	Generation  uint64
	// Restarts counts unasked ends of this kernel run.
	Restarts int
	Last     component.Result
	Tail     []string
	// Forced: the last stop had to kill the process.
	Forced bool
	// Was is the last that was planned, also of an uninstalled component.
	Was      *plan.Component
	Bindings []Binding
	// Gates are the startup gates of the serving process.
	Gates []GateView
	// Package is what the serving process was started from, or would be.
	Package *catalog.Package
	// Replacements are those of its processes by others.
	Replacements Replacements
	// Settled: nothing is under way.
	Settled bool
}

// Binding is one bound reference.
type Binding struct {
	Reference string
	ServiceID uint64
	Provider  string
	Suspended bool
}

// View is one unit; ok is false if there is none of that name.
func (r *Reconciler) View(name string) (View, bool) {
	u := r.unit(name)
	if u == nil {
		return View{}, false
	}
	return u.view(), true
}

// Views are all units by name.
func (r *Reconciler) Views() []View {
	var out []View
	for _, u := range r.all() {
		out = append(out, u.view())
	}
	return out
}

func (u *unit) view() View {
	state, since := u.machine.State()
	u.mu.Lock()
	v := View{
		Name: u.name, State: state, Since: since, Planned: u.planned, Health: u.health, HealthCause: u.hcause, Cause: u.cause,
		Pid: u.pid, Generation: u.gen, Restarts: u.crashes, Last: u.last, Tail: slices.Clone(u.tail),
		Replacements: u.history,
	}
	if u.planned != nil {
		v.Package = u.planned.Package
	}
	if u.unfit != nil {
		v.ConfigCause = u.unfit.cause
	} else if u.history.fallback != nil && u.planned != nil && u.was != nil && u.was.Package.Digest == u.history.failed && !sameConfig(u.was, u.planned) {
		v.ConfigCause = u.history.why // the configuration goes with the package that was rolled back
	}
	if u.live != nil && u.running != nil {
		v.Package = u.running.Package
	}
	v.Settled = !u.busy && !u.dirty && !state.Live() || !u.busy && !u.dirty && state == component.Active
	if state == component.Backoff {
		v.Settled = false
	}
	v.Gates, v.Forced, v.Was = slices.Clone(u.gates), u.forced, u.was
	u.shut(&v)
	u.mu.Unlock()
	v.Bindings = u.r.bindings(u.name)
	u.suspended(&v)
	return v
}

// suspended makes health say that a mandatory provider is being restarted.
func (u *unit) suspended(v *View) {
	if v.State != component.Active || v.Planned == nil || (v.Health != component.HealthOK && v.Health != component.HealthWarn) {
		return
	}
	for i := range v.Planned.Requires {
		q := &v.Planned.Requires[i]
		if q.Cardinality.Needs(true) == 0 {
			continue
		}
		found := u.r.providers(q, u.name)
		if len(found) > 0 && !slices.ContainsFunc(found, func(s registry.Service) bool { return !s.Suspended }) {
			v.Health = component.HealthTemporarilyUnavailable
			v.HealthCause = component.CauseOf(ErrRestarts.New("%s waits for %s, which is being restarted", u.name, found[0].Provider))
		}
	}
}

// settled is View.Settled without the rest.
func (u *unit) settled() bool {
	state, _ := u.machine.State()
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.busy && !u.dirty && (state == component.Active || !state.Live() && state != component.Backoff)
}

// bindings are the bound references of a component, from the wiring's point of view.
func (r *Reconciler) bindings(name string) []Binding {
	u := r.unit(name)
	if u == nil {
		return nil
	}
	u.mu.Lock()
	w := u.links
	u.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.snapshot()
}

// Users are the references bound to a service, "Component/reference".
func (r *Reconciler) Users(serviceID uint64) []string {
	var out []string
	for _, u := range r.all() {
		for _, b := range r.bindings(u.name) {
			if b.ServiceID == serviceID {
				out = append(out, u.name+"/"+b.Reference)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Owners implements deploy.Deployers: who takes artifacts, and how to reach them now.
func (r *Reconciler) Owners() []deploy.Owner {
	var out []deploy.Owner
	for _, u := range r.all() {
		state, _ := u.machine.State()
		u.mu.Lock()
		planned, live, exchanging, gen, c := u.planned, u.live, u.exchanging, u.gen, u.cause
		u.mu.Unlock()
		if planned == nil || len(planned.Package.Descriptor.Deploys) == 0 {
			continue
		}
		o := deploy.Owner{Component: u.name, Cause: c.Proto()}
		for _, d := range planned.Package.Descriptor.Deploys {
			o.Types = append(o.Types, deploy.Type{Type: d.Type, Directory: d.Directory, Suffix: d.Suffix})
		}
		if state == component.Active && live != nil && !exchanging {
			o.Client, o.Generation, o.Cause = live.Deployer(), gen, nil
		} else if o.Cause == nil {
			o.Cause = component.CauseOf(ErrStart.New("%s is %s", u.name, state)).Proto()
		}
		out = append(out, o)
	}
	return out
}
