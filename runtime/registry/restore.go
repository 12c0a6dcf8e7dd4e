package registry

import "maps"

// Restore enters a registration as an earlier kernel had it, under its own id, before anybody publishes: s.Suspended says whether its
// provider's process is gone. The provider's next Publish continues it; its next Settle removes it where it was not published again.
// An id that is taken changes nothing.
func (r *Registry) Restore(s Service) {
	s.Properties = maps.Clone(s.Properties)
	s.Revision = 1
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.services[s.ID] != nil {
		return
	}
	r.last = max(r.last, s.ID)
	r.services[s.ID] = &s
	r.enter(&s)
	r.restored[s.ID] = true
	r.tell(nil, &s)
}
