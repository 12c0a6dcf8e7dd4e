package registry

import (
	"slices"
	"strings"
)

// A key stands for what can be looked up at once: "" every service, "@" and a name those of one provider, a contract's name its services,
// and a contract with one property and its value the services that have it. Who asks for something has the narrowest key that holds all
// that it may mean; a service has every key under which it may be asked for.

// Keys of a query: every service that it means has one of them.
func (q Query) Keys() []string {
	if len(q.AnyOf) > 0 {
		var out []string
		for _, o := range q.AnyOf {
			out = append(out, o.Keys()...)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	switch {
	case q.Provider != "":
		return []string{"@" + q.Provider}
	case q.Service == "":
		return []string{""}
	}
	// The first by name of the properties that are required: one is enough.
	name, value := "", ""
	for k, v := range q.Filter {
		if k = strings.ToLower(k); name == "" || k < name {
			name, value = k, v
		}
	}
	if w, ok := q.Where.(interface{ Required() map[string]string }); ok {
		for k, v := range w.Required() {
			if name == "" || k <= name {
				name, value = k, v
			}
		}
	}
	if name == "" {
		return []string{q.Service}
	}
	return []string{property(q.Service, name, value)}
}

// Keys of a service: every query that means it has one of them.
func (s Service) Keys() []string {
	out := []string{"", "@" + s.Provider, s.Service}
	for k, v := range s.Properties {
		out = append(out, property(s.Service, strings.ToLower(k), v))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func property(service, key, value string) string { return service + "\x00" + key + "=" + value }

// enter and leave keep the index. Called under mu.
func (r *Registry) enter(s *Service) {
	for _, key := range s.Keys() {
		if r.index[key] == nil {
			r.index[key] = map[uint64]*Service{}
		}
		r.index[key][s.ID] = s
	}
}

func (r *Registry) leave(s Service) {
	for _, key := range s.Keys() {
		delete(r.index[key], s.ID)
		if len(r.index[key]) == 0 {
			delete(r.index, key)
		}
	}
}

func (r *Registry) find(q Query) []Service {
	var out []Service
	keys := q.Keys()
	for _, key := range keys {
		for id, s := range r.index[key] {
			if q.Matches(*s) && (len(keys) == 1 || !slices.ContainsFunc(out, func(o Service) bool { return o.ID == id })) {
				out = append(out, s.copy())
			}
		}
	}
	slices.SortFunc(out, Better)
	return out
}

// tell puts a change before every tracking that it concerns. Called under Registry.mu, so that all see the same order.
func (r *Registry) tell(old, now *Service) {
	var keys []string
	for _, s := range []*Service{old, now} {
		if s != nil {
			keys = append(keys, s.Keys()...)
		}
	}
	slices.Sort(keys)
	var told map[*Tracking]bool // those that stand under more than one key
	for _, key := range slices.Compact(keys) {
		for t := range r.trackings[key] {
			if told[t] {
				continue
			}
			if len(t.query.AnyOf) > 0 {
				if told == nil {
					told = map[*Tracking]bool{}
				}
				told[t] = true
			}
			t.tell(old, now)
		}
	}
}
