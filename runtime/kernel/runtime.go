package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// evidenceLines is how many lines of a component's log a diagnosis shows.
const evidenceLines = 10

// Kernel is the admin API's Runtime.
var _ admin.Runtime = (*Kernel)(nil)

// Status implements admin.Runtime.
func (k *Kernel) Status(context.Context) (admin.Status, error) {
	k.mu.Lock()
	state := k.state
	k.mu.Unlock()
	s := admin.Status{
		State: state, Profile: k.basis().resolution.Profile, GuardianPid: k.guardian.PID(), KernelPid: os.Getpid(), Since: k.started.UTC(),
		NodeID: k.nodeID, Version: k.options.Version, Home: k.home, PortOffset: k.basis().config.Server.PortOffset.V, Components: map[string]int{}, Causes: []admin.Cause{},
	}
	k.standing(&s)
	if k.deployer != nil {
		s.DeploymentPolling = k.deployer.Polling()
	}
	for _, v := range k.reconciler.Views() {
		c := k.line(v)
		s.Components[c.State]++
		if v.Planned != nil && v.Planned.Enabled && c.Cause != nil {
			s.Causes = append(s.Causes, *c.Cause)
		}
	}
	k.deployed(&s)
	return s, nil
}

// Components implements admin.Runtime.
func (k *Kernel) Components(context.Context) ([]admin.Component, error) {
	out := []admin.Component{}
	for _, v := range k.reconciler.Views() {
		if v.Planned != nil {
			out = append(out, k.line(v))
		}
	}
	return out, nil
}

// line is one component as `component ls` shows it.
func (k *Kernel) line(v reconcile.View) admin.Component {
	c := admin.Component{Name: v.Name, State: v.State.String(), Health: v.Health.String(), Pid: v.Pid, Restarts: v.Restarts, Cause: printed(v.Cause)}
	if v.Planned == nil {
		return c
	}
	c.Version = v.Package.Version
	if !v.Planned.Enabled {
		c.DisabledBy = v.Planned.Rule
		if !v.State.Live() {
			c.State = "DISABLED"
		}
	}
	if c.Cause == nil && v.State == component.Active {
		c.Cause = printed(v.HealthCause)
		if c.Cause == nil {
			c.Cause = printed(k.configCause(v))
		}
	}
	return c
}

func (k *Kernel) viewOf(name string) (reconcile.View, error) {
	v, ok := k.reconciler.View(name)
	if !ok || v.Planned == nil {
		return v, admin.ErrNoComponent.New("%s is not installed", name)
	}
	return v, nil
}

// Component implements admin.Runtime.
func (k *Kernel) Component(_ context.Context, name string) (admin.Component, error) {
	v, err := k.viewOf(name)
	if err != nil {
		return admin.Component{}, err
	}
	c := k.line(v)
	p := v.Package
	detail := &admin.ComponentDetail{
		Generation: v.Generation, Since: v.Since.UTC(), Package: p.Dir, Provides: []string{}, Requires: []admin.Reference{}, Deploys: []string{}, Verbs: []string{},
		Limits: []component.Measure{}, Confinement: []component.Measure{},
	}
	if i := k.host.instance(name); i != nil && v.Pid > 0 {
		detail.Limits, detail.Confinement = i.Limits(), i.Confinement()
	}
	if v.Last.Kind != component.ResultNone {
		detail.LastResult = v.Last.String()
	}
	detail.LastUpdate = replacement(v.Replacements.Last)
	c.Detail = detail
	d := p.Descriptor
	if d == nil {
		return c, nil
	}
	detail.Summary = d.Summary
	for _, f := range p.Files {
		if f.Path == d.Executable {
			detail.Digest = f.SHA256
		}
	}
	for _, s := range d.Provides {
		detail.Provides = append(detail.Provides, s.Service+" "+s.Version.String())
	}
	for _, q := range v.Planned.Requires {
		r := admin.Reference{
			Name: q.Name, Service: q.Service, Cardinality: q.Cardinality.String(), Minimum: q.Cardinality.Min, Policy: q.Policy(), Option: q.Option(),
			Filter: q.Filter.Text(), Bound: []string{},
		}
		if q.Versions != nil {
			r.Version = q.Versions.String()
		}
		for _, b := range v.Bindings {
			if b.Reference == q.Name {
				r.Bound = append(r.Bound, b.Provider)
				r.Suspended = r.Suspended || b.Suspended
			}
		}
		slices.Sort(r.Bound)
		detail.Requires = append(detail.Requires, r)
	}
	detail.Gates = gates(v)
	for _, x := range d.Deploys {
		detail.Deploys = append(detail.Deploys, x.Type+" "+x.Directory+"/*"+x.Suffix)
	}
	for _, x := range d.CLI {
		detail.Verbs = append(detail.Verbs, x.Verb)
	}
	if v.Planned.Config != nil {
		detail.Config = v.Planned.Config.Redacted
	}
	return c, nil
}

