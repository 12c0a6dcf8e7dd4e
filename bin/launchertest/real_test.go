package launchertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestRealServer runs the launcher with the real server, in an installation without components.
func TestRealServer(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "carbonado")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "../../runtime/cmd/carbonado")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := map[string]string{
		"bin/carbonado": binary, "bin/carbonado.sh": "../carbonado.sh",
		"repository/conf/carbon.xml": "../../repository/conf/carbon.xml", "repository/conf/profiles.yaml": "../../repository/conf/profiles.yaml",
	}
	for name, from := range files {
		path, err := filepath.Abs(from)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = path
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "das")
			for name, from := range files {
				to := filepath.Join(home, name)
				if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
					return err
				}
				if err := os.Link(from, to); err == nil {
					continue
				}
				data, err := os.ReadFile(from)
				if err != nil {
					return err
				}
				if err := os.WriteFile(to, data, 0o755); err != nil {
					return err
				}
			}
			offset, err := freeOffset()
			if err != nil {
				return err
			}
			e.Setenv("OFFSET", fmt.Sprint(offset))
			e.Setenv("DIR", home)
			e.Setenv("SH", filepath.Join(home, "bin", "carbonado.sh"))
			e.Setenv("PATH", filepath.Join(home, "bin")+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Defer(func() { endServer(filepath.Join(home, "carbonado.pid")) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "signal": sendSignal},
	})
}

// freeOffset finds a port offset at which the gateway's two ports are free.
func freeOffset() (int, error) {
	for range 100 {
		offset := 1000 + rand.IntN(50000)
		a, err := net.Listen("tcp", fmt.Sprintf(":%d", 9443+offset))
		if err != nil {
			continue
		}
		b, err := net.Listen("tcp", fmt.Sprintf(":%d", 9763+offset))
		if err == nil {
			err = b.Close()
		}
		if cerr := a.Close(); cerr == nil && err == nil {
			return offset, nil
		}
	}
	return 0, fmt.Errorf("no two free ports in a hundred tries")
}
