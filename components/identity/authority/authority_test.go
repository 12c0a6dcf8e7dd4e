package authority

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"carbonado.dev/carbonado/components/identity/account"
	"carbonado.dev/carbonado/components/identity/password"
)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type fixture struct {
	*Authority
	store *account.Store
	clock *clock
}

const adminPassword = "first-password"

func newFixture(t *testing.T) fixture {
	t.Helper()
	store, err := account.Open(t.Context(), filepath.Join(t.TempDir(), "identity.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &clock{now: time.UnixMilli(1_780_000_000_000)}
	f := fixture{Authority: New(store, c.Now), store: store, clock: c}
	made, err := f.First(t.Context(), func() (string, error) { return adminPassword, nil })
	if err != nil || !made {
		t.Fatalf("first administrator: made %v, %v", made, err)
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func basic(user, secret string) Basic {
	return Basic{Username: user, Password: secret, Address: "192.0.2.1"}
}

func TestBasic(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"admin", "admin@carbon.super", "ADMIN@CARBON.SUPER"} {
		p, err := f.Basic(t.Context(), basic(name, adminPassword))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p.User != "admin" || p.Tenant != -1234 || p.Via != "basic" ||
			!slices.Equal(p.Roles, []string{"admin", "everyone"}) || !slices.Equal(p.Permissions, []string{"/permission"}) {
			t.Errorf("%s: principal %v", name, p)
		}
	}
}

// The answer must not say which part was wrong, neither by its text nor by its time.
func TestRefusalsAreAlike(t *testing.T) {
	f := newFixture(t)
	raw, err := bcrypt.GenerateFromPassword([]byte("old-password"), bcrypt.MinCost)
	must(t, err)
	must(t, f.PutUser(t.Context(), Change{Name: "bcrypt", Hash: string(raw)}))
	sum := sha256.Sum256([]byte("old-passwordsalt"))
	must(t, f.PutUser(t.Context(), Change{Name: "carbon", Hash: password.Carbon("salt", base64.StdEncoding.EncodeToString(sum[:]))}))
	first := ""
	for _, name := range []string{"admin", "nobody", "bcrypt", "carbon", "' OR 1=1 --", strings.Repeat("x", 2000)} {
		begun := time.Now()
		_, err := f.Basic(t.Context(), basic(name, "wrong-password"))
		took := time.Since(begun)
		if !errors.Is(err, ErrCredentials) {
			t.Fatalf("%.20s: %v", name, err)
		}
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Errorf("%.20s: %q differs from %q", name, err, first)
		}
		if took < failureTime {
			t.Errorf("%.20s: refused after %v, before the common time %v", name, took, failureTime)
		}
	}
	if _, err := f.Basic(t.Context(), basic("admin", strings.Repeat("x", password.MaxLength+1))); !errors.Is(err, ErrCredentials) || err.Error() != first {
		t.Errorf("overlong password: %v", err)
	}
}

func TestForeignDomain(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"admin@example.com", "admin@", "admin@carbon.super@example.com"} {
		if _, err := f.Basic(t.Context(), basic(name, adminPassword)); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := f.SignIn(t.Context(), basic(name, adminPassword)); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOldHashesAreReplacedAtSignIn(t *testing.T) {
	f := newFixture(t)
	raw, err := bcrypt.GenerateFromPassword([]byte("old-password"), bcrypt.MinCost)
	must(t, err)
	sum := sha256.Sum256([]byte("old-passwordsalt"))
	for name, hash := range map[string]string{
		"bcrypt": string(raw),
		"carbon": password.Carbon("salt", base64.StdEncoding.EncodeToString(sum[:])),
	} {
		must(t, f.PutUser(t.Context(), Change{Name: name, Hash: hash}))
		if _, err := f.Basic(t.Context(), basic(name, "old-password")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, stored, err := f.store.User(t.Context(), name)
		must(t, err)
		if !strings.HasPrefix(stored, "$argon2id$v=19$m=65536,t=3,p=1$") {
			t.Errorf("%s: the hash is still %q", name, stored)
		}
		again := New(f.store, f.clock.Now) // remembers nothing
		if _, err := again.Basic(t.Context(), basic(name, "old-password")); err != nil {
			t.Errorf("%s: after the new hash: %v", name, err)
		}
	}
}

// breakHash makes every check against the store fail, so that only the memory can answer.
func (f fixture) breakHash(t *testing.T, user string) {
	t.Helper()
	_, old, err := f.store.User(t.Context(), user)
	must(t, err)
	must(t, f.store.Rehash(t.Context(), user, old, "unreadable"))
}

func TestSuccessIsRememberedForFiveMinutes(t *testing.T) {
	f := newFixture(t)
	_, err := f.Basic(t.Context(), basic("admin", adminPassword))
	must(t, err)
	f.breakHash(t, "admin")
	f.clock.advance(rememberTime - time.Second)
	if _, err := f.Basic(t.Context(), basic("Admin", adminPassword)); err != nil {
		t.Errorf("within five minutes: %v", err)
	}
	if _, err := f.Basic(t.Context(), basic("admin", "wrong-password")); !errors.Is(err, ErrCredentials) {
		t.Errorf("another password within five minutes: %v", err)
	}
	f.clock.advance(2 * time.Second)
	if _, err := f.Basic(t.Context(), basic("admin", adminPassword)); !errors.Is(err, ErrCredentials) {
		t.Errorf("after five minutes: %v", err)
	}
}

func TestAnyChangeOfTheUserDropsTheMemory(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(f fixture) error{
		"password": func(f fixture) error { return f.SetPassword(ctx, "ada", "another-password") },
		"roles":    func(f fixture) error { return f.PutUser(ctx, Change{Name: "ADA", Roles: []string{"admin"}}) },
		"deletion": func(f fixture) error { return f.DeleteUser(ctx, "Ada") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			must(t, f.PutUser(ctx, Change{Name: "ada", Password: "ada-password"}))
			_, err := f.Basic(ctx, basic("ada", "ada-password"))
			must(t, err)
			if !f.successes.has("ada", "ada-password") {
				t.Fatal("the success is not remembered")
			}
			age := f.successes.age()
			must(t, change(f))
			if f.successes.has("ada", "ada-password") {
				t.Error("still remembered")
			}
			// A check that began before the change ends after it.
			f.successes.remember("ada", "ada-password", age)
			if f.successes.has("ada", "ada-password") {
				t.Error("a check from before the change is remembered")
			}
		})
	}
}

func TestThrottle(t *testing.T) {
	f := newFixture(t)
	guess := basic("admin", "wrong-password")
	// Nine of the ten free failures took place; each would cost half a second here.
	for range perUser.Free - 1 {
		f.users.Failed(userKey(guess))
	}
	if _, err := f.Basic(t.Context(), guess); !errors.Is(err, ErrCredentials) {
		t.Fatalf("the last free failure: %v", err)
	}
	if _, err := f.Basic(t.Context(), guess); !errors.Is(err, ErrCredentials) {
		t.Fatalf("the first failure beyond the free ones: %v", err)
	}
	if _, err := f.Basic(t.Context(), basic("admin", adminPassword)); !errors.Is(err, ErrThrottled) {
		t.Errorf("the right password at once: %v", err)
	}
	elsewhere := Basic{Username: "admin", Password: adminPassword, Address: "192.0.2.2"}
	if _, err := f.Basic(t.Context(), elsewhere); err != nil {
		t.Errorf("the right password from elsewhere: %v", err)
	}
	if _, err := f.Basic(t.Context(), basic("admin", adminPassword)); !errors.Is(err, ErrThrottled) {
		t.Errorf("the memory let a guesser in: %v", err)
	}
	f.clock.advance(perUser.First)
	if _, err := f.Basic(t.Context(), basic("admin", adminPassword)); err != nil {
		t.Errorf("after the delay: %v", err)
	}
}

func TestThrottlePerAddress(t *testing.T) {
	f := newFixture(t)
	for range perAddress.Free + 1 {
		f.addresses.Failed("192.0.2.1")
	}
	if _, err := f.Basic(t.Context(), basic("anybody", "x")); !errors.Is(err, ErrThrottled) {
		t.Errorf("a sprayer: %v", err)
	}
	if _, err := f.Basic(t.Context(), Basic{Username: "admin", Password: adminPassword}); err != nil {
		t.Errorf("without an address: %v", err)
	}
}

// Many connections that sign in at once as one user cost one check.
func TestManyAtOnceCostOneCheck(t *testing.T) {
	f := newFixture(t)
	begun := time.Now()
	_, err := f.Basic(t.Context(), basic("admin", adminPassword))
	must(t, err)
	one := time.Since(begun)
	fresh := New(f.store, f.clock.Now)
	begun = time.Now()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if _, err := fresh.Basic(context.Background(), basic("admin", adminPassword)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begun); took > 16*one {
		t.Errorf("32 sign-ins took %v, one %v", took, one)
	}
}

func TestTooManyWaiting(t *testing.T) {
	f := newFixture(t)
	release, err := f.takeTurn(t.Context())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range checksWaiting {
		wg.Go(func() {
			if _, err := f.Basic(ctx, basic("admin", adminPassword)); !errors.Is(err, ErrBusy) {
				t.Errorf("a waiting check whose caller left: %v", err)
			}
		})
	}
	deadline := time.After(10 * time.Second)
	for len(f.waiting) < checksWaiting {
		select {
		case <-deadline:
			t.Fatal("the checks do not wait")
		default:
			runtime.Gosched()
		}
	}
	if _, err := f.Basic(t.Context(), basic("admin", adminPassword)); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	wg.Wait()
	release()
	if _, err := f.Basic(t.Context(), basic("admin", adminPassword)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestSessions(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	s, err := f.SignIn(ctx, basic("admin", adminPassword))
	must(t, err)
	if p, err := f.Session(ctx, s.Secret); err != nil || p.User != "admin" || p.Via != "session" {
		t.Fatalf("open session: %v, %v", p, err)
	}
	if _, err := f.Session(ctx, s.Secret+"x"); !errors.Is(err, ErrSession) {
		t.Errorf("unknown session: %v", err)
	}
	// Used again and again it lives for twelve hours, and not longer.
	for range 24 {
		f.clock.advance(29 * time.Minute)
		if _, err := f.Session(ctx, s.Secret); err != nil {
			t.Fatalf("in use: %v", err)
		}
	}
	f.clock.advance(24 * time.Minute)
	if _, err := f.Session(ctx, s.Secret); !errors.Is(err, ErrSession) {
		t.Errorf("after twelve hours: %v", err)
	}

	s, err = f.SignIn(ctx, basic("admin", adminPassword))
	must(t, err)
	f.clock.advance(SessionIdle)
	if _, err := f.Session(ctx, s.Secret); !errors.Is(err, ErrSession) {
		t.Errorf("after thirty minutes without use: %v", err)
	}

	s, err = f.SignIn(ctx, basic("admin", adminPassword))
	must(t, err)
	must(t, f.SignOut(ctx, s.Secret))
	must(t, f.SignOut(ctx, s.Secret))
	if _, err := f.Session(ctx, s.Secret); !errors.Is(err, ErrSession) {
		t.Errorf("after signing out: %v", err)
	}

	s, err = f.SignIn(ctx, basic("admin", adminPassword))
	must(t, err)
	must(t, f.SetPassword(ctx, "admin", "another-password"))
	if _, err := f.Session(ctx, s.Secret); !errors.Is(err, ErrSession) {
		t.Errorf("after a new password: %v", err)
	}
}

func TestTokens(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)

	publish, expires, err := f.Issue(ctx, PurposePublish, "", 0)
	must(t, err)
	if want := f.clock.Now().Add(time.Hour); !expires.Equal(want) {
		t.Errorf("publish token ends %v, want %v", expires, want)
	}
	for how, check := range map[string]func() (string, []string, error){
		"basic": func() (string, []string, error) {
			p, err := f.Basic(ctx, basic("token", publish))
			return p.GetUser(), p.GetPermissions(), err
		},
		"bearer": func() (string, []string, error) {
			p, err := f.Bearer(ctx, publish)
			return p.GetUser(), p.GetPermissions(), err
		},
	} {
		if user, permissions, err := check(); err != nil || user != "token" || !slices.Equal(permissions, []string{PublishPermission}) {
			t.Errorf("%s: %s %v %v", how, user, permissions, err)
		}
	}

	api, _, err := f.Issue(ctx, PurposeAPI, "admin", 0)
	must(t, err)
	if p, err := f.Bearer(ctx, api); err != nil || p.User != "admin" || p.Via != "bearer" {
		t.Errorf("api token: %v, %v", p, err)
	}
	if _, err := f.Basic(ctx, basic("token", api)); !errors.Is(err, ErrToken) {
		t.Errorf("api token as a publisher's password: %v", err)
	}

	link, _, err := f.Issue(ctx, PurposeSignIn, "", 0)
	must(t, err)
	if _, err := f.Bearer(ctx, link); !errors.Is(err, ErrToken) {
		t.Errorf("sign-in token as bearer: %v", err)
	}
	if s, err := f.SignInOnce(ctx, link); err != nil || s.Principal.User != "admin" {
		t.Errorf("sign-in token: %v", err)
	}
	if _, err := f.SignInOnce(ctx, link); !errors.Is(err, ErrToken) {
		t.Errorf("sign-in token, used again: %v", err)
	}
	if _, err := f.SignInOnce(ctx, api); !errors.Is(err, ErrToken) {
		t.Errorf("api token as sign-in link: %v", err)
	}

	late, _, err := f.Issue(ctx, PurposeSignIn, "admin", 0)
	must(t, err)
	f.clock.advance(10 * time.Minute)
	if _, err := f.SignInOnce(ctx, late); !errors.Is(err, ErrToken) {
		t.Errorf("sign-in token after ten minutes: %v", err)
	}
	f.clock.advance(50 * time.Minute)
	if _, err := f.Basic(ctx, basic("token", publish)); !errors.Is(err, ErrToken) {
		t.Errorf("publish token after an hour: %v", err)
	}
}

func TestIssueRefuses(t *testing.T) {
	f := newFixture(t)
	for name, tc := range map[string]struct {
		purpose, user string
		life          time.Duration
		want          error
	}{
		"unknown purpose": {"everything", "admin", 0, ErrInvalid},
		"unknown user":    {PurposeAPI, "nobody", 0, ErrNotFound},
		"no user":         {PurposeAPI, "", 0, ErrNotFound},
		"foreign user":    {PurposeAPI, "admin@example.com", 0, ErrDomain},
		"negative life":   {PurposeAPI, "admin", -time.Second, ErrInvalid},
		"long sign-in":    {PurposeSignIn, "admin", time.Hour, ErrInvalid},
	} {
		if _, _, err := f.Issue(t.Context(), tc.purpose, tc.user, tc.life); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestAllowed(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	must(t, f.PutRole(ctx, account.Role{Name: "publisher", Permissions: []string{"/permission/admin/publish/"}}))
	must(t, f.PutRole(ctx, account.Role{Name: "Internal/everyone", Permissions: []string{"/permission/admin/login"}}))
	must(t, f.PutUser(ctx, Change{Name: "sensor", Password: "sensor-password", Roles: []string{"publisher", "Internal/everyone"}}))
	for _, tc := range []struct {
		user, path string
		want       bool
	}{
		{"admin", "/permission/admin/manage/analytics/table/list", true},
		{"sensor", "/permission/admin/publish/wso2event", true},
		{"sensor@carbon.super", "/permission/admin/publish", true},
		{"sensor", "/permission/admin/login", true},
		{"sensor", "/permission/admin/manage", false},
		{"sensor", "/permission/admin/publishers", false},
		{"token", "/permission/admin/publish/wso2event", true},
		{"token", "/permission/admin/login", false},
		{"nobody", "/permission/admin/login", false},
	} {
		if got, err := f.Allowed(ctx, tc.user, tc.path); err != nil || got != tc.want {
			t.Errorf("%s %s: %v, %v; want %v", tc.user, tc.path, got, err, tc.want)
		}
	}
	if _, err := f.Allowed(ctx, "admin", "no-path"); !errors.Is(err, ErrInvalid) {
		t.Errorf("no path: %v", err)
	}
}

func TestManagementRefuses(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	for name, tc := range map[string]struct {
		err  error
		want error
	}{
		"empty name":        {f.PutUser(ctx, Change{Password: "long-enough"}), ErrInvalid},
		"name with blank":   {f.PutUser(ctx, Change{Name: "a b", Password: "long-enough"}), ErrInvalid},
		"name with newline": {f.PutUser(ctx, Change{Name: "a\nb", Password: "long-enough"}), ErrInvalid},
		"look-alike":        {f.PutUser(ctx, Change{Name: "аdmin", Password: "long-enough"}), ErrInvalid},
		"reserved":          {f.PutUser(ctx, Change{Name: "Token", Password: "long-enough"}), ErrInvalid},
		"short password":    {f.PutUser(ctx, Change{Name: "ada", Password: "1234567"}), ErrInvalid},
		"long password":     {f.PutUser(ctx, Change{Name: "ada", Password: strings.Repeat("x", 1025)}), ErrInvalid},
		"no password":       {f.PutUser(ctx, Change{Name: "ada"}), ErrInvalid},
		"password and hash": {f.PutUser(ctx, Change{Name: "ada", Password: "long-enough", Hash: "$2a$"}), ErrInvalid},
		"unreadable hash":   {f.PutUser(ctx, Change{Name: "ada", Hash: "md5:x"}), ErrInvalid},
		"foreign tenant":    {f.PutUser(ctx, Change{Name: "ada@example.com", Password: "long-enough"}), ErrDomain},
		"unknown role":      {f.PutUser(ctx, Change{Name: "ada", Password: "long-enough", Roles: []string{"x"}}), ErrNotFound},
		"last admin":        {f.DeleteUser(ctx, "admin"), ErrFixed},
		"demoted":           {f.PutUser(ctx, Change{Name: "admin"}), ErrFixed},
		"role admin":        {f.PutRole(ctx, account.Role{Name: "admin"}), ErrFixed},
		"without admin":     {f.DeleteRole(ctx, "Admin"), ErrFixed},
		"without everyone":  {f.DeleteRole(ctx, "Internal/everyone"), ErrFixed},
		"bad path":          {f.PutRole(ctx, account.Role{Name: "r", Permissions: []string{"permission"}}), ErrInvalid},
		"bad role name":     {f.PutRole(ctx, account.Role{Name: "a/b"}), ErrInvalid},
		"nobody's password": {f.SetPassword(ctx, "nobody", "long-enough"), ErrNotFound},
		"empty password":    {f.SetPassword(ctx, "admin", ""), ErrInvalid},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.err, tc.want)
		}
	}
	users, err := f.Users(ctx)
	must(t, err)
	if len(users) != 1 {
		t.Errorf("users after refused changes: %v", users)
	}
}

func TestFirstIsMadeOnce(t *testing.T) {
	f := newFixture(t)
	made, err := f.First(t.Context(), func() (string, error) {
		t.Error("asked for a password again")
		return "other-password", nil
	})
	if made || err != nil {
		t.Errorf("made %v, %v", made, err)
	}
}
