package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/carbonado/runtime/trust"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// Suffix ends the names of package files.
const Suffix = ".carbonado"

// maxLock bounds package.lock and package.minisig, which are read into memory.
const maxLock = 4 << 20

// The kinds of error of package files.
var (
	ErrArchive = cause.Define("CBN-PKG-051", "A file is no package, or not a whole one.",
		"Make it with `carbonado plugin pack -o FILE`; fetch it anew if it was damaged on its way.").Code(codes.InvalidArgument)
	ErrPack  = cause.Define("CBN-PKG-052", "A folder can't be made a package.", "See the reason.")
	ErrTaken = cause.Define("CBN-PKG-053", "The same version of a component is installed already, from elsewhere.",
		"Remove one of the two, or give the new content a new version.").Code(codes.AlreadyExists)
)

// Archived is an opened package file. What it says of itself is proved as far as that goes without unpacking: structure, record,
// descriptor. Its files' contents are proved when they are read.
type Archived struct {
	Package
	// Lock is the record of digests that a signature is of; Signature is empty where it is not signed.
	Lock, Signature []byte
	archive         *archive.Archive
	file            *os.File
}

// OpenArchive opens a package file. The caller closes it.
func OpenArchive(file string) (*Archived, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, ErrArchive.Wrap(err, "%s can't be read", file)
	}
	a, err := ReadArchive(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// ReadArchive is OpenArchive of an open file, which Close closes; on an error the caller does.
func ReadArchive(f *os.File) (*Archived, error) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, ErrArchive.Wrap(err, "%s is no regular file", f.Name())
	}
	z, err := archive.Open(f, info.Size(), archive.Limits{Members: maxFiles + 2, Total: maxBytes})
	if err != nil {
		return nil, err
	}
	a := &Archived{archive: z, file: f}
	if a.Lock, err = z.Read(lockFile, maxLock); err != nil {
		return nil, ErrArchive.Wrap(err, "it has no %s", lockFile)
	}
	if a.Files, err = parseLock(a.Lock); err != nil {
		return nil, ErrArchive.Wrap(err, "its %s is not right", lockFile)
	}
	if !bytes.Equal(writeLock(a.Files), a.Lock) {
		return nil, ErrArchive.New("its %s is not written as it is to be", lockFile)
	}
	sum := sha256.Sum256(a.Lock)
	a.Digest = hex.EncodeToString(sum[:])
	if _, ok := z.Find(signatureFile); ok {
		if a.Signature, err = z.Read(signatureFile, maxLock); err != nil {
			return nil, err
		}
	}
	if err := a.match(); err != nil {
		return nil, err
	}
	return a, a.describe()
}

// match proves that members and record are the same files.
func (a *Archived) match() error {
	n := 0
	for _, e := range a.archive.Entries {
		f, ok := a.Package.file(e.Name)
		switch {
		case e.Name == lockFile || e.Name == signatureFile:
			continue
		case e.Dir || !ok:
			return ErrArchive.New("%s is not in its %s", e.Name, lockFile)
		case f.Size != e.Size:
			return ErrArchive.New("%s has %d bytes, its %s says %d", e.Name, e.Size, lockFile, f.Size)
		case f.Mode != 0o644 && f.Mode != 0o755:
			return ErrArchive.New("%s has the mode %04o; files of a package have 0644 or 0755", e.Name, f.Mode)
		}
		n++
	}
	for _, f := range a.Files {
		if _, ok := a.archive.Find(f.Path); !ok || beside(f.Path) {
			return ErrArchive.New("%s is missing", f.Path)
		}
	}
	if n != len(a.Files) {
		return ErrArchive.New("it has %d files, its %s has %d", n, lockFile, len(a.Files))
	}
	return nil
}

func (a *Archived) describe() error {
	want, ok := a.Package.file(descriptorFile)
	if !ok {
		return ErrArchive.New("it has no %s", descriptorFile)
	}
	data, err := a.archive.Read(descriptorFile, maxLock)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want.SHA256 {
		return ErrDigest.New("its %s is not the one that was packed", descriptorFile)
	}
	if a.Descriptor, err = ParseDescriptor(descriptorFile, data); err != nil {
		return err
	}
	a.Name, a.Version = a.Descriptor.Name, a.Descriptor.Version.String()
	return nil
}

// Close lets go of the file.
func (a *Archived) Close() error { return a.file.Close() }

// CheckPlatform refuses a package without an executable for this machine, without reading the executable.
func (a *Archived) CheckPlatform() error {
	p := a.Package
	d := *a.Descriptor
	p.Descriptor = &d
	return p.resolveExecutable()
}

