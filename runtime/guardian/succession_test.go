package guardian_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"carbonado.dev/sdk/handshake/layout"

	"golang.org/x/sys/unix"
)

// dynasty plants a tree whose kernels may be replaced.
func dynasty(t *testing.T, restarts int) *tree {
	t.Setenv("RESTARTS", strconv.Itoa(restarts))
	return plant(t, true)
}

// next takes the word of the kernel that follows.
func (tr *tree) next() {
	tr.t.Helper()
	was, guardian := tr.kernel, 0
	if said := tr.line(); !strings.HasPrefix(said, "kernel ") {
		tr.t.Fatalf("the next kernel said %q", said)
	} else if _, err := fmt.Sscanf(said, "kernel %d %d", &tr.kernel, &guardian); err != nil || guardian != tr.guardian || tr.kernel == was {
		tr.t.Fatalf("after kernel %d of guardian %d: %q, %v", was, tr.guardian, said, err)
	}
}

func (tr *tree) inherit() (i inheritance) {
	tr.t.Helper()
	if err := json.Unmarshal([]byte(tr.tell("inherit", "-")), &i); err != nil {
		tr.t.Fatal(err)
	}
	return i
}

// TestCase62KernelDiesAnotherTakesOver: the components keep their pids, their pipes, their listeners and their records.
func TestCase62KernelDiesAnotherTakesOver(t *testing.T) {
	tr := dynasty(t, 5)
	if i := tr.inherit(); i.Kernels != 1 || len(i.Pids) > 0 || i.Note != 0 || i.Previous != 0 {
		t.Errorf("the first kernel inherits %+v", i)
	}
	address := tr.tell("listen", "front", "127.0.0.1:0")
	acceptor, sleeper := tr.start("acceptor", "front"), tr.start("sleeper")
	tr.tell("read", tr.name("acceptor"))
	tr.tell("keep", tr.name("acceptor"), "record")
	tr.tell("note", "n")
	tr.tell("ready", "-")
	for round := 2; round < 4; round++ {
		was := tr.kernel
		unix.Kill(tr.kernel, unix.SIGKILL)
		tr.next()
		i := tr.inherit()
		if i.Kernels != round || i.Previous != was || i.Ended != "signal SIGKILL" || i.HandedOver || len(i.Pids) != 2 || i.Note != 50_000 {
			t.Fatalf("kernel %d inherits %+v", round, i)
		}
		if got := tr.tell("adopt", tr.name("acceptor"), strconv.Itoa(acceptor)); got != fmt.Sprintf("%s %q true", tr.name("acceptor"), "record") {
			t.Errorf("adopted %s", got)
		}
		tr.tell("adopt", tr.name("sleeper"), strconv.Itoa(sleeper))
		if i := tr.inherit(); len(i.Pids) != 0 {
			t.Errorf("after adoption %+v", i)
		}
		if got := call(t, address)(); got != acceptor {
			t.Errorf("%d answered, not %d", got, acceptor)
		}
		if bound := tr.tell("listen", "front", "127.0.0.1:0"); bound != address {
			t.Errorf("the listener is at %s, was at %s", bound, address)
		}
	}
	unix.Kill(sleeper, unix.SIGKILL)
	if e := tr.exit("sleeper"); e.Signal != unix.SIGKILL || e.Ours {
		t.Errorf("an adopted process ended: %+v", e)
	}
	// What nobody asked for ends all when it comes too often.
	tr.tell("stopping", "-")
	unix.Kill(tr.kernel, unix.SIGKILL)
	tr.none()
	tr.ends(128 + 9)
}

func TestLifelineNamesEachKernel(t *testing.T) {
	tr := dynasty(t, 5)
	pid := tr.start("lifelines")
	for range 2 {
		want := fmt.Sprintf("%q", layout.Kernel{PID: tr.kernel, UID: os.Geteuid()}.Line())
		if said := tr.tell("read", tr.name("lifelines")); said != want {
			t.Errorf("the lifeline said %s, not %s", said, want)
		}
		unix.Kill(tr.kernel, unix.SIGKILL)
		tr.next()
		tr.tell("adopt", tr.name("lifelines"), strconv.Itoa(pid))
	}
}

func TestCase62WhatEndedMeanwhileIsTold(t *testing.T) {
	tr := dynasty(t, 5)
	pid := tr.start("sleeper")
	tr.tell("keep", tr.name("sleeper"), "mine")
	unix.Kill(tr.guardian, unix.SIGSTOP) // it sees both ends at once
	unix.Kill(pid, unix.SIGKILL)
	unix.Kill(tr.kernel, unix.SIGKILL)
	for _, dead := range []int{pid, tr.kernel} {
		within(t, promised, func() bool {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", dead))
			return strings.Contains(string(stat), ") Z ")
		})
	}
	unix.Kill(tr.guardian, unix.SIGCONT)
	tr.next()
	if i := tr.inherit(); len(i.Pids) != 1 || i.Pids[0] != pid {
		t.Fatalf("inherits %+v", i)
	}
	if got := tr.tell("adopt", tr.name("sleeper"), strconv.Itoa(pid)); !strings.Contains(got, `"mine"`) {
		t.Error(got)
	}
	if e := tr.exit("sleeper"); e.Signal != unix.SIGKILL || e.PID != pid {
		t.Errorf("exit %+v", e)
	}
	fmt.Fprintln(tr.in, "adopt", tr.name("sleeper"), pid)
	if said := tr.line(); !strings.Contains(said, "no such process") {
		t.Errorf("adopted again: %s", said)
	}
}

