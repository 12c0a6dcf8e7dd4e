package analyticsengine_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// childFolder is set in the process that TestKilledInsert kills.
const childFolder = "CARBONADO_ENGINE_TEST_FOLDER"

// bigInsert writes 10^rows rows.
func bigInsert(rows int) string {
	var from, sum []string
	for i := range rows {
		from = append(from, fmt.Sprintf("(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)) t%d(x%d)", i, i))
		sum = append(sum, fmt.Sprintf("x%d", i))
	}
	return `CREATE TEMPORARY TABLE big USING CarbonAnalytics OPTIONS (tableName "BIG", schema "a INT, s STRING");
		INSERT INTO big SELECT ` + strings.Join(sum, "+") + `, md5(concat(` + strings.Join(sum, ",") + `)) FROM ` + strings.Join(from, ", ")
}

// TestKillChild is no test of its own: it is the process that is killed.
func TestKillChild(t *testing.T) {
	folder := os.Getenv(childFolder)
	if folder == "" {
		return
	}
	w := newWorldIn(t, folder, nil)
	fmt.Println("ready")
	if _, err := w.run(&analyticsv1.ExecuteRequest{Script: bigInsert(6), RunKey: "run"}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("committed")
	<-t.Context().Done()
}

// TestKilledInsert kills a whole process, engine and store, in the middle of an INSERT and after its commit. The run that follows under
// the same key writes the rows exactly once.
func TestKilledInsert(t *testing.T) {
	for _, moment := range []string{"staging", "committed"} {
		t.Run(moment, func(t *testing.T) {
			folder := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKillChild$", "-test.timeout=80s")
			cmd.Env = append(os.Environ(), childFolder+"="+folder)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := make(chan string, 64)
			go func() {
				defer close(lines)
				for sc := bufio.NewScanner(out); sc.Scan(); {
					lines <- sc.Text()
				}
			}()
			waitFor(t, lines, "ready")
			if moment == "committed" {
				waitFor(t, lines, "committed")
			} else {
				waitStaged(t, ctx, filepath.Join(folder, "staging"))
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			for range lines {
			}
			w := newWorldIn(t, folder, nil)
			if moment == "staging" {
				w.expect(`CREATE TEMPORARY TABLE big USING CarbonAnalytics OPTIONS (tableName "BIG", schema "a INT, s STRING"); SELECT count(*) FROM big`, "0")
			}
			for range 2 {
				if _, err := w.run(&analyticsv1.ExecuteRequest{Script: bigInsert(6), RunKey: "run"}); err != nil {
					t.Fatal(err)
				}
				w.expect("SELECT count(*), sum(a), count(DISTINCT s) FROM BIG", "1000000|27000000|1000000")
			}
		})
	}
}

func waitFor(t *testing.T, lines <-chan string, want string) {
	t.Helper()
	for l := range lines {
		if strings.Contains(l, want) {
			return
		}
		if strings.Contains(l, "FAIL") {
			t.Fatal(l)
		}
	}
	t.Fatalf("the child ended before it said %q", want)
}

// waitStaged waits until a file lies in staging.
func waitStaged(t *testing.T, ctx context.Context, staging string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if found, _ := filepath.Glob(filepath.Join(staging, "*", "*.parquet")); len(found) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("nothing was staged")
		}
	}
}
