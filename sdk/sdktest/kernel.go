// Package sdktest runs components in a test against a kernel double: real service sockets, real links, real life-cycle calls, in one
// process. It must not know the real kernel; what only processes can show (kill -9, privileges) is tested with the real one.
package sdktest

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/filter"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
	"carbonado.dev/sdk/service"
)

// Tenant is carbon.super.
const Tenant = -1234

// deadline bounds every call of the double.
const deadline = 30 * time.Second

// descriptor is what the double needs of component.yaml.
type descriptor struct {
	component.Descriptor `yaml:",inline"`
	Requires             []requirement `yaml:"requires"`
	Gates                []gate        `yaml:"gates"`
	Deploys              []deploys     `yaml:"deploys"`
	Shares               []struct {
		Name string `yaml:"name"`
	} `yaml:"shares"`
	Uses  []string `yaml:"uses"`
	Ports []struct {
		Name string `yaml:"name"`
	} `yaml:"ports"`
	Privileges []string `yaml:"privileges"`
	Config     struct {
		Properties map[string]struct {
			Default any `yaml:"default"`
		} `yaml:"properties"`
	} `yaml:"config"`
}

type requirement struct {
	Name        string `yaml:"name"`
	Service     string `yaml:"service"`
	Cardinality string `yaml:"cardinality"`
	Filter      where  `yaml:"filter"`
}

// where is a filter in either of its forms.
type where struct{ *filter.Filter }

// UnmarshalYAML implements yaml.Unmarshaler.
func (w *where) UnmarshalYAML(n *yaml.Node) (err error) {
	if n.Kind == yaml.ScalarNode {
		w.Filter, err = filter.Parse(n.Value)
		return err
	}
	var props map[string]string
	if err = n.Decode(&props); err == nil {
		w.Filter = filter.Equal(props)
	}
	return err
}

type deploys struct {
	Type      string `yaml:"type"`
	Directory string `yaml:"directory"`
	Suffix    string `yaml:"suffix"`
}

// Kernel is the double. It wires every started component to every provider that fits, at once and dynamically.
type Kernel struct {
	t      testing.TB
	dir    string
	run    string
	log    hclog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	own    *service.Server

	// mu guards all below and serialises wiring.
	mu         sync.Mutex
	nextID     uint64
	components []*Component
	services   []*published
	wires      map[wireKey]*wire
	artifacts  map[string]*artifact
	tx         uint64
	generation map[string]uint64
	changed    chan struct{}
	tls        *controlv1.TLSPair
	state      *coordinator
}

// published is one registration in the double's registry.
type published struct {
	id        uint64
	owner     *Component // nil: provided by the test
	local     uint64
	service   string
	props     map[string]string
	suspended bool
}

type wireKey struct {
	consumer  *Component
	reference string
	service   uint64
}

type wire struct {
	token      []byte
	generation uint64
}

// Component is a running component of the double.
type Component struct {
	k       *Kernel
	desc    *descriptor
	spec    component.Spec
	opts    options
	control *component.Control
	// address of its service socket.
	address    string
	generation uint64
	stopped    chan struct{}
	health     *controlv1.HealthChanged
	synced     chan struct{}
	unwatch    context.CancelFunc
	unwatched  chan struct{}
	listeners  map[string]net.Listener
	principal  []byte
	// serves: Acquire is done; opened are the gates that have opened.
	serves bool
	opened map[string]bool
}

type options struct {
	descriptor string
	config     map[string]any
	properties map[string]string
	data       string
}

// Option changes how a component is started.
type Option func(*options)

// WithDescriptor names the component.yaml; the default is component.yaml in the test's folder, or the nearest above it.
func WithDescriptor(path string) Option { return func(o *options) { o.descriptor = path } }

// WithConfig sets configuration keys over the descriptor's defaults.
func WithConfig(c map[string]any) Option { return func(o *options) { o.config = c } }

// WithProperties sets -Dname=value properties.
func WithProperties(p map[string]string) Option { return func(o *options) { o.properties = p } }

