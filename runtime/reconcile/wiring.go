package reconcile

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// KernelName is the provider name of the kernel's own services, and the reference under which every component has them.
const KernelName = "kernel"

// Consumer is whoever is told of providers: a component's process, or the kernel itself.
type Consumer interface {
	Bind(context.Context, *controlv1.BindRequest) error
	Suspend(context.Context, *controlv1.SuspendRequest) error
	Unbind(context.Context, *controlv1.UnbindRequest) error
}

// consumerProcess makes a component's process a Consumer.
type consumerProcess struct{ client controlv1.ComponentClient }

func (c consumerProcess) Bind(ctx context.Context, r *controlv1.BindRequest) error {
	_, err := c.client.Bind(ctx, r)
	return err
}

func (c consumerProcess) Suspend(ctx context.Context, r *controlv1.SuspendRequest) error {
	_, err := c.client.Suspend(ctx, r)
	return err
}

func (c consumerProcess) Unbind(ctx context.Context, r *controlv1.UnbindRequest) error {
	_, err := c.client.Unbind(ctx, r)
	return err
}

// wiring is the references of one consumer's process: it follows the registry and makes bindings so. Close ends its links.
type wiring struct {
	r        *Reconciler
	consumer Consumer
	name     string
	pid, uid int
	refs     []*reference
	// stale is told that a static reference is no longer what it was at the start.
	stale func()
	// inherited are the links of a process that was taken over, by reference.
	inherited map[string]map[uint64]*link
}

// wire starts the references of a component's process.
func (r *Reconciler) wire(u *unit, p Process, c *plan.Component) *wiring {
	return r.rewire(u, p, c, nil)
}

// rewire is wire for a process that holds links already.
func (r *Reconciler) rewire(u *unit, p Process, c *plan.Component, inherited map[string]map[uint64]*link) *wiring {
	w := &wiring{r: r, consumer: consumerProcess{p.Component()}, name: u.name, pid: p.PID(), uid: p.UID(), stale: u.kick, inherited: inherited}
	w.follow(KernelName, registry.Query{Provider: KernelName}, component.Require{Cardinality: component.Multiple}, nil)
	for _, q := range c.Requires {
		w.follow(q.Name, queryOf(q), q, nil)
	}
	for i := range c.Gates {
		g := &gate{planned: c.Gates[i]}
		w.follow(g.planned.Name, g.query(), component.Require{Cardinality: component.Multiple}, g)
	}
	r.wirings.add(w)
	return w
}

// queryOf is what a reference means in the registry.
func queryOf(q component.Require) registry.Query {
	query := registry.Query{Service: q.Service}
	if q.Filter != nil {
		query.Where = q.Filter
	}
	if q.Versions != nil {
		query.Versions = q.Versions
	}
	if _, _, ok := component.HealthCondition(q.Service); ok {
		query.Filter = map[string]string{"grace": q.Grace.String()}
	}
	return query
}

// Consume lets the kernel itself follow services: consumer is told of every provider that the query means, until the returned
// function is called.
func (r *Reconciler) Consume(reference string, q registry.Query, pid, uid int, consumer Consumer) (stop func()) {
	w := &wiring{r: r, consumer: consumer, name: KernelName, pid: pid, uid: uid}
	w.follow(reference, q, component.Require{Cardinality: component.Multiple}, nil)
	w.refs[0].tracking().Go()
	r.wirings.add(w)
	return w.close
}

// wirings is a set of them. The zero value is empty. It is safe for concurrent use.
type wirings struct {
	mu  sync.Mutex
	all map[*wiring]struct{}
}

func (s *wirings) add(w *wiring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*wiring]struct{}{}
	}
	s.all[w] = struct{}{}
}

func (s *wirings) remove(w *wiring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
}

func (s *wirings) list() []*wiring {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.all))
}

// ready takes the first picture of every reference. One provider that does not answer holds up no other's.
func (w *wiring) ready(ctx context.Context) error {
	last := len(w.refs) - 1
	for _, ref := range w.refs[:last] {
		ref.tracking().Go()
	}
	if err := w.refs[last].tracking().Sync(ctx); err != nil {
		return err
	}
	return w.told(ctx)
}

// told waits until every reference has seen the changes of services so far.
func (w *wiring) told(ctx context.Context) error {
	for _, ref := range w.refs {
		ref.tracking().Go()
	}
	for _, ref := range w.refs {
		if err := ref.tracking().Sync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// freeze lets static references hold what they have from now on.
func (w *wiring) freeze() {
	for _, ref := range w.refs {
		ref.freeze()
	}
}

// update takes references as configuration has changed them. The new providers are known before the old are let go.
func (w *wiring) update(ctx context.Context, c *plan.Component) {
	for i := range c.Gates {
		for _, ref := range w.refs {
			if ref.gate != nil && ref.name == c.Gates[i].Name {
				ref.gate.planned = c.Gates[i]
			}
		}
	}
	for _, q := range c.Requires {
		for _, ref := range w.refs {
			if ref.gate == nil && ref.name == q.Name {
				ref.update(ctx, q)
			}
		}
	}
}

// changed names a static reference that is no longer what it was at the start; empty if there is none.
func (w *wiring) changed() string {
	for _, ref := range w.refs {
		if ref.isStale() {
			return ref.name
		}
	}
	return ""
}

// release lets every consumer go of the services of a component that leaves, and waits until they have been told: they may still call it
// meanwhile. A static reference only says that its consumer has to start anew: those are asked first, alone.
func (r *Reconciler) release(name string, static bool) {
	var wg sync.WaitGroup
	for _, ref := range r.holders.of(name) {
		if ref.static == static {
			wg.Go(ref.settle)
		}
	}
	wg.Wait()
}

// holdsFast tells whether a static reference is bound to a component: its consumer has to be started anew before that one goes.
func (w *wiring) holdsFast(name string) bool {
	return slices.ContainsFunc(w.refs, func(ref *reference) bool { return ref.static && ref.holds(name) })
}

// admit lets a consumer in at the provider of a service.
func (r *Reconciler) admit(ctx context.Context, s registry.Service, req *controlv1.AdmitRequest) error {
	if s.Provider == KernelName {
		r.Kernel.Admit(req)
		return nil
	}
	p := r.processOf(s.Provider, s.Generation)
	if p == nil {
		return ErrEnded.New("generation %d of %s has ended", s.Generation, s.Provider)
	}
	_, err := p.Component().Admit(ctx, req)
	return err
}

func (r *Reconciler) processOf(name string, generation uint64) Process {
	u := r.unit(name)
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range []Process{u.live, u.next} {
		if p != nil && p.Generation() == generation {
			return p
		}
	}
	return nil
}

// close ends the following and revokes every link of the consumer.
func (w *wiring) close() {
	w.r.wirings.remove(w)
	for _, ref := range w.refs {
		ref.close()
	}
}

// snapshot says what a reference is bound to, for those who look.
func (w *wiring) snapshot() []Binding {
	var out []Binding
	for _, ref := range w.refs {
		if ref.name == KernelName {
			continue
		}
		ref.mu.Lock()
		for _, l := range ref.bound.All() {
			out = append(out, Binding{Reference: ref.name, ServiceID: l.service.ID, Provider: l.service.Provider, Suspended: l.suspended})
		}
		ref.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Binding) int {
		return cmp.Or(strings.Compare(a.Reference, b.Reference), cmp.Compare(a.ServiceID, b.ServiceID))
	})
	return out
}
