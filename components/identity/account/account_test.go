package account

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var now = time.UnixMilli(1_780_000_000_000)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUsersAndRoles(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "a?b%20 c.db"))
	must(t, s.PutRole(ctx, Role{Name: "analyst", Permissions: []string{"/permission/a", "/permission/b"}}))
	must(t, s.PutRole(ctx, Role{Name: RoleEveryone, Permissions: []string{"/permission/login"}}))
	must(t, s.PutUser(ctx, User{Name: "Ada", Roles: []string{"analyst", RoleEveryone, "analyst"}}, "hash", now))

	user, hash, err := s.User(ctx, "ada")
	must(t, err)
	if want := (User{Name: "Ada", Roles: []string{"analyst"}}); !reflect.DeepEqual(user, want) || hash != "hash" {
		t.Errorf("got %+v %q, want %+v", user, hash, want)
	}
	permissions, err := s.Permissions(ctx, "ADA")
	must(t, err)
	if want := []string{"/permission/a", "/permission/b", "/permission/login"}; !reflect.DeepEqual(permissions, want) {
		t.Errorf("permissions %v, want %v", permissions, want)
	}

	must(t, s.PutUser(ctx, User{Name: "ADA"}, "", now))
	user, hash, err = s.User(ctx, "ada")
	must(t, err)
	if user.Name != "Ada" || len(user.Roles) != 0 || hash != "hash" {
		t.Errorf("without a hash: got %+v %q", user, hash)
	}

	must(t, s.PutUser(ctx, User{Name: "Ada", Roles: []string{"analyst"}}, "", now))
	must(t, s.DeleteRole(ctx, "analyst"))
	if user, _, err = s.User(ctx, "Ada"); err != nil || len(user.Roles) != 0 {
		t.Errorf("a deleted role stays with its member: %+v, %v", user, err)
	}
	must(t, s.DeleteUser(ctx, "ada"))
	must(t, s.DeleteUser(ctx, "ada"))
	if _, _, err := s.User(ctx, "Ada"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleted user: %v", err)
	}
	if _, err := s.Permissions(ctx, "Ada"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleted user's permissions: %v", err)
	}
}

func TestRefusedChangesLeaveNothing(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "identity.db"))
	must(t, s.PutUser(ctx, User{Name: "root", Roles: []string{RoleAdmin}}, "hash", now))
	before, err := s.Users(ctx)
	must(t, err)
	for name, tc := range map[string]struct {
		run  func() error
		want error
	}{
		"unknown role":      {func() error { return s.PutUser(ctx, User{Name: "x", Roles: []string{"nobody"}}, "hash", now) }, ErrNoRole},
		"no password":       {func() error { return s.PutUser(ctx, User{Name: "x"}, "", now) }, ErrNoHash},
		"last admin goes":   {func() error { return s.DeleteUser(ctx, "root") }, ErrLastAdmin},
		"last admin demote": {func() error { return s.PutUser(ctx, User{Name: "root"}, "hash", now) }, ErrLastAdmin},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.run(); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			after, err := s.Users(ctx)
			must(t, err)
			if !reflect.DeepEqual(before, after) {
				t.Errorf("users were %v and are %v", before, after)
			}
		})
	}
	must(t, s.PutUser(ctx, User{Name: "second", Roles: []string{RoleAdmin}}, "hash", now))
	must(t, s.DeleteUser(ctx, "root"))
}

func TestNewPasswordEndsSessionsAndTokens(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "identity.db"))
	for _, name := range []string{"a", "b"} {
		must(t, s.PutUser(ctx, User{Name: name}, "hash", now))
		must(t, s.PutSession(ctx, Digest{name[0]}, Session{User: name, Created: now, Seen: now}))
		must(t, s.PutToken(ctx, Digest{name[0]}, Token{Purpose: "api", User: name, Expires: now.Add(time.Hour)}))
	}
	must(t, s.PutUser(ctx, User{Name: "a"}, "", now))
	if _, err := s.Session(ctx, Digest{'a'}); err != nil {
		t.Errorf("other roles ended the session: %v", err)
	}
	must(t, s.PutUser(ctx, User{Name: "a"}, "other", now))
	if _, err := s.Session(ctx, Digest{'a'}); !errors.Is(err, ErrNoEntry) {
		t.Errorf("session after a new password: %v", err)
	}
	if _, err := s.Token(ctx, Digest{'a'}); !errors.Is(err, ErrNoEntry) {
		t.Errorf("token after a new password: %v", err)
	}
	if session, err := s.Session(ctx, Digest{'b'}); err != nil || session.User != "b" || !session.Created.Equal(now) {
		t.Errorf("another user's session: %+v, %v", session, err)
	}
	must(t, s.DeleteUser(ctx, "b"))
	if _, err := s.Token(ctx, Digest{'b'}); !errors.Is(err, ErrNoEntry) {
		t.Errorf("token of a deleted user: %v", err)
	}
}

