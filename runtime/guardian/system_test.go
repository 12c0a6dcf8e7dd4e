package guardian

import "testing"

func TestCgroupFolder(t *testing.T) {
	const (
		unified = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n40 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		part    = "31 24 0:27 /system.slice/c.service /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		legacy  = "32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	)
	for _, c := range []struct{ mounts, groups, want string }{
		{unified, "0::/user.slice/x\n", "/sys/fs/cgroup/user.slice/x"},
		{unified, "0::/\n", "/sys/fs/cgroup"},
		{hybrid, "4:memory:/m\n0::/a/b\n", "/sys/fs/cgroup/unified/a/b"},
		{part, "0::/system.slice/c.service/sub\n", "/sys/fs/cgroup/sub"},
		{part, "0::/elsewhere\n", ""},
		{legacy, "4:memory:/m\n", ""},
		{legacy, "0::/\n", ""},
		{"", "", ""},
	} {
		got, err := cgroupFolder(c.mounts, c.groups)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q in %q: %q, %v; want %q", c.groups, c.mounts, got, err, c.want)
		}
	}
}

func TestVictimOfTheSystem(t *testing.T) {
	// As mm/oom_kill.c of Linux 6 prints it, by memory cgroup and without.
	log := []byte("3,101,5,-;Memory cgroup out of memory: Killed process 4711 (Indexing) total-vm:1kB, anon-rss:1kB\n" +
		"3,102,6,-;Out of memory: Killed process 99 (java) total-vm:1kB\n")
	for pid, want := range map[int]bool{4711: true, 99: true, 471: false, 9: false, 711: false} {
		if namesVictim(log, pid) != want {
			t.Errorf("process %d: want %t", pid, want)
		}
	}
	w := newOOMWatch()
	if w.chose(4711) {
		t.Error("somebody was chosen although the count did not grow")
	}
}
