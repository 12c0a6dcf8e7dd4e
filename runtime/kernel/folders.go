package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
)

var errOwn = cause.Define("CBN-SUP-131", "A component's data folder can't be made its own.",
	"See that the disk is writable, or switch <Privileges><OwnUser> off in carbon.xml.")

// Modes of a data folder and of what lies in it, where components are users of their own. The group is the provider's, and those that use
// its shares are in it.
const (
	modeOwn      = 0o700
	modeShares   = 0o710 // others pass through to the shares
	modeShareRO  = 0o750 | fs.ModeSetgid
	modeShareRW  = 0o770 | fs.ModeSetgid
	modeNotGroup = 0o077
)

// own makes a data folder, and all that an earlier user left in it, the property of a component's user, with its shares open to its group.
// It follows no link: the folder's content is the component's own making. It costs a few calls where nothing is to be done.
func own(folder string, uid, gid int, shares []component.Share) error {
	if err := os.MkdirAll(folder, modeOwn); err != nil {
		return errOwn.Wrap(err, "%s", folder)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return errOwn.Wrap(err, "%s", folder)
	}
	defer root.Close()
	if err := ownIn(root, uid, gid, shares); err != nil {
		return errOwn.Wrap(err, "%s", folder)
	}
	return nil
}

func ownIn(root *os.Root, uid, gid int, shares []component.Share) error {
	if u, g, err := ownerOf(root, "."); err != nil {
		return err
	} else if u != uid || g != gid {
		// The folder itself comes last: a walk that was cut short begins anew at the next start.
		err := fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
			if err != nil || name == "." {
				return err
			}
			return root.Lchown(name, uid, gid)
		})
		if err != nil {
			return err
		}
		if err := root.Lchown(".", uid, gid); err != nil {
			return err
		}
	}
	open := map[string]fs.FileMode{}
	for _, s := range shares {
		open[s.Name] = modeShareRO
		if s.Write {
			open[s.Name] = modeShareRW
		}
	}
	if err := closeRest(root, open); err != nil {
		return err
	}
	for name, mode := range open {
		err := root.Mkdir(name, modeOwn)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err == nil {
			err = root.Lchown(name, uid, gid)
		} else {
			err = nil
		}
		if err == nil {
			err = root.Chmod(name, mode)
		}
		if err != nil {
			return err
		}
	}
	mode := fs.FileMode(modeOwn)
	if len(open) > 0 {
		mode = modeShares
	}
	return root.Chmod(".", mode)
}

// closeRest takes from the group what lies beside the shares.
func closeRest(root *os.Root, open map[string]fs.FileMode) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, shared := open[e.Name()]
		if shared || info.Mode()&fs.ModeSymlink != 0 || info.Mode().Perm()&modeNotGroup == 0 {
			continue
		}
		if err := root.Chmod(e.Name(), info.Mode().Perm()&^modeNotGroup); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func ownerOf(root *os.Root, name string) (uid, gid int, err error) {
	info, err := root.Lstat(name)
	if err != nil {
		return 0, 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.ErrUnsupported
	}
	return int(st.Uid), int(st.Gid), nil
}

// passable lets other users pass through a folder without listing it.
func passable(folders ...string) error {
	for _, f := range folders {
		st, err := os.Stat(f)
		if err != nil {
			return errOwn.Wrap(err, "%s", f)
		}
		if st.Mode()&0o011 == 0o011 {
			continue
		}
		if err := os.Chmod(f, st.Mode().Perm()|0o011); err != nil {
			return errOwn.Wrap(err, "%s", f)
		}
	}
	return nil
}

// adopt moves a file that an unconfined component left at repository/data/NAME into the component's folder, which alone it can write now.
func adopt(data, name string, uid, gid int) error {
	at, moved := filepath.Join(filepath.Dir(data), name), filepath.Join(data, name)
	info, err := os.Lstat(at)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if err := os.Rename(at, moved); err != nil {
		return errOwn.Wrap(err, "%s", at)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Lchown(moved, uid, gid); err != nil {
		return errOwn.Wrap(err, "%s", moved)
	}
	return nil
}

// show makes repository/data/NAME a link to a component's own file while that exists.
func show(data, name string) {
	at, own := filepath.Join(filepath.Dir(data), name), filepath.Join(data, name)
	_, err := os.Lstat(own)
	link, lerr := os.Lstat(at)
	switch {
	case err == nil && errors.Is(lerr, fs.ErrNotExist):
		_ = os.Symlink(filepath.Join(filepath.Base(data), name), at) // tried again soon
	case errors.Is(err, fs.ErrNotExist) && lerr == nil && link.Mode()&fs.ModeSymlink != 0:
		_ = os.Remove(at)
	}
}
