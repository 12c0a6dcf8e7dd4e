package codec

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPackedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := uint(rapid.IntRange(0, 32).Draw(t, "width"))
		vals := rapid.SliceOfN(rapid.Uint32Range(0, uint32(1<<width-1)), 0, 300).Draw(t, "values")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "prefix")
		p := AppendPacked(bytes.Clone(prefix), vals, width)[len(prefix):]
		if len(p) != PackedSize(len(vals), width) {
			t.Fatalf("%d bytes, PackedSize says %d", len(p), PackedSize(len(vals), width))
		}
		got := make([]uint32, len(vals))
		// With and without room behind it.
		for _, src := range [][]byte{p[:len(p):len(p)], append(bytes.Clone(p), make([]byte, 16)...)} {
			if !Unpack(got, src, width) || !slices.Equal(got, vals) {
				t.Fatalf("%v, want %v", got, vals)
			}
		}
		for i, v := range vals {
			if g, ok := At(p, i, width); !ok || g != v {
				t.Fatalf("value %d is %d, want %d", i, g, v)
			}
		}
		if width > 0 && len(vals) > 0 {
			if Unpack(got, p[:len(p)-1], width) {
				t.Fatal("too short a run was read")
			}
			if _, ok := At(p[:len(p)-1], len(vals)-1, width); ok {
				t.Fatal("a value beyond the end was read")
			}
		}
	})
}

func TestBitmapRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "n")
		rows := rapid.SliceOfDistinct(rapid.Uint32Range(0, uint32(n-1)), rapid.ID[uint32]).Draw(t, "rows")
		b := NewBitmap(n)
		for _, r := range rows {
			b.Set(r)
		}
		c, err := BitmapOf(b.Bytes(), n)
		if err != nil || c.Count() != len(rows) {
			t.Fatal(err, c.Count())
		}
		for i := range uint32(n + 64) {
			if c.Has(i) != slices.Contains(rows, i) {
				t.Fatalf("row %d", i)
			}
		}
		if _, err := BitmapOf(b.Bytes(), n+64); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bits for other rows: %v", err)
		}
	})
}

func file(t testing.TB, sections map[Kind][]byte) []byte {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for kind := Kind(1); int(kind) <= len(sections); kind++ {
		w.Begin(kind, 7, uint32(kind)*10)
		_, _ = w.Write(sections[kind])
		if w.Position() != uint64(len(sections[kind])) {
			t.Fatal("position")
		}
		w.End()
	}
	size, sum, err := w.Close()
	if err != nil || size != uint64(buf.Len()) {
		t.Fatal(size, buf.Len(), err)
	}
	f, err := Parse(buf.Bytes())
	if err != nil || f.Sum() != sum {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestFile(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcde"), 20_000) // larger than the buffer
	sections := map[Kind][]byte{1: []byte("one"), 2: {}, 3: big, 4: []byte("four")}
	p := file(t, sections)
	f, err := Parse(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(); err != nil {
		t.Fatal(err)
	}
	for kind, want := range sections {
		if got, err := f.Section(kind, 7, uint32(kind)*10); err != nil || !bytes.Equal(got, want) || cap(got) < len(got)+8 {
			t.Fatalf("section %d: %d bytes, %v", kind, len(got), err)
		}
	}
	if got, err := f.Section(9, 7, 0); got != nil || err != nil {
		t.Fatal("a section that is not there")
	}
	if _, err := f.Section(1, 8, 10); !errors.Is(err, ErrDamaged) {
		t.Fatalf("another version: %v", err)
	}
	// Every byte is checked.
	small := file(t, map[Kind][]byte{1: []byte("one"), 2: []byte("second")})
	for i := range small {
		q := bytes.Clone(small)
		q[i] ^= 0x40
		f, err := Parse(q)
		if err == nil {
			err = f.Verify()
		}
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d of %d changed: %v", i, len(q), err)
		}
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteErrorsStick(t *testing.T) {
	w := NewWriter(&brokenWriter{left: 100})
	w.Begin(1, 1, 0)
	for range 100 {
		_, _ = w.Write(make([]byte, 3000))
	}
	w.End()
	if _, _, err := w.Close(); !errors.Is(err, io.ErrShortWrite) || w.Err() == nil {
		t.Fatalf("%v", err)
	}
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	for _, limit := range []int{10, 1 << 20} {
		s := NewSpool(dir, limit)
		var want []byte
		for i := range 100 {
			p := bytes.Repeat([]byte{byte(i)}, i)
			_, _ = s.Write(p)
			want = append(want, p...)
		}
		var got bytes.Buffer
		if s.Size() != uint64(len(want)) {
			t.Fatal(s.Size())
		}
		if n, err := s.WriteTo(&got); err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
			t.Fatal(n, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("files left: %v", left)
	}
	s := NewSpool(dir+"/missing", 1)
	_, _ = s.Write([]byte("x"))
	if _, err := s.WriteTo(io.Discard); err == nil {
		t.Fatal("no error of a folder that is not there")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(f, map[Kind][]byte{1: []byte("one"), 2: []byte("second")}))
	f.Fuzz(func(t *testing.T, p []byte) {
		file, err := Parse(p)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		_ = file.Verify()
		for kind := Kind(0); kind < 5; kind++ {
			_, _ = file.Section(kind, 1, 0)
		}
	})
}
