package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// ErrTakeOver is the kind of a process that a new kernel found and could not go on with.
var ErrTakeOver = cause.Define("CBN-SUP-152", "A component that ran beneath an earlier kernel could not be taken over.",
	"Nothing: it is stopped in order and started anew. Its cause says why.")

// Found is one process of an earlier kernel.
type Found struct {
	Name    string
	Process Process
	// Answer is the component's own word, nil where it gave none.
	Answer *controlv1.TakeOverResponse
	// Err says why the process can't go on; nil if it can.
	Err error
}

// serves tells whether a process was serving and nothing was under way with it.
func (f Found) serves() bool {
	return f.Err == nil && f.Answer.GetPhase() == controlv1.TakeOverResponse_PHASE_ACQUIRED && !f.Answer.GetBusy()
}

// why is the reason not to go on with a process.
func (f Found) why() error {
	switch {
	case f.Err != nil:
		return f.Err
	case f.Answer.GetBusy():
		return ErrTakeOver.New("a call of the earlier kernel is still under way in process %d of %s", f.Process.PID(), f.Name)
	case f.Answer.GetPhase() < controlv1.TakeOverResponse_PHASE_ACQUIRED:
		return ErrTakeOver.New("process %d of %s was starting when its kernel ended", f.Process.PID(), f.Name)
	case f.Answer.GetPhase() > controlv1.TakeOverResponse_PHASE_ACQUIRED:
		return ErrTakeOver.New("process %d of %s was stopping when its kernel ended", f.Process.PID(), f.Name)
	}
	return ErrTakeOver.New("process %d of %s is not the one that serves", f.Process.PID(), f.Name)
}

// Note is what one kernel tells the next about a unit.
type Note struct {
	// Held: an operator, Actor, has stopped it.
	Held  bool   `json:"held,omitempty"`
	Actor string `json:"actor,omitempty"`
	// Crashes counts the unasked ends beneath this guardian.
	Crashes  int                      `json:"crashes,omitempty"`
	Restarts supervisor.SavedRestarts `json:"restarts,omitzero"`
	// Failed is the cause of a unit that is FAILED.
	Failed *component.Cause `json:"failed,omitempty"`
}

// estate is what an earlier kernel has left of one unit; its goroutine takes it in its first step.
type estate struct {
	serving *Found
	rest    []Found
	note    Note
}

// all are the processes.
func (e *estate) all() []Found {
	if e.serving == nil {
		return e.rest
	}
	return append([]Found{*e.serving}, e.rest...)
}

// Inherit gives the Reconciler what an earlier kernel has left. Call it before anybody publishes and before Apply. Of several processes
// of a component the newest that serves goes on; the others are stopped.
// Transitions are numbered on from seq.
func (r *Reconciler) Inherit(found []Found, notes map[string]Note, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq.Store(seq)
	of := func(name string) *estate {
		if r.inherited[name] == nil {
			r.inherited[name] = &estate{}
		}
		return r.inherited[name]
	}
	for name, n := range notes {
		of(name).note = n
	}
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Process.Generation(), a.Process.Generation()))
	})
	for _, f := range found {
		if e := of(f.Name); e.serving == nil && f.serves() {
			e.serving = &f
		} else {
			e.rest = append(e.rest, f)
		}
	}
	affected := map[string]bool{}
	for _, e := range r.inherited {
		if e.serving == nil {
			continue
		}
		for _, h := range e.serving.Answer.Bindings {
			if provider := h.Bind.GetProvider(); provider != "" {
				r.Registry.Restore(r.restored(h))
				if provider != KernelName {
					affected[provider] = true
				}
			}
		}
	}
	for name := range affected {
		of(name)
	}
	r.noteAdmissions()
	r.wg.Go(func() { r.revokeOf(r.ctx, 0) })
}

