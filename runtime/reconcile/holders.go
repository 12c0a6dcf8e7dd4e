package reconcile

import "sync"

// holders are the references that are bound to a component's services, by its name: those that have to hear that it leaves. The zero
// value is empty. It is safe for concurrent use.
type holders struct {
	mu     sync.Mutex
	byName map[string]map[*reference]int // how many of its services each is bound to
}

// change notes that a reference lets go of one link and takes another; nil is none.
func (h *holders) change(ref *reference, old, now *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old != nil {
		name := old.service.Provider
		if h.byName[name][ref]--; h.byName[name][ref] <= 0 {
			delete(h.byName[name], ref)
			if len(h.byName[name]) == 0 {
				delete(h.byName, name)
			}
		}
	}
	if now != nil {
		name := now.service.Provider
		if h.byName == nil {
			h.byName = map[string]map[*reference]int{}
		}
		if h.byName[name] == nil {
			h.byName[name] = map[*reference]int{}
		}
		h.byName[name][ref]++
	}
}

// of lists the references that are bound to a component's services.
func (h *holders) of(name string) []*reference {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*reference, 0, len(h.byName[name]))
	for ref := range h.byName[name] {
		out = append(out, ref)
	}
	return out
}
