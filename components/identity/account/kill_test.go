package account

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const childFile = "CARBONADO_TEST_ACCOUNT_FILE"

// TestMain is the child of TestKillLosesNothing when the variable is set.
func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func numbered(n uint64) Digest {
	var d Digest
	binary.BigEndian.PutUint64(d[:], n)
	return d
}

// child stores tokens from the first free number on, and prints each number after it was acknowledged.
func child(path string) error {
	s, err := Open(context.Background(), path)
	if err != nil {
		return err
	}
	n := uint64(0)
	for ; ; n++ {
		if _, err := s.Token(context.Background(), numbered(n)); err != nil {
			break
		}
	}
	for ; ; n++ {
		if err := s.PutToken(context.Background(), numbered(n), Token{Purpose: "publish", Expires: now}); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

func TestKillLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.db")
	acknowledged := -1
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childFile+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for seen := 0; lines.Scan(); seen++ {
			n, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
			must(t, err)
			if n != acknowledged+1 && seen > 0 {
				t.Fatalf("round %d: %d follows %d", round, n, acknowledged)
			}
			acknowledged = n
			if seen == 20+7*round {
				must(t, cmd.Process.Kill()) // what is still in the pipe was acknowledged too
			}
		}
		_ = cmd.Wait() // killed
		s, err := Open(t.Context(), path)
		must(t, err)
		for n := range acknowledged + 1 {
			if _, err := s.Token(t.Context(), numbered(uint64(n))); err != nil {
				t.Fatalf("round %d: token %d of %d was acknowledged and is gone: %v", round, n, acknowledged, err)
			}
		}
		must(t, s.Close())
	}
	if acknowledged < 100 {
		t.Errorf("only %d tokens were acknowledged", acknowledged)
	}
}
