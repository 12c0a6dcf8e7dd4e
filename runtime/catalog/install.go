package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
	"golang.org/x/sys/unix"
)

// Limits of a package. They keep a mistaken folder from filling the disk.
const (
	maxFiles = 10_000
	maxBytes = 4 << 30
)

// blobs is the folder, below plugins, of executables by digest. Packages hard-link them, so that a multi-call executable is
// on disk, and in memory, once.
const blobs = ".blobs"

// Install copies the package in src, a folder with a component.yaml, to plugins/<name>/<version>, and records the SHA-256 of
// every file. Links that lead out of src are refused. The same version again replaces the installed one as a whole; the same
// content again changes nothing. A signature in src is kept if it is of the same record. On an error nothing of it stays. The name is
// remembered. Who may call this may put a folder there by hand: no signature is asked for, but a barred version is refused.
func (c *Catalog) Install(ctx context.Context, src string) (*Package, error) {
	root, d, err := openSource(src, ErrInstall)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return c.install(ctx, d, func(in *installation) error {
		in.src = root
		in.origin = c.over(d)
		if err := in.copyAll(); err != nil {
			return err
		}
		in.keepSignature()
		return nil
	})
}

// over is the origin of what an operator installs now: it remembers the dropped file whose package gives way.
func (c *Catalog) over(d *component.Descriptor) Origin {
	have, err := c.Get(d.Name, d.Version.String())
	switch {
	case err != nil || have.Origin.Superseded:
		return Origin{}
	case have.Origin.Dropin != "":
		return Origin{Over: have.Origin.Dropin, Archive: have.Origin.Archive}
	}
	return have.Origin
}

// openSource opens the folder of a package that is not installed and reads its descriptor. kind is that of an error of the folder; the
// caller closes the root.
func openSource(src string, kind *cause.Kind) (_ *os.Root, _ *component.Descriptor, err error) {
	root, err := os.OpenRoot(src)
	if err != nil {
		return nil, nil, kind.Wrap(err, "the folder %s cannot be read", src)
	}
	data, err := root.ReadFile(descriptorFile)
	if err != nil {
		root.Close()
		return nil, nil, kind.Wrap(err, "%s has no %s", src, descriptorFile)
	}
	d, err := ParseDescriptor(filepath.Join(src, descriptorFile), data)
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	return root, d, nil
}

// install stages what fill brings and puts it in its place in one step.
func (c *Catalog) install(ctx context.Context, d *component.Descriptor, fill func(*installation) error) (*Package, error) {
	policy, err := c.policy()
	if err != nil {
		return nil, err
	}
	if err := policy.CheckVersion(d.Name, d.Version); err != nil {
		return nil, err
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	c.sweepStages()
	defer c.sweep()
	stage, err := os.MkdirTemp(c.plugins, stagePrefix)
	if err != nil {
		return nil, ErrInstall.Wrap(err, "no folder can be made for the package")
	}
	defer os.RemoveAll(stage)
	in := &installation{catalog: c, ctx: ctx, stage: stage}
	if err := fill(in); err != nil {
		return nil, err
	}
	p := &Package{Name: d.Name, Version: d.Version.String(), Descriptor: d, Files: in.files}
	if err := p.resolveExecutable(); err != nil {
		return nil, err
	}
	if err := checkProgram(filepath.Join(stage, d.Executable), d.Executable); err != nil {
		return nil, err
	}
	if err := in.finish(p); err != nil {
		return nil, err
	}
	if err := c.noteNew(p); err != nil {
		return nil, err
	}
	if err := c.Remember(d.Name); err != nil {
		return nil, err
	}
	return c.Get(d.Name, p.Version)
}

// The prefixes of folders that only live while something is installed or removed.
const (
	stagePrefix = ".stage-"
	gonePrefix  = ".gone-"
)

// sweepStages removes what an install or a removal left that was killed. The caller holds the lock, so none is under way.
func (c *Catalog) sweepStages() {
	entries, _ := os.ReadDir(c.plugins)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stagePrefix) || strings.HasPrefix(e.Name(), gonePrefix) {
			_ = os.RemoveAll(filepath.Join(c.plugins, e.Name())) // tried again by the next one
		}
	}
}

// Get reads one installed package. One that is not there gives ErrUnknown.
func (c *Catalog) Get(name, version string) (*Package, error) {
	info, err := os.Lstat(filepath.Join(c.plugins, name, version))
	if err != nil || !namePattern.MatchString(name) {
		return nil, ErrUnknown.New("%s %s is not installed", name, version)
	}
	return c.load(name, version, info.Mode().Type()), nil
}

// Uninstall removes one version of a component, and the component's folder with its last version. One that is not there
// gives ErrUnknown.
func (c *Catalog) Uninstall(name, version string) error {
	return c.uninstall(name, version, func(*Package) bool { return true })
}

// UninstallSuperseded is Uninstall of a version that is superseded. If the same version has been installed anew since, that one stays,
// and it is no error.
func (c *Catalog) UninstallSuperseded(name, version string) error {
	return c.uninstall(name, version, func(p *Package) bool {
		root, err := os.OpenRoot(p.Dir)
		if err != nil {
			return false
		}
		defer root.Close()
		return p.readOrigin(root) == nil && p.Origin.Superseded // read here: a damaged package has not been read so far
	})
}

