// Package brood looks after a process's direct children: which there are, which have ended, how.
// It must not know what they are, and imports little, because the watch uses it before most packages are initialised.
package brood

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Adopt makes this process the parent of every process below it that loses its own.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Children returns the pids of the direct children, zombies included.
func Children() []int {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 { // a system without CONFIG_PROC_CHILDREN
		return childrenByParent(os.Getpid())
	}
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil { // the thread is gone; its children are another's now, seen the next time
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// childrenByParent finds the processes of a parent in /proc/PID/stat: pid (name) state parent …
func childrenByParent(parent int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		head, tail, ok := strings.Cut(string(text), " ")
		f := strings.Fields(tail[strings.LastIndexByte(tail, ')')+1:])
		if !ok || len(f) < 2 || f[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(head); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Ended tells whether a child is a zombie, without taking it: as long as it is not taken, its number is nobody else's.
func Ended(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// Ending tells whether a process has begun to end, although some of its threads may be left, so that it is not Ended yet.
func Ending(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	state := strings.TrimSpace(string(stat)[strings.LastIndexByte(string(stat), ')')+1:])
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// Take waits for a zombie; ok is false if the child lives.
func Take(pid int) (status unix.WaitStatus, usage unix.Rusage, ok bool) {
	got, err := unix.Wait4(pid, &status, unix.WNOHANG, &usage)
	return status, usage, err == nil && got == pid
}

// Code is what a shell shows of a status: the exit code, or 128 and the signal's number.
func Code(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
