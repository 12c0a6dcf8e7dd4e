package vfs

import (
	"path/filepath"
	"sync"
)

// Fault decides about one operation: op is "create", "open", "rename", "remove", "syncdir", "write", "datasync", "truncate" or
// "reserve", name the file's path. A non-nil error is returned instead of doing it. A write that fails has written half.
type Fault func(op, name string) error

// Faulty wraps a file system so that tests can make operations fail. Set may be called at any time.
type Faulty struct {
	FS
	mu    sync.Mutex
	fault Fault
}

// NewFaulty wraps fsys without faults.
func NewFaulty(fsys FS) *Faulty { return &Faulty{FS: fsys} }

// Set replaces the fault; nil is none.
func (f *Faulty) Set(fault Fault) {
	f.mu.Lock()
	f.fault = fault
	f.mu.Unlock()
}

func (f *Faulty) check(op, name string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op, filepath.ToSlash(name))
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) {
	if err := f.check("create", name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	if err := f.check("open", name); err != nil {
		return nil, err
	}
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

// Rename implements FS.
func (f *Faulty) Rename(from, to string) error {
	if err := f.check("rename", to); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(name string) error {
	if err := f.check("syncdir", name); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

type faultyFile struct {
	File
	fs   *Faulty
	name string
}

func (f *faultyFile) WriteAt(bufs [][]byte, off int64) error {
	if err := f.fs.check("write", f.name); err != nil {
		var all []byte
		for _, b := range bufs {
			all = append(all, b...)
		}
		if werr := f.File.WriteAt([][]byte{all[:len(all)/2]}, off); werr != nil {
			return werr
		}
		return err
	}
	return f.File.WriteAt(bufs, off)
}

func (f *faultyFile) Datasync() error {
	if err := f.fs.check("datasync", f.name); err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.check("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Reserve(size int64) error {
	if err := f.fs.check("reserve", f.name); err != nil {
		return err
	}
	return f.File.Reserve(size)
}
