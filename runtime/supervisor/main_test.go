package supervisor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/guardian/guardiantest"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// The tests run as a kernel beneath a real guardian, and the components that they start are this binary under the name of a part.
func TestMain(m *testing.M) {
	guardiantest.Main(m, map[string]func(){
		"Good":     serve,
		"Printing": func() { fmt.Println("Picked up JAVA_TOOL_OPTIONS"); fmt.Print("1|2|three\n"); serve() },
		"Garbage": func() {
			fmt.Print("Welcome to ACME 3.1!\n\x00\x01")
			fmt.Fprintln(os.Stderr, "licence expired")
			os.Exit(3)
		},
		"Babbling":  func() { fmt.Print("no newline, ", strings.Repeat("x", 100)); select {} },
		"Old":       func() { serveVersions(func(c *plugin.ServeConfig) { c.VersionedPlugins = nil }) },
		"Parent":    parent,
		"Child":     func() { signal.Ignore(syscall.SIGTERM); select {} },
		"Mute":      func() { fmt.Fprintln(os.Stderr, "I wait for my database"); select {} },
		"Dying":     func() { fmt.Fprintln(os.Stderr, "no such table: orders"); os.Exit(5) },
		"Panicking": func() { panic("out of ideas") },
		"Later":     func() { shake(99, "unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")); select {} },
		"Outside":   func() { shake(1, "unix", "/tmp/s"); select {} },
		"Network":   func() { shake(1, "tcp", "127.0.0.1:1"); select {} },
		"Impostor":  impostor,
		"Listening": listening,
		"Holding":   func() { select {} },
		"Written":   func() { component.Main(written) },
	})
}

// written is a component as everybody writes one, with the SDK.
func written(c *component.C) error {
	c.Log().Info("made", "loud", c.Bool("loud"))
	c.Manage(&writtenLife{c})
	return nil
}

type writtenLife struct{ c *component.C }

func (l *writtenLife) Acquire(context.Context) error {
	_, err := l.c.Listener("front")
	fmt.Println("acquired", err)
	return err
}

func (l *writtenLife) Stop(context.Context) error {
	fmt.Println("stopping")
	return nil
}

func shake(version int, network, address string) {
	fmt.Printf("1|%d|%s|%s|grpc|\n", version, network, address)
}

// impostor names a socket on which another process of the same user listens.
func impostor() {
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	c := exec.Command("/proc/self/exe", path)
	c.Args[0] = "Listening"
	out, err := c.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := c.Start(); err != nil {
		panic(err)
	}
	bufio.NewReader(out).ReadString('\n')
	shake(1, "unix", path)
	select {}
}

func listening() {
	l, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	s := grpc.NewServer()
	fmt.Println("listening")
	s.Serve(l)
}

// serve is a component without the SDK. What Configure's configuration says, it does.
func serve() { serveVersions(func(*plugin.ServeConfig) {}) }

// parent never gets ready, and has a child in a session of its own.
func parent() {
	c := exec.Command("/proc/self/exe")
	c.Args[0] = "Child"
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stderr, "child", c.Process.Pid)
	select {}
}

func serveVersions(change func(*plugin.ServeConfig)) {
	layout.CloseExecutable()
	line, err := layout.Take()
	if err != nil {
		panic(err)
	}
	// go-plugin replaces os.Stdout and os.Stderr: these are the real ones.
	c := &testComponent{stdout: os.Stdout, stderr: os.Stderr}
	c.log = hclog.New(&hclog.LoggerOptions{Output: os.Stderr, JSONFormat: true, Level: hclog.Trace})
	conf := handshake.Serve(line, hclog.NewNullLogger(), func(s *grpc.Server) error {
		controlv1.RegisterComponentServer(s, c)
		return nil
	})
	change(conf)
	plugin.Serve(conf)
}

type testComponent struct {
	controlv1.UnimplementedComponentServer
	stdout, stderr *os.File
	log            hclog.Logger
	stuck          string // the call that never returns
}

