// Package authority decides who somebody is and what they may do: it checks passwords, sessions and tokens against the
// account store. It must not know gRPC, HTTP or where the store's file lies.
package authority

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"carbonado.dev/carbonado/components/identity/account"
	"carbonado.dev/carbonado/components/identity/password"
	"carbonado.dev/carbonado/components/identity/permission"
	"carbonado.dev/carbonado/components/identity/throttle"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

const (
	// Tenant is the only tenant: carbon.super.
	Tenant int32 = -1234
	// Domain is what may follow the @ of a user name.
	Domain = "carbon.super"
	// TokenUser is the user name under which a publish token is given as password. No user may have it.
	TokenUser = "token"
	// PublishPermission is all that a publish token may do.
	PublishPermission = "/permission/admin/publish"
)

const (
	// failureTime is how long a refused attempt takes from the begin of its check: longer than any check of an accepted
	// hash on a machine of ours, so that the time does not tell which kind of hash, if any, was there.
	failureTime = 500 * time.Millisecond
	// rememberTime is how long a success is remembered.
	rememberTime = 5 * time.Minute
	// checkWait is how long an attempt waits for its turn: about sixty checks.
	checkWait = 10 * time.Second
	// checksWaiting bounds the attempts that wait, so that a flood is refused at once.
	checksWaiting = 64
)

// perUser slows down guesses at one user from one address, perAddress guesses at many users from one address.
var (
	perUser    = throttle.Limits{Free: 10, First: time.Second, Max: time.Minute, Forget: 15 * time.Minute, Keys: 10_000}
	perAddress = throttle.Limits{Free: 50, First: time.Second, Max: time.Minute, Forget: 15 * time.Minute, Keys: 10_000}
)

// Authority answers for one account store. It is safe for concurrent use.
type Authority struct {
	store *account.Store
	now   func() time.Time

	users     *throttle.Throttle
	addresses *throttle.Throttle
	successes *memory
	// turn is held by the one who checks or makes a hash: argon2id takes 64 MiB and a core.
	turn chan struct{}
	// waiting bounds who waits for the turn.
	waiting chan struct{}
}

// New makes an authority. The clock is time.Now but in tests.
func New(store *account.Store, now func() time.Time) *Authority {
	return &Authority{
		store:     store,
		now:       now,
		users:     throttle.New(perUser, now),
		addresses: throttle.New(perAddress, now),
		successes: newMemory(now),
		turn:      make(chan struct{}, 1),
		waiting:   make(chan struct{}, checksWaiting),
	}
}

// Basic is a user name and a password from an address. The address may be empty if it is not known.
type Basic struct {
	Username, Password, Address string
}

// Basic checks a user's password, or a publish token given as password of the user "token".
func (a *Authority) Basic(ctx context.Context, c Basic) (*commonv1.Principal, error) {
	name, err := localName(c.Username)
	if err != nil {
		return nil, err
	}
	if name == TokenUser {
		return a.token(ctx, c.Password, "basic", PurposePublish)
	}
	c.Username = name
	user, err := a.checkPassword(ctx, c)
	if err != nil {
		return nil, err
	}
	return a.principal(ctx, user, "basic")
}

// checkPassword finds the user whose password it is. It answers ErrCredentials, after one and the same time, whatever part
// was wrong.
func (a *Authority) checkPassword(ctx context.Context, c Basic) (account.User, error) {
	if c.Username == "" || c.Password == "" {
		return account.User{}, ErrCredentials.New("the user name or the password is empty")
	}
	if user, known, err := a.remembered(ctx, c); known || err != nil {
		return user, err
	}
	release, err := a.takeTurn(ctx)
	if err != nil {
		return account.User{}, err
	}
	begun := time.Now()
	user, err := a.checkInTurn(ctx, c)
	release()
	if errors.Is(err, ErrCredentials) {
		select {
		case <-time.After(failureTime - time.Since(begun)):
		case <-ctx.Done():
		}
	}
	return user, err
}

// remembered answers from the memory of successes. It is asked before and after waiting for the turn, because many
// connections of one agent arrive at once.
func (a *Authority) remembered(ctx context.Context, c Basic) (account.User, bool, error) {
	if err := a.throttled(c); err != nil {
		return account.User{}, false, err
	}
	if !a.successes.has(c.Username, c.Password) {
		return account.User{}, false, nil
	}
	user, _, err := a.store.User(ctx, c.Username)
	if errors.Is(err, account.ErrNoUser) {
		return account.User{}, false, nil
	}
	if err != nil {
		return account.User{}, false, a.unstored(err, "user %s", c.Username)
	}
	return user, true, nil
}

