package catalog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/carbonado/runtime/trust"
)

// Pack makes a package file of a package's folder: component.yaml, executables, contracts, whatever else lies there. Hidden files are
// left out, and so are package files; a secret key is refused. The same folder gives the same bytes.
func Pack(ctx context.Context, src, file string) (*Package, error) {
	root, d, err := openSource(src, ErrPack)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p := &Package{Name: d.Name, Version: d.Version.String(), Descriptor: d}
	if err := p.survey(ctx, root); err != nil {
		return nil, err
	}
	if err := p.complete(); err != nil {
		return nil, err
	}
	lock := writeLock(p.Files)
	sum := sha256.Sum256(lock)
	p.Digest = hex.EncodeToString(sum[:])
	err = replace(file, func(w io.Writer) error {
		z := archive.NewWriter(w)
		if err := z.AddBytes(lockFile, lock); err != nil {
			return err
		}
		for _, f := range p.Files {
			if err := pack(ctx, z, root, f); err != nil {
				return err
			}
		}
		return z.Close()
	})
	if err != nil {
		return nil, err
	}
	// What was made is read as whoever installs it will read it.
	a, err := OpenArchive(file)
	if err != nil {
		return nil, ErrPack.Wrap(errors.Join(err, os.Remove(file)), "%s would not be taken", file)
	}
	return p, a.Close()
}

// survey lists and hashes the files of a folder.
func (p *Package) survey(ctx context.Context, root *os.Root) error {
	err := fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ErrPack.Wrap(err, "%s can't be read", path)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case path != "." && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir(), beside(path), strings.HasSuffix(path, Suffix):
			return nil
		case len(p.Files) >= maxFiles:
			return ErrPack.New("the folder has more than %d files", maxFiles)
		}
		f, err := record(root, path)
		if err == nil {
			p.Files = append(p.Files, f)
		}
		return err
	})
	slices.SortFunc(p.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return err
}

func record(root *os.Root, path string) (File, error) {
	f, err := open(root, path)
	if err != nil {
		return File{}, ErrPack.Wrap(err, "%s can't be read; links must stay within the folder", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return File{}, ErrPack.New("%s is no regular file", path)
	}
	sum := sha256.New()
	head := &beginning{left: 8 << 10}
	n, err := io.Copy(sum, io.TeeReader(f, head))
	if err != nil {
		return File{}, ErrPack.Wrap(err, "%s can't be read", path)
	}
	if int64(head.Len()) == n && trust.IsSecretKey(head.Bytes()) {
		return File{}, ErrPack.New("%s is a secret key; it does not belong into a package", path)
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return File{Path: path, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: n, Mode: mode}, nil
}

// beginning keeps the first bytes of what is written.
type beginning struct {
	bytes.Buffer
	left int
}

func (b *beginning) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// complete proves that what the descriptor names is there.
func (p *Package) complete() error {
	if _, ok := p.file(p.Descriptor.Executable); !ok && len(p.platforms()) == 0 {
		return ErrExecutable.New("%s %s has neither %s nor one for a platform", p.Name, p.Version, p.Descriptor.Executable)
	}
	for _, s := range p.Descriptor.Provides {
		if _, ok := p.file(s.Contract); s.Contract != "" && !ok {
			return ErrPack.New("the contract %s of %s is not there", s.Contract, s.Service).At(descriptorFile, s.Line, 0)
		}
	}
	return nil
}

// pack adds one file, and proves that it is still the one that was recorded.
func pack(ctx context.Context, z *archive.Writer, root *os.Root, want File) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f, err := open(root, want.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if err := z.Add(want.Path, want.Mode == 0o755, io.TeeReader(f, sum)); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != want.SHA256 {
		return ErrPack.New("%s changed while it was packed", want.Path)
	}
	return nil
}
