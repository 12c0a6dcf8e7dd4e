package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/sdk/cause"
)

// errRefused is the kind of a package that does not take the place of one that runs.
var errRefused = cause.Define("CBN-PKG-070", "A package does not take the place of the version that runs.",
	"See the reason; mend the package, or remove it with `carbonado plugin remove NAME VERSION`.")

// The outcomes of an update that no process was started for.
const (
	refused   = "REFUSED"
	unchanged = "UNCHANGED"
)

var _ admin.Updating = (*Kernel)(nil)

// refusal is a package that was not taken up in place of one that runs.
type refusal struct {
	version, serving string
	damaged          bool
	cause            *component.Cause
}

// updates is what the kernel knows of packages that were not taken up.
type updates struct {
	// pins writes a pin for a package that was rolled back; set before the reconciler starts.
	pins func(name string, r *reconcile.Replacement)

	// mu guards refused, by component.
	mu      sync.Mutex
	refused map[string]refusal
}

// ended takes the end of a replacement.
func (u *updates) ended(ev reconcile.Event) {
	if ev.Replaced == nil || !ev.Replaced.Update() || u.pins == nil {
		return
	}
	u.pins(ev.Component, ev.Replaced)
}

func (u *updates) set(refused map[string]refusal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused = refused
}

func (u *updates) of(name string) (refusal, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, ok := u.refused[name]
	return r, ok
}

// refusals are sentences for an operator.
func (u *updates) refusals() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(u.refused)) {
		r := u.refused[name]
		out = append(out, fmt.Sprintf("%s %s does not take the place of the version that runs: %s", name, r.version, r.cause.Text))
	}
	return out
}

// settleOn plans what was read, with one reservation: where a component runs, a package that is damaged, can't run, or without which
// another one would cease to run, does not take the place of the one that serves.
func (k *Kernel) settleOn(in *inputs.Inputs) *plan.Plan {
	if k.reconciler == nil {
		return in.Plan()
	}
	k.keepConfigs(in)
	p := in.Plan()
	now := k.reconciler.Plan()
	rejected := map[string]refusal{}
	for range len(p.Components) + 1 {
		name, why := k.spoiled(now, p)
		if name == "" {
			break
		}
		serving, _ := k.reconciler.View(name)
		rejects := p.Find(name).Package
		reason := component.CauseOf(errRefused.New("%s %s is not taken up, %s serves on", name, rejects.Version, serving.Package.Version))
		if why != nil {
			*reason = reason.Because(*why)
		}
		rejected[name] = refusal{rejects.Version, serving.Package.Version, rejects.Cause != nil, reason}
		in.Keep(serving.Package)
		k.keepConfigs(in)
		p = in.Plan()
	}
	k.updates.set(rejected)
	return p
}

// spoiled finds a component whose new package would take away what runs, and why; empty if there is none.
func (k *Kernel) spoiled(now, next *plan.Plan) (string, *component.Cause) {
	changed := func(name string) bool {
		v, ok := k.reconciler.View(name)
		c := next.Find(name)
		return ok && v.State == component.Active && v.Package != nil && v.Package.Cause == nil && !k.packages.isLeaving(v.Package) && c != nil && c.Installed &&
			(c.Package.Version != v.Package.Version || c.Package.Digest != v.Package.Digest)
	}
	for i := range next.Components {
		c := &next.Components[i]
		v, ok := k.reconciler.View(c.Name)
		if c.Runs || !c.Enabled || !c.Installed || !ok || v.State != component.Active {
			continue
		}
		var why *component.Cause
		if len(c.Causes) > 0 {
			why = &c.Causes[0]
		}
		if changed(c.Name) {
			return c.Name, why
		}
		if was := now.Find(c.Name); was != nil {
			for _, w := range was.Wires {
				if changed(w.Provider) {
					return w.Provider, why
				}
			}
		}
	}
	return "", nil
}

// pinServing keeps the version that serves over a new start of the server, after the one that was to take its place was rolled back.
func (k *Kernel) pinServing(name string, r *reconcile.Replacement) {
	k.planning.Lock()
	defer k.planning.Unlock()
	pins, err := catalog.ReadPins(k.home)
	if err == nil {
		switch {
		case r.Outcome == reconcile.RolledBack && newerVersion(r.To, r.From):
			pins[name] = catalog.Pin{Version: r.From, Over: r.To, Failed: r.Digest}
		case r.Outcome == reconcile.RolledBack && pins[name].Version == r.To:
			delete(pins, name)
		default:
			return
		}
		err = catalog.WritePins(k.home, pins)
	}
	if err != nil {
		k.log.Error("the version that serves is not kept over a new start", "component", name, "error", err)
	}
}

