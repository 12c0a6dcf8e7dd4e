package reconcile

import (
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/runtime/registry"
)

// Connected is a process that can be asked for more than its life cycle; *supervisor.Instance is one.
type Connected interface {
	Conn() grpc.ClientConnInterface
}

// Conns are the control connections of the processes that serve now, by component.
func (r *Reconciler) Conns() map[string]grpc.ClientConnInterface {
	out := map[string]grpc.ClientConnInterface{}
	for _, u := range r.all() {
		u.mu.Lock()
		p := u.live
		u.mu.Unlock()
		if c, ok := p.(Connected); ok && c.Conn() != nil {
			out[u.name] = c.Conn()
		}
	}
	return out
}

// ProvidersOf are the components that provide a service now.
func (r *Reconciler) ProvidersOf(service string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range r.Registry.Find(registry.Query{Service: service}) {
		if !seen[s.Provider] {
			seen[s.Provider] = true
			out = append(out, s.Provider)
		}
	}
	return out
}
