package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// ErrGate is the kind of a startup gate that is closed.
var ErrGate = cause.Define("CBN-SUP-140", "A startup gate is closed: services that a component expects are not there.",
	"Start or enable the providers that are named; `carbonado plan` says what the gate expects and why.")

// gate is one startup gate of one process. It belongs to the unit's goroutine.
type gate struct {
	planned plan.Gate
	since   time.Time // when the component began to serve with it closed
	opened  bool
	expired bool
}

// GateView says how a gate stands.
type GateView struct {
	Name string
	Open bool
	// Expired: the deadline has passed with the gate closed.
	Expired bool
	// Until is the deadline of a closed gate.
	Until    time.Time
	Services []GateCount
	// Missing says in words what a closed gate lacks.
	Missing string
}

// GateCount is how many services of one kind there are and should be. Unknown: components have not said yet how many more they bring.
type GateCount struct {
	Service    string
	Have, Want int
	Unknown    []string
}

// query means the services of the gate, and what components say about their number.
func (g *gate) query() registry.Query {
	q := registry.Query{AnyOf: []registry.Query{{Service: component.CapabilityService}}}
	for i := range g.planned.Spec.Services {
		q.AnyOf = append(q.AnyOf, queryOf(g.planned.Spec.Services[i].Require(g.planned.Name)))
	}
	return q
}

// look counts. have are the services that are bound, said what components have said about the number.
func (g *gate) look(have, said []registry.Service) (counts []GateCount, open bool) {
	open = true
	for i, s := range g.planned.Services {
		c := GateCount{Service: s.Service, Want: s.Expected}
		query := queryOf(g.planned.Spec.Services[i].Require(g.planned.Name))
		for _, x := range have {
			if !x.Suspended && query.Matches(x) && x.Properties[component.GateSkip] != "true" {
				c.Have++
			}
		}
		pending := slices.Clone(s.Capabilities)
		for _, x := range said {
			n, err := strconv.Atoi(x.Properties[component.CapabilityCount])
			if x.Properties[component.CapabilityOf] != s.Service || err != nil {
				continue
			}
			c.Want += n
			pending = slices.DeleteFunc(pending, func(name string) bool { return name == x.Provider })
		}
		c.Unknown = pending
		open = open && c.Have >= c.Want && len(pending) == 0
		counts = append(counts, c)
	}
	return counts, open
}

// shares are the services that the gate's reference has, and the registrations that say how many there will be.
func (ref *reference) shares() (have, said []registry.Service) {
	ref.mu.Lock()
	track := ref.track
	for _, l := range ref.bound.All() {
		s := l.service
		s.Suspended = l.suspended
		have = append(have, s)
	}
	ref.mu.Unlock()
	said = slices.DeleteFunc(track.Services(), func(s registry.Service) bool { return s.Service != component.CapabilityService || s.Suspended })
	return have, said
}

// lookAtGates opens what can be opened and says when to look again. failed: a gate's deadline has ended the component.
func (u *unit) lookAtGates(ctx context.Context) (failed bool, next time.Duration) {
	next = never
	var views []GateView
	var shut *component.Cause
	expired := false
	for _, ref := range u.wiring.refs {
		g := ref.gate
		if g == nil {
			continue
		}
		if g.since.IsZero() {
			g.since = time.Now()
		}
		v := GateView{Name: g.planned.Name, Open: g.opened}
		var open bool
		v.Services, open = g.look(ref.shares())
		if !g.opened && open {
			if err := u.openGate(ctx, g); err != nil {
				u.r.Log.Warn("a gate could not be opened", "component", u.name, "gate", v.Name, "error", err)
				next = min(next, time.Second)
			} else {
				g.opened, v.Open = true, true
			}
		}
		if !g.opened {
			v.Until = g.since.Add(g.planned.Spec.Deadline)
			v.Missing = u.r.lacking(g, v.Services, ref)
			c := component.CauseOf(ErrGate.New("the gate %s of %s is closed: %s", v.Name, u.name, v.Missing))
			if left := time.Until(v.Until); left > 0 {
				next = min(next, left)
			} else {
				g.expired, v.Expired = true, true
				c.Text += "; its deadline of " + g.planned.Spec.Deadline.String() + " has passed"
			}
			if g.expired && g.planned.Spec.Fail {
				u.failBy(ctx, c)
				return true, 0
			}
			if shut == nil || g.expired && !expired {
				shut, expired = c, g.expired
			}
		}
		views = append(views, v)
	}
	u.mu.Lock()
	changed := !u.gcause.Same(shut) || u.gshut != expired
	u.gates, u.gcause, u.gshut = views, shut, expired
	u.mu.Unlock()
	if changed {
		u.healthTurned()
	}
	return false, next
}

func (u *unit) openGate(ctx context.Context, g *gate) error {
	return within(ctx, callTimeout, func(ctx context.Context) error {
		_, err := u.process.Component().Gate(ctx, &controlv1.GateRequest{Name: g.planned.Name})
		return err
	})
}

// failBy ends the component for good, until somebody resets it.
func (u *unit) failBy(ctx context.Context, c *component.Cause) {
	u.stop(ctx, component.ResultOperator, c.Text, KernelName, false)
	u.setCause(c)
	u.move(component.Installed, c.Text, KernelName, c)
	u.move(component.Failed, c.Text, KernelName, c)
}

// lacking says what a closed gate lacks: have and want, and the components that have not brought their share.
func (r *Reconciler) lacking(g *gate, counts []GateCount, ref *reference) string {
	have, _ := ref.shares()
	var parts []string
	for i, c := range counts {
		if c.Have >= c.Want && len(c.Unknown) == 0 {
			continue
		}
		text := fmt.Sprintf("%s %d of %d", c.Service, c.Have, c.Want)
		for _, share := range g.planned.Services[i].From {
			n := 0
			for _, s := range have {
				if s.Provider == share.Component && s.Service == c.Service && !s.Suspended {
					n++
				}
			}
			if n < share.Count {
				text += fmt.Sprintf(", %s brought %d of %d%s", share.Component, n, share.Count, r.stateOf(share.Component))
			}
		}
		for _, name := range c.Unknown {
			text += fmt.Sprintf(", %s has not said how many it brings%s", name, r.stateOf(name))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func (r *Reconciler) stateOf(name string) string {
	u := r.unit(name)
	if u == nil {
		return ""
	}
	state, _ := u.machine.State()
	return " and is " + state.String()
}

// shut makes health say that a gate is closed. Called under u.mu.
func (u *unit) shut(v *View) {
	if u.gcause == nil || v.State != component.Active || v.Health == component.HealthCritical {
		return
	}
	v.HealthCause = u.gcause
	v.Health = component.HealthTemporarilyUnavailable
	if u.gshut {
		v.Health = component.HealthCritical
	}
}

// healthTurned tells watchers of the health as it is seen from outside.
func (u *unit) healthTurned() {
	v := u.view()
	u.r.Notify(Event{Component: u.name, Health: v.Health, Cause: v.HealthCause})
	u.r.touch()
}
