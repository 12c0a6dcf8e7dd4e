// Package durable writes small files so that a crash at any moment leaves the old content or the new one, never a mixture.
// It must not know what the files mean.
package durable

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// TempPrefix starts the names of files that are being written. A crash may leave one behind; RemoveTemp deletes it.
const TempPrefix = ".carbonado-"

// Write replaces the file name (slashes, relative to root) with content, and returns when it is on disk with its folder's
// entry. The folder must exist. Concurrent writers of one name are safe: the last rename wins.
func Write(root *os.Root, name string, content []byte, mode fs.FileMode) error {
	return WriteFrom(root, name, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFrom is Write with content that fill produces. An error of fill leaves the old file as it was.
func WriteFrom(root *os.Root, name string, mode fs.FileMode, fill func(io.Writer) error) (err error) {
	folder := path.Dir(name)
	temp := path.Join(folder, TempPrefix+rand.Text())
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return named(root, "create a file beside", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(root.Remove(temp)))
		}
	}()
	if err := fill(f); err != nil {
		return errors.Join(named(root, "write", name, err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(named(root, "sync", name, err), f.Close())
	}
	if err := f.Close(); err != nil {
		return named(root, "close", name, err)
	}
	if err := root.Rename(temp, name); err != nil {
		return named(root, "move into place", name, err)
	}
	return SyncFolder(root, folder)
}

// named says which file an error is about by its whole name: the one in the error is relative to root.
func named(root *os.Root, op, name string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(root.Name(), name), Err: err}
}

// Remove deletes a file and returns when that is on disk. A missing one is no error.
func Remove(root *os.Root, name string) error {
	if err := ignoreMissing(root.Remove(name)); err != nil {
		return err
	}
	return ignoreMissing(SyncFolder(root, path.Dir(name)))
}

// SyncFolder brings the entries of a folder to disk.
func SyncFolder(root *os.Root, folder string) error {
	d, err := root.Open(folder)
	if err != nil {
		return named(root, "open folder", folder, err)
	}
	if err := d.Sync(); err != nil {
		return errors.Join(named(root, "sync folder", folder, err), d.Close())
	}
	return d.Close()
}

// RemoveTemp deletes what earlier crashes left in one folder. Nobody may be writing there.
func RemoveTemp(root *os.Root, folder string) error {
	d, err := root.Open(folder)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	err = errors.Join(err, d.Close())
	for _, n := range names {
		if strings.HasPrefix(n, TempPrefix) {
			err = errors.Join(err, ignoreMissing(root.Remove(path.Join(folder, n))))
		}
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