// pinDamaged keeps the versions that serve over a new start of the server, as long as those above them are damaged.
func (k *Kernel) pinDamaged() {
	k.planning.Lock()
	defer k.planning.Unlock()
	k.updates.mu.Lock()
	defer k.updates.mu.Unlock()
	pins, err := catalog.ReadPins(k.home)
	before := maps.Clone(pins)
	for name, r := range k.updates.refused {
		if r.damaged && newerVersion(r.version, r.serving) {
			pins[name] = catalog.Pin{Version: r.serving, Over: r.version, Damaged: true}
		}
	}
	if err == nil && !maps.Equal(pins, before) {
		err = catalog.WritePins(k.home, pins)
	}
	if err != nil {
		k.log.Error("versions that serve are not kept over a new start", "error", err)
	}
}

// Update implements admin.Updating.
func (k *Kernel) Update(ctx context.Context, name, version, actor string) (admin.Replacement, error) {
	before, err := k.viewOf(name)
	if err != nil {
		return admin.Replacement{}, err
	}
	changes, r, err := k.choose(ctx, name, version)
	if err != nil {
		return r, err
	}
	if r.Outcome == refused {
		k.pinDamaged()
		return r, nil
	}
	err = k.reconciler.Update(ctx, name, actor)
	after, verr := k.viewOf(name)
	if verr != nil {
		return r, verr
	}
	last := after.Replacements.Last
	outcome := "done"
	switch {
	case last != nil && after.Replacements.Count > before.Replacements.Count:
		r = *replacement(last)
	case err != nil:
		return r, err
	case before.Package != nil && before.Package.Version == after.Package.Version && before.Package.Digest == after.Package.Digest:
		r.Outcome = unchanged
	default: // it did not run before
		r.Outcome = string(reconcile.Updated)
	}
	r.Name, r.Generation, r.Time = name, after.Generation, after.Since
	if r.From == "" && before.Package != nil {
		r.From = before.Package.Version
	}
	if r.To == "" && after.Package != nil {
		r.To = after.Package.Version
	}
	if r.Cause != nil {
		outcome = r.Outcome + ": " + r.Cause.Text
	}
	if r.Outcome != unchanged {
		k.deployments.record(actor, "update "+name, changes, outcome, k.desired())
	}
	return r, nil
}

// choose makes a version the one that is planned, and applies the plan. Where it can't be taken up, the answer says so and nothing has
// changed.
func (k *Kernel) choose(ctx context.Context, name, version string) ([]plan.Change, admin.Replacement, error) {
	k.planning.Lock()
	defer k.planning.Unlock()
	r := admin.Replacement{Name: name}
	in, err := inputs.Read(ctx, k.home, k.arguments.inForce())
	if err != nil {
		return nil, r, err
	}
	old := maps.Clone(in.Pins)
	if version == "" {
		delete(in.Pins, name)
	} else {
		pins, missing := in.Pins.Apply(in.Packages, map[string]string{name: version})
		if len(missing) > 0 {
			return nil, r, catalog.ErrUnknown.New("%s %s is not installed", name, version)
		}
		in.Pins = pins
	}
	if err := catalog.WritePins(k.home, in.Pins); err != nil {
		return nil, r, err
	}
	p, err := k.makePlan(ctx)
	if err != nil {
		if errors.Is(err, ErrRequired) {
			err = errors.Join(err, catalog.WritePins(k.home, old))
		}
		return nil, r, err
	}
	if why, ok := k.updates.of(name); ok {
		v, _ := k.reconciler.View(name)
		r.Outcome, r.From, r.To, r.Generation, r.Time, r.Cause = refused, v.Package.Version, why.version, v.Generation, v.Since, printed(why.cause)
		if version != "" {
			err = catalog.WritePins(k.home, old)
		}
		return nil, r, err
	}
	changes := plan.Diff(k.reconciler.Plan(), p)
	k.putInForce(p)
	return changes, r, nil
}

// replacement is one as the API shows it; nil stays nil.
func replacement(r *reconcile.Replacement) *admin.Replacement {
	if r == nil {
		return nil
	}
	out := &admin.Replacement{
		Outcome: string(r.Outcome), From: r.From, To: r.To, Generation: r.New, Time: r.At.UTC(), StallMs: float64(r.Stall.Microseconds()) / 1000, Cause: printed(r.Cause),
	}
	if r.Outcome == reconcile.RolledBack {
		out.Generation = r.Old
	}
	return out
}
