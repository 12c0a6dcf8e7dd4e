package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
)

// TestAdopt: a folder laid by hand is recorded once it is whole, and from then on trusted by its digests.
func TestAdopt(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	lay := func(version, program string) string {
		dir := filepath.Join(home, "plugins", "Hello", version)
		if err := os.CopyFS(dir, os.DirFS(source(t, "Hello", version, program))); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	adopt := func(quiet time.Duration) []string {
		t.Helper()
		names, err := c.Adopt(t.Context(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	code := func() string {
		t.Helper()
		got := scan(t, catalog.At(home))
		if len(got) != 1 {
			t.Fatalf("%v", got)
		}
		if got[0].Cause == nil {
			return ""
		}
		return got[0].Cause.Code
	}
	dir := lay("1.0.0", "one")
	if code() != catalog.ErrLock.ID() {
		t.Error("a folder without a record is taken by a mere look")
	}
	if got := adopt(time.Hour); len(got) != 0 {
		t.Errorf("a folder that may be half copied was adopted: %v", got)
	}
	if got := adopt(0); !slices.Equal(got, []string{"Hello 1.0.0"}) || code() != "" {
		t.Errorf("%v %s", got, code())
	}
	// Changed later: not started, and not adopted anew by deleting the record.
	write(t, filepath.Join(dir, "bin", "Hello"), "evil", 0o755)
	if code() != catalog.ErrDigest.ID() {
		t.Error(code())
	}
	if err := os.Remove(filepath.Join(dir, "package.lock")); err != nil {
		t.Fatal(err)
	}
	if got := adopt(0); len(got) != 0 || code() != catalog.ErrLock.ID() {
		t.Errorf("%v %s", got, code())
	}
	write(t, filepath.Join(dir, "bin", "Hello"), "one", 0o755)
	if got := adopt(0); len(got) != 1 || code() != "" {
		t.Errorf("%v %s", got, code())
	}
	// The same for what was installed; another name than the folder's is never adopted.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p := install(t, c, source(t, "Hello", "1.1.0", "two"))
	write(t, filepath.Join(p.Dir, "README.md"), "changed", 0o644)
	if err := os.Remove(filepath.Join(p.Dir, "package.lock")); err != nil {
		t.Fatal(err)
	}
	if got := adopt(0); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if err := os.Rename(p.Dir, filepath.Join(home, "plugins", "Hello", "1.2.0")); err != nil {
		t.Fatal(err)
	}
	if got := adopt(0); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
