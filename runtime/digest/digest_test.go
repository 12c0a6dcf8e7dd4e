package digest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	waitSettled(t, path)
}

// waitSettled waits until the file's last change is old enough to be remembered.
func waitSettled(t *testing.T, path string) {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(info.ModTime().Add(settled + 20*time.Millisecond)))
}

func of(t *testing.T, c *Cache, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := c.Of(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func sha(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func TestAFileIsReadOncePerVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one")
	var c Cache
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			f, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if d, err := c.Of(f); err != nil || d != sha("one") {
				t.Errorf("digest %s, %v", d, err)
			}
			if b, _ := io.ReadAll(f); string(b) != "one" { // hashing moved no offset
				t.Errorf("the descriptor reads %q", b)
			}
		})
	}
	all.Wait()
	if c.read != 1 {
		t.Errorf("read %d times", c.read)
	}
	// The same size and modification time, another content: the change time tells.
	info, _ := os.Stat(path)
	write(t, path, "two")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if of(t, &c, path) != sha("two") {
		t.Error("an old digest for a new content")
	}
}

func TestSavedDigestsHoldForTheSameVersionOnly(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "f"), filepath.Join(dir, "digests")
	write(t, path, "one")
	var first Cache
	of(t, &first, path)
	if err := first.Save(file); err != nil {
		t.Fatal(err)
	}
	var second Cache
	second.Load(file)
	if of(t, &second, path) != sha("one") || second.read != 0 {
		t.Errorf("read %d times although it was saved", second.read)
	}
	write(t, path, "two")
	if of(t, &second, path) != sha("two") {
		t.Error("a saved digest for a new content")
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	var third Cache
	third.Load(file)
	if len(third.known) != 0 {
		t.Error("a file that others may read or write was trusted")
	}
}

func TestALinkMadeMeanwhileIsNoWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := versionOf(f)
	if err != nil {
		t.Fatal(err)
	}
	// The version that the reader begins with is already an old one.
	if err := os.Link(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	if got, err := sum(f, v); err != nil || got != sha(string(make([]byte, 32<<20))) {
		t.Errorf("%s, %v", got, err)
	}
}
