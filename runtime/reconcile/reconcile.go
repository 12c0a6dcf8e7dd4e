// Package reconcile keeps what runs equal to what the plan asks for: one unit per installed component, one operation on it at a
// time. It is the only room that changes what runs. It must not know files, profiles or HTTP: the plan, the launcher and the
// registry are given to it.
package reconcile

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"google.golang.org/grpc/codes"
)

// Kinds of error of this package.
var (
	ErrMissing     = cause.Define("CBN-SUP-101", "A component waits for a service that nobody provides.", "Start or enable a provider; `carbonado plan` names those installed.")
	ErrStart       = cause.Define("CBN-SUP-102", "A component could not be started.", "See its log: `carbonado component logs NAME`.")
	ErrEnded       = cause.Define("CBN-SUP-103", "A component's process ended by itself.", "See its log: `carbonado component logs NAME`.")
	ErrBudget      = cause.Define("CBN-SUP-104", "A component ended too often and is not started again by itself.", "Mend it, then `carbonado component start NAME`.")
	ErrListen      = cause.Define("CBN-SUP-105", "A component's port can't be opened.", "End the process that holds the port, or start with -DportOffset=N.")
	ErrStopped     = cause.Define("CBN-SUP-106", "An operator stopped the component; it starts again with the kernel.", "`carbonado component start NAME`")
	ErrDisabled    = cause.Define("CBN-SUP-107", "A rule disables the component.", "Change the rule, or `carbonado component enable NAME`.")
	ErrUnknown     = cause.Define("CBN-SUP-108", "No component of that name is installed.", "See `carbonado component ls`.").Code(codes.NotFound)
	ErrUninstalled = cause.Define("CBN-SUP-146", "The component's package is gone.", "Install it anew.").Code(codes.NotFound)
	ErrForced      = cause.Define("CBN-SUP-147", "A component did not stop in order and was killed.", "See its log: `carbonado component logs NAME`.").Code(codes.DeadlineExceeded)
	ErrRestarts    = cause.Define("CBN-SUP-109", "A provider is being restarted.", "Wait; if it stays, see `carbonado component diag` of the provider.")
)

// The deadlines of a unit's life. Each ends in a visible state.
const (
	// ConfigureTimeout, PrepareTimeout and AcquireTimeout bound the calls of a start. Acquire may replay a log.
	ConfigureTimeout = 10 * time.Second
	PrepareTimeout   = 60 * time.Second
	AcquireTimeout   = 120 * time.Second
	// WaitDeadline is how long a unit waits for its mandatory providers before its cause says that the wait is over time.
	WaitDeadline = 60 * time.Second
	// relook is how often a unit looks again for what no event tells of: a language runtime that was installed meanwhile.
	relook = 30 * time.Second
	// DependantsDeadline is how long a provider's stop waits for those that can't live without it.
	DependantsDeadline = 20 * time.Second
	// callTimeout bounds Bind, Admit and the like.
	callTimeout = 5 * time.Second
)

// Process is one started component; *supervisor.Instance is one.
type Process interface {
	PID() int
	UID() int
	Generation() uint64
	RunFolder() string
	Listeners() []*controlv1.Listener
	Component() controlv1.ComponentClient
	Deployer() controlv1.DeployerClient
	Done() <-chan struct{}
	Exit() supervisor.Exit
	Stop(ctx context.Context, ladder supervisor.Ladder) supervisor.Exit
	Kill(ctx context.Context, kind component.ResultKind) supervisor.Exit
}

// Host is what the composition root gives: how a planned component becomes a process and what that process is told.
type Host interface {
	// Launch makes the process and its control connection. It opens the component's ports first.
	Launch(ctx context.Context, c *plan.Component, generation uint64) (Process, error)
	// Configuration is what the process is told first; the service socket's owner is added by reconcile.
	Configuration(c *plan.Component, p Process) (*controlv1.ConfigureRequest, error)
	// Generation is the next process generation of a component; it grows for ever.
	Generation(name string) uint64
}

// Needs is an optional ability of a Host: what a component needs of the machine before it can be started, for example a language
// runtime. nil: all is there. It is asked when the component is about to start, and again while it waits.
type Needs interface {
	Needs(ctx context.Context, c *plan.Component) *component.Cause
}

// KernelServices lets the kernel's own service socket take part in the wiring.
type KernelServices interface {
	Admit(*controlv1.AdmitRequest)
	Revoke(token []byte)
}

// Event is what watchers are told: a transition, a change of health, or of registered services.
type Event struct {
	Component  string
	Transition *component.Transition
	Health     component.Health
	Service    *registry.Event
	// Replaced is the end of a replacement of the component's process, whatever became of it.
	Replaced *Replacement
	Cause    *component.Cause
	// CauseChanged: why the unit is not ACTIVE is another thing now (Cause; nil is nothing), without a transition.
	CauseChanged bool
	// Level is the end of a change of the start level, by Actor.
	Level *LevelChange
	Actor string
}

