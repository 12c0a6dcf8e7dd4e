package supervisor_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/guardian/guardiantest"
	"carbonado.dev/carbonado/runtime/supervisor"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// longest is the deadline of anything that a test waits for.
const longest = 20 * time.Second

// selfDigest is the digest of the test binary, which is every component's executable here.
var selfDigest = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
})

// bench is one supervisor with its folders and its log.
type bench struct {
	*supervisor.Supervisor
	t    *testing.T
	home string
	log  *logBuffer
	next uint64
}

// logBuffer parses the kernel's log as it is written: hclog writes one line at a time.
type logBuffer struct {
	mu    sync.Mutex // guards what follows
	lines []logEntry
	stall chan struct{} // a write waits until it is closed
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	stall := b.stall
	b.mu.Unlock()
	if stall != nil {
		<-stall
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, parseLog(p)...)
	return len(p), nil
}

// entries returns what was logged so far. It is read only.
func (b *logBuffer) entries() []logEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines[:len(b.lines):len(b.lines)]
}

func newBench(t *testing.T) *bench {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	home := t.TempDir()
	log := &logBuffer{}
	s, err := supervisor.New(supervisor.Config{
		Guardian:  guardiantest.Client(),
		RunFolder: filepath.Join(home, "run"),
		Log:       hclog.New(&hclog.LoggerOptions{Output: log, JSONFormat: true, Level: hclog.Debug}),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Supervisor: s, t: t, home: home, log: log}
	t.Cleanup(func() {
		if err := s.Close(b.context()); err != nil {
			t.Error(err)
		}
		left, _ := filepath.Glob(filepath.Join(home, "run", "*"))
		if len(left) > 0 {
			t.Errorf("left in the run folder: %q", left)
		}
		goleak.VerifyNone(t, leaks)
	})
	return b
}

func (b *bench) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	b.t.Cleanup(cancel)
	return ctx
}

func (b *bench) spec(name string) supervisor.Spec {
	b.next++
	return supervisor.Spec{
		Name: name, Version: "1.2.3", Generation: b.next,
		Executable: guardiantest.Executable(b.t), Digest: selfDigest(),
		PackageFolder: filepath.Join(b.home, "plugins", name), DataFolder: filepath.Join(b.home, "data", name),
	}
}

func (b *bench) start(spec supervisor.Spec) *supervisor.Instance {
	b.t.Helper()
	i, err := b.Start(b.context(), spec)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

// do makes a good component do something and returns what it says.
func (b *bench) do(i *supervisor.Instance, what string) []string {
	b.t.Helper()
	r, err := i.Component().Configure(b.context(), &controlv1.ConfigureRequest{ConfigJson: []byte(what), RunFolder: i.RunFolder()})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Abilities
}

func (b *bench) exit(i *supervisor.Instance) supervisor.Exit {
	b.t.Helper()
	select {
	case <-i.Done():
	case <-time.After(longest):
		b.t.Fatalf("%s did not end", i.Name())
	}
	return i.Exit()
}

// logged waits for a line of a component in the kernel's log.
func (b *bench) logged(module, message string) logEntry {
	b.t.Helper()
	var found logEntry
	within(b.t, longest, func() bool {
		for _, e := range b.log.entries() {
			if e.Module == module && strings.Contains(e.Message, message) {
				found = e
				return true
			}
		}
		return false
	}, func() string {
		return fmt.Sprintf("no line %q of %s in the log: %+v", message, module, b.log.entries())
	})
	return found
}

// count counts the lines of the log that begin so.
func (b *bench) count(prefix string) (n int) {
	for _, e := range b.log.entries() {
		if strings.HasPrefix(e.Message, prefix) {
			n++
		}
	}
	return n
}

func within(t *testing.T, d time.Duration, ok func() bool, why func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal(why())
		}
	}
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// freeze stops a process and waits until it stands still.
func freeze(t *testing.T, pid int) {
	t.Helper()
	unix.Kill(pid, unix.SIGSTOP)
	within(t, longest, func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return strings.Contains(string(stat), ") T ")
	}, func() string { return "it does not stop" })
}
