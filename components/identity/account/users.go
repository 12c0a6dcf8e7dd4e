package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Users lists all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	names, err := texts(ctx, s.db, `SELECT name FROM users ORDER BY name`)
	if err != nil {
		return nil, err
	}
	users := make([]User, 0, len(names))
	for _, name := range names {
		user, _, err := s.User(ctx, name)
		if errors.Is(err, ErrNoUser) {
			continue // deleted in between
		}
		if err != nil {
			return nil, err
		}
		users = append(users, user)
	}
	return users, nil
}

// User finds a user and its password hash. Names differ in more than case, so any spelling finds the one user, under the
// name it was made with. ErrNoUser if there is none.
func (s *Store) User(ctx context.Context, name string) (User, string, error) {
	var user User
	var hash string
	err := s.db.QueryRowContext(ctx, `SELECT name, hash FROM users WHERE name = ?`, name).Scan(&user.Name, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, "", ErrNoUser
	}
	if err != nil {
		return User{}, "", err
	}
	user.Roles, err = texts(ctx, s.db, `SELECT role FROM members WHERE user = ? ORDER BY role`, user.Name)
	return user, hash, err
}

// Permissions lists the permission paths of a user: those of its roles and of everyone. ErrNoUser if there is none.
func (s *Store) Permissions(ctx context.Context, name string) ([]string, error) {
	var one int
	err := s.db.QueryRowContext(ctx, `SELECT 1 FROM users WHERE name = ?`, name).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNoUser
	}
	if err != nil {
		return nil, err
	}
	return texts(ctx, s.db, `SELECT DISTINCT permission FROM grants
		WHERE role = ? OR role IN (SELECT role FROM members WHERE user = ?) ORDER BY permission`, RoleEveryone, name)
}

// PutUser makes a user or replaces its roles, and its hash unless that is empty. A new hash ends the user's sessions and
// tokens. ErrNoRole names an unknown role, ErrNoHash a new user without hash, ErrLastAdmin a change that would leave the
// role admin without members.
func (s *Store) PutUser(ctx context.Context, user User, hash string, now time.Time) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		if hash != "" {
			if _, err := tx.ExecContext(ctx, `INSERT INTO users (name, hash, changed) VALUES (?, ?, ?)
				ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, changed = excluded.changed`, user.Name, hash, milliseconds(now)); err != nil {
				return err
			}
			if err := signOut(ctx, tx, user.Name); err != nil {
				return err
			}
		} else {
			res, err := tx.ExecContext(ctx, `UPDATE users SET changed = ? WHERE name = ?`, milliseconds(now), user.Name)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return errors.Join(ErrNoHash, err)
			}
		}
		hadAdmin, err := hasAdmin(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM members WHERE user = ?`, user.Name); err != nil {
			return err
		}
		for _, role := range user.Roles {
			if role == RoleEveryone {
				continue
			}
			res, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO members (user, role)
				SELECT u.name, r.name FROM users u, roles r WHERE u.name = ? AND r.name = ?`, user.Name, role)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				known, err := exists(ctx, tx, `SELECT 1 FROM roles WHERE name = ?`, role)
				if err != nil {
					return err
				}
				if !known {
					return fmt.Errorf("%w: %s", ErrNoRole, role)
				}
			}
		}
		return keepAdmin(ctx, tx, hadAdmin)
	})
}

// DeleteUser removes a user with its sessions and tokens. A missing one is no error.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		hadAdmin, err := hasAdmin(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM users WHERE name = ?`, name); err != nil {
			return err
		}
		return keepAdmin(ctx, tx, hadAdmin)
	})
}

// Rehash replaces a user's hash by another of the same password. Nothing happens if the hash is no longer old.
func (s *Store) Rehash(ctx context.Context, name, old, hash string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE users SET hash = ? WHERE name = ? AND hash = ?`, hash, name, old)
	return err
}

// HasAdmin says whether anybody has the role admin.
func (s *Store) HasAdmin(ctx context.Context) (bool, error) { return hasAdmin(ctx, s.db) }

// Roles lists all roles by name, everyone included.
func (s *Store) Roles(ctx context.Context) ([]Role, error) {
	names, err := texts(ctx, s.db, `SELECT name FROM roles ORDER BY name`)
	if err != nil {
		return nil, err
	}
	roles := make([]Role, 0, len(names))
	for _, name := range names {
		permissions, err := texts(ctx, s.db, `SELECT permission FROM grants WHERE role = ? ORDER BY permission`, name)
		if err != nil {
			return nil, err
		}
		roles = append(roles, Role{Name: name, Permissions: permissions})
	}
	return roles, nil
}

// PutRole makes a role or replaces its permissions.
func (s *Store) PutRole(ctx context.Context, role Role) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO roles (name) VALUES (?)`, role.Name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM grants WHERE role = ?`, role.Name); err != nil {
			return err
		}
		for _, permission := range role.Permissions {
			if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO grants (role, permission)
				SELECT name, ? FROM roles WHERE name = ?`, permission, role.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRole removes a role from all users. A missing one is no error.
func (s *Store) DeleteRole(ctx context.Context, name string) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM roles WHERE name = ?`, name)
		return err
	})
}

func hasAdmin(ctx context.Context, q querier) (bool, error) {
	return exists(ctx, q, `SELECT 1 FROM members WHERE role = ?`, RoleAdmin)
}

// keepAdmin refuses a change that took the role admin its last member.
func keepAdmin(ctx context.Context, tx *sql.Tx, had bool) error {
	has, err := hasAdmin(ctx, tx)
	if err == nil && had && !has {
		return ErrLastAdmin
	}
	return err
}

func exists(ctx context.Context, q querier, query string, args ...any) (bool, error) {
	var one int
	err := q.QueryRowContext(ctx, query+` LIMIT 1`, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
