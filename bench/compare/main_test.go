package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// side is a checkout whose benchmark prints what it is told.
func side(t *testing.T, lines string) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bench"), []byte("#!/bin/sh\ncat <<'E'\n"+lines+"\nE\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompare(t *testing.T) {
	base := side(t, "fast ratio=2.00 target=<=3 (x)\nwide ratio=4.00 target=>=1 (x)\nnoise")
	for name, c := range map[string]struct{ head, want string }{
		"same":             {"fast ratio=2.00 target=<=3 (x)\nwide ratio=4.00 target=>=1 (x)", ""},
		"a little worse":   {"fast ratio=2.15 target=<=3 (x)\nwide ratio=3.80 target=>=1 (x)", ""},
		"better":           {"fast ratio=1.00 target=<=3 (x)\nwide ratio=9.00 target=>=1 (x)", ""},
		"slower":           {"fast ratio=2.30 target=<=3 (x)\nwide ratio=4.00 target=>=1 (x)", "[fast]"},
		"narrower":         {"fast ratio=2.00 target=<=3 (x)\nwide ratio=3.50 target=>=1 (x)", "[wide]"},
		"one is not there": {"fast ratio=2.00 target=<=3 (x)", "[wide (gone)]"},
	} {
		t.Run(name, func(t *testing.T) {
			err := compare(base, side(t, c.head), 3, []string{"bench"})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