// History implements admin.Runtime.
func (k *Kernel) History(_ context.Context, name string, all bool) ([]admin.Transition, error) {
	if _, err := k.viewOf(name); err != nil {
		return nil, err
	}
	out := []admin.Transition{}
	for _, t := range k.history.of(name, all) {
		out = append(out, transition(t))
	}
	return out, nil
}

// Diag implements admin.Runtime.
func (k *Kernel) Diag(ctx context.Context, name string) (admin.Diagnosis, error) {
	v, err := k.viewOf(name)
	if err != nil {
		return admin.Diagnosis{}, err
	}
	c := k.line(v)
	c.Cause = k.freshCause(v, c.Cause)
	d := admin.Diagnosis{
		Name: name, State: c.State, Health: c.Health, Since: v.Since.UTC(), Profile: k.basis().resolution.Profile, DisabledBy: c.DisabledBy, Cause: c.Cause,
		Blocks: []string{}, Evidence: []string{},
	}
	if v.Last.Kind != component.ResultNone {
		d.LastResult = v.Last.String()
	}
	for _, other := range k.reconciler.Views() {
		if other.Planned == nil || other.Name == name {
			continue
		}
		for _, w := range other.Planned.Wires {
			if w.Provider == name && w.Cardinality[0] != '0' && other.State != component.Active && !slices.Contains(d.Blocks, other.Name) {
				d.Blocks = append(d.Blocks, other.Name)
			}
		}
	}
	d.Fix = d.Cause.FixText()
	if c.Cause != nil {
		var b strings.Builder
		if err := k.logs.copy(ctx, name, evidenceLines, false, &b); err == nil && b.Len() > 0 {
			d.Evidence = strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
		}
	}
	return d, nil
}

// Logs implements admin.Runtime.
func (k *Kernel) Logs(ctx context.Context, name string, n int, follow bool, w io.Writer) error {
	if name != "" {
		if _, err := k.viewOf(name); err != nil {
			return err
		}
	}
	return k.logs.copy(ctx, name, n, follow, w)
}

// Start implements admin.Runtime.
func (k *Kernel) Start(ctx context.Context, name, actor string) error {
	v, err := k.viewOf(name)
	if err != nil {
		return err
	}
	if !v.Planned.Runs {
		return admin.ErrRefused.Wrap(reasonOf(v), "%s can't be started", name)
	}
	return k.reconciler.Start(ctx, name, actor)
}

func reasonOf(v reconcile.View) error {
	if v.Cause == nil {
		return nil
	}
	return cause.FromProto(v.Cause.Proto(), codes.FailedPrecondition)
}

// Stop implements admin.Runtime.
func (k *Kernel) Stop(ctx context.Context, name, actor string) error {
	if _, err := k.viewOf(name); err != nil {
		return err
	}
	return k.reconciler.Stop(ctx, name, actor)
}

