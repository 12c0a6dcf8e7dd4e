package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The operator's day, through the real binary: each script gets an installation of its own, made by tools/install.sh from what
// `make build` built, and its own ports.
//
// Commands of the scripts beside testscript's:
//
//	server [ARG …]       starts `carbonado server ARG …` in the background and waits until it is RUNNING
//	serverfails CODE ARG …  runs it and wants that exit code
//	stopserver           SIGTERM to the guardian; wants exit code 0 and no process left
//	kill9 NAME …         kill -9 of components' processes, of "kernel" or of "guardian", all in one moment; after a kernel's the one that
//	                     follows is waited for
//	said REGEXP          waits until the server's output matches
//	serverends CODE      waits until the server has ended by itself, with that exit code
//	pids FILE            writes the components' names and pids, sorted
//	nothingleft          no process of the installation lives within five seconds
//	eventually CMD …     runs a command until it succeeds; `eventually -match REGEXP CMD …` until its output matches
//	freeze NAME          SIGSTOP to a component's process
//	pid NAME             sets PID to the number of a component's process
//	ended FILE           waits until the process whose number is the file's last word has ended
//	count TABLE N        waits until a query counts N rows
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": cmdServer, "serverfails": cmdServerFails, "stopserver": cmdStopServer, "kill9": cmdKill9, "pids": cmdPids, "said": cmdSaid, "serverends": cmdServerEnds,
			"nothingleft": cmdNothingLeft, "eventually": cmdEventually, "freeze": cmdFreeze, "pid": cmdPID, "ended": cmdEnded,
			"carbonado": cmdCarbonado,
		},
	})
}

// patience is how long a script waits for anything before it fails. It is no bound that a healthy system comes near.
const patience = 90 * time.Second

var offsets atomic.Int64

type lab struct {
	home   string
	offset int
	server *exec.Cmd
	exited chan struct{}
	output *output
	pids   map[string]int
}

type labKey struct{}

// output is what a server has printed so far. It is safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func repoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no go.work above")
}

func setup(env *testscript.Env) error {
	root, err := repoRoot()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "plugins", ".installed")); err != nil {
		return fmt.Errorf("the scripts need what `make build` builds: %w", err)
	}
	// Components are users of their own, who must be able to enter it.
	for _, dir := range []string{filepath.Dir(env.WorkDir), env.WorkDir} {
		if err := os.Chmod(dir, 0o711); err != nil {
			return err
		}
	}
	home := filepath.Join(env.WorkDir, "home")
	if out, err := exec.Command(filepath.Join(root, "tools", "install.sh"), home).CombinedOutput(); err != nil {
		return fmt.Errorf("install: %w\n%s", err, out)
	}
	offset, err := freeOffset()
	if err != nil {
		return err
	}
	l := &lab{home: home, offset: offset, pids: map[string]int{}}
	env.Values[labKey{}] = l
	env.Setenv("CARBON_HOME", home)
	env.Setenv("ROOT", root)
	env.Setenv("OFFSET", strconv.Itoa(offset))
	env.Setenv("HTTPS", "https://localhost:"+strconv.Itoa(9443+offset))
	env.Setenv("HTTP", "http://localhost:"+strconv.Itoa(9763+offset))
	env.Setenv("CARBONADO_ADMIN_PASSWORD", "a-password-for-tests")
	env.Setenv("PATH", filepath.Join(home, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("HOME", os.Getenv("HOME"))
	for _, name := range []string{"GOPROXY", "GOFLAGS", "GOCACHE", "GOMODCACHE", "GONOSUMDB", "GONOSUMCHECK", "GOSUMDB", "GOPATH", "GOTOOLCHAIN", "GOROOT"} {
		if v, ok := os.LookupEnv(name); ok {
			env.Setenv(name, v)
		}
	}
	env.Defer(func() {
		if l.server != nil {
			_ = l.server.Process.Kill()
			<-l.exited
		}
	})
	return nil
}

// freeOffset finds an offset whose ports are all free, another for each script.
func freeOffset() (int, error) {
	for range 200 {
		offset := 1000 + (os.Getpid()%97)*20 + int(offsets.Add(1))*3
		free := true
		for _, base := range []int{9443, 9763, 7611, 7711, 9999} {
			l, err := net.Listen("tcp", ":"+strconv.Itoa(base+offset))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return offset, nil
		}
	}
	return 0, fmt.Errorf("no free ports")
}

func labOf(ts *testscript.TestScript) *lab { return ts.Value(labKey{}).(*lab) }

func (l *lab) command(ts *testscript.TestScript, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.home, "bin", "carbonado"), args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"CARBON_HOME", "PATH", "HOME", "CARBONADO_ADMIN_PASSWORD", "NO_COLOR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func (l *lab) status(ts *testscript.TestScript) (state string, kernel, guardian int) {
	out, err := l.command(ts, "status", "-o", "json").Output()
	if err != nil {
		return "", 0, 0
	}
	var s struct {
		State                  string
		KernelPid, GuardianPid int
	}
	if json.Unmarshal(out, &s) != nil {
		return "", 0, 0
	}
	return s.State, s.KernelPid, s.GuardianPid
}

