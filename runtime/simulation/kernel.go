package simulation

import (
	"context"
	"maps"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/carbonado/runtime/supervisor"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// kernel is one life of the node's kernel: a Reconciler's Host. When it is dead nothing that its Reconciler does has an effect any more.
type kernel struct {
	*World
	ctx  context.Context
	kill context.CancelFunc

	hold    sync.Mutex // guards handles
	handles []*handle  // all that it ever had
}

// newKernel begins a life of the kernel.
func (w *World) newKernel() *kernel {
	k := &kernel{World: w}
	k.ctx, k.kill = context.WithCancel(context.Background())
	context.AfterFunc(k.ctx, k.letGo)
	w.kernel = k
	w.Registry = registry.New()
	w.Reconciler = reconcile.New(reconcile.Config{
		Host: k, Kernel: k, Registry: w.Registry, Log: hclog.NewNullLogger(), Random: func() float64 { return 0 },
		Notify: func(ev reconcile.Event) {
			if k.ctx.Err() == nil {
				w.notify(ev)
			}
		},
	})
	return k
}

// ReplaceKernel ends the kernel as kill -9 does and lets another take the processes over; it gives the components that an operator holds.
// Only one goroutine may use the World meanwhile. Apply comes next.
func (w *World) ReplaceKernel() (held map[string]bool) {
	old, before := w.kernel, w.Reconciler
	notes, seq := before.Notes()
	old.kill()
	before.Shutdown(old.ctx) // its goroutines end; its handles do nothing any more
	held = map[string]bool{}
	for name, n := range notes {
		if n.Held {
			held[name] = true
		}
	}
	w.mu.Lock()
	w.moves = map[string]*component.Checker{}
	processes, packages := maps.Clone(w.processes), maps.Clone(w.packages)
	w.mu.Unlock()
	var found []reconcile.Found
	k := w.newKernel()
	for p := range processes {
		answer, err := p.TakeOver(k.ctx, &controlv1.TakeOverRequest{})
		if c := packages[p.name]; err == nil && c != nil && c.Digest != p.digest {
			err = errGone // another package lies there: the new kernel starts that one
		}
		found = append(found, reconcile.Found{Name: p.name, Process: k.handle(p), Answer: answer, Err: err})
	}
	w.Reconciler.Inherit(found, notes, seq)
	return held
}

// Launch implements reconcile.Host.
func (k *kernel) Launch(ctx context.Context, c *plan.Component, generation uint64) (reconcile.Process, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return nil, errGone
	}
	p, err := k.launch(c, generation)
	if err != nil {
		return nil, err
	}
	return k.handle(p), nil
}

// handle is a process as one kernel holds it.
type handle struct {
	*Process
	k    *kernel
	once sync.Once
	done chan struct{} // closed when the process or the kernel has ended
	exit supervisor.Exit
}

func (k *kernel) handle(p *Process) *handle {
	h := &handle{Process: p, k: k, done: make(chan struct{})}
	k.hold.Lock()
	k.handles = append(k.handles, h)
	k.hold.Unlock()
	if k.ctx.Err() != nil { // it may have died before
		h.finish(supervisor.Exit{})
	}
	p.whenEnded(h.finish)
	return h
}

// letGo ends what the kernel holds: it is dead.
func (k *kernel) letGo() {
	k.hold.Lock()
	defer k.hold.Unlock()
	for _, h := range k.handles {
		h.finish(supervisor.Exit{})
	}
}

func (h *handle) finish(exit supervisor.Exit) {
	h.once.Do(func() {
		h.exit = exit
		close(h.done)
	})
}

// Done is closed when the process or the kernel has ended.
func (h *handle) Done() <-chan struct{} { return h.done }

// Exit is how the process ended.
func (h *handle) Exit() supervisor.Exit { <-h.done; return h.exit }

// Kill implements reconcile.Process.
func (h *handle) Kill(ctx context.Context, kind component.ResultKind) supervisor.Exit {
	if h.k.ctx.Err() == nil {
		h.Process.Kill(ctx, kind)
	}
	return h.Exit()
}

// Stop implements reconcile.Process.
func (h *handle) Stop(ctx context.Context, l supervisor.Ladder) supervisor.Exit {
	if h.k.ctx.Err() == nil {
		ctx, cancel := h.within(ctx)
		defer cancel()
		h.Process.stop(ctx, l, h.k.ctx)
	}
	return h.Exit()
}

// within ends a call with the kernel that made it.
func (h *handle) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.k.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Component is the process as this kernel calls it.
func (h *handle) Component() controlv1.ComponentClient { return client{h} }

// Deployer is the process as this kernel calls it.
func (h *handle) Deployer() controlv1.DeployerClient { return client{h} }

