package guardian

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"carbonado.dev/carbonado/runtime/launch"

	"golang.org/x/sys/unix"
)

// cgroups makes a control group for each component where a cgroup v2 hierarchy lets us: such a group ends whole, whatever
// its processes did to leave their process group, and is bounded where the controllers were delegated. The zero value makes none.
type cgroups struct {
	root string // ours, below the guardian's own group; empty if there are none
	off  bool   // no more are made
	next int
	own  string
	// leaf is where the guardian itself lives once controllers bound the groups; controllers are those.
	leaf        string
	controllers []string
	dead        []string // groups that could not be removed yet, because the system had not finished with their processes
}

// newCgroups finds the guardian's own cgroup v2 and makes a group in it. It returns the zero value where that can't be done.
func newCgroups() cgroups {
	own, err := ownCgroup()
	if err != nil {
		return cgroups{}
	}
	removeStale(own)
	root := filepath.Join(own, fmt.Sprintf("%s%d-%08x", groupPrefix, os.Getpid(), rand.Uint32()))
	if err := os.Mkdir(root, 0o755); err != nil {
		return cgroups{}
	}
	if unix.Access(filepath.Join(root, "cgroup.kill"), unix.W_OK) != nil { // before Linux 5.14
		os.Remove(root)
		return cgroups{}
	}
	c := cgroups{root: root, own: own}
	c.delegate()
	return c
}

// groupPrefix begins the name of every guardian's group; its pid and a random number follow.
const groupPrefix = "carbonado-"

// removeStale removes the empty groups of guardians that were killed.
func removeStale(own string) {
	roots, _ := filepath.Glob(filepath.Join(own, groupPrefix+"*"))
	for _, root := range roots {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(root), groupPrefix), "-")
		pid, err := strconv.Atoi(text)
		if err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		removeTree(root)
	}
}

// removeTree removes a group and those below it as far as they are empty.
func removeTree(root string) {
	below, _ := os.ReadDir(root)
	for _, e := range below {
		if e.IsDir() {
			os.Remove(filepath.Join(root, e.Name()))
		}
	}
	os.Remove(root)
}

// ownCgroup returns the folder of this process's group in the cgroup v2 hierarchy.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	return cgroupFolder(string(mounts), string(groups))
}

// cgroupFolder joins where the hierarchy is mounted (mountinfo, proc(5)) with the path of our group in it (cgroups(7)).
func cgroupFolder(mountinfo, groups string) (string, error) {
	var path string
	for line := range strings.Lines(groups) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = p
		}
	}
	if path == "" {
		return "", errors.New("no cgroup v2")
	}
	scan := bufio.NewScanner(strings.NewReader(mountinfo))
	for scan.Scan() {
		mount, kind, ok := strings.Cut(scan.Text(), " - ")
		f := strings.Fields(mount)
		if !ok || !strings.HasPrefix(kind, "cgroup2 ") || len(f) < 5 {
			continue
		}
		// The mount may show a part of the hierarchy only: field 4 is its root.
		below, ok := strings.CutPrefix(path, strings.TrimSuffix(f[3], "/"))
		if !ok {
			continue
		}
		return filepath.Join(f[4], below), nil
	}
	return "", errors.New("no cgroup v2 is mounted")
}

// add makes a group for a process about to be forked and opens it for CLONE_INTO_CGROUP. Without cgroups it returns "", -1.
func (c *cgroups) add(name string, l launch.Limits) (folder string, fd int, err error) {
	if c.root == "" || c.off {
		return "", -1, nil
	}
	c.next++
	folder = filepath.Join(c.root, fmt.Sprintf("%s.%d", strings.ReplaceAll(name, "/", "_"), c.next))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", -1, err
	}
	c.bound(folder, l)
	fd, err = unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		os.Remove(folder)
		return "", -1, err
	}
	return folder, fd, nil
}

// kill sends SIGKILL to every process in a group. An empty name is no group.
func (c *cgroups) kill(folder string) {
	if folder != "" {
		_ = os.WriteFile(filepath.Join(folder, "cgroup.kill"), []byte("1"), 0)
	}
}

// remove removes a group whose processes were killed, now or at a later sweep.
func (c *cgroups) remove(folder string) {
	if folder != "" {
		c.dead = append(c.dead, folder)
		c.sweep()
	}
}

// sweep removes dead groups that have become empty.
func (c *cgroups) sweep() {
	left := c.dead[:0]
	for _, folder := range c.dead {
		if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, folder)
		}
	}
	c.dead = left
}

// close ends what is left in any of our groups and removes them, as far as they are empty.
func (c *cgroups) close() {
	if c.root == "" {
		return
	}
	c.kill(c.root)
	removeTree(c.root)
	c.undelegate()
}
