package component

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	"carbonado.dev/sdk/service"
)

// phase is where a component stands in its life cycle.
type phase int

const (
	phaseNew phase = iota
	phaseConfigured
	phasePrepared
	phaseAcquired
	phaseDrained
	phaseReleased
	phaseStopped
)

// Control is the component's end of the control connection. Main serves it; sdktest and other hosts may too.
type Control struct {
	controlv1.UnimplementedComponentServer
	controlv1.UnimplementedDeployerServer

	spec Spec
	desc *Descriptor
	c    *C
	// svc is made by Configure, which comes before every call that uses it.
	svc *serviceServer
	// configured is closed when svc and c.cfg are set.
	configured chan struct{}
	// exit ends the process after Stop was answered.
	exit func()

	// mu serialises life-cycle calls and guards the fields below.
	mu    sync.Mutex
	phase phase
	// reached is the phase up to which the component had come when it began to end: calls of later ones are refused then.
	reached phase
	// offer is what Release began for a successor; nil if nothing.
	offer *handoverServer
}

// Descriptor is what Control checks registrations against; it is read from component.yaml by Main.
type Descriptor struct {
	Name     string     `yaml:"name"`
	Version  string     `yaml:"version"`
	Provides []Provided `yaml:"provides"`
}

// Provided is an entry of `provides`.
type Provided struct {
	Service    string            `yaml:"service" json:"service"`
	Version    string            `yaml:"version" json:"version"`
	Contract   string            `yaml:"contract" json:"contract,omitempty"`
	Properties map[string]string `yaml:"properties" json:"properties,omitempty"`
	Dynamic    bool              `yaml:"dynamic" json:"dynamic,omitempty"`
	Exported   bool              `yaml:"exported" json:"exported,omitempty"`
}

// Host is what a process offers to the component in it. Main offers a process of the kernel's; sdktest offers a test.
type Host struct {
	Log hclog.Logger
	// Listener opens an inherited descriptor.
	Listener func(fd int) (net.Listener, error)
	// Exit is called when Stop has been done, to end the process.
	Exit func()
}

// NewControl makes a component that waits for Configure. desc may be nil: then registrations are not checked.
func NewControl(spec Spec, desc *Descriptor, host Host) *Control {
	return &Control{spec: spec, desc: desc, c: newC(host.Log, host.Listener), exit: host.Exit, configured: make(chan struct{})}
}

// Register adds the control services to the control server.
func (s *Control) Register(r grpc.ServiceRegistrar) {
	controlv1.RegisterComponentServer(r, s)
	controlv1.RegisterDeployerServer(r, s)
	diagv1.RegisterDiagnosticsServer(r, &diagnostics{c: s.c})
}

// step runs f if the component is in phase `from`; if it is past it already, the call is a repeat and does nothing.
func (s *Control) step(name string, from, to phase, f func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == phaseStopped:
		return ErrPhase.New("%s after Stop", name)
	case s.phase >= phaseDrained && s.reached < to: // what a start that was called off still asks for
		return ErrPhase.New("%s after Drain", name)
	}
	if s.phase >= to {
		return nil
	}
	if s.phase < from {
		return ErrPhase.New("%s in phase %d", name, s.phase)
	}
	defer func() {
		if r := recover(); r != nil {
			s.c.log.Error("panic", "in", name, "value", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = service.ErrPanic.New("%s of %s: %v", name, s.c.cfg.GetName(), r)
		}
	}()
	if err := f(); err != nil {
		return cause.From(err)
	}
	s.phase, s.reached = to, to
	return nil
}

// abilities of this SDK beyond the control protocol's major version.
var abilities = []string{"replay", "reacquire", "handover", "takeover", "modified"}