// WithData keeps the component's data in a folder of the test's, so that a second component finds what the first left.
func WithData(folder string) Option { return func(o *options) { o.data = folder } }

// NewKernel makes a double that ends with the test.
func NewKernel(t testing.TB) *Kernel {
	t.Helper()
	run, err := os.MkdirTemp("", "cbn") // short: Unix paths end at 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &Kernel{
		t: t, dir: t.TempDir(), run: run, ctx: ctx, cancel: cancel,
		log:   hclog.New(&hclog.LoggerOptions{Output: testWriter{t}, Level: hclog.Debug, DisableTime: true}),
		wires: map[wireKey]*wire{}, artifacts: map[string]*artifact{}, generation: map[string]uint64{},
		changed: make(chan struct{}), state: newCoordinator(),
	}
	k.own, err = service.New(ctx, "kernel", k.log, filepath.Join(run, "kernel.sock"))
	if err != nil {
		t.Fatal(err)
	}
	kernelv1.RegisterCoordinatorServer(k.own, k.state)
	kernelv1.RegisterArtifactsServer(k.own, &artifacts{k: k})
	for _, name := range []string{kernelv1.Coordinator_ServiceDesc.ServiceName, kernelv1.Artifacts_ServiceDesc.ServiceName} {
		k.services = append(k.services, &published{id: k.id(), service: name})
	}
	t.Cleanup(k.close)
	return k
}

func (k *Kernel) id() uint64 { k.nextID++; return k.nextID }

// testWriter sends log lines to the test's log while it runs.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Logf("%s", p)
	}
	return len(p), nil
}

// Provide makes a service of the test available to components. Call it before the first Start.
func (k *Kernel) Provide(desc *grpc.ServiceDesc, impl any, props map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own.RegisterService(desc, impl)
	k.services = append(k.services, &published{id: k.id(), service: desc.ServiceName, props: props})
}

func (k *Kernel) startOwn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own != nil && k.generation["kernel"] == 0 {
		k.generation["kernel"] = 1
		if err := k.own.Start(); err != nil {
			k.t.Fatal(err)
		}
	}
}

// Start runs a component through Configure, Prepare and Acquire, and fails the test if one of them fails.
func (k *Kernel) Start(start func(*component.C) error, opts ...Option) *Component {
	k.t.Helper()
	c, err := k.TryStart(start, opts...)
	if err != nil {
		k.t.Fatalf("start: %v", err)
	}
	return c
}

// TryStart is Start for tests of failing starts.
func (k *Kernel) TryStart(start func(*component.C) error, opts ...Option) (*Component, error) {
	k.t.Helper()
	k.startOwn()
	o := options{}
	for _, opt := range opts {
		opt(&o)
	}
	if o.descriptor == "" {
		o.descriptor = findDescriptor(k.t)
	}
	b, err := os.ReadFile(o.descriptor)
	if err != nil {
		k.t.Fatal(err)
	}
	var d descriptor
	if err := yaml.Unmarshal(b, &d); err != nil {
		k.t.Fatalf("%s: %v", o.descriptor, err)
	}
	return k.start(&Component{k: k, desc: &d, spec: component.Spec{Start: start}, opts: o})
}

func findDescriptor(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "component.yaml")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no component.yaml here or above; use WithDescriptor")
		}
		dir = up
	}
}