// Config makes a Reconciler.
type Config struct {
	Host     Host
	Kernel   KernelServices
	Registry *registry.Registry
	Log      hclog.Logger
	// Random spreads restarts; in [0,1).
	Random func() float64
	// Notify is told every event, in order per unit. It must not block and must not call the Reconciler.
	Notify func(Event)
}

// Reconciler owns all units. Its methods are safe for concurrent use.
type Reconciler struct {
	Config
	ctx    context.Context
	cancel context.CancelFunc
	seq    atomic.Uint64
	// next counts transitions and record tells of them: what all machines share.
	next   func() uint64
	record func(name string, t component.Transition)
	track  *registry.Tracking
	// leveling lets one change of the start level at a time through.
	leveling   chan struct{}
	conditions *conditions

	changed bell // rung at each change of any unit
	// leaving are providers about to go: units behave as if their services were gone already.
	leaving leaving
	// wirings are those that live: of components' processes and of the kernel.
	wirings wirings
	holders holders

	// mu guards the fields below.
	mu       sync.RWMutex
	plan     *plan.Plan
	units    map[string]*unit
	stopping bool
	// level is the start level in force, target where a change leads to.
	level, target int
	// users are the units by the contract that they require, askers by the keys of what they require (registry.Query.Keys).
	users  map[string][]*unit
	askers map[registry.Key][]*unit
	// inherited is what an earlier kernel has left, until the first Apply; admissions is who admits a process that is about to end.
	inherited  map[string]*estate
	admissions map[int][]admitted
	wg         sync.WaitGroup
}

// New makes a Reconciler without units; Apply brings them.
func New(c Config) *Reconciler {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reconciler{Config: c, ctx: ctx, cancel: cancel, units: map[string]*unit{},
		level: MaxLevel, target: MaxLevel, leveling: make(chan struct{}, 1), inherited: map[string]*estate{}, admissions: map[int][]admitted{}}
	r.next = func() uint64 { return r.seq.Add(1) }
	r.record = func(name string, t component.Transition) {
		r.Notify(Event{Component: name, Transition: &t, Cause: t.Cause})
	}
	r.conditions = &conditions{registry: c.Registry, all: map[string]map[condition]*standing{}}
	r.track = c.Registry.Track(registry.Query{}, func(ev registry.Event) {
		r.Notify(Event{Component: ev.Service.Provider, Service: &ev})
		if ev.Kind == registry.Modified {
			r.kickUsers(ev.Service)
		} else {
			r.kickAskers(ev.Service)
		}
	})
	return r
}

// Apply makes p the desired state. Units of components that are new start to exist; units that p does not know are uninstalled.
func (r *Reconciler) Apply(p *plan.Plan) {
	// In the order of the plan, and not under mu: thousands would wait for it with half a step done. Whoever starts goes before those that
	// can only say that they wait: most need not say it any more when their turn comes.
	for _, u := range r.apply(p) {
		u.look()
		runtime.Gosched()
	}
}

// apply gives the units that have to look again.
func (r *Reconciler) apply(p *plan.Plan) []*unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil
	}
	all := make([]*unit, 0, len(p.Components))
	r.plan = p
	r.conditions.ask(p)
	for i := range p.Components {
		c := &p.Components[i]
		if !c.Installed {
			continue
		}
		u := r.units[c.Name]
		if u == nil {
			u = r.newUnit(c)
			r.add(u)
		}
		u.setPlanned(c)
		all = append(all, u)
	}
	for name, u := range r.units {
		if c := p.Find(name); c == nil || !c.Installed {
			u.setPlanned(nil)
			all = append(all, u)
		}
	}
	r.noteUsers(p)
	r.settleEstate()
	return all
}

// add takes a unit in; a kick starts it. Called under mu.
func (r *Reconciler) add(u *unit) {
	r.units[u.name] = u
	r.wg.Add(1) // until its goroutine has lived for the last time
}

// renew puts a new unit in the place of one that is uninstalled and whose package is back. It begins with what the plan says: what the
// old one kept instead is not its.
func (r *Reconciler) renew(u *unit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping || u.plannedNow() == nil || r.units[u.name] != u {
		return
	}
	if c := r.plan.Find(u.name); c != nil && c.Installed {
		u.over = true
		next := r.newUnit(c)
		r.add(next)
		r.noteUsers(r.plan)
		next.kick()
	}
}

// Plan is the plan in force.
func (r *Reconciler) Plan() *plan.Plan {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.plan
}

func (r *Reconciler) unit(name string) *unit {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.units[name]
}

