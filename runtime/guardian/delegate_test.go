package guardian

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/launch"
)

// hierarchy is a folder that holds the files which the system makes in a cgroup v2: what is written and read there is cgroup-v2.rst's.
func hierarchy(t *testing.T, controllers string, residents ...int) *cgroups {
	t.Helper()
	own := t.TempDir()
	root := filepath.Join(own, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	pids := ""
	for _, pid := range residents {
		pids += strconv.Itoa(pid) + "\n"
	}
	put(t, filepath.Join(own, "cgroup.controllers"), controllers)
	put(t, filepath.Join(own, "cgroup.procs"), pids)
	put(t, filepath.Join(own, "cgroup.subtree_control"), "")
	put(t, filepath.Join(root, "cgroup.subtree_control"), "")
	return &cgroups{root: root, own: own}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCase66LimitsGoIntoTheGroup(t *testing.T) {
	folder := t.TempDir()
	for _, f := range []string{"memory.high", "memory.max", "memory.oom.group", "cpu.max", "pids.max"} {
		put(t, filepath.Join(folder, f), "")
	}
	c := &cgroups{controllers: []string{"cpu", "memory", "pids"}}
	c.bound(folder, launch.Limits{Memory: 400 << 20, CPU: 1500, Processes: 77})
	for file, want := range map[string]string{
		"memory.high": strconv.Itoa(400 << 20), "memory.max": strconv.Itoa(500 << 20), "memory.oom.group": "1", "cpu.max": "150000 100000", "pids.max": "77",
	} {
		if got := readText(filepath.Join(folder, file)); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	// What was not delegated or not asked for is left alone.
	put(t, filepath.Join(folder, "pids.max"), "max")
	c.controllers = []string{"pids"}
	c.bound(folder, launch.Limits{Memory: 1})
	if got := readText(filepath.Join(folder, "pids.max")); got != "max" {
		t.Errorf("pids.max is %q", got)
	}
}

func TestCase66KillForMemoryIsSeenInTheGroup(t *testing.T) {
	folder := t.TempDir()
	if groupRanOut("") || groupRanOut(folder) {
		t.Error("without a group")
	}
	put(t, filepath.Join(folder, "memory.events"), "low 0\nhigh 12\nmax 3\noom 1\noom_kill 0\noom_group_kill 0\n")
	if groupRanOut(folder) {
		t.Error("nobody was killed")
	}
	put(t, filepath.Join(folder, "memory.events"), "low 0\nhigh 12\nmax 3\noom 1\noom_kill 4\noom_group_kill 1\n")
	if !groupRanOut(folder) {
		t.Error("somebody was killed")
	}
}

func TestControllersAreTakenWhereTheyAreOurs(t *testing.T) {
	// The test's parent is go test's; the guardian's is the watch.
	c := hierarchy(t, "cpuset cpu io memory pids\n", os.Getpid(), os.Getppid())
	leafProcs := filepath.Join(c.own, groupPrefix+strconv.Itoa(os.Getpid())+"-self")
	// The system makes the files of a group with it; here its absence is the refusal that undelegate must clean up after.
	c.delegate()
	if c.controllers != nil || c.leaf != "" {
		t.Errorf("%+v after a refusal", c)
	}
	if _, err := os.Stat(leafProcs); err == nil {
		t.Error("the leaf is left")
	}
	stranger := hierarchy(t, "cpu memory pids\n", os.Getpid(), 1)
	stranger.delegate()
	if stranger.controllers != nil || stranger.leaf != "" || readText(filepath.Join(stranger.own, "cgroup.subtree_control")) != "" {
		t.Error("somebody else lives in the group")
	}
	alone := hierarchy(t, "cpu memory hugetlb\n") // as in a container's root
	alone.delegate()
	if got := strings.Join(alone.controllers, " "); got != "cpu memory" {
		t.Errorf("controllers %q", got)
	}
	for _, group := range []string{alone.own, alone.root} {
		if got := readText(filepath.Join(group, "cgroup.subtree_control")); got != "+cpu +memory" {
			t.Errorf("%q written to %s", got, group)
		}
	}
	if none := hierarchy(t, "hugetlb\n"); true {
		if none.delegate(); none.leaf != "" {
			t.Error("nothing to delegate")
		}
	}
}
