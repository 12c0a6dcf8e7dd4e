package reconcile

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// ErrNotTaken is the kind of a configuration that a component did not take.
var ErrNotTaken = cause.Define("CBN-SUP-160", "A component does not take its new configuration; the old one stays in force.",
	"See the reason; correct repository/conf/components/<Name>.yaml, or `carbonado component update NAME` to try once more.").Code(codes.FailedPrecondition)

const (
	// Modified: the serving process took another configuration.
	Modified Outcome = "MODIFIED"
	// NotTaken: it refused, and goes on with the one that it has.
	NotTaken Outcome = "NOT_TAKEN"
)

// ableModified is the ability of a component's SDK to take another configuration while it serves.
const ableModified = "modified"

// modifyTimeout bounds Modified.
const modifyTimeout = 10 * time.Second

// unfit is a configuration that a component did not take, by its digest and the package's, with what holds instead and why.
type unfit struct {
	digest, of string
	kept       *config.Component
	cause      *component.Cause
}

// sameConfig tells whether two plans give a component the same configuration.
func sameConfig(a, b *plan.Component) bool { return configDigest(a) == configDigest(b) }

func configDigest(c *plan.Component) string {
	if c.Config == nil {
		return ""
	}
	return c.Config.Digest
}

// withConfig is a planned component with another configuration.
func withConfig(c *plan.Component, conf *config.Component) *plan.Component {
	out := *c
	out.Config = conf
	return &out
}

// modify gives the serving process its new configuration where it takes it in place. Otherwise, false: a new process is due, or nothing.
func (u *unit) modify(ctx context.Context, o order) bool {
	u.mu.Lock()
	next, running := u.planned, u.running
	due := next != nil && running != nil && same(running, next) && !sameConfig(running, next) && o.kind != orderRestart
	u.mu.Unlock()
	if !due || !u.able(ableModified) || next.Config == nil || !next.Package.Descriptor.InPlace(config.Changed(running.Config, next.Config)) {
		return false
	}
	actor := o.actor
	if actor == "" {
		actor = KernelName
	}
	keys := strings.Join(config.Changed(running.Config, next.Config), ", ")
	err := within(ctx, modifyTimeout, func(ctx context.Context) error {
		_, err := u.process.Component().Modified(ctx, &controlv1.ModifiedRequest{ConfigJson: next.Config.JSON})
		return err
	})
	switch status.Code(err) {
	case codes.Unimplemented, codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return false // what it has now is not known: a new process has the new one
	}
	r := Replacement{Outcome: Modified, From: running.Package.Version, To: running.Package.Version, Old: u.generation(), New: u.generation(), Actor: actor}
	u.mu.Lock()
	if err == nil {
		u.running = withConfig(running, next.Config)
		u.body.planned = withConfig(u.body.planned, next.Config)
	} else {
		r.Outcome = NotTaken
		r.Cause = component.CauseOf(ErrNotTaken.Wrap(err, "%s refuses its new configuration (%s)", u.name, keys))
		u.reject(next.Config.Digest, running.Config, r.Cause)
	}
	told := u.note(r)
	u.mu.Unlock()
	told()
	if err == nil {
		u.r.Log.Info("configuration changed in place", "component", u.name, "keys", keys)
	} else {
		u.r.Log.Warn("a new configuration is not taken", "component", u.name, "cause", r.Cause.Text)
	}
	return true
}

// reject keeps a configuration from being tried again by itself: kept holds in its place. Called under mu.
func (u *unit) reject(digest string, kept *config.Component, why *component.Cause) {
	u.unfit = &unfit{digest: digest, of: u.running.Package.Digest, kept: kept, cause: why.For(u.name)}
	u.planned = u.keepConfig(u.planned)
}

// keepConfig puts the configuration that holds in the place of one that was refused, as long as the plan has that one. Called under mu.
func (u *unit) keepConfig(c *plan.Component) *plan.Component {
	switch {
	case u.unfit == nil || c == nil:
		return c
	case c.Package.Digest != u.unfit.of: // another package may take it
		u.unfit = nil
	case configDigest(c) == u.unfit.digest:
		return withConfig(c, u.unfit.kept)
	case c.Config != u.unfit.kept:
		u.unfit = nil
	}
	return c
}