// told is a service as a consumer was told of it.
func told(b *controlv1.BindRequest) registry.Service {
	version, err := semver.NewVersion(b.Version)
	if err != nil {
		version = semver.New(0, 0, 0, "", "")
	}
	return registry.Service{ID: b.ServiceId, Suspended: true, Publication: registry.Publication{
		Service: b.Service, Version: version, Properties: b.Properties, Ranking: int(b.Ranking), Exported: b.Exported,
		Provider: b.Provider, Generation: b.Generation, LocalID: b.LocalId, Address: b.Address, Pid: int(b.ProviderPid), Uid: int(b.ProviderUid),
	}}
}

// restored is a service as a consumer was told of it, and as its provider's process is now. Called under mu.
func (r *Reconciler) restored(h *controlv1.HeldBinding) registry.Service {
	b := h.Bind
	s := told(b)
	if b.Provider == KernelName {
		return s // it is published in a moment
	}
	if e := r.inherited[b.Provider]; e != nil && e.serving != nil {
		switch serving := e.serving.Process.Generation(); {
		case serving == b.Generation:
			s.Suspended = false
		case serving < b.Generation:
			s.Generation = serving - 1 // the newer one does not go on: the older takes its services back
		}
	}
	return s
}

// settleEstate deals with what was inherited for components that the first plan doesn't have. Called under mu.
func (r *Reconciler) settleEstate() {
	for name, e := range r.inherited {
		delete(r.inherited, name)
		r.wg.Go(func() {
			for _, f := range e.all() {
				r.Log.Warn("a process of a component that is not installed any more is stopped", "component", name, "pid", f.Process.PID())
				r.dismiss(r.ctx, f)
			}
			r.Registry.WithdrawProvider(name)
		})
	}
}

// inheritance gives a new unit its part. Called under mu, before its goroutine runs.
func (r *Reconciler) inheritance(u *unit) {
	e := r.inherited[u.name]
	if e == nil {
		return
	}
	delete(r.inherited, u.name)
	u.estate = e
	u.restarts.Restore(e.note.Restarts)
	u.crashes, u.kept = e.note.Crashes, e.note.Restarts
	if e.note.Held {
		u.held, u.order = true, order{kind: orderStop, actor: e.note.Actor}
	}
	if s := e.serving; s != nil {
		// Others may be admitted by it before this unit's first step.
		u.pid, u.live, u.gen = s.Process.PID(), s.Process, s.Process.Generation()
	}
}

// takeOver is the first step of a unit that an earlier kernel had.
func (u *unit) takeOver(ctx context.Context) {
	e := u.estate
	u.estate = nil
	switch {
	case u.uninstalled(): // in this moment
		for _, f := range e.all() {
			u.r.dismiss(ctx, f)
		}
		u.mu.Lock()
		u.pid, u.live = 0, nil
		u.mu.Unlock()
		u.r.Registry.WithdrawProvider(u.name)
	case e.serving != nil:
		u.takeOverServing(ctx, *e.serving, e.rest)
	case len(e.rest) > 0:
		u.mu.Lock()
		for _, f := range e.rest {
			u.gen = max(u.gen, f.Process.Generation())
		}
		u.mu.Unlock()
		u.move(component.Resolved, "it ran beneath an earlier kernel", KernelName, nil)
		u.move(component.Starting, "its processes beneath the earlier kernel are dealt with", KernelName, nil)
		u.endStart(ctx, e.rest)
	case e.note.Failed != nil:
		u.setCause(e.note.Failed)
		u.move(component.Failed, e.note.Failed.Text, KernelName, e.note.Failed)
	default:
		if want, _ := u.wanted(); !want {
			u.r.Registry.WithdrawProvider(u.name)
		}
	}
}

