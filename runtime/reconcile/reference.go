package reconcile

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/few"
	"carbonado.dev/carbonado/runtime/registry"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// reference is one entry of `requires` at work.
type reference struct {
	w      *wiring
	name   string
	max    int
	static bool
	gate   *gate // nil unless the reference is a gate's

	// work lets one settle at a time through; it is held while consumers and providers are called. Taken before mu.
	work sync.Mutex
	// mu guards the fields below; it is never held during a call.
	mu        sync.Mutex
	reluctant bool
	filter    string
	track     *registry.Tracking
	bound     few.Map[uint64, *link]
	// frozen: the reference is static and its consumer has started; fixed are the services that it started with.
	frozen bool
	fixed  map[uint64]bool
	stale  bool
	closed bool
}

// link is one consumer bound to one provider's generation. It is replaced, never changed.
type link struct {
	service    registry.Service
	token      []byte
	generation uint64
	revision   uint64
	suspended  bool
}

func (w *wiring) follow(name string, q registry.Query, r component.Require, g *gate) {
	ref := &reference{
		w: w, name: name, gate: g, max: r.Cardinality.Max, static: r.Static, reluctant: r.Reluctant, filter: r.Filter.Text(),
	}
	ref.inherit(w.inherited[name])
	ref.mu.Lock() // until track is set
	ref.track = w.r.Registry.Hold(q, func(registry.Event) { ref.settle() })
	ref.mu.Unlock()
	w.refs = append(w.refs, ref)
}

func (ref *reference) tracking() *registry.Tracking {
	ref.mu.Lock()
	defer ref.mu.Unlock()
	return ref.track
}

// update follows another filter. The old tracking goes once the new one knows what there is, so that nothing is let go in between.
func (ref *reference) update(ctx context.Context, q component.Require) {
	ref.mu.Lock()
	same := ref.filter == q.Filter.Text() || ref.closed
	ref.mu.Unlock()
	if same {
		return
	}
	track := ref.w.r.Registry.Track(queryOf(q), func(registry.Event) { ref.settle() })
	if track.Sync(ctx) != nil {
		track.Close()
		return
	}
	ref.mu.Lock()
	old := ref.track
	ref.track, ref.filter = track, q.Filter.Text()
	ref.mu.Unlock()
	old.Close()
	ref.settle()
}

// freeze ends the time in which a static reference takes what comes.
func (ref *reference) freeze() {
	if !ref.static {
		return
	}
	ref.work.Lock()
	defer ref.work.Unlock()
	ref.mu.Lock()
	defer ref.mu.Unlock()
	ref.frozen, ref.fixed = true, map[uint64]bool{}
	for id := range ref.bound.All() {
		ref.fixed[id] = true
	}
}

func (ref *reference) isStale() bool {
	ref.mu.Lock()
	defer ref.mu.Unlock()
	return ref.stale
}

// holds tells whether the reference is bound to a component's services.
func (ref *reference) holds(provider string) bool {
	ref.mu.Lock()
	defer ref.mu.Unlock()
	for _, l := range ref.bound.All() {
		if ownerOf(l.service) == provider {
			return true
		}
	}
	return false
}

// settle makes the bindings of a reference what the registry says, as policy and option allow. The new one is bound before the old one
// is let go.
func (ref *reference) settle() {
	ref.work.Lock()
	defer ref.work.Unlock()
	ref.mu.Lock()
	track, bound, closed := ref.track, ref.bound.Clone(), ref.closed
	ref.mu.Unlock()
	if closed {
		return
	}
	candidates := slices.DeleteFunc(track.Services(), func(s registry.Service) bool {
		return s.Provider == ref.w.name || ref.w.r.leaving.has(ownerOf(s)) || ref.gate != nil && s.Service == component.CapabilityService
	})
	if ref.gate != nil {
		defer ref.w.stale() // the unit looks whether it opens
	}
	want := ref.choose(candidates, bound)
	if ref.held(want, candidates) {
		return
	}
	for _, s := range want {
		ref.connect(s)
	}
	for id, l := range bound.All() {
		if slices.ContainsFunc(want, func(s registry.Service) bool { return s.ID == id }) {
			continue
		}
		ref.call("unbind", l.service, func(ctx context.Context) error {
			return ref.w.consumer.Unbind(ctx, &controlv1.UnbindRequest{Reference: ref.name, ServiceId: id})
		})
		ref.set(id, nil)
		ref.revoke(l)
	}
	ref.w.r.touch()
}

