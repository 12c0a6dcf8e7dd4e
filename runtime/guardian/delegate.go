package guardian

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"carbonado.dev/carbonado/runtime/launch"
)

// controllersWanted bound a component in its group, as far as the system's administrator (or systemd's Delegate=) left them to us.
var controllersWanted = []string{"cpu", "memory", "pids"}

const (
	// cpuPeriod of cpu.max in microseconds; the kernel's default.
	cpuPeriod = 100_000
	// memoryMargin is the part of the memory budget by which memory.max lies above memory.high: beyond the first a component is slowed and
	// its caches are taken back, beyond the second it ends.
	memoryMargin = 4
)

// delegate switches controllers on for the groups of components. A group that has processes of its own can't do that, so what lives in the
// guardian's group (itself and its watch) moves to a leaf; where somebody else lives there too, there are no limits by groups.
func (c *cgroups) delegate() {
	var have []string
	for _, name := range strings.Fields(readText(filepath.Join(c.own, "cgroup.controllers"))) {
		if slices.Contains(controllersWanted, name) {
			have = append(have, name)
		}
	}
	if len(have) == 0 {
		return
	}
	ours := []string{strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid())}
	residents := strings.Fields(readText(filepath.Join(c.own, "cgroup.procs")))
	for _, pid := range residents {
		if !slices.Contains(ours, pid) {
			return
		}
	}
	leaf := filepath.Join(c.own, fmt.Sprintf("%s%d-self", groupPrefix, os.Getpid()))
	if os.Mkdir(leaf, 0o755) != nil {
		return
	}
	c.leaf = leaf
	for _, pid := range residents {
		if writeText(filepath.Join(leaf, "cgroup.procs"), pid) != nil {
			c.undelegate()
			return
		}
	}
	change := "+" + strings.Join(have, " +")
	for _, group := range []string{c.own, c.root} {
		if writeText(filepath.Join(group, "cgroup.subtree_control"), change) != nil {
			c.undelegate()
			return
		}
	}
	c.controllers = have
}

// undelegate puts the guardian back where it began, as far as that goes.
func (c *cgroups) undelegate() {
	if c.leaf == "" {
		return
	}
	for _, group := range []string{c.root, c.own} {
		for _, name := range c.controllers {
			_ = writeText(filepath.Join(group, "cgroup.subtree_control"), "-"+name) // the group may be gone
		}
	}
	for _, pid := range strings.Fields(readText(filepath.Join(c.leaf, "cgroup.procs"))) {
		_ = writeText(filepath.Join(c.own, "cgroup.procs"), pid)
	}
	os.Remove(c.leaf)
	c.leaf, c.controllers = "", nil
}

// bound writes a component's limits into its group. A limit that the system refuses is left out: rlimits hold besides.
func (c *cgroups) bound(folder string, l launch.Limits) {
	set := func(file, text string) { _ = writeText(filepath.Join(folder, file), text) }
	for _, name := range c.controllers {
		switch {
		case name == "memory" && l.Memory > 0:
			set("memory.high", strconv.FormatUint(l.Memory, 10))
			set("memory.max", strconv.FormatUint(l.Memory+l.Memory/memoryMargin, 10))
			set("memory.oom.group", "1")
		case name == "cpu" && l.CPU > 0:
			set("cpu.max", fmt.Sprintf("%d %d", l.CPU*cpuPeriod/1000, cpuPeriod))
		case name == "pids" && l.Processes > 0:
			set("pids.max", strconv.FormatUint(l.Processes, 10))
		}
	}
}

// groupRanOut tells whether the system ended somebody in a group because it was beyond memory.max. Empty is no group.
func groupRanOut(folder string) bool {
	if folder == "" {
		return false
	}
	for line := range strings.Lines(readText(filepath.Join(folder, "memory.events"))) {
		if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(text) != "0"
		}
	}
	return false
}

// readText is the content of a file of the system's; empty if there is none.
func readText(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// writeText writes to a file of the system's, which must be there.
func writeText(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
