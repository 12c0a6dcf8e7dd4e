package dropins_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/dropins"
	"carbonado.dev/carbonado/runtime/trust"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// world is an installation with one trusted signer.
type world struct {
	t        *testing.T
	home     string
	key      *trust.Key
	deployer *dropins.Deployer
	changes  int
	released []string
}

func newWorld(t *testing.T, home string) *world {
	t.Helper()
	w := &world{t: t, home: home}
	file := filepath.Join(t.TempDir(), "acme")
	_, err := trust.MakeKey(file, "")
	w.check(err)
	w.key, err = trust.ReadKey(file, "")
	w.check(err)
	_, err = trust.Trust(home, file+".pub")
	w.check(err)
	w.check(os.MkdirAll(filepath.Join(home, "repository", deploy.DropinsRoot), 0o755))
	w.open()
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open is a start of the kernel.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.deployer, err = dropins.New(w.t.Context(), dropins.Options{
		Home: w.home, Catalog: func() *catalog.Catalog { return catalog.At(w.home) }, Changed: func() { w.changes++ }, Reconsider: func() {},
		Release: func(_ context.Context, name, version string) error {
			w.released = append(w.released, name+" "+version)
			return nil
		},
		Log: hclog.NewNullLogger(),
	})
	w.check(err)
}

