package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"testing/fstest"
)

func TestEveryCaseHasATest(t *testing.T) {
	root := os.DirFS("../..")
	found, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if len(found[c.n]) == 0 {
			t.Errorf("case %d (%s) has no test", c.n, c.what)
		}
	}
	var page bytes.Buffer
	Print(&page, found)
	have, err := os.ReadFile("../acceptance.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, page.Bytes()) {
		t.Error("docs/acceptance.md is old: go run ./docs/acceptance > docs/acceptance.md")
	}
}

func TestFind(t *testing.T) {
	found, err := Find(fstest.MapFS{
		"a/x_test.go":            {Data: []byte("func TestCase07Once(t *testing.T) {}\nfunc TestCase12(t *testing.T) {}\nfunc TestCases(t *testing.T) {}\nfunc TestCase01ThenCase02(t *testing.T) {\n\t// Case 19: z\n}\n")},
		"s/case61_none.txtar":    {Data: []byte("# Case 66: x\n# Cases 7 and 9: y\n")},
		"node_modules/y_test.go": {Data: []byte("func TestCase99Z(t *testing.T) {}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]int{7: 2, 9: 1, 12: 1, 61: 1, 66: 1, 99: 0, 1: 1, 2: 1, 19: 1} {
		if len(found[n]) != want {
			t.Errorf("case %d: %v", n, found[n])
		}
	}
}

// Pages that say which test holds a promise name tests that exist.
func TestNamedTestsExist(t *testing.T) {
	known := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "build"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".txtar":
			known[d.Name()] = true
		case regexp.MustCompile(`_test\.go$`).MatchString(path):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(b, -1) {
				known[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+|\\w+\\.txtar)`").FindAllSubmatch(b, -1) {
			if !known[string(m[1])] {
				t.Errorf("%s names %s, which is no test", filepath.Base(page), m[1])
			}
		}
	}
}
