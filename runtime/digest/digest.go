// Package digest is the SHA-256 of files, read from an open descriptor and remembered per version of a file, so that what is checked
// is what is executed and nothing is read twice. It must not know what a digest is compared with.
package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
)

// settled is the age a file's last change must have for its digest to be remembered: two changes within one tick of the file
// system's clock look the same. Ticks are 10 ms at most.
const settled = 100 * time.Millisecond

// attempts is how often a file that changes while it is read is read again.
const attempts = 8

// ErrChanging is the kind of a file that is being written.
var ErrChanging = cause.Define("CBN-PKG-020", "A file changes while it is read.", "Wait until it is written, then try again.")

// rememberedMost bounds the memory of digests; an installation has a few hundred files.
const rememberedMost = 4096

// version names one version of one file: any write to it changes the change time, which no program can set.
type version struct {
	Dev, Ino     uint64
	Size         int64
	Mtime, Ctime int64 // nanoseconds
}

// hashing is a digest being computed, or computed.
type hashing struct {
	done chan struct{}
	sum  string
	err  error
}

// Cache remembers digests. The zero value is ready and is safe for concurrent use; concurrent calls for one version of a file read it
// once.
type Cache struct {
	mu    sync.Mutex // guards the fields below
	known map[version]*hashing
	// read counts how often a file was read, for tests.
	read  int
	dirty bool
}

// Of is the SHA-256, hexadecimal, of an open regular file, whatever its offset, which stays. A file that is being written gives an
// error.
func (c *Cache) Of(f *os.File) (string, error) {
	v, err := versionOf(f)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	h := c.known[v]
	if h != nil {
		c.mu.Unlock()
		<-h.done
		return h.sum, h.err
	}
	h = &hashing{done: make(chan struct{})}
	if c.known == nil || len(c.known) >= rememberedMost {
		c.known = map[version]*hashing{}
	}
	c.known[v] = h
	c.read++
	c.dirty = true
	c.mu.Unlock()
	h.sum, h.err = sum(f, v)
	if h.err != nil || time.Since(time.Unix(0, v.Ctime)) < settled {
		c.mu.Lock()
		if c.known[v] == h {
			delete(c.known, v)
		}
		c.mu.Unlock()
	}
	close(h.done)
	return h.sum, h.err
}

// sum reads the whole file through the descriptor and makes sure that it did not change meanwhile. A hard link made by somebody else
// looks like a change, so it reads again a few times.
func sum(f *os.File, v version) (string, error) {
	buffer := make([]byte, 256<<10)
	for range attempts {
		h := sha256.New()
		if _, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, v.Size), buffer); err != nil {
			return "", err
		}
		after, err := versionOf(f)
		if err != nil {
			return "", err
		}
		if after == v {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		v = after
	}
	return "", ErrChanging.New("%s changed each of %d times while it was read", filepath.Base(f.Name()), attempts)
}

func versionOf(f *os.File) (version, error) {
	info, err := f.Stat()
	if err != nil {
		return version{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return version{}, fmt.Errorf("it is no regular file (%s)", info.Mode().Type())
	}
	return version{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// saved is one line of the file.
type saved struct {
	version
	Sum string
}

// Load takes over what Save wrote. A file that is missing, damaged, not our own or open to others is ignored: everything is then read
// anew. Who can write the file can replace the packages it speaks of as well.
func (c *Cache) Load(path string) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	var all []saved
	if json.Unmarshal(b, &all) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[version]*hashing{}
	}
	for _, s := range all {
		h := &hashing{done: make(chan struct{}), sum: s.Sum}
		close(h.done)
		c.known[s.version] = h
	}
}

// Save writes what is known, 0600, if anything was read since Load. The folder must exist.
func (c *Cache) Save(path string) error {
	c.mu.Lock()
	var all []saved
	for v, h := range c.known {
		select {
		case <-h.done:
			all = append(all, saved{v, h.sum})
		default:
		}
	}
	dirty := c.dirty
	c.dirty = false
	c.mu.Unlock()
	if !dirty {
		return nil
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.Write(root, filepath.Base(path), b, 0o600)
}
