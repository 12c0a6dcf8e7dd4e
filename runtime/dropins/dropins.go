// Package dropins makes installed packages of the files in repository/components/dropins, and takes them back when their files go. It is
// a deployer like a component's, only within the kernel. It must not know how files are watched, or how components are started and
// stopped: it is told files, and it tells that packages changed.
package dropins

import (
	"context"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/trust"
	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"google.golang.org/grpc/codes"
)

// The kinds of error of dropped files. Those of packages are catalog's, those of trust trust's.
var (
	ErrNotPackage = cause.Define("CBN-PKG-055", "A dropped file is no component package.",
		"Drop files that end in .carbonado, as `carbonado plugin pack -o FILE` makes them; see docs/packages.md.").Code(codes.InvalidArgument)
	ErrShadowed = cause.Define("CBN-PKG-056", "A higher version of the component is installed too, and is the one that runs.",
		"Nothing; remove the higher one to have this one run.").Code(codes.FailedPrecondition)
	ErrReplaced = cause.Define("CBN-PKG-058", "A package that was installed by hand has taken the place of a dropped one of the same version.",
		"Nothing, if that was meant; else drop a higher version, or remove the component with `carbonado plugin remove NAME` and drop the file again.").Code(codes.FailedPrecondition)
	ErrStaysRunning = cause.Define("CBN-PKG-057", "A package whose file is gone can't be uninstalled yet.", "It is tried again.").Code(codes.Unavailable)
)

// OwnerName is how `artifact ls` calls this deployer; Type is the type of its artifacts.
const (
	OwnerName = "dropins"
	Type      = "package"
)

// Options of a Deployer.
type Options struct {
	// Home is the installation's folder, absolute.
	Home string
	// Catalog gives the installed packages as they are now.
	Catalog func() *catalog.Catalog
	// Changed says that packages came or went: the plan is to be made anew, soon. It must not block.
	Changed func()
	// Release makes the plan anew at once and waits until no process of a version runs.
	Release func(ctx context.Context, name, version string) error
	// Reconsider asks to have the files of Type that are not as they should be handed over again. It must not block or call back.
	Reconsider func()
	Log        hclog.Logger
}

// Deployer takes dropped files. It is safe for concurrent use.
type Deployer struct {
	Options
	mu sync.Mutex // one change at a time; guards brought
	// brought are the files from which something is installed: for others nothing has to be looked up.
	brought map[string]bool
}