// Verify reads every file and compares it with the record.
func (a *Archived) Verify(ctx context.Context) error {
	for _, f := range a.Files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, _ := a.archive.Find(f.Path)
		r, err := e.Open()
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
		if have := hex.EncodeToString(sum.Sum(nil)); have != f.SHA256 {
			return ErrDigest.New("%s has the SHA-256 %s, but %s was packed", f.Path, have, f.SHA256)
		}
	}
	return nil
}

// InstallPath installs what lies at a path: a package's folder, or a package file, whose signature the rules for dropped packages must
// accept, unless anyone will do.
func (c *Catalog) InstallPath(ctx context.Context, from string, anyone bool) (*Package, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, ErrInstall.Wrap(err, "%s can't be read", from)
	}
	if info.IsDir() {
		return c.Install(ctx, from)
	}
	a, err := OpenArchive(from)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	policy, err := c.policy()
	if err != nil {
		return nil, err
	}
	judge := policy.Dropped
	if anyone {
		judge = policy.Judge
	}
	if _, err := judge(a.Lock, a.Signature); err != nil {
		return nil, err
	}
	return c.InstallArchive(ctx, a, Origin{})
}

// InstallArchive is Install for a package file; whether its signer may is for the caller to ask. A package of the same version that came
// from elsewhere is not replaced: ErrTaken, or nothing to do where it is the same and was laid there by hand.
func (c *Catalog) InstallArchive(ctx context.Context, a *Archived, o Origin) (*Package, error) {
	d := *a.Descriptor
	policy, err := c.policy()
	if err == nil {
		err = policy.CheckVersion(d.Name, d.Version)
	}
	if err != nil {
		return nil, err
	}
	if have, err := c.Get(a.Name, a.Version); err == nil && have.Origin.Dropin != o.Dropin {
		from := "by hand"
		if have.Origin.Dropin != "" {
			from = "from " + have.Origin.Dropin
		}
		if have.Digest != a.Digest || have.Cause != nil || have.Origin.Dropin != "" {
			return nil, ErrTaken.New("%s %s is installed %s", a.Name, a.Version, from)
		}
		return have, nil
	}
	return c.install(ctx, &d, func(in *installation) error {
		in.signature, in.origin = a.Signature, o
		return in.unpack(a)
	})
}

// unpack fills the stage from an archive, and compares every file with the record.
func (in *installation) unpack(a *Archived) error {
	root, err := os.OpenRoot(in.stage)
	if err != nil {
		return ErrInstall.Wrap(err, "no folder can be made for the package")
	}
	defer root.Close()
	files, err := a.archive.Unpack(in.ctx, root)
	if err != nil {
		return err
	}
	for _, f := range files {
		want, ok := a.Package.file(f.Name)
		if !ok { // the record and the signature, which finish writes
			if err := root.Remove(f.Name); err != nil {
				return ErrInstall.Wrap(err, "%s cannot be unpacked", f.Name)
			}
			continue
		}
		if f.SHA256 != want.SHA256 || f.Size != want.Size {
			return ErrDigest.New("%s has the SHA-256 %s, but %s was packed", f.Name, f.SHA256, want.SHA256)
		}
		err := root.Chmod(f.Name, want.Mode)
		if err == nil && want.Mode == 0o755 {
			err = in.share(f.Name, want.SHA256)
		}
		if err != nil {
			return ErrInstall.Wrap(err, "%s cannot be unpacked", f.Name)
		}
	}
	in.files = slices.Clone(a.Files)
	return nil
}

// Sign signs a package file in place: its record of digests, so that the signature holds for the unpacked package too. An earlier
// signature is replaced. The file is replaced in one step.
func Sign(file string, key *trust.Key) error {
	a, err := OpenArchive(file)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Verify(context.Background()); err != nil {
		return err
	}
	a.Signature = key.Sign(a.Lock, "carbonado package "+a.Name+" "+a.Version+" "+a.Digest)
	return replace(file, func(w io.Writer) error {
		z := archive.NewWriter(w)
		for _, e := range a.archive.Entries {
			if e.Name == signatureFile {
				continue
			}
			if err := z.Copy(e); err != nil {
				return err
			}
		}
		return errors.Join(z.AddBytes(signatureFile, a.Signature), z.Close())
	})
}

// replace writes a file anew, in one step.
func replace(file string, fill func(io.Writer) error) error {
	abs, err := filepath.Abs(file)
	if err != nil {
		return ErrPack.Wrap(err, "%s can't be written", file)
	}
	root, err := os.OpenRoot(filepath.Dir(abs))
	if err != nil {
		return ErrPack.Wrap(err, "%s can't be written", file)
	}
	defer root.Close()
	if err := durable.WriteFrom(root, filepath.Base(abs), fs.FileMode(0o644), fill); err != nil {
		return ErrPack.Wrap(err, "%s can't be written", file)
	}
	return nil
}
