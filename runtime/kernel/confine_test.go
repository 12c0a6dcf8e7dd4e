package kernel

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
)

func TestUsersAreGivenOnceAndForEver(t *testing.T) {
	folder := t.TempDir()
	u, err := openUsers(folder, 58000)
	if err != nil {
		t.Fatal(err)
	}
	give := func(u *users, name string) int {
		t.Helper()
		id, err := u.of(name)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b := give(u, "A"), give(u, "B")
	if a < 58000 || a == b || give(u, "A") != a {
		t.Errorf("A is %d, B is %d", a, b)
	}
	again, err := openUsers(folder, 60000)
	if err != nil {
		t.Fatal(err)
	}
	if give(again, "B") != b || give(again, "C") < 60000 {
		t.Error("a number did not last, or a new one is not from the range")
	}
	if err := os.WriteFile(filepath.Join(folder, usersFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Case 14: a damaged list is set aside, and learned from whom the components' folders belong to.
	own := filepath.Join(filepath.Dir(folder), "B")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	if os.Geteuid() == 0 {
		if err := os.Chown(own, b, b); err != nil {
			t.Fatal(err)
		}
		want["B"] = b
	}
	learned, err := openUsers(folder, 58000)
	if err != nil || learned.damaged == "" || !maps.Equal(learned.ids, want) {
		t.Errorf("from a damaged list: %v, want %v; %v", learned, want, err)
	}
	if !known(0) || known(58997) {
		t.Error("root is no account, or 58997 is one")
	}
}

// An installation that ran as root goes on as its components' users: everything is theirs, shares are their group's, nothing else is, and no
// link leads the change outside.
func TestDataOfARootsInstallationIsTakenOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root gives files away")
		return
	}
	home := t.TempDir()
	data := filepath.Join(home, "A")
	outside := filepath.Join(home, "outside")
	for path, mode := range map[string]fs.FileMode{"A/log/old": 0o644, "A/segments/t/1.parquet": 0o640, "outside": 0o600} {
		at := filepath.Join(home, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": outside, "log/link": "../../outside"} {
		if err := os.Symlink(target, filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	shares := []component.Share{{Name: "segments"}, {Name: "staging", Write: true}}
	const user = 58997
	for range 2 {
		if err := own(data, user, user, shares); err != nil {
			t.Fatal(err)
		}
	}
	check := func(path string, uid uint32, mode fs.FileMode) {
		t.Helper()
		info, err := os.Lstat(filepath.Join(home, path))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != uid {
			t.Errorf("%s is of user %d, group %d", path, st.Uid, st.Gid)
		}
		if got := info.Mode() &^ fs.ModeDir; mode != 0 && got != mode {
			t.Errorf("%s has mode %v, want %v", path, got, mode)
		}
	}
	check("A", user, 0o710)
	check("A/log", user, 0o700)
	check("A/log/old", user, 0o644)
	check("A/segments", user, 0o750|fs.ModeSetgid)
	check("A/segments/t/1.parquet", user, 0o640)
	check("A/staging", user, 0o770|fs.ModeSetgid)
	check("A/link", user, 0)
	check("outside", 0, 0o600)
	// And back, when the operator switches it off.
	if err := own(data, 0, 0, shares); err != nil {
		t.Fatal(err)
	}
	check("A/segments/t/1.parquet", 0, 0o640)
}

func TestFileOfAComponentIsShownWhileItExists(t *testing.T) {
	home := t.TempDir()
	data := filepath.Join(home, "A")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	at, file := filepath.Join(home, "note"), filepath.Join(data, "note")
	show(data, "note")
	if _, err := os.Lstat(at); err == nil {
		t.Error("a link to nothing")
	}
	// What an unconfined component left is taken along.
	if err := os.WriteFile(at, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := adopt(data, "note", os.Geteuid(), os.Getegid()); err != nil {
		t.Fatal(err)
	}
	show(data, "note")
	if b, err := os.ReadFile(at); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	show(data, "note")
	if _, err := os.Lstat(at); err == nil {
		t.Error("the link outlives the file")
	}
}

func TestClosedFolderIsNamed(t *testing.T) {
	home := t.TempDir()
	for dir := home; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if got := closedTo(home); got != "" && strings.HasPrefix(got, home) {
		t.Errorf("%s", got)
	}
	shut := filepath.Join(home, "shut", "in")
	if err := os.MkdirAll(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := closedTo(shut); got != shut {
		t.Errorf("%q is closed, want %q", got, shut)
	}
}
