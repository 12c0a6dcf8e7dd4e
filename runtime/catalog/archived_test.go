package catalog_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/trust"
	"carbonado.dev/sdk/cause"
)

func pack(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.carbonado")
	if _, err := catalog.Pack(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func opened(t *testing.T, file string) *catalog.Archived {
	t.Helper()
	a, err := catalog.OpenArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func signer(t *testing.T) (public string, k *trust.Key) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "acme")
	if _, err := trust.MakeKey(file, ""); err != nil {
		t.Fatal(err)
	}
	k, err := trust.ReadKey(file, "")
	if err != nil {
		t.Fatal(err)
	}
	return file + ".pub", k
}

// left gives what lies in plugins/ beside packages.
func left(t *testing.T, home string) []string {
	t.Helper()
	var out []string
	entries, _ := os.ReadDir(filepath.Join(home, "plugins"))
	for _, e := range entries {
		if n := e.Name(); n != ".blobs" && n != ".lock" {
			out = append(out, n)
		}
	}
	return out
}

func TestPackSignInstall(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	src := source(t, "Hello", "1.0.0", "#!/bin/sh\necho 1\n")
	write(t, filepath.Join(src, ".git", "config"), "hidden", 0o644)
	write(t, filepath.Join(src, "old.carbonado"), "a package made earlier", 0o644)
	file := pack(t, src)
	one, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := os.ReadFile(pack(t, src)); err != nil || !bytes.Equal(one, two) {
		t.Errorf("the same folder gives other bytes: %v", err)
	}
	a := opened(t, file)
	if a.Name != "Hello" || a.Version != "1.0.0" || len(a.Files) != 3 || len(a.Signature) != 0 {
		t.Fatalf("%+v", a.Package)
	}
	if err := a.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	public, key := signer(t)
	if err := catalog.Sign(file, key); err != nil {
		t.Fatal(err)
	}
	if err := catalog.Sign(file, key); err != nil { // again: one signature stays
		t.Fatal(err)
	}
	a = opened(t, file)
	who, err := trust.ReadPublic(public)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := trust.Only(who).Dropped(a.Lock, a.Signature); err != nil || v.Signer == nil {
		t.Errorf("%s %v", v, err)
	}

	// As a dropped file the installed package needs its signer to stay trusted.
	if _, err := trust.Trust(home, public); err != nil {
		t.Fatal(err)
	}
	o := catalog.Origin{Dropin: "components/dropins/x.carbonado", Archive: "d1"}
	p, err := c.InstallArchive(t.Context(), a, o)
	if err != nil || p.Cause != nil || p.Digest != a.Digest || p.Origin != o || p.Signature.Signer == nil {
		t.Fatalf("%+v %v", p, err)
	}
	folder := install(t, catalog.At(t.TempDir()), src)
	if folder.Digest != p.Digest {
		t.Error("folder and archive of one package have two identities")
	}
	if _, err := trust.Distrust(home, who.ID); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, c); len(got) != 1 || got[0].Cause == nil || got[0].Cause.Code != trust.ErrUnknownSigner.ID() {
		t.Errorf("%+v", got[0].Cause)
	}

	// The folder form keeps its signature; laid there by hand it runs all the same.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(p.Dir)); err != nil {
		t.Fatal(err)
	}
	second := install(t, catalog.At(t.TempDir()), copied)
	if !second.Signature.Signed || second.Signature.Key != key.ID() || second.Origin != (catalog.Origin{}) {
		t.Errorf("%+v", second)
	}
}

