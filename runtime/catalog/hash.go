package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// settled is how long a file must have been left alone before its digest is remembered: twice the coarsest tick of a
// file system's clock, so that a write within the tick of the last one is not missed.
const settled = 50 * time.Millisecond

// inode is what must be equal for a digest to hold: any write changes the change time, which nobody can set.
type inode struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// hashes remembers digests, one per inode: packages share the inode of a multi-call executable. The zero value is ready.
type hashes struct {
	mu   sync.Mutex // guards seen
	seen map[inode]string
}

// of gives the SHA-256, hexadecimal, of an open regular file, read from its descriptor. The file's offset is at its start
// afterwards.
func (h *hashes) of(f *os.File) (string, error) {
	before, err := inodeOf(f)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	digest, ok := h.seen[before]
	h.mu.Unlock()
	if ok {
		return digest, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	digest = hex.EncodeToString(sum.Sum(nil))
	after, err := inodeOf(f)
	if err != nil {
		return "", err
	}
	if before == after && time.Since(time.Unix(after.ctime.Unix())) > settled {
		h.mu.Lock()
		if h.seen == nil {
			h.seen = map[inode]string{}
		}
		h.seen[after] = digest
		h.mu.Unlock()
	}
	return digest, nil
}

func inodeOf(f *os.File) (inode, error) {
	info, err := f.Stat()
	if err != nil {
		return inode{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return inode{}, fmt.Errorf("%s is no regular file", f.Name())
	}
	return inode{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}
