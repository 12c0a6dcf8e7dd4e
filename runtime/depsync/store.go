package depsync

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"carbonado.dev/carbonado/runtime/durable"
)

const (
	blobFolder = "blobs/sha256"
	// asideFolder keeps what lay in the deployment folder and was in no generation.
	asideFolder = "aside"
	stateFile   = "state.json"
	// keptGenerations is how many generations a node keeps whole.
	keptGenerations = 5
	// blobAge is how old a content must be before it goes: one that was just brought is about to be used.
	blobAge = time.Hour
)

// Store keeps contents by digest, the last generations, and what the deployment folder holds. A content is there whole and verified, or
// not at all. It is safe for concurrent readers; one goroutine writes.
type Store struct {
	root *os.Root
	now  func() time.Time
}

// kept is the store's state file.
type kept struct {
	// Base is the generation that the deployment folder was last equal to, and since when.
	Base Pointer   `json:"base"`
	At   time.Time `json:"at"`
	// Device is the file system that the folder lay on.
	Device uint64 `json:"device"`
	// Generations are the last ones, the newest first.
	Generations []Pointer `json:"generations"`
}

// OpenStore opens a store below a folder, which is made if missing.
func OpenStore(folder string, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, ErrDisk.Wrap(err, "%s can't be made", folder)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, ErrDisk.Wrap(err, "%s can't be opened", folder)
	}
	err = root.MkdirAll(blobFolder, 0o700)
	for _, f := range []string{".", blobFolder} {
		if err == nil {
			err = durable.RemoveTemp(root, f)
		}
	}
	if err != nil {
		return nil, errors.Join(ErrDisk.Wrap(err, "%s can't be prepared", folder), root.Close())
	}
	return &Store{root, now}, nil
}

// Close lets go of the folder.
func (s *Store) Close() error { return s.root.Close() }

func blobName(digest string) string { return path.Join(blobFolder, digest) }

// Has tells whether a content is there.
func (s *Store) Has(digest string) bool {
	_, err := s.root.Lstat(blobName(digest))
	return isDigest(digest) && err == nil
}

// Open reads a content. The caller checks it: a disk can change what lies on it.
func (s *Store) Open(digest string) (*os.File, error) {
	if !isDigest(digest) {
		return nil, fs.ErrNotExist
	}
	return s.root.Open(blobName(digest))
}

// Put takes a content of a size in. One that is not what its digest says is refused, and nothing of it stays.
func (s *Store) Put(digest string, size int64, content io.Reader) error {
	if !isDigest(digest) {
		return ErrContent.New("%q is no digest", digest)
	}
	if s.Has(digest) {
		return nil
	}
	return durable.WriteFrom(s.root, blobName(digest), 0o600, func(w io.Writer) error { return copyChecked(w, content, digest, size) })
}

// copyChecked copies a content and proves it: exactly size bytes, unless that is negative, of this digest.
func copyChecked(w io.Writer, content io.Reader, digest string, size int64) error {
	if size >= 0 {
		content = io.LimitReader(content, size+1)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), content)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest || size >= 0 && n != size {
		return ErrContent.New("%d bytes of the digest %s came for %d bytes of %s", n, got, size, digest)
	}
	return nil
}

// manifest reads a manifest that is kept, and proves it.
func (s *Store) manifest(digest string) (Manifest, error) {
	f, err := s.Open(digest)
	if err != nil {
		return Manifest{}, err
	}
	var data bytes.Buffer
	err = copyChecked(&data, io.LimitReader(f, maxManifest), digest, -1)
	if err = errors.Join(err, f.Close()); err != nil {
		return Manifest{}, err
	}
	return ParseManifest(data.Bytes())
}

// drop throws a damaged content away.
func (s *Store) drop(digest string) error { return durable.Remove(s.root, blobName(digest)) }

// load reads the state; a damaged one is set aside, and the folder is then compared anew.
func (s *Store) load() (kept, error) {
	var k kept
	data, err := s.root.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil && json.Unmarshal(data, &k) != nil {
		_, err = durable.SetAside(s.root, stateFile, s.now())
		k = kept{}
	}
	if err != nil {
		return k, ErrDisk.Wrap(err, "%s of the deployment store can't be read", stateFile)
	}
	return k, nil
}

// save writes the state, and drops contents that no kept generation has.
func (s *Store) save(k kept) error {
	data, err := json.MarshalIndent(k, "", " ")
	if err == nil {
		err = durable.Write(s.root, stateFile, data, 0o600)
	}
	if err != nil {
		return ErrDisk.Wrap(err, "%s of the deployment store can't be written", stateFile)
	}
	return s.collect(k.Generations)
}

func (s *Store) collect(generations []Pointer) error {
	used := map[string]bool{}
	for _, g := range generations {
		used[g.Digest] = true
		m, err := s.manifest(g.Digest)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil // what it has is not known: nothing goes
		}
		for _, f := range m.Files {
			used[f.Digest] = true
		}
	}
	d, err := s.root.Open(blobFolder)
	if err != nil {
		return ErrDisk.Wrap(err, "the deployment store can't be read")
	}
	list, err := d.ReadDir(-1)
	err = errors.Join(err, d.Close())
	for _, e := range list {
		if used[e.Name()] {
			continue
		}
		if info, ierr := e.Info(); ierr == nil && s.now().Sub(info.ModTime()) > blobAge {
			err = errors.Join(err, s.root.Remove(path.Join(blobFolder, e.Name())))
		}
	}
	if err != nil {
		return ErrDisk.Wrap(err, "old contents can't be removed")
	}
	return nil
}
