package pluginkit

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// project is a program of two packages.
func project(t *testing.T) (p *Project, write func(file, text string)) {
	dir := t.TempDir()
	write = func(file, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("component.yaml", "name: Quick\nversion: 1.0.0\nsummary: s\nexecutable: bin/Quick\n")
	write("go.mod", "module example.org/quick\n\ngo 1.26.0\n")
	write("sub/sub.go", "package sub\n\n// Say says.\nfunc Say(s string) string { return s + \" of sub\" }\n")
	write("main.go", mainSaying("one"))
	p, err := Open(dir, t.Output(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return p, write
}

func mainSaying(s string) string {
	return fmt.Sprintf("package main\n\nimport (\n\t\"fmt\"\n\n\t\"example.org/quick/sub\"\n)\n\nfunc main() { fmt.Println(sub.Say(%q)) }\n", s)
}

func said(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestQuickBuild: what a quick build makes of changed files of the main package is what a whole one would make.
func TestQuickBuild(t *testing.T) {
	p, write := project(t)
	if err := p.Build(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	q := p.prepareQuick(t.Context())
	if q == nil || !q.fits() {
		t.Fatal("no quick build after a whole one")
	}
	write("main.go", mainSaying("two"))
	target := filepath.Join(t.TempDir(), "program")
	if !q.fits() {
		t.Fatal("a change of main.go does not fit")
	}
	if err := q.program(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if got := said(t, target); got != "two of sub" {
		t.Errorf("it says %q", got)
	}
	write("main.go", strings.Replace(mainSaying("three"), "fmt.Println", "os.Exit", 1))
	if err := q.program(t.Context(), target); err == nil {
		t.Error("what can't be compiled was built")
	}
}

// TestQuickBuildDoesNotFit: everything that may change another package, or the set of packages, asks for a whole build.
func TestQuickBuildDoesNotFit(t *testing.T) {
	for name, change := range map[string]func(write func(file, text string)){
		"another package": func(write func(string, string)) {
			write("sub/sub.go", "package sub\n\n// Say says.\nfunc Say(s string) string { return s }\n")
		},
		"a new file there": func(write func(string, string)) { write("sub/more.go", "package sub\n") },
		"a new file":       func(write func(string, string)) { write("more.go", "package main\n") },
		"go.mod":           func(write func(string, string)) { write("go.mod", "module example.org/quick\n\ngo 1.25.0\n") },
		"a build tag":      func(write func(string, string)) { write("main.go", "//go:build linux\n\n"+mainSaying("one")) },
		"an embedded file": func(write func(string, string)) {
			write("main.go", mainSaying("one")+"\n//go:embed main.go\nvar text string\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, write := project(t)
			if err := p.Build(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			q := p.prepareQuick(t.Context())
			if !q.fits() {
				t.Fatal("no quick build")
			}
			change(write)
			if q.fits() {
				t.Error("it fits")
			}
		})
	}
}

// TestWholeBuildWhereQuickFails: a file that needs a package which is not in the list is built all the same.
func TestWholeBuildWhereQuickFails(t *testing.T) {
	p, write := project(t)
	if err := p.Build(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d := &developer{Project: p, quick: p.prepareQuick(t.Context())}
	var errs bytes.Buffer
	p.Stderr = &errs
	write("main.go", "package main\n\nimport \"encoding/csv\"\n\nfunc main() { println(csv.ErrQuote.Error()) }\n")
	if err := p.build(t.Context(), nil, d.program); err != nil {
		t.Fatal(err, errs.String())
	}
	if got := said(t, filepath.Join(p.Package(), "bin", "Quick")); !strings.Contains(got, "extraneous") || errs.Len() > 0 {
		t.Errorf("it says %q and %q", got, errs.String())
	}
	if d.quick != nil {
		t.Error("a quick build is left that lacks a package")
	}
}
