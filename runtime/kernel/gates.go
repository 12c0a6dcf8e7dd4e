package kernel

import (
	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/reconcile"
)

// gates are the startup gates of a component as `component show` has them: as planned, and as they stand.
func gates(v reconcile.View) []admin.Gate {
	out := []admin.Gate{}
	for _, g := range v.Planned.Gates {
		a := admin.Gate{Name: g.Name, State: "waiting", Policy: g.Policy, Deadline: g.Deadline, Services: []admin.GateCount{}}
		for _, s := range g.Services {
			a.Services = append(a.Services, admin.GateCount{Service: s.Service, Want: s.Expected})
		}
		for _, now := range v.Gates {
			if now.Name != g.Name {
				continue
			}
			a.Missing, a.State = now.Missing, "closed"
			switch {
			case now.Open:
				a.State = "open"
			case now.Expired:
				a.State = "expired"
			}
			for i, c := range now.Services {
				if i < len(a.Services) {
					a.Services[i].Have, a.Services[i].Want = c.Have, c.Want
				}
			}
		}
		out = append(out, a)
	}
	return out
}