func (c *testComponent) Configure(ctx context.Context, r *controlv1.ConfigureRequest) (*controlv1.ConfigureResponse, error) {
	var say []string
	word, rest, _ := strings.Cut(string(r.ConfigJson), " ")
	switch word {
	case "peer":
		p, ok := handshake.PeerFrom(ctx)
		say = []string{fmt.Sprint(p.PID, p.UID, ok)}
	case "exit":
		var code int
		fmt.Sscan(rest, &code)
		os.Exit(code)
	case "become":
		words := strings.Fields(rest)
		return nil, syscall.Exec(words[0], words, nil)
	case "panic":
		go panic("index out of range")
		select {}
	case "oom":
		var all [][]byte
		for {
			b := make([]byte, 8<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
	case "stuck":
		c.stuck = rest
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "env":
		say = os.Environ()
	case "args":
		say = os.Args
	case "dir":
		d, _ := os.Getwd()
		say = []string{d}
	case "child": // holds the pipes, in a session of its own
		child := exec.Command("/proc/self/exe")
		child.Args[0] = "Holding"
		child.Stdout, child.Stderr = c.stdout, c.stderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return nil, err
		}
		say = []string{fmt.Sprint(child.Process.Pid)}
	case "print": // by every way
		fmt.Fprintln(c.stdout, "raw out", rest)
		fmt.Fprintln(c.stderr, "raw err", rest)
		fmt.Println("soft out", rest)
		fmt.Fprintln(os.Stderr, "soft err", rest)
		fmt.Fprintln(c.stderr, "[ERROR] marked", rest)
		c.log.Named("store").Warn("structured "+rest, "n", 12345678901234567, "text", "a b", "err", fmt.Errorf("boom"))
	case "long": // a line of a megabyte, then a structured one of the same length, then a short one
		fmt.Fprintln(c.stderr, "begin"+strings.Repeat("x", 1<<20))
		c.log.Error("big", "blob", strings.Repeat("y", 1<<20))
		fmt.Fprintln(c.stdout, "out"+strings.Repeat("z", 1<<20))
		fmt.Fprintln(c.stderr, "after the long ones")
	case "flood": // as fast as it can, by one of the ways
		var n int
		var to string
		fmt.Sscan(rest, &to, &n)
		w := map[string]*os.File{"stdout": c.stdout, "stderr": c.stderr, "os.Stdout": os.Stdout}[to]
		b := bytes.Repeat([]byte("flood flood flood flood flood flood\n"), 100)
		for range n / 100 {
			if _, err := w.Write(b); err != nil {
				return nil, err
			}
		}
		fmt.Fprintln(c.stderr, "the flood is over")
	case "accept":
		l, err := net.FileListener(os.NewFile(layout.FDFirstListener, "listener"))
		if err != nil {
			return nil, err
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(conn, os.Getpid())
				conn.Close()
			}
		}()
	}
	return &controlv1.ConfigureResponse{ServiceAddress: "unix://" + filepath.Join(r.RunFolder, "svc.sock"), Abilities: say}, nil
}

func (c *testComponent) call(name string) {
	if c.stuck == name || c.stuck == "all" {
		select {}
	}
	fmt.Fprintln(c.stderr, "called", name)
}

func (c *testComponent) Drain(_ context.Context, r *controlv1.DrainRequest) (*controlv1.DrainResponse, error) {
	c.call("drain")
	return &controlv1.DrainResponse{}, nil
}

func (c *testComponent) Release(context.Context, *controlv1.ReleaseRequest) (*controlv1.ReleaseResponse, error) {
	c.call("release")
	return &controlv1.ReleaseResponse{}, nil
}

func (c *testComponent) Stop(context.Context, *controlv1.StopRequest) (*controlv1.StopResponse, error) {
	c.call("stop")
	if c.stuck != "exit" {
		time.AfterFunc(10*time.Millisecond, func() { os.Exit(0) })
	}
	return &controlv1.StopResponse{}, nil
}

// logEntry is one line of the kernel's log.
type logEntry struct {
	Level   string `json:"@level"`
	Message string `json:"@message"`
	Module  string `json:"@module"`
	fields  map[string]any
}

func parseLog(text []byte) (entries []logEntry) {
	for l := range bytes.Lines(text) {
		var e logEntry
		if json.Unmarshal(l, &e) == nil {
			json.Unmarshal(l, &e.fields)
			entries = append(entries, e)
		}
	}
	return entries
}
