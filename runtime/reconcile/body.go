package reconcile

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// republish is how long a new process has to publish again what it publishes only when it has its artifacts; what is suspended until
// then goes for good.
const republish = 10 * time.Second

// Abilities of a component's SDK (ConfigureResponse.abilities).
const (
	ableReacquire = "reacquire"
	ableHandover  = "handover"
)

// body is one process of a unit and what hangs on it. A unit has the serving one and, while it is being replaced, a second. It
// belongs to the unit's goroutine.
type body struct {
	planned   *plan.Component // what it was started from
	process   Process
	wiring    *wiring
	address   string // of its service socket
	abilities []string
	unwatch   context.CancelFunc
	watchDone chan struct{}
}

func (b *body) able(ability string) bool { return slices.Contains(b.abilities, ability) }

// stopWatching ends the following of the process's registrations and health.
func (b *body) stopWatching() {
	if b.unwatch != nil {
		b.unwatch()
		<-b.watchDone
		b.unwatch = nil
	}
}

// close lets go of what hangs on a process.
func (b *body) close() {
	b.stopWatching()
	if b.wiring != nil {
		b.wiring.close()
		b.wiring = nil
	}
}

// prepare takes a launched process to where Acquire is due. wired is told its references before they are waited for.
func (u *unit) prepare(ctx context.Context, b *body, wired func(*wiring)) error {
	conf, err := u.r.Host.Configuration(b.planned, b.process)
	if err != nil {
		return err
	}
	client := b.process.Component()
	if err := within(ctx, ConfigureTimeout, func(ctx context.Context) error {
		resp, err := client.Configure(ctx, conf)
		b.address, b.abilities = resp.GetServiceAddress(), resp.GetAbilities()
		return err
	}); err != nil {
		return err
	}
	b.wiring = u.r.wire(u, b.process, b.planned)
	wired(b.wiring)
	if err := b.wiring.ready(ctx); err != nil {
		return err
	}
	b.wiring.freeze()
	return within(ctx, PrepareTimeout, func(ctx context.Context) error {
		_, err := client.Prepare(ctx, &controlv1.PrepareRequest{})
		return err
	})
}

// acquire lets a process take its exclusive resources. handover is where its predecessor hands connections over; empty is nowhere.
func (u *unit) acquire(ctx context.Context, b *body, handover string) error {
	return within(ctx, AcquireTimeout, func(ctx context.Context) error {
		_, err := b.process.Component().Acquire(ctx, &controlv1.AcquireRequest{HandoverAddress: handover})
		return err
	})
}

// watch follows a process's registrations and health, and returns when the first picture is complete and published. check, if not
// nil, may refuse the process by its health: then nothing was published. What follows wakes the unit, and so does the process's end.
func (u *unit) watch(ctx context.Context, b *body, check func(*controlv1.HealthChanged) error) error {
	watchCtx, unwatch := context.WithCancel(context.Background())
	stream, err := b.process.Component().Watch(watchCtx, &controlv1.WatchRequest{})
	if err != nil {
		unwatch()
		return err
	}
	follower := &follower{u: u, process: b.process, address: b.address, d: b.planned.Package.Descriptor}
	late, off := time.AfterFunc(callTimeout, unwatch), context.AfterFunc(ctx, unwatch)
	err = follower.first(stream.Recv, check)
	switch { // what ended it, where something did
	case !off():
		err = ctx.Err()
	case !late.Stop():
		err = context.DeadlineExceeded
	}
	if err != nil {
		late.Stop()
		unwatch()
		return err
	}
	b.unwatch, b.watchDone = unwatch, make(chan struct{})
	go func() {
		defer close(b.watchDone)
		for {
			ev, err := stream.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) && watchCtx.Err() == nil {
					u.kick()
				}
				break
			}
			follower.event(ev)
		}
		select {
		case <-follower.process.Done():
			u.kick()
		case <-watchCtx.Done():
		}
	}()
	u.settle(b)
	return nil
}

// follower turns one process's events into registrations.
type follower struct {
	u       *unit
	process Process
	address string
	d       *component.Descriptor
}

// first takes the present state, up to Synced, and publishes it as a whole.
func (f *follower) first(recv func() (*controlv1.ComponentEvent, error), check func(*controlv1.HealthChanged) error) error {
	var all []*controlv1.ComponentEvent
	for {
		ev, err := recv()
		if err != nil {
			return err
		}
		if ev.GetSynced() != nil {
			break
		}
		all = append(all, ev)
		if h := ev.GetHealth(); h != nil && check != nil {
			if err := check(h); err != nil {
				return err
			}
		}
	}
	for _, ev := range all {
		f.event(ev)
	}
	return nil
}

func (f *follower) event(ev *controlv1.ComponentEvent) {
	switch e := ev.Event.(type) {
	case *controlv1.ComponentEvent_Health:
		f.u.reported(e.Health)
	case *controlv1.ComponentEvent_Published:
		f.u.published(e.Published, f.process, f.address, f.d)
	case *controlv1.ComponentEvent_Withdrawn:
		f.u.withdrawn(e.Withdrawn.LocalId, f.process.Generation())
	}
}

// settle ends the suspension of what an earlier process had published and this one has not: at once, or, where it publishes by its
// artifacts, when it has had time to get them. Consumers' calls and events wait meanwhile.
func (u *unit) settle(b *body) {
	d := b.planned.Package.Descriptor
	dynamic := slices.ContainsFunc(d.Provides, func(p component.Provide) bool { return p.Dynamic })
	if dynamic && len(d.Deploys) > 0 {
		u.settleAt = time.Now().Add(republish)
		return
	}
	u.settleAt = time.Time{}
	u.r.Registry.Settle(u.name, b.process.Generation())
}

// settleLate does what settle left for later, and says when to look again; 0 is never.
func (u *unit) settleLate() time.Duration {
	if u.settleAt.IsZero() || u.process == nil {
		return 0
	}
	if left := time.Until(u.settleAt); left > 0 {
		return left
	}
	u.settleAt = time.Time{}
	u.r.Registry.Settle(u.name, u.process.Generation())
	return 0
}

// late tells whether an error is a deadline that passed, here or at the other end of a call.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}
