package supervisor

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settled is the age a file's last change must have for its digest to be remembered: two changes within one tick of the file
// system's clock look the same. Ticks are 10 ms at most.
const settled = 100 * time.Millisecond

// rememberedMost bounds the memory of digests; an installation has a few dozen executables.
const rememberedMost = 1024

// verifier opens executables and hashes what it opened, each version of a file once. Safe for concurrent use.
type verifier struct {
	mu    sync.Mutex // guards known
	known map[fileID]*hashing
	// hashed counts how often a file was read, for tests.
	hashed int
}

// fileID names one version of one file: any write to it changes ctime, which no program can set back.
type fileID struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// hashing is a digest being computed, or computed.
type hashing struct {
	done chan struct{}
	sum  [sha256.Size]byte
	err  error
}

// open opens an executable and checks that its SHA-256 is want (hexadecimal). The descriptor returned is the one that was hashed; it is
// the caller's to execute and to close.
func (v *verifier) open(path, want string) (*os.File, error) {
	wanted, err := hex.DecodeString(want)
	if err != nil || len(wanted) != sha256.Size {
		return nil, ErrDigest.New("no digest of %s is recorded (%q)", path, want)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, ErrExecutable.Wrap(err, "open %s", path)
	}
	sum, err := v.sum(f)
	if err != nil {
		f.Close()
		return nil, ErrExecutable.Wrap(err, "read %s", path)
	}
	if subtle.ConstantTimeCompare(sum[:], wanted) != 1 {
		f.Close()
		return nil, ErrDigest.New("the SHA-256 of %s is %x, %s was installed", path, sum, want)
	}
	return f, nil
}

// sum returns the digest of an open file. Concurrent calls for one version of a file read it once.
func (v *verifier) sum(f *os.File) ([sha256.Size]byte, error) {
	id, age, err := identify(f)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	v.mu.Lock()
	h := v.known[id]
	if h == nil {
		h = &hashing{done: make(chan struct{})}
		if v.known == nil || len(v.known) >= rememberedMost {
			v.known = map[fileID]*hashing{}
		}
		v.known[id] = h
		v.hashed++
		v.mu.Unlock()
		h.sum, h.err = digest(f, id)
		if h.err != nil || age < settled {
			v.mu.Lock()
			if v.known[id] == h {
				delete(v.known, id)
			}
			v.mu.Unlock()
		}
		close(h.done)
	} else {
		v.mu.Unlock()
	}
	<-h.done
	return h.sum, h.err
}

// digest reads the whole file through the descriptor and makes sure that it did not change meanwhile.
func digest(f *os.File, id fileID) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	buffer := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, id.size), buffer); err != nil {
		return sum, err
	}
	after, _, err := identify(f)
	if err != nil {
		return sum, err
	}
	if after != id {
		return sum, errors.New("it is being written")
	}
	h.Sum(sum[:0])
	return sum, nil
}

// identify names the version of an open file and tells how long ago it was changed.
func identify(f *os.File) (fileID, time.Duration, error) {
	info, err := f.Stat()
	if err != nil {
		return fileID{}, 0, err
	}
	if !info.Mode().IsRegular() {
		return fileID{}, 0, fmt.Errorf("it is no regular file (%s)", info.Mode().Type())
	}
	if info.Mode().Perm()&0o111 == 0 {
		return fileID{}, 0, fmt.Errorf("it is not executable (%s)", info.Mode().Perm())
	}
	st := info.Sys().(*syscall.Stat_t)
	id := fileID{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
	return id, time.Since(time.Unix(st.Ctim.Unix())), nil
}
