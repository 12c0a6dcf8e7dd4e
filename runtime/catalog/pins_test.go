package catalog_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"carbonado.dev/carbonado/runtime/catalog"
)

func TestAPinHoldsUntilAHigherVersionComes(t *testing.T) {
	home := t.TempDir()
	one, two, three := &catalog.Package{Name: "A", Version: "1.0.0"}, &catalog.Package{Name: "A", Version: "1.10.0"}, &catalog.Package{Name: "A", Version: "2.0.0"}
	pins, err := catalog.ReadPins(home)
	if err != nil || len(pins) != 0 {
		t.Fatalf("%v, %v", pins, err)
	}
	pins, missing := pins.Apply([]*catalog.Package{one, two}, map[string]string{"A": "1.0.0"})
	if len(missing) != 0 {
		t.Errorf("missing %v", missing)
	}
	if err := catalog.WritePins(home, pins); err != nil {
		t.Fatal(err)
	}
	if pins, err = catalog.ReadPins(home); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		have []*catalog.Package
		want string
	}{
		{[]*catalog.Package{one, two}, "1.0.0"}, {[]*catalog.Package{two}, "1.10.0"}, {[]*catalog.Package{one, two, three}, "2.0.0"},
	} {
		if got := catalog.ChoosePinned(c.have, pins); len(got) != 1 || got[0].Version != c.want {
			t.Errorf("chosen is %s, want %s", got[0].Version, c.want)
		}
	}
	if got, missing := pins.Apply([]*catalog.Package{one, two}, map[string]string{"A": "1.10.0"}); len(got) != 0 || missing != nil {
		t.Errorf("back at the highest the pins are %v", got)
	}
	if _, missing := pins.Apply([]*catalog.Package{two}, map[string]string{"A": "0.9.0"}); len(missing) != 1 || missing[0] != "A 0.9.0" {
		t.Errorf("missing is %v", missing)
	}
	if err := os.WriteFile(filepath.Join(home, catalog.PinsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.ReadPins(home); err == nil {
		t.Error("a damaged file is taken")
	}
}

// What Peek sees is what Install makes.
func TestPeekIsWhatInstallMakes(t *testing.T) {
	src := t.TempDir()
	for name, content := range map[string]string{"component.yaml": "name: A\nversion: 1.0.0\nsummary: s\nexecutable: bin/A\n", "bin/A": "#!/bin/sh\n", ".hidden": "x", "README.md": "text"} {
		path := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	peeked, err := catalog.Peek(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	installed, err := catalog.At(t.TempDir()).Install(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	if peeked.Digest != installed.Digest || peeked.Digest == "" || len(peeked.Files) != len(installed.Files) {
		t.Errorf("peeked %s with %d files, installed %s with %d", peeked.Digest, len(peeked.Files), installed.Digest, len(installed.Files))
	}
	if _, err := catalog.Peek(context.Background(), t.TempDir()); err == nil {
		t.Error("an empty folder is a package")
	}
}