// New makes the deployer, and uninstalls what earlier runs installed from files that are gone by now.
func New(ctx context.Context, o Options) (*Deployer, error) {
	d := &Deployer{Options: o, brought: map[string]bool{}}
	packages, err := o.Catalog().Scan(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range packages {
		if p.Origin.Over != "" {
			d.brought[p.Origin.Over] = true
		}
		if p.Origin.Dropin == "" {
			continue
		}
		if _, err := os.Lstat(d.abs(p.Origin.Dropin)); !os.IsNotExist(err) {
			d.brought[p.Origin.Dropin] = true
			continue
		}
		if err := o.Catalog().Uninstall(p.Name, p.Version); err != nil {
			return nil, err
		}
		o.Log.Info("uninstalled: its dropped file is gone", "component", p.Name, "version", p.Version, "file", p.Origin.Dropin)
	}
	return d, nil
}

func (d *Deployer) abs(file string) string { return path.Join(d.Home, "repository", file) }

// Owner is this deployer as hot deployment sees it.
func (d *Deployer) Owner() deploy.Owner {
	return deploy.Owner{Component: OwnerName, Client: d, Generation: 1, Types: []deploy.Type{
		{Type: Type, Root: deploy.DropinsRoot, Suffix: catalog.Suffix, InPlace: true},
		{Type: Type, Root: deploy.DropinsRoot, InPlace: true}, // whatever else lies there, to say that it is no package
	}}
}

// installedFrom gives what is installed from a dropped file, the present one first.
func installedFrom(packages []*catalog.Package, file string) []*catalog.Package {
	var out []*catalog.Package
	for _, p := range packages {
		if p.Origin.Dropin == file {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b *catalog.Package) int {
		switch {
		case a.Origin.Superseded == b.Origin.Superseded:
			return 0
		case b.Origin.Superseded:
			return -1
		}
		return 1
	})
	return out
}

// read opens a dropped file and judges it as far as that goes without unpacking.
func (d *Deployer) read(file string) (*catalog.Archived, error) {
	if !strings.HasSuffix(file, catalog.Suffix) {
		hint := ""
		if strings.HasSuffix(strings.ToLower(file), ".jar") {
			hint = "; OSGi bundles can't run here"
		}
		return nil, ErrNotPackage.New("%s does not end in %s%s", file, catalog.Suffix, hint)
	}
	root, err := os.OpenRoot(path.Join(d.Home, "repository"))
	if err != nil {
		return nil, catalog.ErrArchive.Wrap(err, "%s can't be read", file)
	}
	defer root.Close()
	f, err := root.Open(file)
	if err != nil {
		return nil, catalog.ErrArchive.Wrap(err, "%s can't be read", file)
	}
	a, err := catalog.ReadArchive(f)
	if err != nil {
		_ = f.Close() // read only
		return nil, err
	}
	if err := d.judge(a); err != nil {
		_ = a.Close() // read only
		return nil, err
	}
	return a, nil
}

// judge asks the rules: who signed it, whether the version is barred, whether it can run here at all.
func (d *Deployer) judge(a *catalog.Archived) error {
	policy, err := trust.Load(d.Home)
	if err != nil {
		return err
	}
	if _, err := policy.Dropped(a.Lock, a.Signature); err != nil {
		return err
	}
	if err := policy.CheckVersion(a.Name, a.Descriptor.Version); err != nil {
		return err
	}
	return a.CheckPlatform()
}

// present answers for a file whose content is installed already; ok is false if it is not.
func (d *Deployer) present(packages []*catalog.Package, file, digest string) (resp *controlv1.DeployResponse, ok bool) {
	for _, p := range installedFrom(packages, file) {
		if p.Origin.Archive != digest || p.Origin.Superseded {
			continue
		}
		if p.Cause != nil {
			return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_FAULTY, Cause: p.Cause.Proto()}, true
		}
		return d.taken(packages, p), true
	}
	for _, p := range packages {
		if p.Origin.Over == file && p.Origin.Archive == digest && !p.Origin.Superseded {
			return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_WAITING,
				Cause: ErrReplaced.New("%s %s is superseded by plugins/%s/%s, which was installed by hand (digest %.12s)", p.Name, p.Version, p.Name, p.Version, p.Digest).Proto()}, true
		}
	}
	return nil, false
}

// taken answers for an installed package: it is the one that runs, or a higher version is.
func (d *Deployer) taken(packages []*catalog.Package, p *catalog.Package) *controlv1.DeployResponse {
	for _, best := range catalog.Choose(packages) {
		if best.Name != p.Name || best.Version == p.Version {
			continue
		}
		from := "plugins/" + best.Name + "/" + best.Version
		if best.Origin.Dropin != "" {
			from = best.Origin.Dropin
		}
		return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_WAITING,
			Cause: ErrShadowed.New("%s %s is installed, but %s (%s) is higher and is the one that runs", p.Name, p.Version, best.Version, from).Proto()}
	}
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED, Offers: []string{"component:" + p.Name}}
}

func refused(err error) *controlv1.DeployResponse {
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_FAULTY, Cause: cause.Proto(err)}
}

// Validate implements controlv1.DeployerClient: everything but unpacking.
func (d *Deployer) Validate(ctx context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	file := r.Artifact.Path
	if d.brought[file] {
		packages, err := d.Catalog().Scan(ctx)
		if err != nil {
			return refused(err), nil
		}
		if resp, ok := d.present(packages, file, r.Artifact.Digest); ok {
			return resp, nil
		}
	}
	a, err := d.read(file)
	if err != nil {
		return refused(err), nil
	}
	_ = a.Close() // read only
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}

