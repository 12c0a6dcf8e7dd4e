package depsync

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/cluster"
)

const (
	// leaseTTL is how long the committer has for one generation; contents are in the store before it begins.
	leaseTTL = 30 * time.Second
	// guardFiles and guardPart: more than so many files, and more than such a part of all, gone at once are not believed.
	guardFiles = 5
	guardPart  = 0.3
)

// committer is who may commit.
type committer struct {
	Node  string    `json:"node"`
	Since time.Time `json:"since"`
}

// Commit makes a generation of what lies in the folder, whatever was there before: an operator's word that it is right. The same content
// makes none.
func (n *Node) Commit(ctx context.Context) (Pointer, error) {
	if n.files == nil {
		return Pointer{}, ErrFollows.New("%s follows", n.id)
	}
	n.turn.Lock()
	defer n.turn.Unlock()
	err := n.finish(ctx, n.commit(ctx, true))
	return n.Base(), err
}

func (n *Node) commit(ctx context.Context, confirmed bool) error {
	if err := n.pinned(ctx); err != nil {
		return err
	}
	p, version, err := n.pointer(ctx)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(n.folder)
	if err != nil {
		return ErrMuchGone.Wrap(err, "the deployment folder can't be opened")
	}
	defer root.Close()
	files, whole := n.files()
	if err := n.patience(whole); err != nil && !confirmed {
		return err
	}
	if err := n.agree(root, files); err != nil {
		return err
	}
	m, err := n.collect(ctx, root, files)
	if err != nil {
		return err
	}
	data := m.Encode()
	digest := digestOf(data)
	base := n.Base()
	if digest == p.Digest {
		if base.Generation == p.Generation && base.Digest == p.Digest && n.onDevice(root) {
			return nil
		}
		if err := n.keepManifest(digest, data); err != nil {
			return err
		}
		return n.note(p)
	}
	if !confirmed {
		if !n.alone && p.Generation > 0 && p.Digest != base.Digest && !(p.Committer == n.id && n.store.Has(p.Digest)) {
			// What lies here does not stem from the present generation: it would take back what was deployed elsewhere.
			return n.take(ctx, p)
		}
		if err := n.guard(root, p, m); err != nil {
			return err
		}
	}
	if err := n.keepManifest(digest, data); err != nil {
		return err
	}
	next := Pointer{Generation: max(p.Generation, base.Generation) + 1, Digest: digest, Committer: n.id, Time: n.time()}
	if next, err = n.move(ctx, next, version); err != nil {
		return err
	}
	n.log.Info("generation", "number", next.Generation, "digest", next.Digest, "files", len(m.Files))
	return n.note(next)
}

// pinned makes sure that this node is the committer. The first that asks becomes it, for good: a second one is refused and does not queue.
func (n *Node) pinned(ctx context.Context) error {
	var pin committer
	version, err := n.get(ctx, keyCommitter, &pin)
	if err != nil || pin.Node == n.id {
		return err
	}
	if pin.Node == "" || n.alone {
		err := n.set(ctx, keyCommitter, committer{n.id, n.time()}, version)
		if !errors.Is(err, cluster.ErrConflict) {
			return err
		}
		if _, err := n.get(ctx, keyCommitter, &pin); err != nil || pin.Node == n.id {
			return err
		}
	}
	return ErrOtherCommitter.New("%s commits since %s; what lies in the deployment folder of %s is not passed on", pin.Node, pin.Since.Format(time.RFC3339), n.id)
}

// patience waits for what is being written, for a while: files that are dropped together are one generation.
func (n *Node) patience(whole bool) error {
	switch {
	case whole:
		n.partial = time.Time{}
	case n.partial.IsZero():
		n.partial = time.Now()
		fallthrough
	case time.Since(n.partial) < partialMost:
		return ErrChanging.New("a file is still being written")
	}
	return nil
}

// agree makes sure, after this node itself has written to its folder, that Files knows it: what it says may be older than that.
func (n *Node) agree(root *os.Root, files map[string]string) error {
	if !n.unsure {
		return nil
	}
	have, err := walk(root, &n.digests)
	if err != nil {
		return onDisk(err, "the deployment folder can't be read")
	}
	laid, err := n.store.manifest(n.Base().Digest)
	if err != nil {
		return onDisk(err, "the manifest of generation %d can't be read", n.Base().Generation)
	}
	for _, f := range laid.Files {
		if have[f.Path].digest == f.Digest && files[f.Path] != f.Digest {
			return ErrChanging.New("%s was written a moment ago", f.Path)
		}
	}
	for p := range files {
		if _, ok := have[p]; !ok {
			return ErrChanging.New("%s went a moment ago", p)
		}
	}
	n.unsure = false
	return nil
}

// onDevice tells whether the folder lies where it lay.
func (n *Node) onDevice(root *os.Root) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kept.Device == device(root)
}

