package kernel

import (
	"context"
	"slices"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
)

var _ admin.Seeing = (*Kernel)(nil)

// freshCause is why a unit is not as asked for, with the reasons of those that it waits for as they are now.
func (k *Kernel) freshCause(v reconcile.View, printedCause *admin.Cause) *admin.Cause {
	if v.Cause == nil || printedCause == nil {
		return printedCause
	}
	known, causes := map[string]bool{}, map[string]*component.Cause{}
	for _, other := range k.reconciler.Views() {
		known[other.Name] = true
		if other.State != component.Active {
			causes[other.Name] = other.Cause
		}
	}
	return printed(fresh(v.Name, v.Cause, known, func(name string) *component.Cause { return causes[name] }))
}

// DiagAt implements admin.Seeing.
func (k *Kernel) DiagAt(_ context.Context, name string, at time.Time) (admin.Diagnosis, error) {
	p := k.history.at(at)
	u := p.units[name]
	if u == nil {
		if _, err := k.viewOf(name); err != nil {
			return admin.Diagnosis{}, err
		}
		u = &moment{state: component.Installed, enabled: true}
		if p.running {
			u.since = p.begun
		}
	}
	at = at.UTC()
	d := admin.Diagnosis{Name: name, Profile: p.profile, AsOf: &at, Blocks: []string{}, Evidence: []string{}, Health: component.HealthUnknown.String()}
	if !p.running {
		d.State, d.Since = component.Installed.String(), p.ended.UTC()
		switch {
		case p.begun.IsZero():
			d.Cause = printed(component.CauseOf(errNotRunning.New("nothing is recorded of a run of the server before %s", at.Format(time.RFC3339))))
		case p.next.IsZero():
			d.Cause = printed(component.CauseOf(errNotRunning.New("the server had ended at %s", p.ended.UTC().Format(time.RFC3339))))
		default:
			next := p.next.UTC()
			d.Until = &next
			d.Cause = printed(component.CauseOf(errNotRunning.New("the server had ended at %s and started again at %s", p.ended.UTC().Format(time.RFC3339), next.Format(time.RFC3339))))
		}
		d.Fix = d.Cause.FixText()
		return d, nil
	}
	d.State, d.Since, d.Reason, d.Actor = u.state.String(), u.since.UTC(), u.reason, u.actor
	if !u.until.IsZero() {
		until := u.until.UTC()
		d.Until = &until
	}
	if u.health != "" && u.state == component.Active {
		d.Health = u.health
	}
	if !u.enabled {
		d.DisabledBy = u.rule
		if !u.state.Live() {
			d.State = "DISABLED"
		}
	}
	d.Cause = printed(p.causeOf(name))
	d.Fix = d.Cause.FixText()
	for other, o := range p.units {
		if other != name && o.state != component.Active && o.cause != nil && p.blocks(name, other) {
			d.Blocks = append(d.Blocks, other)
		}
	}
	return d, nil
}

// causeOf is why a component was not as asked for, its chain as it was at that moment.
func (p *past) causeOf(name string) *component.Cause {
	known := map[string]bool{}
	for n := range p.units {
		known[n] = true
	}
	own := func(name string) *component.Cause {
		u := p.units[name]
		switch {
		case u == nil || u.state == component.Active:
			return nil
		case u.cause == nil && u.state != component.Starting:
			return nil
		}
		return u.cause
	}
	if u := p.units[name]; u != nil && u.state == component.Active {
		return u.healthCause
	}
	return fresh(name, own(name), known, own)
}

// blocks tells whether the cause of other names a component.
func (p *past) blocks(name, other string) bool {
	c := p.causeOf(other)
	for _, e := range c.Chain {
		if len(mentioned(e.Text, map[string]bool{name: true})) > 0 {
			return true
		}
	}
	return len(mentioned(c.Text, map[string]bool{name: true})) > 0
}

// Boot implements admin.Seeing.
func (k *Kernel) Boot(context.Context) (admin.Boot, error) {
	since := func(t time.Time) int64 { return t.Sub(k.started).Milliseconds() }
	b := admin.Boot{Since: k.started.UTC(), KernelMs: since(k.booted), Components: []admin.BootStep{}, Critical: []string{}}
	steps := map[string]*admin.BootStep{}
	p := k.reconciler.Plan()
	for _, c := range p.Running() {
		if s := firstStart(k.history.of(c.Name, false), since, b.KernelMs); s != nil {
			s.Name = c.Name
			steps[c.Name] = s
		}
	}
	chain(&b, p.Running(), steps)
	return b, nil
}

// chain fills in what each component waited for last, a provider or the start level beneath its own, and the chain that ends last.
func chain(b *admin.Boot, running []*plan.Component, steps map[string]*admin.BootStep) {
	var last *admin.BootStep
	for _, c := range running {
		s := steps[c.Name]
		if s == nil {
			continue
		}
		var after *admin.BootStep
		for _, other := range running {
			o := steps[other.Name]
			before := slices.Contains(c.After, other.Name) || other.Package.Descriptor.StartLevel < c.Package.Descriptor.StartLevel
			if o != nil && before && o.ActiveAtMs <= s.StartedAtMs && (after == nil || o.ActiveAtMs > after.ActiveAtMs) {
				after = o
			}
		}
		if after != nil {
			s.After = after.Name
		}
		if last == nil || s.ActiveAtMs > last.ActiveAtMs {
			last = s
		}
	}
	for _, s := range steps {
		b.Components = append(b.Components, *s)
	}
	sortSteps(b.Components)
	for s := last; s != nil; s = steps[s.After] {
		b.TotalMs = max(b.TotalMs, s.ActiveAtMs)
		b.Critical = append([]string{s.Name}, b.Critical...)
	}
}

// firstStart reads from a component's transitions how it became ACTIVE for the first time; nil if it was not.
func firstStart(moves []component.Transition, since func(time.Time) int64, booted int64) *admin.BootStep {
	s := &admin.BootStep{}
	var waiting, starting time.Time
	for _, t := range moves {
		if t.From == component.Waiting && !waiting.IsZero() {
			s.WaitedMs += t.Time.Sub(waiting).Milliseconds()
		}
		switch t.To {
		case component.Waiting:
			waiting = t.Time
		case component.Starting:
			starting = t.Time
			s.Attempts++
		case component.Active:
			s.StartedAtMs, s.ActiveAtMs = max(since(starting), booted), since(t.Time)
			s.StartingMs = t.Time.Sub(starting).Milliseconds()
			return s
		}
	}
	return nil
}

func sortSteps(steps []admin.BootStep) {
	sortBy(steps, func(a, b admin.BootStep) int {
		if a.ActiveAtMs != b.ActiveAtMs {
			return int(a.ActiveAtMs - b.ActiveAtMs)
		}
		return strings.Compare(a.Name, b.Name)
	})
}
