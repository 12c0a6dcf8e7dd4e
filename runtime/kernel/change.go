package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/carbonado/runtime/reconcile"
)

var _ admin.Changing = (*Kernel)(nil)

// plansKept is how many planned changes can be applied by their ID alone.
const plansKept = 64

// target is a change of the desired state, worked out from a request.
type target struct {
	inputs.Change
	args  []string
	paths []string
	what  string
}

// target reads a request against the installation as it is.
func (k *Kernel) target(ctx context.Context, r admin.ChangeRequest, actor string) (target, error) {
	t := target{Change: inputs.Change{By: actor}, args: k.arguments.inForce()}
	if r.Rollback != 0 {
		if len(r.Arguments)+len(r.Disable)+len(r.Enable)+len(r.Packages) > 0 {
			return t, admin.ErrInput.New("a rollback takes nothing else")
		}
		rules, err := k.rules.List()
		if err != nil {
			return t, err
		}
		return t, t.backTo(r.Rollback, k.deployments.all(), rules)
	}
	var what []string
	if len(r.Arguments) > 0 {
		var err error
		if t.args, err = merge(k.home, t.args, r.Arguments); err != nil {
			return t, err
		}
		what = append(what, strings.Join(r.Arguments, " "))
	}
	for _, name := range r.Disable {
		what = append(what, "disable "+name)
	}
	for _, name := range r.Enable {
		what = append(what, "enable "+name)
	}
	for _, name := range slices.Concat(r.Disable, r.Enable) {
		if _, err := k.viewOf(name); err != nil {
			return t, err
		}
	}
	t.Disable, t.Enable = r.Disable, r.Enable
	for _, path := range r.Packages {
		if !filepath.IsAbs(path) {
			return t, admin.ErrInput.New("the path %s is not absolute", path)
		}
		p, err := catalog.Peek(ctx, path)
		if err != nil {
			return t, err
		}
		t.Packages, t.paths = append(t.Packages, p), append(t.paths, path)
		what = append(what, "install "+p.Name+" "+p.Version)
	}
	if t.what = strings.Join(what, ", "); t.what == "" {
		t.what = asItLies
	}
	return t, nil
}

// asItLies is what is asked for where nobody asked for anything in particular.
const asItLies = "packages and configuration as they lie in the installation"

// backTo makes the desired state of an entry of the history the target, where these rules are in force.
func (t *target) backTo(number int, list []admin.Deployment, have []profile.Rule) error {
	if number == -1 {
		if len(list) < 2 {
			return admin.ErrNoDeployment.New("there is nothing before the last change")
		}
		number = list[len(list)-2].Number
	}
	i := slices.IndexFunc(list, func(d admin.Deployment) bool { return d.Number == number })
	if i < 0 {
		return admin.ErrNoDeployment.New("entry %d", number)
	}
	want := list[i].Desired
	for _, r := range have {
		if !slices.Contains(want.Disabled, r.Component) {
			t.Enable = append(t.Enable, r.Component)
		}
	}
	for _, name := range want.Disabled {
		if !slices.ContainsFunc(have, func(r profile.Rule) bool { return r.Component == name }) {
			t.Disable = append(t.Disable, name)
		}
	}
	t.args, t.Versions, t.what = want.Arguments, want.Packages, fmt.Sprintf("back to %d (%s)", number, list[i].What)
	return nil
}

// merge lays arguments over those in force: a profile takes the place of the profile, a definition that of the same name.
func merge(home string, have, with []string) ([]string, error) {
	set, err := profile.Load(home)
	if err != nil {
		return nil, err
	}
	a, _, err := set.ParseArgs(have)
	if err != nil {
		return nil, err
	}
	b, rest, err := set.ParseArgs(with)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, profile.ErrUsage.New("argument %q is not known", rest[0])
	}
	if b.Profile == "" {
		b.Profile = a.Profile
	}
	var out []string
	if b.Profile != "" {
		out = append(out, "--profile="+b.Profile)
	}
	for _, d := range a.Defines {
		if !slices.ContainsFunc(b.Defines, func(x profile.Define) bool { return x.Name == d.Name }) {
			out = append(out, d.String())
		}
	}
	for _, d := range b.Defines {
		out = append(out, d.String())
	}
	return out, nil
}

