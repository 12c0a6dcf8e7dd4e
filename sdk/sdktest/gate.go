package sdktest

import (
	"context"
	"strconv"

	"carbonado.dev/sdk/component"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// gate is an entry of `gates`. The double knows of no packages: without a count none is expected but what capabilities say.
type gate struct {
	Name     string        `yaml:"name"`
	Service  string        `yaml:"service"`
	Filter   where         `yaml:"filter"`
	Count    int           `yaml:"count"`
	Services []gateService `yaml:"services"`
}

type gateService struct {
	Service string `yaml:"service"`
	Filter  where  `yaml:"filter"`
	Count   int    `yaml:"count"`
}

func (g gate) services() []gateService {
	out := g.Services
	if g.Service != "" {
		out = append(out[:len(out):len(out)], gateService{g.Service, g.Filter, g.Count})
	}
	return out
}

// all is what the gate asks for, as references of its name.
func (g gate) all() []requirement {
	var out []requirement
	for _, s := range g.services() {
		out = append(out, requirement{Name: g.Name, Service: s.Service, Filter: s.Filter})
	}
	return out
}

// openGates opens the gates whose services are there; k.mu is held.
func (k *Kernel) openGates(ctx context.Context) {
	for _, c := range k.components {
		for _, g := range c.desc.Gates {
			if !c.serves || c.opened[g.Name] || !k.complete(c, g) {
				continue
			}
			if c.opened == nil {
				c.opened = map[string]bool{}
			}
			c.opened[g.Name] = true
			if _, err := c.control.Gate(ctx, &controlv1.GateRequest{Name: g.Name}); err != nil {
				k.t.Errorf("gate %s: %v", g.Name, err)
			}
		}
	}
}

func (k *Kernel) complete(c *Component, g gate) bool {
	for _, s := range g.services() {
		want, have := s.Count, 0
		r := requirement{Service: s.Service, Filter: s.Filter}
		for _, p := range k.services {
			switch {
			case p.suspended || p.owner == c:
			case p.service == component.CapabilityService && p.props[component.CapabilityOf] == s.Service:
				n, _ := strconv.Atoi(p.props[component.CapabilityCount])
				want += n
			case r.fits(p) && p.props["gate.skip"] != "true":
				have++
			}
		}
		if have < want {
			return false
		}
	}
	return true
}
