package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/digest"
	"carbonado.dev/sdk/cause"
	"github.com/Masterminds/semver/v3"
	"google.golang.org/grpc/codes"
)

// The kinds of error of packages.
var (
	ErrLock = cause.Define("CBN-PKG-002", "A package has no record of its files' digests, or it cannot be read.",
		"Install the package with `carbonado plugin install DIR`. A server records a folder laid there by hand once it is whole, but not one whose record was lost.")
	ErrDigest = cause.Define("CBN-PKG-003", "A file of a package is not the one that was installed.",
		"Find out who changed it; then install the package again with `carbonado plugin install DIR`.")
	ErrFiles = cause.Define("CBN-PKG-004", "A package has other files than were installed.",
		"Install the package again with `carbonado plugin install DIR`.")
	ErrSymlink = cause.Define("CBN-PKG-005", "A package contains a symbolic link that leads out of it.",
		"Replace the link by the file it points to.")
	ErrFolder = cause.Define("CBN-PKG-006", "A package's folder and its component.yaml disagree.",
		"A package lies in plugins/<name>/<version>, as component.yaml calls them.")
	ErrExecutable = cause.Define("CBN-PKG-007", "A package has no executable of the name that its component.yaml gives.",
		"Build the component into the package before installing it.")
	ErrInstall = cause.Define("CBN-PKG-008", "A package cannot be installed.", "See the reason.")
	ErrUnknown = cause.Define("CBN-PKG-009", "No such package is installed.",
		"See what is installed with `carbonado component ls`.").Code(codes.NotFound)
)

// The names that a package and the catalog use.
const (
	descriptorFile = "component.yaml"
	lockFile       = "package.lock"
	// signatureFile has the minisign signature of package.lock; originFile says where an installed package came from.
	signatureFile = "package.minisig"
	originFile    = "package.origin"
)

// beside tells the files that a package.lock does not record: itself and what is said about it.
func beside(path string) bool { return path == lockFile || path == signatureFile || path == originFile }

// Catalog is the installed packages of one installation. It is safe for concurrent use within a process; installing is
// safe between processes too.
type Catalog struct {
	// plugins is the folder of packages, known the file of names once installed.
	plugins, known string
	home           string
	digests        *digest.Cache
}

// At gives the catalog of the installation in home.
func At(home string) *Catalog {
	c := &Catalog{
		plugins: filepath.Join(home, "plugins"),
		known:   filepath.Join(home, "repository", "data", "kernel", "known-names"),
		home:    home,
		digests: &digest.Cache{},
	}
	c.digests.Load(c.digestsFile())
	return c
}

// digestsFile lies beside the names once installed.
func (c *Catalog) digestsFile() string { return filepath.Join(filepath.Dir(c.known), "digests") }

// Digests is the memory of digests that this catalog uses, for those who open its files.
func (c *Catalog) Digests() *digest.Cache { return c.digests }

