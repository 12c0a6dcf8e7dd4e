package permission

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAllows(t *testing.T) {
	const get = "/permission/admin/manage/analytics/records/get"
	for _, tc := range []struct {
		name   string
		grants []string
		asked  string
		want   bool
	}{
		{"nothing granted", nil, get, false},
		{"exact", []string{get}, get, true},
		{"trailing slash is the same path", []string{get + "/"}, get, true},
		{"above grants below", []string{"/permission/admin/manage"}, get, true},
		{"below does not grant above", []string{get}, "/permission/admin/manage", false},
		{"sibling", []string{"/permission/admin/manage/analytics/records/put"}, get, false},
		{"prefix of letters is no prefix of segments", []string{"/permission/admin/man"}, get, false},
		{"longer last segment", []string{"/permission/admin/publish"}, "/permission/admin/publishers", false},
		{"everything", []string{Everything}, get, true},
		{"everything does not leave its root", []string{Everything}, "/other", false},
		{"root", []string{"/"}, "/other", true},
		{"wide after narrow", []string{get, "/permission/admin"}, "/permission/admin/x", true},
		{"narrow after wide", []string{"/permission/admin", get}, "/permission/admin/x", true},
		{"case matters", []string{"/Permission/admin"}, "/permission/admin", false},
		{"dots are not resolved", []string{"/permission/admin"}, "/permission/admin/../other", false},
		{"empty segment", []string{"/permission/admin"}, "/permission//admin", false},
		{"empty", []string{"/"}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree, err := New(tc.grants...)
			if err != nil {
				t.Fatal(err)
			}
			if got := tree.Allows(tc.asked); got != tc.want {
				t.Errorf("grants %v, asked %q: got %v, want %v", tc.grants, tc.asked, got, tc.want)
			}
		})
	}
}

func TestCleanRefuses(t *testing.T) {
	for _, path := range []string{"", "permission", "//", "/a//b", "/a/./b", "/a/..", "/a\nb", "/a\x00", "/" + strings.Repeat("x", maxLength)} {
		if clean, err := Clean(path); err == nil {
			t.Errorf("Clean(%q) = %q, want an error", path, clean)
		}
	}
}

// genPath makes paths of few, similar segments, so that grants and questions meet often.
func genPath() *rapid.Generator[string] {
	segment := rapid.SampledFrom([]string{"a", "b", "ab", "permission", "admin"})
	return rapid.Map(rapid.SliceOfN(segment, 0, 5), func(s []string) string { return "/" + strings.Join(s, "/") })
}

// covers is the definition in one line, without a tree.
func covers(grant, asked string) bool {
	return grant == "/" || asked == grant || strings.HasPrefix(asked, grant+"/")
}

func TestTreeEqualsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants := rapid.SliceOfN(genPath(), 0, 6).Draw(t, "grants")
		asked := genPath().Draw(t, "asked")
		tree, err := New(grants...)
		if err != nil {
			t.Fatal(err)
		}
		want := false
		for _, g := range grants {
			want = want || covers(g, asked)
		}
		if got := tree.Allows(asked); got != want {
			t.Fatalf("grants %v, asked %q: got %v, want %v", grants, asked, got, want)
		}
	})
}

func TestGrantsOnlyAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants := rapid.SliceOfN(genPath(), 1, 6).Draw(t, "grants")
		asked := genPath().Draw(t, "asked")
		less, err := New(grants[:len(grants)-1]...)
		if err != nil {
			t.Fatal(err)
		}
		more, err := New(grants...)
		if err != nil {
			t.Fatal(err)
		}
		if less.Allows(asked) && !more.Allows(asked) {
			t.Fatalf("granting %q took %q away", grants[len(grants)-1], asked)
		}
	})
}

func TestOrderOfGrantsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants := rapid.SliceOfN(genPath(), 0, 6).Draw(t, "grants")
		shuffled := rapid.Permutation(grants).Draw(t, "shuffled")
		asked := genPath().Draw(t, "asked")
		one, err := New(grants...)
		if err != nil {
			t.Fatal(err)
		}
		two, err := New(shuffled...)
		if err != nil {
			t.Fatal(err)
		}
		if one.Allows(asked) != two.Allows(asked) {
			t.Fatalf("grants %v and %v differ on %q", grants, shuffled, asked)
		}
	})
}

func TestAllowedMeansAllBelowIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, err := New(rapid.SliceOfN(genPath(), 0, 6).Draw(t, "grants")...)
		if err != nil {
			t.Fatal(err)
		}
		asked := genPath().Draw(t, "asked")
		below := strings.TrimSuffix(asked, "/") + "/z"
		if tree.Allows(asked) && !tree.Allows(below) {
			t.Fatalf("%q is allowed and %q is not", asked, below)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("/permission/admin/")
	f.Add("/a//b")
	f.Fuzz(func(t *testing.T, path string) {
		clean, err := Clean(path)
		if err != nil {
			return
		}
		again, err := Clean(clean)
		if err != nil || again != clean {
			t.Fatalf("Clean(%q) = %q, and cleaned again %q, %v", path, clean, again, err)
		}
	})
}
