package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"carbonado.dev/sdk/agent"
)

// errNoPostgres says that the peer is not on this machine.
var errNoPostgres = errors.New("PostgreSQL is not installed (apt-get install postgresql)")

// binaries finds a folder with PostgreSQL's programs, the newest first.
func binaries() (string, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(folders) == 0 {
		return "", errNoPostgres
	}
	return folders[len(folders)-1], nil
}

// cluster is a temporary PostgreSQL server on a Unix socket.
type cluster struct {
	dir string
	cmd *exec.Cmd
}

// asUser makes a command run as the user postgres where we are root: PostgreSQL refuses to run as root.
func asUser(cmd *exec.Cmd) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return errNoPostgres
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return nil
}

func startCluster(ctx context.Context) (*cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "carbonado-pg-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	if os.Getuid() == 0 {
		if out, err := exec.CommandContext(ctx, "chown", "postgres", dir).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("chown: %w %s", err, out), os.RemoveAll(dir))
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-A", "trust", "-U", "bench", "--no-locale", "-E", "UTF8")
	initdb.Dir = dir
	if err := asUser(initdb); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	// Its own defaults but for room that any installation gives it: buffers, and log files that are not cut every few seconds.
	c.cmd = exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"), "-k", dir, "-c", "listen_addresses=", "-c", "synchronous_commit=on", "-c", "fsync=on",
		"-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB", "-c", "wal_buffers=16MB")
	c.cmd.Dir = dir
	if err := asUser(c.cmd); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

func (c *cluster) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, "host="+c.dir+" user=bench dbname=postgres")
		if err == nil {
			return conn, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (c *cluster) stop() error {
	err := c.cmd.Process.Signal(syscall.SIGINT)
	return errors.Join(err, c.cmd.Wait(), os.RemoveAll(c.dir))
}

const table = `CREATE TABLE bench (ts bigint, meta_host text, serial bigint, metro_area text, state text, device_id int, power_reading real, price double precision, is_peak boolean, note text);
CREATE INDEX bench_ts ON bench USING btree (ts)`

var columns = []string{"ts", "meta_host", "serial", "metro_area", "state", "device_id", "power_reading", "price", "is_peak", "note"}

// postgres answers the rows per second that COPY stores durably, in batches of a bundle over as many connections.
func postgres(ctx context.Context, length time.Duration, events []agent.Event) (rate float64, version string, err error) {
	c, err := startCluster(ctx)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	conn, err := c.connect(ctx)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, "SHOW server_version").Scan(&version); err != nil {
		return 0, "", err
	}
	if _, err := conn.Exec(ctx, table); err != nil {
		return 0, "", err
	}
	rows := make([][]any, len(events))
	for i, e := range events {
		rows[i] = append([]any{e.Time}, e.Values...)
	}
	var stored atomic.Int64
	var failure atomic.Value
	began := time.Now()
	end := began.Add(length)
	var wg sync.WaitGroup
	for n := range connections {
		own, err := c.connect(ctx)
		if err != nil {
			return 0, "", err
		}
		wg.Go(func() {
			defer own.Close(ctx)
			for i := n * len(rows) / connections / bundleSize * bundleSize; time.Now().Before(end); i += bundleSize {
				batch := rows[i%len(rows):][:bundleSize]
				if _, err := own.CopyFrom(ctx, pgx.Identifier{"bench"}, columns, pgx.CopyFromRows(batch)); err != nil {
					failure.CompareAndSwap(nil, err)
					return
				}
				stored.Add(bundleSize)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if f, ok := failure.Load().(error); ok {
		return 0, "", f
	}
	var count int64
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM bench").Scan(&count); err != nil {
		return 0, "", err
	}
	if count != stored.Load() {
		return 0, "", fmt.Errorf("PostgreSQL has %d rows of %d", count, stored.Load())
	}
	return float64(count) / took.Seconds(), version, nil
}
