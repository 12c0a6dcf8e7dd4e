package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/sdk/cause"
)

// zipOf makes an archive with the standard library, which refuses nothing.
func zipOf(t testing.TB, fill func(z *zip.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	fill(z)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t testing.TB, z *zip.Writer, h *zip.FileHeader, content string) {
	t.Helper()
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// members makes an archive of small files with the names.
func members(names ...string) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		return zipOf(t, func(z *zip.Writer) {
			for _, n := range names {
				content := "x"
				if strings.HasSuffix(n, "/") {
					content = ""
				}
				put(t, z, &zip.FileHeader{Name: n, Method: zip.Deflate}, content)
			}
		})
	}
}

// moded makes an archive with one member of a mode.
func moded(mode fs.FileMode, content string) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		return zipOf(t, func(z *zip.Writer) {
			h := &zip.FileHeader{Name: "member", Method: zip.Store}
			h.SetMode(mode)
			put(t, z, h, content)
		})
	}
}

// patched is a sound archive of two files in which surgery is done.
func patched(change func(b []byte) []byte) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		good := zipOf(t, func(z *zip.Writer) {
			for _, n := range []string{"first", "second"} {
				// Raw members have no descriptor, so that the local header holds the sizes.
				w, err := z.CreateRaw(&zip.FileHeader{Name: n, CompressedSize64: 5, UncompressedSize64: 5, CRC32: 0x3610a686})
				if err == nil {
					_, err = io.WriteString(w, "hello")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
		return change(good)
	}
}

func directory(b []byte) int { return int(binary.LittleEndian.Uint32(b[len(b)-6:])) }

// bombSize is that of the file in a bomb.
const bombSize = 64 << 20

func bomb(t testing.TB) []byte {
	return zipOf(t, func(z *zip.Writer) {
		w, err := z.Create("zeros")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(w, zeros{}, bombSize); err != nil {
			t.Fatal(err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type trick struct {
	name string
	data func(testing.TB) []byte
	kind *cause.Kind
	text string
}

// tricks are those of ECOSYSTEM.md section 6.4 and their relatives.
func tricks() []trick {
	u16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
	}
	end := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[len(b)-22+at:], v); return b }
	}
	return []trick{
		{"path escape", members("ok", "../../etc/x"), archive.ErrName, "leads out"},
		{"path escape within", members("a/../../x"), archive.ErrName, "leads out"},
		{"dot", members("a/./x"), archive.ErrName, "no path"},
		{"empty part", members("a//x"), archive.ErrName, "no path"},
		{"absolute", members("/abs/x"), archive.ErrName, "root"},
		{"backslash", members(`..\win\x`), archive.ErrName, "backslash"},
		{"mixed slashes", members(`a/..\x`), archive.ErrName, "backslash"},
		{"drive", members("C:/x"), archive.ErrName, "colon"},
		{"stream", members("x:y"), archive.ErrName, "colon"},
		{"device name", members("a/nul.txt"), archive.ErrName, "device"},
		{"com port", members("COM1"), archive.ErrName, "device"},
		{"nul byte", members("a\x00b"), archive.ErrName, "control"},
		{"line feed", members("a\nb"), archive.ErrName, "control"},
		{"right to left", members("a\u202egpj.exe"), archive.ErrName, "control"},
		{"not utf-8", members("a\xff"), archive.ErrName, "UTF-8"},
		{"decomposed accent", members("cafe\u0301"), archive.ErrName, "NFC"},
		{"dot at the end", members("a/x."), archive.ErrName, "space or a dot"},
		{"space at the end", members("a /x"), archive.ErrName, "space or a dot"},
		{"no name", members(""), archive.ErrName, "no name"},
		{"long part", members(strings.Repeat("x", 300)), archive.ErrName, "longer part"},
		{"long name", members(strings.Repeat("x/", 300) + "x"), archive.ErrName, "more bytes"},
		{"deep", members(strings.Repeat("x/", 60) + "x"), archive.ErrName, "deeper"},
		{"symlink", moded(fs.ModeSymlink|0o777, "/etc/passwd"), archive.ErrKind, "no plain file"},
		{"symlink, then through it", func(t testing.TB) []byte {
			return zipOf(t, func(z *zip.Writer) {
				h := &zip.FileHeader{Name: "link"}
				h.SetMode(fs.ModeSymlink | 0o777)
				put(t, z, h, "/etc")
				put(t, z, &zip.FileHeader{Name: "link/passwd"}, "root::0:0::/:/bin/sh")
			})
		}, archive.ErrKind, "no plain file"},
		{"device", moded(fs.ModeDevice|fs.ModeCharDevice|0o666, ""), archive.ErrKind, "no plain file"},
		{"pipe", moded(fs.ModeNamedPipe|0o666, ""), archive.ErrKind, "no plain file"},
		{"socket", moded(fs.ModeSocket|0o666, ""), archive.ErrKind, "no plain file"},
		{"setuid", moded(fs.ModeSetuid|0o755, "x"), archive.ErrKind, "another user"},
		{"setgid", moded(fs.ModeSetgid|0o755, "x"), archive.ErrKind, "another user"},
		{"sticky", moded(fs.ModeSticky|0o755, "x"), archive.ErrKind, "another user"},
		{"twice", members("a", "a"), archive.ErrCollision, "twice"},
		{"folder twice", members("a/", "a/"), archive.ErrCollision, "twice"},
		{"letter case", members("bin/Hello", "bin/hello"), archive.ErrCollision, "letter case"},
		{"letter case of folders", members("Bin/a", "bin/b"), archive.ErrCollision, "letter case"},
		{"sharp s", members("straße", "STRASSE"), archive.ErrCollision, "letter case"},
		{"compatible letters", members("ﬁle", "file"), archive.ErrCollision, "letter case"},
		{"file and folder", members("a", "a/b"), archive.ErrCollision, "a file and a folder"},
		{"bomb", bomb, archive.ErrLimit, "bombs"},
		{"many members", func(t testing.TB) []byte {
			return zipOf(t, func(z *zip.Writer) {
				for i := range 10_001 {
					put(t, z, &zip.FileHeader{Name: fmt.Sprintf("f%d", i)}, "")
				}
			})
		}, archive.ErrLimit, "members"},
		{"70,000 members", func(t testing.TB) []byte {
			return zipOf(t, func(z *zip.Writer) {
				for i := range 70_000 {
					put(t, z, &zip.FileHeader{Name: fmt.Sprintf("f%d", i)}, "")
				}
			})
		}, archive.ErrFeature, "ZIP64"},
		{"trailing data", patched(func(b []byte) []byte { return append(b, "MZ"...) }), archive.ErrStructure, "follows"},
		{"comment", func(t testing.TB) []byte {
			return zipOf(t, func(z *zip.Writer) { _ = z.SetComment("hello") })
		}, archive.ErrStructure, "comment"},
		{"comment that is not there", patched(func(b []byte) []byte { b[len(b)-1] = 0xff; return b }), archive.ErrStructure, "comment"},
		{"something before", patched(func(b []byte) []byte { return append([]byte("#!/bin/sh\n"), b...) }), archive.ErrStructure, "before"},
		{"two archives", patched(func(b []byte) []byte { return append(bytes.Clone(b), b...) }), archive.ErrStructure, "before"},
		{"cut off", patched(func(b []byte) []byte { return b[:len(b)-30] }), archive.ErrStructure, "cut off"},
		{"no archive", patched(func([]byte) []byte { return []byte("hello") }), archive.ErrStructure, "no archive"},
		{"empty", patched(func([]byte) []byte { return nil }), archive.ErrStructure, "no archive"},
		{"a tar", func(t testing.TB) []byte {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}), w.Close()); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}, archive.ErrStructure, "does not end"},
		{"encrypted", patched(func(b []byte) []byte { b[6] |= 1; b[directory(b)+8] |= 1; return b }), archive.ErrFeature, "encrypted"},
		{"encrypted in one header", patched(func(b []byte) []byte { b[6] |= 1; return b }), archive.ErrStructure, "two ways"},
		{"rare compression", patched(func(b []byte) []byte { b[8] = 93; b[directory(b)+10] = 93; return b }), archive.ErrFeature, "method 93"},
		{"other name where it lies", patched(func(b []byte) []byte { copy(b[30:], "../.."); return b }), archive.ErrStructure, "another name"},
		{"other size where it lies", patched(u16(22, 4)), archive.ErrStructure, "two sizes"},
		{"other checksum where it lies", patched(u16(14, 4)), archive.ErrStructure, "two sizes"},
		{"overlapping members", patched(func(b []byte) []byte {
			d := directory(b)
			second := d + 46 + len("first")
			binary.LittleEndian.PutUint32(b[second+42:], 0)
			copy(b[second+46:], "first\x00")
			return b
		}), archive.ErrStructure, ""},
		{"member into the directory", patched(func(b []byte) []byte {
			second := directory(b) + 46 + len("first")
			binary.LittleEndian.PutUint32(b[second+20:], 5000)
			binary.LittleEndian.PutUint32(b[second+24:], 5000)
			return b
		}), archive.ErrStructure, "overlaps"},
		{"hidden bytes between", patched(func(b []byte) []byte {
			d := directory(b)
			out := append(bytes.Clone(b[:d]), "hidden"...)
			out = append(out, b[d:]...)
			binary.LittleEndian.PutUint32(out[len(out)-6:], uint32(d+6))
			return out
		}), archive.ErrStructure, "belong to nothing"},
		{"zip64 end", patched(end(16, 0xffffffff)), archive.ErrFeature, "ZIP64"},
		{"zip64 count", patched(end(8, 0xffffffff)), archive.ErrFeature, "ZIP64"},
		{"zip64 extra", func(t testing.TB) []byte {
			return zipOf(t, func(z *zip.Writer) {
				put(t, z, &zip.FileHeader{Name: "x", Extra: []byte{1, 0, 8, 0, 255, 255, 255, 255, 0, 0, 0, 0}}, "x")
			})
		}, archive.ErrFeature, "ZIP64"},
		{"several disks", patched(end(4, 0x00010001)), archive.ErrFeature, "parts"},
		{"fewer records", patched(end(8, 0x00010001)), archive.ErrStructure, ""},
		{"huge directory", patched(end(12, 0x7fffffff)), archive.ErrLimit, "directory"},
		{"folder with content", patched(func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("first"), []byte("firs/"))
		}), archive.ErrStructure, "content"},
	}
}

