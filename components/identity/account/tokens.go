package account

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Digest is the SHA-256 of a session's or token's secret; the secret itself is never stored.
type Digest [32]byte

// Session is a person who is signed in.
type Session struct {
	User          string
	Created, Seen time.Time
}

// Token is a credential made for a purpose. User is empty for one that stands for nobody.
type Token struct {
	Purpose string
	User    string
	Expires time.Time
}

// PutSession stores a new session.
func (s *Store) PutSession(ctx context.Context, digest Digest, session Session) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO sessions (digest, user, created, seen) VALUES (?, ?, ?, ?)`,
		digest[:], session.User, milliseconds(session.Created), milliseconds(session.Seen))
	return err
}

// Session finds a session, ended or not. ErrNoEntry if there is none.
func (s *Store) Session(ctx context.Context, digest Digest) (Session, error) {
	var session Session
	var created, seen int64
	err := s.db.QueryRowContext(ctx, `SELECT user, created, seen FROM sessions WHERE digest = ?`, digest[:]).Scan(&session.User, &created, &seen)
	if errors.Is(err, sql.ErrNoRows) {
		return Session{}, ErrNoEntry
	}
	session.Created, session.Seen = time.UnixMilli(created), time.UnixMilli(seen)
	return session, err
}

// TouchSession notes when a session was last used. A session that has gone stays gone.
func (s *Store) TouchSession(ctx context.Context, digest Digest, seen time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE sessions SET seen = max(seen, ?) WHERE digest = ?`, milliseconds(seen), digest[:])
	return err
}

// DeleteSession ends a session. A missing one is no error.
func (s *Store) DeleteSession(ctx context.Context, digest Digest) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM sessions WHERE digest = ?`, digest[:])
	return err
}

// PutToken stores a new token.
func (s *Store) PutToken(ctx context.Context, digest Digest, token Token) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO tokens (digest, purpose, user, expires) VALUES (?, ?, ?, ?)`,
		digest[:], token.Purpose, sql.NullString{String: token.User, Valid: token.User != ""}, milliseconds(token.Expires))
	return err
}

// Token finds a token, ended or not. ErrNoEntry if there is none.
func (s *Store) Token(ctx context.Context, digest Digest) (Token, error) {
	return scanToken(s.db.QueryRowContext(ctx, `SELECT purpose, user, expires FROM tokens WHERE digest = ?`, digest[:]))
}

// TakeToken finds a token of a purpose and removes it: of any number of callers one gets it, the others ErrNoEntry.
func (s *Store) TakeToken(ctx context.Context, digest Digest, purpose string) (Token, error) {
	var token Token
	err := s.change(ctx, func(tx *sql.Tx) (err error) {
		token, err = scanToken(tx.QueryRowContext(ctx, `DELETE FROM tokens WHERE digest = ? AND purpose = ? RETURNING purpose, user, expires`, digest[:], purpose))
		return err
	})
	return token, err
}

// Expire removes the tokens that ended before now, and the sessions made before created or last used before seen.
func (s *Store) Expire(ctx context.Context, now, created, seen time.Time) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM tokens WHERE expires <= ?`, milliseconds(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE created <= ? OR seen <= ?`, milliseconds(created), milliseconds(seen))
		return err
	})
}

// signOut ends all sessions and tokens of a user.
func signOut(ctx context.Context, tx *sql.Tx, user string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user = ?`, user); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM tokens WHERE user = ?`, user)
	return err
}

func scanToken(row *sql.Row) (Token, error) {
	var token Token
	var user sql.NullString
	var expires int64
	err := row.Scan(&token.Purpose, &user, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, ErrNoEntry
	}
	token.User, token.Expires = user.String, time.UnixMilli(expires)
	return token, err
}
