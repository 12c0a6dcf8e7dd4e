package depsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestManifest(t *testing.T) {
	d := digestOf([]byte("x"))
	m, err := NewManifest([]File{{"b/c", d, 1, 0o600}, {"a b", d, 1, 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseManifest(m.Encode())
	if err != nil || !slices.Equal(back.Files, m.Files) || back.Files[0].Path != "a b" {
		t.Errorf("%v, %v", back, err)
	}
	line := func(s string) string { return manifestHead + d + " 0644 1 " + s + "\n" }
	for name, text := range map[string]string{
		"climbs out": line("../a"), "climbs out later": line("a/../../b"), "absolute": line("/etc/passwd"), "the folder": line("."), "empty": line(""),
		"backslash": line(`a\b`), "control": line("a\x01"), "hidden": line(".git/config"), "hidden below": line("a/.b"), "no UTF-8": line("a\xff"),
		"too long": line(strings.Repeat("a", maxPath+1)),
		"twice":    line("a") + d + " 0644 1 a\n", "out of order": line("b") + d + " 0644 1 a\n", "file and folder": line("a") + d + " 0644 1 a/b\n",
		"mode": manifestHead + d + " 4755 1 a\n", "size": manifestHead + d + " 0644 -1 a\n", "digest": manifestHead + "xyz 0644 1 a\n",
		"another format": "carbonado deployment 2\n", "no end of line": strings.TrimSuffix(line("a"), "\n"), "words": manifestHead + "a\n", "number": manifestHead + d + " 0644 01 a\n",
	} {
		if _, err := ParseManifest([]byte(text)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// point moves the pointer to a manifest that a committer of ill will made.
func (w *world) point(a *machine, text string) {
	w.t.Helper()
	if err := a.Store().Put(digestOf([]byte(text)), -1, strings.NewReader(text)); err != nil {
		w.t.Fatal(err)
	}
	p, version, err := a.pointer(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	p.Generation++
	p.Digest = digestOf([]byte(text))
	if err := a.set(context.Background(), keyCurrent, p, version); err != nil {
		w.t.Fatal(err)
	}
}

func TestAPathThatEscapesIsRefused(t *testing.T) {
	w, a, b, _ := three(t)
	before := content(t, b.folder)
	w.point(a, manifestHead+digestOf([]byte("1"))+" 0644 1 ../escaped\n")
	if err := b.Look(t.Context()); !errors.Is(err, ErrManifest) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(filepath.Join(b.folder, "../escaped")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if got := content(t, b.folder); !maps.Equal(got, before) {
		t.Errorf("%v", got)
	}
	if s := a.sees("b"); s.Behind != 1 || !strings.Contains(s.Problem, "../escaped") {
		t.Errorf("%+v", s)
	}
}

// A folder that is a link to elsewhere is put aside before anything is written through it.
func TestALinkLeadsNowhereElse(t *testing.T) {
	w, a, b, _ := three(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(b.folder, "new")); err != nil {
		t.Fatal(err)
	}
	a.write("new/file", "x")
	a.look()
	b.look()
	w.equal(a, b)
	if list, _ := os.ReadDir(outside); len(list) != 0 {
		t.Errorf("written outside: %v", list)
	}
}

// One node gives rubbish for a content, of the right and of a wrong length; the other's is taken.
func TestATamperedContentIsRefused(t *testing.T) {
	w, a, b, c := three(t)
	d := w.add("d", false)
	for _, evil := range []string{"x", "much longer than it should be", ""} {
		a.write("eventstreams/one.json", "7"+evil)
		a.look()
		b.look()
		digest := digestOf([]byte("7" + evil))
		if err := os.WriteFile(filepath.Join(b.blobs, blobName(digest)), []byte(evil), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Node.sources = func(context.Context) []BlobSource { return []BlobSource{HTTPSource{b.server.URL, d.client}} }
		c.Node.sources = func(context.Context) []BlobSource {
			return []BlobSource{HTTPSource{b.server.URL, c.client}, HTTPSource{a.server.URL, c.client}}
		}
		d.Node.verified = time.Time{}
		if err := d.Look(t.Context()); !errors.Is(err, ErrNoSource) || !errors.Is(err, ErrContent) {
			t.Errorf("%q: %v", evil, err)
		}
		if d.Store().Has(digest) || content(t, d.folder)["eventstreams/one.json"] != "" {
			t.Errorf("%q was taken", evil)
		}
		c.look()
		w.equal(a, c)
	}
}

// A content that the disk has spoilt is seen when it is used, and fetched again.
func TestASpoiltContentIsFetchedAgain(t *testing.T) {
	w, a, b, _ := three(t)
	digest := digestOf([]byte("1"))
	if err := os.WriteFile(filepath.Join(b.blobs, blobName(digest)), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.remove("eventstreams/one.json")
	b.Node.verified = time.Time{}
	if err := b.Look(t.Context()); !errors.Is(err, ErrContent) {
		t.Errorf("%v", err)
	}
	b.look()
	w.equal(a, b)
}

// The node that made a generation is gone: the others give it.
func TestAnyHolderServes(t *testing.T) {
	w, a, b, _ := three(t)
	a.member.Cut()
	a.server.CloseClientConnections()
	d := w.add("d", false)
	d.look()
	w.equal(b, d)
}

func TestMuchGoneIsNotPassedOn(t *testing.T) {
	for name, c := range map[string]struct {
		files, gone int
		whole       bool
		refused     bool
	}{
		"six of ten": {files: 10, gone: 6, refused: true}, "five of ten": {files: 10, gone: 5}, "six of thirty": {files: 30, gone: 6},
		"the folder is empty": {files: 3, whole: true, refused: true}, "all of three": {files: 3, gone: 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.add("a", true), w.add("b", false)
			for i := range c.files {
				a.write(fmt.Sprintf("s/%d", i), fmt.Sprint("content ", i))
			}
			a.look()
			b.look()
			for i := range c.gone {
				a.remove(fmt.Sprintf("s/%d", i))
			}
			if c.whole {
				if err := os.RemoveAll(filepath.Join(a.folder, "s")); err != nil {
					t.Fatal(err)
				}
			}
			err := a.Look(t.Context())
			if errors.Is(err, ErrMuchGone) != c.refused || !c.refused && err != nil {
				t.Fatal(err)
			}
			b.look()
			if c.refused {
				if got := content(t, b.folder); len(got) != c.files {
					t.Errorf("%d files", len(got))
				}
				if s := b.sees("a"); s.Problem == "" {
					t.Errorf("%+v", s)
				}
				if _, err := a.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.look()
			}
			w.equal(a, b)
		})
	}
}

func TestTheFolderLiesElsewhere(t *testing.T) {
	w, a, _, _ := three(t)
	a.Node.kept.Device++
	a.remove("eventstreams/one.json")
	if err := a.Look(t.Context()); !errors.Is(err, ErrMuchGone) {
		t.Errorf("%v", err)
	}
	a.write("eventstreams/one.json", "1") // it is all there: the disk is another, and that is right
	a.look()
	a.remove("eventstreams/one.json")
	a.look()
	if p := w.pointer(); p.Generation != 2 {
		t.Errorf("%+v", p)
	}
}

func TestTheFolderIsMissing(t *testing.T) {
	w, a, b, _ := three(t)
	if err := os.Rename(a.folder, a.folder+"x"); err != nil {
		t.Fatal(err)
	}
	if err := a.Look(t.Context()); !errors.Is(err, ErrMuchGone) {
		t.Errorf("%v", err)
	}
	if err := os.Rename(a.folder+"x", a.folder); err != nil {
		t.Fatal(err)
	}
	a.look()
	if p := w.pointer(); p.Generation != 1 {
		t.Errorf("%+v", p)
	}
	w.equal(a, b)
}

func TestRenamedFilesAreNotGone(t *testing.T) {
	w := newWorld(t)
	a := w.add("a", true)
	for i := range 8 {
		a.write(fmt.Sprintf("s/%d", i), fmt.Sprint("content ", i))
	}
	a.look()
	if err := os.Rename(filepath.Join(a.folder, "s"), filepath.Join(a.folder, "r")); err != nil {
		t.Fatal(err)
	}
	a.look()
}

// A file that is not what Files says, or gone, makes no generation.
func TestAFileThatChangesIsWaitedFor(t *testing.T) {
	w, a, _, _ := three(t)
	for _, files := range []map[string]string{{"eventstreams/one.json": digestOf([]byte("not yet"))}, {"not/there": digestOf([]byte("1"))}} {
		a.Node.files = func() (map[string]string, bool) { return files, true }
		if err := a.Look(t.Context()); !errors.Is(err, ErrChanging) {
			t.Errorf("%v", err)
		}
	}
	if p := w.pointer(); p.Generation != 1 {
		t.Errorf("%+v", p)
	}
	// Files that come together are one generation; one that takes long holds the others up for a while only.
	a.Node.files = func() (map[string]string, bool) { return map[string]string{}, false }
	if err := a.Look(t.Context()); !errors.Is(err, ErrChanging) {
		t.Errorf("%v", err)
	}
	a.Node.partial = time.Now().Add(-partialMost)
	a.look()
	if p := w.pointer(); p.Generation != 2 {
		t.Errorf("%+v", p)
	}
}

// The shared state was lost: numbers go on, and a follower takes nothing older.
func TestTheSharedStateIsLost(t *testing.T) {
	w, a, b, c := three(t)
	a.write("eventstreams/one.json", "1 anew")
	for _, m := range []*machine{a, b, c} {
		m.look()
	}
	v, err := a.member.Get(t.Context(), keyCurrent)
	if err != nil {
		t.Fatal(err)
	}
	old := Pointer{Generation: 1, Digest: digestOf([]byte("?")), Committer: "a"}
	if err := a.set(t.Context(), keyCurrent, old, v.Version); err != nil {
		t.Fatal(err)
	}
	if err := b.Look(t.Context()); !errors.Is(err, ErrOlder) {
		t.Errorf("%v", err)
	}
	w.equal(a, b)
	if _, err := a.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.look()
	if p := w.pointer(); p.Generation != 3 || a.sees("b").Generation != 3 {
		t.Errorf("%+v", p)
	}
}

// A committer whose store was lost, or whose folder is that of an old backup, takes the present generation over first; what it had of its
// own is put aside.
func TestACommitterThatDoesNotStemFromThePresent(t *testing.T) {
	w, a, b, _ := three(t)
	a.stop()
	if err := os.RemoveAll(a.blobs); err != nil {
		t.Fatal(err)
	}
	a.write("eventstreams/one.json", "an old one")
	a.start()
	stale, _ := a.files()
	a.look()
	w.equal(a, b)
	if kept := aside(t, a); len(kept) != 1 || kept[0] != "one.json=an old one" {
		t.Errorf("put aside: %v", kept)
	}
	// Hot deployment has not seen yet what was written.
	a.Node.files = func() (map[string]string, bool) { return stale, true }
	if err := a.Look(t.Context()); !errors.Is(err, ErrChanging) {
		t.Errorf("%v", err)
	}
	a.Node.files = a.files
	a.look()
	if p := w.pointer(); p.Generation != 1 {
		t.Errorf("%+v", p)
	}
}

// A node that is the whole cluster takes the place of the one that it was before.
func TestAloneTakesOver(t *testing.T) {
	w := newWorld(t)
	a := w.add("a", true)
	a.write("x", "1")
	a.look()
	b := w.add("b", true)
	b.write("x", "2")
	b.Node.alone = true
	if err := b.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := b.sees("b"); !s.Committer || s.Generation != 2 || content(t, b.folder)["x"] != "2" {
		t.Errorf("%+v", s)
	}
	if err := a.member.Close(); err != nil {
		t.Fatal(err)
	}
	if list, err := b.Nodes(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestFiveGenerationsAreKept(t *testing.T) {
	w, a, b, _ := three(t)
	for i := range 8 {
		a.write("eventstreams/one.json", fmt.Sprint("number ", i))
		a.look()
		b.look()
	}
	// Ages are those of files, which the world's clock does not move.
	w.later(20 * 365 * 24 * time.Hour)
	a.write("eventstreams/one.json", "the last")
	a.look()
	b.look()
	for _, m := range []*machine{a, b} {
		k, err := m.Store().load()
		if err != nil || len(k.Generations) != keptGenerations || k.Generations[0].Generation != 10 || k.Generations[4].Generation != 6 {
			t.Fatalf("%+v, %v", k, err)
		}
		for i := range 8 {
			if kept := m.Store().Has(digestOf(fmt.Append(nil, "number ", i))); kept != (i >= 4) {
				t.Errorf("%s: number %d is kept: %t", m.id, i, kept)
			}
		}
		for _, g := range k.Generations {
			if _, err := m.Store().manifest(g.Digest); err != nil {
				t.Errorf("generation %d: %v", g.Generation, err)
			}
		}
	}
}