func (k *Kernel) start(c *Component) (*Component, error) {
	name := c.desc.Name
	k.mu.Lock()
	k.generation[name]++
	c.generation = k.generation[name]
	k.mu.Unlock()
	c.stopped, c.synced, c.unwatched = make(chan struct{}), make(chan struct{}), make(chan struct{})
	c.principal = make([]byte, 32)
	_, _ = rand.Read(c.principal)
	req := c.configureRequest()
	var once sync.Once
	c.control = component.NewControl(c.spec, &c.desc.Descriptor, component.Host{
		Log:      k.log.Named(name),
		Listener: func(fd int) (net.Listener, error) { return c.listeners[c.desc.Ports[fd].Name], nil },
		Exit:     func() { once.Do(func() { close(c.stopped) }) },
	})
	ctx, cancel := context.WithTimeout(k.ctx, deadline)
	defer cancel()
	resp, err := c.control.Configure(ctx, req)
	if err != nil {
		return nil, err
	}
	c.address = resp.ServiceAddress
	k.mu.Lock()
	k.components = append(k.components, c)
	k.rewire()
	k.mu.Unlock()
	if _, err = c.control.Prepare(ctx, &controlv1.PrepareRequest{}); err == nil {
		_, err = c.control.Acquire(ctx, &controlv1.AcquireRequest{})
	}
	if err != nil {
		k.remove(c)
		_, _ = c.control.Release(ctx, &controlv1.ReleaseRequest{})
		_, _ = c.control.Stop(ctx, &controlv1.StopRequest{})
		return nil, err
	}
	watchCtx, unwatch := context.WithCancel(k.ctx)
	c.unwatch = unwatch
	k.wg.Add(1)
	go func() {
		defer k.wg.Done()
		defer close(c.unwatched)
		_ = c.control.Watch(&controlv1.WatchRequest{}, &watchStream{ctx: watchCtx, c: c})
	}()
	select {
	case <-c.synced:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.mu.Lock()
	c.serves = true
	k.openGates(ctx)
	k.mu.Unlock()
	k.redeployOwner(c)
	return c, nil
}

func (c *Component) configureRequest() *controlv1.ConfigureRequest {
	k := c.k
	d := c.desc
	data := c.opts.data
	if data == "" {
		data = filepath.Join(k.dir, "repository", "data", d.Name)
	}
	run := filepath.Join(k.run, d.Name+"-"+time.Now().Format("150405.000000"))
	for _, dir := range []string{data, run, filepath.Join(k.dir, "repository", "deployment", "server")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			k.t.Fatal(err)
		}
	}
	if c.listeners == nil {
		c.listeners = map[string]net.Listener{}
	}
	req := &controlv1.ConfigureRequest{
		Name: d.Name, Version: d.Version, Generation: c.generation, ConfigJson: c.configJSON(),
		DataFolder: data, RunFolder: run, PackageFolder: filepath.Dir(c.opts.descriptor), RepositoryFolder: filepath.Join(k.dir, "repository"),
		Shares: map[string]string{}, NodeId: "test", Tenant: Tenant, Properties: c.opts.properties, PrincipalKey: c.principal,
		ProductVersion: "test", KernelPid: int32(os.Getpid()), KernelUid: int32(os.Getuid()),
	}
	for i, p := range d.Ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			k.t.Fatal(err)
		}
		c.listeners[p.Name] = l
		req.Listeners = append(req.Listeners, &controlv1.Listener{Name: p.Name, Fd: int32(i), Address: l.Addr().String()})
	}
	for _, s := range d.Shares {
		req.Shares[d.Name+"/"+s.Name] = k.shareFolder(d.Name + "/" + s.Name)
	}
	for _, u := range d.Uses {
		req.Shares[u] = k.shareFolder(u)
	}
	if slices.Contains(d.Privileges, "tls.server") {
		req.Tls = k.tlsPair()
	}
	return req
}

// shareFolder is where a share lies: below the provider's data folder.
func (k *Kernel) shareFolder(share string) string {
	owner, name := filepath.Split(share)
	base := filepath.Join(k.dir, "repository", "data", owner)
	k.mu.Lock()
	for _, c := range k.components {
		if c.desc.Name+"/" == owner && c.opts.data != "" {
			base = c.opts.data
		}
	}
	k.mu.Unlock()
	dir := filepath.Join(base, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		k.t.Fatal(err)
	}
	return dir
}

func (k *Kernel) remove(c *Component) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.components = slices.DeleteFunc(k.components, func(x *Component) bool { return x == c })
	k.services = slices.DeleteFunc(k.services, func(p *published) bool { return p.owner == c })
	k.rewire()
}

