// Package few is a map for where most maps have one entry: it needs no memory of its own up to then. It must not know what it holds.
package few

import (
	"iter"
	"maps"
)

// Map is such a map. The zero Map is empty. A copy shares its entries with the original, so use Clone. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	one   bool // key and value are the one entry, and more is nil
	key   K
	value V
	more  map[K]V
}

// Len is the number of entries.
func (m *Map[K, V]) Len() int {
	if m.one {
		return 1
	}
	return len(m.more)
}

// Get gives the value of a key; the zero value and false if there is none.
func (m *Map[K, V]) Get(key K) (V, bool) {
	if m.one && m.key == key {
		return m.value, true
	}
	v, ok := m.more[key]
	return v, ok
}

// Set gives a key a value.
func (m *Map[K, V]) Set(key K, value V) {
	switch {
	case m.more != nil:
		m.more[key] = value
	case !m.one || m.key == key:
		m.one, m.key, m.value = true, key, value
	default:
		more := map[K]V{m.key: m.value, key: value}
		*m = Map[K, V]{more: more}
	}
}

// Delete forgets a key.
func (m *Map[K, V]) Delete(key K) {
	if m.one && m.key == key {
		*m = Map[K, V]{}
		return
	}
	delete(m.more, key)
}

// All gives the entries in no order. The map may be changed meanwhile, as a map of Go's may.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.one {
			yield(m.key, m.value)
			return
		}
		for k, v := range m.more {
			if !yield(k, v) {
				return
			}
		}
	}
}

// Clone is a copy that shares nothing.
func (m *Map[K, V]) Clone() Map[K, V] {
	out := *m
	out.more = maps.Clone(m.more)
	return out
}
