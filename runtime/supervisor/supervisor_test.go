package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/guardian/guardiantest"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/handshake"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"golang.org/x/sys/unix"
)

func TestStartCallStop(t *testing.T) {
	b := newBench(t)
	spec := b.spec("Good")
	i := b.start(spec)
	if i.Name() != "Good" || i.Version() != "1.2.3" || i.Generation() != 1 || !alive(i.PID()) || i.Digest() != selfDigest() {
		t.Errorf("instance %s %s %d, pid %d", i.Name(), i.Version(), i.Generation(), i.PID())
	}
	if got, want := b.do(i, "peer")[0], fmt.Sprint(os.Getpid(), os.Geteuid(), true); got != want {
		t.Errorf("the component sees the kernel as %s, want %s", got, want)
	}
	if err := i.Ping(b.context()); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(i.RunFolder()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run folder %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(spec.DataFolder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder %v, %v", info.Mode(), err)
	}
	exit := i.Stop(b.context(), supervisor.DefaultLadder(component.ResultOperator))
	if exit.Result != (component.Result{Kind: component.ResultOperator}) || exit.Forced || exit.Ran <= 0 || exit.MaxRSS == 0 {
		t.Errorf("exit %+v", exit)
	}
	// Every rung was used, in order.
	if got := exit.Tail; !slices.Equal(got, []string{"called drain", "called release", "called stop"}) {
		t.Errorf("calls %q", got)
	}
	if again := i.Stop(b.context(), supervisor.DefaultLadder(component.ResultReplaced)); again.Result != exit.Result {
		t.Errorf("stopped twice: %v", again.Result)
	}
	within(t, longest, func() bool { _, err := os.Stat(i.RunFolder()); return errors.Is(err, fs.ErrNotExist) },
		func() string { return "the run folder is left" })
	if err := i.Ping(b.context()); !errors.Is(err, supervisor.ErrSilent) {
		t.Errorf("ping of a dead one: %v", err)
	}
}

func TestEnvironmentIsTheListAndNothingElse(t *testing.T) {
	t.Setenv("CARBONADO_ADMIN_PASSWORD", "secret")
	t.Setenv("TZ", "Asia/Colombo")
	b := newBench(t)
	spec := b.spec("Good")
	spec.MemoryLimit = 100 << 20
	spec.Env = map[string]string{"GOGC": "50"}
	i := b.start(spec)
	want := map[string]string{
		"CARBONADO_COMPONENT": handshake.Config().MagicCookieValue, "PLUGIN_MIN_PORT": "10000", "PLUGIN_MAX_PORT": "25000",
		"PLUGIN_PROTOCOL_VERSIONS": "1,2", "PLUGIN_UNIX_SOCKET_DIR": i.RunFolder(),
		"GOGC": "50", "GOMEMLIMIT": "83886080", "TZ": "Asia/Colombo", "LANG": "C.UTF-8", "TMPDIR": i.RunFolder() + "/tmp",
		"CARBONADO_PACKAGE": spec.PackageFolder,
	}
	for _, e := range b.do(i, "env") {
		name, value, _ := strings.Cut(e, "=")
		if w, ok := want[name]; !ok || w != value {
			t.Errorf("environment has %s, want %q", e, w)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("environment lacks %v", want)
	}
	if got := b.do(i, "args"); len(got) != 1 || got[0] != "Good" {
		t.Errorf("arguments %q", got)
	}
	if got := b.do(i, "dir"); got[0] != spec.DataFolder {
		t.Errorf("working folder %q", got)
	}
	spec.Env = map[string]string{"LD_PRELOAD": "x"}
	if _, err := b.Start(b.context(), spec); !errors.Is(err, supervisor.ErrSpec) {
		t.Errorf("LD_PRELOAD: %v", err)
	}
}

func TestResults(t *testing.T) {
	b := newBench(t)
	for what, want := range map[string]component.Result{
		"exit 0":  {Kind: component.ResultExit, Code: 0},
		"exit 42": {Kind: component.ResultExit, Code: 42},
		"panic":   {Kind: component.ResultExit, Code: 2},
		"oom":     {Kind: component.ResultOutOfMemory, Code: 2},
	} {
		spec := b.spec("Good")
		spec.Limits = launch.Limits{Data: 512 << 20}
		i := b.start(spec)
		if _, err := i.Component().Configure(b.context(), &controlv1.ConfigureRequest{ConfigJson: []byte(what)}); err == nil {
			t.Errorf("%s: answered", what)
		}
		exit := b.exit(i)
		if what == "oom" { // the race detector's own code is another
			exit.Result.Code = 2
		}
		if exit.Result != want {
			t.Errorf("%s: %+v, want %v", what, exit.Result, want)
		}
		if what == "panic" && !slices.Contains(exit.Tail, "panic: index out of range") {
			t.Errorf("the tail of a panic is %q", exit.Tail)
		}
		if what == "panic" && !strings.Contains(exit.Err("Good").Error(), "Good ended after") {
			t.Errorf("as a cause: %v", exit.Err("Good"))
		}
	}
	if e := b.logged("Good", "panic: index out of range"); e.Level != "error" {
		t.Errorf("a panic is logged as %s", e.Level)
	}
	i := b.start(b.spec("Good"))
	unix.Kill(i.PID(), unix.SIGKILL)
	if exit := b.exit(i); exit.Result != (component.Result{Kind: component.ResultSignal, Signal: "SIGKILL"}) || exit.Forced {
		t.Errorf("kill -9: %+v", exit)
	}
	// The end by itself is not renamed afterwards.
	if exit := i.Kill(b.context(), component.ResultWatchdog); exit.Result.Kind != component.ResultSignal {
		t.Errorf("killed after its end: %v", exit.Result)
	}
	i = b.start(b.spec("Good"))
	if exit := i.Kill(b.context(), component.ResultWatchdog); exit.Result.Kind != component.ResultWatchdog || !exit.Forced {
		t.Errorf("watchdog: %+v", exit)
	}
}

func TestEndIsSeenAtOnceWhateverHoldsThePipes(t *testing.T) {
	b := newBench(t)
	i := b.start(b.spec("Good"))
	var child int
	fmt.Sscan(b.do(i, "child")[0], &child)
	unix.Kill(i.PID(), unix.SIGKILL)
	begin := time.Now()
	exit := b.exit(i)
	if took := time.Since(begin); took > time.Second || exit.Result.Signal != "SIGKILL" {
		t.Errorf("seen after %s: %+v", took, exit)
	}
	within(t, longest, func() bool { return !alive(child) }, func() string { return "the grandchild lives on" })
}

func TestPrintingBeforeTheHandshakeIsNoFault(t *testing.T) {
	b := newBench(t)
	i := b.start(b.spec("Printing"))
	if err := i.Ping(b.context()); err != nil {
		t.Error(err)
	}
	b.logged("Printing", "Picked up JAVA_TOOL_OPTIONS")
	b.logged("Printing", "1|2|three")
}

func TestOutputReachesTheLog(t *testing.T) {
	b := newBench(t)
	i := b.start(b.spec("Good"))
	b.do(i, "print \x1b[31mred")
	for _, message := range []string{"raw out", "raw err", "soft out", "soft err", "marked"} {
		e := b.logged("Good", message)
		if strings.Contains(e.Message, "\x1b") || !strings.Contains(e.Message, "red") {
			t.Errorf("message %q", e.Message)
		}
		if want := map[bool]string{true: "error", false: "info"}[message == "marked"]; e.Level != want {
			t.Errorf("%s is logged as %s", message, e.Level)
		}
	}
	e := b.logged("Good.store", "structured")
	if e.Level != "warn" || e.fields["n"] != "12345678901234567" || e.fields["text"] != "a b" || e.fields["err"] != "boom" {
		t.Errorf("structured %+v", e)
	}
}

func TestLongLinesAreCutNotLost(t *testing.T) {
	b := newBench(t)
	i := b.start(b.spec("Good"))
	b.do(i, "long")
	b.logged("Good", "after the long ones")
	if e := b.logged("Good", "beginxxx"); !strings.HasSuffix(e.Message, fmt.Sprintf("(%d bytes left out)", 1<<20+5-256<<10)) {
		t.Errorf("it ends with %q", e.Message[len(e.Message)-60:])
	}
	b.logged("Good", "outzzz")
	if e := b.logged("Good", `"@message":"big"`); e.Level != "error" {
		t.Errorf("a long structured line is logged as %s", e.Level)
	}
}

func TestFloodHoldsNobodyUp(t *testing.T) {
	const lines = 300000
	for _, way := range []string{"stdout", "stderr", "os.Stdout"} {
		t.Run(way, func(t *testing.T) {
			b := newBench(t)
			i := b.start(b.spec("Good"))
			// Not even when the kernel's log doesn't move at all.
			stall := make(chan struct{})
			b.log.mu.Lock()
			b.log.stall = stall
			b.log.mu.Unlock()
			begin := time.Now()
			b.do(i, fmt.Sprintf("flood %s %d", way, lines))
			took := time.Since(begin)
			if err := i.Ping(b.context()); err != nil {
				t.Error(err)
			}
			b.log.mu.Lock()
			b.log.stall = nil
			b.log.mu.Unlock()
			close(stall)
			exit := i.Stop(b.context(), supervisor.DefaultLadder(component.ResultOperator))
			if exit.Forced || !slices.Contains(exit.Tail, "called stop") {
				t.Errorf("exit %+v", exit)
			}
			e := b.logged("Good", "lines were left out")
			logged, left := b.count("flood"), 0
			for _, e := range b.log.entries() {
				if lost, ok := e.fields["lines"].(float64); ok {
					left += int(lost)
				}
			}
			t.Logf("%d lines in %s, %d logged, %d left out", lines, took, logged, left)
			if e.Level != "warn" || logged < 1000 || logged+left < lines {
				t.Errorf("%d lines were logged, %d counted, of %d", logged, left, lines)
			}
		})
	}
}

func TestListenersOutliveInstances(t *testing.T) {
	b := newBench(t)
	client := guardiantest.Client()
	key := "test/" + t.Name()
	address, err := client.Listen(b.context(), key, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Unlisten(b.context(), key)
	dial := func() net.Conn {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(longest))
		return c
	}
	answer := func(c net.Conn) (pid int) {
		defer c.Close()
		fmt.Fscan(c, &pid)
		return pid
	}
	spec := b.spec("Good")
	spec.Listeners = []supervisor.Listener{{Name: "thrift", Key: key}}
	first := b.start(spec)
	if l := first.Listeners(); len(l) != 1 || l[0].Name != "thrift" || l[0].Fd != 5 || l[0].Address != address {
		t.Errorf("listeners %v", l)
	}
	b.do(first, "accept")
	if got := answer(dial()); got != first.PID() {
		t.Errorf("%d answers, not %d", got, first.PID())
	}
	unix.Kill(first.PID(), unix.SIGKILL)
	b.exit(first)
	queued := dial() // connects although nobody accepts
	spec.Generation++
	b.next++
	second := b.start(spec)
	b.do(second, "accept")
	if got := answer(queued); got != second.PID() {
		t.Errorf("%d answers, not %d", got, second.PID())
	}
}

func TestComponentWrittenWithTheSDK(t *testing.T) {
	b := newBench(t)
	client := guardiantest.Client()
	if _, err := client.Listen(b.context(), t.Name(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer client.Unlisten(b.context(), t.Name())
	spec := b.spec("Written")
	spec.Listeners = []supervisor.Listener{{Name: "front", Key: t.Name()}}
	if err := os.MkdirAll(spec.PackageFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "name: Written\nversion: 1.2.3\nsummary: A test.\nexecutable: bin/Written\nports: [{name: front, port: 0}]\n"
	if err := os.WriteFile(filepath.Join(spec.PackageFolder, "component.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	i := b.start(spec)
	c := i.Component()
	r, err := c.Configure(b.context(), &controlv1.ConfigureRequest{
		Name: "Written", Version: "1.2.3", Generation: i.Generation(), ConfigJson: []byte(`{"loud":true}`),
		DataFolder: spec.DataFolder, RunFolder: i.RunFolder(), PackageFolder: spec.PackageFolder, RepositoryFolder: b.home,
		Listeners: i.Listeners(), NodeId: "n", Tenant: -1234, KernelPid: int32(os.Getpid()), KernelUid: int32(os.Geteuid()),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "unix://" + i.RunFolder(); !strings.HasPrefix(r.ServiceAddress, want) {
		t.Errorf("services at %s, not in %s", r.ServiceAddress, want)
	}
	if _, err := c.Prepare(b.context(), &controlv1.PrepareRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(b.context(), &controlv1.AcquireRequest{}); err != nil {
		t.Fatal(err)
	}
	if e := b.logged("Written", "made"); e.Level != "info" || e.fields["loud"] != true {
		t.Errorf("%+v", e)
	}
	b.logged("Written", "acquired <nil>")
	exit := i.Stop(b.context(), supervisor.DefaultLadder(component.ResultOperator))
	if exit.Forced || exit.Result != (component.Result{Kind: component.ResultOperator}) {
		t.Errorf("exit %+v", exit)
	}
	b.logged("Written", "stopping") // printed last, and not lost
}

func TestEventsTellAllInOrder(t *testing.T) {
	b := newBench(t)
	first := b.start(b.spec("Good"))
	first.Kill(b.context(), component.ResultOperator)
	second := b.start(b.spec("Good"))
	unix.Kill(second.PID(), unix.SIGKILL)
	b.exit(second)
	for n, want := range []supervisor.Event{
		{Kind: supervisor.Started, Instance: first}, {Kind: supervisor.Ended, Instance: first},
		{Kind: supervisor.Started, Instance: second}, {Kind: supervisor.Ended, Instance: second},
	} {
		select {
		case got := <-b.Events():
			if got.Kind != want.Kind || got.Instance != want.Instance || got.At.IsZero() {
				t.Errorf("event %d is %+v", n, got)
			}
			if got.Kind == supervisor.Ended && got.Exit.Result != got.Instance.Exit().Result {
				t.Errorf("event %d has exit %+v", n, got.Exit)
			}
		case <-time.After(longest):
			t.Fatalf("no event %d", n)
		}
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	b := newBench(t)
	i := b.start(b.spec("Good"))
	starting := make(chan error, 1)
	go func() {
		_, err := b.Start(b.context(), b.spec("Mute"))
		starting <- err
	}()
	b.logged("Mute", "I wait")
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if alive(i.PID()) || i.Exit().Result.Kind != component.ResultOperator {
		t.Errorf("exit %+v", i.Exit())
	}
	if err := <-starting; !errors.Is(err, supervisor.ErrCancelled) {
		t.Errorf("the one that was starting: %v", err)
	}
	if _, err := b.Start(ctx, b.spec("Good")); !errors.Is(err, supervisor.ErrCancelled) {
		t.Errorf("after Close: %v", err)
	}
}

func TestManyAtOnceAndOverAgain(t *testing.T) {
	b := newBench(t)
	var specs []supervisor.Spec
	for range 8 {
		specs = append(specs, b.spec("Good"))
	}
	var all sync.WaitGroup
	for n, spec := range specs {
		all.Go(func() {
			i, err := b.Start(b.context(), spec)
			if err != nil {
				exit, _ := supervisor.ExitOf(err)
				t.Errorf("%v\n%s", err, strings.Join(exit.Tail, "\n"))
				return
			}
			if n%2 == 0 {
				unix.Kill(i.PID(), unix.SIGKILL)
				<-i.Done()
			} else if exit := i.Stop(b.context(), supervisor.DefaultLadder(component.ResultOK)); exit.Forced {
				t.Errorf("exit %+v", exit)
			}
		})
	}
	all.Wait()
	// The same generation twice is a mistake that is seen.
	i := b.start(b.spec("Good"))
	again := b.spec("Good")
	again.Generation = i.Generation()
	if _, err := b.Start(b.context(), again); !errors.Is(err, supervisor.ErrSpec) {
		t.Errorf("the same generation: %v", err)
	}
}
