package crashtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	duration = flag.Duration("crash.duration", 15*time.Second, "how long processes are killed under load, beyond the first round")
	seedFlag = flag.Uint64("crash.seed", 0, "order of the kills; 0 takes another each time")
)

const (
	adminUser     = "admin"
	adminPassword = "a-password-for-tests"
	// patience is how long anything is waited for before the test fails. It is no bound that a healthy system comes near.
	patience = 90 * time.Second
)

// seeded makes the order of a test, and prints how to have it again.
func seeded(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-crash.seed %d", seed)
	return rand.New(rand.NewPCG(seed, 7))
}

// lab is one installation and the server that runs in it.
type lab struct {
	t      *testing.T
	home   string
	offset int
	admin  *http.Client
	// certificate trusts the server; made by trust.
	certificate *tls.Config
	server      *exec.Cmd
	exited      chan struct{}
	output      *output
	// pids says which process was whose.
	pids map[int]string
}

// output keeps what the server prints, of all its runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var offsets atomic.Int64

// install lays out an installation by tools/install.sh. Hooks run between its folders and its files, so that folders may be mounts.
func install(t *testing.T, before ...func(home string)) *lab {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "plugins", ".installed")); err != nil {
		t.Fatalf("these tests need what `make build` builds: %v", err)
	}
	// Not t.TempDir: the names of tests would make the sockets' paths too long for this test's own client.
	home, err := os.MkdirTemp("", "crash")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("a process still writes: %v", err)
		}
	})
	l := &lab{t: t, home: home, output: &output{}, pids: map[int]string{}}
	for _, f := range before {
		f(home)
	}
	if out, err := exec.Command(filepath.Join(root, "tools", "install.sh"), home).CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	l.offset = freeOffset(t)
	socket := filepath.Join(home, "repository", "run", "admin.sock")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	l.admin = &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(l.end)
	return l
}

// freeOffset finds a port offset all of whose ports are free.
func freeOffset(t *testing.T) int {
	for range 300 {
		offset := 12000 + (os.Getpid()%89)*30 + int(offsets.Add(1))*3
		free := true
		for _, base := range []int{9443, 9763, 7611, 7711} {
			l, err := net.Listen("tcp", ":"+strconv.Itoa(base+offset))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return offset
		}
	}
	t.Fatal("no free ports")
	return 0
}

func (l *lab) port(base int) string {
	return net.JoinHostPort("localhost", strconv.Itoa(base+l.offset))
}

func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.home, "bin", "carbonado"), args...)
	cmd.Dir = l.home
	cmd.Env = []string{"CARBON_HOME=" + l.home, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "CARBONADO_ADMIN_PASSWORD=" + adminPassword}
	return cmd
}

// start starts the server and waits until every component is ACTIVE.
func (l *lab) start() {
	l.t.Helper()
	l.launch()
	l.wait("the server to be RUNNING with all its components", func() error {
		select {
		case <-l.exited:
			l.t.Fatalf("the server ended: %v\n%s", l.server.ProcessState, l.tail())
		default:
		}
		s, err := l.status()
		if err != nil {
			return err
		}
		if s.State != "RUNNING" {
			return fmt.Errorf("it is %s", s.State)
		}
		return l.notActive()
	})
	l.look()
}

// launch starts the server and does not wait.
func (l *lab) launch() {
	l.t.Helper()
	if l.server != nil {
		l.t.Fatal("a server runs already")
	}
	cmd := l.command("server", "-DportOffset="+strconv.Itoa(l.offset))
	cmd.Stdout, cmd.Stderr = l.output, l.output
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.server, l.exited = cmd, make(chan struct{})
	exited := l.exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
}

// stop ends the server as an operator does, and wants nothing left.
func (l *lab) stop() {
	l.t.Helper()
	l.look()
	if err := l.server.Process.Signal(syscall.SIGTERM); err != nil {
		l.t.Fatal(err)
	}
	l.gone()
	if code := l.server.ProcessState.ExitCode(); code != 0 {
		l.t.Fatalf("exit code %d after SIGTERM\n%s", code, l.tail())
	}
	l.server = nil
	l.nothingLeft(5 * time.Second)
}

// gone waits for the guardian's end.
func (l *lab) gone() {
	l.t.Helper()
	select {
	case <-l.exited:
	case <-time.After(patience):
		l.t.Fatalf("the server did not end\n%s", l.tail())
	}
}

// end is the clean-up of whatever a test leaves.
func (l *lab) end() {
	if l.server != nil {
		_ = l.server.Process.Kill()
		<-l.exited
		l.server = nil
	}
	end := time.Now().Add(10 * time.Second)
	for len(l.alive()) > 0 && time.Now().Before(end) {
		pause()
	}
	if l.t.Failed() {
		l.t.Logf("the server's last lines:\n%s", l.tail())
	}
}

func (l *lab) tail() string {
	text := l.output.String()
	return text[max(0, len(text)-6000):]
}

type status struct {
	State                  string
	KernelPid, GuardianPid int
}

type causeLine struct {
	Code, Text, Fix string
	Chain           []causeLine
}

