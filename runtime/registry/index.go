package registry

import (
	"slices"
	"strings"
)

// Key stands for what can be looked up at once: the zero Key for every service, a provider for those of one component, a service for those
// of one contract, and with a property and its value for those that have it. Who asks for something has the narrowest key that holds all
// that it may mean; a service has every key under which it may be asked for.
type Key struct{ provider, service, property, value string }

// Keys of a query: every service that it means has one of them.
func (q Query) Keys() []Key {
	if len(q.AnyOf) == 0 {
		return []Key{q.key()}
	}
	var out []Key
	for _, o := range q.AnyOf {
		out = add(out, o.Keys()...)
	}
	return out
}

// key is the one key of a query without AnyOf.
func (q Query) key() Key {
	switch {
	case q.Provider != "":
		return Key{provider: q.Provider}
	case q.Service == "":
		return Key{}
	}
	key := Key{service: q.Service}
	// Of the properties that are required one is enough: the first by name.
	if w, ok := q.Where.(interface {
		Key() (name, value string, ok bool)
	}); ok {
		key.property, key.value, _ = w.Key()
	}
	for name, v := range q.Filter {
		if name = strings.ToLower(name); key.property == "" || name < key.property {
			key.property, key.value = name, v
		}
	}
	return key
}

// Keys of a service: every query that means it has one of them.
func (s Service) Keys() []Key {
	out := append(make([]Key, 0, 3+len(s.Properties)), Key{}, Key{provider: s.Provider}, Key{service: s.Service})
	for name, v := range s.Properties {
		out = add(out, Key{service: s.Service, property: strings.ToLower(name), value: v})
	}
	return out
}

// add appends keys that are not there yet.
func add(keys []Key, more ...Key) []Key {
	for _, k := range more {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

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
	var keys []Key
	for _, s := range []*Service{old, now} {
		if s != nil {
			keys = add(keys, s.Keys()...)
		}
	}
	var told map[*Tracking]bool // those that stand under more than one key
	for _, key := range keys {
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