// takeOverServing goes on with the process that serves, and ends the rest.
func (u *unit) takeOverServing(ctx context.Context, serving Found, rest []Found) {
	u.move(component.Resolved, "it runs already", KernelName, nil)
	u.move(component.Starting, fmt.Sprintf("process %d runs already", serving.Process.PID()), KernelName, nil)
	if err := u.goOn(ctx, serving); err != nil {
		serving.Err = err
		u.forget()
		u.endStart(ctx, append(rest, serving))
		return
	}
	u.setCause(nil)
	u.move(component.Active, fmt.Sprintf("taken over from the kernel before: process %d runs on, its executable verified", serving.Process.PID()), KernelName, nil)
	for _, f := range rest {
		u.r.Log.Warn("a process is stopped that does not serve", "component", u.name, "pid", f.Process.PID(), "reason", f.why())
		u.r.dismiss(ctx, f)
	}
}

// goOn makes a running process this unit's: its references, its registrations, its health.
func (u *unit) goOn(ctx context.Context, f Found) error {
	planned := u.plannedNow()
	u.body = body{planned: planned, process: f.Process, address: f.Answer.ServiceAddress, abilities: f.Answer.Abilities}
	u.body.wiring = u.r.rewire(u, f.Process, planned, u.r.heldLinks(f))
	running := planned
	if given := f.Answer.ConfigJson; len(given) > 0 && planned.Config != nil && config.DigestOf(given) != configDigest(planned) {
		running = withConfig(planned, config.Given(u.name, given)) // it changed while no kernel ran
	}
	u.mu.Lock()
	u.pid, u.live, u.links, u.gen, u.running = f.Process.PID(), f.Process, u.body.wiring, f.Process.Generation(), running
	u.mu.Unlock()
	if err := u.wiring.ready(ctx); err != nil {
		return err
	}
	for _, ref := range u.wiring.refs {
		ref.settle() // what was held and does not match any more made no event
	}
	if err := u.watch(ctx, &u.body, nil); err != nil {
		return err
	}
	u.settleAt = time.Time{}
	u.r.Registry.Settle(u.name, f.Process.Generation()) // it has published all that it has
	return nil
}

// heldLinks are the bindings of a running process as links of this kernel.
func (r *Reconciler) heldLinks(f Found) map[string]map[uint64]*link {
	out := map[string]map[uint64]*link{}
	for _, h := range f.Answer.Bindings {
		b := h.Bind
		s, err := r.Registry.Get(b.GetServiceId())
		if err != nil {
			s = told(b) // it was withdrawn in this moment: the consumer has to hear it
		}
		if out[b.Reference] == nil {
			out[b.Reference] = map[uint64]*link{}
		}
		out[b.Reference][b.ServiceId] = &link{service: s, token: b.Token, generation: b.Generation, suspended: h.Suspended}
	}
	return out
}

// inherit makes links that a process holds already those of a reference. A static one has started with them.
func (ref *reference) inherit(links map[uint64]*link) {
	if links == nil {
		return
	}
	for id, l := range links {
		ref.set(id, l)
	}
	if ref.static {
		ref.frozen, ref.fixed = true, map[uint64]bool{}
		for id := range links {
			ref.fixed[id] = true
		}
	}
}

// admitted is one admission that was found at a provider.
type admitted struct {
	by    Found
	token []byte
}

// noteAdmissions sorts what providers admit: links that go on, links of processes that are about to be stopped, and stale ones. Called
// under mu.
func (r *Reconciler) noteAdmissions() {
	held, ending := map[string]bool{}, map[int]bool{}
	for _, e := range r.inherited {
		for _, f := range e.rest {
			ending[f.Process.PID()] = true
		}
		if e.serving != nil {
			for _, h := range e.serving.Answer.Bindings {
				held[string(h.Bind.GetToken())] = true
			}
		}
	}
	for _, e := range r.inherited {
		if e.serving == nil {
			continue
		}
		for _, a := range e.serving.Answer.Admissions {
			pid := int(a.ConsumerPid)
			if !held[string(a.Token)] && !ending[pid] {
				pid = 0
			}
			r.admissions[pid] = append(r.admissions[pid], admitted{*e.serving, a.Token})
		}
	}
}

