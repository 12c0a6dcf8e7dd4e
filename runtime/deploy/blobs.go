package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"carbonado.dev/carbonado/runtime/durable"
)

const (
	blobFolder = "blobs"
	indexFile  = "index.json"
	// MaxContent is the largest artifact that is handed over, in bytes: half of what a control message may carry.
	MaxContent = 8 << 20
)

// digestOf is the identity of a content.
func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// blobs keeps contents by digest, so that the last good one of a file outlives the file's next version and a restart.
type blobs struct {
	root *os.Root
}

func openBlobs(folder string) (*blobs, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	if err := root.Mkdir(blobFolder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, errors.Join(err, root.Close())
	}
	for _, f := range []string{".", blobFolder} {
		if err := durable.RemoveTemp(root, f); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	return &blobs{root: root}, nil
}

// put stores content and gives its digest.
func (b *blobs) put(content []byte) (string, error) {
	digest := digestOf(content)
	name := path.Join(blobFolder, digest)
	if _, err := b.root.Lstat(name); err == nil {
		return digest, nil
	}
	return digest, durable.Write(b.root, name, content, 0o600)
}

// get reads a content and proves that it still is what its name says.
func (b *blobs) get(digest string) ([]byte, error) {
	content, err := b.root.ReadFile(path.Join(blobFolder, digest))
	if err != nil {
		return nil, err
	}
	if digestOf(content) != digest {
		return nil, fmt.Errorf("the kept content %s is damaged", digest)
	}
	return content, nil
}

func (b *blobs) has(digest string) bool {
	_, err := b.root.Lstat(path.Join(blobFolder, digest))
	return digest != "" && err == nil
}

// keep removes every content that is not in use.
func (b *blobs) keep(used map[string]bool) error {
	d, err := b.root.Open(blobFolder)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	err = errors.Join(err, d.Close())
	for _, n := range names {
		if !used[n] {
			err = errors.Join(err, b.root.Remove(path.Join(blobFolder, n)))
		}
	}
	return err
}

func (b *blobs) close() error { return b.root.Close() }

// errUnsettled says that a file changed while it was read, or is open for writing.
var errUnsettled = errors.New("the file is still being written")

// reading is what readWhole found.
type reading struct {
	digest  string
	content []byte // nil if the file is larger than MaxContent
	size    int64
}

// readWhole opens a file once, proves that nobody is writing it, hashes while it copies, and proves on the same descriptor
// and on the path that it is still the file that was seen. needLease refuses files whose writers can't be known.
func readWhole(repo *os.Root, p string, seen stamp, needLease, hashOnly bool) (reading, error) {
	f, err := repo.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return reading{}, err
	}
	r, err := readOpen(f, p, repo, seen, needLease, hashOnly)
	return r, errors.Join(err, f.Close())
}

func readOpen(f *os.File, p string, repo *os.Root, seen stamp, needLease, hashOnly bool) (reading, error) {
	before, err := f.Stat()
	if err != nil {
		return reading{}, err
	}
	if !before.Mode().IsRegular() {
		return reading{}, errUnsettled
	}
	if w := writerOf(f); w == writerPresent || (needLease && w == writerUnknown) {
		return reading{}, errUnsettled
	}
	sum := sha256.New()
	content, size, err := copyHashed(f, sum, before.Size(), hashOnly)
	if err != nil {
		return reading{}, err
	}
	after, err := f.Stat()
	if err != nil {
		return reading{}, err
	}
	now, ok := look(repo, p)
	if !ok || now != seen || stampOf(after) != stampOf(before) || size != after.Size() {
		return reading{}, errUnsettled
	}
	return reading{digest: hex.EncodeToString(sum.Sum(nil)), content: content, size: size}, nil
}

func copyHashed(f *os.File, sum hash.Hash, size int64, hashOnly bool) ([]byte, int64, error) {
	if hashOnly || size > MaxContent {
		n, err := io.Copy(sum, f)
		return nil, n, err
	}
	content, err := io.ReadAll(io.TeeReader(io.LimitReader(f, MaxContent+1), sum))
	return content, int64(len(content)), err
}
