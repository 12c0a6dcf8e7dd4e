// Package archtest holds the arrows of DESIGN.md section 1: who may import whom. Its test walks the repository. It must not
// know what any package does.
package archtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The module paths of this repository.
const (
	mainModule = "carbonado.dev/carbonado/"
	sdkModule  = "carbonado.dev/sdk"
)

// rooms are the rooms of runtime/, from the roof to the ground: each imports only rooms below it. It is the list of DESIGN.md
// with the rooms that were added since in their places; the guardian, which runs above all, is imported from below the
// supervisor, because the supervisor asks it to fork.
var rooms = []string{
	"cmd",
	"cli",
	"pluginkit",
	"chaos",
	"kernel",
	"admin",
	"gateway",
	"simulation",
	"reconcile",
	"dropins",
	"deploy",
	"depsync",
	"cluster",
	"privilege",
	"supervisor",
	"guardian",
	"launch",
	"registry",
	"plan",
	"catalog",
	"runtimes",
	"trust",
	"profile",
	"config",
	"component",
	"tlskeys",
	"few",
	"digest",
	"durable",
	"archive",
	"archtest",
}

// cgo are import paths that need a C compiler, beside "C" itself.
var cgo = []string{"C", "github.com/duckdb/", "github.com/marcboeker/go-duckdb", "github.com/mattn/go-sqlite3", "runtime/cgo"}

// trees are the folders whose Go files are held to the arrows.
var trees = []string{"runtime", "components", "sdk", "plugins", "bench"}

// Import is one import of one file.
type Import struct {
	// File is the path of the importing file in the repository, with slashes.
	File string
	Line int
	// Path is what is imported.
	Path string
}

// Imports reads the imports of every Go file below the trees.
func Imports(repository fs.FS) ([]Import, error) {
	var out []Import
	for _, tree := range trees {
		if _, err := fs.Stat(repository, tree); err != nil {
			continue
		}
		err := fs.WalkDir(repository, tree, func(file string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && (e.Name() == "testdata" || e.Name() == "node_modules" || strings.HasPrefix(e.Name(), ".") || installed(file)):
				return fs.SkipDir
			case e.IsDir() || !strings.HasSuffix(file, ".go"):
				return nil
			}
			imports, err := fileImports(repository, file)
			out = append(out, imports...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// installed tells whether a folder holds installed packages rather than sources.
func installed(folder string) bool {
	return path.Dir(folder) == "plugins" && folder != "plugins/examples"
}

func fileImports(repository fs.FS, file string) ([]Import, error) {
	data, err := fs.ReadFile(repository, file)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, data, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var out []Import
	for _, s := range parsed.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, Import{file, set.Position(s.Pos()).Line, p})
	}
	return out, nil
}

// Violation says what is wrong with an import; empty if nothing.
func Violation(i Import) string {
	from := strings.Split(i.File, "/")
	if isCgo(i.Path) && !strings.HasPrefix(i.File, "components/analyticsengine/duck/") {
		return "cgo is allowed in components/analyticsengine/duck alone"
	}
	to, ours := strings.CutPrefix(i.Path, mainModule)
	if i.Path == strings.TrimSuffix(mainModule, "/") {
		return "the root of the module holds no package for others"
	}
	if strings.HasPrefix(i.Path, "github.com/hashicorp/go-plugin") && from[0] == "runtime" && from[1] != "supervisor" {
		return "go-plugin is seen by runtime/supervisor alone"
	}
	switch from[0] {
	case "sdk", "plugins":
		if ours {
			return from[0] + " imports nothing of the server"
		}
	case "components":
		return componentViolation(i, from, to, ours)
	case "runtime":
		return roomViolation(i, from, to, ours)
	}
	if ours && strings.HasPrefix(to, "runtime/kernel") {
		return "nothing imports runtime/kernel but runtime/cmd"
	}
	return ""
}

func componentViolation(i Import, from []string, to string, ours bool) string {
	switch {
	case !ours || strings.HasPrefix(to+"/", "components/"+from[1]+"/"):
		return ""
	case strings.HasSuffix(i.File, "_test.go") && strings.HasPrefix(to, "components/"):
		return "" // a test runs a component with its real neighbours
	case from[1] == "all" && strings.HasPrefix(to, "components/") && to != "components/analyticsengine/duck":
		return ""
	}
	return "a component imports sdk and itself, nothing else of ours"
}

func roomViolation(i Import, from []string, to string, ours bool) string {
	if !ours {
		return ""
	}
	room := from[1]
	if !slices.Contains(rooms, room) {
		return fmt.Sprintf("runtime/%s has no place among the rooms; give it one in this package, and in DESIGN.md's list", room)
	}
	target := strings.Split(to, "/")
	test := strings.HasSuffix(i.File, "_test.go")
	switch {
	case to == "docs" && room == "cmd":
		return "" // the pages that the program shows
	case target[0] != "runtime":
		return "runtime imports runtime and sdk, nothing else of ours"
	case target[1] == "kernel" && room != "kernel" && room != "cmd":
		return "nothing imports runtime/kernel but runtime/cmd"
	case target[1] == room || test:
		return ""
	case slices.Index(rooms, target[1]) < slices.Index(rooms, room):
		return fmt.Sprintf("runtime/%s is not below runtime/%s", target[1], room)
	}
	return ""
}

func isCgo(p string) bool {
	return slices.ContainsFunc(cgo, func(c string) bool {
		return p == c || strings.HasSuffix(c, "/") && strings.HasPrefix(p, c) || strings.HasPrefix(p, c+"/") && c != "C"
	})
}
