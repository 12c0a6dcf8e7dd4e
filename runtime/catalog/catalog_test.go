package catalog_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/sdk/cause"
)

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// source makes a package's folder as it is built.
func source(t *testing.T, name, version, program string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "component.yaml"), "name: "+name+"\nversion: "+version+"\nsummary: x\nexecutable: bin/"+name+"\n", 0o644)
	write(t, filepath.Join(dir, "bin", name), program, 0o755)
	write(t, filepath.Join(dir, "README.md"), "# "+name+"\n", 0o600)
	return dir
}

func install(t *testing.T, c *catalog.Catalog, dir string) *catalog.Package {
	t.Helper()
	p, err := c.Install(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if p.Cause != nil {
		t.Fatalf("just installed, and yet: %s", p.Cause)
	}
	return p
}

func scan(t *testing.T, c *catalog.Catalog) []*catalog.Package {
	t.Helper()
	out, err := c.Scan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestInstallAndScan(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	if got := scan(t, c); len(got) != 0 {
		t.Fatalf("no folder, and yet %v", got)
	}
	p := install(t, c, source(t, "Hello", "1.0.0", "#!/bin/sh\necho 1\n"))
	if p.Dir != filepath.Join(home, "plugins", "Hello", "1.0.0") || len(p.Digest) != 64 {
		t.Errorf("%+v", p)
	}
	var paths []string
	for _, f := range p.Files {
		paths = append(paths, f.Path+" "+f.Mode.String())
	}
	if want := []string{"README.md -rw-r--r--", "bin/Hello -rwxr-xr-x", "component.yaml -rw-r--r--"}; !slices.Equal(paths, want) {
		t.Errorf("files %v", paths)
	}
	install(t, c, source(t, "Hello", "1.10.0", "#!/bin/sh\necho 2\n"))
	install(t, c, source(t, "Hello", "1.9.0", "#!/bin/sh\necho 3\n"))
	install(t, c, source(t, "Abc", "0.1.0", "#!/bin/sh\n"))
	var got []string
	all := scan(t, catalog.At(home))
	for _, p := range all {
		got = append(got, p.Name+" "+p.Version)
		if p.Cause != nil {
			t.Errorf("%s %s: %s", p.Name, p.Version, p.Cause)
		}
	}
	if want := []string{"Abc 0.1.0", "Hello 1.10.0", "Hello 1.9.0", "Hello 1.0.0"}; !slices.Equal(got, want) {
		t.Errorf("scanned %v", got)
	}
	if chosen := catalog.Choose(all); len(chosen) != 2 || chosen[1].Version != "1.10.0" {
		t.Errorf("chose %v", chosen)
	}
	if names, err := c.Names(); err != nil || !slices.Equal(names, []string{"Abc", "Hello"}) {
		t.Errorf("names %v, %v", names, err)
	}
}

func TestInstallAgain(t *testing.T) {
	c := catalog.At(t.TempDir())
	src := source(t, "Hello", "1.0.0", "one")
	first := install(t, c, src)
	stat := func() os.FileInfo {
		info, err := os.Stat(filepath.Join(first.Dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	before := stat()
	if again := install(t, c, src); again.Digest != first.Digest || !os.SameFile(before, stat()) {
		t.Error("the same content was installed anew")
	}
	write(t, filepath.Join(src, "bin", "Hello"), "two", 0o755)
	second := install(t, c, src)
	if second.Digest == first.Digest {
		t.Error("new content has the old digest")
	}
	// A damaged package of the same content is repaired.
	write(t, filepath.Join(second.Dir, "README.md"), "# changed\n", 0o644)
	install(t, c, src)
	left, err := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(second.Dir))))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if n := e.Name(); n != "Hello" && n != ".blobs" && n != ".lock" {
			t.Errorf("left behind: %s", n)
		}
	}
	if blobs, _ := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(second.Dir)), ".blobs")); len(blobs) != 1 {
		t.Errorf("%d executables are kept, 1 is in use", len(blobs))
	}
}

