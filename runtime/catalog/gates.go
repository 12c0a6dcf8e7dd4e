package catalog

import (
	"encoding/json"
	"strconv"

	"carbonado.dev/carbonado/runtime/component"
)

// rawGate is a gate as it is written: with one service, or with several under `services`.
type rawGate struct {
	Name string `json:"name"`
	rawGateService
	Services []rawGateService `json:"services"`
	Deadline string           `json:"deadline"`
	Policy   string           `json:"policy"`
}

type rawGateService struct {
	Service string          `json:"service"`
	Version string          `json:"version"`
	Filter  json.RawMessage `json:"filter"`
	Count   *int            `json:"count"`
}

func (b *builder) gates(r *raw, d *component.Descriptor) {
	b.unique("gates", "name", len(r.Gates), func(i int) string { return r.Gates[i].Name })
	for i, g := range r.Gates {
		at := []string{"gates", strconv.Itoa(i)}
		for _, q := range r.Requires {
			if q.Name == g.Name {
				b.fault(append(at, "name"), "%q is a reference already: the services of a gate are bound under its name", g.Name)
			}
		}
		out := component.Gate{Name: g.Name, Fail: g.Policy == "fail", Deadline: component.DefaultGateDeadline, Line: b.doc.At(at...).Line}
		if g.Deadline != "" {
			out.Deadline = b.duration(g.Deadline, append(at, "deadline")...)
		}
		services, paths := g.Services, [][]string{}
		for k := range services {
			paths = append(paths, append(append([]string{}, at...), "services", strconv.Itoa(k)))
		}
		if g.Service != "" {
			services, paths = append(services, g.rawGateService), append(paths, at)
		}
		for k, s := range services {
			out.Services = append(out.Services, b.gateService(s, paths[k]))
		}
		d.Gates = append(d.Gates, out)
	}
}

func (b *builder) gateService(s rawGateService, at []string) component.GateService {
	path := func(key string) []string { return append(append([]string{}, at...), key) }
	out := component.GateService{Service: s.Service, Filter: b.filter(s.Filter, path("filter")...), Count: component.Computed}
	if s.Count != nil {
		out.Count = *s.Count
	}
	if s.Version != "" {
		v, err := component.ParseRange(s.Version)
		if err != nil {
			b.fault(path("version"), "%s", err)
		}
		out.Versions = v
	}
	return out
}
