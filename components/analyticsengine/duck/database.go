// Package duck runs one statement in one DuckDB database that is made for it: locked, bounded, and able to open only the files
// named. It must not know the record store, services or scripts.
package duck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
)

// Database is a statement.Database: one DuckDB database in memory with one connection. It takes about 10 ms to open, so it lives as long as a
// statement. It is not safe for concurrent use. Close ends it.
type Database struct {
	db     *sql.DB
	conn   *sql.Conn
	limits Limits
	spill  string
	locked bool
}

// schemaName is the schema that tables of a statement live in; the statement's own names never reach another.
const schemaName = "das"

// Open makes a database. Until Lock it can only check statements.
func Open(ctx context.Context, limits Limits) (statement.Database, error) {
	d, err := open(ctx, limits)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func open(ctx context.Context, limits Limits) (*Database, error) {
	if limits.Zone == nil {
		limits.Zone = time.UTC
	}
	d := &Database{limits: limits}
	// Nothing is loaded or installed from the first moment on; the rest is set below, where an error names its setting.
	options := url.Values{
		"threads":                      {strconv.Itoa(max(1, limits.Threads))},
		"memory_limit":                 {bytesOption(limits.Memory)},
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
		"allow_community_extensions":   {"false"},
		"allow_persistent_secrets":     {"false"},
	}
	connector, err := duckdb.NewConnector("?"+options.Encode(), nil)
	if err != nil {
		return nil, ErrEngine.Wrap(err, "DuckDB did not open")
	}
	d.db = sql.OpenDB(connector)
	d.db.SetMaxOpenConns(1)
	if d.conn, err = d.db.Conn(ctx); err != nil {
		return nil, errors.Join(d.failed(ctx, err), d.Close())
	}
	if limits.Spill != "" {
		if d.spill, err = os.MkdirTemp(limits.Spill, "statement-"); err != nil {
			return nil, errors.Join(ErrEngine.Wrap(err, "the folder for spilled data can't be made"), d.Close())
		}
	}
	settings := []string{
		"SET errors_as_json = true",
		"SET TimeZone = " + quote(limits.Zone.String()),
		"SET default_null_order = 'nulls_first_on_asc_last_on_desc'",
		"SET ieee_floating_point_ops = false",
		"SET enable_external_file_cache = false",
		"SET temp_directory = " + quote(d.spill),
		"CREATE SCHEMA " + schemaName,
	}
	if d.spill != "" {
		settings = append(settings, "SET max_temp_directory_size = "+quote(bytesOption(limits.SpillMax)))
	}
	for _, s := range settings {
		if err := d.exec(ctx, s); err != nil {
			return nil, errors.Join(d.failed(ctx, err), d.Close())
		}
	}
	return d, nil
}

func bytesOption(n int64) string { return fmt.Sprintf("%dKiB", max(n, 1<<20)/1024) }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Close ends the database and removes what it spilled. It may be called twice.
func (d *Database) Close() error {
	var errs []error
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
		d.conn = nil
	}
	if d.db != nil {
		errs = append(errs, d.db.Close())
		d.db = nil
	}
	if d.spill != "" {
		errs = append(errs, os.RemoveAll(d.spill))
		d.spill = ""
	}
	return errors.Join(errs...)
}

// Lock closes the database to everything but the files named, for ever: reads are read, writes may be written once. It makes the
// macros and functions named. A file that is not named can't be opened, whatever the statement says.
func (d *Database) Lock(ctx context.Context, files []string, uses []string) error {
	if d.locked {
		return ErrEngine.New("the database is locked already")
	}
	if err := d.define(ctx, uses); err != nil {
		return err
	}
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = quote(f)
	}
	for _, s := range []string{
		"SET allowed_paths = [" + strings.Join(quoted, ", ") + "]",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if err := d.exec(ctx, s); err != nil {
			return d.failed(ctx, err)
		}
	}
	d.locked = true
	return nil
}

// define makes macros and functions of the front; each stands behind those that it calls.
func (d *Database) define(ctx context.Context, uses []string) error {
	zone := d.limits.Zone
	made := map[string]bool{}
	for _, name := range uses {
		if made[name] {
			continue
		}
		made[name] = true
		if isNative(name) {
			if err := registerNative(d.conn, name, zone); err != nil {
				return ErrEngine.Wrap(err, "function %s", name)
			}
		} else if err := d.exec(ctx, "CREATE MACRO "+name+sparksql.Macros[name]); err != nil {
			return ErrEngine.Wrap(d.failed(ctx, err), "macro %s", name)
		}
	}
	return nil
}

func (d *Database) exec(ctx context.Context, statement string) error {
	_, err := d.conn.ExecContext(ctx, statement)
	return err
}

func (d *Database) failed(ctx context.Context, err error) error {
	e, _ := explain(ctx, err)
	return e
}
