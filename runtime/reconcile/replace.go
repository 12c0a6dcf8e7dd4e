package reconcile

import (
	"context"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// Kinds of error of a replacement.
var (
	ErrRolledBack = cause.Define("CBN-SUP-110", "A component's new process could not take over; the old one serves on.",
		"See the reason; mend the package or the configuration, then `carbonado component update NAME`.").Code(codes.FailedPrecondition)
	ErrLate = cause.Define("CBN-SUP-112", "A component was not ready in time and was killed.", "See its log; where it needs longer, give it another `startTimeout` in component.yaml.")
	ErrSick = cause.Define("CBN-SUP-111", "A component's new process says itself that it can't serve.", "See its log: `carbonado component logs NAME`.")
)

// Outcome is what became of a replacement.
type Outcome string

const (
	// Updated: the new process serves.
	Updated Outcome = "UPDATED"
	// RolledBack: it failed, and what served before serves on or again.
	RolledBack Outcome = "ROLLED_BACK"
)

// Replacement is one replacement of a component's process by another beside it: an update, or a restart.
type Replacement struct {
	Outcome Outcome
	// From and To are package versions, the same in a restart. Digest is the new package's, empty in a restart.
	From, To, Digest string
	// Old and New are the processes' generations.
	Old, New uint64
	Actor    string
	At       time.Time
	// Stall is how long calls had to wait: from the suspension of the references to their renewal.
	Stall time.Duration
	// Cause says why it was rolled back; nil otherwise.
	Cause *component.Cause
}

// Update tells whether the package changed.
func (r Replacement) Update() bool { return r.Digest != "" || r.From != r.To }

// Replacements is what a unit remembers of them.
type Replacements struct {
	// Count of this kernel run, failures included.
	Count int
	// Last is the newest; nil if there was none.
	Last *Replacement
	// failed is the digest of a package that was rolled back: it is not tried again by itself. fallback is what is run instead, and why
	// says why.
	failed   string
	fallback *plan.Component
	why      *component.Cause
}

// forget lets a package that was rolled back be tried again.
func (r *Replacements) forget() { r.failed, r.fallback, r.why = "", nil, nil }

// Restart replaces the component's process by a new one beside it; consumers keep their references, suspended for a moment. hard kills
// the old one first. It returns when the new one serves, or with the reason why the old one still does.
func (r *Reconciler) Restart(ctx context.Context, name, actor string, hard bool) error {
	return r.replaceAndWait(ctx, name, order{kind: orderRestart, actor: actor, hard: hard})
}

// Update makes the component's process be of the package that the plan in force names, also where that was tried and rolled back
// before. Apply the plan first. It returns when the new one serves, or with the reason why it does not.
func (r *Reconciler) Update(ctx context.Context, name, actor string) error {
	return r.replaceAndWait(ctx, name, order{kind: orderUpdate, actor: actor})
}

func (r *Reconciler) replaceAndWait(ctx context.Context, name string, o order) error {
	u := r.unit(name)
	if u == nil {
		return ErrUnknown.New("component %s", name)
	}
	before := u.view()
	if o.kind == orderUpdate {
		u.retry(r.Plan().Find(name))
	}
	return r.ask(ctx, name, func(u *unit) { u.request(o) }, func(v View) (bool, error) {
		last := v.Replacements.Last
		switch {
		case v.Replacements.Count > before.Replacements.Count && last.Outcome == NotTaken:
			return true, asError(last.Cause)
		case v.Replacements.Count > before.Replacements.Count && last.Outcome == RolledBack:
			return true, ErrRolledBack.Wrap(asError(last.Cause), "%s %s was not replaced by %s", name, last.From, last.To)
		case v.State == component.Active && (v.Generation > before.Generation || o.kind == orderUpdate && v.Settled && u.current()):
			return true, nil
		case v.Settled && v.State != component.Active && v.Cause != nil:
			return true, asError(v.Cause)
		}
		return false, nil
	})
}

// outdated says why the serving process is to be replaced, and who asked for it; no reason if it is not.
func (u *unit) outdated(o order) (reason, actor string) {
	if o.kind == orderRestart {
		return "restart", o.actor
	}
	if u.current() {
		return "", ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	actor = o.actor
	if actor == "" {
		actor = "kernel"
	}
	if same(u.running, u.planned) {
		return "its configuration changed (" + strings.Join(config.Changed(u.running.Config, u.planned.Config), ", ") + ")", actor
	}
	return "update to " + u.planned.Package.Version, actor
}

// current tells whether the serving process is of the package and has the configuration that are planned.
func (u *unit) current() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.planned == nil || u.running == nil || same(u.running, u.planned) && sameConfig(u.running, u.planned)
}

func same(a, b *plan.Component) bool {
	return a.Package.Digest == b.Package.Digest && a.Package.Version == b.Package.Version
}

// keep puts the package that served before in the place of one that was rolled back. Called under mu.
func (u *unit) keep(c *plan.Component) *plan.Component {
	if c == nil || u.history.fallback == nil || c.Package.Digest != u.history.failed {
		return c
	}
	kept := *c
	f := u.history.fallback
	kept.Package, kept.Config, kept.Requires, kept.References = f.Package, f.Config, f.Requires, f.References
	return &kept
}

// retry lets a package that was rolled back be tried again.
func (u *unit) retry(c *plan.Component) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.history.forget()
	u.unfit = nil
	if c != nil && c.Installed {
		u.planned = c
	}
}

// renewed tells whether a unit that failed has another package or configuration now.
func (u *unit) renewed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.planned != nil && u.planned.Runs && u.running != nil && !(same(u.running, u.planned) && sameConfig(u.running, u.planned))
}

// note keeps what became of a replacement; the function that it gives tells it. Called under mu.
func (u *unit) note(r Replacement) (tell func()) {
	r.At = time.Now()
	u.history.Count++
	u.history.Last = &r
	return func() {
		u.r.Notify(Event{Component: u.name, Replaced: &r, Cause: r.Cause})
		u.r.touch()
	}
}

// tellAll waits until every consumer has heard of the registry's changes so far, or for tellDeadline.
func (r *Reconciler) tellAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tellDeadline)
	defer cancel()
	for _, w := range r.wirings.list() {
		if err := w.told(ctx); err != nil {
			r.Log.Warn("a consumer was not told in time that its provider is being replaced", "consumer", w.name)
		}
	}
}