// TestOneInode: a multi-call executable is on disk once, however many packages have it.
func TestOneInode(t *testing.T) {
	c := catalog.At(t.TempDir())
	a := install(t, c, source(t, "A", "1.0.0", "the same program"))
	b := install(t, c, source(t, "B", "1.0.0", "the same program"))
	x, err := os.Stat(filepath.Join(a.Dir, "bin", "A"))
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(filepath.Join(b.Dir, "bin", "B"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(x, y) {
		t.Error("two files")
	}
	if err := c.Uninstall("A", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, c); len(got) != 1 || got[0].Cause != nil {
		t.Errorf("%v", got)
	}
}

func TestTampering(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(t *testing.T, dir string)
		kind   *cause.Kind
		text   string
	}{
		{"executable", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "bin", "Hello"), "evil", 0o755) }, catalog.ErrDigest, "plugins/Hello/1.0.0/bin/Hello has the SHA-256"},
		{"other file", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "README.md"), "# Hallo\n", 0o644) }, catalog.ErrDigest, "README.md has the SHA-256"},
		{"added file", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "lib", "x.so"), "x", 0o644) }, catalog.ErrFiles, "plugins/Hello/1.0.0/lib/x.so was not installed"},
		{"removed file", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "README.md"))) }, catalog.ErrFiles, "README.md is missing"},
		{"link out", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "README.md")))
			must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "README.md")))
		}, catalog.ErrSymlink, "README.md is a symbolic link"},
		{"link within", func(t *testing.T, dir string) { must(t, os.Symlink("README.md", filepath.Join(dir, "x"))) }, catalog.ErrSymlink, "x is a symbolic link"},
		{"link for the executable", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "bin", "Hello")))
			must(t, os.Symlink("/bin/sh", filepath.Join(dir, "bin", "Hello")))
		}, catalog.ErrSymlink, "bin/Hello is a symbolic link"},
		{"pipe", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "README.md")))
			must(t, syscall.Mkfifo(filepath.Join(dir, "README.md"), 0o644))
		}, catalog.ErrDigest, "README.md"},
		{"no record", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "package.lock"))) }, catalog.ErrLock, "has no package.lock"},
		{"damaged record", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "package.lock"), "x\n", 0o644) }, catalog.ErrLock, "is damaged"},
		{"no descriptor", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "component.yaml"))) }, catalog.ErrDescriptor, "has no component.yaml"},
		{"another version's folder", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "component.yaml"), "name: Hello\nversion: 2.0.0\nsummary: x\nexecutable: bin/Hello\n", 0o644)
		}, catalog.ErrFolder, "the folder is Hello/1.0.0, but the descriptor says Hello 2.0.0"},
		{"link for the folder", func(t *testing.T, dir string) {
			must(t, os.Rename(dir, dir+"-real"))
			must(t, os.Symlink(dir+"-real", dir))
		}, catalog.ErrSymlink, "is a symbolic link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cat := catalog.At(t.TempDir())
			p := install(t, cat, source(t, "Hello", "1.0.0", "good"))
			c.tamper(t, p.Dir)
			got := scan(t, cat)
			i := slices.IndexFunc(got, func(p *catalog.Package) bool { return p.Version == "1.0.0" })
			if i < 0 || got[i].Cause == nil {
				t.Fatalf("not noticed: %+v", got)
			}
			if x := got[i].Cause; x.Code != c.kind.ID() || !strings.Contains(x.Text, c.text) || x.Fix == "" {
				t.Errorf("%s (fix %q), want %s %s", x, x.Fix, c.kind.ID(), c.text)
			}
			if i > 0 || len(catalog.Choose(got)) != 1 {
				t.Errorf("chosen: %v", catalog.Choose(got))
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpenExecutable: what was checked is what is executed, also where the file was changed after the scan.
func TestOpenExecutable(t *testing.T) {
	c := catalog.At(t.TempDir())
	p := install(t, c, source(t, "Hello", "1.0.0", "good"))
	f, err := c.OpenExecutable(p)
	must(t, err)
	defer f.Close()
	// Another file takes the name; the open one is still the good one.
	must(t, os.Rename(filepath.Join(p.Dir, "bin", "Hello"), filepath.Join(t.TempDir(), "old")))
	write(t, filepath.Join(p.Dir, "bin", "Hello"), "evil", 0o755)
	if b, err := io.ReadAll(f); err != nil || string(b) != "good" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := c.OpenExecutable(p); !errors.Is(err, catalog.ErrDigest) {
		t.Errorf("the exchanged executable: %v", err)
	}
	if err := c.Verify(p); !errors.Is(err, catalog.ErrDigest) {
		t.Errorf("verified: %v", err)
	}
}

// TestSameSizeSameTime: a change that keeps size and modification time is seen, also right after a scan has hashed the file.
func TestSameSizeSameTime(t *testing.T) {
	c := catalog.At(t.TempDir())
	p := install(t, c, source(t, "Hello", "1.0.0", "good"))
	path := filepath.Join(p.Dir, "bin", "Hello")
	for _, content := range []string{"evil", "EVIL", "good", "bad!"} {
		info, err := os.Stat(path)
		must(t, err)
		must(t, os.WriteFile(path, []byte(content), 0o755))
		must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		if bad := c.Verify(p) != nil; bad != (content != "good") {
			t.Errorf("%q: refused %t", content, bad)
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, dir string)
		kind   error
		text   string
	}{
		{"no descriptor", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "component.yaml"))) }, catalog.ErrInstall, "has no component.yaml"},
		{"no executable", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "bin", "Hello"))) }, catalog.ErrExecutable, "no executable bin/Hello"},
		{"executable without x", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "bin", "Hello"), 0o644)) }, catalog.ErrExecutable, "no executable bin/Hello"},
		{"link out", func(t *testing.T, dir string) { must(t, os.Symlink("../../../../etc/passwd", filepath.Join(dir, "x"))) }, catalog.ErrSymlink, "x is a symbolic link"},
		{"absolute link", func(t *testing.T, dir string) { must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "x"))) }, catalog.ErrSymlink, "x is a symbolic link"},
		{"link to a folder outside", func(t *testing.T, dir string) { must(t, os.Symlink("/etc", filepath.Join(dir, "x"))) }, catalog.ErrSymlink, "x is a symbolic link"},
		{"pipe", func(t *testing.T, dir string) { must(t, syscall.Mkfifo(filepath.Join(dir, "x"), 0o644)) }, catalog.ErrInstall, "x is no regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			cat := catalog.At(home)
			src := source(t, "Hello", "1.0.0", "good")
			c.change(t, src)
			_, err := cat.Install(context.Background(), src)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %s", err, c.text)
			}
			left, _ := os.ReadDir(filepath.Join(home, "plugins"))
			for _, e := range left {
				if e.Name() != ".lock" && e.Name() != ".blobs" {
					t.Errorf("left behind: %s", e.Name())
				}
			}
		})
	}
}