// Restart implements admin.Runtime.
func (k *Kernel) Restart(ctx context.Context, name, actor string, hard bool) error {
	v, err := k.viewOf(name)
	if err != nil {
		return err
	}
	if !v.Planned.Runs {
		return admin.ErrRefused.Wrap(reasonOf(v), "%s can't be restarted", name)
	}
	return k.reconciler.Restart(ctx, name, actor, hard)
}

// Disable implements admin.Runtime: a lasting rule, then the plan anew.
func (k *Kernel) Disable(ctx context.Context, name, actor string) error {
	if _, err := k.viewOf(name); err != nil {
		return err
	}
	if err := k.disable(ctx, name, actor); err != nil {
		return err
	}
	return k.replanFor(ctx, actor, "disable "+name)
}

// disable writes the rule, unless a required component couldn't run by it.
func (k *Kernel) disable(ctx context.Context, name, actor string) error {
	k.planning.Lock()
	defer k.planning.Unlock()
	t := target{Change: inputs.Change{By: actor, Disable: []string{name}}, args: k.arguments.inForce()}
	if _, _, err := k.planned(ctx, t); errors.Is(err, ErrRequired) {
		return err
	}
	return k.rules.Disable(name, actor, time.Now())
}

// Enable implements admin.Runtime.
func (k *Kernel) Enable(ctx context.Context, name, actor string) error {
	if _, err := k.viewOf(name); err != nil {
		return err
	}
	if _, err := k.rules.Enable(name); err != nil {
		return err
	}
	if err := k.replanFor(ctx, actor, "enable "+name); err != nil {
		return err
	}
	v, err := k.viewOf(name)
	if err != nil {
		return err
	}
	if !v.Planned.Enabled {
		return admin.ErrRefused.New("%s stays disabled by %s", name, v.Planned.Rule).Fix("The operator's rule is gone; the other one is decided by profile and flags at the server's start.")
	}
	return nil
}

// Services implements admin.Runtime.
func (k *Kernel) Services(context.Context) ([]admin.ServiceInfo, error) {
	out := []admin.ServiceInfo{}
	found := k.registry.Find(registry.Query{})
	slices.SortFunc(found, func(a, b registry.Service) int { return int(a.ID) - int(b.ID) })
	for _, s := range found {
		props := s.Properties
		if props == nil {
			props = map[string]string{}
		}
		users := k.reconciler.Users(s.ID)
		if users == nil {
			users = []string{}
		}
		out = append(out, admin.ServiceInfo{
			ID: s.ID, Service: s.Service, Version: s.Version.String(), Provider: s.Provider, Generation: s.Generation, Ranking: int32(s.Ranking),
			Exported: s.Exported, Properties: props, Users: users,
		})
	}
	return out, nil
}

// Plan implements admin.Runtime.
func (k *Kernel) Plan(context.Context) (json.RawMessage, error) {
	return json.Marshal(k.reconciler.Plan())
}

// Profile implements admin.Runtime.
func (k *Kernel) Profile(context.Context) (admin.Profile, error) {
	p := admin.Profile{Name: k.basis().resolution.Profile, Rules: []admin.ProfileRule{}}
	for _, c := range k.reconciler.Plan().Components {
		p.Rules = append(p.Rules, admin.ProfileRule{Component: c.Name, Enabled: c.Enabled, Rule: c.Rule})
	}
	slices.SortFunc(p.Rules, func(a, b admin.ProfileRule) int { return strings.Compare(a.Component, b.Component) })
	return p, nil
}

// Listeners implements admin.Runtime.
func (k *Kernel) Listeners(context.Context) (map[string]string, error) {
	out := k.host.listeners()
	for name, address := range k.doors {
		out[name] = address
	}
	return out, nil
}

// Events implements admin.Runtime.
func (k *Kernel) Events(ctx context.Context) (<-chan admin.Event, error) {
	return k.events.subscribe(ctx), nil
}
