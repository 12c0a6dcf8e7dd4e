// Package component is what a component is written with: Main, the context C with its configuration, references and
// registrations, and small optional interfaces for the life cycle. It must not know any component, nor the kernel beyond its
// contracts in sdk/proto.
//
//	func main() {
//		component.Main(func(c *component.C) error {
//			greetv1.RegisterGreeterServer(c, &greeter{next: greetv1.NewGreeterClient(c.Ref("next"))})
//			return nil
//		})
//	}
package component

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/telemetry"
)

// Errors of the SDK.
var (
	ErrConfig     = cause.Define("CBN-SDK-003", "A component's configuration can't be read.", "Correct repository/conf/components/<Name>.yaml.").Code(codes.InvalidArgument)
	ErrMismatch   = cause.Define("CBN-SDK-004", "A component registered other services than its component.yaml provides.", "Make `provides` and the registrations agree.")
	ErrPhase      = cause.Define("CBN-SDK-005", "A life-cycle call came out of order.", "The kernel calls Configure, Prepare, Acquire; Drain, Release, Stop.")
	ErrNoListener = cause.Define("CBN-SDK-006", "A listener is not among the component's ports.", "Add it to `ports` of component.yaml.")
	ErrUnbound    = cause.Define("CBN-SDK-008", "A reference has no provider.", "See `carbonado component diag`.").Code(codes.Unavailable)
	ErrRequest    = cause.Define("CBN-SDK-033", "A request that did not come through the gateway.", "Call the component's routes by the gateway.").Code(codes.PermissionDenied)
)

// Optional abilities of whatever is registered or managed, found by assertion. They are called in the order of registration,
// on the way down in the reverse order. Each gets a context that ends at the phase's deadline.
type (
	// Preparer makes ready everything but exclusive resources.
	Preparer interface{ Prepare(context.Context) error }
	// Acquirer takes exclusive resources: the log, ports. Services are published after the last Acquire.
	Acquirer interface{ Acquire(context.Context) error }
	// Drainer refuses new work and ends what is under way.
	Drainer interface{ Drain(context.Context) error }
	// Releaser lets go of exclusive resources. It is called even if Acquire failed half-way. Acquire may be called once more after it:
	// when the process that was to take over has failed, this one serves again.
	Releaser interface{ Release(context.Context) error }
	// Stopper ends everything else.
	Stopper interface{ Stop(context.Context) error }
)

// Health is how a component feels, apart from the state of its process.
type Health = controlv1.Health

// Values of Health that a component may report.
const (
	OK                     = controlv1.Health_HEALTH_OK
	Warn                   = controlv1.Health_HEALTH_WARN
	TemporarilyUnavailable = controlv1.Health_HEALTH_TEMPORARILY_UNAVAILABLE
	Critical               = controlv1.Health_HEALTH_CRITICAL
)

// Spec is a component as a multi-call executable holds it.
type Spec struct {
	Start   func(*C) error
	Options []Option
}

// C is a running component's view of the world. It is ready when Start is called, and safe for concurrent use.
type C struct {
	cfg *controlv1.ConfigureRequest
	log hclog.Logger
	ctx context.Context
	// cancel ends ctx.
	cancel    context.CancelFunc
	telemetry *telemetry.Registry
	// conf is the configuration that Modified brought; nil: that of cfg.
	conf atomic.Pointer[[]byte]

	// mu guards the fields below.
	mu        sync.Mutex
	sealed    bool // Start has returned: no more services can be registered
	services  []registered
	managed   []any
	deployers map[string]Deployer
	refs      map[string]*Refs
	gates     map[string]func(context.Context, []*Bound)
	events    *events
	nextLocal uint64
	published map[uint64]*Registration

	// replaced: the Drain under way or done is for a successor.
	replaced atomic.Bool
	handover handovers

	listenersMu sync.Mutex
	listeners   map[string]*listener
	openFD      func(fd int) (net.Listener, error)
	tlsConfig   *tls.Config
}

// registered is a service that Start registered.
type registered struct {
	desc *grpc.ServiceDesc
	impl any
}

func newC(log hclog.Logger, openFD func(int) (net.Listener, error)) *C {
	registry := telemetry.New()
	registry.Render = render
	processMetrics(registry)
	ctx, cancel := context.WithCancel(telemetry.With(context.Background(), registry))
	return &C{
		log: log, ctx: ctx, cancel: cancel, openFD: openFD, telemetry: registry,
		deployers: map[string]Deployer{},
		refs:      map[string]*Refs{},
		events:    newEvents(),
		published: map[uint64]*Registration{},
		listeners: map[string]*listener{},
	}
}

// Context ends when the component stops. Goroutines of the component's own life hang on it.
func (c *C) Context() context.Context { return c.ctx }

// Name is the component's name in component.yaml.
func (c *C) Name() string { return c.cfg.Name }

// Version is the component's version in component.yaml.
func (c *C) Version() string { return c.cfg.Version }

// ProductVersion is the version of the product whose kernel runs the component.
func (c *C) ProductVersion() string { return c.cfg.ProductVersion }

// NodeID identifies this node in its cluster.
func (c *C) NodeID() string { return c.cfg.NodeId }

// Tenant is the only tenant for now: -1234, carbon.super.
func (c *C) Tenant() int32 { return c.cfg.Tenant }

// Generation grows with each start of this component's process on this node.
func (c *C) Generation() uint64 { return c.cfg.Generation }

