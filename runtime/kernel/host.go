package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/runtimes"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/handshake"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// tenant is carbon.super, the only one for now.
const tenant = -1234

// runSpan is how many process generations one kernel run may give to a component.
const runSpan = 10_000

// portPatience is how long a start waits for a port that another process is just letting go.
const portPatience = 5 * time.Second

// host turns planned components into processes (reconcile.Host).
type host struct {
	k *Kernel
	// runtimes finds the Java that components need.
	runtimes *runtimes.Finder

	// mu guards the fields below.
	mu          sync.Mutex
	generations map[string]uint64
	keys        map[string][]byte
	addresses   map[string]string
	instances   map[string]*supervisor.Instance // the newest of each component
}

func newHost(k *Kernel) *host {
	return &host{k: k, runtimes: &runtimes.Finder{Home: k.home}, generations: map[string]uint64{}, keys: map[string][]byte{}, addresses: map[string]string{}, instances: map[string]*supervisor.Instance{}}
}

// Generation grows with each start, over kernel runs too.
func (h *host) Generation(name string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.generations[name]++
	return h.k.run*runSpan + h.generations[name]
}

// Launch verifies the package, opens its ports and starts the process.
func (h *host) Launch(ctx context.Context, c *plan.Component, generation uint64) (reconcile.Process, error) {
	if g := h.k.guests.take(c.Name); g != nil {
		return h.k.guests.launch(ctx, g, c, generation)
	}
	p := c.Package
	if err := h.k.basis().catalog.Verify(p); err != nil {
		return nil, err
	}
	d := p.Descriptor
	digest := executableDigest(p)
	listeners, err := h.listen(ctx, d)
	if err != nil {
		return nil, err
	}
	spec := supervisor.Spec{
		Name: d.Name, Version: p.Version, Generation: generation,
		Executable: filepath.Join(p.Dir, filepath.FromSlash(d.Executable)), Digest: digest,
		PackageFolder: p.Dir, DataFolder: h.dataFolder(d.Name), Listeners: listeners,
		MemoryLimit: d.Resources.Memory, Files: d.Resources.Files, Processes: d.Resources.Processes, CPU: d.Resources.CPU, Watchdog: d.Watchdog, Nice: niceOf(d), Env: map[string]string{},
	}
	if tz := os.Getenv("TZ"); tz != "" {
		spec.Env["TZ"] = tz
	}
	runtimeFolder := ""
	if d.Runtime.Java != nil {
		java, err := h.runtimes.Java(ctx, d.Name, d.Runtime.Java)
		if err != nil {
			return nil, err
		}
		spec.Env[runtimes.JavaEnv] = java.Path
		runtimeFolder = javaHome(java.Path)
	}
	confine := func() error {
		var err error
		spec.Cage, spec.Confinement, err = h.k.confiner.cage(p, digest, runtimeFolder, h.k.reconciler.Plan(), h.k.basis().config.Server.Privileges)
		return err
	}
	if err := confine(); err != nil {
		return nil, err
	}
	inst, err := h.k.supervisor.Start(ctx, spec)
	if spec.Cage.UID != 0 && wantsSharedUser(inst, err) {
		if inst != nil {
			inst.Kill(ctx, component.ResultReplaced)
		}
		h.k.confiner.share(digest)
		h.k.log.Warn("a component runs as the server's user", "component", d.Name, "why", oldSDK)
		if err := confine(); err != nil {
			return nil, err
		}
		inst, err = h.k.supervisor.Start(ctx, spec)
	}
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.instances[d.Name] = inst
	h.mu.Unlock()
	return inst, nil
}

// wantsSharedUser tells of a start, successful or not, whether the component speaks a version of the control protocol that knows one user
// only: it may have refused the kernel for being another.
func wantsSharedUser(inst *supervisor.Instance, err error) bool {
	spoken := 0
	if inst != nil {
		spoken = inst.Protocol()
	} else if exit, ok := supervisor.ExitOf(err); ok {
		spoken = exit.Protocol
	}
	return spoken != 0 && spoken < handshake.ProtocolUsers
}

