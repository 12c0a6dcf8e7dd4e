// Package disk is what an index asks of a file system, so that tests can make it fail. It must not know the files' contents.
package disk

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File is a new file being written.
type File interface {
	io.Writer
	Sync() error
	Close() error
}

// FS is a file system. Safe for concurrent use.
type FS interface {
	// Create makes or empties a file.
	Create(name string) (File, error)
	Rename(from, to string) error
	// Remove of a missing file is no error.
	Remove(name string) error
	// SyncFolder makes the folder's entries durable.
	SyncFolder(name string) error
	ReadFile(name string) ([]byte, error)
	// Map makes a file readable as memory.
	Map(name string) (*Mapping, error)
	// List names what is in a folder.
	List(folder string) ([]string, error)
	// MakeFolder makes a folder and those above it.
	MakeFolder(name string) error
}

// Mapping is a file in memory. What Data returned must not be used after Close.
type Mapping struct{ data []byte }

// Data is the file's bytes.
func (m *Mapping) Data() []byte { return m.data }

// Forget gives the pages that were read back to the system; what is read later is fetched again.
func (m *Mapping) Forget() {
	if m.data != nil {
		_ = unix.Madvise(m.data, unix.MADV_DONTNEED) // a hint
	}
}

// Close takes the file out of memory; a second call does nothing.
func (m *Mapping) Close() error {
	if m.data == nil {
		return nil
	}
	data := m.data
	m.data = nil
	return unix.Munmap(data)
}

// OS is the operating system's.
type OS struct{}

// Create implements FS.
func (OS) Create(name string) (File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(name string) error {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// SyncFolder implements FS.
func (OS) SyncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// ReadFile implements FS.
func (OS) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

// Map implements FS.
func (OS) Map(name string) (*Mapping, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() == 0 {
		return &Mapping{}, nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: name, Err: err}
	}
	return &Mapping{data: data}, nil
}

// List implements FS.
func (OS) List(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// MakeFolder implements FS.
func (OS) MakeFolder(name string) error { return os.MkdirAll(name, 0o700) }

// Write makes a durable file by way of a temporary one: write, sync, rename. The folder's entry is the caller's to sync.
func Write(fs FS, name string, content []byte) error {
	tmp := name + ".tmp"
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fs.Rename(tmp, name)
	}
	if err != nil {
		_ = fs.Remove(tmp)
	}
	return err
}
