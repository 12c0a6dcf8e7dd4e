// Package simulation runs the kernel's rooms (plan, reconcile, the supervisor's restart budget, registry, deploy) over processes that
// exist in memory only, so that thousands of histories can be tried under a simulated clock. It must not know real processes, sockets
// or the composition root, and nothing but tests and benchmarks imports it.
package simulation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// World is a node: a real Reconciler and Registry, simulated processes. Its methods are safe for concurrent use.
type World struct {
	Reconciler *reconcile.Reconciler
	Registry   *registry.Registry
	// OnEvent, if set before the first Apply, is told each event of the Reconciler. It must not block.
	OnEvent func(reconcile.Event)

	kernel    *kernel
	mu        sync.Mutex
	packages  map[string]*catalog.Package
	disabled  map[string]bool
	faults    map[string]Fault
	slow      map[string]time.Duration
	configs   map[string]string // by component; none is "0"
	gens      map[string]uint64
	processes map[*Process]bool             // the live ones
	holders   map[string]*Process           // who holds a component's exclusive resource
	moves     map[string]*component.Checker // of each unit's machine
	trouble   []error                       // what must never happen and did
	pids      int
}

// New makes a node without components.
func New() *World {
	w := &World{
		packages: map[string]*catalog.Package{}, disabled: map[string]bool{}, faults: map[string]Fault{}, slow: map[string]time.Duration{},
		configs: map[string]string{}, gens: map[string]uint64{}, processes: map[*Process]bool{}, holders: map[string]*Process{}, moves: map[string]*component.Checker{},
	}
	w.newKernel()
	return w
}

// Install adds components by their descriptors; the next Apply makes it so.
func (w *World) Install(descriptors ...string) error {
	for _, text := range descriptors {
		d, err := catalog.ParseDescriptor("component.yaml", []byte(text))
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.packages[d.Name] = &catalog.Package{Name: d.Name, Version: d.Version.String(), Digest: text, Descriptor: d}
		w.mu.Unlock()
	}
	return nil
}

// Uninstall removes a component; the next Apply makes it so.
func (w *World) Uninstall(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.packages, name)
}

// Enable switches a component on or off; the next Apply makes it so.
func (w *World) Enable(name string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disabled[name] = !on
}

// Apply plans anew and hands the plan to the Reconciler.
func (w *World) Apply() {
	w.mu.Lock()
	in := plan.Input{Profile: "default", Decide: func(name string) profile.Decision {
		return profile.Decision{Enabled: !w.disabled[name], Rule: "the simulation"}
	}}
	configs := map[string]*config.Component{}
	for name := range w.packages {
		configs[name] = configOf(name, w.configs[name])
	}
	in.Config = func(name string) *config.Component { return configs[name] }
	for _, p := range w.packages {
		in.Packages = append(in.Packages, p)
	}
	slices.SortFunc(in.Packages, func(a, b *catalog.Package) int { return cmp.Compare(a.Name, b.Name) })
	p := plan.Build(in)
	w.mu.Unlock()
	w.Reconciler.Apply(p)
}

// Configure gives a component another value of its one key; the next Apply makes it so. Values that begin with "bad" are refused by the
// processes.
func (w *World) Configure(name, value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.configs[name] = value
}

func configOf(name, value string) *config.Component {
	if value == "" {
		value = "0"
	}
	return config.Given(name, fmt.Appendf(nil, `{"value":%q}`, value))
}

// SetFault makes the next processes of a component misbehave; SetSlow makes their Prepare and Acquire take a while.
func (w *World) SetFault(name string, f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[name] = f
}

// SetSlow makes Prepare and Acquire of the next processes take d each.
func (w *World) SetSlow(name string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow[name] = d
}

// Process is the newest live process of a component; nil if none.
func (w *World) Process(name string) *Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out *Process
	for p := range w.processes {
		if p.name == name && (out == nil || p.generation > out.generation) {
			out = p
		}
	}
	return out
}

// Generation implements reconcile.Host.
func (w *World) Generation(name string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gens[name]++
	return w.gens[name]
}

// launch makes a process. Called under mu.
func (w *World) launch(c *plan.Component, generation uint64) (*Process, error) {
	f := w.faults[c.Name]
	if f.Times > 0 {
		f.Times--
		w.faults[c.Name] = f
		f.Times++
	}
	if f.Times == 0 {
		f = Fault{}
	}
	if f.Phase == "launch" {
		return nil, errors.New("simulated failure of the launch")
	}
	w.pids++
	p := &Process{
		w: w, name: c.Name, desc: c.Package.Descriptor, digest: c.Package.Digest, pid: w.pids, generation: generation, started: time.Now(), fault: f, slow: w.slow[c.Name],
		done: make(chan struct{}), news: make(chan struct{}), health: controlv1.Health_HEALTH_OK,
	}
	w.processes[p] = true
	return p, nil
}

// Configuration implements reconcile.Host.
func (w *World) Configuration(c *plan.Component, p reconcile.Process) (*controlv1.ConfigureRequest, error) {
	return &controlv1.ConfigureRequest{Name: c.Name, Version: c.Package.Version, Generation: p.Generation(), ConfigJson: c.Config.JSON}, nil
}

// Admit implements reconcile.KernelServices; the kernel of a simulation provides nothing.
func (w *World) Admit(*controlv1.AdmitRequest) {}

// Revoke implements reconcile.KernelServices.
func (w *World) Revoke([]byte) {}

func (w *World) gone(p *Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.processes, p)
	if w.holders[p.name] == p {
		delete(w.holders, p.name)
	}
}

// take is the exclusive resource of a component, its log say: two processes that hold it at once are the worst that can happen.
func (w *World) take(p *Process) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.processes[p] { // it ended in its Acquire
		return errGone
	}
	if have := w.holders[p.name]; have != nil && have != p {
		err := fmt.Errorf("generation %d of %s acquires while generation %d holds", p.generation, p.name, have.generation)
		w.trouble = append(w.trouble, err)
		return err
	}
	w.holders[p.name] = p
	return nil
}

func (w *World) letGo(p *Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holders[p.name] == p {
		delete(w.holders, p.name)
	}
}

func (w *World) notify(ev reconcile.Event) {
	if ev.Transition != nil {
		w.mu.Lock()
		moves := w.moves[ev.Component]
		if moves == nil {
			moves = &component.Checker{}
			w.moves[ev.Component] = moves
		}
		if err := moves.Follow(*ev.Transition); err != nil {
			w.trouble = append(w.trouble, fmt.Errorf("%s: %w", ev.Component, err))
		}
		if ev.Transition.To == component.Uninstalled {
			delete(w.moves, ev.Component) // the unit's machine has ended; a new one begins anew
		}
		w.mu.Unlock()
	}
	if w.OnEvent != nil {
		w.OnEvent(ev)
	}
}
