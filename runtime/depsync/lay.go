package depsync

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"carbonado.dev/carbonado/runtime/digest"
	"carbonado.dev/carbonado/runtime/durable"
)

const folderMode = 0o750

// found is one thing in the deployment folder.
type found struct {
	kind fs.FileMode
	mode fs.FileMode
	// digest of a regular file.
	digest string
}

// walk lists the folder; names that begin with a dot are left out, as they are in manifests.
func walk(root *os.Root, digests *digest.Cache) (map[string]found, error) {
	have := map[string]found{}
	err := fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == ".":
			return nil
		case strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			have[p] = found{kind: e.Type()}
			return nil
		}
		f, err := root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		sum := ""
		if err == nil {
			sum, err = digests.Of(f)
		}
		if err = errors.Join(err, f.Close()); err == nil {
			have[p] = found{mode: info.Mode().Perm(), digest: sum}
		}
		return err
	})
	return have, err
}

// lay brings the deployment folder to a manifest whose contents are all in the store, file by file: each is the old one or the new one at
// any moment. What is as it should be is not touched. What was in no generation is put aside, never deleted.
func (n *Node) lay(ctx context.Context, root *os.Root, m Manifest) (changed int, err error) {
	have, err := walk(root, &n.digests)
	if err != nil {
		return 0, err
	}
	if err := n.removeTemp(root); err != nil {
		return 0, err
	}
	known := n.known(m)
	want := make(map[string]bool, len(m.Files))
	folders := map[string]bool{}
	for _, f := range m.Files {
		want[f.Path] = true
		for _, dir := range foldersOf(f.Path) {
			folders[dir] = true
		}
	}
	var extra, inTheWay []string
	for p := range have {
		switch {
		case want[p] && have[p].kind == 0:
		case folders[p] || have[p].kind != 0 && want[p] || slices.ContainsFunc(foldersOf(p), func(dir string) bool { return want[dir] }):
			inTheWay = append(inTheWay, p)
		case !want[p]:
			extra = append(extra, p)
		}
	}
	slices.Sort(extra)
	slices.Sort(inTheWay)
	for _, p := range inTheWay {
		if err := n.putAway(root, p, have[p], known); err != nil {
			return changed, err
		}
		changed++
	}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return changed, err
		}
		h, there := have[f.Path]
		there = there && h.kind == 0
		if there && h.digest == f.Digest && h.mode == f.Mode {
			continue
		}
		if err := n.place(root, f, h, there, known); err != nil {
			return changed, err
		}
		changed++
	}
	for _, p := range extra {
		if err := n.putAway(root, p, have[p], known); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// removeTemp deletes what a crash left of files that were being written. Once a run: later ones belong to somebody.
func (n *Node) removeTemp(root *os.Root) error {
	if n.cleaned {
		return nil
	}
	err := fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return durable.RemoveTemp(root, p)
	})
	n.cleaned = err == nil
	return err
}

// known are the contents of the generations that are kept, and of a manifest.
func (n *Node) known(m Manifest) map[string]bool {
	known := map[string]bool{}
	n.mu.Lock()
	generations := n.kept.Generations
	n.mu.Unlock()
	for _, g := range generations {
		if kept, err := n.store.manifest(g.Digest); err == nil {
			m.Files = append(m.Files[:len(m.Files):len(m.Files)], kept.Files...)
		}
	}
	for _, f := range m.Files {
		known[f.Digest] = true
	}
	return known
}

// place puts one file where it belongs. old is what lies there, if anything does.
func (n *Node) place(root *os.Root, f File, old found, there bool, known map[string]bool) error {
	if there && old.digest == f.Digest {
		if err := n.step("chmod " + f.Path); err != nil {
			return err
		}
		return root.Chmod(f.Path, f.Mode)
	}
	if there && !known[old.digest] {
		if err := n.keepAside(root, f.Path); err != nil {
			return err
		}
	}
	content, err := n.store.Open(f.Digest)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := n.step("write " + f.Path); err != nil {
		return err
	}
	dir := path.Dir(f.Path)
	if err := root.MkdirAll(dir, folderMode); err != nil {
		return err
	}
	if info, err := root.Lstat(f.Path); err == nil && info.IsDir() {
		if err := root.Remove(f.Path); err != nil { // an empty folder, or there is something that is no part of generations
			return err
		}
	}
	// The mode is that of the file before it gets its name: nobody sees the one without the other.
	err = durable.WriteFrom(root, f.Path, f.Mode, func(w io.Writer) error {
		if file, ok := w.(*os.File); ok {
			if err := file.Chmod(f.Mode); err != nil {
				return err
			}
		}
		return copyChecked(w, content, f.Digest, f.Size)
	})
	if errors.Is(err, ErrContent) {
		err = errors.Join(err, n.store.drop(f.Digest)) // it is fetched again
	}
	return err
}

// putAway takes a thing out of the deployment folder that the generation does not have, and the folders that are empty then.
func (n *Node) putAway(root *os.Root, p string, h found, known map[string]bool) error {
	if h.kind != 0 && h.kind != fs.ModeSymlink {
		n.log.Warn("something that is no file lies in the deployment folder; it is left alone", "path", p)
		return nil
	}
	if h.kind != 0 || !known[h.digest] {
		if err := n.keepAside(root, p); err != nil {
			return err
		}
	}
	if err := n.step("remove " + p); err != nil {
		return err
	}
	if err := durable.Remove(root, p); err != nil {
		return err
	}
	for _, dir := range foldersOf(p) {
		if !strings.Contains(dir, "/") || root.Remove(dir) != nil {
			break // the folders of types stay, and so does what is not empty
		}
	}
	return nil
}

// keepAside copies what was in no generation into the store's folder for such.
func (n *Node) keepAside(root *os.Root, p string) error {
	to := path.Join(asideFolder, n.now().UTC().Format("20060102T150405.000"), p)
	if err := n.step("aside " + p); err != nil {
		return err
	}
	if err := n.store.root.MkdirAll(path.Dir(to), 0o700); err != nil {
		return err
	}
	n.log.Warn("a file in the deployment folder is in no generation; it was put aside", "path", p, "kept", to)
	if target, err := root.Readlink(p); err == nil {
		return n.store.root.Symlink(target, to)
	}
	f, err := root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return durable.WriteFrom(n.store.root, to, 0o600, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
