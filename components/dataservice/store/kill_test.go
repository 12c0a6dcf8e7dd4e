package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/store"
	"carbonado.dev/carbonado/components/dataservice/storetest"
	"carbonado.dev/sdk/frame"
)

// The writer is this test binary again, in a process that is killed.
const writerEnv = "DATASERVICE_TEST_WRITER"

const (
	bundleSize = 5
	killKeys   = 37
)

// bundleRows are the events of a bundle: what a counter holds is always the same.
func bundleRows(counter uint64) []storetest.Row {
	out := make([]storetest.Row, bundleSize)
	for i := range out {
		n := int32(counter)*bundleSize + int32(i)
		out[i] = storetest.Row{"_timestamp": int64(n), "n": n, "k": fmt.Sprint("k", int(n)*7919%killKeys)}
	}
	return out
}

func killOptions(dir string) store.Options {
	return store.Options{
		Dir: filepath.Join(dir, "data"), Segments: filepath.Join(dir, "segments"), Staging: filepath.Join(dir, "staging"),
		LogFileSize: 64 << 10, CutRows: 400, GroupRows: 100, Idle: 5 * time.Millisecond, Grace: time.Nanosecond,
	}
}

// openKill opens the store with both tables bound.
func openKill(t testing.TB, dir string) (*store.Store, *storetest.Stream) {
	t.Helper()
	s, err := store.Open(killOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	st := storetest.NewStream(t, "s:1.0.0", arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "k", Type: arrow.BinaryTypes.String})
	k, n := rows.Column{Name: "k", Type: rows.String}, rows.Column{Name: "n", Type: rows.Integer}
	for name, keys := range map[string][]string{plainTable: nil, keyedTable: {"k"}} {
		if _, err := s.CreateTable(name, "", manifest.Schema{Columns: []manifest.Column{{Column: k}, {Column: n}}, Keys: keys}, true); err != nil {
			t.Fatal(err)
		}
		if err := s.Bind(st.Name, name, st.Info.Body, manifest.Target{Columns: []manifest.TargetColumn{{From: "k", To: k}, {From: "n", To: n}}}); err != nil {
			t.Fatal(err)
		}
	}
	return s, st
}

// TestWriter is the process that is killed. It writes from the counter in its environment on, repeats included, deletes a bundle now
// and then, and prints each counter when it is acknowledged.
func TestWriter(t *testing.T) {
	arg := os.Getenv(writerEnv)
	if arg == "" {
		t.Skip("runs as a process of TestKill")
	}
	var from uint64
	var dir string
	if _, err := fmt.Sscanf(arg, "%d %s", &from, &dir); err != nil {
		t.Fatal(err)
	}
	s, st := openKill(t, dir)
	begin := uint64(0)
	if from > 3 {
		begin = from - 3
	}
	acked := make(chan uint64, 64)
	go func() {
		for c := range acked {
			fmt.Println("acked", c)
		}
	}()
	slots := make(chan struct{}, 8)
	for c := begin; ; c++ {
		if c == 0 {
			continue
		}
		b := st.Frame(t, frame.Source{7}, c, bundleRows(c))
		h, body, _, err := frame.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		slots <- struct{}{}
		s.Append(st.Name, h, b, body, func(err error) {
			if err != nil {
				fmt.Println("failed", err)
				os.Exit(3)
			}
			acked <- c
			<-slots
		})
		if c%50 == 0 {
			go func() { _ = s.Cut(context.Background(), plainTable) }()
			go func() { _ = s.Cut(context.Background(), keyedTable) }()
		}
	}
}

// TestKill kills a writer again and again at random moments. What was acknowledged is there once; both tables, of which one has
// keys, were given the same rows, so they must agree after each replay.
func TestKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	s, _ := openKill(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	highest := uint64(0)
	for round := range rounds {
		acked := writeAndKill(t, dir, highest, time.Duration(20+rand.IntN(400))*time.Millisecond)
		s, err := store.Open(killOptions(dir))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		highest = checkKilled(t, s, round, highest, acked)
		if round%2 == 0 {
			s.Crash()
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if highest < uint64(rounds) {
		t.Fatalf("only %d bundles were written", highest)
	}
}

func writeAndKill(t *testing.T, dir string, from uint64, after time.Duration) []uint64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestWriter$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", writerEnv, from, dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []uint64
	lines := bufio.NewScanner(out)
	var kill *time.Timer
	for lines.Scan() {
		if kill == nil {
			// From the first acknowledgement on, so that a slow start leaves time to write.
			kill = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		var c uint64
		if _, err := fmt.Sscanf(lines.Text(), "acked %d", &c); err != nil {
			t.Fatalf("the writer says %q", lines.Text())
		}
		acked = append(acked, c)
	}
	if kill == nil {
		_ = cmd.Process.Kill()
		t.Fatalf("the writer wrote nothing: %v", cmd.Wait())
	}
	_ = cmd.Wait() // it was killed
	return acked
}

func checkKilled(t *testing.T, s *store.Store, round int, before uint64, acked []uint64) (highest uint64) {
	t.Helper()
	plain := map[int32]bool{}
	want := map[string]int32{}
	read := func(table string, each func(storetest.Row)) {
		err := s.Read(context.Background(), &store.Query{Table: table}, func(*arrow.Schema) error { return nil }, func(rec arrow.RecordBatch) error {
			for _, r := range storetest.RowsOf(rec) {
				each(r)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read(plainTable, func(r storetest.Row) {
		n := r["n"].(int32)
		if plain[n] {
			t.Fatalf("round %d: row %d is there twice", round, n)
		}
		plain[n] = true
		want[r["k"].(string)] = n // rows come in the order of their commit
		highest = max(highest, uint64(n)/bundleSize)
	})
	for _, c := range acked {
		for _, r := range bundleRows(c) {
			if !plain[r["n"].(int32)] {
				t.Fatalf("round %d: row %d of bundle %d was acknowledged and is lost", round, r["n"], c)
			}
		}
	}
	for c := uint64(1); c <= before; c++ {
		if !plain[int32(c)*bundleSize] {
			t.Fatalf("round %d: bundle %d of an earlier round is lost", round, c)
		}
	}
	got := map[string]int32{}
	read(keyedTable, func(r storetest.Row) {
		k := r["k"].(string)
		if _, twice := got[k]; twice {
			t.Fatalf("round %d: key %s is there twice", round, k)
		}
		got[k] = r["n"].(int32)
	})
	for k, n := range want {
		if got[k] != n {
			t.Fatalf("round %d: key %s has %d, want %d", round, k, got[k], n)
		}
	}
	for name, n := range map[string]int{plainTable: len(plain), keyedTable: len(want)} {
		if c, err := s.Count(context.Background(), name, nil, nil); err != nil || c != int64(n) {
			t.Fatalf("round %d: count of %s is %d, want %d, %v", round, name, c, n, err)
		}
	}
	return highest
}
