package registry

import (
	"iter"
	"slices"
	"strings"
)

// Key stands for what can be looked up at once: the zero Key for every service, a provider for those of one component, a service for those
// of one contract, and with a property and its value for those that have it. Who asks for something has the narrowest key that holds all
// that it may mean; a service has every key under which it may be asked for.
type Key struct{ provider, service, property, value string }

// Keys of a query, each once: every service that it means has one of them.
func (q Query) Keys() iter.Seq[Key] {
	if len(q.AnyOf) == 0 {
		return func(yield func(Key) bool) { yield(q.key()) }
	}
	var all []Key
	for _, o := range q.AnyOf {
		for key := range o.Keys() {
			if !slices.Contains(all, key) {
				all = append(all, key)
			}
		}
	}
	return slices.Values(all)
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

// Keys of a service, each once: every query that means it has one of them.
func (s *Service) Keys() iter.Seq[Key] {
	return func(yield func(Key) bool) {
		if !yield(Key{}) || !yield(Key{provider: s.Provider}) || !yield(Key{service: s.Service}) {
			return
		}
		for name, v := range s.Properties {
			if low := strings.ToLower(name); low == name || s.first(name, low, v) {
				if !yield(Key{service: s.Service, property: low, value: v}) {
					return
				}
			}
		}
	}
}

// first tells whether a name with capitals is the one that stands for its key: names may differ in case only.
func (s *Service) first(name, low, value string) bool {
	for other, v := range s.Properties {
		if v == value && strings.ToLower(other) == low && other > name { // small letters come last
			return false
		}
	}
	return true
}

// has tells whether a key is one of the service's.
func (s *Service) has(key Key) bool {
	for k := range s.Keys() {
		if k == key {
			return true
		}
	}
	return false
}

// enter and leave keep the index. Called under mu. What has the zero Key is in services.
func (r *Registry) enter(s *Service) {
	for key := range s.Keys() {
		if key != (Key{}) {
			in := r.index[key]
			in.Set(s.ID, s)
			r.index[key] = in
		}
	}
}

func (r *Registry) leave(s *Service) {
	for key := range s.Keys() {
		if in, ok := r.index[key]; ok {
			if in.Delete(s.ID); in.Len() > 0 {
				r.index[key] = in
			} else {
				delete(r.index, key)
			}
		}
	}
}

// at gives the services that have a key, in no order. Called under mu.
func (r *Registry) at(key Key, f func(*Service)) {
	if key == (Key{}) {
		for _, s := range r.services {
			f(s)
		}
		return
	}
	in := r.index[key]
	for _, s := range in.All() {
		f(s)
	}
}

func (r *Registry) find(q Query) []Service {
	var out []Service
	r.each(q, func(s *Service) { out = append(out, s.copy()) })
	if len(out) > 1 {
		slices.SortFunc(out, Better)
	}
	return out
}

// each gives the services that q means, each once, in no order. Called under mu.
func (r *Registry) each(q Query, f func(*Service)) {
	if len(q.AnyOf) == 0 {
		r.at(q.key(), func(s *Service) {
			if q.Matches(*s) {
				f(s)
			}
		})
		return
	}
	seen := map[uint64]bool{}
	for key := range q.Keys() {
		r.at(key, func(s *Service) {
			if !seen[s.ID] && q.Matches(*s) {
				seen[s.ID] = true
				f(s)
			}
		})
	}
}

// tell puts a change before every tracking that it concerns. Called under Registry.mu, so that all see the same order.
func (r *Registry) tell(old, now *Service) {
	n := change{old: old, now: now}
	var told map[*Tracking]bool // those that stand under more than one key
	for _, s := range []*Service{old, now} {
		if s == nil {
			continue
		}
		for key := range s.Keys() {
			if s == now && old != nil && old.has(key) {
				continue // they know
			}
			in := r.trackings[key]
			for t := range in.All() {
				if told[t] {
					continue
				}
				if len(t.query.AnyOf) > 0 {
					if told == nil {
						told = map[*Tracking]bool{}
					}
					told[t] = true
				}
				t.tell(&n)
			}
		}
	}
}