// javaHome is the folder of the Java whose program that is, by the file `release` that each has; empty if it can't be told.
func javaHome(program string) string {
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return ""
	}
	home := filepath.Dir(filepath.Dir(real))
	if _, err := os.Stat(filepath.Join(home, "release")); err != nil {
		return ""
	}
	return home
}

// instance is the newest process of a component, dead or alive; nil if there was none.
func (h *host) instance(name string) *supervisor.Instance {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.instances[name]
}

// Needs implements reconcile.Needs: a component whose language runtime is not there waits.
func (h *host) Needs(ctx context.Context, c *plan.Component) *component.Cause {
	d := c.Package.Descriptor
	if d.Runtime.Java == nil {
		return nil
	}
	_, err := h.runtimes.Java(ctx, d.Name, d.Runtime.Java)
	return component.CauseOf(err)
}

// niceOf puts what asks for little of a core behind what ingests: `resources.cpu` below a whole core is nice 10.
func niceOf(d *component.Descriptor) int {
	if d.Resources.CPU > 0 && d.Resources.CPU < 1000 {
		return 10
	}
	return 0
}

func (h *host) dataFolder(name string) string {
	return filepath.Join(h.k.home, "repository", "data", name)
}

// listen opens the component's ports, or finds them open from its last process.
func (h *host) listen(ctx context.Context, d *component.Descriptor) ([]supervisor.Listener, error) {
	var out []supervisor.Listener
	for _, p := range d.Ports {
		key := d.Name + "/" + p.Name
		address := net.JoinHostPort(p.Host, strconv.Itoa(p.Port+h.k.basis().config.Server.PortOffset.V))
		bound, err := h.k.listen(ctx, key, address)
		if err != nil {
			return nil, reconcile.ErrListen.Wrap(err, "port %s of %s (%s)", p.Name, d.Name, address)
		}
		h.mu.Lock()
		h.addresses[key] = bound
		h.mu.Unlock()
		out = append(out, supervisor.Listener{Name: p.Name, Key: key})
	}
	return out, nil
}

// listen asks the guardian for a listener; a port that is just being let go is waited for.
func (k *Kernel) listen(ctx context.Context, key, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	for {
		bound, err := k.guardian.Listen(ctx, key, address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return bound, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return "", err
		}
	}
}

// Configuration is what the process is told first.
func (h *host) Configuration(c *plan.Component, p reconcile.Process) (*controlv1.ConfigureRequest, error) {
	d := c.Package.Descriptor
	req := &controlv1.ConfigureRequest{
		Name: d.Name, Version: c.Package.Version, Generation: p.Generation(),
		DataFolder: h.dataFolder(d.Name), RunFolder: p.RunFolder(), PackageFolder: c.Package.Dir, RepositoryFolder: filepath.Join(h.k.home, "repository"),
		Shares: map[string]string{}, NodeId: h.k.nodeID, Tenant: tenant, Listeners: p.Listeners(),
		Properties: h.k.basis().resolution.Properties, MemoryLimit: d.Resources.Memory, PrincipalKey: h.principalKey(d.Name),
		ProductVersion: h.k.options.Version, KernelPid: int32(os.Getpid()), KernelUid: int32(os.Getuid()),
	}
	if c.Config != nil {
		req.ConfigJson = c.Config.JSON
	}
	for _, s := range d.Shares {
		folder := filepath.Join(h.dataFolder(d.Name), s.Name)
		if err := os.MkdirAll(folder, 0o700); err != nil { // made by the confiner where users are given
			return nil, fmt.Errorf("share %s of %s: %w", s.Name, d.Name, err)
		}
		req.Shares[d.Name+"/"+s.Name] = folder
	}
	for _, u := range d.Uses {
		req.Shares[u.String()] = filepath.Join(h.dataFolder(u.Component), u.Share)
	}
	if d.HasPrivilege("tls.server") {
		req.Tls = h.k.tlsPair()
	}
	return req, nil
}

// principalKey is the key under which the gateway signs principals for a component. It lives as long as the guardian.
func (h *host) principalKey(name string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[name] == nil {
		h.keys[name] = h.k.succession.principalSecret(name)
	}
	return h.keys[name]
}

// listeners are the open ports by "Component/name".
func (h *host) listeners() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[string]string, len(h.addresses))
	for k, v := range h.addresses {
		out[k] = v
	}
	return out
}
