// Command catalogue prints the error catalogue, docs/errors.md, from every call of cause.Define in the source. It must not know what any
// error means.
//
//	go run ./docs/catalogue > docs/errors.md
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// entry is one kind of error.
type entry struct {
	id, summary, fix, place string
}

var idPattern = regexp.MustCompile(`^CBN-[A-Z]+-[0-9]{3}$`)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	entries, err := collect(root)
	if err == nil {
		err = write(os.Stdout, entries)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// collect reads all Go files below root, tests excepted. An id that is malformed or defined twice is an error.
func collect(root string) ([]entry, error) {
	var entries []entry
	seen := map[string]string{}
	var faults []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != root && (n == "node_modules" || n == "build" || n == "testdata" || n == "examples" || strings.HasSuffix(n, "test") || strings.HasPrefix(n, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			e, ok := defined(n)
			if !ok {
				return true
			}
			e.place = filepath.ToSlash(rel)
			switch {
			case !idPattern.MatchString(e.id):
				faults = append(faults, fmt.Sprintf("%s: %q is no code", path, e.id))
			case seen[e.id] != "":
				faults = append(faults, fmt.Sprintf("%s: %s is defined in %s too", path, e.id, seen[e.id]))
			}
			seen[e.id] = path
			entries = append(entries, e)
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(faults, "\n"))
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.id, b.id) })
	return entries, nil
}

// defined reads a call cause.Define("…", "…", "…").
func defined(n ast.Node) (entry, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 3 {
		return entry{}, false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Define" {
		return entry{}, false
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "cause" {
		return entry{}, false
	}
	var text [3]string
	for i, arg := range call.Args {
		s, ok := constant(arg)
		if !ok {
			return entry{}, false
		}
		text[i] = s
	}
	return entry{id: text[0], summary: text[1], fix: text[2]}, true
}

// constant is the value of a string literal or of literals joined by +.
func constant(x ast.Expr) (string, bool) {
	switch x := x.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(x.Value)
		return s, err == nil
	case *ast.BinaryExpr:
		a, ok1 := constant(x.X)
		b, ok2 := constant(x.Y)
		return a + b, ok1 && ok2 && x.Op == token.ADD
	}
	return "", false
}

func write(w io.Writer, entries []entry) error {
	var b strings.Builder
	b.WriteString("# Error catalogue\n\nEvery error has a code that stays. This page is made by `go run ./docs/catalogue > docs/errors.md`; a test keeps it true.\n")
	area := ""
	for _, e := range entries {
		if a := strings.Split(e.id, "-")[1]; a != area {
			area = a
			fmt.Fprintf(&b, "\n## %s\n\n| code | meaning | what to do | raised in |\n| --- | --- | --- | --- |\n", area)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", e.id, cell(e.summary), cell(e.fix), e.place)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