// TestSameVersion: the same dropped file may bring another content of a version, nobody else may.
func TestSameVersion(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	write(t, filepath.Join(home, trust.PolicyFile), "dropins: {unsigned: accept}\n", 0o644)
	first, second := opened(t, pack(t, source(t, "Hello", "1.0.0", "one"))), opened(t, pack(t, source(t, "Hello", "1.0.0", "two")))
	a := catalog.Origin{Dropin: "components/dropins/a.carbonado", Archive: "1"}
	p, err := c.InstallArchive(t.Context(), first, a)
	if err != nil || p.Cause != nil {
		t.Fatal(err, p.Cause)
	}
	if _, err := c.InstallArchive(t.Context(), second, catalog.Origin{Dropin: "components/dropins/b.carbonado"}); !errors.Is(err, catalog.ErrTaken) {
		t.Errorf("another file replaced it: %v", err)
	}
	if p, err = c.InstallArchive(t.Context(), second, a); err != nil || p.Digest != second.Digest || p.Cause != nil {
		t.Errorf("%v %v", err, p)
	}
	if err := c.Uninstall("Hello", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	byHand := install(t, c, source(t, "Hello", "1.0.0", "one"))
	if _, err := c.InstallArchive(t.Context(), second, a); !errors.Is(err, catalog.ErrTaken) {
		t.Errorf("what was laid by hand was replaced: %v", err)
	}
	if p, err := c.InstallArchive(t.Context(), first, a); err != nil || p.Digest != byHand.Digest || p.Origin.Dropin != "" {
		t.Errorf("the same content: %v %+v", err, p)
	}
}

func TestBarred(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	old := source(t, "Hello", "1.0.0", "one")
	install(t, c, old)
	write(t, filepath.Join(home, trust.PolicyFile), "minimum: {Hello: {version: 1.0.1, reason: ACME-7}}\n", 0o644)
	if got := scan(t, c); got[0].Cause == nil || got[0].Cause.Code != trust.ErrBarred.ID() {
		t.Errorf("%+v", got[0])
	}
	if _, err := c.Install(t.Context(), old); !errors.Is(err, trust.ErrBarred) {
		t.Error(err)
	}
	if _, err := c.InstallArchive(t.Context(), opened(t, pack(t, old)), catalog.Origin{}); !errors.Is(err, trust.ErrBarred) {
		t.Error(err)
	}
	install(t, c, source(t, "Hello", "1.0.1", "one"))
}

// rewritten is a package file whose members went through change; nil drops one.
func rewritten(t *testing.T, file string, change func(name string, content []byte) []byte, more map[string]string) string {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var b bytes.Buffer
	w := archive.NewWriter(&b)
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if content = change(f.Name, content); content == nil {
			continue
		}
		if err := w.Add(f.Name, f.Mode()&0o111 != 0, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	for n, c := range more {
		if err := w.AddBytes(n, []byte(c)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "changed.carbonado")
	write(t, out, b.String(), 0o644)
	return out
}

// TestDamagedPackages: whatever is wrong with a package file, it is refused with a code and plugins/ stays as it was.
func TestDamagedPackages(t *testing.T) {
	good := pack(t, source(t, "Hello", "1.0.0", "#!/bin/sh\n"))
	same := func(_ string, c []byte) []byte { return c }
	on := func(name string, do func([]byte) []byte) func(string, []byte) []byte {
		return func(n string, c []byte) []byte {
			if n == name {
				return do(c)
			}
			return c
		}
	}
	drop := func([]byte) []byte { return nil }
	cut := func(t *testing.T) string {
		data, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "cut.carbonado")
		write(t, file, string(data[:len(data)/2]), 0o644)
		return file
	}
	for _, c := range []struct {
		name string
		file func(t *testing.T) string
		kind *cause.Kind
	}{
		{"half", cut, archive.ErrStructure},
		{"case 15: a member ../x", func(t *testing.T) string { return rewritten(t, good, same, map[string]string{"../x": "x"}) }, archive.ErrName},
		{"no record", func(t *testing.T) string { return rewritten(t, good, on("package.lock", drop), nil) }, catalog.ErrArchive},
		{"another record", func(t *testing.T) string {
			return rewritten(t, good, on("package.lock", func(c []byte) []byte { return append(c, '\n') }), nil)
		}, catalog.ErrArchive},
		{"a file more", func(t *testing.T) string { return rewritten(t, good, same, map[string]string{"evil": "x"}) }, catalog.ErrArchive},
		{"an origin", func(t *testing.T) string { return rewritten(t, good, same, map[string]string{"package.origin": "{}"}) }, catalog.ErrArchive},
		{"a file less", func(t *testing.T) string { return rewritten(t, good, on("README.md", drop), nil) }, catalog.ErrArchive},
		{"another size", func(t *testing.T) string {
			return rewritten(t, good, on("README.md", func([]byte) []byte { return []byte("x") }), nil)
		}, catalog.ErrArchive},
		{"another content", func(t *testing.T) string {
			return rewritten(t, good, on("README.md", func(c []byte) []byte { return bytes.ToUpper(c) }), nil)
		}, catalog.ErrDigest},
		{"another program", func(t *testing.T) string {
			return rewritten(t, good, on("bin/Hello", func(c []byte) []byte { return []byte("#!/bin/SH\n") }), nil)
		}, catalog.ErrDigest},
		{"another descriptor", func(t *testing.T) string {
			return rewritten(t, good, on("component.yaml", func(c []byte) []byte { return bytes.Replace(c, []byte("1.0.0"), []byte("1.0.1"), 1) }), nil)
		}, catalog.ErrDigest},
		{"no file", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, catalog.ErrArchive},
		{"a folder", func(t *testing.T) string { return t.TempDir() }, catalog.ErrArchive},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			cat := catalog.At(home)
			running := install(t, cat, source(t, "Hello", "0.9.0", "old"))
			err := func() error {
				a, err := catalog.OpenArchive(c.file(t))
				if err != nil {
					return err
				}
				defer a.Close()
				verr := a.Verify(t.Context())
				_, err = cat.InstallArchive(t.Context(), a, catalog.Origin{})
				if (err == nil) != (verr == nil) {
					t.Errorf("verify: %v, install: %v", verr, err)
				}
				return err
			}()
			if !errors.Is(err, c.kind) {
				t.Errorf("%v, want %s", err, c.kind.ID())
			}
			if got := scan(t, cat); len(got) != 1 || got[0].Digest != running.Digest || got[0].Cause != nil {
				t.Errorf("%+v", got)
			}
			if l := left(t, home); len(l) != 1 {
				t.Errorf("left behind: %v", l)
			}
			if b, _ := os.ReadDir(filepath.Join(home, "plugins", ".blobs")); len(b) != 1 {
				t.Errorf("%d executables kept", len(b))
			}
		})
	}
}

