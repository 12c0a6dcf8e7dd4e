package authority

import (
	"context"
	"errors"
	"strings"

	"carbonado.dev/carbonado/components/identity/account"
	"carbonado.dev/carbonado/components/identity/password"
	"carbonado.dev/carbonado/components/identity/permission"
)

// FirstAdmin is the user that a new node has.
const FirstAdmin = "admin"

// Change is a user as it shall be. At most one of Password and Hash is given; with neither the password stays.
type Change struct {
	Name  string
	Roles []string
	// Password of 8 to 1024 bytes.
	Password string
	// Hash of a password from elsewhere: argon2id, bcrypt, or "$carbon-sha256$salt$digest".
	Hash string
}

// Users lists users, with everyone among their roles.
func (a *Authority) Users(ctx context.Context) ([]account.User, error) {
	users, err := a.store.Users(ctx)
	if err != nil {
		return nil, a.unstored(err, "users")
	}
	for i := range users {
		users[i].Roles = append(users[i].Roles, account.RoleEveryone)
	}
	return users, nil
}

// PutUser makes or changes a user.
func (a *Authority) PutUser(ctx context.Context, c Change) error {
	name, err := localName(c.Name)
	if err != nil {
		return err
	}
	if !isName(name) {
		return ErrInvalid.New("user name %q: up to 64 of the letters A to Z, digits, and . _ + - are allowed", c.Name)
	}
	if strings.EqualFold(name, TokenUser) {
		return ErrInvalid.New("the user name %q stands for tokens", TokenUser)
	}
	roles := make([]string, 0, len(c.Roles))
	for _, role := range c.Roles {
		roles = append(roles, roleName(role))
	}
	hash, err := a.newHash(ctx, c)
	if err != nil {
		return err
	}
	return a.put(ctx, account.User{Name: name, Roles: roles}, hash)
}

// SetPassword gives a user a new password and leaves its roles.
func (a *Authority) SetPassword(ctx context.Context, name, secret string) error {
	user, _, err := a.store.User(ctx, name)
	if errors.Is(err, account.ErrNoUser) {
		return ErrNotFound.New("user %q", name)
	}
	if err != nil {
		return a.unstored(err, "user %s", name)
	}
	hash, err := a.newHash(ctx, Change{Name: name, Password: secret})
	if err != nil {
		return err
	}
	if hash == "" {
		return ErrInvalid.New("the new password is empty")
	}
	return a.put(ctx, user, hash)
}

func (a *Authority) put(ctx context.Context, user account.User, hash string) error {
	// Forgotten before and after: a check that runs meanwhile must not be remembered.
	a.successes.forget(user.Name)
	defer a.successes.forget(user.Name)
	err := a.store.PutUser(ctx, user, hash, a.now())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrNoRole):
		return ErrNotFound.Wrap(err, "user %s", user.Name)
	case errors.Is(err, account.ErrNoHash):
		return ErrInvalid.Wrap(err, "user %s", user.Name)
	case errors.Is(err, account.ErrLastAdmin):
		return ErrFixed.Wrap(err, "user %s", user.Name)
	}
	return a.unstored(err, "user %s", user.Name)
}

func (a *Authority) newHash(ctx context.Context, c Change) (string, error) {
	switch {
	case c.Password != "" && c.Hash != "":
		return "", ErrInvalid.New("user %s: a password or a hash, not both", c.Name)
	case c.Hash != "":
		if err := password.Check(c.Hash); err != nil {
			return "", ErrInvalid.Wrap(err, "user %s", c.Name)
		}
		return c.Hash, nil
	case c.Password == "":
		return "", nil
	case len(c.Password) < password.MinLength || len(c.Password) > password.MaxLength:
		return "", ErrInvalid.New("a password has %d to %d bytes", password.MinLength, password.MaxLength)
	}
	return a.hash(ctx, c.Password)
}

func (a *Authority) hash(ctx context.Context, secret string) (string, error) {
	release, err := a.takeTurn(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	hash, err := password.Hash(secret)
	if err != nil {
		return "", ErrStore.Wrap(err, "new password")
	}
	return hash, nil
}

// DeleteUser removes a user. A missing one is no error.
func (a *Authority) DeleteUser(ctx context.Context, name string) error {
	local, err := localName(name)
	if err != nil {
		return err
	}
	a.successes.forget(local)
	defer a.successes.forget(local)
	switch err := a.store.DeleteUser(ctx, local); {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrLastAdmin):
		return ErrFixed.Wrap(err, "user %s", local)
	default:
		return a.unstored(err, "user %s", local)
	}
}

// Roles lists roles.
func (a *Authority) Roles(ctx context.Context) ([]account.Role, error) {
	roles, err := a.store.Roles(ctx)
	if err != nil {
		return nil, a.unstored(err, "roles")
	}
	return roles, nil
}

// PutRole makes or changes a role. The role admin cannot be changed.
func (a *Authority) PutRole(ctx context.Context, role account.Role) error {
	name := roleName(role.Name)
	if !isName(name) {
		return ErrInvalid.New("role name %q: up to 64 of the letters A to Z, digits, and . _ + - are allowed", role.Name)
	}
	if strings.EqualFold(name, account.RoleAdmin) {
		return ErrFixed.New("the role admin has all permissions")
	}
	permissions := make([]string, 0, len(role.Permissions))
	for _, path := range role.Permissions {
		clean, err := permission.Clean(path)
		if err != nil {
			return ErrInvalid.Wrap(err, "role %s", name)
		}
		permissions = append(permissions, clean)
	}
	if err := a.store.PutRole(ctx, account.Role{Name: name, Permissions: permissions}); err != nil {
		return a.unstored(err, "role %s", name)
	}
	return nil
}

// DeleteRole removes a role from all users. A missing one is no error.
func (a *Authority) DeleteRole(ctx context.Context, name string) error {
	name = roleName(name)
	if strings.EqualFold(name, account.RoleAdmin) || strings.EqualFold(name, account.RoleEveryone) {
		return ErrFixed.New("the role %s always exists", name)
	}
	if err := a.store.DeleteRole(ctx, name); err != nil {
		return a.unstored(err, "role %s", name)
	}
	return nil
}

// roleName knows the role everyone by its Carbon name too.
func roleName(name string) string {
	if strings.EqualFold(name, "Internal/everyone") || strings.EqualFold(name, account.RoleEveryone) {
		return account.RoleEveryone
	}
	return name
}

// First makes the user "admin" if nobody has the role admin. The password comes from secret, which is called only then.
// It says whether it made the user.
func (a *Authority) First(ctx context.Context, secret func() (string, error)) (bool, error) {
	has, err := a.store.HasAdmin(ctx)
	if err != nil {
		return false, a.unstored(err, "role admin")
	}
	if has {
		return false, nil
	}
	word, err := secret()
	if err != nil {
		return false, err
	}
	if word == "" || len(word) > password.MaxLength {
		return false, ErrInvalid.New("the first password must have 1 to %d bytes", password.MaxLength)
	}
	hash, err := a.hash(ctx, word)
	if err != nil {
		return false, err
	}
	return true, a.put(ctx, account.User{Name: FirstAdmin, Roles: []string{account.RoleAdmin}}, hash)
}