func TestLinkWithinBecomesAFile(t *testing.T) {
	c := catalog.At(t.TempDir())
	src := source(t, "Hello", "1.0.0", "good")
	must(t, os.Symlink("README.md", filepath.Join(src, "LICENSE")))
	p := install(t, c, src)
	info, err := os.Lstat(filepath.Join(p.Dir, "LICENSE"))
	if err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
}

// TestFailedReplacementLeavesTheOldOne: a new build of the same version that is refused changes nothing.
func TestFailedReplacementLeavesTheOldOne(t *testing.T) {
	c := catalog.At(t.TempDir())
	src := source(t, "Hello", "1.0.0", "good")
	p := install(t, c, src)
	must(t, os.Symlink("/etc/passwd", filepath.Join(src, "x")))
	if _, err := c.Install(context.Background(), src); !errors.Is(err, catalog.ErrSymlink) {
		t.Fatal(err)
	}
	if got, err := c.Get("Hello", "1.0.0"); err != nil || got.Cause != nil || got.Digest != p.Digest {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestUninstallAndKnownNames(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	install(t, c, source(t, "Hello", "1.0.0", "x"))
	install(t, c, source(t, "Other", "1.0.0", "y"))
	must(t, c.Uninstall("Hello", "1.0.0"))
	if err := c.Uninstall("Hello", "1.0.0"); !errors.Is(err, catalog.ErrUnknown) {
		t.Errorf("twice: %v", err)
	}
	for _, wrong := range []string{"..", "", "../../etc"} {
		if err := c.Uninstall(wrong, "passwd"); !errors.Is(err, catalog.ErrUnknown) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if names, _ := c.Names(); !slices.Equal(names, []string{"Other"}) {
		t.Errorf("installed %v", names)
	}
	if known, err := catalog.At(home).Known(); err != nil || !slices.Equal(known, []string{"Hello", "Other"}) {
		t.Errorf("known %v, %v", known, err)
	}
	must(t, c.Remember("Copied", "Hello"))
	if known, _ := c.Known(); !slices.Equal(known, []string{"Copied", "Hello", "Other"}) {
		t.Errorf("known %v", known)
	}
}

// TestExamplesAreNoPackages: plugins/examples holds sources.
func TestExamplesAreNoPackages(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, "plugins", "examples", "1.0.0", "component.yaml"), "x", 0o644)
	write(t, filepath.Join(home, "plugins", "Hello", "notes.txt"), "x", 0o644)
	write(t, filepath.Join(home, "plugins", "README.md"), "x", 0o644)
	if got := scan(t, catalog.At(home)); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func FuzzLock(f *testing.F) {
	f.Add("carbonado package 1\n" + strings.Repeat("a", 64) + " 0755 3 bin/x\n")
	f.Add("carbonado package 1\n" + strings.Repeat("a", 64) + " 0755 3 ../x\n")
	f.Fuzz(func(t *testing.T, lock string) {
		cat := catalog.At(t.TempDir())
		p := install(t, cat, source(t, "Hello", "1.0.0", "good"))
		record, err := os.ReadFile(filepath.Join(p.Dir, "package.lock"))
		must(t, err)
		write(t, filepath.Join(p.Dir, "package.lock"), lock, 0o644)
		if got, err := cat.Get("Hello", "1.0.0"); err != nil || got.Cause == nil && lock != string(record) {
			t.Fatalf("%q passed for the record: %+v, %v", lock, got, err)
		}
	})
}

// A package that is uninstalled while it is read is not there; it is not one that is damaged.
func TestScanDuringAnUninstall(t *testing.T) {
	c := catalog.At(t.TempDir())
	dir := source(t, "A", "1.0.0", "#!/bin/sh\n")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 100 {
			if _, err := c.Install(t.Context(), dir); err != nil {
				t.Error(err)
			}
			if err := c.Uninstall("A", "1.0.0"); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		packages, err := c.Scan(t.Context())
		if err != nil {
			t.Error(err)
		}
		for _, p := range packages {
			if p.Cause != nil {
				t.Errorf("%s: %s", p.Name, p.Cause.Text)
			}
		}
		select {
		case <-ended:
			return
		default:
		}
	}
}
