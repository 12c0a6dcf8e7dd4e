package account

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/sdk/cause"
)

// TestFullDisk: the file may not grow, which SQLite says in the words of a full disk: the error names the file and what to do.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.db")
	s := open(t, path)
	s.db.SetMaxOpenConns(1) // the limit is of a connection
	if _, err := s.db.Exec(`PRAGMA max_page_count = 1`); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = s.PutToken(t.Context(), Digest{byte(i), byte(i >> 8)}, Token{Purpose: "publish", Expires: now})
	}
	got := cause.From(s.Named(err))
	if !errors.Is(got, cause.DiskFull) || !strings.Contains(got.Error(), path) || !strings.HasPrefix(got.Proto().Fix, "Free space on the file system that is mounted at /") {
		t.Errorf("%v: %s", got, got.Proto().GetFix())
	}
}
