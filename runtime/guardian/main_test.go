package guardian_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
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

// The test binary plays every part, told by its argv[0]: the guardian, a kernel that obeys lines on its standard input, and
// components. Names of components and helpers end in "-" and a mark by which the test finds them among all processes.
func TestMain(m *testing.M) {
	part, _, _ := strings.Cut(filepath.Base(os.Args[0]), "-")
	if play := parts[part]; play != nil {
		play()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var parts = map[string]func(){
	"guardian":      playGuardian,
	"kernel":        playKernel,
	"sleeper":       func() { select {} },
	"stubborn":      func() { signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP); fmt.Println("ready"); select {} },
	"inspector":     inspect,
	"acceptor":      accept,
	"failing":       func() { os.Exit(3) },
	"parent":        func() { helper("sleeper", false); fmt.Println("ready"); select {} },
	"sessionparent": func() { helper("sleeper", true); fmt.Println("ready"); select {} },
	"forking":       func() { fork(); fmt.Println("ready"); select {} },
	"runaway":       func() { fork(); os.Exit(0) },
	"middle":        func() { helper("sleeper", true) },
	"linewatch":     func() { line, err := layout.Take(); fmt.Println(line != nil, err); select {} },
	"memoryhog":     hog,
	"chatterbox":    chatter,
	"flood":         flood,
	"lifelines": func() {
		for lines := bufio.NewScanner(os.NewFile(layout.FDLifeline, "lifeline")); lines.Scan(); {
			fmt.Printf("%q\n", lines.Text()+"\n")
		}
	},
}

func mark() string {
	_, m, _ := strings.Cut(os.Args[0], "-")
	return m
}

// helper starts this program in another part, carrying the mark on.
func helper(part string, session bool) *exec.Cmd {
	c := exec.Command("/proc/self/exe")
	c.Args = []string{part + "-" + mark()}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if err := c.Start(); err != nil {
		panic(err)
	}
	return c
}

// fork leaves a process behind that has a session of its own and no parent.
func fork() {
	if err := helper("middle", true).Wait(); err != nil {
		panic(err)
	}
}

func hog() {
	var all [][]byte
	for {
		b := make([]byte, 8<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
}

func chatter() {
	line := strings.Repeat("x", 1023) + "\n"
	for {
		if _, err := io.WriteString(os.Stdout, line); err != nil {
			os.Exit(9)
		}
	}
}

func accept() {
	l, err := net.FileListener(os.NewFile(layout.FDFirstListener, "listener"))
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(c, "%d\n", os.Getpid())
		c.Close()
	}
}

// inspection is what a component sees of itself.
type inspection struct {
	Args, Env        []string
	FDs              map[string]string
	PID, PPID        int
	Group, Session   int
	Dir              string
	NoNewPrivs       bool
	Files, Core      string
	Data             string
	Nice             int
	OOMScore, Cgroup string
	Line             string
	Digest           string
}

func inspect() {
	fds := map[string]string{}
	// ReadDir's own descriptor is closed again when its target is read.
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			fds[e.Name()] = to
		}
	}
	i := inspection{Args: os.Args, Env: os.Environ(), FDs: fds, PID: os.Getpid(), PPID: os.Getppid()}
	i.Group, _ = unix.Getpgid(0)
	i.Session, _ = unix.Getsid(0)
	i.Dir, _ = os.Getwd()
	status, _ := os.ReadFile("/proc/self/status")
	i.NoNewPrivs = strings.Contains(string(status), "NoNewPrivs:\t1")
	limits, _ := os.ReadFile("/proc/self/limits")
	for l := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(l, "Max open files"); ok {
			i.Files = strings.Fields(rest)[1]
		}
		if rest, ok := strings.CutPrefix(l, "Max core file size"); ok {
			i.Core = strings.Join(strings.Fields(rest)[:2], " ")
		}
		if rest, ok := strings.CutPrefix(l, "Max data size"); ok {
			i.Data = strings.Fields(rest)[1]
		}
	}
	nice, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
	i.Nice = 20 - nice
	score, _ := os.ReadFile("/proc/self/oom_score_adj")
	i.OOMScore = strings.TrimSpace(string(score))
	group, _ := os.ReadFile("/proc/self/cgroup")
	for l := range strings.Lines(string(group)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(l), "0::"); ok {
			i.Cgroup = p
		}
	}
	i.Line, _ = bufio.NewReader(os.NewFile(layout.FDLifeline, "lifeline")).ReadString('\n')
	json.NewEncoder(os.Stdout).Encode(i)
	select {}
}

func playGuardian() {
	os.Exit(guardian.Run(guardian.Config{Args: append([]string{"kernel-" + mark()}, os.Args[1:]...), NoCgroup: os.Getenv("NO_CGROUP") != "", StopGrace: 2 * time.Second, Restarts: restarts()}))
}

