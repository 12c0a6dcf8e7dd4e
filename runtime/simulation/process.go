package simulation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/supervisor"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// Fault is how the next processes of a component misbehave.
type Fault struct {
	// Phase in which it happens: "launch", "configure", "prepare", "acquire", "drain", "release".
	Phase string
	// Hang: the call never answers. Exit: the process ends in it. Otherwise it answers an error.
	Hang, Exit bool
	// Times is how many processes have it.
	Times int
}

// Process is one simulated process of a component: it keeps the rules of the SDK (services are published at Acquire and withdrawn at
// Drain) and writes down what it was told. Its methods are safe for concurrent use.
type Process struct {
	w          *World
	name       string
	desc       *component.Descriptor
	digest     string
	pid        int
	generation uint64
	started    time.Time
	fault      Fault
	slow       time.Duration
	done       chan struct{}
	exit       supervisor.Exit

	mu        sync.Mutex
	ended     bool
	watched   bool                    // somebody has begun to
	tells     []func(supervisor.Exit) // who hears of the end
	events    []*controlv1.ComponentEvent
	news      chan struct{} // renewed when events come
	acquired  bool
	stuck     bool
	health    controlv1.Health
	bound     map[string]map[uint64]*controlv1.BindRequest // by reference
	suspended map[string]map[uint64]bool
	admitted  map[string]*controlv1.AdmitRequest // by token
	artifacts map[string]string                  // path to content
	config    string                             // in force
}

// PID implements reconcile.Process, as the following methods do.
func (p *Process) PID() int { return p.pid }

// UID is the same for all.
func (p *Process) UID() int { return 1 }

// Generation grows with each start.
func (p *Process) Generation() uint64 { return p.generation }

// RunFolder is a name; nothing is there.
func (p *Process) RunFolder() string { return fmt.Sprintf("/simulated/%s/%d", p.name, p.generation) }

// Listeners are none.
func (p *Process) Listeners() []*controlv1.Listener { return nil }

// Crash ends it as kill -9 does.
func (p *Process) Crash() {
	p.end(component.Result{Kind: component.ResultSignal, Signal: "SIGKILL"})
}

// Kill ends it as its kernel does.
func (p *Process) Kill(_ context.Context, kind component.ResultKind) {
	p.end(component.Result{Kind: kind})
}

// stop climbs down the ladder: Drain, Release, Stop; what hangs is killed at its deadline. A kernel that dies meanwhile ends nothing.
func (p *Process) stop(ctx context.Context, l supervisor.Ladder, kernel context.Context) {
	within := func() (context.Context, context.CancelFunc) {
		if !p.fault.Hang {
			return ctx, func() {} // nothing waits
		}
		return context.WithTimeout(ctx, 10*time.Second)
	}
	drain, cancel := within()
	_, _ = p.Drain(drain, &controlv1.DrainRequest{}) // the process ends whatever it says
	cancel()
	release, cancel := within()
	_, _ = p.Release(release, &controlv1.ReleaseRequest{})
	cancel()
	if kernel.Err() == nil {
		p.end(component.Result{Kind: l.Kind})
	}
}

func (p *Process) end(r component.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	p.exit = supervisor.Exit{Result: r, At: time.Now(), Ran: time.Since(p.started)}
	p.w.gone(p)
	close(p.done)
	for _, tell := range p.tells {
		tell(p.exit)
	}
}

// whenEnded calls tell when the process ends, at once if it has.
func (p *Process) whenEnded(tell func(supervisor.Exit)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		tell(p.exit)
		return
	}
	p.tells = append(p.tells, tell)
}

func (p *Process) live() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.ended
}

var errGone = status.Error(codes.Unavailable, "the process has ended")

// call is one call of the kernel in a phase: it may be slow, hang, fail, or end the process.
func (p *Process) call(ctx context.Context, phase string) error {
	if p.slow > 0 && (phase == "prepare" || phase == "acquire") {
		select {
		case <-time.After(p.slow):
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-kernelGone(ctx):
			return errGone
		case <-p.done:
			return errGone
		}
	}
	if p.fault.Phase == phase {
		switch {
		case p.fault.Hang:
			p.mu.Lock()
			p.stuck = true // its handler never returns, whoever has called
			p.mu.Unlock()
			select {
			case <-ctx.Done():
				return status.FromContextError(ctx.Err()).Err()
			case <-kernelGone(ctx):
				return errGone
			case <-p.done:
				return errGone
			}
		case p.fault.Exit:
			p.end(component.Result{Kind: component.ResultExit, Code: 3})
			return errGone
		default:
			return status.Error(codes.Internal, "simulated failure in "+phase)
		}
	}
	if !p.live() {
		return errGone
	}
	return nil
}

