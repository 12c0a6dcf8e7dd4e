package archtest_test

import (
	"os"
	"testing"
	"testing/fstest"

	"carbonado.dev/carbonado/runtime/archtest"
)

func TestArrows(t *testing.T) {
	imports, err := archtest.Imports(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(imports) < 500 {
		t.Fatalf("only %d imports were found: the repository is elsewhere", len(imports))
	}
	for _, i := range imports {
		if v := archtest.Violation(i); v != "" {
			t.Errorf("%s:%d imports %s: %s", i.File, i.Line, i.Path, v)
		}
	}
}

// TestTheTestCanFail: each arrow, once kept and once broken.
func TestTheTestCanFail(t *testing.T) {
	const ours = "carbonado.dev/carbonado/"
	for _, c := range []struct {
		file, path string
		ok         bool
	}{
		{"components/portal/rest/a.go", "carbonado.dev/sdk/component", true},
		{"components/portal/rest/a.go", ours + "components/portal/web", true},
		{"components/portal/portal.go", ours + "components/portal", true},
		{"components/portal/rest/a.go", ours + "components/portalx", false},
		{"components/portal/rest/a.go", ours + "components/identity", false},
		{"components/portal/rest/a_test.go", ours + "components/identity", true},
		{"components/portal/rest/a.go", ours + "runtime/component", false},
		{"components/all/main.go", ours + "components/identity", true},
		{"components/all/main.go", ours + "components/analyticsengine", true},
		{"components/all/main.go", ours + "components/analyticsengine/duck", false},
		{"components/all/main.go", ours + "runtime/component", false},
		{"components/analyticsengine/duck/a.go", "github.com/duckdb/duckdb-go/v2", true},
		{"components/analyticsengine/duck/a.go", "C", true},
		{"components/analyticsengine/a.go", "github.com/duckdb/duckdb-go/v2", false},
		{"components/dataservice/a.go", "github.com/duckdb/duckdb-go/v2", false},
		{"bench/a.go", "C", false},
		{"sdk/component/a.go", "C", false},
		{"runtime/kernel/a.go", "github.com/mattn/go-sqlite3", false},
		{"sdk/component/a.go", ours + "runtime/component", false},
		{"sdk/component/a.go", "carbonado.dev/sdk/cause", true},
		{"sdk/component/a.go", "github.com/hashicorp/go-plugin", true},
		{"plugins/examples/hello/main.go", "carbonado.dev/sdk/component", true},
		{"plugins/examples/hello/main.go", ours + "components/portal", false},
		{"runtime/plan/a.go", ours + "runtime/catalog", true},
		{"runtime/plan/inputs/a.go", ours + "runtime/plan", true},
		{"runtime/catalog/a.go", ours + "runtime/plan", false},
		{"runtime/catalog/a_test.go", ours + "runtime/plan", true},
		{"runtime/component/a.go", ours + "runtime/config", false},
		{"runtime/admin/a.go", ours + "components/portal", false},
		{"runtime/admin/a_test.go", ours + "components/portal", false},
		{"runtime/admin/a.go", ours + "runtime/kernel", false},
		{"runtime/admin/a_test.go", ours + "runtime/kernel", false},
		{"runtime/cmd/carbonado/main.go", ours + "runtime/kernel", true},
		{"bench/a.go", ours + "runtime/kernel", false},
		{"runtime/unheard/a.go", ours + "runtime/component", false},
		{"runtime/reconcile/a.go", "github.com/hashicorp/go-plugin", false},
		{"runtime/supervisor/a.go", "github.com/hashicorp/go-plugin/runner", true},
		{"runtime/plan/a.go", "golang.org/x/sys/unix", true},
	} {
		v := archtest.Violation(archtest.Import{File: c.file, Path: c.path})
		if (v == "") != c.ok {
			t.Errorf("%s imports %s: %q, allowed %t", c.file, c.path, v, c.ok)
		}
	}
}

func TestWalk(t *testing.T) {
	file := func(imports string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package p\n" + imports)}
	}
	got, err := archtest.Imports(fstest.MapFS{
		"runtime/a/a.go":                 file("import \"x\"\n"),
		"runtime/a/testdata/b.go":        file("import \"no\"\n"),
		"plugins/Hello/1.0.0/src/x.go":   file("import \"no\"\n"),
		"plugins/examples/hello/main.go": file("import (\n\t\"y\"\n\tz \"z\"\n)\n"),
		"other/a.go":                     file("import \"no\"\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []archtest.Import{{"runtime/a/a.go", 2, "x"}, {"plugins/examples/hello/main.go", 3, "y"}, {"plugins/examples/hello/main.go", 4, "z"}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%v", got)
	}
}
