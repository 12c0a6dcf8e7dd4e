package guardian_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/sdk/handshake/layout"

	"golang.org/x/sys/unix"
)

// promised is the time within which nothing may be left.
const promised = 5 * time.Second

// tree is a watch with guardian, kernel and all that they start, found by their mark.
type tree struct {
	t        *testing.T
	mark     string
	cmd      *exec.Cmd // the watch
	in       io.Writer
	out      *bufio.Scanner
	guardian int
	kernel   int
	ended    chan struct{}
	code     int
}

// plant starts a tree. How a component's group is ended depends on whether cgroups can be had: every test runs both ways.
func plant(t *testing.T, cgroups bool, kernelArgs ...string) *tree {
	t.Helper()
	tr := &tree{t: t, mark: fmt.Sprintf("%016x", rand.Uint64()), ended: make(chan struct{})}
	tr.cmd = exec.Command("/proc/self/exe", kernelArgs...)
	tr.cmd.Args[0] = tr.name("guardian")
	tr.cmd.Dir = t.TempDir()
	tr.cmd.Env = append(os.Environ(), "SECRET=of the operator")
	if !cgroups {
		tr.cmd.Env = append(tr.cmd.Env, "NO_CGROUP=1")
	}
	tr.cmd.Stderr = os.Stderr
	in, err := tr.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := tr.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tr.in, tr.out = in, bufio.NewScanner(out)
	tr.out.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		tr.cmd.Process.Kill()
		for _, pid := range tr.left() {
			unix.Kill(pid, unix.SIGKILL)
		}
		<-tr.ended
	})
	first := tr.line()
	go func() {
		defer close(tr.ended)
		state, _ := tr.cmd.Process.Wait()
		tr.code = state.ExitCode()
	}()
	if _, err := fmt.Sscanf(first, "kernel %d %d", &tr.kernel, &tr.guardian); err != nil {
		t.Fatalf("kernel said %q", first)
	}
	return tr
}

func (tr *tree) name(part string) string { return part + "-" + tr.mark }

func (tr *tree) line() string {
	tr.t.Helper()
	if !tr.out.Scan() {
		tr.t.Fatalf("the kernel fell silent: %v", tr.out.Err())
	}
	return tr.out.Text()
}

// tell gives the kernel an order about a component and returns its answer.
func (tr *tree) tell(order, part string, more ...string) string {
	tr.t.Helper()
	if _, err := fmt.Fprintln(tr.in, order, part, strings.Join(more, " ")); err != nil {
		tr.t.Fatal(err)
	}
	answer := tr.line()
	if strings.HasPrefix(answer, "error") {
		tr.t.Fatalf("%s %s: %s", order, part, answer)
	}
	return answer
}

func (tr *tree) start(part string, keys ...string) int {
	tr.t.Helper()
	pid, err := strconv.Atoi(tr.tell("start", tr.name(part), keys...))
	if err != nil {
		tr.t.Fatal(err)
	}
	return pid
}

func (tr *tree) exit(part string) guardian.Exit {
	tr.t.Helper()
	var e guardian.Exit
	if err := json.Unmarshal([]byte(tr.tell("await", tr.name(part))), &e); err != nil {
		tr.t.Fatal(err)
	}
	return e
}

// left returns the living processes of the tree.
func (tr *tree) left() []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), tr.mark) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// none waits until nothing of the tree is left but those named, and fails after the promised time.
func (tr *tree) none(but ...int) time.Duration {
	tr.t.Helper()
	begin := time.Now()
	within(tr.t, promised, func() bool { return len(tr.left()) <= len(but) })
	return time.Since(begin)
}

// within looks again until ok, for at most d.
func within(t *testing.T, d time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			if ok() {
				return
			}
			t.Fatalf("not within %s", d)
		}
	}
}

func (tr *tree) ends(code int) {
	tr.t.Helper()
	select {
	case <-tr.ended:
		if tr.code != code {
			tr.t.Fatalf("the guardian exited with %d, not %d", tr.code, code)
		}
	case <-time.After(promised):
		tr.t.Fatal("the guardian did not exit")
	}
}

// both runs a test with and without control groups.
func both(t *testing.T, test func(*testing.T, bool)) {
	t.Run("process groups", func(t *testing.T) { test(t, false) })
	t.Run("cgroups", func(t *testing.T) { test(t, true) })
}