// Configure implements controlv1.ComponentServer.
func (s *Control) Configure(_ context.Context, req *controlv1.ConfigureRequest) (*controlv1.ConfigureResponse, error) {
	err := s.step("Configure", phaseNew, phaseConfigured, func() error {
		s.c.cfg = req
		if req.Tls != nil {
			pair, err := tlsFrom(req.Tls)
			if s.c.tlsConfig = pair; err != nil {
				return err
			}
		}
		var err error
		if s.svc, err = newServiceServer(s.c, s.desc); err != nil {
			return err
		}
		close(s.configured)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &controlv1.ConfigureResponse{ServiceAddress: s.svc.Address(), Abilities: abilities}, nil
}

// Prepare implements controlv1.ComponentServer.
func (s *Control) Prepare(ctx context.Context, _ *controlv1.PrepareRequest) (*controlv1.PrepareResponse, error) {
	return &controlv1.PrepareResponse{}, s.step("Prepare", phaseConfigured, phasePrepared, func() error {
		if err := s.spec.Start(s.c); err != nil {
			return err
		}
		s.c.mu.Lock()
		s.c.sealed = true
		managed := slices.Clone(s.c.managed)
		s.c.mu.Unlock()
		for _, m := range managed {
			if p, ok := m.(Preparer); ok {
				if err := p.Prepare(ctx); err != nil {
					return err
				}
			}
		}
		return s.svc.start()
	})
}

// Acquire implements controlv1.ComponentServer. After Drain and Release it makes the component serve again.
func (s *Control) Acquire(ctx context.Context, req *controlv1.AcquireRequest) (*controlv1.AcquireResponse, error) {
	back := s.again()
	return &controlv1.AcquireResponse{}, s.step("Acquire", phasePrepared, phaseAcquired, func() error {
		for _, m := range s.c.managedObjects() {
			if a, ok := m.(Acquirer); ok {
				if err := a.Acquire(ctx); err != nil {
					return err
				}
			}
		}
		s.c.take(back)
		if req.HandoverAddress != "" {
			// What the predecessor can't hand over it closes at its end.
			if err := s.c.takeOver(ctx, req.HandoverAddress); err != nil {
				s.c.log.Warn("connections were not handed over", "error", err)
			}
		}
		if err := s.svc.publishStatic(); err != nil {
			return err
		}
		s.c.events.mu.Lock()
		unknown := s.c.events.health.Health == controlv1.Health_HEALTH_UNKNOWN
		s.c.events.mu.Unlock()
		if unknown {
			s.c.SetHealth(OK, nil)
		}
		return nil
	})
}

// again takes a component that was drained or released back to where Acquire is due. It gives what no successor took.
func (s *Control) again() []handed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseDrained && s.phase != phaseReleased || s.reached < phasePrepared {
		return nil
	}
	s.phase, s.reached = phasePrepared, phasePrepared
	s.c.replaced.Store(false)
	s.svc.Resume()
	if s.offer == nil {
		return nil
	}
	back := s.offer.back()
	s.offer = nil
	return back
}

func (c *C) managedObjects() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.managed)
}

// backwards runs f for all managed objects in reverse order and joins the errors: going down never stops half-way.
func (s *Control) backwards(f func(any) error) error {
	var errs []error
	for _, m := range slices.Backward(s.c.managedObjects()) {
		if err := f(m); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// down is step for the phases that end a component: they may be called from any earlier phase, and count as done even on an error.
func (s *Control) down(name string, to phase, f func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase >= to {
		return nil
	}
	s.phase = to
	defer func() {
		if r := recover(); r != nil {
			err = service.ErrPanic.New("%s of %s: %v", name, s.c.cfg.GetName(), r)
		}
	}()
	if err := f(); err != nil {
		return cause.From(err)
	}
	return nil
}

// Drain implements controlv1.ComponentServer.
func (s *Control) Drain(ctx context.Context, req *controlv1.DrainRequest) (*controlv1.DrainResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.DeadlineMs)*time.Millisecond)
	defer cancel()
	if req.CallsOnly {
		if svc, err := s.service(); err == nil {
			svc.Quiet(ctx)
		}
		return &controlv1.DrainResponse{}, nil
	}
	s.c.replaced.Store(req.Replaced)
	return &controlv1.DrainResponse{}, s.down("Drain", phaseDrained, func() error {
		s.c.withdrawAll()
		err := s.backwards(func(m any) error {
			if d, ok := m.(Drainer); ok {
				return d.Drain(ctx)
			}
			return nil
		})
		if s.svc != nil && !s.svc.Drain(ctx) {
			s.c.log.Debug("calls are still under way after the drain")
		}
		return err
	})
}