// Stop ends the component in order: Drain, Release, Stop. Its services are gone for good.
func (c *Component) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	_, err1 := c.control.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: deadline.Milliseconds()})
	c.k.remove(c)
	_, err2 := c.control.Release(ctx, &controlv1.ReleaseRequest{})
	_, err3 := c.control.Stop(ctx, &controlv1.StopRequest{})
	if c.unwatch != nil {
		c.unwatch()
	}
	for _, l := range c.listeners {
		l.Close()
	}
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Drain makes the component drain for another process, as an update does, and tells whether no call was under way when it had ended. Only
// Stop may follow.
func (c *Component) Drain(patience time.Duration) (quiet bool) {
	c.k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := c.control.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: patience.Milliseconds(), Replaced: true}); err != nil {
		c.k.t.Errorf("drain: %v", err)
	}
	began := time.Now()
	_, err := c.control.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: patience.Milliseconds(), CallsOnly: true})
	return err == nil && time.Since(began) < patience
}

// Restart replaces the component by a new generation with the same data. Its services keep their ids: consumers see them suspended,
// then bound again. The first generation is stopped in order; what a kill would leave behind is for the real kernel's tests.
func (c *Component) Restart() *Component {
	c.k.t.Helper()
	k := c.k
	k.mu.Lock()
	for _, p := range k.services {
		if p.owner == c {
			p.suspended = true
		}
	}
	k.rewire()
	k.mu.Unlock()
	if c.opts.data == "" {
		c.opts.data = filepath.Join(k.dir, "repository", "data", c.desc.Name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c.unwatch() // the registrations are taken over, not withdrawn
	<-c.unwatched
	_, _ = c.control.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: deadline.Milliseconds()})
	_, _ = c.control.Release(ctx, &controlv1.ReleaseRequest{})
	_, _ = c.control.Stop(ctx, &controlv1.StopRequest{})
	k.mu.Lock()
	k.components = slices.DeleteFunc(k.components, func(x *Component) bool { return x == c })
	k.mu.Unlock()
	next := &Component{k: k, desc: c.desc, spec: c.spec, opts: c.opts}
	k.mu.Lock()
	for _, p := range k.services {
		if p.owner == c {
			p.owner, p.local = next, 0
		}
	}
	k.mu.Unlock()
	for _, l := range c.listeners {
		l.Close()
	}
	started, err := k.start(next)
	if err != nil {
		k.t.Fatalf("restart: %v", err)
	}
	return started
}

// Address is where a listener of the component accepts, by its name under `ports`.
func (c *Component) Address(port string) string { return c.listeners[port].Addr().String() }

// Name is the component's name.
func (c *Component) Name() string { return c.desc.Name }

// Health is what the component last reported.
func (c *Component) Health() *controlv1.HealthChanged {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	return c.health
}

// WaitHealth waits until the component reports h.
func (c *Component) WaitHealth(h component.Health) *controlv1.HealthChanged {
	c.k.t.Helper()
	var last *controlv1.HealthChanged
	c.k.Eventually(func() bool { last = c.Health(); return last.GetHealth() == h })
	return last
}

// Eventually waits until ok holds, looking again after each event that the double sees and every few milliseconds; it fails the test
// at the deadline.
func (k *Kernel) Eventually(ok func() bool) {
	k.t.Helper()
	end := time.NewTimer(deadline)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		k.mu.Lock()
		changed := k.changed
		k.mu.Unlock()
		select {
		case <-changed:
		case <-tick.C:
		case <-end.C:
			k.t.Fatal("it did not happen within the deadline")
		}
	}
}

// Dir is the double's installation folder; repository/ lies below it.
func (k *Kernel) Dir() string { return k.dir }

func (k *Kernel) close() {
	k.mu.Lock()
	all := slices.Clone(k.components)
	k.mu.Unlock()
	for _, c := range slices.Backward(all) {
		if err := c.Stop(); err != nil {
			k.t.Errorf("stop of %s: %v", c.desc.Name, err)
		}
	}
	k.cancel()
	k.own.Stop()
	k.wg.Wait()
	os.RemoveAll(k.run)
}