// planned works out what a target comes to.
func (k *Kernel) planned(ctx context.Context, t target) (admin.PlannedChange, *inputs.Inputs, error) {
	in, err := inputs.ReadChanged(ctx, k.home, t.args, t.Change)
	if err != nil {
		return admin.PlannedChange{}, nil, err
	}
	if len(in.Rest) > 0 {
		return admin.PlannedChange{}, nil, profile.ErrUsage.New("argument %q is not known", in.Rest[0])
	}
	from, to := k.reconciler.Plan(), k.settleOn(in)
	if err := requiredRun(to); err != nil {
		return admin.PlannedChange{}, nil, err
	}
	c := admin.PlannedChange{ID: plan.ID(from, to), Changes: plan.Diff(from, to), Notices: []string{}}
	if c.Components, err = json.Marshal(to.Components); err != nil {
		return c, nil, err
	}
	for _, m := range in.Missing {
		c.Notices = append(c.Notices, m+" is no longer installed: the version that is stays")
	}
	if t.Versions != nil {
		for _, p := range catalog.Choose(in.Packages) {
			if t.Versions[p.Name] == "" {
				c.Notices = append(c.Notices, p.Name+" was not installed then: it stays")
			}
		}
	}
	c.Notices = append(append(c.Notices, k.updates.refusals()...), k.configs.notices()...)
	for _, x := range fixed(k.basis().resolution.Properties, in.Resolution.Properties) {
		c.Notices = append(c.Notices, x+": only a new start of the server changes this")
	}
	return c, in, nil
}

