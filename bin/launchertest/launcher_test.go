// Package launchertest runs bin/carbonado.sh as an operator would, against a server that writes down how it was called. It must
// not know how the real server works.
package launchertest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"carbonado": fake})
}

// fake stands in for bin/carbonado: it appends what it was started with to $CARBON_HOME/calls. `server` then exits with the first
// number in $CARBON_HOME/exits, taking it off, or waits for SIGTERM.
func fake() {
	home := os.Getenv("CARBON_HOME")
	folder, _ := os.Getwd()
	call := fmt.Sprintf("%s | home=%s | in=%s\n", strings.Join(os.Args[1:], " "), home, folder)
	if len(os.Args) > 1 && os.Args[1] == "version" {
		fmt.Println("Carbonado 1.0.0")
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "plan" {
		if strings.Contains(call, "-DdisableNonsense=true") {
			fmt.Fprintln(os.Stderr, "-DdisableNonsense names nothing known")
			os.Exit(64)
		}
		return
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	f, err := os.OpenFile(filepath.Join(home, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(call)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	exits := filepath.Join(home, "exits")
	if data, err := os.ReadFile(exits); err == nil {
		first, rest, _ := strings.Cut(string(data), "\n")
		if code, err := strconv.Atoi(first); err == nil {
			_ = os.WriteFile(exits, []byte(rest), 0o644)
			os.Exit(code)
		}
	}
	select {
	case <-ended:
		if _, err := f.WriteString("ended\n"); err != nil {
			os.Exit(3)
		}
	case <-time.After(time.Minute):
		os.Exit(4) // nobody ends a test's server: it ends itself
	}
}

func TestLauncher(t *testing.T) {
	script, err := filepath.Abs("../carbonado.sh")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/fake",
		Setup: func(e *testscript.Env) error {
			bin := filepath.Join(e.WorkDir, "das-3.1", "bin")
			if err := os.MkdirAll(bin, 0o755); err != nil {
				return err
			}
			text, err := os.ReadFile(script)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(bin, "carbonado.sh"), text, 0o755); err != nil {
				return err
			}
			real, err := exec.LookPath("carbonado")
			if err != nil {
				return err
			}
			if err := os.Symlink(real, filepath.Join(bin, "carbonado")); err != nil {
				return err
			}
			e.Setenv("SH", filepath.Join(bin, "carbonado.sh"))
			e.Setenv("DIR", filepath.Join(e.WorkDir, "das-3.1"))
			e.Defer(func() { endServer(filepath.Join(e.WorkDir, "das-3.1", "carbonado.pid")) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "signal": sendSignal, "fakepid": fakePid},
	})
}

// endServer ends what a failed script has left running.
func endServer(pidFile string) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// await FILE [TEXT] waits, for ten seconds at most, until a file exists (and holds a line with TEXT); ! await FILE until it is gone.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await FILE [TEXT]")
	}
	path := ts.MkAbs(args[0])
	there := func() bool {
		data, err := os.ReadFile(path)
		return err == nil && (len(args) == 1 || strings.Contains(string(data), args[1]))
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	end := time.After(10 * time.Second)
	for there() == neg {
		select {
		case <-look.C:
		case <-end:
			data, err := os.ReadFile(path)
			ts.Fatalf("after ten seconds: %s: %q, %v", args[0], data, err)
		}
	}
}

// signal NAME FILE sends a signal to the process whose number a file holds, or to the background command of that name's process.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "INT": syscall.SIGINT}[args[0]]
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	if !ok || err != nil {
		ts.Fatalf("usage: signal TERM|KILL|INT FILE: %v", err)
	}
	ts.Check(syscall.Kill(pid, sig))
}

// fakepid FILE writes the number of a living process that is no server: this test's own parent.
func fakePid(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("1\n"), 0o644))
}
