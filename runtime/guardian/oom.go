package guardian

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oomWatch tells whether a process that SIGKILL ended was chosen by the system because memory had run out.
type oomWatch struct{ kills uint64 }

func newOOMWatch() oomWatch { return oomWatch{kills: oomKills()} }

// chose reports whether the system killed pid for want of memory. The system's counter must have grown since the last time that
// somebody was killed; where the system's log may be read it must name the pid as well.
func (w *oomWatch) chose(pid int) bool {
	now := oomKills()
	grown := now > w.kills
	w.kills = now
	if !grown {
		return false
	}
	log, readable := kernelLog()
	return !readable || namesVictim(log, pid)
}

// oomKills is the system's count of out-of-memory kills, those of memory cgroups included (Linux 4.13).
func oomKills() uint64 {
	stat, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(stat)) {
		if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			return n
		}
	}
	return 0
}

// namesVictim finds "Killed process PID (" as mm/oom_kill.c prints it.
func namesVictim(log []byte, pid int) bool {
	return bytes.Contains(log, []byte("Killed process "+strconv.Itoa(pid)+" ("))
}

// kernelLog reads what /dev/kmsg holds; readable is false where this user may not.
func kernelLog() (log []byte, readable bool) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	record := make([]byte, 8192)
	for {
		n, err := unix.Read(fd, record)
		switch {
		case err == unix.EPIPE || err == unix.EINTR: // records were overwritten while we read; go on with the oldest
			continue
		case err != nil || n <= 0: // EAGAIN: all read
			return log, true
		}
		log = append(log, record[:n]...)
	}
}
