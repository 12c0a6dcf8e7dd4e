package shard_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/search"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

const writerFolder = "CARBONADO_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerFolder); dir != "" {
		writer(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// The made feed: document i has seq 2i (deletes take the odd numbers); document i is deleted by the commit of document i+deletedAfter
// if i is a multiple of 3.
const (
	perCommit    = 20
	deletedAfter = 45
)

func addMade(s *shard.Shard, i int) {
	b := s.Batch()
	doc := b.Add(uint64(2*i), int64(i))
	b.Field("msg", segment.Text).AddText(doc, fmt.Appendf(nil, "all number%d group%d", i, i%7))
	b.Field("_msg", segment.Keyword).AddKeyword(doc, fmt.Appendf(nil, "g%d", i%7))
	b.Field("n", segment.Int).AddNumber(doc, int64(i))
	if j := i - deletedAfter; j >= 0 && j%3 == 0 {
		s.Delete(uint64(2 * j))
	}
}

// writer is the process that is killed: it commits each 20 documents, merges often, and prints each committed position.
func writer(dir string) {
	s, err := shard.Open(dir, shard.Options{MergeFactor: 3})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open", s.Position())
	for i := int(s.Position()/2) + 1; ; i++ {
		addMade(s, i)
		if i%perCommit == 0 {
			if err := s.Commit(uint64(2 * i)); err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
			fmt.Println("committed", s.Position())
		}
	}
}

// checkMade holds a shard against what the feed was up to its position.
func checkMade(t *testing.T, s *shard.Shard) {
	t.Helper()
	snap := s.Acquire()
	defer snap.Release()
	last := int(snap.Position / 2)
	if last%perCommit != 0 {
		t.Fatalf("position %d is no commit's", snap.Position)
	}
	want := map[uint64]bool{}
	for i := 1; i <= last; i++ {
		if i%3 != 0 || i+deletedAfter > last {
			want[uint64(2*i)] = true
		}
	}
	seen := 0
	for _, p := range snap.Parts {
		for d := range uint32(p.Docs()) {
			if p.Deleted.Has(d) {
				continue
			}
			if seen++; !want[p.SeqOf(d)] {
				t.Fatalf("at position %d row %d is there", snap.Position, p.SeqOf(d))
			}
		}
	}
	if seen != len(want) {
		t.Fatalf("at position %d there are %d documents, not %d", snap.Position, seen, len(want))
	}
	for q, n := range map[query.Node]int{
		query.Term{Field: "msg", Kind: segment.Text, Text: "all", Boost: 1}:                  len(want),
		query.Range{Field: "n", Kind: segment.Int, Lo: 1, Hi: int64(last), Boost: 1}:         len(want),
		query.Pattern{Field: "msg", Kind: segment.Text, Match: query.Prefix, Text: "number"}: len(want),
	} {
		if got, err := search.Count(context.Background(), snap, q); err != nil || got != n {
			t.Fatalf("at position %d %v gives %d, not %d (%v)", snap.Position, q, got, n, err)
		}
	}
}

// TestKill9 kills the writer at moments of chance, again and again: each time the shard opens, has exactly the documents of its
// position, and no commit that was reported is missing.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerFolder+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Kill after so many commits and a little more, so that every step of a commit is hit.
		commits, reported := 1+r.IntN(25), uint64(0)
		lines := bufio.NewScanner(out)
		killed := false
		for lines.Scan() {
			word, value, _ := strings.Cut(lines.Text(), " ")
			if word == "error" {
				t.Fatal(value)
			}
			if reported, err = strconv.ParseUint(value, 10, 64); err != nil {
				t.Fatal(lines.Text())
			}
			if commits--; commits == 0 {
				spin(time.Duration(r.IntN(5000)) * time.Microsecond)
				_ = cmd.Process.Kill()
				killed = true
			}
		}
		_ = cmd.Wait()
		if !killed {
			t.Fatal("the writer ended by itself")
		}
		s, err := shard.Open(dir, shard.Options{MergeFactor: 3})
		if err != nil {
			t.Fatal(err)
		}
		if s.Position() < reported {
			t.Fatalf("position %d, but %d was reported", s.Position(), reported)
		}
		checkMade(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// spin waits without giving the processor up for long, since the moment of the kill is the point.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}
