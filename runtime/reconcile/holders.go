package reconcile

import (
	"sync"

	"carbonado.dev/carbonado/runtime/few"
)

// holders are the references that are bound to a component's services, by its name: those that have to hear that it leaves. The zero
// value is empty. It is safe for concurrent use.
type holders struct {
	mu     sync.Mutex
	byName map[string]few.Map[*reference, int] // how many of its services each is bound to
}

// change notes that a reference lets go of one link and takes another; nil is none.
func (h *holders) change(ref *reference, old, now *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old != nil {
		h.add(old.service.Provider, ref, -1)
	}
	if now != nil {
		h.add(now.service.Provider, ref, 1)
	}
}

// add changes to how many services of a component a reference is bound. Called under mu.
func (h *holders) add(name string, ref *reference, n int) {
	refs := h.byName[name]
	if have, _ := refs.Get(ref); have+n > 0 {
		refs.Set(ref, have+n)
	} else {
		refs.Delete(ref)
	}
	switch {
	case refs.Len() == 0:
		delete(h.byName, name)
	case h.byName == nil:
		h.byName = map[string]few.Map[*reference, int]{name: refs}
	default:
		h.byName[name] = refs
	}
}

// of lists the references that are bound to a component's services.
func (h *holders) of(name string) []*reference {
	h.mu.Lock()
	defer h.mu.Unlock()
	refs := h.byName[name]
	out := make([]*reference, 0, refs.Len())
	for ref := range refs.All() {
		out = append(out, ref)
	}
	return out
}
