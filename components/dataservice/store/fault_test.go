package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/store"
	"carbonado.dev/carbonado/components/dataservice/storetest"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/carbonado/components/dataservice/wal"
)

// faulty is a store whose file operations fail as a test says.
type faulty struct {
	*testing.T
	fs     *vfs.Faulty
	opts   store.Options
	s      *store.Store
	broken atomic.Int32
	full   atomic.Int32
	acked  map[int32]bool
	next   int32
}

func newFaulty(t *testing.T) *faulty {
	dir := t.TempDir()
	f := &faulty{T: t, fs: vfs.NewFaulty(vfs.OS), acked: map[int32]bool{}}
	f.opts = store.Options{
		FS: f.fs, Dir: filepath.Join(dir, "data"), Segments: filepath.Join(dir, "segments"), Staging: filepath.Join(dir, "staging"),
		LogFileSize: 8 << 10, Idle: 2 * time.Millisecond, Grace: time.Nanosecond,
		Broken: func(error) { f.broken.Add(1) },
		Full: func(err error) {
			if err != nil {
				f.full.Add(1)
			} else {
				f.full.Store(0)
			}
		},
	}
	f.open()
	_, err := f.s.CreateTable("t", "", manifest.Schema{Columns: []manifest.Column{{Column: rows.Column{Name: "n", Type: rows.Integer}}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.s.Crash() })
	return f
}

func (f *faulty) open() {
	f.Helper()
	s, err := store.Open(f.opts)
	if err != nil {
		f.Fatal(err)
	}
	f.s = s
}

// put writes one row and remembers whether it was acknowledged.
func (f *faulty) put() error {
	f.next++
	_, _, err := f.s.Put("t", storetest.Records(f.T, []storetest.Row{{"n": f.next}}))
	if err == nil {
		f.acked[f.next] = true
	}
	return err
}

func (f *faulty) check() {
	f.Helper()
	got := map[int32]bool{}
	err := f.s.Read(context.Background(), &store.Query{Table: "t"}, func(*arrow.Schema) error { return nil }, func(rec arrow.RecordBatch) error {
		for _, r := range storetest.RowsOf(rec) {
			n := r["n"].(int32)
			if got[n] {
				return fmt.Errorf("row %d is there twice", n)
			}
			got[n] = true
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	for n := range f.acked {
		if !got[n] {
			f.Fatalf("row %d was acknowledged and is lost", n)
		}
	}
}

func TestAFullDiskLosesNothingAndRecovers(t *testing.T) {
	f := newFaulty(t)
	for range 20 {
		if err := f.put(); err != nil {
			t.Fatal(err)
		}
	}
	f.fs.Set(func(op, name string) error {
		switch op {
		case "write", "reserve", "create":
			return fmt.Errorf("injected: %w", unix.ENOSPC)
		}
		return nil
	})
	for range 10 {
		if err := f.put(); !errors.Is(err, wal.ErrFull) {
			t.Fatalf("put on a full disk: %v", err)
		}
	}
	if f.full.Load() != 1 || f.broken.Load() != 0 {
		t.Fatalf("full was told %d times, broken %d", f.full.Load(), f.broken.Load())
	}
	// Cuts fail too, and what is in the log can be read.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.s.Cut(ctx, "t"); err == nil {
		t.Fatal("a cut on a full disk worked")
	}
	f.check()
	f.fs.Set(nil)
	for range 20 {
		if err := f.put(); err != nil {
			t.Fatal(err)
		}
	}
	if f.full.Load() != 0 {
		t.Fatal("nobody was told that there is space again")
	}
	f.check()
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	f.open()
	f.check()
}

func TestAFailedSyncEndsTheStoreAndReplayGivesAllBack(t *testing.T) {
	f := newFaulty(t)
	for range 20 {
		if err := f.put(); err != nil {
			t.Fatal(err)
		}
	}
	f.fs.Set(func(op, name string) error {
		if op == "datasync" && strings.HasSuffix(name, ".log") {
			return unix.EIO
		}
		return nil
	})
	for range 5 {
		if err := f.put(); !errors.Is(err, wal.ErrBroken) {
			t.Fatalf("put after a failed fdatasync: %v", err)
		}
	}
	if f.broken.Load() != 1 {
		t.Fatalf("broken was told %d times", f.broken.Load())
	}
	if _, err := f.s.Count(context.Background(), "t", nil, nil); !errors.Is(err, wal.ErrBroken) {
		t.Fatalf("a broken store answers reads: %v", err)
	}
	f.fs.Set(nil)
	f.s.Crash()
	f.open()
	f.check()
	if err := f.put(); err != nil {
		t.Fatal(err)
	}
	f.check()
}

// TestRandomFaults lets any operation fail now and then, with cuts, compactions and manifests going on.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			f := newFaulty(t)
			rnd := rand.New(rand.NewPCG(seed, 1))
			for round := range 6 {
				var calls atomic.Int64
				at := rnd.Int64N(60) + 5
				kind := []error{unix.ENOSPC, unix.EIO}[rnd.IntN(2)]
				lasting := rnd.IntN(2) == 0
				f.fs.Set(func(op, name string) error {
					n := calls.Add(1)
					if n == at || lasting && n > at && n < at+20 {
						return fmt.Errorf("injected into %s of %s: %w", op, filepath.Base(name), kind)
					}
					return nil
				})
				for i := range 40 {
					_ = f.put() // whatever it says, check holds it to that
					if i%10 == 9 {
						ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
						_ = f.s.Cut(ctx, "t")
						cancel()
					}
				}
				f.fs.Set(nil)
				if f.broken.Load() > 0 || round%2 == 0 {
					f.s.Crash()
					f.broken.Store(0)
					f.open()
				}
				f.check()
			}
		})
	}
}