// Deploy implements controlv1.DeployerClient: it installs the package, in one step.
func (d *Deployer) Deploy(ctx context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	file := r.Artifact.Path
	c := d.Catalog()
	packages, err := c.Scan(ctx)
	if err != nil {
		return refused(err), nil
	}
	if resp, ok := d.present(packages, file, r.Artifact.Digest); ok {
		return resp, nil
	}
	a, err := d.read(file)
	if err != nil {
		return refused(err), nil
	}
	defer a.Close()
	p, err := c.InstallArchive(ctx, a, catalog.Origin{Dropin: file, Archive: r.Artifact.Digest})
	if err != nil {
		return refused(err), nil
	}
	if p.Cause != nil {
		return refused(cause.FromProto(p.Cause.Proto(), codes.FailedPrecondition)), nil
	}
	d.brought[file] = true
	// What the same file brought before gives way; it stays on disk until nothing of it runs.
	for _, old := range installedFrom(packages, file) {
		if old.Name == p.Name && old.Version == p.Version {
			continue
		}
		if err := c.Supersede(old, false); err != nil {
			return refused(err), nil
		}
	}
	d.Log.Info("installed from a dropped file", "component", p.Name, "version", p.Version, "file", file, "digest", p.Digest, "signature", p.Signature.String())
	d.Changed()
	d.Reconsider()
	if packages, err = c.Scan(ctx); err != nil {
		return refused(err), nil
	}
	return d.taken(packages, p), nil
}

// Update implements controlv1.DeployerClient: a new content of a file is installed beside what it brought before, or in its place.
func (d *Deployer) Update(ctx context.Context, r *controlv1.DeployRequest, o ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return d.Deploy(ctx, r, o...)
}

// Undeploy implements controlv1.DeployerClient: the file is gone, so are its packages, once nothing of them runs.
func (d *Deployer) Undeploy(ctx context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.brought[r.Artifact.Path] {
		return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
	}
	packages, err := d.Catalog().Scan(ctx)
	if err != nil {
		return refused(err), nil
	}
	list := installedFrom(packages, r.Artifact.Path)
	for _, p := range list {
		if err := d.uninstall(ctx, p); err != nil {
			return refused(err), nil
		}
	}
	delete(d.brought, r.Artifact.Path)
	if len(list) > 0 {
		d.Changed()
		d.Reconsider()
	}
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}

func (d *Deployer) uninstall(ctx context.Context, p *catalog.Package) error {
	c := d.Catalog()
	if !p.Origin.Gone {
		if err := c.Supersede(p, true); err != nil {
			return err
		}
	}
	if err := d.Release(ctx, p.Name, p.Version); err != nil {
		return ErrStaysRunning.Wrap(err, "%s %s still runs", p.Name, p.Version)
	}
	if err := c.UninstallSuperseded(p.Name, p.Version); err != nil {
		return err
	}
	d.Log.Info("uninstalled: its dropped file is gone or has another content", "component", p.Name, "version", p.Version, "file", p.Origin.Dropin)
	return nil
}

// Sweep uninstalls what dropped files brought before, where serves says that nothing of it runs and that its successor does. It is true if
// something has to stay for now.
func (d *Deployer) Sweep(ctx context.Context, serves func(name string) (version string)) (left bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	packages, err := d.Catalog().Scan(ctx)
	if err != nil {
		d.Log.Warn("old packages stay", "reason", err)
		return true
	}
	chosen := map[string]*semver.Version{}
	for _, p := range catalog.Choose(packages) {
		chosen[p.Name] = semver.MustParse(p.Version)
	}
	for _, p := range packages {
		if !p.Origin.Superseded {
			continue
		}
		now := serves(p.Name)
		if now == p.Version || chosen[p.Name] != nil && now != chosen[p.Name].String() {
			left = true
			continue
		}
		if err := d.Catalog().UninstallSuperseded(p.Name, p.Version); err != nil {
			d.Log.Warn("an old package stays", "component", p.Name, "version", p.Version, "reason", err)
			left = true
			continue
		}
		d.Log.Info("uninstalled: replaced", "component", p.Name, "version", p.Version)
	}
	return left
}
