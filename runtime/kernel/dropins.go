package kernel

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/dropins"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/trust"
)

const (
	// trustEvery is how often the rules for packages are looked at, for changes made by hand.
	trustEvery = 2 * time.Second
	// refreshPatience is how long an operator who installs something waits for it to run.
	refreshPatience = 20 * time.Second
)

// packages keeps what runs equal to the packages that are installed. It is made before the first plan and closed after hot deployment.
type packages struct {
	k       *Kernel
	dropins *dropins.Deployer
	// changed is rung when packages came or went.
	changed chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}

	// mu guards leaving, the folders of packages that are being uninstalled.
	mu      sync.Mutex
	leaving map[string]bool
}

// openPackages uninstalls what lost its dropped file while no kernel ran. It comes before the first plan.
func (k *Kernel) openPackages(ctx context.Context) error {
	p := &packages{k: k, leaving: map[string]bool{}, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	var err error
	p.dropins, err = dropins.New(ctx, dropins.Options{
		Home: k.home, Catalog: func() *catalog.Catalog { return catalog.At(k.home) }, Changed: p.ring, Release: p.release,
		Reconsider: func() {
			if k.deployer != nil {
				k.deployer.Reconsider(dropins.Type)
			}
		},
		Log: k.logs.root.Named("dropins"),
	})
	k.packages = p
	if err == nil {
		p.adopt(ctx)
	}
	return err
}

func (p *packages) ring() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Owners implements deploy.Deployers: the components' and the kernel's own.
func (p *packages) Owners() []deploy.Owner {
	return append(p.k.reconciler.Owners(), p.dropins.Owner())
}

// run follows changes of packages and of the rules for them until close.
func (p *packages) run() {
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(p.ended)
		rules := trust.Fingerprint(p.k.home)
		sweep := true
		tick := time.NewTicker(trustEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.changed:
				p.takeUp(ctx)
				sweep = true
			case <-tick.C:
				if p.adopt(ctx) {
					p.takeUp(ctx)
				}
				if now := trust.Fingerprint(p.k.home); now != rules {
					rules = now
					p.k.log.Info("the rules for packages changed")
					p.takeUp(ctx)
					p.k.deployer.Reconsider(dropins.Type)
				}
				if sweep {
					sweep = p.dropins.Sweep(ctx, p.serves)
				}
			}
		}
	}()
}

// adopt records package folders that were laid into plugins/ by hand.
func (p *packages) adopt(ctx context.Context) bool {
	names, err := catalog.At(p.k.home).Adopt(ctx, trustEvery)
	if err != nil {
		p.k.log.Warn("folders laid into plugins/ are not recorded", "cause", err)
	}
	for _, n := range names {
		p.k.log.Info("a folder in plugins/ is recorded, and trusted by its digests from now on", "package", n)
	}
	return len(names) > 0
}

// close ends run and waits for it.
func (p *packages) close() {
	if p.cancel != nil {
		p.cancel()
		<-p.ended
	}
}

// takeUp makes what runs follow the packages. It does not wait for processes.
func (p *packages) takeUp(ctx context.Context) {
	names, err := p.apply(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.k.log.Error("changed packages are not taken up", "cause", err)
		}
		return
	}
	if len(names) > 0 {
		if err := p.k.basis().catalog.SaveDigests(); err != nil {
			p.k.log.Warn("digests are not kept for the next start", "error", err)
		}
	}
}

// apply makes a new plan of the installation, puts it in force and gives the components whose package came or is another one now; those
// that run are updated by the reconciler.
func (p *packages) apply(ctx context.Context) ([]string, error) {
	p.k.planning.Lock()
	defer p.k.planning.Unlock()
	before := p.k.reconciler.Plan()
	now, err := p.k.makePlan(ctx)
	if err != nil {
		return nil, err
	}
	changes := plan.Diff(before, now)
	p.k.putInForce(now)
	if len(changes) > 0 {
		p.k.deployments.record(reconcile.KernelName, asItLies, changes, "done", p.k.desired())
	}
	var names []string
	for i := range now.Components {
		c := &now.Components[i]
		if old := before.Find(c.Name); c.Installed && (old == nil || !old.Installed || old.Package.Digest != c.Package.Digest) {
			names = append(names, c.Name)
		}
	}
	return names, nil
}

// serves is the version of a component that a process runs now; empty if none does.
func (p *packages) serves(name string) string {
	v, _ := p.k.reconciler.View(name)
	return served(v)
}

func served(v reconcile.View) string {
	if v.Pid == 0 || v.Package == nil {
		return ""
	}
	return v.Package.Version
}

// release makes the plan anew and waits until no process of a version runs.
func (p *packages) release(ctx context.Context, name, version string) error {
	folder := filepath.Join(p.k.home, "plugins", name, version)
	p.mark(folder, true)
	defer p.mark(folder, false)
	if _, err := p.apply(ctx); err != nil {
		return err
	}
	return p.k.reconciler.Await(ctx, name, func(v reconcile.View) bool {
		return v.Name == "" || v.Settled && served(v) != version
	})
}

func (p *packages) mark(folder string, leaves bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if leaves {
		p.leaving[folder] = true
	} else {
		delete(p.leaving, folder)
	}
}

// roles are this server's, for Carbon applications: those of -DserverRoles (a list with commas), or else of carbon.xml.
func (k *Kernel) roles() []string {
	var out []string
	for r := range strings.SplitSeq(k.basis().resolution.Properties["serverRoles"], ",") {
		if r = strings.TrimSpace(r); r != "" {
			out = append(out, r)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, r := range k.basis().config.Server.Roles {
		out = append(out, r.V)
	}
	return out
}

// isLeaving tells whether a package is being uninstalled: then it is not kept in the place of another one, whatever is wrong with that.
func (p *packages) isLeaving(x *catalog.Package) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaving[x.Dir]
}

// RefreshPackages implements admin.Packages: somebody changed plugins/ or the rules for packages. It waits a while for the components that
// have another package now.
func (k *Kernel) RefreshPackages(ctx context.Context) error {
	var before []string
	for _, c := range k.reconciler.Plan().Components {
		if c.Installed {
			before = append(before, c.Name)
		}
	}
	names, err := k.packages.apply(ctx)
	if err != nil {
		return err
	}
	now := k.reconciler.Plan()
	for _, name := range before {
		if c := now.Find(name); c == nil || !c.Installed {
			names = append(names, name)
		}
	}
	k.deployer.Reconsider(dropins.Type)
	ctx, cancel := context.WithTimeout(ctx, refreshPatience)
	defer cancel()
	for _, name := range names {
		// What does not come up in time shows its state and cause in `component ls`.
		_ = k.reconciler.Await(ctx, name, func(v reconcile.View) bool {
			return v.Name == "" || v.Settled && (v.Pid == 0 || v.Planned != nil && served(v) == v.Planned.Package.Version)
		})
	}
	return nil
}
