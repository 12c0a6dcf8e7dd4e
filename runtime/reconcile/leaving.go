package reconcile

import (
	"context"
	"sync"
	"sync/atomic"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/registry"
)

// whileAlive gives a context that ends with the process too: nobody waits on behalf of a dead one.
func whileAlive(ctx context.Context, p Process) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-p.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// leave marks a component as going, which stops those that need it, and waits for them while its process lives. It gives the services that
// go; left ends it.
func (r *Reconciler) leave(ctx context.Context, name string, p Process) (services []registry.Service) {
	r.leaving.set(name, true)
	services = append(r.Registry.Find(registry.Query{Provider: name}), r.Registry.Find(registry.Query{Provider: component.HealthService + name})...)
	r.kickAskersOf(services)
	r.release(name, true)
	gone := func() bool {
		for _, u := range r.askersAt(services) {
			if u.name == name {
				continue
			}
			if s, _ := u.machine.State(); s.Live() && u.needs(name) {
				if s == component.Starting {
					u.callOff()
				}
				return false
			}
		}
		return true
	}
	if !gone() {
		ctx, cancel := whileAlive(ctx, p)
		defer cancel()
		if err := within(ctx, DependantsDeadline, func(ctx context.Context) error { return r.wait(ctx, gone) }); err != nil {
			r.Log.Warn("those that need a component did not end in time", "component", name)
		}
	}
	r.release(name, false)
	return services
}

// left marks a component as gone with these services.
func (r *Reconciler) left(name string, services []registry.Service) {
	r.leaving.set(name, false)
	r.kickAskersOf(services)
}

// leaving is a set of names that is empty most of the time, and asked often. The zero value is empty. It is safe for concurrent use.
type leaving struct {
	count atomic.Int64 // of names
	mu    sync.RWMutex // guards names
	names map[string]bool
}

func (l *leaving) set(name string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !on:
		delete(l.names, name)
	case l.names == nil:
		l.names = map[string]bool{name: true}
	default:
		l.names[name] = true
	}
	l.count.Store(int64(len(l.names)))
}

func (l *leaving) has(name string) bool {
	if l.count.Load() == 0 {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.names[name]
}
