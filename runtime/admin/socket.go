package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/handshake"
)

// SocketName is the admin socket's file in repository/run.
const SocketName = "admin.sock"

// ErrNoServer is the kind of a node whose server does not answer.
var ErrNoServer = cause.Define("CBN-CLI-069", "No server runs on this node.", "Start it with `bin/carbonado.sh start`, or set CARBON_HOME to the installation that runs.")

// Socket is the node's admin socket: 0600, and only the server's own user and root are let in.
type Socket struct {
	server *http.Server
	path   string
	done   chan struct{}
}

// ListenSocket serves h on runFolder/admin.sock until Close. A socket left by a killed server is replaced.
func ListenSocket(runFolder string, h http.Handler) (*Socket, error) {
	dir, err := openFolder(runFolder)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	path := shortPath(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // its path is gone with dir
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	s := &Socket{path: filepath.Join(runFolder, SocketName), done: make(chan struct{}), server: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(&ownUserListener{l}) // ends with Close
	}()
	return s, nil
}

// Close ends the socket; requests under way get until ctx ends.
func (s *Socket) Close(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	<-s.done
	return errors.Join(err, os.Remove(s.path))
}

// A Unix path ends at 108 bytes, and CARBON_HOME may be longer: the socket is reached through its folder's descriptor.
func openFolder(folder string) (*os.File, error) { return os.Open(folder) }

func shortPath(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName)
}

// Dial connects to the admin socket in a run folder. Nobody there is an ErrNoServer.
func Dial(ctx context.Context, runFolder string) (net.Conn, error) {
	dir, err := openFolder(runFolder)
	if err != nil {
		return nil, ErrNoServer.Wrap(err, "no server has run here")
	}
	defer dir.Close()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", shortPath(dir))
	if err != nil {
		return nil, ErrNoServer.Wrap(err, "nobody answers on %s", filepath.Join(runFolder, SocketName))
	}
	return c, nil
}

// ownUserListener closes connections of other users than the server's and root.
type ownUserListener struct{ net.Listener }

func (l *ownUserListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := handshake.PeerOf(c)
		if err == nil && (p.UID == os.Getuid() || p.UID == 0) {
			return c, nil
		}
		c.Close()
	}
}