func TestPlatforms(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "component.yaml"), "name: Hello\nversion: 1.0.0\nsummary: x\nexecutable: bin/Hello\n", 0o644)
	write(t, filepath.Join(dir, "bin", "plan9-mips", "Hello"), "other", 0o755)
	a := opened(t, pack(t, dir))
	if err := a.CheckPlatform(); !errors.Is(err, catalog.ErrPlatform) || !strings.Contains(err.Error(), "plan9-mips") || !strings.Contains(err.Error(), catalog.Platform) {
		t.Errorf("%v", err)
	}
	if _, err := catalog.At(t.TempDir()).InstallArchive(t.Context(), a, catalog.Origin{}); !errors.Is(err, catalog.ErrPlatform) {
		t.Error(err)
	}
	write(t, filepath.Join(dir, "bin", catalog.Platform, "Hello"), "ours", 0o755)
	a = opened(t, pack(t, dir))
	p, err := catalog.At(t.TempDir()).InstallArchive(t.Context(), a, catalog.Origin{})
	if err != nil || p.Cause != nil || p.Descriptor.Executable != "bin/"+catalog.Platform+"/Hello" {
		t.Errorf("%v %+v", err, p)
	}
	// A program says itself for which machine it is.
	for text, want := range map[string]string{
		"\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xf3\x00\x01" + strings.Repeat("\x00", 50): "linux-riscv64",
		"MZ\x90\x00 and so on": "windows", "\xcf\xfa\xed\xfe and so on": "darwin",
	} {
		src := source(t, "Hello", "1.0.0", text)
		_, err := catalog.At(t.TempDir()).Install(t.Context(), src)
		if !errors.Is(err, catalog.ErrPlatform) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	public, _ := signer(t)
	secret, err := os.ReadFile(strings.TrimSuffix(public, ".pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(dir string){
		"secret key":     func(dir string) { write(t, filepath.Join(dir, "key"), string(secret), 0o600) },
		"neither bin":    func(dir string) { os.Remove(filepath.Join(dir, "bin", "Hello")) },
		"component.yaml": func(dir string) { os.Remove(filepath.Join(dir, "component.yaml")) },
		"links":          func(dir string) { os.Symlink("/etc/passwd", filepath.Join(dir, "x")) },
		"letter case":    func(dir string) { write(t, filepath.Join(dir, "readme.MD"), "x", 0o644) },
		"the contract": func(dir string) {
			write(t, filepath.Join(dir, "component.yaml"), "name: Hello\nversion: 1.0.0\nsummary: x\nexecutable: bin/Hello\nprovides: [{service: a.v1.B, version: 1.0.0, contract: b.binpb}]\n", 0o644)
		},
	} {
		dir := source(t, "Hello", "1.0.0", "x")
		spoil(dir)
		out := filepath.Join(t.TempDir(), "x.carbonado")
		if _, err := catalog.Pack(t.Context(), dir, out); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: a file was left", name)
		}
	}
}

// TestInterrupted: what a killed install left is gone with the next one, and a cancelled one leaves nothing.
func TestInterrupted(t *testing.T) {
	home := t.TempDir()
	c := catalog.At(home)
	write(t, filepath.Join(home, "plugins", ".stage-1", "bin", "x"), "half", 0o755)
	write(t, filepath.Join(home, "plugins", ".gone-1", "package", "x"), "half", 0o755)
	a := opened(t, pack(t, source(t, "Hello", "1.0.0", "x")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.InstallArchive(ctx, a, catalog.Origin{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if l := left(t, home); len(l) != 0 {
		t.Errorf("left behind: %v", l)
	}
}

// FuzzReadArchive: no bytes make the reader of packages panic, and what it takes installs or is refused with a code.
func FuzzReadArchive(f *testing.F) {
	dir := f.TempDir()
	for name, text := range map[string]string{"component.yaml": "name: A\nversion: 1.0.0\nsummary: x\nexecutable: bin/A\n", "bin/A": "#!/bin/sh\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755)); err != nil {
			f.Fatal(err)
		}
	}
	file := filepath.Join(f.TempDir(), "a.carbonado")
	if _, err := catalog.Pack(f.Context(), dir, file); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "x.carbonado")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		a, err := catalog.OpenArchive(file)
		if err == nil {
			defer a.Close()
			_, err = catalog.At(t.TempDir()).InstallArchive(t.Context(), a, catalog.Origin{})
		}
		if err != nil && cause.From(err).Code() == cause.Unknown.ID() {
			t.Fatalf("an error without a code: %v", err)
		}
	})
}
