package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/vfs"
)

func full() *Manifest {
	return &Manifest{
		Version: 7, Seq: 100, LogFile: 3, NextTable: 3, NextSegment: 9,
		Tables: []Table{{
			ID: 2, Tenant: -1234, Name: "T", Store: "EVENT_STORE", SchemaVersion: 1, Born: 1, LastSeq: 90, Cut: 80,
			Schema: Schema{Columns: []Column{{Column: rows.Column{Name: "a", Type: rows.String}, Indexed: true}}, Keys: []string{"a"}},
			Segments: []Segment{
				{ID: 4, Path: "t/4.parquet", Info: segment.Info{Rows: 10, MinSeq: 1, MaxSeq: 10}},
				{ID: 5, Path: "t/5.parquet", Info: segment.Info{Rows: 10, MinSeq: 11, MaxSeq: 80}, AsOf: 80},
			},
		}},
		Sources: []Source{{Number: 1, Stream: "s:1", Schema: []byte{1, 2}, Targets: []Target{{Table: 2}}}},
		Senders: []Sender{{ID: []byte("0123456789abcdef"), Next: 5, Seen: []uint64{7}, Parts: map[uint64][]byte{6: {1}}}},
		Fences:  map[string]uint64{"script:x": 4},
	}
}

func TestWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	if m, err := Read(dir); m != nil || err != nil {
		t.Fatalf("empty folder: %v %v", m, err)
	}
	if err := Write(vfs.OS, dir, full()); err != nil {
		t.Fatal(err)
	}
	m, err := Read(dir)
	if err != nil || !reflect.DeepEqual(m, full()) {
		t.Fatalf("%+v %v", m, err)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	b, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 0x10
		if _, err := Decode(c); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for i := range b {
		if _, err := Decode(b[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// TestAFailedWriteKeepsTheOldOne makes each step of the replacement fail.
func TestAFailedWriteKeepsTheOldOne(t *testing.T) {
	for _, op := range []string{"create", "write", "datasync", "rename"} {
		dir := t.TempDir()
		fsys := vfs.NewFaulty(vfs.OS)
		if err := Write(fsys, dir, full()); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("injected")
		fsys.Set(func(o, _ string) error {
			if o == op {
				return broken
			}
			return nil
		})
		next := full()
		next.Version++
		if err := Write(fsys, dir, next); !errors.Is(err, broken) {
			t.Fatalf("%s: %v", op, err)
		}
		if m, err := Read(dir); err != nil || m.Version != 7 {
			t.Fatalf("%s: %v %v", op, m, err)
		}
		fsys.Set(nil)
		if err := Write(fsys, dir, next); err != nil {
			t.Fatalf("%s, again: %v", op, err)
		}
		if m, err := Read(dir); err != nil || m.Version != 8 {
			t.Fatalf("%s: %v %v", op, m, err)
		}
	}
}

func TestPathsStayInTheFolder(t *testing.T) {
	for _, p := range []string{"../x", "/etc/passwd", "a/../../b"} {
		m := full()
		m.Tables[0].Segments[0].Path = p
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%s: %v", p, err)
		}
	}
}

func TestAnUnreadableManifestIsNoEmptyStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := Read(dir); m != nil || !errors.Is(err, ErrCorrupt) {
		t.Fatalf("%v %v", m, err)
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[headerSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		// With a right header, so that the content is reached.
		m, err := Decode(reseal(body))
		if err != nil {
			return
		}
		if _, err := Encode(m); err != nil {
			t.Fatal(err)
		}
	})
}