func (l *lab) start(ts *testscript.TestScript, args []string) {
	if l.server != nil {
		ts.Fatalf("a server runs already")
	}
	l.output = &output{}
	cmd := l.command(ts, append([]string{"server", "-DportOffset=" + strconv.Itoa(l.offset)}, args...)...)
	cmd.Stdout, cmd.Stderr = l.output, l.output
	if err := cmd.Start(); err != nil {
		ts.Fatalf("server: %v", err)
	}
	l.server, l.exited = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(l.exited)
	}()
}

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	l.start(ts, args)
	wait(ts, "the server to be RUNNING", func() bool {
		select {
		case <-l.exited:
			ts.Fatalf("the server ended: %v\n%s", l.server.ProcessState, l.output)
		default:
		}
		state, _, _ := l.status(ts)
		return state == "RUNNING"
	})
	l.remember(ts)
}

// remember notes the pids of all processes, so that nothingleft can look for them.
func (l *lab) remember(ts *testscript.TestScript) {
	_, l.pids["kernel"], l.pids["guardian"] = l.status(ts)
	if l.server != nil {
		l.pids["watch"] = l.server.Process.Pid
	}
	out, err := l.command(ts, "component", "ls", "-o", "json").Output()
	if err != nil {
		return
	}
	var list []struct {
		Name string
		Pid  int
	}
	if json.Unmarshal(out, &list) == nil {
		for _, c := range list {
			if c.Pid > 0 {
				l.pids[c.Name] = c.Pid
			}
		}
	}
}