// Configure implements controlv1.ComponentClient, as the following methods do.
func (p *Process) Configure(ctx context.Context, r *controlv1.ConfigureRequest, _ ...grpc.CallOption) (*controlv1.ConfigureResponse, error) {
	p.mu.Lock()
	p.config = string(r.ConfigJson)
	p.mu.Unlock()
	resp := &controlv1.ConfigureResponse{ServiceAddress: "unix://" + p.RunFolder() + "/svc.sock"}
	if p.pid%3 > 0 { // every third is built with an older SDK
		resp.Abilities = []string{"replay", "reacquire", "modified"}
	}
	if bad(r.ConfigJson) {
		return nil, status.Error(codes.InvalidArgument, "a configuration that it does not like")
	}
	return resp, p.call(ctx, "configure")
}

// Modified takes another configuration. One that begins with "bad" is refused; every fourth process has no use for any.
func (p *Process) Modified(ctx context.Context, r *controlv1.ModifiedRequest, _ ...grpc.CallOption) (*controlv1.ModifiedResponse, error) {
	if err := p.call(ctx, "modified"); err != nil {
		return nil, err
	}
	if p.pid%4 == 0 {
		return nil, status.Error(codes.Unimplemented, "nothing takes it")
	}
	if bad(r.ConfigJson) {
		return nil, status.Error(codes.InvalidArgument, "a configuration that it does not like")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config = string(r.ConfigJson)
	return &controlv1.ModifiedResponse{}, nil
}

// bad tells whether a configuration is one that processes refuse.
func bad(text []byte) bool { return bytes.Contains(text, []byte(`"bad`)) }

// Prepare is simulated.
func (p *Process) Prepare(ctx context.Context, _ *controlv1.PrepareRequest, _ ...grpc.CallOption) (*controlv1.PrepareResponse, error) {
	return &controlv1.PrepareResponse{}, p.call(ctx, "prepare")
}

// Acquire publishes what the descriptor provides.
func (p *Process) Acquire(ctx context.Context, _ *controlv1.AcquireRequest, _ ...grpc.CallOption) (*controlv1.AcquireResponse, error) {
	if err := p.call(ctx, "acquire"); err != nil {
		return nil, err
	}
	if err := p.w.take(p); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.acquired {
		p.acquired = true
		p.tell(p.present()...)
	}
	return &controlv1.AcquireResponse{}, nil
}

// Drain withdraws what was published.
func (p *Process) Drain(ctx context.Context, req *controlv1.DrainRequest, _ ...grpc.CallOption) (*controlv1.DrainResponse, error) {
	if req.CallsOnly {
		return &controlv1.DrainResponse{}, p.call(ctx, "drain")
	}
	p.mu.Lock()
	if p.acquired {
		p.acquired = false
		for i := range p.desc.Provides {
			p.tell(&controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Withdrawn{Withdrawn: &controlv1.ServiceWithdrawn{LocalId: uint64(i + 1)}}})
		}
	}
	p.mu.Unlock()
	return &controlv1.DrainResponse{}, p.call(ctx, "drain")
}

// Release gives up what Acquire took.
func (p *Process) Release(ctx context.Context, _ *controlv1.ReleaseRequest, _ ...grpc.CallOption) (*controlv1.ReleaseResponse, error) {
	if err := p.call(ctx, "release"); err != nil {
		return nil, err
	}
	p.w.letGo(p)
	return &controlv1.ReleaseResponse{}, nil
}

// present is what Watch begins with. Called under mu.
func (p *Process) present() []*controlv1.ComponentEvent {
	var out []*controlv1.ComponentEvent
	if p.acquired {
		for i, s := range p.desc.Provides {
			out = append(out, &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Published{Published: &controlv1.ServicePublished{
				LocalId: uint64(i + 1), Service: s.Service, Version: s.Version.String(), Properties: s.Properties, Ranking: int32(s.Ranking),
			}}})
		}
	}
	return append(out, healthEvent(p.health))
}

func healthEvent(h controlv1.Health) *controlv1.ComponentEvent {
	return &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Health{Health: &controlv1.HealthChanged{Health: h}}}
}

// tell puts events before those who watch. Called under mu.
func (p *Process) tell(ev ...*controlv1.ComponentEvent) {
	if !p.watched {
		return // a watch begins with what is
	}
	p.events = append(p.events, ev...)
	close(p.news)
	p.news = make(chan struct{})
}

// SetHealth makes the component say how it is.
func (p *Process) SetHealth(h controlv1.Health) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health = h
	p.tell(healthEvent(h))
}

// watch is the stream of one Watch.
type watch struct {
	grpc.ClientStream
	ctx  context.Context
	p    *Process
	own  []*controlv1.ComponentEvent // the present state, then Synced
	next int
}

