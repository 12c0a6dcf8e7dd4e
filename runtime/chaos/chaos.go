// Package chaos troubles a running node on purpose, one random step after the other, and holds after each that the node is whole
// again. It must not know how the kernel does anything: it asks, as an operator does, and looks at processes.
package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/sdk/cause"
)

// ErrBroken is the kind of what a step left behind that must not be.
var ErrBroken = cause.Define("CBN-CLI-090", "The node is not whole after a step of chaos.", "Run again with the same --seed and the same --actions; the report names step, component and history.")

// Node is the running node as the admin API shows it.
type Node interface {
	Status(ctx context.Context) (admin.Status, error)
	Components(ctx context.Context) ([]admin.Component, error)
	Services(ctx context.Context) ([]admin.ServiceInfo, error)
	History(ctx context.Context, name string) ([]admin.Transition, error)
	// Do asks for a verb of a component: stop, start, restart, update.
	Do(ctx context.Context, name, verb string) error
}

// Actions that a step may be. Kernel ends the kernel itself.
const (
	Stop    = "stop"
	Restart = "restart"
	Update  = "update"
	Kill    = "kill"
	Freeze  = "freeze"
	Kernel  = "kernel"
)

// Actions are all of them, by how often they come.
var Actions = []string{Stop, Restart, Update, Kill, Freeze, Kernel}

// weights of Actions: a frozen process costs up to a minute until the watchdog replaces it.
var weights = map[string]int{Stop: 4, Restart: 4, Update: 4, Kill: 6, Freeze: 1, Kernel: 2}

// Options of a run.
type Options struct {
	// Seed makes a run again as far as the node lets it.
	Seed uint64
	// Steps ends the run after so many; 0 is no limit. Duration ends it after a time; 0 is no limit.
	Steps    int
	Duration time.Duration
	// Actions and Components restrict what is done to whom; empty is all.
	Actions, Components []string
	// Whole is how long the node has to be whole again after a step.
	Whole time.Duration
	// Check, if there, is asked after each step besides: that nothing acknowledged is lost, say.
	Check func(ctx context.Context) error
	// Out takes a line per step.
	Out io.Writer
}

// crashes is how many crashes a component gets per crashWindow, below every restart budget, so that FAILED is always a defect.
const (
	crashes     = 3
	crashWindow = 11 * time.Minute
	// kernelCrashes is the same for the kernel, within a minute: the guardian ends all after more than five.
	kernelCrashes = 4
)

// run is one run.
type run struct {
	Options
	node    Node
	random  *rand.Rand
	crashed map[string][]time.Time
}

// Run troubles the node until the options end it, ctx ends, or something is broken, which is an ErrBroken.
func Run(ctx context.Context, node Node, o Options) error {
	r := &run{Options: o, node: node, random: rand.New(rand.NewPCG(o.Seed, 0)), crashed: map[string][]time.Time{}}
	if err := r.whole(ctx, 0, nil); err != nil {
		return fmt.Errorf("before the first step: %w", err)
	}
	began := time.Now()
	for n := 1; (o.Steps == 0 || n <= o.Steps) && (o.Duration == 0 || time.Since(began) < o.Duration); n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.step(ctx, n); err != nil {
			return fmt.Errorf("seed %d, step %d: %w", o.Seed, n, err)
		}
	}
	return nil
}

func (r *run) step(ctx context.Context, n int) error {
	list, err := r.node.Components(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range list {
		if c.State == "ACTIVE" && (len(r.Options.Components) == 0 || slices.Contains(r.Options.Components, c.Name)) {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return ErrBroken.New("no component is ACTIVE")
	}
	// Both draws come first, so that a seed means the same steps whatever a node's speed.
	action, name := r.draw(), names[r.random.IntN(len(names))]
	if (action == Kill || action == Freeze) && !r.mayCrash(name, crashes, crashWindow) || action == Kernel && !r.mayCrash(Kernel, kernelCrashes, time.Minute) {
		action = Restart
	}
	at := slices.IndexFunc(list, func(c admin.Component) bool { return c.Name == name })
	before := list[at]
	status, err := r.node.Status(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	what := action + " " + name
	switch action {
	case Stop:
		if err := r.node.Do(ctx, name, "stop"); err != nil {
			return err
		}
		err = r.node.Do(ctx, name, "start")
	case Restart, Update:
		err = r.node.Do(ctx, name, action)
	case Kill:
		err = signal(before.Pid, syscall.SIGKILL)
	case Freeze:
		err = signal(before.Pid, syscall.SIGSTOP)
	case Kernel:
		what = "kill -9 of the kernel"
		err = signal(status.KernelPid, syscall.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	replaced := func(now admin.Component) bool { return now.Name != name || now.Pid != before.Pid }
	if action == Kernel {
		replaced = nil
	}
	if err := r.whole(ctx, status.KernelPid, replaced); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(began)
	if r.Check != nil {
		if err := r.Check(ctx); err != nil {
			return ErrBroken.Wrap(err, "%s: the check says no", what)
		}
	}
	fmt.Fprintf(r.Out, "step %d: %s; whole again after %s\n", n, what, took.Round(10*time.Millisecond))
	return nil
}

// draw takes an action by weight, of those allowed.
func (r *run) draw() string {
	allowed := r.Options.Actions
	if len(allowed) == 0 {
		allowed = Actions
	}
	sum := 0
	for _, a := range allowed {
		sum += weights[a]
	}
	at := r.random.IntN(sum)
	for _, a := range allowed {
		if at -= weights[a]; at < 0 {
			return a
		}
	}
	return allowed[0]
}

// mayCrash books a crash of a component or of the kernel, if it has one of so many left within a time.
func (r *run) mayCrash(name string, most int, within time.Duration) bool {
	recent := slices.DeleteFunc(r.crashed[name], func(t time.Time) bool { return time.Since(t) > within })
	r.crashed[name] = recent
	if len(recent) >= most {
		return false
	}
	r.crashed[name] = append(recent, time.Now())
	return true
}

func signal(pid int, s syscall.Signal) error {
	if pid <= 1 {
		return ErrBroken.New("there is no process %d", pid)
	}
	return syscall.Kill(pid, s)
}
