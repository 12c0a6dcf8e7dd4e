package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A version that is installed anew while the removal of the one before is under way stays.
func TestUninstallSuperseded(t *testing.T) {
	home := t.TempDir()
	folder := filepath.Join(t.TempDir(), "Package")
	if err := os.MkdirAll(filepath.Join(folder, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("component.yaml", "name: Box\nversion: 1.0.0\nsummary: s\nexecutable: bin/Box\n", 0o644)
	write("bin/Box", "#!/bin/sh\n", 0o755)
	c := At(home)
	install := func() *Package {
		t.Helper()
		p, err := c.InstallPath(t.Context(), folder, true)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	there := func() bool {
		_, err := c.Get("Box", "1.0.0")
		if err != nil && !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
		return err == nil
	}
	if err := c.Supersede(install(), true); err != nil {
		t.Fatal(err)
	}
	install()
	if err := c.UninstallSuperseded("Box", "1.0.0"); err != nil || !there() {
		t.Errorf("the new one is gone, %v", err)
	}
	p, err := c.Get("Box", "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Supersede(p, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir, "bin", "Box"), []byte("damaged"), 0o755); err != nil && !errors.Is(err, os.ErrPermission) {
		t.Fatal(err)
	}
	if err := c.UninstallSuperseded("Box", "1.0.0"); err != nil || there() {
		t.Errorf("a damaged one stays, %v", err)
	}
}