// TestCase61KernelThatDiesAgainAndAgain ends everything.
func TestCase61KernelThatDiesAgainAndAgain(t *testing.T) {
	tr := dynasty(t, 2)
	tr.crowd()
	tr.tell("ready", "-")
	for range 2 {
		unix.Kill(tr.kernel, unix.SIGKILL)
		tr.next()
	}
	unix.Kill(tr.kernel, unix.SIGKILL)
	t.Logf("nothing left after %s", tr.none())
	tr.ends(128 + 9)
}

func TestKernelThatCannotStartIsNotRepeated(t *testing.T) {
	tr := dynasty(t, 5)
	fmt.Fprintln(tr.in, "exit", 78)
	tr.ends(78)
	// Once one was ready, an exit that nobody asked for is a death.
	tr = dynasty(t, 5)
	tr.tell("ready", "-")
	fmt.Fprintln(tr.in, "exit", 2)
	tr.next()
	fmt.Fprintln(tr.in, "exit", 0)
	tr.ends(0)
}

func TestStopWhileNoKernelRuns(t *testing.T) {
	tr := dynasty(t, 5)
	tr.crowd()
	unix.Kill(tr.guardian, unix.SIGSTOP)
	unix.Kill(tr.kernel, unix.SIGKILL)
	unix.Kill(tr.guardian, unix.SIGTERM)
	unix.Kill(tr.guardian, unix.SIGCONT)
	tr.none()
	tr.ends(128 + 9)
}

func TestHandOver(t *testing.T) {
	tr := dynasty(t, 5)
	pid := tr.start("sleeper")
	tr.tell("ready", "-")
	next := copyOf(t, "/proc/self/exe")
	exe := func() string {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", tr.kernel))
		return to
	}
	was := tr.kernel
	tr.tell("handover", next, "60000")
	fmt.Fprintln(tr.in, "exit", 0)
	tr.next()
	if i := tr.inherit(); !i.HandedOver || i.Previous != was || i.Ended != "exit code 0" || len(i.Pids) != 1 || i.Refused != "" {
		t.Errorf("inherits %+v", i)
	}
	if exe() != next {
		t.Errorf("the kernel runs %s, not %s", exe(), next)
	}
	tr.tell("adopt", tr.name("sleeper"), strconv.Itoa(pid))
	tr.tell("ready", "-")
	// A death brings the same program again, even if the file is gone.
	if err := os.Remove(next); err != nil {
		t.Fatal(err)
	}
	unix.Kill(tr.kernel, unix.SIGKILL)
	tr.next()
	if exe() != next+" (deleted)" {
		t.Errorf("the kernel runs %s", exe())
	}
}

// TestHandOverToWhatFails: the program before it comes back and knows why.
func TestHandOverToWhatFails(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Run("it is no program", func(t *testing.T) {
		tr := dynasty(t, 5)
		tr.start("sleeper")
		tr.tell("ready", "-")
		tr.tell("handover", text, "60000")
		fmt.Fprintln(tr.in, "exit", 0)
		tr.next()
		if i := tr.inherit(); !strings.Contains(i.Refused, "exec format error") || len(i.Pids) != 1 {
			t.Errorf("inherits %+v", i)
		}
	})
	t.Run("it ends", func(t *testing.T) {
		tr := dynasty(t, 5)
		tr.tell("ready", "-")
		tr.tell("handover", "/bin/false", "60000")
		fmt.Fprintln(tr.in, "exit", 0)
		tr.next()
		if i := tr.inherit(); i.Refused != "it ended before it was ready: exit code 1" {
			t.Errorf("inherits %+v", i)
		}
	})
	t.Run("it is never ready", func(t *testing.T) {
		tr := dynasty(t, 5)
		tr.tell("ready", "-")
		first, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", tr.kernel))
		tr.tell("handover", copyOf(t, "/proc/self/exe"), "200")
		fmt.Fprintln(tr.in, "exit", 0)
		tr.next()
		tr.next()
		if i := tr.inherit(); i.Refused != "it was not ready after 200ms" {
			t.Errorf("inherits %+v", i)
		}
		if now, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", tr.kernel)); now != first {
			t.Errorf("the kernel runs %s, not %s", now, first)
		}
		tr.tell("ready", "-")
	})
}

func copyOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(to, b, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestOutputThatNobodyReadsHoldsNobodyUp: while no kernel reads a component that floods its log, it goes on, and the loss is told.
func TestOutputThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	tr := dynasty(t, 5)
	pid := tr.start("flood")
	tr.tell("read", tr.name("flood"))
	unix.Kill(tr.kernel, unix.SIGKILL)
	tr.next() // reads nothing before it adopts
	progress := func() string {
		b, _ := os.ReadFile(filepath.Join(tr.cmd.Dir, "flood"))
		return string(b)
	}
	for range 3 {
		was := progress()
		within(t, promised, func() bool { return progress() != was })
	}
	tr.tell("adopt", tr.name("flood"), strconv.Itoa(pid))
	if lost, _ := strconv.Atoi(tr.tell("lost", tr.name("flood"))); lost < 1<<20 {
		t.Errorf("%d bytes were lost", lost)
	}
}