// flood prints its pid and a mebibyte after each ten milliseconds.
func flood() {
	fmt.Println(os.Getpid())
	line := strings.Repeat("x", 1<<10-1) + "\n"
	for {
		for range 1 << 10 {
			if _, err := os.Stderr.WriteString(line); err != nil {
				os.Exit(1)
			}
		}
		os.WriteFile("flood", []byte(time.Now().Format(time.RFC3339Nano)), 0o600)
		time.Sleep(10 * time.Millisecond)
	}
}

func restarts() int {
	n, _ := strconv.Atoi(os.Getenv("RESTARTS"))
	return n
}

// playKernel obeys lines: start NAME [KEY…] | startfile NAME PATH | signal NAME N | kill NAME | await NAME | listen KEY ADDRESS | read NAME | exit CODE.
// Each is answered by one line; an error by one that begins with "error".
func playKernel() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	go func() {
		<-term
		if len(os.Args) > 1 && os.Args[1] == "deaf" {
			return
		}
		os.Exit(121)
	}()
	c, err := guardian.Connect()
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	k := &testKernel{client: c, processes: map[string]*guardian.Process{}, output: map[string]*bufio.Reader{}}
	fmt.Println("kernel", os.Getpid(), os.Getppid())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		answer, err := k.obey(strings.Fields(in.Text()))
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	select {}
}

// inheritance is what a kernel finds, and how long the note is.
type inheritance struct {
	guardian.Estate
	Note int
}

type testKernel struct {
	client    *guardian.Client
	processes map[string]*guardian.Process
	output    map[string]*bufio.Reader
}

func (k *testKernel) obey(words []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	name := words[1]
	p := k.processes[name]
	switch words[0] {
	case "start", "startfile":
		path, keys := "/proc/self/exe", words[2:]
		if words[0] == "startfile" {
			path, keys = words[2], nil
		}
		exe, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer exe.Close()
		dir, _ := os.Getwd()
		p, err = k.client.Start(ctx, guardian.Order{
			Name: name, Env: []string{"ONLY=this"}, Dir: dir, Listeners: keys,
			Limits: launch.Limits{Files: 500, Data: 1 << 30, Nice: 3, OOMScore: 250},
		}, exe)
		if err != nil {
			return "", err
		}
		k.processes[name] = p
		k.output[name] = bufio.NewReader(p.Stdout)
		return strconv.Itoa(p.PID), nil
	case "signal":
		n, _ := strconv.Atoi(words[2])
		return "ok", p.Signal(syscall.Signal(n))
	case "kill":
		return "ok", p.Kill()
	case "await":
		select {
		case <-p.Done():
		case <-ctx.Done():
			return "", ctx.Err()
		}
		b, err := json.Marshal(p.Exit())
		return string(b), err
	case "stderr":
		b, err := io.ReadAll(p.Stderr)
		return strconv.Quote(string(b)), err
	case "read":
		line, err := k.output[name].ReadString('\n')
		return strings.TrimSpace(line), err
	case "listen":
		return k.client.Listen(ctx, name, words[2])
	case "unlisten":
		return "ok", k.client.Unlisten(ctx, name)
	case "serve":
		l, err := k.client.Share(ctx, name)
		if err != nil {
			return "", err
		}
		go func() {
			c, err := l.Accept()
			if err == nil {
				fmt.Fprintln(c, "kernel")
				c.Close()
			}
			l.Close()
		}()
		return l.Addr().String(), nil
	case "ready":
		return "ok", k.client.Ready(ctx)
	case "stopping":
		return "ok", k.client.Stopping(ctx)
	case "note":
		return "ok", k.client.KeepNote(ctx, []byte(strings.Repeat(words[1], 50_000)))
	case "inherit":
		e, note, err := k.client.Inherit(ctx)
		b, _ := json.Marshal(inheritance{e, len(note)})
		return string(b), err
	case "adopt":
		pid, _ := strconv.Atoi(words[2])
		var err error
		if p, err = k.client.Adopt(ctx, pid); err != nil {
			return "", err
		}
		k.processes[name] = p
		k.output[name] = bufio.NewReader(p.Stdout)
		exe, _ := os.Stat("/proc/self/exe")
		executed, err := p.Executable.Stat()
		return fmt.Sprintf("%s %q %t", p.Name, p.Record, os.SameFile(exe, executed)), err
	case "lost":
		return strconv.FormatInt(p.Lost, 10), nil
	case "keep":
		return "ok", p.Keep(ctx, []byte(words[2]))
	case "handover":
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		ms, _ := strconv.Atoi(words[2])
		return "ok", k.client.HandOver(ctx, f, time.Duration(ms)*time.Millisecond)
	case "exit":
		n, _ := strconv.Atoi(name)
		os.Exit(n)
	}
	return "", fmt.Errorf("unknown: %v", words)
}
