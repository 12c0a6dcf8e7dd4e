package shard_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/disk"
	"carbonado.dev/carbonado/components/indexing/shard"
)

var errInjected = errors.New("injected")

// faulty fails every step after the first `left` of them that change the disk. Short: a write that fails has written half.
type faulty struct {
	disk.OS
	left atomic.Int64
}

func (f *faulty) step() error {
	if f.left.Add(-1) < 0 {
		return errInjected
	}
	return nil
}

func (f *faulty) Create(name string) (disk.File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.OS.Create(name)
	return &faultyFile{f, file}, err
}

func (f *faulty) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func (f *faulty) Remove(name string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Remove(name)
}

func (f *faulty) SyncFolder(name string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.SyncFolder(name)
}

type faultyFile struct {
	f *faulty
	disk.File
}

func (w *faultyFile) Write(p []byte) (int, error) {
	if err := w.f.step(); err != nil {
		n, _ := w.File.Write(p[:len(p)/2])
		return n, err
	}
	return w.File.Write(p)
}

func (w *faultyFile) Sync() error {
	if err := w.f.step(); err != nil {
		return err
	}
	return w.File.Sync()
}

// TestInjectedWriteErrors lets the disk fail at every step in turn. The last commit stays served; opened again, the shard has
// exactly the documents of its position and goes on.
func TestInjectedWriteErrors(t *testing.T) {
	for fail := int64(0); fail < 140; fail++ {
		dir := t.TempDir()
		fs := &faulty{}
		fs.left.Store(1 << 60)
		s, err := shard.Open(dir, shard.Options{FS: fs, MergeFactor: 3})
		if err != nil {
			t.Fatal(err)
		}
		fs.left.Store(fail)
		reported, broken := uint64(0), false
		for i := 1; i <= 30*perCommit && !broken; i++ {
			addMade(s, i)
			if i%perCommit != 0 {
				continue
			}
			switch err := s.Commit(uint64(2 * i)); {
			case err == nil:
				reported = uint64(2 * i)
			case errors.Is(err, errInjected) || errors.Is(err, shard.ErrBroken):
				broken = true
			default:
				t.Fatalf("step %d: %v", fail, err)
			}
			checkMade(t, s)
		}
		if !broken {
			t.Fatalf("step %d never failed", fail)
		}
		if s.Err() == nil {
			t.Fatalf("step %d: the shard does not say that it is broken", fail)
		}
		addMade(s, 1)
		if err := s.Commit(1 << 40); !errors.Is(err, shard.ErrBroken) {
			t.Fatalf("step %d: a commit after a failed one: %v", fail, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, err = shard.Open(dir, shard.Options{MergeFactor: 3})
		if err != nil {
			t.Fatalf("step %d: %v", fail, err)
		}
		if s.Position() < reported {
			t.Fatalf("step %d: position %d, but %d was reported", fail, s.Position(), reported)
		}
		checkMade(t, s)
		from := int(s.Position()/2) + 1
		for i := from; i < from+2*perCommit; i++ {
			addMade(s, i)
		}
		if err := s.Commit(uint64(2 * (from + 2*perCommit - 1))); err != nil {
			t.Fatal(err)
		}
		checkMade(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// made is a shard of n documents, settled.
func made(t *testing.T, dir string, n, factor int) {
	s, err := shard.Open(dir, shard.Options{MergeFactor: factor})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		addMade(s, i)
		if i%perCommit == 0 {
			if err := s.Commit(uint64(2 * i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFiles changes, shortens and removes every file in turn: each time opening says that the shard is damaged, and after
// Destroy it can be filled again.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	made(t, dir, 200, 100)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) < 10 {
		t.Fatalf("%v %v", names, err)
	}
	for _, name := range names {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		damages := map[string][]byte{"removed": nil, "empty": {}, "short": whole[:len(whole)/2], "longer": append(whole[:len(whole):len(whole)], 0)}
		for at := 0; at < len(whole); at += 1 + len(whole)/40 {
			changed := append([]byte(nil), whole...)
			changed[at] ^= 0x10
			damages[fmt.Sprint("changed at ", at)] = changed
		}
		for what, content := range damages {
			if what == "removed" && filepath.Base(name) == "manifest" {
				continue // that is an empty shard
			}
			if what == "removed" {
				err = os.Remove(name)
			} else {
				err = os.WriteFile(name, content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := shard.Open(dir, shard.Options{MergeFactor: 100})
			if !errors.Is(err, codec.ErrDamaged) {
				t.Errorf("%s %s: %v", filepath.Base(name), what, err)
			}
			if s != nil {
				s.Close()
			}
			if err := os.WriteFile(name, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := shard.Open(dir, shard.Options{MergeFactor: 100})
	if err != nil {
		t.Fatal(err)
	}
	checkMade(t, s)
	s.Close()
	if _, err := shard.Open(dir, shard.Options{Stop: []string{"all"}}); !errors.Is(err, shard.ErrOutdated) {
		t.Fatalf("with other stop words: %v", err)
	}
	if err := shard.Destroy(nil, dir); err != nil {
		t.Fatal(err)
	}
	made(t, dir, 40, 3)
}

// TestOrphansAreRemoved: what a killed process left does not stay.
func TestOrphansAreRemoved(t *testing.T) {
	dir := t.TempDir()
	made(t, dir, 40, 3)
	for _, n := range []string{"seg-00000fff.cbn", "del-00000001-99.cbn", "manifest.tmp", "spool-1.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := shard.Open(dir, shard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	checkMade(t, s)
	names, _ := os.ReadDir(dir)
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".tmp") || n.Name() == "seg-00000fff.cbn" || strings.HasSuffix(n.Name(), "-99.cbn") {
			t.Errorf("%s is still there", n.Name())
		}
	}
}

// TestSnapshotsOutliveMergesAndClose: files leave memory with their last reader, not before.
func TestSnapshotsOutliveMergesAndClose(t *testing.T) {
	dir := t.TempDir()
	s, err := shard.Open(dir, shard.Options{MergeFactor: 2})
	if err != nil {
		t.Fatal(err)
	}
	var held []*shard.Snapshot
	for i := 1; i <= 400; i++ {
		addMade(s, i)
		if i%perCommit == 0 {
			if err := s.Commit(uint64(2 * i)); err != nil {
				t.Fatal(err)
			}
			held = append(held, s.Acquire())
		}
	}
	s.Truncate()
	if err := s.Commit(1000); err != nil {
		t.Fatal(err)
	}
	if snap := s.Acquire(); snap.Documents() != 0 {
		t.Fatalf("%d documents after Truncate", snap.Documents())
	} else {
		snap.Release()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for k, snap := range held {
		n := 0
		for _, p := range snap.Parts {
			for d := range uint32(p.Docs()) {
				if p.SeqOf(d) > snap.Position {
					t.Fatal("a row of the future")
				}
				n++
			}
		}
		if n < 10*(k+1) {
			t.Fatalf("snapshot %d has %d documents", k, n)
		}
		snap.Release()
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "seg-*")); len(left) != 0 {
		t.Fatalf("files left: %v", left)
	}
}

// TestStagedTransaction: what is staged is seen at the commit, with its deletes, or never.
func TestStagedTransaction(t *testing.T) {
	dir := t.TempDir()
	s, err := shard.Open(dir, shard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stage := func(from, to int) {
		for i := from; i <= to; i++ {
			addMade(s, i)
			if i%7 == 0 {
				if err := s.Stage(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stage(1, 100)
	if snap := s.Acquire(); snap.Documents() != 0 {
		t.Fatal("staged documents are seen")
	} else {
		snap.Release()
	}
	s.Rollback()
	if s.Pending() != 0 {
		t.Fatalf("%d pending after a rollback", s.Pending())
	}
	stage(1, 100)
	if err := s.Commit(200); err != nil {
		t.Fatal(err)
	}
	checkMade(t, s)
}

func TestGuard(t *testing.T) {
	var p []byte
	if err := shard.Guard(func() error { _ = p[len(p)]; return nil }); !errors.Is(err, shard.ErrPanic) {
		t.Fatalf("an index out of range: %v", err)
	}
	if err := shard.Guard(func() error { return errInjected }); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := disk.OS{}.Map(name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	sum := byte(0)
	err = shard.Guard(func() error {
		for _, b := range m.Data() {
			sum += b
		}
		return nil
	})
	if !errors.Is(err, codec.ErrDamaged) {
		t.Fatalf("a file cut short: %v", err)
	}
}
