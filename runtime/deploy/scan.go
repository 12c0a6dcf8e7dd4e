package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// stamp tells two states of a file apart without reading it. The change time is the one field that no user can set.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds
	mode         fs.FileMode
	// problem is set for what can't be an artifact (a link that leaves the repository, a socket); such are never opened.
	problem problem
}

type problem int

const (
	noProblem problem = iota
	leavesRepository
	notAFile
)

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano(), mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino = uint64(st.Dev), st.Ino
		s.ctime = st.Ctim.Nano()
	}
	return s
}

// changed is the later of both times, as the file system tells it.
func (s stamp) changed() time.Time { return time.Unix(0, max(s.mtime, s.ctime)) }

// listing is what one look at the disk found.
type listing struct {
	files map[string]stamp
	// folders below the roots, roots included, for the doorbell.
	folders []string
	// failed are folders that could not be read: what was known below them is left as it is.
	failed map[string]error
}

// scan lists every file below the roots. Paths are relative to the repository, with slashes. Links are judged by what they
// lead to, through os.Root, so none leaves the repository; links to folders are not followed.
func scan(repo *os.Root, roots []string) listing {
	l := listing{files: map[string]stamp{}, failed: map[string]error{}}
	for _, r := range roots {
		l.walk(repo, r)
	}
	return l
}

func (l *listing) walk(repo *os.Root, folder string) {
	d, err := repo.Open(folder)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.failed[folder] = err
		}
		return
	}
	list, err := d.ReadDir(-1)
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		l.failed[folder] = err
		return
	}
	l.folders = append(l.folders, folder)
	for _, e := range list {
		if ignored(e.Name()) {
			continue
		}
		p := path.Join(folder, e.Name())
		switch e.Type() {
		case fs.ModeDir:
			l.walk(repo, p)
		case 0:
			if info, err := repo.Lstat(p); err == nil {
				l.files[p] = stampOf(info)
			}
		case fs.ModeSymlink:
			l.link(repo, p)
		default:
			if info, err := repo.Lstat(p); err == nil {
				s := stampOf(info)
				s.problem = notAFile
				l.files[p] = s
			}
		}
	}
}

func (l *listing) link(repo *os.Root, p string) {
	s, ok := look(repo, p)
	if ok {
		l.files[p] = s
	}
}

// look judges one path as scan does. ok is false if nothing is there.
func look(repo *os.Root, p string) (stamp, bool) {
	info, err := repo.Lstat(p)
	if err != nil {
		return stamp{}, false
	}
	s := stampOf(info)
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := repo.Stat(p)
		switch {
		case err != nil:
			s.problem = leavesRepository
		case target.IsDir():
			s.problem = notAFile
		default:
			// Both ends count: the link can be swapped, and its target can be written.
			t := stampOf(target)
			t.ctime = max(t.ctime, s.ctime)
			t.ino ^= s.ino << 32
			s = t
			info = target
		}
	}
	if s.problem == noProblem && !info.Mode().IsRegular() {
		if info.IsDir() {
			return stamp{}, false
		}
		s.problem = notAFile
	}
	return s, true
}

// below reports whether p lies in one of the folders that could not be read.
func (l *listing) below(p string) bool {
	for f := range l.failed {
		if strings.HasPrefix(p, f+"/") {
			return true
		}
	}
	return false
}

// ignoredSuffixes are the names under which editors and copy programs keep what is not finished or not meant.
var ignoredSuffixes = []string{"~", ".tmp", ".part", ".crdownload", ".swp", ".swx", ".bk", ".bak", ".filepart", ".old", ".orig"}

// ignored reports whether a name is one of those that no deployer is ever given.
func ignored(name string) bool {
	if name == "" || strings.ContainsRune(".~#", rune(name[0])) {
		return true
	}
	lower := strings.ToLower(name)
	for _, s := range ignoredSuffixes {
		if strings.HasSuffix(lower, s) {
			return true
		}
	}
	return false
}