// choose picks from the candidates, the best first: all of them, or one. A provider that is being restarted is passed over where another
// one serves; where there is none it is kept, and calls wait for it.
func (ref *reference) choose(candidates []registry.Service, bound few.Map[uint64, *link]) []registry.Service {
	if ref.max == component.Many || len(candidates) == 0 {
		return candidates
	}
	isBound := func(s registry.Service) bool { _, ok := bound.Get(s.ID); return ok }
	live := func(s registry.Service) bool { return !s.Suspended }
	at := -1
	if ref.reluctant {
		at = slices.IndexFunc(candidates, func(s registry.Service) bool { return isBound(s) && live(s) })
	}
	for _, ok := range []func(registry.Service) bool{live, isBound} {
		if at < 0 {
			at = slices.IndexFunc(candidates, ok)
		}
	}
	at = max(at, 0)
	return candidates[at : at+1]
}

// held keeps a static reference as it was at its consumer's start. Where it would have to change, the consumer is told to start anew; what
// it has is kept until then, renewed or suspended. It answers false where the reference may change.
func (ref *reference) held(want, candidates []registry.Service) bool {
	ref.mu.Lock()
	frozen, fixed, reluctant := ref.frozen, ref.fixed, ref.reluctant
	ref.mu.Unlock()
	if !frozen {
		return false
	}
	wanted, more := map[uint64]bool{}, false
	for _, s := range want {
		wanted[s.ID] = true
		more = more || !fixed[s.ID] && !s.Suspended
	}
	fewer := false
	for id := range fixed {
		fewer = fewer || !wanted[id]
	}
	for _, s := range candidates {
		if fixed[s.ID] {
			ref.connect(s)
		}
	}
	if fewer || more && !reluctant {
		ref.mu.Lock()
		told := ref.stale
		ref.stale = true
		ref.mu.Unlock()
		if !told && ref.w.stale != nil {
			ref.w.stale()
		}
	}
	ref.w.r.touch()
	return true
}

// set replaces or, with nil, forgets a link.
func (ref *reference) set(id uint64, l *link) {
	ref.mu.Lock()
	defer ref.mu.Unlock()
	old, _ := ref.bound.Get(id)
	ref.w.r.holders.change(ref, old, l)
	if l == nil {
		ref.bound.Delete(id)
	} else {
		ref.bound.Set(id, l)
	}
}

// connect binds, renews or suspends one provider.
func (ref *reference) connect(s registry.Service) {
	ref.mu.Lock()
	have, _ := ref.bound.Get(s.ID)
	ref.mu.Unlock()
	switch {
	case s.Suspended && have == nil:
		// It is bound when it is back.
		return
	case s.Suspended:
		if !have.suspended {
			suspended := *have
			suspended.suspended = true
			ref.set(s.ID, &suspended)
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
	} else if s.Address != "" { // a condition has no address: there is nobody to call
		l.token = make([]byte, 32)
		_, _ = rand.Read(l.token) // never fails (crypto/rand)
		admit := &controlv1.AdmitRequest{Token: l.token, Consumer: ref.w.name, Service: s.Service, ConsumerPid: int32(ref.w.pid), ConsumerUid: int32(ref.w.uid)}
		if !ref.call("admit", s, func(ctx context.Context) error { return ref.w.r.admit(ctx, s, admit) }) {
			return // the provider is going: its suspension or withdrawal comes next
		}
	}
	ref.call("bind", s, func(ctx context.Context) error {
		return ref.w.consumer.Bind(ctx, &controlv1.BindRequest{
			Reference: ref.name, ServiceId: s.ID, Generation: s.Generation, Service: s.Service, Properties: s.Properties, Ranking: int32(s.Ranking),
			Provider: s.Provider, Address: s.Address, Token: l.token, ProviderPid: int32(s.Pid), ProviderUid: int32(s.Uid),
			LocalId: s.LocalID, Version: s.Version.String(), Exported: s.Exported,
		})
	})
	ref.set(s.ID, l) // the consumer knows it: a gate may count it
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

func (ref *reference) revoke(l *link) {
	if len(l.token) == 0 {
		return
	}
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

// close ends the following and revokes every link.
func (ref *reference) close() {
	ref.mu.Lock()
	ref.closed = true
	track := ref.track
	ref.mu.Unlock()
	track.Close()
	ref.work.Lock()
	defer ref.work.Unlock()
	ref.mu.Lock()
	bound := ref.bound
	ref.bound = few.Map[uint64, *link]{}
	ref.mu.Unlock()
	for _, l := range bound.All() {
		ref.w.r.holders.change(ref, l, nil)
		ref.revoke(l)
	}
}
