package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Peek reads the package in src, a folder with a component.yaml or a package file, as its install would make it, and changes nothing.
func Peek(ctx context.Context, src string) (*Package, error) {
	if info, err := os.Stat(src); err == nil && !info.IsDir() {
		return peekArchive(ctx, src)
	}
	root, d, err := openSource(src, ErrInstall)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p := &Package{Dir: src, Name: d.Name, Version: d.Version.String(), Descriptor: d}
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ErrInstall.Wrap(err, "%s cannot be read", path)
		case ctx.Err() != nil:
			return ctx.Err()
		case path == ".":
			return nil
		case strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir(), beside(path), strings.HasSuffix(path, Suffix):
			return nil
		}
		f, err := peekFile(root, path)
		p.Files = append(p.Files, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(p.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	sum := sha256.Sum256(writeLock(p.Files))
	p.Digest = hex.EncodeToString(sum[:])
	return p, p.resolveExecutable()
}

func peekFile(root *os.Root, path string) (File, error) {
	f, err := open(root, path)
	if err != nil {
		return File{}, ErrInstall.Wrap(err, "%s cannot be read", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return File{}, ErrInstall.New("%s is no regular file", path)
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return File{}, ErrInstall.Wrap(err, "%s cannot be read", path)
	}
	return File{Path: path, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size, Mode: mode}, nil
}

func peekArchive(ctx context.Context, src string) (*Package, error) {
	a, err := OpenArchive(src)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := a.Verify(ctx); err != nil {
		return nil, err
	}
	p := a.Package
	p.Dir = src
	return &p, p.resolveExecutable()
}
