package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func getOver(t *testing.T, folder string) (string, error) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx, folder) }}
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get("http://admin/x") //nolint:noctx // the client has a timeout
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func closeSocket(t *testing.T, s *Socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestSocket(t *testing.T) {
	// A CARBON_HOME far longer than a Unix path may be.
	folder := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "run")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := getOver(t, folder); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a server: %v", err)
	}
	for range 2 {
		s, err := ListenSocket(folder, http.HandlerFunc(hello))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(folder, SocketName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if got, err := getOver(t, folder); err != nil || got != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		closeSocket(t, s)
		if _, err := os.Lstat(filepath.Join(folder, SocketName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("left behind: %v", err)
		}
		// What a killed server leaves is replaced.
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if err := errors.Join(os.Rename(l.Addr().String(), filepath.Join(folder, SocketName)), l.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := getOver(t, folder); !errors.Is(err, ErrNoServer) {
			t.Errorf("at a dead socket: %v", err)
		}
	}
}

// strangerEnv makes the test binary dial the socket in a folder, as another user.
const strangerEnv = "CARBONADO_TEST_STRANGER"

func TestStrangersAreNotLetIn(t *testing.T) {
	if folder := os.Getenv(strangerEnv); folder != "" {
		if got, err := getOver(t, folder); err == nil {
			t.Fatalf("let in: %q", got)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	folder, err := os.MkdirTemp("", "strangers")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	s, err := ListenSocket(folder, http.HandlerFunc(hello))
	if err != nil {
		t.Fatal(err)
	}
	defer closeSocket(t, s)
	// Even where the file's mode would let them: the peer itself is looked at.
	if err := errors.Join(os.Chmod(folder, 0o755), os.Chmod(filepath.Join(folder, SocketName), 0o666)); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(folder, "stranger")
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, data, 0o755); err != nil { //nolint:gosec // it is to be run by another user
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestStrangersAreNotLetIn$")
	cmd.Env = []string{strangerEnv + "=" + folder}
	cmd.Dir = folder
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got, err := getOver(t, folder); err != nil || got != "hello" {
		t.Errorf("the server's own user: %q, %v", got, err)
	}
}
