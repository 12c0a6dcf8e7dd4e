package plan

import (
	"fmt"
	"strconv"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
)

// Gate is what a startup gate expects under this plan.
type Gate struct {
	Name string `json:"name" yaml:"name"`
	// Deadline as text, for example "1m0s".
	Deadline string        `json:"deadline" yaml:"deadline"`
	Policy   string        `json:"policy" yaml:"policy"`
	Services []GateService `json:"services" yaml:"services"`

	Spec component.Gate `json:"-" yaml:"-"`
}

// GateService is one kind of service of a gate.
type GateService struct {
	Service string `json:"service" yaml:"service"`
	Version string `json:"version" yaml:"version"`
	Filter  string `json:"filter" yaml:"filter"`
	// Expected is how many have to be there; what Capabilities will say is added at run time.
	Expected int `json:"expected" yaml:"expected"`
	// From says who brings them; Less what was subtracted, and by which rule.
	From []Share `json:"from" yaml:"from"`
	Less []Share `json:"less" yaml:"less"`
	// Capabilities are components that say at run time how many more will come.
	Capabilities []string `json:"capabilities" yaml:"capabilities"`
}

// Share is one component's part of what a gate expects.
type Share struct {
	Component string `json:"component" yaml:"component"`
	Count     int    `json:"count" yaml:"count"`
	// Rule is why it is subtracted; empty where it is expected.
	Rule string `json:"rule,omitempty" yaml:"rule,omitempty"`
}

// gates works out what the gates of a node expect: static numbers, less what disabled components would have brought.
func (b *builder) gates(n int32) []Gate {
	all := []Gate{}
	for _, g := range b.nodes[n].desc.Gates {
		out := Gate{Name: g.Name, Deadline: g.Deadline.String(), Policy: g.Policy(), Services: []GateService{}, Spec: g}
		for i := range g.Services {
			out.Services = append(out.Services, b.gateService(n, &g.Services[i]))
		}
		all = append(all, out)
	}
	return all
}

func (b *builder) gateService(n int32, s *component.GateService) GateService {
	out := GateService{Service: s.Service, Filter: s.Filter.Text(), From: []Share{}, Less: []Share{}, Capabilities: []string{}}
	if s.Versions != nil {
		out.Version = s.Versions.String()
	}
	total, less := 0, 0
	asked := s.Require("")
	for _, i := range b.offering(s.Service) {
		o := &b.offers[i]
		if o.node == n || !b.matches(&b.nodes[n], &asked, o) || o.provide.Properties[component.GateSkip] == "true" {
			continue
		}
		switch from := &b.nodes[o.node]; {
		case from.enabled:
			total += o.provide.Count
			out.From = append(out.From, Share{Component: from.name, Count: o.provide.Count})
		case o.provide.Count > 0:
			less += o.provide.Count
			out.Less = append(out.Less, Share{Component: from.name, Count: o.provide.Count, Rule: from.rule})
		}
	}
	for _, i := range b.offering(component.CapabilityService) {
		o := &b.offers[i]
		switch from, about := &b.nodes[o.node], o.provide.Properties[component.CapabilityOf]; {
		case o.node == n || about != s.Service:
		case from.enabled:
			out.Capabilities = append(out.Capabilities, from.name)
		default:
			count, _ := strconv.Atoi(o.provide.Properties[component.CapabilityCount]) // absent: it is not known what it would have said
			out.Less = append(out.Less, Share{Component: from.name, Count: count, Rule: from.rule})
		}
	}
	out.Expected = total
	if s.Count != component.Computed {
		out.Expected = max(0, s.Count-less)
	}
	return out
}

// gateLines writes the gates of a component for the eye, one service a line.
func (c *Component) gateLines() []string {
	var out []string
	for _, g := range c.Gates {
		for _, s := range g.Services {
			line := fmt.Sprintf("gate %s: expects %d of %s", g.Name, s.Expected, s.Service)
			if s.Filter != "" {
				line += " with " + s.Filter
			}
			var from []string
			for _, x := range s.From {
				from = append(from, x.Component)
			}
			for _, name := range s.Capabilities {
				from = append(from, name+" says how many more")
			}
			if len(from) > 0 {
				line += " (" + strings.Join(from, ", ") + ")"
			}
			for _, x := range s.Less {
				line += fmt.Sprintf("; %d less: %s is disabled by %s", x.Count, x.Component, x.Rule)
			}
			out = append(out, line+fmt.Sprintf("; at %s %s", g.Deadline, g.Policy))
		}
	}
	return out
}