func TestComponentFindsItsLayoutAndNothingElse(t *testing.T) {
	tr := plant(t, true)
	address := tr.tell("listen", "a", "127.0.0.1:0")
	tr.tell("listen", "b", "127.0.0.1:0")
	pid := tr.start("inspector", "b", "a")
	var i inspection
	if err := json.Unmarshal([]byte(tr.tell("read", tr.name("inspector"))), &i); err != nil {
		t.Fatal(err)
	}
	if len(i.Env) != 1 || i.Env[0] != "ONLY=this" {
		t.Errorf("environment %q", i.Env)
	}
	if len(i.Args) != 1 || i.Args[0] != tr.name("inspector") {
		t.Errorf("arguments %q", i.Args)
	}
	exe, _ := filepath.EvalSymlinks("/proc/self/exe")
	for fd, want := range map[string]string{"0": "/dev/null", "1": "pipe:", "2": "pipe:", "3": exe, "4": "pipe:", "5": "socket:", "6": "socket:"} {
		if !strings.HasPrefix(i.FDs[fd], want) {
			t.Errorf("descriptor %s is %q, want %q", fd, i.FDs[fd], want)
		}
	}
	for fd, to := range i.FDs {
		// The Go runtime's own come on top: its poller, and the cgroup files that GOMAXPROCS follows.
		if n, _ := strconv.Atoi(fd); n > 6 && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			t.Errorf("descriptor %s leaked in: %s", fd, to)
		}
	}
	if i.PID != pid || i.Group != pid {
		t.Errorf("pid %d, group %d, want both %d", i.PID, i.Group, pid)
	}
	if sid, _ := unix.Getsid(tr.cmd.Process.Pid); i.Session != sid {
		t.Errorf("session %d, not the guardian's %d", i.Session, sid)
	}
	if i.PPID != tr.guardian {
		t.Errorf("parent %d, not the guardian %d", i.PPID, tr.guardian)
	}
	if want := (layout.Kernel{PID: tr.kernel, UID: os.Geteuid()}).Line(); i.Line != want {
		t.Errorf("lifeline says %q, want %q", i.Line, want)
	}
	if i.Dir != tr.cmd.Dir || !i.NoNewPrivs || i.Files != "500" || i.Core != "0 0" || i.Data != strconv.Itoa(1<<30) || i.Nice != 3 || i.OOMScore != "250" {
		t.Errorf("folder %s, no_new_privs %t, files %s, core %s, data %s, nice %d, score %s", i.Dir, i.NoNewPrivs, i.Files, i.Core, i.Data, i.Nice, i.OOMScore)
	}
	t.Logf("cgroup %s, listener %s", i.Cgroup, address)
}

func TestExitsAreTold(t *testing.T) {
	tr := plant(t, true)
	tr.start("failing")
	if e := tr.exit("failing"); e.Code != 3 || e.Signal != 0 || e.Ours || e.MaxRSS == 0 || e.At.Before(e.Started) {
		t.Errorf("exit %+v", e)
	}
	pid := tr.start("sleeper")
	unix.Kill(pid, unix.SIGKILL)
	if e := tr.exit("sleeper"); e.Code != -1 || e.Signal != unix.SIGKILL || e.Ours || e.OutOfMemory {
		t.Errorf("killed from outside: %+v", e)
	}
	tr.start("stubborn")
	tr.tell("read", tr.name("stubborn"))
	tr.tell("signal", tr.name("stubborn"), strconv.Itoa(int(unix.SIGTERM)))
	tr.tell("kill", tr.name("stubborn"))
	if e := tr.exit("stubborn"); e.Signal != unix.SIGKILL || !e.Ours {
		t.Errorf("killed by us: %+v", e)
	}
	// One that is gone can be signalled and killed as often as one likes.
	tr.tell("kill", tr.name("stubborn"))
	tr.tell("signal", tr.name("stubborn"), "15")
}

func TestDataLimitEndsAHog(t *testing.T) {
	tr := plant(t, false)
	tr.start("memoryhog")
	if e := tr.exit("memoryhog"); e.Code <= 0 || e.MaxRSS > 1<<30 {
		t.Errorf("exit %+v", e)
	}
	if said := tr.tell("stderr", tr.name("memoryhog")); !strings.Contains(said, "out of memory") && !strings.Contains(said, "cannot allocate memory") && !strings.Contains(said, "failed to allocate") {
		t.Errorf("it said %.300s", said)
	}
}

