package handshake

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// ErrPeer is what a refused connection ends with, on the side that refused it.
var ErrPeer = errors.New("peer refused")

// Peer is the process at the other end of a Unix socket, as the operating system states it (SO_PEERCRED). On the server's side
// it is the process that connected; on the client's side the one that called listen. It is the AuthInfo of each call.
type Peer struct {
	credentials.CommonAuthInfo
	PID int
	UID int
	GID int
}

// AuthType names the mechanism.
func (Peer) AuthType() string { return "peercred" }

// PeerFrom returns the peer of the call that ctx belongs to. ok is false if the call came in over another kind of credentials.
func PeerFrom(ctx context.Context) (p Peer, ok bool) {
	info, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	p, ok = info.AuthInfo.(Peer)
	return p, ok
}

// Allow decides about a peer. It is called once for each connection, possibly concurrently, and must not block.
type Allow func(Peer) bool

// Exactly allows one process: both numbers must match.
func Exactly(pid, uid int) Allow {
	return func(p Peer) bool { return p.PID == pid && p.UID == uid }
}

// OfUser allows every process of one user.
func OfUser(uid int) Allow {
	return func(p Peer) bool { return p.UID == uid }
}

// Credentials returns transport credentials for Unix sockets that let a connection live only if allow says so. The same kind
// serves both ends: a server checks who connected, a client checks who listens. Other sockets than Unix ones are refused.
// They need no key, add no byte to the connection, and count as private and intact, since the bytes never leave the machine.
func Credentials(allow Allow) credentials.TransportCredentials { return peerCredentials{allow} }

type peerCredentials struct{ allow Allow }

func (c peerCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.check(conn, "listening")
}

func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.check(conn, "connecting")
}

func (c peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (c peerCredentials) OverrideServerName(string) error { return nil }

func (c peerCredentials) check(conn net.Conn, side string) (net.Conn, credentials.AuthInfo, error) {
	p, err := PeerOf(conn)
	if err != nil {
		return nil, nil, err
	}
	if !c.allow(p) {
		return nil, nil, fmt.Errorf("%w: the %s process is %d of user %d, which is not the one expected", ErrPeer, side, p.PID, p.UID)
	}
	return conn, p, nil
}

// PeerOf asks the operating system who is at the other end of conn, which must be a Unix socket.
func PeerOf(conn net.Conn) (Peer, error) {
	if network := conn.RemoteAddr().Network(); network != "unix" && network != "unixpacket" {
		return Peer{}, fmt.Errorf("%w: a %s connection has no peer credentials", ErrPeer, network)
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return Peer{}, fmt.Errorf("%w: a %T has no descriptor to ask", ErrPeer, conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	var ucred *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		ucred, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	if asked != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrPeer, asked)
	}
	return Peer{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		PID:            int(ucred.Pid),
		UID:            int(ucred.Uid),
		GID:            int(ucred.Gid),
	}, nil
}