// SaveDigests keeps the digests of what was read for the next process, so that unchanged files are not read again.
func (c *Catalog) SaveDigests() error {
	return c.digests.Save(c.digestsFile())
}

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,62}$`)

// Scan reads every package: by name, the highest version first. Each file is hashed and compared with what was recorded. A
// package that is not in order has a Cause; an error means that the folder itself cannot be read. A missing folder is an
// empty catalog.
func (c *Catalog) Scan(ctx context.Context) ([]*Package, error) {
	var out []*Package
	err := c.each(func(name string, v fs.DirEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := c.present(name, v)
		if p == nil {
			return nil
		}
		out = append(out, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b *Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), semver.MustParse(b.Version).Compare(semver.MustParse(a.Version)), cmp.Compare(a.Version, b.Version))
	})
	return out, nil
}

// Names lists the names of installed packages, whether or not they are in order.
func (c *Catalog) Names() ([]string, error) {
	var out []string
	err := c.each(func(name string, _ fs.DirEntry) error {
		out = append(out, name)
		return nil
	})
	return slices.Compact(out), err
}

// each visits every version folder, by name.
func (c *Catalog) each(visit func(name string, version fs.DirEntry) error) error {
	names, err := os.ReadDir(c.plugins)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return ErrInstall.Wrap(err, "the folder of packages cannot be read")
	}
	for _, n := range names {
		if !namePattern.MatchString(n.Name()) || n.Name() == "examples" || !n.IsDir() {
			continue
		}
		versions, err := os.ReadDir(filepath.Join(c.plugins, n.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its last version was uninstalled in this moment
		}
		if err != nil {
			return ErrInstall.Wrap(err, "the versions of %s cannot be read", n.Name())
		}
		for _, v := range versions {
			if _, err := semver.StrictNewVersion(v.Name()); err != nil || !v.IsDir() && v.Type()&fs.ModeSymlink == 0 {
				continue
			}
			if err := visit(n.Name(), v); err != nil {
				return err
			}
		}
	}
	return nil
}

// Choose takes the highest version of each name, by name, those that gave way excepted. A highest version that is not in order is chosen all the same: its
// cause is shown rather than an older version started in silence.
func Choose(packages []*Package) []*Package {
	best := map[string]*Package{}
	for _, p := range packages {
		if p.Origin.Superseded {
			continue
		}
		if have := best[p.Name]; have == nil || semver.MustParse(p.Version).GreaterThan(semver.MustParse(have.Version)) {
			best[p.Name] = p
		}
	}
	out := make([]*Package, 0, len(best))
	for _, p := range best {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Package) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// present is load of a package that others may install and uninstall meanwhile: what was not in order because it went is read again. It is
// nil if there is none.
func (c *Catalog) present(name string, version fs.DirEntry) (p *Package) {
	for range 10 {
		before, _ := os.Lstat(filepath.Join(c.plugins, name, version.Name()))
		if p = c.load(name, version.Name(), version.Type()); p.Cause == nil {
			return p
		}
		now, err := os.Lstat(p.Dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || before != nil && os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()):
			return p
		}
	}
	return p
}

// load reads one package folder and checks all of it.
func (c *Catalog) load(name, version string, mode fs.FileMode) *Package {
	p := &Package{Name: name, Version: version, Dir: filepath.Join(c.plugins, name, version)}
	p.Cause = component.CauseOf(c.fill(p, mode))
	return p
}

func (c *Catalog) fill(p *Package, mode fs.FileMode) error {
	if mode&fs.ModeSymlink != 0 {
		return ErrSymlink.New("the folder of %s %s is a symbolic link", p.Name, p.Version)
	}
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return ErrFiles.Wrap(err, "the folder of %s %s cannot be read", p.Name, p.Version)
	}
	defer root.Close()
	data, err := root.ReadFile(descriptorFile)
	if err != nil {
		return ErrDescriptor.Wrap(err, "%s %s has no %s that can be read", p.Name, p.Version, descriptorFile)
	}
	if p.Descriptor, err = descriptors.parse(c.shown(p, descriptorFile), data); err != nil {
		return err
	}
	if p.Descriptor.Name != p.Name || p.Descriptor.Version.String() != p.Version {
		return ErrFolder.New("the folder is %s/%s, but the descriptor says %s %s", p.Name, p.Version, p.Descriptor.Name, p.Descriptor.Version)
	}
	if err := p.readLock(root); err != nil {
		return err
	}
	if err := p.resolveExecutable(); err != nil {
		return err
	}
	if err := c.verify(p, root); err != nil {
		return err
	}
	if err := c.readContracts(p, root); err != nil {
		return err
	}
	return c.trusted(p, root)
}

// shown is how messages name a file of a package.
func (c *Catalog) shown(p *Package, file string) string {
	return fmt.Sprintf("plugins/%s/%s/%s", p.Name, p.Version, file)
}

// Verify compares every file of a package with what was recorded at its install, now. It is to be called before each start.
func (c *Catalog) Verify(p *Package) error {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return ErrFiles.Wrap(err, "the folder of %s %s cannot be read", p.Name, p.Version)
	}
	defer root.Close()
	return c.verify(p, root)
}

// maxContract is the largest contract in bytes.
const maxContract = 4 << 20

// readContracts reads the FileDescriptorSets that the descriptor names.
func (c *Catalog) readContracts(p *Package, root *os.Root) error {
	paths := map[string]bool{}
	for _, x := range p.Descriptor.Provides {
		paths[x.Contract] = true
	}
	for _, x := range p.Descriptor.Requires {
		paths[x.Contract] = true
	}
	delete(paths, "")
	p.Contracts = map[string][]byte{}
	for path := range paths {
		info, err := root.Stat(path)
		if err == nil && info.Size() > maxContract {
			err = fmt.Errorf("it has %d bytes, %d are possible", info.Size(), maxContract)
		}
		if err == nil {
			p.Contracts[path], err = root.ReadFile(path)
		}
		if err != nil {
			return ErrFiles.Wrap(err, "the contract %s cannot be read", c.shown(p, path))
		}
	}
	return nil
}

// verify walks the folder and the record side by side.
func (c *Catalog) verify(p *Package, root *os.Root) error {
	recorded := map[string]File{}
	for _, f := range p.Files {
		recorded[f.Path] = f
	}
	err := fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return ErrFiles.Wrap(err, "%s cannot be read", c.shown(p, path))
		}
		if e.IsDir() || beside(path) && e.Type().IsRegular() {
			return nil
		}
		if e.Type()&fs.ModeSymlink != 0 {
			return ErrSymlink.New("%s is a symbolic link; installed packages have none", c.shown(p, path))
		}
		want, ok := recorded[path]
		if !ok {
			return ErrFiles.New("%s was not installed", c.shown(p, path))
		}
		delete(recorded, path)
		f, err := open(root, path)
		if err != nil {
			return ErrFiles.Wrap(err, "%s cannot be read", c.shown(p, path))
		}
		defer f.Close()
		return c.same(p, want, f)
	})
	if err != nil {
		return err
	}
	for _, f := range p.Files {
		if _, missing := recorded[f.Path]; missing {
			return ErrFiles.New("%s is missing", c.shown(p, f.Path))
		}
	}
	return p.checkExecutable()
}

// open opens a file for reading, and does not wait where it is a pipe.
func open(root *os.Root, path string) (*os.File, error) {
	return root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// same compares an open file with its record.
func (c *Catalog) same(p *Package, want File, f *os.File) error {
	have, err := c.digests.Of(f)
	if err != nil {
		return ErrDigest.Wrap(err, "%s cannot be read", c.shown(p, want.Path))
	}
	if have != want.SHA256 {
		return ErrDigest.New("%s has the SHA-256 %s, but %s was installed", c.shown(p, want.Path), have, want.SHA256)
	}
	return nil
}

func (p *Package) checkExecutable() error {
	if f, ok := p.file(p.Descriptor.Executable); ok && f.Mode&0o111 != 0 {
		return nil
	}
	return ErrExecutable.New("%s %s has no executable %s", p.Name, p.Version, p.Descriptor.Executable)
}

// OpenExecutable opens the package's executable and hashes it from the descriptor that it gives back, so that what was
// checked is what is executed. The caller closes it. A digest other than the recorded one gives ErrDigest.
func (c *Catalog) OpenExecutable(p *Package) (*os.File, error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, ErrFiles.Wrap(err, "the folder of %s %s cannot be read", p.Name, p.Version)
	}
	defer root.Close()
	for _, want := range p.Files {
		if want.Path != p.Descriptor.Executable {
			continue
		}
		f, err := open(root, want.Path)
		if err != nil {
			return nil, ErrFiles.Wrap(err, "%s cannot be opened", c.shown(p, want.Path))
		}
		if err := c.same(p, want, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	return nil, ErrExecutable.New("%s %s has no executable %s", p.Name, p.Version, p.Descriptor.Executable)
}
