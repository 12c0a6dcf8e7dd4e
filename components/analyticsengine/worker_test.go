package analyticsengine_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/carbonado/components/analyticsengine/worker"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// workers are the processes that run this process's statements.
func workers(t *testing.T) []int {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, file := range lists {
		b, _ := os.ReadFile(file) // a thread may be gone
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(bytes.TrimSpace(comm)) == worker.Name {
				out = append(out, pid)
			}
		}
	}
	return out
}

// eventually looks until ok, at most ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// TestKilledWorker kills the process of an INSERT in the middle: the statement fails with its code, nothing of it is left, the component
// goes on, and the same run once more writes its rows once.
func TestKilledWorker(t *testing.T) {
	folder := t.TempDir()
	w := newWorldIn(t, folder, nil)
	staging := filepath.Join(folder, "staging")
	ended := make(chan error, 1)
	go func() {
		_, err := w.run(&analyticsv1.ExecuteRequest{Script: bigInsert(6), RunKey: "run"})
		ended <- err
	}()
	eventually(t, "a staged file", func() bool {
		found, _ := filepath.Glob(filepath.Join(staging, "*", "*.parquet"))
		return len(found) > 0
	})
	noted := func() []string {
		var names []string
		entries, _ := os.ReadDir(filepath.Join(w.k.Dir(), "repository", "data", "AnalyticsEngine", "open"))
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if staged, _ := filepath.Glob(filepath.Join(staging, "*")); len(staged) != 1 || len(noted()) != 1 || noted()[0] != filepath.Base(staged[0]) {
		t.Errorf("staged %v, noted %v", staged, noted())
	}
	for _, pid := range workers(t) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; !errors.Is(err, statement.ErrWorker) || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("error %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(staging, "*", "*")); len(left) > 0 {
		t.Errorf("%s is left", left)
	}
	if left := noted(); len(left) > 0 {
		t.Errorf("%v are noted as open", left)
	}
	w.expect("SELECT count(*) FROM BIG", "0")
	for range 2 {
		if _, err := w.run(&analyticsv1.ExecuteRequest{Script: bigInsert(6), RunKey: "run"}); err != nil {
			t.Fatal(err)
		}
	}
	w.expect("SELECT count(*), count(DISTINCT s) FROM BIG", "1000000|1000000")
}

// TestAnIdleEngineHasNoWorker: the process goes soon after the last statement, and the next statement doesn't wait long for another.
func TestAnIdleEngineHasNoWorker(t *testing.T) {
	w := newWorld(t, nil)
	w.expect("SELECT 1", "1")
	eventually(t, "the worker's end", func() bool { return len(workers(t)) == 0 })
	began := time.Now()
	w.expect("SELECT 2", "2")
	t.Logf("the first statement after rest took %s", time.Since(began))
	began = time.Now()
	w.expect("SELECT 3", "3")
	t.Logf("the next one %s", time.Since(began))
}
