package kernel

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is how many units of CPU time /proc counts a second: USER_HZ, 100 on every architecture that Go runs Linux on.
const ticks = 100

// process is what the system says about a process.
type process struct {
	cpu     time.Duration
	rss     int64
	threads int
	files   int
}

// processOf reads /proc; ok is false without such a process.
func processOf(pid int) (process, bool) {
	if pid <= 0 {
		return process{}, false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return process{}, false
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return process{}, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n
	}
	p := process{
		cpu: time.Duration(number(11)+number(12)) * time.Second / ticks, threads: int(number(17)), rss: number(21) * int64(os.Getpagesize()),
	}
	if list, err := os.ReadDir(dir + "/fd"); err == nil {
		p.files = len(list)
	}
	return p, true
}