// collect brings what is new in the folder into the store and lists what lies there. Only contents that the store does not have are read.
// Links are no part of a generation: they are this machine's.
func (n *Node) collect(ctx context.Context, root *os.Root, digests map[string]string) (Manifest, error) {
	var files []File
	for p, digest := range digests {
		if checkPath(p) != nil {
			n.log.Debug("a file whose name can't be in a generation is left out", "path", p)
			continue
		}
		info, err := root.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return Manifest{}, ErrChanging.New("%s went a moment ago", p)
		}
		if err != nil {
			return Manifest{}, ErrDisk.Wrap(err, "%s can't be looked at", p)
		}
		if info.Mode()&fs.ModeType != 0 {
			continue
		}
		size, err := n.keepContent(ctx, root, p, digest)
		if err != nil {
			return Manifest{}, err
		}
		files = append(files, File{Path: p, Digest: digest, Size: size, Mode: info.Mode().Perm()})
	}
	return NewManifest(files)
}

// keepContent takes a file's content into the store and gives its size.
func (n *Node) keepContent(ctx context.Context, root *os.Root, p, digest string) (int64, error) {
	if f, err := n.store.Open(digest); err == nil {
		info, err := f.Stat()
		if err = errors.Join(err, f.Close()); err != nil {
			return 0, ErrDisk.Wrap(err, "the content of %s can't be looked at", p)
		}
		return info.Size(), nil
	}
	if err := n.step("keep " + p); err != nil {
		return 0, err
	}
	f, err := root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, ErrChanging.Wrap(err, "%s can't be opened", p)
	}
	counted := &counter{ctx: ctx, from: f}
	err = n.store.Put(digest, -1, counted)
	switch err = errors.Join(err, f.Close()); {
	case errors.Is(err, ErrContent):
		return 0, ErrChanging.Wrap(err, "%s", p)
	case err != nil:
		return 0, ErrDisk.Wrap(err, "the content of %s can't be kept", p)
	}
	return counted.n, nil
}

// counter counts what is read, until ctx ends.
type counter struct {
	ctx  context.Context
	from io.Reader
	n    int64
}

func (c *counter) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.from.Read(b)
	c.n += int64(n)
	return n, err
}

// keepManifest is before the pointer: whoever reads the pointer can have the manifest and all of its contents.
func (n *Node) keepManifest(digest string, data []byte) error {
	if err := n.step("keep the manifest"); err != nil {
		return err
	}
	if err := n.store.Put(digest, int64(len(data)), bytes.NewReader(data)); err != nil {
		return onDisk(err, "the manifest can't be kept")
	}
	return nil
}

// guard refuses to pass on that much is gone: a disk that is not there must not empty the folders of all nodes.
func (n *Node) guard(root *os.Root, p Pointer, m Manifest) error {
	if p.Generation == 0 {
		return nil
	}
	before, err := n.store.manifest(p.Digest)
	if n.alone && errors.Is(err, fs.ErrNotExist) {
		return nil // the store was lost: nothing to compare with
	}
	if err != nil {
		return onDisk(err, "the manifest of generation %d can't be read", p.Generation)
	}
	paths, digests := map[string]bool{}, map[string]bool{}
	for _, f := range m.Files {
		paths[f.Path], digests[f.Digest] = true, true
	}
	gone := 0
	for _, f := range before.Files {
		if !paths[f.Path] && !digests[f.Digest] {
			gone++
		}
	}
	if gone == 0 {
		return nil
	}
	list, err := fs.ReadDir(root.FS(), ".")
	switch {
	case err != nil:
		return ErrMuchGone.Wrap(err, "the deployment folder can't be read")
	case len(list) == 0:
		return ErrMuchGone.New("the deployment folder is empty; it had %d files", len(before.Files))
	case !n.onDevice(root):
		return ErrMuchGone.New("the deployment folder lies on another file system than before, and %d of %d files are gone", gone, len(before.Files))
	case gone > guardFiles && float64(gone) > guardPart*float64(len(before.Files)):
		return ErrMuchGone.New("%d of %d files are gone", gone, len(before.Files))
	}
	return nil
}

// move brings the pointer to a generation, under the committer's lease and if it is still at a version. One that has an older token than
// the pointer's does not move it.
func (n *Node) move(ctx context.Context, next Pointer, version uint64) (Pointer, error) {
	if err := n.step("lease"); err != nil {
		return next, err
	}
	began := time.Now()
	c, cancel := context.WithTimeout(ctx, n.times.Call)
	l, err := n.c.Acquire(c, keyCommitter, n.id, leaseTTL)
	cancel()
	if err != nil {
		return next, err
	}
	if !l.Granted {
		return next, ErrOtherCommitter.New("%s holds the committer's lease", l.Holder)
	}
	next.Token = l.Token
	defer func() {
		c, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.times.Call)
		defer cancel()
		if err := n.c.Release(c, keyCommitter, n.id, l.Token); err != nil {
			n.log.Debug("the committer's lease is left to its end", "reason", err)
		}
	}()
	p, now, err := n.pointer(ctx)
	switch {
	case err != nil:
		return next, err
	case now != version || p.Token > l.Token || time.Since(began) >= leaseTTL:
		return next, cluster.ErrConflict.New("the present generation has moved to %d", p.Generation)
	}
	err = n.set(ctx, keyCurrent, next, version)
	if err == nil || errors.Is(err, cluster.ErrConflict) {
		return next, err
	}
	// Nobody knows whether it was done.
	if p, _, again := n.pointer(ctx); again == nil && p.Digest == next.Digest && p.Token == next.Token {
		return next, nil
	}
	return next, err
}
