package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/clustertest"
)

// writerEnv turns the test binary into a process that sets values until it is killed.
const writerEnv = "CARBONADO_TEST_COORDINATOR_WRITER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(writerEnv); folder != "" {
		write(folder)
		return
	}
	goleak.VerifyTestMain(m)
}

type backend struct{ folder string }

func (b backend) Open(t *testing.T) clustertest.Node {
	t.Helper()
	c, err := Open(b.folder, "node-1", "127.0.0.1:9443")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContract(t *testing.T) {
	clustertest.Run(t, func(t *testing.T) clustertest.Backend { return backend{filepath.Join(t.TempDir(), "kernel")} })
}

func TestFolderHasOneOwner(t *testing.T) {
	b := backend{t.TempDir()}
	first := b.Open(t)
	if _, err := Open(b.folder, "node-2", ""); !errors.Is(err, cluster.ErrInUse) {
		t.Errorf("%v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Open(t).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFileIsNotOverwritten(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, StateFile)
	if err := os.WriteFile(name, []byte(`{"reserved":12`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(folder, "n", ""); !errors.Is(err, cluster.ErrDamaged) || !strings.Contains(err.Error(), StateFile) {
		t.Errorf("%v", err)
	}
	if got, _ := os.ReadFile(name); string(got) != `{"reserved":12` {
		t.Errorf("the file became %q", got)
	}
}

// After a write that failed nobody knows what is on disk: nothing more is promised.
func TestFailedWriteEndsPromises(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "kernel")
	n := backend{folder}.Open(t)
	defer n.Close()
	v, err := n.Set(t.Context(), "k", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Set(t.Context(), "k", []byte("2"), v); !errors.Is(err, cluster.ErrStorage) {
		t.Fatalf("%v", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Acquire(t.Context(), "l", "h", time.Second); !errors.Is(err, cluster.ErrStorage) {
		t.Errorf("%v", err)
	}
}

// write sets k to 1, 2, 3 … and takes a lease anew each time, and says what was answered.
func write(folder string) {
	c, err := Open(folder, "n", "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bg := context.Background()
	out := bufio.NewWriter(os.Stdout)
	v, err := c.Get(bg, "k")
	if err != nil {
		os.Exit(1)
	}
	version := v.Version
	for {
		version, err = c.Set(bg, "k", fmt.Append(nil, version), version)
		if err != nil {
			os.Exit(1)
		}
		l, err := c.Acquire(bg, "l", "h", time.Minute)
		if err != nil || c.Release(bg, "l", "h", l.Token) != nil {
			os.Exit(1)
		}
		fmt.Fprintln(out, version, l.Token)
		if out.Flush() != nil {
			os.Exit(1)
		}
	}
}

// Nothing that was answered is lost by kill -9, and no number is given twice.
func TestKill9LosesNothing(t *testing.T) {
	folder := t.TempDir()
	var version, token uint64
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+folder)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		seen := 0
		for lines.Scan() {
			var v, l uint64
			if _, err := fmt.Sscan(lines.Text(), &v, &l); err != nil {
				break // the line that the kill cut
			}
			if v <= version || l <= token {
				t.Fatalf("round %d: version %d after %d, token %d after %d", round, v, version, l, token)
			}
			version, token = v, l
			if seen++; seen == 20+7*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if seen < 20 {
			t.Fatalf("round %d: the writer ended after %d", round, seen)
		}
		c, err := Open(folder, "n", "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Get(t.Context(), "k")
		if err != nil || got.Version < version {
			t.Errorf("round %d: version %d, answered was %d, %v", round, got.Version, version, err)
		}
		l, err := c.Acquire(t.Context(), "l", "h", time.Minute)
		if err != nil || !l.Granted || l.Token <= token {
			t.Errorf("round %d: %+v after token %d, %v", round, l, token, err)
		}
		version, token = got.Version, l.Token
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir(folder)
		if err != nil || len(list) != 2 {
			t.Errorf("round %d: left behind: %v, %v", round, list, err)
		}
	}
}
