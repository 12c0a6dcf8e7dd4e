package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"carbonado.dev/carbonado/components/identity/account"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Purposes of tokens.
const (
	PurposePublish = "publish"
	PurposeSignIn  = "sign-in"
	PurposeAPI     = "api"
)

// Times of sessions.
const (
	SessionLife = 12 * time.Hour
	SessionIdle = 30 * time.Minute
	// sessionNote is how exact the time of last use on disk is: not every request costs a write.
	sessionNote = 15 * time.Second
)

// lives says how long a token lives if nothing is asked, and at most.
var lives = map[string]struct{ usual, most time.Duration }{
	PurposePublish: {time.Hour, 24 * time.Hour},
	PurposeSignIn:  {10 * time.Minute, 10 * time.Minute},
	PurposeAPI:     {time.Hour, 90 * 24 * time.Hour},
}

// Issue makes a token. A publish token stands for nobody; a sign-in token without user is for "admin".
func (a *Authority) Issue(ctx context.Context, purpose, user string, life time.Duration) (string, time.Time, error) {
	limits, known := lives[purpose]
	if !known {
		return "", time.Time{}, ErrInvalid.New("purpose %q: publish, sign-in and api are known", purpose)
	}
	if life == 0 {
		life = limits.usual
	}
	if life < 0 || life > limits.most {
		return "", time.Time{}, ErrInvalid.New("a token for %s may live up to %s, not %s", purpose, limits.most, life)
	}
	token := account.Token{Purpose: purpose, Expires: a.now().Add(life)}
	if purpose != PurposePublish {
		name, err := localName(user)
		if err != nil {
			return "", time.Time{}, err
		}
		if name == "" && purpose == PurposeSignIn {
			name = FirstAdmin
		}
		found, _, err := a.store.User(ctx, name)
		if errors.Is(err, account.ErrNoUser) {
			return "", time.Time{}, ErrNotFound.New("user %q", name)
		}
		if err != nil {
			return "", time.Time{}, a.unstored(err, "user %s", name)
		}
		token.User = found.Name
	}
	if err := a.expire(ctx); err != nil {
		return "", time.Time{}, err
	}
	secret, digest := newSecret()
	if err := a.store.PutToken(ctx, digest, token); err != nil {
		return "", time.Time{}, a.unstored(err, "new token")
	}
	return secret, token.Expires, nil
}

// Bearer checks a publish or api token.
func (a *Authority) Bearer(ctx context.Context, secret string) (*commonv1.Principal, error) {
	return a.token(ctx, secret, "bearer", PurposePublish, PurposeAPI)
}

func (a *Authority) token(ctx context.Context, secret, via string, purposes ...string) (*commonv1.Principal, error) {
	token, err := a.store.Token(ctx, digestOf(secret))
	if err != nil && !errors.Is(err, account.ErrNoEntry) {
		return nil, a.unstored(err, "token")
	}
	if err != nil || !a.now().Before(token.Expires) {
		return nil, ErrToken.New("the token is not valid")
	}
	for _, purpose := range purposes {
		switch {
		case purpose != token.Purpose:
		case purpose == PurposePublish:
			return &commonv1.Principal{User: TokenUser, Tenant: Tenant, Permissions: []string{PublishPermission}, Via: via}, nil
		default:
			return a.principalOf(ctx, token.User, via)
		}
	}
	return nil, ErrToken.New("the token is not valid")
}

func (a *Authority) principalOf(ctx context.Context, name, via string) (*commonv1.Principal, error) {
	user, _, err := a.store.User(ctx, name)
	if errors.Is(err, account.ErrNoUser) {
		return nil, ErrToken.New("the token is not valid")
	}
	if err != nil {
		return nil, a.unstored(err, "user %s", name)
	}
	return a.principal(ctx, user, via)
}

// Session is an open session.
type Session struct {
	Secret    string
	Principal *commonv1.Principal
	Expires   time.Time
}

// SignIn opens a session for a person who gave a password.
func (a *Authority) SignIn(ctx context.Context, c Basic) (Session, error) {
	name, err := localName(c.Username)
	if err != nil {
		return Session{}, err
	}
	c.Username = name
	user, err := a.checkPassword(ctx, c)
	if err != nil {
		return Session{}, err
	}
	return a.open(ctx, user)
}

// SignInOnce opens a session for a person who followed a one-time link. The link's token is used up.
func (a *Authority) SignInOnce(ctx context.Context, secret string) (Session, error) {
	token, err := a.store.TakeToken(ctx, digestOf(secret), PurposeSignIn)
	if err != nil && !errors.Is(err, account.ErrNoEntry) {
		return Session{}, a.unstored(err, "sign-in token")
	}
	if err != nil || !a.now().Before(token.Expires) {
		return Session{}, ErrToken.New("the sign-in link was used or is too old").Fix("Get a new one with `carbonado open`.")
	}
	user, _, err := a.store.User(ctx, token.User)
	if err != nil {
		return Session{}, a.unstored(err, "user %s", token.User)
	}
	return a.open(ctx, user)
}

func (a *Authority) open(ctx context.Context, user account.User) (Session, error) {
	principal, err := a.principal(ctx, user, "session")
	if err != nil {
		return Session{}, err
	}
	if err := a.expire(ctx); err != nil {
		return Session{}, err
	}
	secret, digest := newSecret()
	now := a.now()
	if err := a.store.PutSession(ctx, digest, account.Session{User: user.Name, Created: now, Seen: now}); err != nil {
		return Session{}, a.unstored(err, "new session of %s", user.Name)
	}
	return Session{Secret: secret, Principal: principal, Expires: now.Add(SessionLife)}, nil
}

// Session checks a session and notes its use.
func (a *Authority) Session(ctx context.Context, secret string) (*commonv1.Principal, error) {
	digest := digestOf(secret)
	session, err := a.store.Session(ctx, digest)
	if err != nil && !errors.Is(err, account.ErrNoEntry) {
		return nil, a.unstored(err, "session")
	}
	now := a.now()
	if err != nil || now.Sub(session.Created) >= SessionLife || now.Sub(session.Seen) >= SessionIdle {
		return nil, ErrSession.New("the session has ended")
	}
	if now.Sub(session.Seen) >= sessionNote {
		if err := a.store.TouchSession(ctx, digest, now); err != nil {
			return nil, a.unstored(err, "session of %s", session.User)
		}
	}
	user, _, err := a.store.User(ctx, session.User)
	if errors.Is(err, account.ErrNoUser) {
		return nil, ErrSession.New("the session has ended")
	}
	if err != nil {
		return nil, a.unstored(err, "user %s", session.User)
	}
	return a.principal(ctx, user, "session")
}

// SignOut ends a session. An unknown one is no error.
func (a *Authority) SignOut(ctx context.Context, secret string) error {
	if err := a.store.DeleteSession(ctx, digestOf(secret)); err != nil {
		return a.unstored(err, "session")
	}
	return nil
}

// expire removes what has ended, before something new is added.
func (a *Authority) expire(ctx context.Context) error {
	now := a.now()
	if err := a.store.Expire(ctx, now, now.Add(-SessionLife), now.Add(-SessionIdle)); err != nil {
		return a.unstored(err, "ended sessions and tokens")
	}
	return nil
}

// newSecret makes 256 random bits as text, and their digest.
func newSecret() (string, account.Digest) {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	secret := base64.RawURLEncoding.EncodeToString(raw[:])
	return secret, digestOf(secret)
}

func digestOf(secret string) account.Digest { return sha256.Sum256([]byte(secret)) }