func TestTokenIsTakenOnce(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "identity.db"))
	must(t, s.PutToken(ctx, Digest{1}, Token{Purpose: "sign-in", Expires: now}))
	if _, err := s.TakeToken(ctx, Digest{1}, "api"); !errors.Is(err, ErrNoEntry) {
		t.Errorf("taken for another purpose: %v", err)
	}
	var taken atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch _, err := s.TakeToken(ctx, Digest{1}, "sign-in"); {
			case err == nil:
				taken.Add(1)
			case !errors.Is(err, ErrNoEntry):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 1 {
		t.Errorf("taken %d times", taken.Load())
	}
}

func TestExpire(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "identity.db"))
	must(t, s.PutUser(ctx, User{Name: "a"}, "hash", now))
	must(t, s.PutSession(ctx, Digest{1}, Session{User: "a", Created: now.Add(-13 * time.Hour), Seen: now}))
	must(t, s.PutSession(ctx, Digest{2}, Session{User: "a", Created: now.Add(-time.Hour), Seen: now.Add(-31 * time.Minute)}))
	must(t, s.PutSession(ctx, Digest{3}, Session{User: "a", Created: now.Add(-time.Hour), Seen: now.Add(-31 * time.Minute)}))
	must(t, s.TouchSession(ctx, Digest{3}, now))
	must(t, s.TouchSession(ctx, Digest{3}, now.Add(-time.Hour)))
	must(t, s.PutToken(ctx, Digest{4}, Token{Purpose: "publish", Expires: now}))
	must(t, s.PutToken(ctx, Digest{5}, Token{Purpose: "publish", Expires: now.Add(time.Millisecond)}))
	must(t, s.Expire(ctx, now, now.Add(-12*time.Hour), now.Add(-30*time.Minute)))
	for digest, want := range map[byte]bool{1: false, 2: false, 3: true} {
		if _, err := s.Session(ctx, Digest{digest}); (err == nil) != want {
			t.Errorf("session %d: %v, want kept %v", digest, err, want)
		}
	}
	for digest, want := range map[byte]bool{4: false, 5: true} {
		if _, err := s.Token(ctx, Digest{digest}); (err == nil) != want {
			t.Errorf("token %d: %v, want kept %v", digest, err, want)
		}
	}
}

func TestReopenKeepsAll(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "identity.db")
	s, err := Open(ctx, path)
	must(t, err)
	must(t, s.PutUser(ctx, User{Name: "a", Roles: []string{RoleAdmin}}, "hash", now))
	// Not closed: what was answered must be there for another reader, as after a kill.
	again := open(t, path)
	if has, err := again.HasAdmin(ctx); err != nil || !has {
		t.Errorf("has admin %v, %v", has, err)
	}
	must(t, s.Close())
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	var synchronous int
	var journal string
	must(t, again.db.QueryRow(`PRAGMA synchronous`).Scan(&synchronous))
	must(t, again.db.QueryRow(`PRAGMA journal_mode`).Scan(&journal))
	if synchronous != 2 || journal != "wal" {
		t.Errorf("synchronous %d, journal %s: a commit would not be on disk", synchronous, journal)
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.db")
	must(t, os.WriteFile(path, []byte("this is no database, whatever its name says; it is long enough to have a header of 100 bytes ......"), 0o600))
	if s, err := Open(t.Context(), path); err == nil {
		s.Close()
		t.Fatal("opened")
	}
}