func (c *causeLine) String() string {
	if c == nil {
		return ""
	}
	s := c.Code + ": " + c.Text
	for i := range c.Chain {
		s += " <- " + c.Chain[i].String()
	}
	return s
}

type componentLine struct {
	Name, State, Health string
	Version             string
	Pid, Restarts       int
	Cause               *causeLine
	Detail              *struct{ Generation uint64 }
}

type transition struct {
	Time             time.Time
	From, To, Reason string
	Generation       uint64
}

// get asks the admin socket.
func (l *lab) get(path string, into any) error { return l.ask(http.MethodGet, path, nil, into) }

// ask calls the admin socket; an answer that is not 200 is an error with its text.
func (l *lab) ask(method, path string, body, into any) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://admin"+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.admin.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

func (l *lab) status() (s status, err error) {
	err = l.get("/api/status", &s)
	return s, err
}

// components are the installed components in detail.
func (l *lab) components() (map[string]componentLine, error) {
	var list []componentLine
	if err := l.get("/api/components", &list); err != nil {
		return nil, err
	}
	out := map[string]componentLine{}
	for _, c := range list {
		if err := l.get("/api/components/"+c.Name, &c); err != nil {
			return nil, err
		}
		out[c.Name] = c
	}
	return out, nil
}

// notActive says which component is not ACTIVE and well.
func (l *lab) notActive() error {
	var list []componentLine
	if err := l.get("/api/components", &list); err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		if c.State != "ACTIVE" || c.Health != "OK" {
			errs = append(errs, fmt.Errorf("%s is %s, %s: %s", c.Name, c.State, c.Health, c.Cause))
		}
	}
	if len(list) < 9 {
		errs = append(errs, fmt.Errorf("only %d components are installed", len(list)))
	}
	return errors.Join(errs...)
}

// look notes the processes that live.
func (l *lab) look() map[string]componentLine {
	l.t.Helper()
	s, err := l.status()
	if err != nil {
		l.t.Fatal(err)
	}
	list, err := l.components()
	if err != nil {
		l.t.Fatal(err)
	}
	l.pids[s.KernelPid], l.pids[s.GuardianPid] = "kernel", "guardian"
	for _, c := range list {
		if c.Pid > 0 {
			l.pids[c.Pid] = c.Name
		}
	}
	return list
}

// kill9 kills one process of a component, of "kernel" or of "guardian".
func (l *lab) kill9(name string) {
	l.t.Helper()
	pid := 0
	switch s, err := l.status(); {
	case err != nil:
		l.t.Fatal(err)
	case name == "kernel":
		pid = s.KernelPid
	case name == "guardian":
		pid = s.GuardianPid
	default:
		// The last kill of the same component may only just have been noticed.
		l.wait("a process of "+name, func() error {
			if pid = l.look()[name].Pid; pid <= 1 {
				return errors.New("it has none")
			}
			return nil
		})
	}
	if pid <= 1 {
		l.t.Fatalf("no process of %s", name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		l.t.Fatalf("kill -9 of %s: %v", name, err)
	}
}

// killAll kills every process of the server at once.
func (l *lab) killAll() {
	l.t.Helper()
	l.look()
	for _, pid := range l.alive() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	l.gone()
	l.server = nil
	l.nothingLeft(5 * time.Second)
}

// alive are the processes of the installation that live, noted or not.
func (l *lab) alive() []int {
	var out []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || zombie(pid) {
			continue
		}
		if l.ours(pid) {
			out = append(out, pid)
		}
	}
	return out
}

// ours tells whether a process belongs to the installation: its working folder or executable lies there.
func (l *lab) ours(pid int) bool {
	for _, link := range []string{"cwd", "exe"} {
		if target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link)); err == nil && strings.HasPrefix(target, l.home+"/") {
			return true
		}
	}
	return false
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// nothingLeft wants every process ended and every port closed within a time.
func (l *lab) nothingLeft(within time.Duration) {
	l.t.Helper()
	l.waitFor(within, "no process and no listener to be left", func() error {
		if pids := l.alive(); len(pids) > 0 {
			return fmt.Errorf("%d processes live: %v", len(pids), l.describe(pids))
		}
		for _, base := range []int{9443, 9763, 7611, 7711} {
			if c, err := net.DialTimeout("tcp", l.port(base), time.Second); err == nil {
				c.Close()
				return fmt.Errorf("port %s is still open", l.port(base))
			}
		}
		return nil
	})
	clear(l.pids)
}

func (l *lab) describe(pids []int) []string {
	var out []string
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		out = append(out, fmt.Sprintf("%d (%s) %s", pid, l.pids[pid], bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return out
}

func (l *lab) wait(what string, ok func() error) {
	l.t.Helper()
	l.waitFor(patience, what, ok)
}

// waitFor polls: another process is watched, which can't tell us.
func (l *lab) waitFor(within time.Duration, what string, ok func() error) {
	l.t.Helper()
	end := time.Now().Add(within)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("waited %s for %s: %v", within, what, err)
		}
		pause()
	}
}

func pause() { time.Sleep(30 * time.Millisecond) }