func (a *Authority) checkInTurn(ctx context.Context, c Basic) (account.User, error) {
	user, known, err := a.remembered(ctx, c)
	if known || err != nil {
		return user, err
	}
	age := a.successes.age()
	user, hash, err := a.store.User(ctx, c.Username)
	if err != nil && !errors.Is(err, account.ErrNoUser) {
		return account.User{}, a.unstored(err, "user %s", c.Username)
	}
	ok := err == nil && a.verify(ctx, user.Name, hash, c.Password)
	if err != nil {
		password.Waste(c.Password)
	}
	if ok {
		a.users.Succeeded(userKey(c))
		a.successes.remember(c.Username, c.Password, age)
		return user, nil
	}
	a.users.Failed(userKey(c))
	if c.Address != "" {
		a.addresses.Failed(c.Address)
	}
	return account.User{}, ErrCredentials.New("the user name or the password is wrong")
}

// verify checks a password and replaces a hash of an old form by a new one.
func (a *Authority) verify(ctx context.Context, name, hash, secret string) bool {
	if len(secret) > password.MaxLength {
		password.Waste(secret[:password.MaxLength])
		return false
	}
	result, err := password.Verify(hash, secret)
	if err != nil || !result.OK {
		if !result.Slow {
			password.Waste(secret)
		}
		return false
	}
	if result.Rehash {
		// The sign-in is good whatever becomes of the new hash: the next one tries again.
		if fresh, err := password.Hash(secret); err == nil {
			_ = a.store.Rehash(ctx, name, hash, fresh)
		}
	}
	return true
}

// takeTurn waits until this is the only one who checks or makes a hash.
func (a *Authority) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	default:
		return nil, ErrBusy.New("%d password checks are waiting", checksWaiting)
	}
	timer := time.NewTimer(checkWait)
	defer timer.Stop()
	select {
	case a.turn <- struct{}{}:
		return func() { <-a.turn }, nil
	case <-timer.C:
		return nil, ErrBusy.New("the password check did not get its turn within %s", checkWait)
	case <-ctx.Done():
		return nil, ErrBusy.Wrap(ctx.Err(), "the caller did not wait for the password check")
	}
}

func (a *Authority) throttled(c Basic) error {
	wait := a.users.Wait(userKey(c))
	if c.Address != "" {
		wait = max(wait, a.addresses.Wait(c.Address))
	}
	if wait <= 0 {
		return nil
	}
	seconds := int(wait.Round(time.Second)/time.Second) + 1
	return ErrThrottled.New("too many failed attempts: wait %d s", seconds)
}

func userKey(c Basic) string { return strings.ToLower(c.Username) + "\x00" + c.Address }

// unstored is a failure of the store, which names its file.
func (a *Authority) unstored(err error, format string, args ...any) error {
	return ErrStore.Wrap(a.store.Named(err), format, args...)
}

// principal describes a user as of now.
func (a *Authority) principal(ctx context.Context, user account.User, via string) (*commonv1.Principal, error) {
	permissions, err := a.store.Permissions(ctx, user.Name)
	if errors.Is(err, account.ErrNoUser) {
		return nil, ErrCredentials.New("the user name or the password is wrong")
	}
	if err != nil {
		return nil, a.unstored(err, "permissions of %s", user.Name)
	}
	roles := append(slices.Clone(user.Roles), account.RoleEveryone)
	return &commonv1.Principal{User: user.Name, Tenant: Tenant, Roles: roles, Permissions: permissions, Via: via}, nil
}

// Allowed says whether a user has a permission. An unknown user has none.
func (a *Authority) Allowed(ctx context.Context, user, asked string) (bool, error) {
	name, err := localName(user)
	if err != nil {
		return false, err
	}
	if _, err := permission.Clean(asked); err != nil {
		return false, ErrInvalid.Wrap(err, "permission")
	}
	granted := []string{PublishPermission}
	if name != TokenUser {
		granted, err = a.store.Permissions(ctx, name)
		if errors.Is(err, account.ErrNoUser) {
			return false, nil
		}
		if err != nil {
			return false, a.unstored(err, "permissions of %s", name)
		}
	}
	tree, err := permission.New(granted...)
	if err != nil {
		return false, ErrStore.Wrap(err, "permissions of %s", name)
	}
	return tree.Allows(asked), nil
}

// localName takes the domain off a user name and refuses the domains of other tenants.
func localName(username string) (string, error) {
	at := strings.LastIndexByte(username, '@')
	if at < 0 {
		return username, nil
	}
	if domain := username[at+1:]; !strings.EqualFold(domain, Domain) {
		return "", ErrDomain.New("the tenant %q does not exist", domain)
	}
	return username[:at], nil
}

// nameForm is what users and roles may be called: nothing that two people could read as one name.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

func isName(name string) bool { return len(name) <= 64 && nameForm.MatchString(name) }
