package brood

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChildrenAreSeenBothWaysAndTakenOnce(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	var line [2]int
	if err := unix.Pipe2(line[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	// It lives until the pipe is closed. syscall, because os would wait for it by itself.
	pid, err := syscall.ForkExec(cat, []string{"a child) S 1"}, &syscall.ProcAttr{Files: []uintptr{uintptr(line[0]), null.Fd(), null.Fd()}})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(line[0])
	for name, children := range map[string][]int{"children": Children(), "stat": childrenByParent(os.Getpid())} {
		if !slices.Contains(children, pid) {
			t.Errorf("%s lists %v, without %d", name, children, pid)
		}
	}
	if Ended(pid) {
		t.Error("it has ended")
	}
	if _, _, ok := Take(pid); ok {
		t.Error("it was taken alive")
	}
	unix.Close(line[1])
	for deadline := time.Now().Add(10 * time.Second); !Ended(pid); {
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
		unix.Poll(nil, 1)
	}
	if !Ended(pid) {
		t.Error("looking took it")
	}
	status, usage, ok := Take(pid)
	if !ok || Code(status) != 0 || usage.Maxrss == 0 {
		t.Errorf("taken: %t, code %d, %d KiB", ok, Code(status), usage.Maxrss)
	}
	if _, _, ok := Take(pid); ok {
		t.Error("it was taken twice")
	}
}

func TestCodeIsWhatAShellShows(t *testing.T) {
	for status, want := range map[unix.WaitStatus]int{0: 0, 121 << 8: 121, unix.WaitStatus(unix.SIGKILL): 137, unix.WaitStatus(unix.SIGTERM) | 0x80: 143} {
		if got := Code(status); got != want {
			t.Errorf("status %#x is %d, want %d", status, got, want)
		}
	}
}
