package reconcile

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/sdk/cause"
)

// ErrHealth is the kind of a health that another component asks for and that is lost.
var ErrHealth = cause.Define("CBN-SUP-143", "A component does not have the health that another one asks for.", "See `carbonado why NAME` of the component that is named.")

// ErrGrace is the kind of a health that was to be temporary and stays.
var ErrGrace = cause.Define("CBN-SUP-144", "A component has been temporarily unavailable for longer than its grace.", "See its log: `carbonado component logs NAME`.")

// HealthGrace is how long a component may be TEMPORARILY_UNAVAILABLE before it is CRITICAL, where component.yaml says nothing.
const HealthGrace = time.Minute

// conditions publishes the health of components as services, for references such as health:DataService=ok: a condition is registered
// while it holds, and for its grace after it was lost.
type conditions struct {
	registry *registry.Registry
	watched  atomic.Int64 // how many components somebody asks about

	// mu guards what follows.
	mu     sync.Mutex
	all    map[string]map[condition]*standing // by the component that they are about
	last   uint64
	closed bool
}

// condition is one health of one component that somebody asks for.
type condition struct {
	service string
	grace   time.Duration
}

type standing struct {
	least component.Health
	local uint64
	// holds is what was said last; id is the registration, 0 if there is none.
	holds bool
	id    uint64
	timer *time.Timer
}

// ask makes the conditions those that a plan's references ask for.
func (c *conditions) ask(p *plan.Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := map[condition]bool{}
	for i := range p.Components {
		for _, q := range p.Components[i].Requires {
			about, least, ok := component.HealthCondition(q.Service)
			key := condition{q.Service, q.Grace}
			if !ok {
				continue
			}
			wanted[key] = true
			if c.all[about] == nil {
				c.all[about] = map[condition]*standing{}
			}
			if c.all[about][key] == nil {
				c.last++
				c.all[about][key] = &standing{least: least, local: c.last}
			}
		}
	}
	for about, all := range c.all {
		for key, s := range all {
			if !wanted[key] {
				c.withdraw(s)
				delete(all, key)
			}
		}
		if len(all) == 0 {
			delete(c.all, about)
		}
	}
	c.watched.Store(int64(len(c.all)))
}

// watches tells whether somebody asks for a component's health.
func (c *conditions) watches(name string) bool {
	if c.watched.Load() == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all[name]) > 0
}

// judge takes a component's present health.
func (c *conditions) judge(name string, h component.Health) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for key, s := range c.all[name] {
		s.holds = h == component.HealthOK || h == s.least
		switch {
		case s.holds:
			if s.timer != nil {
				s.timer.Stop()
				s.timer = nil
			}
			if s.id == 0 {
				c.publish(name, key, s)
			}
		case s.id == 0 || s.timer != nil:
		case key.grace == 0:
			c.withdraw(s)
		default:
			s.timer = time.AfterFunc(key.grace, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				if !s.holds {
					c.withdraw(s)
				}
			})
		}
	}
}

func (c *conditions) publish(about string, key condition, s *standing) {
	service, err := c.registry.Publish(registry.Publication{
		Service: key.service, Version: semver.New(1, 0, 0, "", ""), Provider: component.HealthService + about, Generation: 1, LocalID: s.local,
		Properties: map[string]string{"component": about, "grace": key.grace.String()},
	})
	if err == nil {
		s.id = service.ID
	}
}

// withdraw ends a registration, if there is one.
func (c *conditions) withdraw(s *standing) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.id != 0 {
		_ = c.registry.Withdraw(s.id) // it is ours alone
		s.id = 0
	}
}

func (c *conditions) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, all := range c.all {
		for _, s := range all {
			c.withdraw(s)
		}
	}
}

// ownerOf is the component that a service hangs on: its provider, or the one whose health it is.
func ownerOf(s registry.Service) string {
	return strings.TrimPrefix(s.Provider, component.HealthService)
}

// judge passes the unit's health on to the conditions.
func (u *unit) judge() {
	if !u.r.conditions.watches(u.name) {
		return
	}
	v := u.view()
	h := v.Health
	if v.State != component.Active {
		h = component.HealthUnknown
	}
	u.r.conditions.judge(u.name, h)
}

// graceLeft makes a health that was to be temporary CRITICAL when its grace is over, and says when to look again.
func (u *unit) graceLeft() time.Duration {
	u.mu.Lock()
	health, since, reason, c := u.health, u.healthSince, u.hcause, u.planned
	u.mu.Unlock()
	if health != component.HealthTemporarilyUnavailable {
		return never
	}
	grace := HealthGrace
	if c != nil && c.Package.Descriptor.HealthGrace > 0 {
		grace = c.Package.Descriptor.HealthGrace
	}
	if left := grace - time.Since(since); left > 0 {
		return left
	}
	out := *component.CauseOf(ErrGrace.New("%s has been TEMPORARILY_UNAVAILABLE for %s", u.name, grace))
	if reason != nil {
		out = out.Because(*reason)
	}
	u.setHealth(component.HealthCritical, &out)
	return never
}

// unhealthy explains a health that is asked for and not there.
func (r *Reconciler) unhealthy(about string) *component.Cause {
	u := r.unit(about)
	if u == nil {
		return component.CauseOf(ErrHealth.New("%s is not installed", about))
	}
	v := u.view()
	out := component.CauseOf(ErrHealth.New("%s", fmt.Sprintf("%s is %s, health %s", about, v.State, v.Health)))
	for _, c := range []*component.Cause{v.HealthCause, v.Cause} {
		if c != nil {
			*out = out.Because(*c)
			break
		}
	}
	return out
}