// Release implements controlv1.ComponentServer.
func (s *Control) Release(ctx context.Context, req *controlv1.ReleaseRequest) (*controlv1.ReleaseResponse, error) {
	out := &controlv1.ReleaseResponse{}
	return out, s.down("Release", phaseReleased, func() error {
		err := s.backwards(func(m any) error {
			if r, ok := m.(Releaser); ok {
				return r.Release(ctx)
			}
			return nil
		})
		if req.HandoverAddress != "" {
			var refused error
			if s.offer, refused = s.c.offerHandover(req.HandoverAddress); s.offer != nil {
				out.Handover = uint32(s.offer.count())
			}
			err = errors.Join(err, refused)
		}
		return err
	})
}

// Stop implements controlv1.ComponentServer.
func (s *Control) Stop(ctx context.Context, _ *controlv1.StopRequest) (*controlv1.StopResponse, error) {
	err := s.down("Stop", phaseStopped, func() error {
		err := s.backwards(func(m any) error {
			if st, ok := m.(Stopper); ok {
				return st.Stop(ctx)
			}
			return nil
		})
		s.c.cancel()
		if s.offer != nil {
			s.offer.close()
		}
		if s.svc != nil {
			s.svc.Stop()
		}
		s.c.mu.Lock()
		refs := make([]*Refs, 0, len(s.c.refs))
		for _, r := range s.c.refs {
			refs = append(refs, r)
		}
		s.c.mu.Unlock()
		for _, r := range refs {
			r.Close()
		}
		return err
	})
	s.exit()
	return &controlv1.StopResponse{}, err
}

// service is the service socket once Configure has made it. Admit and Revoke may come while a life-cycle call is under way, so the
// phase's lock is not taken; configured is closed by Configure.
func (s *Control) service() (*serviceServer, error) {
	select {
	case <-s.configured:
		return s.svc, nil
	default:
		return nil, ErrPhase.New("before Configure")
	}
}

// Bind implements controlv1.ComponentServer.
func (s *Control) Bind(_ context.Context, req *controlv1.BindRequest) (*controlv1.BindResponse, error) {
	if err := s.c.Refs(req.Reference).Bind(req); err != nil {
		return nil, ErrUnbound.Wrap(err, "binding %s", req.Reference)
	}
	return &controlv1.BindResponse{}, nil
}

// Suspend implements controlv1.ComponentServer.
func (s *Control) Suspend(_ context.Context, req *controlv1.SuspendRequest) (*controlv1.SuspendResponse, error) {
	s.c.Refs(req.Reference).Suspend(req.ServiceId)
	return &controlv1.SuspendResponse{}, nil
}

// Unbind implements controlv1.ComponentServer.
func (s *Control) Unbind(ctx context.Context, req *controlv1.UnbindRequest) (_ *controlv1.UnbindResponse, err error) {
	refs := s.c.Refs(req.Reference)
	defer refs.Unbind(req.ServiceId)
	defer func() {
		if r := recover(); r != nil {
			err = service.ErrPanic.New("OnUnbind of reference %s: %v", req.Reference, r)
		}
	}()
	refs.farewell(ctx, req.ServiceId)
	return &controlv1.UnbindResponse{}, nil
}

// Admit implements controlv1.ComponentServer.
func (s *Control) Admit(_ context.Context, req *controlv1.AdmitRequest) (*controlv1.AdmitResponse, error) {
	svc, err := s.service()
	if err != nil {
		return nil, err
	}
	svc.Admit(req)
	return &controlv1.AdmitResponse{}, nil
}

// Revoke implements controlv1.ComponentServer.
func (s *Control) Revoke(_ context.Context, req *controlv1.RevokeRequest) (*controlv1.RevokeResponse, error) {
	svc, err := s.service()
	if err != nil {
		return nil, err
	}
	svc.Revoke(req.Token)
	return &controlv1.RevokeResponse{}, nil
}

// Watch implements controlv1.ComponentServer.
func (s *Control) Watch(_ *controlv1.WatchRequest, stream grpc.ServerStreamingServer[controlv1.ComponentEvent]) error {
	return s.c.events.watch(stream.Context(), stream.Send)
}
