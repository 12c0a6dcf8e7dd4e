// Package vfs is the few file operations that the store's durability rests on, as an interface, so that tests can make each of
// them fail. It must not know what the files hold.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FS is a file system. Names are paths of the operating system. Implementations are safe for concurrent use.
type FS interface {
	// Create makes a new file for reading and writing; it fails if the file is there.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the entries of a folder durable.
	SyncDir(name string) error
}

// File is an open file. ReadAt may be called concurrently with everything but Close.
type File interface {
	io.ReaderAt
	io.Closer
	// WriteAt writes all buffers, in order, at the offset. After an error any part of them may be in the file.
	WriteAt(bufs [][]byte, off int64) error
	// Datasync makes the data and the size of the file durable. A failure must be taken as loss of what was written.
	Datasync() error
	Truncate(size int64) error
	// Reserve asks for space up to size without changing the file's size.
	Reserve(size int64) error
	Size() (int64, error)
}

// OS is the operating system's file system.
var OS FS = osFS{}

// IsFull says whether an error means that no space is left.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

type osFS struct{}

func (osFS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (osFS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

type osFile struct {
	f    *os.File
	iovs [][]byte
}

func (o *osFile) ReadAt(b []byte, off int64) (int, error) { return o.f.ReadAt(b, off) }
func (o *osFile) Close() error                            { return o.f.Close() }
func (o *osFile) Truncate(size int64) error               { return o.f.Truncate(size) }

// maxIovs is the kernel's limit of buffers in one call.
const maxIovs = 1024

func (o *osFile) WriteAt(bufs [][]byte, off int64) error {
	fd := int(o.f.Fd())
	rest := o.iovs[:0]
	for _, b := range bufs {
		if len(b) > 0 {
			rest = append(rest, b)
		}
	}
	o.iovs = rest
	for len(rest) > 0 {
		n, err := unix.Pwritev(fd, rest[:min(len(rest), maxIovs)], off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "pwritev", Path: o.f.Name(), Err: err}
		}
		if n <= 0 {
			return &fs.PathError{Op: "pwritev", Path: o.f.Name(), Err: io.ErrShortWrite}
		}
		off += int64(n)
		for n > 0 {
			if n < len(rest[0]) {
				rest[0] = rest[0][n:]
				break
			}
			n -= len(rest[0])
			rest = rest[1:]
		}
	}
	clear(o.iovs)
	return nil
}

func (o *osFile) Datasync() error {
	for {
		err := unix.Fdatasync(int(o.f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "fdatasync", Path: o.f.Name(), Err: err}
		}
		return nil
	}
}

func (o *osFile) Reserve(size int64) error {
	err := unix.Fallocate(int(o.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "fallocate", Path: o.f.Name(), Err: err}
	}
	return nil
}

func (o *osFile) Size() (int64, error) {
	st, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// WriteFile makes data durable under the name, whole or not at all: new file, sync, rename, sync of the folder.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	err = f.WriteAt([][]byte{data}, 0)
	if err == nil {
		err = f.Datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, ignoreMissing(fsys.Remove(tmp)))
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return errors.Join(err, ignoreMissing(fsys.Remove(tmp)))
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
