package reconcile

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"carbonado.dev/carbonado/runtime/component"
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
}

// reference is one entry of `requires` at work.
type reference struct {
	w     *wiring
	name  string
	max   int
	track *registry.Tracking

	// mu guards bound; changes come from the tracking's goroutine only.
	mu    sync.Mutex
	bound map[uint64]*link
}

// link is one consumer bound to one provider's generation.
type link struct {
	service    registry.Service
	token      []byte
	generation uint64
	revision   uint64
	suspended  bool
}

// wire starts the references of a component's process.
func (r *Reconciler) wire(u *unit, p Process, d *component.Descriptor) *wiring {
	w := &wiring{r: r, consumer: consumerProcess{p.Component()}, name: u.name, pid: p.PID(), uid: p.UID()}
	w.follow(KernelName, registry.Query{Provider: KernelName}, component.Many)
	for _, q := range d.Requires {
		query := registry.Query{Service: q.Service, Filter: q.Filter}
		if q.Versions != nil {
			query.Versions = q.Versions
		}
		w.follow(q.Name, query, q.Cardinality.Max)
	}
	return w
}

// Consume lets the kernel itself follow services: consumer is told of every provider that the query means, until the returned
// function is called.
func (r *Reconciler) Consume(reference string, q registry.Query, pid, uid int, consumer Consumer) (stop func()) {
	w := &wiring{r: r, consumer: consumer, name: KernelName, pid: pid, uid: uid}
	w.follow(reference, q, component.Many)
	forget := r.remember(w)
	return func() {
		forget()
		w.close()
	}
}

func (w *wiring) follow(name string, q registry.Query, most int) {
	ref := &reference{w: w, name: name, max: most, bound: map[uint64]*link{}}
	ref.mu.Lock() // until track is set
	ref.track = w.r.Registry.Track(q, func(registry.Event) { ref.settle() })
	ref.mu.Unlock()
	w.refs = append(w.refs, ref)
}

// ready waits until every reference has seen the services that were there when it began to follow.
func (w *wiring) ready(ctx context.Context) error {
	for _, ref := range w.refs {
		if err := ref.track.Sync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settle makes the bindings of a reference what the registry says: all providers, or the best one (greedy). The new one is bound
// before the old one is let go.
func (ref *reference) settle() {
	ref.mu.Lock()
	defer ref.mu.Unlock()
	want := slices.DeleteFunc(ref.track.Services(), func(s registry.Service) bool { return s.Provider == ref.w.name })
	if ref.max != component.Many && len(want) > ref.max {
		want = want[:ref.max]
	}
	for _, s := range want {
		ref.connect(s)
	}
	for id, l := range ref.bound {
		if slices.ContainsFunc(want, func(s registry.Service) bool { return s.ID == id }) {
			continue
		}
		ref.call("unbind", l.service, func(ctx context.Context) error {
			return ref.w.consumer.Unbind(ctx, &controlv1.UnbindRequest{Reference: ref.name, ServiceId: id})
		})
		ref.revoke(l)
		delete(ref.bound, id)
	}
	ref.w.r.touch()
}

// connect binds, renews or suspends one provider.
func (ref *reference) connect(s registry.Service) {
	have := ref.bound[s.ID]
	switch {
	case s.Suspended && have == nil:
		// It is bound when it is back.
		return
	case s.Suspended:
		if !have.suspended {
			have.suspended = true
			ref.call("suspend", s, func(ctx context.Context) error {
				return ref.w.consumer.Suspend(ctx, &controlv1.SuspendRequest{Reference: ref.name, ServiceId: s.ID})
			})
		}
		return
	case have != nil && have.generation == s.Generation && have.revision == s.Revision && !have.suspended:
		return
	}
	l := &link{service: s, generation: s.Generation, revision: s.Revision}
	if have != nil && have.generation == s.Generation {
		l.token = have.token
	} else {
		l.token = make([]byte, 32)
		_, _ = rand.Read(l.token) // never fails (crypto/rand)
		admit := &controlv1.AdmitRequest{Token: l.token, Consumer: ref.w.name, Service: s.Service, ConsumerPid: int32(ref.w.pid), ConsumerUid: int32(ref.w.uid)}
		if !ref.call("admit", s, func(ctx context.Context) error { return ref.w.r.admit(ctx, s, admit) }) {
			return // the provider is going: its suspension or withdrawal comes next
		}
	}
	ref.bound[s.ID] = l
	ref.call("bind", s, func(ctx context.Context) error {
		return ref.w.consumer.Bind(ctx, &controlv1.BindRequest{
			Reference: ref.name, ServiceId: s.ID, Generation: s.Generation, Service: s.Service, Properties: s.Properties, Ranking: int32(s.Ranking),
			Provider: s.Provider, Address: s.Address, Token: l.token, ProviderPid: int32(s.Pid), ProviderUid: int32(s.Uid),
		})
	})
}

// call makes one call of the wiring under its deadline and reports what fails: the peer may just be ending.
func (ref *reference) call(what string, s registry.Service, f func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ref.w.r.ctx, callTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		ref.w.r.Log.Debug("wiring", "call", what, "consumer", ref.w.name, "reference", ref.name, "service", s.String(), "error", err)
		return false
	}
	return true
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

func (ref *reference) revoke(l *link) {
	if l.service.Provider == KernelName {
		ref.w.r.Kernel.Revoke(l.token)
		return
	}
	if p := ref.w.r.processOf(l.service.Provider, l.generation); p != nil {
		ref.call("revoke", l.service, func(ctx context.Context) error {
			_, err := p.Component().Revoke(ctx, &controlv1.RevokeRequest{Token: l.token})
			return err
		})
	}
}

// close ends the following and revokes every link of the consumer.
func (w *wiring) close() {
	for _, ref := range w.refs {
		ref.track.Close()
		ref.mu.Lock()
		for id, l := range ref.bound {
			ref.revoke(l)
			delete(ref.bound, id)
		}
		ref.mu.Unlock()
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
		for _, l := range ref.bound {
			out = append(out, Binding{Reference: ref.name, ServiceID: l.service.ID, Provider: l.service.Provider, Suspended: l.suspended})
		}
		ref.mu.Unlock()
	}
	return out
}