// revokeOf takes back the admissions of a process that has ended; 0 are those of nobody.
func (r *Reconciler) revokeOf(ctx context.Context, pid int) {
	r.mu.Lock()
	stale := r.admissions[pid]
	delete(r.admissions, pid)
	r.mu.Unlock()
	for _, a := range stale {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		if _, err := a.by.Process.Component().Revoke(call, &controlv1.RevokeRequest{Token: a.token}); err != nil {
			r.Log.Debug("revoke", "component", a.by.Name, "error", err)
		}
		cancel()
	}
}

// endStart ends processes that can't go on, and leaves the unit RESOLVED, or in BACKOFF where they had ended by themselves.
func (u *unit) endStart(ctx context.Context, rest []Found) {
	slices.SortFunc(rest, func(a, b Found) int { return cmp.Compare(a.Process.Generation(), b.Process.Generation()) })
	newest := rest[len(rest)-1]
	why := component.CauseOf(ErrTakeOver.Wrap(newest.why(), "process %d is not taken over: %v", newest.Process.PID(), newest.why()))
	dead := true
	for _, f := range rest {
		select {
		case <-f.Process.Done():
		default:
			dead = false
		}
	}
	if dead {
		exit := newest.Process.Exit()
		u.crashed(exit, component.CauseOf(ErrEnded.New("%s ended while no kernel ran, after %s: %s", u.name, exit.Ran.Round(time.Millisecond), exit.Result)))
		return
	}
	u.r.Registry.Suspend(u.name, newest.Process.Generation())
	u.move(component.Stopping, why.Text, KernelName, why)
	u.dismissAll(ctx, rest)
	u.move(component.Resolved, why.Text, KernelName, why)
}

// dismissAll ends processes at once, oldest first in rest, and shows the newest that still lives.
func (u *unit) dismissAll(ctx context.Context, rest []Found) {
	newest := rest[len(rest)-1].Process.Generation()
	left := slices.Clone(rest)
	show := func() { // called under mu
		u.pid, u.gen = 0, newest
		if n := len(left); n > 0 {
			u.pid, u.gen = left[n-1].Process.PID(), left[n-1].Process.Generation()
		}
	}
	u.mu.Lock()
	show()
	u.mu.Unlock()
	var all sync.WaitGroup
	for _, f := range rest {
		all.Go(func() {
			exit := u.r.dismiss(ctx, f)
			u.mu.Lock()
			defer u.mu.Unlock()
			left = slices.DeleteFunc(left, func(o Found) bool { return o.Process == f.Process })
			show()
			if f.Process.Generation() == newest {
				u.last, u.tail = exit.Result, exit.Tail
			}
		})
	}
	all.Wait()
}

// dismiss ends a process: in order where it can be called, at once where it can't.
func (r *Reconciler) dismiss(ctx context.Context, f Found) supervisor.Exit {
	defer r.revokeOf(ctx, f.Process.PID())
	if f.Answer == nil && cause.From(f.Err).Code() != supervisor.ErrUnable.ID() {
		return f.Process.Kill(ctx, component.ResultReplaced)
	}
	return f.Process.Stop(ctx, supervisor.DefaultLadder(component.ResultReplaced))
}

// Notes is what the next kernel must know of the units that is not with their processes, and the last number of a transition.
func (r *Reconciler) Notes() (out map[string]Note, seq uint64) {
	out, seq = map[string]Note{}, r.seq.Load()
	for _, u := range r.all() {
		state, _ := u.machine.State()
		u.mu.Lock()
		n := Note{Held: u.held, Crashes: u.crashes, Restarts: u.kept}
		if u.held {
			n.Actor = u.order.actor
		}
		if state == component.Failed {
			n.Failed = u.cause
		}
		u.mu.Unlock()
		if n != (Note{}) {
			out[u.name] = n
		}
	}
	return out, seq
}

// remember keeps for Notes what only the unit's goroutine sees.
func (u *unit) remember() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = u.restarts.Save()
}

// Changed is closed at the next change of any unit.
func (r *Reconciler) Changed() <-chan struct{} { return r.changed.rings() }
