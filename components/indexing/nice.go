package indexing

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// renice lowers the priority of every thread of this process; threads made later have their maker's. Ingest comes first.
func renice(nice int) error {
	if nice == 0 {
		return nil
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}