// all are the units by name.
func (r *Reconciler) all() []*unit {
	units := r.unsorted()
	slices.SortFunc(units, func(a, b *unit) int { return strings.Compare(a.name, b.name) })
	return units
}

// unsorted are the units in no order.
func (r *Reconciler) unsorted() []*unit {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.AppendSeq(make([]*unit, 0, len(r.units)), maps.Values(r.units))
}

// bell wakes all that wait for it to ring.
type bell struct {
	next atomic.Pointer[chan struct{}] // closed when it rings; nil while nobody waits
}

func (b *bell) ring() {
	if b.next.Load() == nil {
		return
	}
	if next := b.next.Swap(nil); next != nil {
		close(*next)
	}
}

// rings is closed when it rings next.
func (b *bell) rings() <-chan struct{} {
	mine := make(chan struct{})
	for {
		if b.next.CompareAndSwap(nil, &mine) {
			return mine
		}
		if next := b.next.Load(); next != nil {
			return *next
		}
	}
}

// touch wakes those that wait for a change of some unit.
func (r *Reconciler) touch() { r.changed.ring() }

// wait waits until ok holds, looking after each change of any unit.
func (r *Reconciler) wait(ctx context.Context, ok func() bool) error {
	for {
		changed := r.changed.rings()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitSettled waits until no unit is on its way: each is ACTIVE, or where it will stay until something else changes.
func (r *Reconciler) WaitSettled(ctx context.Context) error {
	var rest []*unit // those that have not been found settled; the first of them was not, so that most changes cost one question
	settled := func() bool {
		for {
			for len(rest) > 0 && (rest[0].settled() || r.unit(rest[0].name) != rest[0]) {
				rest = rest[1:]
			}
			if len(rest) > 0 {
				return false
			}
			// Each was settled when it was asked: now all must be.
			rest = r.unsorted()
			if !slices.ContainsFunc(rest, func(u *unit) bool { return !u.settled() }) {
				return true
			}
		}
	}
	for {
		if err := r.wait(ctx, settled); err != nil {
			return err
		}
		// A service that has just been published may not have woken its consumers yet.
		if err := r.track.Sync(ctx); err != nil {
			return err
		}
		if settled() {
			return nil
		}
	}
}

// Start lets a component that an operator stopped, or whose budget is spent, run again, and waits until it is ACTIVE or can't be.
func (r *Reconciler) Start(ctx context.Context, name, actor string) error {
	return r.ask(ctx, name, func(u *unit) { u.request(order{kind: orderStart, actor: actor}) }, func(v View) (bool, error) {
		switch {
		case v.State == component.Active:
			return true, nil
		case v.Settled && v.Cause != nil:
			return true, asError(v.Cause)
		}
		return false, nil
	})
}

// Stop stops a component until it is started or the kernel starts anew, and waits until its process is gone.
func (r *Reconciler) Stop(ctx context.Context, name, actor string) error {
	return r.ask(ctx, name, func(u *unit) { u.request(order{kind: orderStop, actor: actor}) }, func(v View) (bool, error) {
		if !v.Settled || v.Pid != 0 {
			return false, nil
		}
		if v.Forced {
			return true, ErrForced.New("%s has ended, but not in order: it was killed", name)
		}
		return true, nil
	})
}

func (r *Reconciler) ask(ctx context.Context, name string, do func(*unit), done func(View) (bool, error)) error {
	u := r.unit(name)
	if u == nil {
		return ErrUnknown.New("component %s", name)
	}
	if u.plannedNow() == nil {
		return ErrUninstalled.New("component %s", name)
	}
	do(u)
	var result error
	err := r.wait(ctx, func() bool {
		ok, err := done(u.view())
		result = err
		return ok
	})
	if err != nil {
		return err
	}
	return result
}

func asError(c *component.Cause) error {
	if c == nil {
		return nil
	}
	return cause.FromProto(c.Proto(), codes.FailedPrecondition)
}

// Shutdown stops all units, dependants before their providers, and ends the Reconciler. It goes on after errors, until ctx ends;
// what remains then is killed.
func (r *Reconciler) Shutdown(ctx context.Context) {
	r.mu.Lock()
	if r.stopping { // a second call waits for the first
		r.mu.Unlock()
		r.wg.Wait()
		return
	}
	r.stopping = true
	r.mu.Unlock()
	off := context.AfterFunc(ctx, r.cancel)
	for _, u := range r.backwards() {
		if u.end(); ctx.Err() != nil {
			r.Log.Error("stop went past its deadline", "component", u.name)
			break
		}
	}
	off()
	r.cancel()
	for _, u := range r.unsorted() {
		u.retire()
	}
	r.wg.Wait()
	r.conditions.close()
	r.track.Close()
}
