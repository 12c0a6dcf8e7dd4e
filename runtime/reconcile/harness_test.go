package reconcile

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/cause"
	sdk "carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// authorizer is the service that providers of these tests offer.
type authorizer struct {
	analyticsv1.UnimplementedAuthorizerServer
	said  string // the provider's version
	world *world
}

func (a authorizer) Authorize(_ context.Context, req *analyticsv1.AuthorizeRequest) (*analyticsv1.AuthorizeResponse, error) {
	if req.Permission != "" {
		a.world.waiting()(a.said, req.Permission)
	}
	return &analyticsv1.AuthorizeResponse{Allowed: true}, nil
}

const service = "carbonado.analytics.v1.Authorizer"

func provider(name string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: %s, version: 1.0.0}]\nrestart: {budget: 3, per: 10m}\n", name, service)
}

func consumer(name, cardinality string) string {
	return fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nrequires: [{name: ref, service: %s, cardinality: %s}]\n", name, service, cardinality)
}

// world is a Reconciler whose processes are simulated: real SDK components, real service sockets, no fork.
type world struct {
	t   *testing.T
	r   *Reconciler
	dir string

	mu        sync.Mutex
	packages  []*catalog.Package
	disabled  map[string]bool
	procs     map[string]*simulated // the newest by name
	contexts  map[string]*sdk.C
	moves     map[string][]component.Transition
	order     []string // names in the order in which they became ACTIVE or left it
	failStart map[string]error
	starts    map[string]func(*sdk.C) error // more to do when a component starts
	refs      map[string]map[string]*component.Override
	confs     map[string]string // JSON by component
	gens      map[string]uint64
	live      int
	replaced  []Replacement
	levels    []LevelChange
	// wait is called within calls that have a permission.
	wait func(version, permission string)
	// hook is called in Start of every process.
	hook func(c *sdk.C)
	// unable are versions whose processes do not tell of abilities that older SDKs don't have.
	unable map[string]bool
}

func newWorld(t *testing.T, descriptors ...string) *world {
	dir, err := os.MkdirTemp("", "rec")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, disabled: map[string]bool{}, procs: map[string]*simulated{}, contexts: map[string]*sdk.C{}, moves: map[string][]component.Transition{}, failStart: map[string]error{}, starts: map[string]func(*sdk.C) error{}, refs: map[string]map[string]*component.Override{}, confs: map[string]string{}, gens: map[string]uint64{}}
	w.packages = newWorldPackages(t, descriptors...)
	w.r = New(Config{Host: w, Kernel: noKernel{}, Registry: registry.New(), Log: hclog.NewNullLogger(), Random: func() float64 { return 0 }, Notify: w.notify})
	w.apply()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		w.r.Shutdown(ctx)
		os.RemoveAll(dir)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.live != 0 {
			t.Errorf("%d processes are left", w.live)
		}
		if left := w.r.Registry.Find(registry.Query{}); len(left) > 0 {
			t.Errorf("services are left: %v", left)
		}
		for name, moves := range w.moves {
			if err := component.Check(moves); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	return w
}

// set changes what processes look at while they run.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) waiting() func(version, permission string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wait
}

type noKernel struct{}

func (noKernel) Admit(*controlv1.AdmitRequest) {}
func (noKernel) Revoke([]byte)                 {}

func (w *world) apply() {
	w.r.Apply(plan.Build(plan.Input{Profile: "default", Packages: w.packages, Decide: func(name string) profile.Decision {
		w.mu.Lock()
		defer w.mu.Unlock()
		return profile.Decision{Enabled: !w.disabled[name], Rule: "test"}
	}, Config: func(name string) *config.Component {
		w.mu.Lock()
		defer w.mu.Unlock()
		c := config.Given(name, []byte(w.confs[name]))
		c.References = w.refs[name]
		return c
	}}))
}

func (w *world) notify(ev Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ev.Replaced != nil {
		w.replaced = append(w.replaced, *ev.Replaced)
	}
	if ev.Level != nil {
		w.levels = append(w.levels, *ev.Level)
	}
	if ev.Transition == nil {
		return
	}
	w.moves[ev.Component] = append(w.moves[ev.Component], *ev.Transition)
	if ev.Transition.To == component.Active || ev.Transition.From == component.Active {
		w.order = append(w.order, ev.Component+" "+ev.Transition.To.String())
	}
}

func (w *world) Generation(name string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gens[name]++
	return w.gens[name]
}