func cmdServerFails(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	l.start(ts, args[1:])
	select {
	case <-l.exited:
	case <-time.After(patience):
		ts.Fatalf("the server did not end")
	}
	fmt.Fprint(ts.Stdout(), l.output)
	got := l.server.ProcessState.ExitCode()
	l.server = nil
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdStopServer(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	l.remember(ts)
	ts.Check(l.server.Process.Signal(syscall.SIGTERM))
	select {
	case <-l.exited:
	case <-time.After(patience):
		ts.Fatalf("the server did not stop\n%s", l.output)
	}
	code := l.server.ProcessState.ExitCode()
	l.server = nil
	if code != 0 {
		ts.Fatalf("the server stopped with exit code %d\n%s", code, l.output)
	}
	l.nothingLeft(ts)
}

func cmdKill9(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	l.remember(ts)
	for _, name := range args {
		if l.pids[name] == 0 {
			ts.Fatalf("no process of %s", name)
		}
	}
	if len(args) > 1 {
		// The guardian sees all of them at once.
		ts.Check(syscall.Kill(l.pids["guardian"], syscall.SIGSTOP))
	}
	for _, name := range args {
		ts.Check(syscall.Kill(l.pids[name], syscall.SIGKILL))
	}
	if len(args) > 1 {
		wait(ts, "them to end", func() bool {
			return !slices.ContainsFunc(args, func(name string) bool { return !zombie(l.pids[name]) })
		})
		ts.Check(syscall.Kill(l.pids["guardian"], syscall.SIGCONT))
	}
	switch {
	case slices.Contains(args, "guardian"), slices.Contains(args, "watch"):
		select {
		case <-l.exited:
		case <-time.After(patience):
			ts.Fatalf("the watch lives on")
		}
		l.server = nil
	case slices.Contains(args, "kernel"):
		l.nextKernel(ts)
	}
}

// nextKernel waits until another kernel than the one noted is RUNNING beneath the same guardian.
func (l *lab) nextKernel(ts *testscript.TestScript) {
	wait(ts, "another kernel to be RUNNING", func() bool {
		state, kernel, guardian := l.status(ts)
		if guardian != 0 && guardian != l.pids["guardian"] {
			ts.Fatalf("guardian %d, was %d", guardian, l.pids["guardian"])
		}
		return state == "RUNNING" && kernel != l.pids["kernel"]
	})
}

// cmdSaid waits for something in the server's output.
func cmdSaid(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	wait(ts, "the server to say "+args[0], func() bool { return matches(args[0], l.output.String()) })
}

// cmdServerEnds waits for an end that this test has not asked for.
func cmdServerEnds(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	select {
	case <-l.exited:
	case <-time.After(patience):
		ts.Fatalf("the server did not end")
	}
	if got := l.server.ProcessState.ExitCode(); got != want {
		ts.Fatalf("the server ended with exit code %d, not %d", got, want)
	}
	l.server = nil
}

// cmdPids writes who runs as which process.
func cmdPids(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	clear(l.pids)
	l.remember(ts)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l.pids)) {
		if name != "kernel" && name != "guardian" && name != "watch" {
			fmt.Fprintln(&b, name, l.pids[name])
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// cmdFreeze stops a component's process as SIGSTOP does: it lives and answers nothing.
func cmdFreeze(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	l.remember(ts)
	if l.pids[args[0]] == 0 {
		ts.Fatalf("no process of %s", args[0])
	}
	ts.Check(syscall.Kill(l.pids[args[0]], syscall.SIGSTOP))
}

func cmdPID(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	l.remember(ts)
	ts.Setenv("PID", strconv.Itoa(l.pids[args[0]]))
}

// cmdEnded waits until the process whose number is the last word of a file is no more.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	words := strings.Fields(ts.ReadFile(args[0]))
	pid, err := strconv.Atoi(words[len(words)-1])
	ts.Check(err)
	wait(ts, "process "+strconv.Itoa(pid)+" to end", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
}

func cmdNothingLeft(ts *testscript.TestScript, neg bool, args []string) { labOf(ts).nothingLeft(ts) }

func (l *lab) nothingLeft(ts *testscript.TestScript) {
	wait(ts, "all processes to end", func() bool {
		for _, pid := range l.pids {
			if pid > 0 && syscall.Kill(pid, 0) == nil && !zombie(pid) {
				return false
			}
		}
		return true
	})
}

func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// cmdCarbonado is `exec carbonado …` with the output kept for `stdout` and `stderr`: carbonado [!CODE] ARG …
func cmdCarbonado(ts *testscript.TestScript, neg bool, args []string) {
	want := 0
	if code, ok := strings.CutPrefix(args[0], "!"); ok {
		n, err := strconv.Atoi(code)
		ts.Check(err)
		want, args = n, args[1:]
	}
	cmd := labOf(ts).command(ts, args...)
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(cmd.Start())
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("carbonado %s: exit code %d, want %d", strings.Join(args, " "), got, want)
	}
}

// cmdEventually repeats a program until it succeeds, or until its output matches.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	match := ""
	if args[0] == "-match" {
		match, args = args[1], args[2:]
	}
	var last []byte
	wait(ts, strings.Join(args, " "), func() bool {
		program := args[0]
		if program == "carbonado" {
			program = filepath.Join(labOf(ts).home, "bin", program)
		}
		cmd := exec.Command(program, args[1:]...)
		cmd.Dir = ts.MkAbs(".")
		for _, name := range []string{"CARBON_HOME", "PATH", "HOME", "HTTPS", "HTTP"} {
			cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
		}
		out, err := cmd.CombinedOutput()
		last = out
		return err == nil && matches(match, string(out))
	}, &last)
	fmt.Fprint(ts.Stdout(), string(last))
}

// wait polls: another process is watched, which can't tell us.
func wait(ts *testscript.TestScript, what string, ok func() bool, detail ...*[]byte) {
	end := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(end) {
			text := ""
			for _, d := range detail {
				text += "\n" + string(*d)
			}
			ts.Fatalf("waited %s for %s%s\n%s", patience, what, text, labOf(ts).tail())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *lab) tail() string {
	if l.output == nil {
		return ""
	}
	text := l.output.String()
	if len(text) > 8000 {
		text = text[len(text)-8000:]
	}
	return text
}

func matches(pattern, text string) bool {
	return pattern == "" || regexp.MustCompile(pattern).MatchString(text)
}
