package crashtest

// What an operator does and sees: command lines, queries, files of the repository, the log.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cli runs a command line and answers what it prints and its exit code.
func (l *lab) cli(args ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	var out, errs bytes.Buffer
	cmd := l.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// query asks by `carbonado query` for one row of integers.
func (l *lab) query(sql string) ([]int64, error) {
	out, errs, code := l.cli("query", "-o", "json", sql)
	if code != 0 {
		return nil, fmt.Errorf("query %s: exit code %d: %s", sql, code, errs)
	}
	var a struct{ Rows [][]json.Number }
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		return nil, fmt.Errorf("%w in %s", err, out)
	}
	if len(a.Rows) != 1 {
		return nil, fmt.Errorf("%d rows: %s", len(a.Rows), out)
	}
	row := make([]int64, len(a.Rows[0]))
	for i, v := range a.Rows[0] {
		if v == "" {
			continue // NULL: of an empty table
		}
		n, err := v.Int64()
		if err != nil {
			return nil, err
		}
		row[i] = n
	}
	return row, nil
}

// searchCount counts the documents of a table that a query finds.
func (l *lab) searchCount(table, query string) (int64, error) {
	out, errs, code := l.cli("search", table, query, "--count-only", "-o", "json")
	if code != 0 {
		return 0, fmt.Errorf("search: exit code %d: %s", code, errs)
	}
	var a struct{ Count int64 }
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		return 0, fmt.Errorf("%w in %s", err, out)
	}
	return a.Count, nil
}

// write puts a file into the repository by renaming, as careful operators do.
func (l *lab) write(path, text string) {
	l.t.Helper()
	target := filepath.Join(l.home, "repository", path)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		l.t.Fatal(err)
	}
	temporary := filepath.Join(l.home, "new-artifact")
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
	err := os.Rename(temporary, target)
	if errors.Is(err, syscall.EXDEV) {
		err = os.WriteFile(target, []byte(text), 0o644)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

type artifactLine struct {
	Path, State string
	Cause       *causeLine
}

// deployed waits until an artifact is DEPLOYED.
func (l *lab) deployed(path string) {
	l.t.Helper()
	l.wait(path+" to be DEPLOYED", func() error {
		a, err := l.artifact(path)
		if err == nil && a.State != "DEPLOYED" {
			err = fmt.Errorf("it is %s: %s", a.State, a.Cause)
		}
		return err
	})
}

func (l *lab) artifact(path string) (artifactLine, error) {
	var list []artifactLine
	if err := l.get("/api/artifacts", &list); err != nil {
		return artifactLine{}, err
	}
	for _, a := range list {
		if strings.HasSuffix(a.Path, path) {
			return a, nil
		}
	}
	return artifactLine{}, fmt.Errorf("no artifact %s among %d", path, len(list))
}

// logged waits until the server's output holds a text.
func (l *lab) logged(text string) {
	l.t.Helper()
	l.wait(fmt.Sprintf("%q in the log", text), func() error {
		if !strings.Contains(l.output.String(), text) {
			return errors.New("it is not there")
		}
		return nil
	})
}
