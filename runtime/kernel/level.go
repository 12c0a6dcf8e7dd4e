package kernel

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// ErrRequired is the kind of a component without which the server must not run.
var ErrRequired = cause.Define("CBN-SUP-145", "A component that is marked `required: true` can't run, so the server stops.",
	"See the cause; or disable the component.").Code(codes.FailedPrecondition)

// Level implements admin.Leveled.
func (k *Kernel) Level(context.Context) (admin.Levels, error) {
	out := admin.Levels{Levels: []admin.Level{}}
	out.Level, out.Target = k.reconciler.Level()
	levels := k.reconciler.Levels()
	for _, n := range slices.Sorted(maps.Keys(levels)) {
		out.Levels = append(out.Levels, admin.Level{Level: n, Components: levels[n]})
	}
	return out, nil
}

// SetLevel implements admin.Leveled.
func (k *Kernel) SetLevel(ctx context.Context, level int, actor string) error {
	return k.reconciler.SetLevel(ctx, level, actor)
}

// ResetFailed implements admin.Resetting.
func (k *Kernel) ResetFailed(ctx context.Context, name, actor string) error {
	if _, err := k.viewOf(name); err != nil {
		return err
	}
	return k.reconciler.ResetFailed(ctx, name, actor)
}

// firstLevel is the level to which a start goes: where the kernel before was or was going, or else -DstartLevel=N, or the highest.
func (k *Kernel) firstLevel() int {
	if n := k.succession.note.Target; k.succession.follows() && n >= 1 && n <= reconcile.MaxLevel {
		return n
	}
	if n, err := strconv.Atoi(k.basis().resolution.Properties["startLevel"]); err == nil && n >= 1 && n <= reconcile.MaxLevel {
		return n
	}
	return reconcile.MaxLevel
}

// begin makes a first kernel start at the lowest level that a component has. One that follows another finds components that serve, and leaves
// them: it begins where that one was, and if that was on its way up, at the end of the way.
func (k *Kernel) begin(p *plan.Plan) {
	to, level := k.firstLevel(), 0
	if k.succession.follows() {
		level = max(min(k.succession.note.Level, reconcile.MaxLevel), to)
	} else if running := p.Running(); len(running) > 0 {
		level = slices.MinFunc(running, func(a, b *plan.Component) int {
			return a.Package.Descriptor.StartLevel - b.Package.Descriptor.StartLevel
		}).Package.Descriptor.StartLevel
		if level > to {
			level = 0
		}
	}
	k.reconciler.Begin(level)
}

// raise goes up to the first level; k.raised is closed when that is done.
func (k *Kernel) raise(ctx context.Context) {
	level := k.firstLevel()
	k.raised = make(chan struct{})
	go func() {
		defer close(k.raised)
		if err := k.reconciler.SetLevel(ctx, level, reconcile.KernelName); err != nil && ctx.Err() == nil {
			k.log.Error("the start level was not reached", "level", level, "error", err)
		}
	}()
}

// requiredRun refuses a plan that does not run a component marked `required: true`.
func requiredRun(p *plan.Plan) error {
	for _, c := range p.Broken() {
		if d := c.Package.Descriptor; d != nil && d.Required {
			var why error
			if len(c.Causes) > 0 {
				why = cause.FromProto(c.Causes[0].Proto(), codes.FailedPrecondition)
			}
			return ErrRequired.Wrap(why, "%s can't run", c.Name)
		}
	}
	return nil
}

// noteRequired remembers which components are marked `required: true`.
func (k *Kernel) noteRequired(p *plan.Plan) {
	names := map[string]bool{}
	for _, c := range p.Running() {
		if c.Package.Descriptor.Required {
			names[c.Name] = true
		}
	}
	k.required.Store(&names)
}

// mourn stops the server when a component marked `required: true` has failed: those that run stop in the reverse order.
func (k *Kernel) mourn(name string, t component.Transition) {
	names := k.required.Load()
	if t.To != component.Failed || names == nil || !(*names)[name] {
		return
	}
	var why error
	if t.Cause != nil {
		why = cause.FromProto(t.Cause.Proto(), codes.FailedPrecondition)
	}
	err := ErrRequired.Wrap(why, "%s has failed: %s", name, t.Reason)
	k.log.Error("the server stops: a required component has failed", "component", name, "cause", err)
	k.mu.Lock()
	k.exit = ExitFailed
	if k.lost == nil {
		k.lost = err
	}
	k.mu.Unlock()
	k.stop()
}

// lostRequired says which required component has failed; nil if none has.
func (k *Kernel) lostRequired() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}
