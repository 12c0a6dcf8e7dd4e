package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/sdk/frame"
)

func batchFrame(t testing.TB, n uint64, size int) []byte {
	t.Helper()
	b, err := frame.Append(nil, &frame.Header{Kind: frame.Batch, LinkSeq: n, Rows: 1}, bytes.Repeat([]byte{byte(n)}, size))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reopen opens a log and gives the numbers of the frames it replayed.
func reopen(t testing.TB, dir string, opts Options) (*Log, []uint64, *Torn, error) {
	t.Helper()
	var seen []uint64
	l, torn, err := Open(dir, opts, 1, func(e *Entry) error {
		want := byte(e.LinkSeq)
		for _, b := range e.Body {
			if b != want {
				return fmt.Errorf("frame %d has another's body", e.LinkSeq)
			}
		}
		seen = append(seen, e.LinkSeq)
		return nil
	})
	return l, seen, torn, err
}

func fill(t testing.TB, l *Log, from, groups, perGroup, size int) (next int) {
	t.Helper()
	for range groups {
		var frames [][]byte
		for range perGroup {
			frames = append(frames, batchFrame(t, uint64(from), size))
			from++
		}
		if _, err := l.Commit(frames); err != nil {
			t.Fatal(err)
		}
	}
	return from
}

func sequence(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

func TestCommittedIsReplayedOverFiles(t *testing.T) {
	dir := t.TempDir()
	opts := Options{FileSize: 8 << 10}
	next := 1
	for round := range 3 {
		l, seen, torn, err := reopen(t, dir, opts)
		if err != nil || torn != nil || fmt.Sprint(seen) != fmt.Sprint(sequence(next-1)) {
			t.Fatalf("round %d: %v %v %v", round, seen, torn, err)
		}
		for range 10 {
			if l.Full(1000) {
				if err := l.Roll(); err != nil {
					t.Fatal(err)
				}
			}
			next = fill(t, l, next, 1, 3, 700)
		}
		if first, last := l.Bounds(); first != 1 || last < 3 {
			t.Fatalf("files %d to %d", first, last)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadFindsFramesAndDropRemovesFiles(t *testing.T) {
	dir := t.TempDir()
	l, _, _, err := reopen(t, dir, Options{FileSize: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var at []Pos
	for n := range 20 {
		if l.Full(1000) {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		a, b := batchFrame(t, uint64(2*n+1), 100), batchFrame(t, uint64(2*n+2), 100)
		pos, err := l.Commit([][]byte{a, b})
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, pos, Pos{pos.File, pos.Off + int64(len(a))})
	}
	for i, p := range at {
		b, err := l.Read(p, frame.Size(100), nil)
		if err != nil {
			t.Fatal(err)
		}
		if h, _, _, err := frame.Parse(b); err != nil || h.LinkSeq != uint64(i+1) {
			t.Fatalf("at %v: frame %d, %v", p, h.LinkSeq, err)
		}
	}
	_, last := l.Bounds()
	if err := l.DropBefore(last); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(at[0], 10, nil); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a dropped file is read: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, Options{}, last, func(*Entry) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := reopen(t, dir, Options{FileSize: 64 << 10}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("missing files: %v", err)
	}
}

// TestATornTailIsCut cuts the last file at every length: whole groups before stay, nothing else does.
func TestATornTailIsCut(t *testing.T) {
	dir := t.TempDir()
	l, _, _, err := reopen(t, dir, Options{FileSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	next := 1
	for range 4 {
		next = fill(t, l, next, 1, 2, 64)
		ends = append(ends, l.off)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, fileName(1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(whole); cut += 12 {
		for _, junk := range []int{0, 300} {
			d := t.TempDir()
			b := append(append([]byte(nil), whole[:cut]...), bytes.Repeat([]byte{0x5a}, junk)...)
			if err := os.WriteFile(filepath.Join(d, fileName(1)), b, 0o600); err != nil {
				t.Fatal(err)
			}
			groups := 0
			for _, e := range ends {
				if int64(cut) >= e {
					groups++
				}
			}
			l, seen, torn, err := reopen(t, d, Options{NoSync: true, FileSize: 64 << 10})
			if err != nil || len(seen) != 2*groups {
				t.Fatalf("cut at %d: %d frames, want %d, %v", cut, len(seen), 2*groups, err)
			}
			whole := groups > 0 && int64(cut) == ends[groups-1] && junk == 0
			if whole != (torn == nil) {
				t.Fatalf("cut at %d: torn %v", cut, torn)
			}
			fill(t, l, 2*groups+1, 1, 1, 64)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, seen, _, err := reopen(t, d, Options{NoSync: true, FileSize: 64 << 10}); err != nil || len(seen) != 2*groups+1 {
				t.Fatalf("cut at %d, again: %v %v", cut, seen, err)
			} else if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamageBeforeWholeGroupsIsCorruption flips bytes: in the last group they are a torn tail, before it they are corruption.
func TestDamageBeforeWholeGroupsIsCorruption(t *testing.T) {
	dir := t.TempDir()
	l, _, _, err := reopen(t, dir, Options{FileSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	next := fill(t, l, 1, 3, 2, 64)
	last := l.off
	fill(t, l, next, 1, 2, 64)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, fileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 5 {
		d := t.TempDir()
		b := append([]byte(nil), whole...)
		b[i] ^= 0x41
		if err := os.WriteFile(filepath.Join(d, fileName(1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, seen, _, err := reopen(t, d, Options{NoSync: true, FileSize: 64 << 10})
		switch {
		case err == nil:
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			// Padding behind a body is nobody's; everything else is covered by a sum.
			if int64(i) < last && len(seen) != 8 {
				t.Fatalf("byte %d: damage before a whole group gave %d frames and no error", i, len(seen))
			}
			if len(seen) != 6 && len(seen) != 8 {
				t.Fatalf("byte %d: %d frames", i, len(seen))
			}
		case !errors.Is(err, ErrCorrupt):
			t.Fatalf("byte %d: %v", i, err)
		case int64(i) >= last:
			t.Fatalf("byte %d of the last group: %v", i, err)
		}
	}
}

func TestAForgedGroupInAnEventProvesNothing(t *testing.T) {
	dir := t.TempDir()
	l, _, _, err := reopen(t, dir, Options{FileSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1, 1, 1, 60)
	// An event whose content looks like a group record at the very place where it will lie.
	off := l.off + int64(frame.Size(groupBody)) + frame.HeaderSize
	var id fileID
	b, err := frame.Append(nil, &frame.Header{Kind: frame.Batch, LinkSeq: 2}, groupRecord(id, off, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	at := l.off
	if _, err := l.Commit([][]byte{b}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, fileName(1))
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[at+20] ^= 1 // the group that holds it was torn
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	l, seen, torn, err := reopen(t, dir, Options{FileSize: 64 << 10})
	if err != nil || torn == nil || len(seen) != 1 {
		t.Fatalf("%v %v %v", seen, torn, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	for _, op := range []string{"write", "reserve", "create"} {
		dir := t.TempDir()
		fsys := vfs.NewFaulty(vfs.OS)
		l, _, _, err := reopen(t, dir, Options{FS: fsys, FileSize: 2 << 10})
		if err != nil {
			t.Fatal(err)
		}
		next := fill(t, l, 1, 2, 1, 100)
		fsys.Set(func(o, _ string) error {
			if o == op {
				return fmt.Errorf("injected: %w", unix.ENOSPC)
			}
			return nil
		})
		if op != "write" {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if _, err := l.Commit([][]byte{batchFrame(t, 99, 100)}); !errors.Is(err, ErrFull) {
				t.Fatalf("%s: %v", op, err)
			}
		}
		fsys.Set(nil)
		next = fill(t, l, next, 2, 1, 100)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, seen, torn, err := reopen(t, dir, Options{FileSize: 64 << 10})
		if err != nil || torn != nil || fmt.Sprint(seen) != fmt.Sprint(sequence(next-1)) {
			t.Fatalf("%s: %v %v %v", op, seen, torn, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFailedSyncIsForEver(t *testing.T) {
	for _, op := range []string{"datasync", "syncdir", "write"} {
		dir := t.TempDir()
		fsys := vfs.NewFaulty(vfs.OS)
		l, _, _, err := reopen(t, dir, Options{FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		fsys.Set(func(o, _ string) error {
			if o == op {
				return unix.EIO
			}
			return nil
		})
		if _, err := l.Commit([][]byte{batchFrame(t, 1, 10)}); !errors.Is(err, ErrBroken) {
			t.Fatalf("%s: %v", op, err)
		}
		syncs := 0
		fsys.Set(func(string, string) error { syncs++; return nil })
		if _, err := l.Commit([][]byte{batchFrame(t, 2, 10)}); !errors.Is(err, ErrBroken) || syncs != 0 {
			t.Fatalf("%s: after a failure %d operations, %v", op, syncs, err)
		}
		_ = l.Close() // it is broken
	}
}

// TestModel commits, reopens and tears at random.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "wal")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		opts := Options{FileSize: 4 << 10, NoSync: true}
		l, _, _, err := reopen(t, dir, opts)
		if err != nil {
			rt.Fatal(err)
		}
		n := 0
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "step") {
			case 0:
				if err := l.Close(); err != nil {
					rt.Fatal(err)
				}
				if junk := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "junk"); len(junk) > 0 {
					if _, last := lastFile(dir); last != "" {
						f, err := os.OpenFile(last, os.O_APPEND|os.O_WRONLY, 0)
						if err != nil {
							rt.Fatal(err)
						}
						if _, err := f.Write(junk); err != nil {
							rt.Fatal(err)
						}
						f.Close()
					}
				}
				var seen []uint64
				if l, seen, _, err = reopen(t, dir, opts); err != nil || fmt.Sprint(seen) != fmt.Sprint(sequence(n)) {
					rt.Fatalf("%v, want %d frames, %v", seen, n, err)
				}
			default:
				if l.Full(1500) {
					if err := l.Roll(); err != nil {
						rt.Fatal(err)
					}
				}
				n = fill(t, l, n+1, 1, rapid.IntRange(1, 4).Draw(rt, "frames"), rapid.IntRange(0, 600).Draw(rt, "size")) - 1
			}
		}
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func lastFile(dir string) (uint64, string) {
	numbers, err := list(dir)
	if err != nil || len(numbers) == 0 {
		return 0, ""
	}
	n := numbers[len(numbers)-1]
	return n, filepath.Join(dir, fileName(n))
}

func FuzzReplay(f *testing.F) {
	dir := f.TempDir()
	l, _, _, err := reopen(f, dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	fill(f, l, 1, 3, 2, 40)
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, fileName(1)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName(1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, err := Open(dir, Options{NoSync: true, FileSize: 64 << 10}, 1, func(*Entry) error { return nil })
		if err != nil {
			return
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// What was opened once opens again, and nothing more is torn.
		l, torn, err := Open(dir, Options{NoSync: true, FileSize: 64 << 10}, 1, func(*Entry) error { return nil })
		if err != nil || torn != nil {
			t.Fatalf("second open: %v %v", torn, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
