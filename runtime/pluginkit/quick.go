package pluginkit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// quick builds a program again of whose sources only files of its main package have changed: it compiles these and links. That leaves out
// what go does before, looking through some four hundred packages, which takes as long on a busy machine as the rest.
type quick struct {
	p *Project
	// files are the main package's, by their full names. Another set of them is no matter for a quick build.
	files []string
	// imports is the file that says where each compiled package lies; folder holds it and what is built.
	imports, folder string
	tools, language string
	// others are folders of packages outside of the module cache, and files that these embed; seen is how they looked.
	others []string
	seen   string
}

// othersOf is the template of `go list -deps` for quick.others.
const othersOf = `{{if .Module}}{{if or .Module.Main .Module.Replace}}{{$d := .Dir}}{{$d}}{{range .EmbedFiles}}{{"\n"}}{{$d}}/{{.}}{{end}}{{end}}{{end}}`

// mainPackage is what `go list` says.
type mainPackage struct {
	Dir, ImportPath                                  string
	GoFiles, CgoFiles, SFiles, EmbedFiles, SysoFiles []string
	Module                                           struct{ GoVersion string }
}

// prepareQuick makes a quick build ready after a whole one; nil if the program does not suit, or go does not say what is needed.
func (p *Project) prepareQuick(ctx context.Context) *quick {
	env := programEnv(Host)
	out, err := p.output(ctx, env, nil, "go", "list", "-json", ".")
	if err != nil {
		return nil
	}
	var m mainPackage
	if json.Unmarshal(out, &m) != nil || len(m.CgoFiles)+len(m.SFiles)+len(m.EmbedFiles)+len(m.SysoFiles) > 0 || m.Module.GoVersion == "" {
		return nil
	}
	q := &quick{p: p, folder: filepath.Join(p.Dir, "build", ".quick"), language: languageOf(m.Module.GoVersion)}
	q.imports = filepath.Join(q.folder, "importcfg")
	if out, err = p.output(ctx, env, nil, "go", "list", "-deps", "-f", othersOf, "."); err != nil {
		return nil
	}
	q.others = slices.DeleteFunc(strings.Fields(string(out)), func(dir string) bool { return dir == m.Dir })
	q.seen = q.looks() // before the list is made: a change meanwhile is a change
	for _, f := range m.GoFiles {
		q.files = append(q.files, filepath.Join(m.Dir, f))
	}
	if out, err = p.output(ctx, env, nil, "go", "env", "GOTOOLDIR"); err != nil {
		return nil
	}
	q.tools = strings.TrimSpace(string(out))
	// What go would do for another target: its text holds the list of compiled packages.
	c := p.command(ctx, env, "go", programBuild(filepath.Join(q.folder, "none"), "-n")...)
	var text bytes.Buffer
	c.Stdout, c.Stderr = nil, &text
	if c.Run() != nil {
		return nil
	}
	list := importsIn(&text)
	if len(list) == 0 || os.MkdirAll(q.folder, 0o755) != nil || os.WriteFile(q.imports, list, 0o644) != nil {
		return nil
	}
	return q
}

// languageOf makes "go1.26" of "1.26.7".
func languageOf(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return "go" + strings.Join(parts[:min(2, len(parts))], ".")
}

// importsIn finds the linker's list of packages in the text of `go build -n`.
func importsIn(text *bytes.Buffer) []byte {
	var out []byte
	within := false
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "cat >") && strings.Contains(line, "/b001/importcfg.link"):
			within = true
		case line == "EOF":
			within = false
		case within && strings.HasPrefix(line, "packagefile ") && !strings.Contains(line, "$WORK"):
			out = append(append(out, line...), '\n')
		}
	}
	return out
}

// fits tells whether nothing but the main package's files has changed.
func (q *quick) fits() bool {
	if q == nil || q.looks() != q.seen {
		return false
	}
	for _, path := range q.files {
		b, err := os.ReadFile(path)
		// A directive may bring in what is not in the list.
		if err != nil || bytes.Contains(b, []byte("//go:build")) || bytes.Contains(b, []byte("//go:embed")) || bytes.Contains(b, []byte(`import "C"`)) {
			return false
		}
	}
	return true
}

// looks is a text that changes with what a quick build does not look at: the sources of other packages that are not of the module cache,
// and which files there are.
func (q *quick) looks() string {
	var text strings.Builder
	add := func(path string) {
		if st, err := os.Stat(path); err == nil {
			fmt.Fprintln(&text, path, st.Size(), st.ModTime().UnixNano())
		}
	}
	add(filepath.Join(q.p.Dir, "go.mod"))
	add(filepath.Join(q.p.Dir, "go.sum"))
	for _, path := range q.others {
		add(path)
		entries, _ := os.ReadDir(path) // none for a file
		for _, e := range entries {
			if isSource(e.Name()) {
				add(filepath.Join(path, e.Name()))
			}
		}
	}
	entries, _ := os.ReadDir(q.p.Dir)
	for _, e := range entries {
		if isSource(e.Name()) {
			fmt.Fprintln(&text, e.Name())
		}
	}
	return text.String()
}

// isSource tells whether a file is part of a program.
func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// program makes the executable target. An error says nothing but that the whole build is to be made.
func (q *quick) program(ctx context.Context, target string) error {
	object := filepath.Join(q.folder, "main.a")
	args := []string{"-o", object, "-trimpath", q.p.Dir + "=>", "-p", "main", "-lang=" + q.language, "-complete", "-importcfg", q.imports, "-pack"}
	compile := q.p.command(ctx, programEnv(Host), filepath.Join(q.tools, "compile"), append(args, q.files...)...)
	compile.Stdout, compile.Stderr = nil, nil // the whole build says it in go's words
	if err := compile.Run(); err != nil {
		return err
	}
	link := q.p.command(ctx, programEnv(Host), filepath.Join(q.tools, "link"), "-o", target, "-importcfg", q.imports, "-buildmode=exe", "-s", "-w", object)
	link.Stdout, link.Stderr = nil, nil
	return link.Run()
}
