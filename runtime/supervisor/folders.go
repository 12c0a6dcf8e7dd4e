package supervisor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// socketPathMost is the longest path of a Unix socket: sockaddr_un has 108 bytes, the last is zero.
	socketPathMost = 107
	// attemptsFolder below the run folder holds the attempts, and nothing else.
	attemptsFolder = "c"
	// elsewhereFile below the run folder names the folder that holds them where the run folder's own path is too long.
	elsewhereFile = "components-folder"
	// elsewherePrefix begins that folder's name.
	elsewherePrefix = "carbonado-run-"
	// nameMost is how much of a component's name an attempt's folder shows.
	nameMost = 24
	// socketNameMost is the longest name of a socket in an attempt's folder: go-plugin's is "plugin" and a 32-bit number.
	socketNameMost = len("/plugin4294967295")
	// attemptMost is the longest name of an attempt's folder, for deciding where attempts live: generations beyond six digits
	// are far away.
	attemptMost = 1 + nameMost + 1 + 6 + 1 + 2*secretBytes
	// secretBytes make the name of an attempt's folder one that can't be guessed, where other users must be able to enter it.
	secretBytes = 4
)

// attempts makes the folders of attempts.
type attempts struct {
	root      string
	elsewhere string // the file that names root, where that lies elsewhere
}

// newAttempts clears what an earlier kernel left and decides where the attempts' folders lie: below run, or, where a socket's path would
// get too long, below the temporary folder. Either is 0700. With inherited, what an earlier kernel decided holds, and its folders stay.
func newAttempts(run string, inherited bool) (attempts, error) {
	run, err := filepath.Abs(run)
	if err != nil {
		return attempts{}, ErrFolder.Wrap(err, "run folder")
	}
	if err := os.MkdirAll(run, 0o755); err != nil {
		return attempts{}, ErrFolder.Wrap(err, "run folder")
	}
	a := attempts{root: filepath.Join(run, attemptsFolder)}
	named := filepath.Join(run, elsewhereFile)
	if inherited {
		if old, ok := a.found(named); ok {
			return old, nil
		}
	}
	if old, err := os.ReadFile(named); err == nil {
		removeElsewhere(strings.TrimSpace(string(old)))
		os.Remove(named)
	}
	if err := os.RemoveAll(a.root); err != nil {
		return attempts{}, ErrFolder.Wrap(err, "clear the run folder")
	}
	if len(a.root)+attemptMost+socketNameMost <= socketPathMost {
		if err := os.Mkdir(a.root, 0o700); err != nil {
			return attempts{}, ErrFolder.Wrap(err, "run folder")
		}
		return a, nil
	}
	if a.root, err = os.MkdirTemp("", elsewherePrefix); err != nil { // 0700
		return attempts{}, ErrFolder.Wrap(err, "a run folder with a short path")
	}
	a.elsewhere = named
	if err := os.WriteFile(named, []byte(a.root+"\n"), 0o644); err != nil {
		os.Remove(a.root)
		return attempts{}, ErrFolder.Wrap(err, "run folder")
	}
	return a, nil
}

// has tells whether a folder is one of an attempt.
func (a attempts) has(folder string) bool {
	name := filepath.Base(folder)
	return name != "." && name != ".." && name != "/" && folder == filepath.Join(a.root, name)
}

// found is where an earlier kernel's attempts lie. ok is false if they can't be found any more.
func (a attempts) found(named string) (old attempts, ok bool) {
	if text, err := os.ReadFile(named); err == nil {
		a = attempts{root: strings.TrimSpace(string(text)), elsewhere: named}
		if !strings.HasPrefix(filepath.Base(a.root), elsewherePrefix) {
			return a, false
		}
	}
	return a, filepath.IsAbs(a.root) && ownFolder(a.root)
}

// removeElsewhere removes a folder that an earlier kernel of the same user made.
func removeElsewhere(folder string) {
	if !filepath.IsAbs(folder) || !strings.HasPrefix(filepath.Base(folder), elsewherePrefix) {
		return
	}
	if ownFolder(folder) {
		os.RemoveAll(folder)
	}
}

// ownFolder tells whether a path is a folder, no link to one, of this user.
func ownFolder(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// add makes the folder of one attempt, 0700, with a folder for temporary files in it. Where components are users of their own (open) it
// is 0711, the process's user's, and its name can't be guessed: other components must reach the socket in it that they are told.
func (a attempts) add(name string, generation uint64, uid int, open bool) (string, error) {
	folder := filepath.Join(a.root, fmt.Sprintf("%.*s-%d", nameMost, name, generation))
	if open {
		secret := make([]byte, secretBytes)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		folder += "-" + hex.EncodeToString(secret)
	}
	if n := len(folder) + socketNameMost; n > socketPathMost {
		return "", ErrFolder.New("the path of a socket in %s has %d bytes, %d are possible", folder, n, socketPathMost)
	}
	err := os.Mkdir(folder, 0o700)
	if errors.Is(err, fs.ErrExist) { // the same generation again: the caller's mistake, but nothing lives there
		return "", ErrSpec.New("generation %d of %s was started before", generation, name)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(folder, "tmp"), 0o700)
	}
	if err == nil && open {
		err = os.Chmod(folder, 0o711)
	}
	if err == nil && uid != 0 {
		err = errors.Join(os.Lchown(filepath.Join(folder, "tmp"), uid, uid), os.Lchown(folder, uid, uid))
	}
	if err != nil {
		return "", ErrFolder.Wrap(err, "run folder of %s", name)
	}
	return folder, nil
}

// close removes the folder of attempts.
func (a attempts) close() error {
	err := os.RemoveAll(a.root)
	if a.elsewhere != "" {
		if gone := os.Remove(a.elsewhere); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}
