package guardian

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener is a TCP socket that outlives the processes which accept on it: connects queue while nobody does.
type listener struct {
	fd      int
	asked   string
	address string
}

// listen opens the socket of a key. The same key and address again is the open one; another address replaces it.
func (g *guardian) listen(key, address string) (string, error) {
	if l := g.listeners[key]; l != nil {
		if l.asked == address {
			return l.address, nil
		}
		g.unlisten(key)
	}
	n, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	defer n.Close()
	raw, err := n.(*net.TCPListener).SyscallConn()
	if err != nil {
		return "", err
	}
	l := &listener{asked: address, address: n.Addr().String()}
	var dup error
	if err := raw.Control(func(fd uintptr) { l.fd, dup = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return "", err
	}
	if dup != nil {
		return "", dup
	}
	g.listeners[key] = l
	return l.address, nil
}

func (g *guardian) listener(key string) (*listener, error) {
	l := g.listeners[key]
	if l == nil {
		return nil, fmt.Errorf("no listener is called %q: %w", key, syscall.ENOENT)
	}
	return l, nil
}

// unlisten closes the guardian's hold. Processes that have the socket keep it.
func (g *guardian) unlisten(key string) {
	if l := g.listeners[key]; l != nil {
		unix.Close(l.fd)
		delete(g.listeners, key)
	}
}