// TestCase15Archive: an archive with any of the tricks is refused before a byte of it is unpacked, by a code that says what is wrong.
func TestCase15Archive(t *testing.T) {
	for _, c := range tricks() {
		t.Run(c.name, func(t *testing.T) {
			data := c.data(t)
			_, err := archive.Open(bytes.NewReader(data), int64(len(data)), archive.Limits{})
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %s with %q", err, c.kind.ID(), c.text)
			}
		})
	}
}

// TestLyingContent: what can only be seen while a member is read is refused then.
func TestLyingContent(t *testing.T) {
	raw := func(size uint64, sum uint32, content string) []byte {
		return zipOf(t, func(z *zip.Writer) {
			w, err := z.CreateRaw(&zip.FileHeader{Name: "x", Method: zip.Deflate, CompressedSize64: uint64(len(content)), UncompressedSize64: size, CRC32: sum})
			if err == nil {
				_, err = io.WriteString(w, content)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	stored := "\x01\x05\x00\xfa\xffhello" // a deflate block with five bytes as they are
	for name, data := range map[string][]byte{
		"more than declared": raw(3, 0x3610a686, stored), "less than declared": raw(9, 0x3610a686, stored),
		"wrong checksum": raw(5, 1, stored), "no deflate": raw(5, 0x3610a686, "\xff\xff\xff"), "cut deflate": raw(5, 0x3610a686, stored[:7]),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := archive.Open(bytes.NewReader(data), int64(len(data)), archive.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Read("x", 1<<20); !errors.Is(err, archive.ErrStructure) {
				t.Errorf("read: %v", err)
			}
			root := openRoot(t)
			if _, err := a.Unpack(t.Context(), root); !errors.Is(err, archive.ErrStructure) {
				t.Errorf("unpack: %v", err)
			}
		})
	}
	good := raw(5, 0x3610a686, stored)
	a, err := archive.Open(bytes.NewReader(good), int64(len(good)), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Read("x", 5); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := a.Read("x", 4); !errors.Is(err, archive.ErrLimit) {
		t.Error(err)
	}
	if _, err := a.Read("y", 4); !errors.Is(err, archive.ErrStructure) {
		t.Error(err)
	}
}

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// TestNestedArchives: what lies in an archive is a file, and is not opened.
func TestNestedArchives(t *testing.T) {
	inner := bomb(t)
	for range 5 {
		inner = zipOf(t, func(z *zip.Writer) { put(t, z, &zip.FileHeader{Name: "nested.zip"}, string(inner)) })
	}
	a, err := archive.Open(bytes.NewReader(inner), int64(len(inner)), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	root := openRoot(t)
	files, err := a.Unpack(t.Context(), root)
	if err != nil || len(files) != 1 || files[0].Size > 1<<20 {
		t.Errorf("%+v, %v", files, err)
	}
}

func TestLimits(t *testing.T) {
	data := members("a", "b", "c/d")(t)
	for _, l := range []archive.Limits{{Archive: 10}, {Members: 2}, {Total: 2}, {File: 1, Total: 1}} {
		if _, err := archive.Open(bytes.NewReader(data), int64(len(data)), l); !errors.Is(err, archive.ErrLimit) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// TestWriteAndUnpack: what the writer makes is taken, has the same bytes each time, and unpacks to the same files.
func TestWriteAndUnpack(t *testing.T) {
	make := func() []byte {
		var b bytes.Buffer
		w := archive.NewWriter(&b)
		if err := errors.Join(w.Add("bin/hello", true, strings.NewReader("program")), w.AddBytes("größe.txt", []byte("text")), w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	data := make()
	if !bytes.Equal(data, make()) {
		t.Error("two archives of the same files differ")
	}
	a, err := archive.Open(bytes.NewReader(data), int64(len(data)), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	root := openRoot(t)
	files, err := a.Unpack(t.Context(), root)
	if err != nil || len(files) != 2 || files[0].Name != "bin/hello" || files[0].Size != 7 {
		t.Fatalf("%+v, %v", files, err)
	}
	info, err := root.Stat("bin/hello")
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("%v %v", info, err)
	}
	if got, err := root.ReadFile("größe.txt"); err != nil || string(got) != "text" {
		t.Errorf("%q %v", got, err)
	}
	// Where something lies already, nothing is overwritten.
	if _, err := a.Unpack(t.Context(), root); !errors.Is(err, archive.ErrUnpack) || !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Unpack(ctx, openRoot(t)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A copy with one member more is sound too.
	var b bytes.Buffer
	w := archive.NewWriter(&b)
	for _, e := range a.Entries {
		if err := w.Copy(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.AddBytes("more", nil), w.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := archive.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), archive.Limits{})
	if err != nil || len(c.Entries) != 3 {
		t.Fatal(err)
	}
	if got, err := c.Read("bin/hello", 100); err != nil || string(got) != "program" {
		t.Errorf("%q %v", got, err)
	}
}

// FuzzOpen: whatever the bytes, nothing is read beyond its declared size or written outside of the folder.
func FuzzOpen(f *testing.F) {
	for _, c := range tricks() {
		if strings.Contains(c.name, "members") || c.name == "bomb" {
			continue
		}
		f.Add(c.data(f))
	}
	f.Add(members("a", "b/", "b/c")(f))
	f.Add(patched(func(b []byte) []byte { return b })(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := archive.Open(bytes.NewReader(data), int64(len(data)), archive.Limits{Archive: 1 << 20, File: 1 << 20, Total: 4 << 20})
		if err != nil {
			if cause.From(err).Code() == cause.Unknown.ID() {
				t.Fatalf("an error without a code: %v", err)
			}
			return
		}
		outer := t.TempDir()
		if err := os.Mkdir(filepath.Join(outer, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(outer, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		files, err := a.Unpack(t.Context(), root)
		if err == nil {
			for _, file := range files {
				if info, err := root.Lstat(file.Name); err != nil || !info.Mode().IsRegular() || info.Size() != file.Size || info.Mode()&^0o755 != 0 {
					t.Fatalf("%q is not there as told: %v %v", file.Name, info, err)
				}
			}
		}
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Fatalf("outside: %v %v", entries, err)
		}
	})
}
