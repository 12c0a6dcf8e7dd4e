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

func TestALossIsMoreThanOneTroubledPair(t *testing.T) {
	for name, c := range map[string]struct {
		changes []float64
		want    bool
	}{
		"all a little":       {[]float64{0.12, 0.11, 0.13, 0.12, 0.14}, true},
		"one is troubled":    {[]float64{0.01, 0.9, -0.02, 0.03, 0.02}, false},
		"half and half":      {[]float64{0.5, 0.4, 0.3, -0.2, -0.3}, false},
		"four of five":       {[]float64{0.2, 0.15, 0.3, 0.12, -0.01}, true},
		"two that disagree":  {[]float64{0.7, -0.01}, false},
		"less than a tenth":  {[]float64{0.08, 0.09, 0.07}, false},
		"much better":        {[]float64{-0.5, -0.4, -0.6}, false},
		"two that lost both": {[]float64{0.2, 0.3}, true},
	} {
		if got := isLoss(c.changes); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