func TestWhatCannotStart(t *testing.T) {
	tr := plant(t, true)
	fmt.Fprintln(tr.in, "start", tr.name("sleeper"), "nosuchlistener")
	if said := tr.line(); !strings.Contains(said, `no listener is called "nosuchlistener"`) {
		t.Errorf("unknown listener: the kernel heard %q", said)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	tr.tell("startfile", tr.name("text"), text)
	if e := tr.exit("text"); e.Code != launch.ExitCannotExecute {
		t.Errorf("a file that is no program: %+v", e)
	}
	if said := tr.tell("stderr", tr.name("text")); !strings.Contains(said, "exec format error") {
		t.Errorf("it said %s", said)
	}
	// Nothing was opened for what did not start.
	if n := len(tr.left()); n != 3 {
		t.Errorf("%d processes, want watch, guardian and kernel", n)
	}
}

func TestKernelDiesAllEnd(t *testing.T) {
	both(t, func(t *testing.T, cgroups bool) {
		tr := plant(t, cgroups)
		tr.crowd()
		unix.Kill(tr.kernel, unix.SIGKILL)
		took := tr.none()
		tr.ends(128 + 9)
		t.Logf("nothing left after %s", took)
	})
}

func TestGuardianDiesAllEnd(t *testing.T) {
	both(t, func(t *testing.T, cgroups bool) {
		tr := plant(t, cgroups)
		tr.crowd()
		unix.Kill(tr.guardian, unix.SIGKILL)
		took := tr.none()
		tr.ends(128 + 9)
		t.Logf("nothing left after %s", took)
	})
}

func TestWatchDiesAllEnd(t *testing.T) {
	both(t, func(t *testing.T, cgroups bool) {
		tr := plant(t, cgroups)
		tr.crowd()
		unix.Kill(tr.cmd.Process.Pid, unix.SIGKILL)
		t.Logf("nothing left after %s", tr.none())
	})
}

// crowd starts components of every bad habit: deaf to SIGTERM, frozen, with a child, with a child in a session of its own that has lost its
// parent or is about to, and one that watches its lifeline.
func (tr *tree) crowd() {
	tr.t.Helper()
	tr.start("sleeper")
	for _, part := range []string{"stubborn", "parent", "sessionparent", "forking"} {
		tr.start(part)
		tr.tell("read", tr.name(part))
	}
	tr.start("linewatch")
	if said := tr.tell("read", tr.name("linewatch")); said != "true <nil>" {
		tr.t.Fatal(said)
	}
	unix.Kill(tr.start("inspector"), unix.SIGSTOP)
}

func TestKernelsExitCodeIsKept(t *testing.T) {
	for _, code := range []int{0, 1, 64, 121} {
		tr := plant(t, true)
		tr.start("sleeper")
		fmt.Fprintln(tr.in, "exit", code)
		tr.ends(code)
		tr.none()
	}
}

func TestTermIsForwarded(t *testing.T) {
	tr := plant(t, true)
	tr.start("sleeper")
	unix.Kill(tr.cmd.Process.Pid, unix.SIGTERM)
	tr.ends(121) // what this kernel makes of SIGTERM
	tr.none()
}

func TestDeafKernelIsKilled(t *testing.T) {
	tr := plant(t, true, "deaf")
	unix.Kill(tr.cmd.Process.Pid, unix.SIGTERM)
	tr.ends(128 + 9)
}

func TestInterruptIsTheKernels(t *testing.T) {
	tr := plant(t, true)
	for _, pid := range []int{tr.guardian, tr.cmd.Process.Pid} {
		unix.Kill(pid, unix.SIGINT)
		unix.Kill(pid, unix.SIGPIPE)
	}
	if pid := tr.start("sleeper"); pid == 0 {
		t.Error("the guardian no longer works")
	}
	// The kernel's children get the default actions, not ours.
	pid := tr.start("inspector")
	tr.tell("read", tr.name("inspector"))
	unix.Kill(pid, unix.SIGINT)
	if e := tr.exit("inspector"); e.Signal != unix.SIGINT {
		t.Errorf("a component ended by an interrupt: %+v", e)
	}
}

func TestComponentsGroupGoesWithIt(t *testing.T) {
	both(t, func(t *testing.T, cgroups bool) {
		tr := plant(t, cgroups)
		pid := tr.start("parent")
		tr.tell("read", tr.name("parent"))
		if n := len(tr.left()); n != 5 {
			t.Fatalf("%d processes, want watch, guardian, kernel, parent, child", n)
		}
		unix.Kill(pid, unix.SIGKILL)
		tr.exit("parent") // told although the child holds the pipes
		tr.none(tr.kernel, tr.guardian, tr.cmd.Process.Pid)
	})
}

func TestDoubleForkIsCaught(t *testing.T) {
	both(t, func(t *testing.T, cgroups bool) {
		tr := plant(t, cgroups)
		// One leaves a process in a session of its own and lives on: the process is found within the sweep.
		forking := tr.start("forking")
		tr.tell("read", tr.name("forking"))
		tr.none(tr.kernel, tr.guardian, tr.cmd.Process.Pid, forking)
		if err := unix.Kill(forking, 0); err != nil {
			t.Fatalf("the component itself: %v", err)
		}
		// One leaves such a process and goes.
		tr.start("runaway")
		tr.exit("runaway")
		tr.none(tr.kernel, tr.guardian, tr.cmd.Process.Pid, forking)
	})
}

func TestListenerOutlivesItsComponent(t *testing.T) {
	tr := plant(t, true)
	address := tr.tell("listen", "front", "127.0.0.1:0")
	if again := tr.tell("listen", "front", "127.0.0.1:0"); again != address {
		t.Errorf("the same again is %s, not %s", again, address)
	}
	first := tr.start("acceptor", "front")
	tr.tell("read", tr.name("acceptor"))
	if got := call(t, address)(); got != first {
		t.Fatalf("%d answered, not %d", got, first)
	}
	unix.Kill(first, unix.SIGKILL)
	tr.exit("acceptor")
	// Connected while nobody accepts.
	var waiting []func() int
	for range 20 {
		waiting = append(waiting, call(t, address))
	}
	second := tr.start("acceptor", "front")
	for _, answer := range waiting {
		if got := answer(); got != second {
			t.Fatalf("%d answered, not %d", got, second)
		}
	}
	// A port in use is said to be so.
	fmt.Fprintln(tr.in, "listen other", address)
	if said := tr.line(); !strings.Contains(said, "address already in use") {
		t.Errorf("the kernel heard %q", said)
	}
	tr.tell("kill", tr.name("acceptor"))
	tr.exit("acceptor")
	tr.tell("unlisten", "front")
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("somebody still listens")
	}
}

