package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestWriteReplacesAndLeavesNothingElse(t *testing.T) {
	root, dir := open(t)
	for _, content := range []string{"one", "two longer", ""} {
		if err := Write(root, "a.json", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "a.json"))
		if err != nil || string(got) != content {
			t.Fatalf("read %q, %v; want %q", got, err, content)
		}
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Fatalf("left behind: %v", got)
	}
	info, err := os.Stat(filepath.Join(dir, "a.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestFailedWriteKeepsTheOldContent(t *testing.T) {
	root, dir := open(t)
	if err := Write(root, "a", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := WriteFrom(root, "a", 0o600, func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("error %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a")); string(got) != "old" {
		t.Fatalf("content %q", got)
	}
	if got := entries(t, dir); len(got) != 1 {
		t.Fatalf("left behind: %v", got)
	}
}

func TestWriteStaysInsideItsRoot(t *testing.T) {
	root, _ := open(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root.Name(), "out")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../a", "out/a"} {
		if err := Write(root, name, []byte("x"), 0o600); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if got := entries(t, outside); len(got) != 0 {
		t.Fatalf("written outside: %v", got)
	}
}

func TestRemoveTempDeletesWhatACrashLeft(t *testing.T) {
	root, dir := open(t)
	for _, n := range []string{TempPrefix + "XYZ", "keep.json", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveTemp(root, "."); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, dir); len(got) != 2 || got[0] != ".hidden" || got[1] != "keep.json" {
		t.Fatalf("left: %v", got)
	}
	if err := Remove(root, "keep.json"); err != nil {
		t.Fatal(err)
	}
	if err := Remove(root, "keep.json"); err != nil {
		t.Fatalf("a second Remove: %v", err)
	}
}