// fixed lists which properties would be others, which can't be while the server runs.
func fixed(now, then map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(then)) {
		if v, ok := now[name]; !ok || v != then[name] {
			out = append(out, "-D"+name+"="+then[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, ok := then[name]; !ok {
			out = append(out, "without -D"+name)
		}
	}
	return out
}

// PlanChange implements admin.Changing.
func (k *Kernel) PlanChange(ctx context.Context, r admin.ChangeRequest, actor string) (admin.PlannedChange, error) {
	k.planning.Lock()
	defer k.planning.Unlock()
	t, err := k.target(ctx, r, actor)
	if err != nil {
		return admin.PlannedChange{}, err
	}
	c, _, err := k.planned(ctx, t)
	if err == nil {
		if len(k.plans) >= plansKept {
			clear(k.plans)
		}
		r.ID = c.ID
		k.plans[c.ID] = r
	}
	return c, err
}

// ApplyChange implements admin.Changing.
func (k *Kernel) ApplyChange(ctx context.Context, r admin.ChangeRequest, actor string) (admin.PlannedChange, error) {
	c, t, err := k.change(ctx, r, actor)
	if err != nil {
		return c, err
	}
	err = k.carryOut(ctx, c.Changes, actor)
	outcome := "done"
	if err != nil {
		outcome = err.Error()
	}
	c.Number = k.deployments.record(actor, t.what, c.Changes, outcome, k.desired())
	return c, err
}

// asPlanned is the request that was planned under an ID, where one asks for no more than that ID.
func asPlanned(plans map[string]admin.ChangeRequest, r admin.ChangeRequest) admin.ChangeRequest {
	if known, ok := plans[r.ID]; ok && len(r.Arguments)+len(r.Disable)+len(r.Enable)+len(r.Packages) == 0 && r.Rollback == 0 {
		return known
	}
	return r
}

// change makes a change the desired state, under the lock of plans.
func (k *Kernel) change(ctx context.Context, r admin.ChangeRequest, actor string) (admin.PlannedChange, target, error) {
	k.planning.Lock()
	defer k.planning.Unlock()
	r = asPlanned(k.plans, r)
	t, err := k.target(ctx, r, actor)
	if err != nil {
		return admin.PlannedChange{}, t, err
	}
	c, in, err := k.planned(ctx, t)
	if err != nil {
		return c, t, err
	}
	if r.ID != "" && r.ID != c.ID {
		return c, t, admin.ErrMoved.New("planned was %s, now it would be %s", r.ID, c.ID)
	}
	if others := fixed(k.basis().resolution.Properties, in.Resolution.Properties); len(others) > 0 {
		return c, t, admin.ErrArguments.New("%s", strings.Join(others, ", "))
	}
	if err := k.install(ctx, t.paths); err != nil {
		return c, t, err
	}
	if err := errors.Join(k.write(t, in, actor)...); err != nil {
		return c, t, err
	}
	p, err := k.makePlan(ctx)
	if err != nil {
		return c, t, err
	}
	k.putInForce(p)
	return c, t, nil
}

// install installs packages; where one can't be, those before it are taken away again unless they were there.
func (k *Kernel) install(ctx context.Context, paths []string) error {
	var undo []*catalog.Package
	for _, path := range paths {
		d, err := catalog.Peek(ctx, path)
		there := false
		if err == nil {
			_, gerr := k.basis().catalog.Get(d.Name, d.Version)
			there = gerr == nil
			_, err = k.basis().catalog.InstallPath(ctx, path, false)
		}
		if err != nil {
			for _, p := range undo {
				err = errors.Join(err, k.basis().catalog.Uninstall(p.Name, p.Version))
			}
			return err
		}
		if !there {
			undo = append(undo, d)
		}
	}
	return nil
}

// write puts rules, versions and arguments on disk.
func (k *Kernel) write(t target, in *inputs.Inputs, actor string) []error {
	var errs []error
	for _, name := range t.Disable {
		errs = append(errs, k.rules.Disable(name, actor, time.Now()))
	}
	for _, name := range t.Enable {
		_, err := k.rules.Enable(name)
		errs = append(errs, err)
	}
	if t.Versions != nil {
		errs = append(errs, catalog.WritePins(k.home, in.Pins))
	}
	if !slices.Equal(t.args, k.arguments.inForce()) {
		errs = append(errs, k.arguments.set(t.args, k.guardian.PID()))
	}
	return errs
}

// consequences says which components changes are to update, and which have to run in the end.
func consequences(changes []plan.Change, view func(name string) (reconcile.View, bool)) (updated []string, wanted map[string]bool) {
	wanted = map[string]bool{}
	for _, c := range changes {
		switch c.Kind {
		case plan.Start:
			wanted[c.Component] = true
		case plan.Update, plan.Restart, plan.Modify:
			if v, ok := view(c.Component); ok && v.Planned != nil && v.Planned.Runs && v.State == component.Active {
				wanted[c.Component] = true
				updated = append(updated, c.Component)
			}
		}
	}
	return updated, wanted
}

// carryOut brings about what a new plan does not by itself, and waits until all has settled.
func (k *Kernel) carryOut(ctx context.Context, changes []plan.Change, actor string) error {
	var errs []error
	updated, wanted := consequences(changes, k.reconciler.View)
	for _, name := range updated {
		errs = append(errs, k.reconciler.Update(ctx, name, actor))
	}
	if err := k.reconciler.WaitSettled(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, v := range k.reconciler.Views() {
		if wanted[v.Name] && v.State != component.Active {
			errs = append(errs, admin.ErrUnapplied.Wrap(reasonOf(v), "%s is %s", v.Name, v.State))
		}
	}
	return errors.Join(errs...)
}

// Deployments implements admin.Changing.
func (k *Kernel) Deployments(context.Context) ([]admin.Deployment, error) {
	return k.deployments.all(), nil
}

// desired is the desired state in force.
func (k *Kernel) desired() admin.Desired {
	d := admin.Desired{Profile: k.basis().resolution.Profile, Arguments: k.arguments.inForce(), Disabled: []string{}, Packages: map[string]string{}, Digests: map[string]string{}}
	if d.Arguments == nil {
		d.Arguments = []string{}
	}
	if rules, err := k.rules.List(); err == nil {
		for _, r := range rules {
			d.Disabled = append(d.Disabled, r.Component)
		}
	}
	for _, c := range k.reconciler.Plan().Components {
		if c.Package != nil {
			d.Packages[c.Name], d.Digests[c.Name] = c.Package.Version, c.Package.Digest
		}
	}
	return d
}

// replanFor makes what lies in the installation the desired state; actor and what stand in its history.
func (k *Kernel) replanFor(ctx context.Context, actor, what string) error {
	changes, err := func() ([]plan.Change, error) {
		k.planning.Lock()
		defer k.planning.Unlock()
		p, err := k.makePlan(ctx)
		if err != nil {
			return nil, err
		}
		changes := plan.Diff(k.reconciler.Plan(), p)
		k.putInForce(p)
		return changes, nil
	}()
	if err != nil {
		return err
	}
	err = k.reconciler.WaitSettled(ctx)
	outcome := "done"
	if err != nil {
		outcome = err.Error()
	}
	if len(changes) > 0 || actor != reconcile.KernelName { // what the kernel finds unchanged is somebody's change, who records it
		k.deployments.record(actor, what, changes, outcome, k.desired())
	}
	return err
}