// call connects and returns what waits for the answer.
func call(t *testing.T, address string) func() int {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return func() int {
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		var pid int
		fmt.Fscan(c, &pid)
		return pid
	}
}

func TestKernelServesOnASharedListener(t *testing.T) {
	tr := plant(t, true)
	address := tr.tell("listen", "gateway", "127.0.0.1:0")
	if got := tr.tell("serve", "gateway"); got != address {
		t.Errorf("shared %s, not %s", got, address)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if said, _ := io.ReadAll(c); string(said) != "kernel\n" {
		t.Errorf("it said %q", said)
	}
}

func TestGuardianKeepsNothingOfTheDead(t *testing.T) {
	both(t, func(t *testing.T, cgroups bool) {
		tr := plant(t, cgroups)
		tr.tell("listen", "l", "127.0.0.1:0")
		open := func() int {
			fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", tr.guardian))
			return len(fds)
		}
		tr.start("failing", "l")
		tr.exit("failing")
		before := open()
		for range 20 {
			tr.start("failing", "l")
			tr.exit("failing")
		}
		// The last reply's copies may be open for a moment.
		within(t, promised, func() bool { return open() <= before })
		if n := len(tr.left()); n != 3 {
			t.Errorf("%d processes, want watch, guardian and kernel", n)
		}
	})
}

func TestKernelThatDoesNotReadDoesNotHoldUpTheGuardian(t *testing.T) {
	tr := plant(t, true)
	pid := tr.start("chatterbox")
	unix.Kill(tr.kernel, unix.SIGSTOP)
	unix.Kill(pid, unix.SIGKILL)
	within(t, promised, func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	unix.Kill(tr.kernel, unix.SIGCONT)
	if e := tr.exit("chatterbox"); e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
}