func (w *world) Launch(_ context.Context, c *plan.Component, generation uint64) (Process, error) {
	w.mu.Lock()
	err := w.failStart[c.Name]
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	p := &simulated{w: w, name: c.Name, version: c.Package.Version, generation: generation, done: make(chan struct{}), run: filepath.Join(w.dir, fmt.Sprintf("%s-%d", c.Name, generation))}
	if err := os.MkdirAll(p.run, 0o700); err != nil {
		return nil, err
	}
	p.control = sdk.NewControl(sdk.Spec{Start: func(ctx *sdk.C) error {
		w.mu.Lock()
		w.contexts[c.Name] = ctx
		hook := w.hook
		more := w.starts[c.Name]
		w.mu.Unlock()
		if hook != nil {
			hook(ctx)
		}
		if len(c.Package.Descriptor.Provides) > 0 {
			analyticsv1.RegisterAuthorizerServer(ctx, authorizer{said: c.Package.Version, world: w})
		}
		if more != nil {
			return more(ctx)
		}
		return nil
	}}, sdkDescriptor(c.Package.Descriptor), sdk.Host{Log: hclog.NewNullLogger(), Exit: func() { p.end(component.Result{Kind: component.ResultOK}) }})
	l := bufconn.Listen(1 << 20)
	p.server = grpc.NewServer()
	p.control.Register(p.server)
	p.served.Add(1)
	go func() {
		defer p.served.Done()
		_ = p.server.Serve(l)
	}()
	p.conn, err = grpc.NewClient("passthrough:///sim", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.procs[c.Name] = p
	w.live++
	w.mu.Unlock()
	return p, nil
}

func sdkDescriptor(d *component.Descriptor) *sdk.Descriptor {
	out := &sdk.Descriptor{Name: d.Name, Version: d.Version.String()}
	for _, p := range d.Provides {
		out.Provides = append(out.Provides, sdk.Provided{Service: p.Service, Version: p.Version.String(), Properties: p.Properties, Dynamic: p.Dynamic})
	}
	return out
}

func (w *world) Configuration(c *plan.Component, p Process) (*controlv1.ConfigureRequest, error) {
	return &controlv1.ConfigureRequest{Name: c.Name, Version: c.Package.Version, Generation: p.Generation(), RunFolder: p.RunFolder(), ConfigJson: c.Config.JSON}, nil
}

// simulated is one process.
type simulated struct {
	w          *world
	name       string
	version    string
	generation uint64
	run        string
	control    *sdk.Control
	server     *grpc.Server
	served     sync.WaitGroup
	conn       *grpc.ClientConn
	done       chan struct{}
	once       sync.Once
	exit       supervisor.Exit
	forced     bool // Stop has to kill it
}

func (p *simulated) PID() int                         { return os.Getpid() }
func (p *simulated) UID() int                         { return os.Getuid() }
func (p *simulated) Generation() uint64               { return p.generation }
func (p *simulated) RunFolder() string                { return p.run }
func (p *simulated) Listeners() []*controlv1.Listener { return nil }
func (p *simulated) Component() controlv1.ComponentClient {
	c := controlv1.NewComponentClient(p.conn)
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.unable[p.version] {
		return olderSDK{c}
	}
	return c
}
func (p *simulated) Deployer() controlv1.DeployerClient { return controlv1.NewDeployerClient(p.conn) }
func (p *simulated) Done() <-chan struct{}              { return p.done }
func (p *simulated) Exit() supervisor.Exit              { <-p.done; return p.exit }

// end is the end of the process, whoever brings it about.
func (p *simulated) end(result component.Result) {
	p.once.Do(func() {
		p.exit = supervisor.Exit{Result: result, At: time.Now(), Ran: time.Second, Forced: p.forced}
		go func() {
			p.server.Stop()
			p.served.Wait()
			p.conn.Close()
			_, _ = p.control.Stop(context.Background(), &controlv1.StopRequest{}) // the SDK's goroutines end with the process
			p.w.mu.Lock()
			p.w.live--
			p.w.mu.Unlock()
			close(p.done)
		}()
	})
}

func (p *simulated) crash() {
	p.end(component.Result{Kind: component.ResultSignal, Signal: "SIGKILL"})
	<-p.done
}

func (p *simulated) Stop(ctx context.Context, l supervisor.Ladder) supervisor.Exit {
	_, _ = p.Component().Drain(ctx, &controlv1.DrainRequest{DeadlineMs: 1000})
	_, _ = p.Component().Release(ctx, &controlv1.ReleaseRequest{})
	p.end(component.Result{Kind: l.Kind})
	return p.Exit()
}

func (p *simulated) Kill(_ context.Context, kind component.ResultKind) supervisor.Exit {
	p.end(component.Result{Kind: kind})
	return p.Exit()
}

func (w *world) proc(name string) *simulated {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[name]
}

func (w *world) context(name string) *sdk.C {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.contexts[name]
}

// until waits for a state of a component.
func (w *world) until(name string, state component.State) View {
	w.t.Helper()
	return w.untilView(name, func(v View) bool { return v.State == state })
}

func (w *world) untilView(name string, ok func(View) bool) View {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var v View
	if err := w.r.wait(ctx, func() bool { v, _ = w.r.View(name); return ok(v) }); err != nil {
		w.t.Fatalf("%s is %s (%v), cause %v", name, v.State, v.Health, v.Cause)
	}
	return v
}

var errTest = cause.Define("CBN-SUP-990", "test", "")

func newWorldPackages(t *testing.T, descriptors ...string) []*catalog.Package {
	var out []*catalog.Package
	for _, text := range descriptors {
		d, err := catalog.ParseDescriptor("component.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &catalog.Package{Name: d.Name, Version: d.Version.String(), Digest: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), Descriptor: d})
	}
	return out
}

// olderSDK answers as the SDK of the first release did.
type olderSDK struct{ controlv1.ComponentClient }

func (o olderSDK) Configure(ctx context.Context, req *controlv1.ConfigureRequest, opts ...grpc.CallOption) (*controlv1.ConfigureResponse, error) {
	resp, err := o.ComponentClient.Configure(ctx, req, opts...)
	if resp != nil {
		resp.Abilities = []string{"replay"}
	}
	return resp, err
}