// packed is a signed package file.
func (w *world) packed(name, version, program string) []byte {
	w.t.Helper()
	dir := w.t.TempDir()
	w.check(os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	w.check(os.WriteFile(filepath.Join(dir, "component.yaml"), []byte("name: "+name+"\nversion: "+version+"\nsummary: x\nexecutable: bin/"+name+"\n"), 0o644))
	w.check(os.WriteFile(filepath.Join(dir, "bin", name), []byte(program), 0o755))
	file := filepath.Join(w.t.TempDir(), "x.carbonado")
	_, err := catalog.Pack(w.t.Context(), dir, file)
	w.check(err)
	w.check(catalog.Sign(file, w.key))
	data, err := os.ReadFile(file)
	w.check(err)
	return data
}

func (w *world) path(file string) string {
	return filepath.Join(w.home, "repository", deploy.DropinsRoot, file)
}

// drop writes a file and hands it over, as hot deployment does.
func (w *world) drop(file string, data []byte) *controlv1.DeployResponse {
	w.t.Helper()
	w.check(os.WriteFile(w.path(file), data, 0o644))
	sum := sha256.Sum256(data)
	r := &controlv1.DeployRequest{Artifact: &controlv1.Artifact{Path: deploy.DropinsRoot + "/" + file, Digest: hex.EncodeToString(sum[:])}}
	if resp, err := w.deployer.Validate(w.t.Context(), r); err != nil || resp.State != controlv1.DeployResponse_STATE_DEPLOYED {
		w.check(err)
		return resp
	}
	resp, err := w.deployer.Update(w.t.Context(), r)
	w.check(err)
	return resp
}

func (w *world) want(resp *controlv1.DeployResponse, state controlv1.DeployResponse_State, code string) {
	w.t.Helper()
	if resp.State != state || resp.GetCause().GetCode() != code {
		w.t.Errorf("%v, want %s %s", resp, state, code)
	}
}

// chosen are the packages that would run, and how many there are in all.
func (w *world) chosen() (names []string, all int) {
	w.t.Helper()
	list, err := catalog.At(w.home).Scan(w.t.Context())
	w.check(err)
	for _, p := range catalog.Choose(list) {
		names = append(names, p.Name+" "+p.Version)
	}
	return names, len(list)
}

const (
	deployed = controlv1.DeployResponse_STATE_DEPLOYED
	waiting  = controlv1.DeployResponse_STATE_WAITING
	faulty   = controlv1.DeployResponse_STATE_FAULTY
)

func TestOneFile(t *testing.T) {
	w := newWorld(t, t.TempDir())
	first, second := w.packed("Hello", "1.0.0", "one"), w.packed("Hello", "1.1.0", "two")
	w.want(w.drop("a.carbonado", first), deployed, "")
	changes := w.changes
	w.want(w.drop("a.carbonado", first), deployed, "")
	if w.changes != changes {
		t.Error("the same file again changed something")
	}
	// A new version: the old one stays on disk, not chosen, until its process is gone.
	w.want(w.drop("a.carbonado", second), deployed, "")
	if names, all := w.chosen(); !slices.Equal(names, []string{"Hello 1.1.0"}) || all != 2 {
		t.Errorf("%v of %d", names, all)
	}
	if !w.deployer.Sweep(t.Context(), func(string) string { return "1.0.0" }) {
		t.Error("what runs was swept")
	}
	if w.deployer.Sweep(t.Context(), func(string) string { return "1.1.0" }) {
		t.Error("something is left")
	}
	if _, all := w.chosen(); all != 1 {
		t.Errorf("%d packages", all)
	}
	// Back to the lower version: what the file says holds.
	w.want(w.drop("a.carbonado", first), deployed, "")
	if names, _ := w.chosen(); !slices.Equal(names, []string{"Hello 1.0.0"}) {
		t.Errorf("%v", names)
	}
	// The same version with another content.
	w.want(w.drop("a.carbonado", w.packed("Hello", "1.0.0", "three")), deployed, "")
	if got, err := os.ReadFile(filepath.Join(w.home, "plugins/Hello/1.0.0/bin/Hello")); err != nil || string(got) != "three" {
		t.Errorf("%q %v", got, err)
	}
	// A file that brings another component instead.
	w.want(w.drop("a.carbonado", w.packed("Other", "1.0.0", "x")), deployed, "")
	if names, _ := w.chosen(); !slices.Equal(names, []string{"Other 1.0.0"}) {
		t.Errorf("%v", names)
	}
	_, err := w.deployer.Undeploy(t.Context(), &controlv1.DeployRequest{Artifact: &controlv1.Artifact{Path: deploy.DropinsRoot + "/a.carbonado"}})
	w.check(err)
	if _, all := w.chosen(); all != 0 || !slices.Contains(w.released, "Other 1.0.0") {
		t.Errorf("%d packages, released %v", all, w.released)
	}
}

func TestTwoFiles(t *testing.T) {
	w := newWorld(t, t.TempDir())
	first, second := w.packed("Hello", "1.0.0", "one"), w.packed("Hello", "1.1.0", "two")
	w.want(w.drop("b.carbonado", second), deployed, "")
	w.want(w.drop("a.carbonado", first), waiting, dropins.ErrShadowed.ID())
	w.want(w.drop("c.carbonado", first), faulty, catalog.ErrTaken.ID())
	w.want(w.drop("c.carbonado", []byte("PK")), faulty, archive.ErrStructure.ID())
	w.want(w.drop("c.jar", first), faulty, dropins.ErrNotPackage.ID())
	// After a restart without b, a is the one.
	w.check(os.Remove(w.path("b.carbonado")))
	w.open()
	w.want(w.drop("a.carbonado", first), deployed, "")
	if names, all := w.chosen(); !slices.Equal(names, []string{"Hello 1.0.0"}) || all != 1 {
		t.Errorf("%v of %d", names, all)
	}
}

// TestFolderOverAFile: what a folder took the place of says so, after a restart too; another content of the file is refused for the folder's
// sake, a higher version runs.
func TestFolderOverAFile(t *testing.T) {
	w := newWorld(t, t.TempDir())
	data := w.packed("Hello", "1.0.0", "one")
	w.want(w.drop("a.carbonado", data), deployed, "")
	folder := t.TempDir()
	w.check(os.MkdirAll(filepath.Join(folder, "bin"), 0o755))
	w.check(os.WriteFile(filepath.Join(folder, "component.yaml"), []byte("name: Hello\nversion: 1.0.0\nsummary: x\nexecutable: bin/Hello\n"), 0o644))
	for _, program := range []string{"by hand", "by hand again"} {
		w.check(os.WriteFile(filepath.Join(folder, "bin", "Hello"), []byte(program), 0o755))
		if _, err := catalog.At(w.home).Install(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
		resp := w.drop("a.carbonado", data)
		w.want(resp, waiting, dropins.ErrReplaced.ID())
		if !strings.Contains(resp.Cause.GetText(), "superseded by plugins/Hello/1.0.0") {
			t.Errorf("%s", resp.Cause.GetText())
		}
		w.open()
	}
	w.want(w.drop("a.carbonado", data), waiting, dropins.ErrReplaced.ID())
	w.want(w.drop("a.carbonado", w.packed("Hello", "1.0.0", "two")), faulty, catalog.ErrTaken.ID())
	w.want(w.drop("a.carbonado", w.packed("Hello", "1.1.0", "three")), deployed, "")
	if names, all := w.chosen(); !slices.Equal(names, []string{"Hello 1.1.0"}) || all != 2 {
		t.Errorf("%v of %d", names, all)
	}
}

// TestTrustTakenBack: what is installed is judged anew each time.
func TestTrustTakenBack(t *testing.T) {
	w := newWorld(t, t.TempDir())
	data := w.packed("Hello", "1.0.0", "one")
	w.want(w.drop("a.carbonado", data), deployed, "")
	_, err := trust.Distrust(w.home, w.key.ID())
	w.check(err)
	w.want(w.drop("a.carbonado", data), faulty, trust.ErrUnknownSigner.ID())
	w.want(w.drop("b.carbonado", w.packed("Other", "1.0.0", "x")), faulty, trust.ErrUnknownSigner.ID())
	w.check(os.WriteFile(filepath.Join(w.home, trust.PolicyFile), []byte("dropins: {unknownSigner: accept}\n"), 0o644))
	w.want(w.drop("a.carbonado", data), deployed, "")
}

// TestDiskFull: a package that does not fit leaves nothing, and is taken once there is space.
func TestDiskFull(t *testing.T) {
	const inside = "CARBONADO_TEST_FULL_DISK"
	if os.Getenv(inside) == "" { // again in a mount namespace of its own
		cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	home := t.TempDir()
	plugins := filepath.Join(home, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(flags uintptr, size int) {
		t.Helper()
		if err := syscall.Mount("none", plugins, "tmpfs", flags, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	mount(0, 1<<20)
	defer func() { _ = syscall.Unmount(plugins, syscall.MNT_DETACH) }() // the namespace ends anyway
	w := newWorld(t, home)
	small := w.packed("Hello", "1.0.0", "small")
	w.want(w.drop("a.carbonado", small), deployed, "")
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise) // never fails (crypto/rand)
	big := w.packed("Hello", "1.1.0", string(noise))
	w.want(w.drop("a.carbonado", big), faulty, archive.ErrUnpack.ID())
	if names, all := w.chosen(); !slices.Equal(names, []string{"Hello 1.0.0"}) || all != 1 {
		t.Errorf("%v of %d", names, all)
	}
	entries, err := os.ReadDir(plugins)
	w.check(err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".stage") || strings.HasPrefix(e.Name(), ".gone") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	mount(syscall.MS_REMOUNT, 32<<20)
	w.want(w.drop("a.carbonado", big), deployed, "")
}

// alone is hot deployment without components.
type alone struct{ w *world }

func (a alone) Owners() []deploy.Owner { return []deploy.Owner{a.w.deployer.Owner()} }

// TestTenThousandAtOnce: ten packages among ten thousand files that are none, all dropped at once.
func TestTenThousandAtOnce(t *testing.T) {
	const files, packages = 10_000, 10
	w := newWorld(t, t.TempDir())
	for i := range files {
		data := []byte(fmt.Sprintf("not a package %d", i))
		if i%(files/packages) == 0 {
			data = w.packed(fmt.Sprintf("P%d", i), "1.0.0", "x")
		}
		w.check(os.WriteFile(w.path(fmt.Sprintf("%05d.carbonado", i)), data, 0o644))
	}
	states := map[deploy.State]int{}
	last := map[string]deploy.State{}
	done := make(chan struct{})
	begin := time.Now()
	s, err := deploy.New(deploy.Options{
		Repository: filepath.Join(w.home, "repository"), Data: filepath.Join(w.home, "repository/data/kernel/artifacts"), Deployers: alone{w},
		OnChange: func(a deploy.Artifact) {
			if was, ok := last[a.Path]; ok {
				states[was]--
			}
			last[a.Path] = a.State
			states[a.State]++
			if states[deploy.Deployed] == packages && states[deploy.Faulty] == files-packages {
				select {
				case <-done:
				default:
					close(done)
				}
			}
		},
	})
	w.check(err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Error("they are not settled after two minutes")
	}
	t.Logf("settled after %s", time.Since(begin))
	cancel()
	w.check(<-ended)
	if names, all := w.chosen(); len(names) != packages || all != packages {
		t.Errorf("%v of %d", names, all)
	}
}