// Watch begins with the present state.
func (p *Process) Watch(ctx context.Context, _ *controlv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[controlv1.ComponentEvent], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	p.watched = true
	own := append(p.present(), &controlv1.ComponentEvent{Event: &controlv1.ComponentEvent_Synced{Synced: &controlv1.Synced{}}})
	return &watch{ctx: ctx, p: p, own: own, next: len(p.events)}, nil
}

// Recv implements the stream.
func (s *watch) Recv() (*controlv1.ComponentEvent, error) {
	if len(s.own) > 0 {
		ev := s.own[0]
		s.own = s.own[1:]
		return ev, nil
	}
	for {
		s.p.mu.Lock()
		news := s.p.news
		if s.next < len(s.p.events) {
			ev := s.p.events[s.next]
			s.next++
			s.p.mu.Unlock()
			return ev, nil
		}
		ended := s.p.ended
		s.p.mu.Unlock()
		if ended {
			return nil, io.EOF
		}
		select {
		case <-news:
		case <-s.p.done:
		case <-kernelGone(s.ctx):
			return nil, errGone
		case <-s.ctx.Done():
			return nil, status.FromContextError(s.ctx.Err()).Err()
		}
	}
}

// Bind writes the binding down.
func (p *Process) Bind(_ context.Context, r *controlv1.BindRequest, _ ...grpc.CallOption) (*controlv1.BindResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	if p.bound == nil {
		p.bound, p.suspended = map[string]map[uint64]*controlv1.BindRequest{}, map[string]map[uint64]bool{}
	}
	if p.bound[r.Reference] == nil {
		p.bound[r.Reference] = map[uint64]*controlv1.BindRequest{}
	}
	p.bound[r.Reference][r.ServiceId] = r
	delete(p.suspended[r.Reference], r.ServiceId)
	return &controlv1.BindResponse{}, nil
}

// Suspend marks a binding.
func (p *Process) Suspend(_ context.Context, r *controlv1.SuspendRequest, _ ...grpc.CallOption) (*controlv1.SuspendResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	if p.bound[r.Reference][r.ServiceId] != nil {
		if p.suspended[r.Reference] == nil {
			p.suspended[r.Reference] = map[uint64]bool{}
		}
		p.suspended[r.Reference][r.ServiceId] = true
	}
	return &controlv1.SuspendResponse{}, nil
}

// Unbind forgets a binding.
func (p *Process) Unbind(_ context.Context, r *controlv1.UnbindRequest, _ ...grpc.CallOption) (*controlv1.UnbindResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	delete(p.bound[r.Reference], r.ServiceId)
	delete(p.suspended[r.Reference], r.ServiceId)
	return &controlv1.UnbindResponse{}, nil
}

// Admit lets a consumer in.
func (p *Process) Admit(_ context.Context, r *controlv1.AdmitRequest, _ ...grpc.CallOption) (*controlv1.AdmitResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	if p.admitted == nil {
		p.admitted = map[string]*controlv1.AdmitRequest{}
	}
	p.admitted[string(r.Token)] = r
	return &controlv1.AdmitResponse{}, nil
}

// Gate is a startup gate that opens.
func (p *Process) Gate(context.Context, *controlv1.GateRequest, ...grpc.CallOption) (*controlv1.GateResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	return &controlv1.GateResponse{}, nil
}

// Revoke shuts it out again.
func (p *Process) Revoke(_ context.Context, r *controlv1.RevokeRequest, _ ...grpc.CallOption) (*controlv1.RevokeResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	delete(p.admitted, string(r.Token))
	return &controlv1.RevokeResponse{}, nil
}

// Validate refuses contents that begin with "bad".
func (p *Process) Validate(ctx context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	if !p.live() {
		return nil, errGone
	}
	return verdict(r), nil
}

func verdict(r *controlv1.DeployRequest) *controlv1.DeployResponse {
	if len(r.Artifact.Content) >= 3 && string(r.Artifact.Content[:3]) == "bad" {
		return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_FAULTY}
	}
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}
}

// Deploy takes an artifact; a content that begins with "crash" ends the process.
func (p *Process) Deploy(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	if string(r.Artifact.Content) == "crash" {
		p.end(component.Result{Kind: component.ResultExit, Code: 2})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	v := verdict(r)
	if v.State == controlv1.DeployResponse_STATE_DEPLOYED {
		if p.artifacts == nil {
			p.artifacts = map[string]string{}
		}
		p.artifacts[r.Artifact.Path] = string(r.Artifact.Content)
	}
	return v, nil
}

// Update replaces an artifact.
func (p *Process) Update(ctx context.Context, r *controlv1.DeployRequest, o ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return p.Deploy(ctx, r, o...)
}

// Undeploy forgets an artifact.
func (p *Process) Undeploy(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	delete(p.artifacts, r.Artifact.Path)
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}
