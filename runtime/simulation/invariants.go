package simulation

import (
	"errors"
	"fmt"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
)

// Check holds what must be true whenever nothing moves (all goroutines wait): no orphan, no exclusive resource held twice, no state
// outside the table, no service without a process, no reference bound to a dead provider unless suspended, no admission of a dead
// consumer. It gives everything that is wrong.
func (w *World) Check() error {
	w.mu.Lock()
	live := map[string]map[uint64]*Process{}
	byPid := map[int]*Process{}
	for p := range w.processes {
		if live[p.name] == nil {
			live[p.name] = map[uint64]*Process{}
		}
		live[p.name][p.generation] = p
		byPid[p.pid] = p
	}
	wrong := append([]error(nil), w.trouble...)
	w.mu.Unlock()
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }

	for name, generations := range live {
		v, ok := w.Reconciler.View(name)
		switch {
		case !ok && w.installed(name):
			report("%s has a process and no unit", name)
		case !ok:
			// Its package went while one kernel followed the other: it is being stopped. CheckSettled wants it gone.
		case v.Pid == 0:
			report("%s is %s, and a process of it lives", name, v.State)
		case len(generations) > 2, len(generations) == 2 && v.Settled:
			report("%s has %d processes", name, len(generations))
		case !v.Settled && v.State == component.Active && generations[v.Generation] == nil:
			// It ended by itself while its successor prepares; its services are suspended.
		case generations[v.Generation] == nil || generations[v.Generation].pid != v.Pid:
			report("%s shows generation %d with pid %d, which is not alive", name, v.Generation, v.Pid)
		}
	}
	services := map[uint64]registry.Service{}
	for _, s := range w.Registry.Find(registry.Query{}) {
		services[s.ID] = s
		if !s.Suspended && live[s.Provider][s.Generation] == nil {
			report("%s is registered and not suspended, but its process is gone", s)
		}
		if v, _ := w.Reconciler.View(s.Provider); !v.State.Live() && v.State != component.Backoff && v.State != component.Waiting && v.State != component.Resolved {
			report("%s is registered, but its unit is %s", s, v.State)
		}
	}
	for _, consumer := range byPid {
		if v, ok := w.Reconciler.View(consumer.name); !ok || v.State == component.Stopping {
			continue // what another kernel left is ended without hearing of its references any more
		}
		consumer.mu.Lock()
		for ref, bindings := range consumer.bound {
			for id, b := range bindings {
				s, ok := services[id]
				provider := live[b.Provider][b.Generation]
				switch {
				case !ok:
					report("%s/%s is bound to service %d of %s, which is gone", consumer.name, ref, id, b.Provider)
				case consumer.suspended[ref][id]:
				case s.Generation != b.Generation || provider == nil:
					report("%s/%s is bound to generation %d of %s, not suspended; the service has generation %d", consumer.name, ref, b.Generation, b.Provider, s.Generation)
				case provider != consumer && !provider.admits(b.Token):
					report("%s/%s is bound to %s with a token that it does not admit", consumer.name, ref, b.Provider)
				}
			}
		}
		consumer.mu.Unlock()
	}
	for _, provider := range byPid {
		if v, _ := w.Reconciler.View(provider.name); provider.generation < v.Generation {
			continue // it was replaced: what it admits ends with it
		}
		provider.mu.Lock()
		for _, a := range provider.admitted {
			if byPid[int(a.ConsumerPid)] == nil {
				report("%s admits %s with pid %d, which is gone", provider.name, a.Consumer, a.ConsumerPid)
			}
		}
		provider.mu.Unlock()
	}
	return errors.Join(wrong...)
}

func (p *Process) admits(token []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admitted[string(token)] != nil
}

// CheckSettled holds what must be true besides once faults are over and time has passed: who can run runs, with all that it needs
// bound; who does not run has a cause; stopped is who was told to stop.
func (w *World) CheckSettled(held map[string]bool) error {
	wrong := []error{w.Check()}
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	w.mu.Lock()
	for p := range w.processes {
		if w.packages[p.name] == nil {
			report("%s is uninstalled, and a process of it lives", p.name)
		}
	}
	w.mu.Unlock()
	for _, v := range w.Reconciler.Views() {
		if v.Planned == nil {
			if v.State != component.Uninstalled {
				report("%s is uninstalled and %s", v.Name, v.State)
			}
			continue
		}
		if !v.Settled {
			report("%s is %s and not settled", v.Name, v.State)
		}
		wants := v.Planned.Runs && !held[v.Name]
		switch {
		case !wants && v.State.Live():
			report("%s should not run and is %s", v.Name, v.State)
		case wants && v.State != component.Active && v.State != component.Failed && v.State != component.Waiting:
			report("%s should run and is %s", v.Name, v.State)
		case v.State == component.Waiting && w.provided(v.Planned.Package.Descriptor):
			report("%s waits, although all that it needs is there", v.Name)
		case v.State == component.Active && !w.provided(v.Planned.Package.Descriptor):
			report("%s is ACTIVE without all that it needs", v.Name)
		case v.State != component.Active && v.Cause == nil:
			report("%s is %s without a cause", v.Name, v.State)
		}
		if v.State == component.Active {
			p := w.Process(v.Name)
			w.mu.Lock()
			wanted := string(configOf(v.Name, w.configs[v.Name]).JSON)
			w.mu.Unlock()
			p.mu.Lock()
			has := p.config
			p.mu.Unlock()
			switch {
			case has != string(v.Planned.Config.JSON):
				report("%s has the configuration %s, and its unit says %s", v.Name, has, v.Planned.Config.JSON)
			case bad([]byte(has)):
				report("%s has a configuration that it refuses: %s", v.Name, has)
			case has != wanted && v.ConfigCause == nil && (v.Replacements.Last == nil || v.Replacements.Last.Outcome != reconcile.RolledBack):
				report("%s has the configuration %s, the plan gives %s", v.Name, has, wanted)
			}
			for _, q := range v.Planned.Package.Descriptor.Requires {
				p.mu.Lock()
				have := len(p.bound[q.Name])
				p.mu.Unlock()
				if have < q.Cardinality.Min {
					report("%s/%s has %d bindings", v.Name, q.Name, have)
				}
			}
		}
	}
	return errors.Join(wrong...)
}

func (w *World) installed(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.packages[name] != nil
}

// provided tells whether every mandatory reference has a provider.
func (w *World) provided(d *component.Descriptor) bool {
	for _, q := range d.Requires {
		n := 0
		for _, s := range w.Registry.Find(registry.Query{Service: q.Service}) {
			if s.Provider != d.Name {
				n++
			}
		}
		if n < q.Cardinality.Min {
			return false
		}
	}
	return true
}