func (c *Catalog) uninstall(name, version string, meant func(*Package) bool) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	c.sweepStages()
	p, err := c.Get(name, version)
	if err != nil {
		return err
	}
	if !meant(p) {
		return nil
	}
	aside, err := os.MkdirTemp(c.plugins, gonePrefix)
	if err != nil {
		return ErrInstall.Wrap(err, "%s %s cannot be removed", name, version)
	}
	defer os.RemoveAll(aside)
	if err := os.Rename(p.Dir, filepath.Join(aside, "package")); err != nil {
		return ErrInstall.Wrap(err, "%s %s cannot be removed", name, version)
	}
	_ = os.Remove(filepath.Dir(p.Dir)) // stays where other versions are
	if err := c.note(name, version, uninstalledDigest); err != nil {
		return err
	}
	c.sweep()
	return nil
}

// lock keeps other processes from installing at the same time.
func (c *Catalog) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.plugins, 0o755); err != nil {
		return nil, ErrInstall.Wrap(err, "the folder of packages cannot be made")
	}
	f, err := os.OpenFile(filepath.Join(c.plugins, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, ErrInstall.Wrap(err, "the folder of packages cannot be locked")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, ErrInstall.Wrap(errors.Join(err, f.Close()), "the folder of packages cannot be locked")
	}
	return func() { _ = f.Close() }, nil
}

// installation is one Install under way.
type installation struct {
	catalog *Catalog
	ctx     context.Context
	src     *os.Root
	stage   string
	files   []File
	total   int64
	// signature and origin are kept beside the files; empty where there is none.
	signature []byte
	origin    Origin
}

func (in *installation) copyAll() error {
	err := fs.WalkDir(in.src.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ErrInstall.Wrap(err, "%s cannot be read", path)
		case in.ctx.Err() != nil:
			return in.ctx.Err()
		case path == ".":
			return nil
		case strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return os.MkdirAll(filepath.Join(in.stage, path), 0o755)
		case beside(path), strings.HasSuffix(path, Suffix):
			return nil
		}
		return in.copyFile(path)
	})
	if err != nil {
		return err
	}
	slices.SortFunc(in.files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// copyFile copies one file; a symbolic link within the source becomes the file it points to.
func (in *installation) copyFile(path string) error {
	f, err := open(in.src, path)
	if err != nil {
		if info, lerr := in.src.Lstat(path); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return ErrSymlink.Wrap(err, "%s is a symbolic link that leads out of the package, or nowhere", path)
		}
		return ErrInstall.Wrap(err, "%s cannot be read", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ErrInstall.New("%s is no regular file", path)
	}
	if in.total += info.Size(); len(in.files) >= maxFiles || in.total > maxBytes {
		return ErrInstall.New("the package has more than %d files or %d bytes", maxFiles, int64(maxBytes))
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	digest, size, err := writeFile(filepath.Join(in.stage, path), f, mode)
	if err == nil && mode == 0o755 {
		err = in.share(path, digest)
	}
	if err != nil {
		return ErrInstall.Wrap(err, "%s cannot be copied", path)
	}
	in.files = append(in.files, File{Path: path, SHA256: digest, Size: size, Mode: mode})
	return nil
}

// writeFile writes a new file, and has it on disk when it returns.
func writeFile(path string, from io.Reader, mode fs.FileMode) (digest string, size int64, err error) {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	size, err = io.Copy(io.MultiWriter(to, sum), from)
	if err == nil {
		err = to.Chmod(mode)
	}
	if err == nil {
		err = to.Sync()
	}
	return hex.EncodeToString(sum.Sum(nil)), size, errors.Join(err, to.Close())
}

// share makes the staged executable and the blob of its digest one file. A blob whose content is not its name is replaced.
func (in *installation) share(path, digest string) error {
	dir := filepath.Join(in.catalog.plugins, blobs)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	staged, blob := filepath.Join(in.stage, path), filepath.Join(dir, digest)
	if f, err := os.Open(blob); err == nil {
		have, err := in.catalog.digests.Of(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if have == digest {
			if err := os.Remove(staged); err != nil {
				return err
			}
			return os.Link(blob, staged)
		}
		if err := os.Remove(blob); err != nil {
			return err
		}
	}
	return os.Link(staged, blob)
}

// finish writes the record and puts the staged folder in its place, in one step. What is there already is left alone if it is the same.
func (in *installation) finish(p *Package) error {
	target := filepath.Join(in.catalog.plugins, p.Name, p.Version)
	same := true
	for _, f := range []struct {
		name    string
		content []byte
	}{{lockFile, writeLock(in.files)}, {signatureFile, in.signature}, {originFile, in.origin.marshal()}} {
		have, err := os.ReadFile(filepath.Join(target, f.name))
		same = same && (err == nil && string(have) == string(f.content) || errors.Is(err, fs.ErrNotExist) && len(f.content) == 0)
		if len(f.content) == 0 {
			continue
		}
		if _, _, err := writeFile(filepath.Join(in.stage, f.name), strings.NewReader(string(f.content)), 0o644); err != nil {
			return ErrInstall.Wrap(err, "%s cannot be written", f.name)
		}
	}
	if err := os.Chmod(in.stage, 0o755); err != nil {
		return ErrInstall.Wrap(err, "the package cannot be put in its place")
	}
	if same {
		if now, err := in.catalog.Get(p.Name, p.Version); err == nil && now.Cause == nil {
			return nil
		}
	}
	err := os.MkdirAll(filepath.Dir(target), 0o755)
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, in.stage, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(in.stage, target)
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(target))
	}
	if err != nil {
		return ErrInstall.Wrap(err, "%s %s cannot be put in its place", p.Name, p.Version)
	}
	return nil
}

// sweep removes executables that no package links any more. What it cannot remove stays until the next time.
func (c *Catalog) sweep() {
	dir := filepath.Join(c.plugins, blobs)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink == 1 {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func syncFolder(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	return errors.Join(durable.SyncFolder(root, "."), root.Close())
}
