// Package account keeps users, roles, sessions and tokens in one SQLite file; what it answered is on disk. It must not know
// passwords, permissions' meaning, or who asks.
package account

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Names of the roles that always exist. Everyone belongs to all users without being stored for them.
const (
	RoleAdmin    = "admin"
	RoleEveryone = "everyone"
)

// Errors of this package; the store's own failures are wrapped as they come.
var (
	ErrNoUser    = errors.New("no such user")
	ErrNoRole    = errors.New("no such role")
	ErrNoHash    = errors.New("a new user needs a password")
	ErrLastAdmin = errors.New("the last member of the role admin must stay")
	ErrNoEntry   = errors.New("no such session or token")
)

//go:embed migrations/*.sql
var migrations embed.FS

// User is a user with the roles that are stored for it, without everyone.
type User struct {
	Name  string
	Roles []string
}

// Role is a role with its permission paths.
type Role struct {
	Name        string
	Permissions []string
}

// Store is the file. It is safe for concurrent use. A write is on disk when its method returns nil.
type Store struct {
	db   *sql.DB
	path string
}

// Open opens or makes the file, with mode 0600, and brings its tables up to date. It fails on a damaged file.
func Open(ctx context.Context, path string) (*Store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// With synchronous(FULL) a commit in WAL mode returns after the log is on disk.
	query := url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"},
		"_txlock": {"immediate"},
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(2)
	s := &Store{db: db, path: path}
	if err := s.prepare(ctx); err != nil {
		return nil, s.Named(errors.Join(err, db.Close()))
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	var verdict string
	if err := s.db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return fmt.Errorf("the file cannot be read: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("the file is damaged: %s", verdict)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("the tables cannot be brought up to date: %w", err)
	}
	return nil
}

// Named says which file a failure is about. A nil error stays nil.
func (s *Store) Named(err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: "write", Path: s.path, Err: err}
}

// Close closes the file; calls under way end first.
func (s *Store) Close() error { return s.db.Close() }

// change runs one transaction that is on disk when it returns nil.
func (s *Store) change(ctx context.Context, run func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := run(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// texts reads a column of strings.
func texts(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func milliseconds(t time.Time) int64 { return t.UnixMilli() }