// Log writes to the kernel's log under the component's name.
func (c *C) Log() hclog.Logger { return c.log }

// DataFolder is the component's own folder, and its working folder.
func (c *C) DataFolder() string { return c.cfg.DataFolder }

// PackageFolder is the component's package, read only.
func (c *C) PackageFolder() string { return c.cfg.PackageFolder }

// RepositoryFolder is the installation's repository/.
func (c *C) RepositoryFolder() string { return c.cfg.RepositoryFolder }

// Share is the absolute folder of a share of this component or of one that it uses: "DataService/segments". Empty if component.yaml
// does not ask for it.
func (c *C) Share(name string) string { return c.cfg.Shares[name] }

// Property is a -Dname=value given at the server's start.
func (c *C) Property(name string) (string, bool) {
	v, ok := c.cfg.Properties[name]
	return v, ok
}

// MemoryLimit is the component's budget in bytes from `resources`; 0 is none.
func (c *C) MemoryLimit() int64 { return c.cfg.MemoryLimit }

// Config decodes the component's configuration, defaults filled in and secrets resolved. Keys that `into` does not have are errors.
func (c *C) Config(into any) error {
	d := json.NewDecoder(bytes.NewReader(c.configJSON()))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return ErrConfig.Wrap(err, "configuration of %s", c.Name())
	}
	return nil
}

func (c *C) configJSON() []byte {
	if newer := c.conf.Load(); newer != nil {
		return *newer
	}
	if len(c.cfg.ConfigJson) == 0 {
		return []byte("{}")
	}
	return c.cfg.ConfigJson
}

func (c *C) value(key string) any {
	var m map[string]any
	if json.Unmarshal(c.configJSON(), &m) != nil {
		return nil
	}
	return m[key]
}

// Bool is a boolean of the configuration; false if absent.
func (c *C) Bool(key string) bool {
	v, _ := c.value(key).(bool)
	return v
}

// String is a string of the configuration; empty if absent.
func (c *C) String(key string) string {
	v, _ := c.value(key).(string)
	return v
}

// Int is a number of the configuration; 0 if absent.
func (c *C) Int(key string) int {
	v, _ := c.value(key).(float64)
	return int(v)
}

// RegisterService makes C a grpc.ServiceRegistrar. Call it within Start. If impl has abilities (Acquirer …) they are used.
func (c *C) RegisterService(desc *grpc.ServiceDesc, impl any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sealed {
		panic(fmt.Sprintf("component %s: service %s registered after Start", c.cfg.Name, desc.ServiceName))
	}
	c.services = append(c.services, registered{desc, impl})
	c.manage(impl)
}

// Manage lets x take part in the life cycle by its abilities. Call it within Start.
func (c *C) Manage(x any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.manage(x)
}

func (c *C) manage(x any) {
	for _, m := range c.managed {
		if m == x {
			return
		}
	}
	c.managed = append(c.managed, x)
}

// Listener is a TCP listener that the kernel opened for the component, by its name under `ports`. Each call answers the same
// listener; closing it ends it for this process only, connects queue until the next one accepts. After Close the next call opens it
// anew.
func (c *C) Listener(name string) (net.Listener, error) {
	c.listenersMu.Lock()
	defer c.listenersMu.Unlock()
	if l, ok := c.listeners[name]; ok && !l.closed.Load() {
		return l, nil
	}
	for _, l := range c.cfg.Listeners {
		if l.Name != name {
			continue
		}
		open, err := c.openFD(int(l.Fd))
		if err != nil {
			return nil, ErrNoListener.Wrap(err, "listener %s of %s", name, c.Name())
		}
		c.listeners[name] = &listener{Listener: open}
		return c.listeners[name], nil
	}
	return nil, ErrNoListener.New("listener %s of %s", name, c.Name())
}

// listener knows whether it was closed.
type listener struct {
	net.Listener
	closed atomic.Bool
}

func (l *listener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

// openInherited makes a listener of an inherited descriptor, which stays open, so that it can be done again.
func openInherited(fd int) (net.Listener, error) {
	again, err := syscall.Dup(fd)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(again)
	f := os.NewFile(uintptr(again), "listener")
	defer f.Close()
	return net.FileListener(f)
}

// TLS is the configuration for the component's own TLS listeners; nil without privilege tls.server. Clone before changing.
func (c *C) TLS() *tls.Config { return c.tlsConfig }

// TLSMinVersion turns "1.0" … "1.3" into a version of crypto/tls; empty is 1.2.
func TLSMinVersion(text string) (uint16, error) {
	switch text {
	case "1.0":
		return tls.VersionTLS10, nil
	case "1.1":
		return tls.VersionTLS11, nil
	case "", "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, ErrConfig.New("TLS version %q: 1.0, 1.1, 1.2 or 1.3", text)
}

func tlsFrom(pair *controlv1.TLSPair) (*tls.Config, error) {
	cert, err := tls.X509KeyPair(pair.CertificatePem, pair.KeyPem)
	if err != nil {
		return nil, ErrConfig.Wrap(err, "TLS pair")
	}
	least, err := TLSMinVersion(pair.MinVersion)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: least}, nil
}

// SetHealth reports how the component feels, with the reason for anything but OK.
func (c *C) SetHealth(h Health, reason error) {
	c.events.setHealth(&controlv1.HealthChanged{Health: h, Cause: cause.Proto(reason)})
}