// calling is the context of a call of a kernel: a call that hangs ends with the kernel too.
type calling struct {
	context.Context
	kernelGone <-chan struct{}
}

// kernelGone is closed when the kernel that makes a call is dead.
func kernelGone(ctx context.Context) <-chan struct{} {
	c, _ := ctx.(calling)
	return c.kernelGone
}

// client makes the calls of one kernel: they end with it, and a dead one's never arrive.
type client struct{ h *handle }

func through[Q, R any](ctx context.Context, c client, q Q, call func(context.Context, Q, ...grpc.CallOption) (R, error)) (R, error) {
	if c.h.k.ctx.Err() != nil {
		var none R
		return none, errGone
	}
	return call(calling{ctx, c.h.k.ctx.Done()}, q)
}

func (c client) Configure(ctx context.Context, q *controlv1.ConfigureRequest, _ ...grpc.CallOption) (*controlv1.ConfigureResponse, error) {
	return through(ctx, c, q, c.h.Configure)
}
func (c client) Modified(ctx context.Context, q *controlv1.ModifiedRequest, _ ...grpc.CallOption) (*controlv1.ModifiedResponse, error) {
	return through(ctx, c, q, c.h.Modified)
}
func (c client) Prepare(ctx context.Context, q *controlv1.PrepareRequest, _ ...grpc.CallOption) (*controlv1.PrepareResponse, error) {
	return through(ctx, c, q, c.h.Prepare)
}
func (c client) Acquire(ctx context.Context, q *controlv1.AcquireRequest, _ ...grpc.CallOption) (*controlv1.AcquireResponse, error) {
	return through(ctx, c, q, c.h.Acquire)
}
func (c client) Drain(ctx context.Context, q *controlv1.DrainRequest, _ ...grpc.CallOption) (*controlv1.DrainResponse, error) {
	return through(ctx, c, q, c.h.Drain)
}
func (c client) Release(ctx context.Context, q *controlv1.ReleaseRequest, _ ...grpc.CallOption) (*controlv1.ReleaseResponse, error) {
	return through(ctx, c, q, c.h.Release)
}
func (c client) Bind(ctx context.Context, q *controlv1.BindRequest, _ ...grpc.CallOption) (*controlv1.BindResponse, error) {
	return through(ctx, c, q, c.h.Bind)
}
func (c client) Suspend(ctx context.Context, q *controlv1.SuspendRequest, _ ...grpc.CallOption) (*controlv1.SuspendResponse, error) {
	return through(ctx, c, q, c.h.Suspend)
}
func (c client) Unbind(ctx context.Context, q *controlv1.UnbindRequest, _ ...grpc.CallOption) (*controlv1.UnbindResponse, error) {
	return through(ctx, c, q, c.h.Unbind)
}
func (c client) Admit(ctx context.Context, q *controlv1.AdmitRequest, _ ...grpc.CallOption) (*controlv1.AdmitResponse, error) {
	return through(ctx, c, q, c.h.Admit)
}
func (c client) Revoke(ctx context.Context, q *controlv1.RevokeRequest, _ ...grpc.CallOption) (*controlv1.RevokeResponse, error) {
	return through(ctx, c, q, c.h.Revoke)
}
func (c client) Gate(ctx context.Context, q *controlv1.GateRequest, _ ...grpc.CallOption) (*controlv1.GateResponse, error) {
	return through(ctx, c, q, c.h.Gate)
}
func (c client) TakeOver(ctx context.Context, q *controlv1.TakeOverRequest, _ ...grpc.CallOption) (*controlv1.TakeOverResponse, error) {
	return through(ctx, c, q, c.h.TakeOver)
}
func (c client) Validate(ctx context.Context, q *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return through(ctx, c, q, c.h.Validate)
}
func (c client) Deploy(ctx context.Context, q *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return through(ctx, c, q, c.h.Deploy)
}
func (c client) Update(ctx context.Context, q *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return through(ctx, c, q, c.h.Update)
}
func (c client) Undeploy(ctx context.Context, q *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return through(ctx, c, q, c.h.Undeploy)
}

// Watch lasts as long as the kernel.
func (c client) Watch(ctx context.Context, q *controlv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[controlv1.ComponentEvent], error) {
	if c.h.k.ctx.Err() != nil {
		return nil, errGone
	}
	return c.h.Watch(calling{ctx, c.h.k.ctx.Done()}, q)
}

// Stop ends the process after the answer.
func (c client) Stop(ctx context.Context, _ *controlv1.StopRequest, _ ...grpc.CallOption) (*controlv1.StopResponse, error) {
	if c.h.k.ctx.Err() != nil {
		return nil, errGone
	}
	c.h.end(component.Result{Kind: component.ResultOK})
	return &controlv1.StopResponse{}, nil
}
