package handshake_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// health answers with the peer that it sees.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	mu   sync.Mutex // guards peer, seen
	peer handshake.Peer
	seen bool
}

func (h *health) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peer, h.seen = handshake.PeerFrom(ctx)
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// serve runs a server on a Unix socket and returns how to dial it.
func serve(t *testing.T, network, address string, allow handshake.Allow) (*health, string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	h := &health{}
	s := grpc.NewServer(handshake.ServerOptions(allow)...)
	grpc_health_v1.RegisterHealthServer(s, h)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	if network == "tcp" {
		return h, l.Addr().String()
	}
	return h, "unix://" + address
}

func check(t *testing.T, target string, allow handshake.Allow, service string) error {
	t.Helper()
	c, err := grpc.NewClient(target, handshake.DialOptions(allow)...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	return err
}

func TestPeersAreChecked(t *testing.T) {
	own := handshake.Exactly(os.Getpid(), os.Geteuid())
	for _, c := range []struct {
		name           string
		server, client handshake.Allow
		ok             bool
	}{
		{"both expect each other", own, own, true},
		{"any process of the user", handshake.OfUser(os.Geteuid()), own, true},
		{"the server expects another process", handshake.Exactly(os.Getpid()+1, os.Geteuid()), own, false},
		{"the server expects another user", handshake.OfUser(os.Geteuid() + 1), own, false},
		{"the client expects another process", own, handshake.Exactly(1, os.Geteuid()), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, target := serve(t, "unix", filepath.Join(t.TempDir(), "s"), c.server)
			err := check(t, target, c.client, "")
			if (err == nil) != c.ok {
				t.Fatal(err)
			}
			if !c.ok {
				if status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.seen || h.peer.PID != os.Getpid() || h.peer.UID != os.Geteuid() || h.peer.GID != os.Getegid() {
				t.Errorf("the handler saw %+v, %t", h.peer, h.seen)
			}
		})
	}
}

func TestOnlyUnixSocketsHavePeers(t *testing.T) {
	everybody := func(handshake.Peer) bool { return true }
	_, target := serve(t, "tcp", "127.0.0.1:0", everybody)
	if err := check(t, target, everybody, ""); err == nil || !strings.Contains(err.Error(), "tcp") {
		t.Errorf("over TCP: %v", err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := handshake.PeerOf(a); !errors.Is(err, handshake.ErrPeer) {
		t.Errorf("over a pipe: %v", err)
	}
}

func TestMessageLimitIsTheSameOnBothEnds(t *testing.T) {
	own := handshake.Exactly(os.Getpid(), os.Geteuid())
	_, target := serve(t, "unix", filepath.Join(t.TempDir(), "s"), own)
	if err := check(t, target, own, strings.Repeat("x", handshake.MaxMessage-1024)); err != nil {
		t.Errorf("below the limit: %v", err)
	}
	if err := check(t, target, own, strings.Repeat("x", handshake.MaxMessage)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("above the limit: %v", err)
	}
}

func TestOnlyTheKernelOfTheLifelineIsLetIn(t *testing.T) {
	r, w := io.Pipe()
	line := layout.Watch(r, func() {})
	defer w.Close()
	allow := handshake.KernelOnly(line)
	if allow(handshake.Peer{PID: 5, UID: 0}) {
		t.Error("let in before the kernel is known")
	}
	w.Write([]byte(layout.Kernel{PID: 5}.Line()))
	if _, err := line.Kernel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !allow(handshake.Peer{PID: 5, UID: 0}) || allow(handshake.Peer{PID: 6, UID: 0}) {
		t.Error("not exactly the kernel")
	}
}

func TestCredentialsAreWhatGRPCExpects(t *testing.T) {
	c := handshake.Credentials(func(handshake.Peer) bool { return true })
	if c.Info().SecurityProtocol != "peercred" || c.Clone() == nil || c.OverrideServerName("x") != nil {
		t.Error("info, clone, override")
	}
	if (handshake.Peer{}).AuthType() != "peercred" {
		t.Error("auth type")
	}
}
