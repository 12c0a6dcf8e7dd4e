package component

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// connection makes both ends of a TCP connection.
func connection(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

// A successor takes connections with their state; the predecessor's copies are closed, and it has nothing to take back.
func TestHandover(t *testing.T) {
	old, next := newC(hclog.NewNullLogger(), nil), newC(hclog.NewNullLogger(), nil)
	server, client := connection(t)
	old.Handover("echo", func() []Handed { return []Handed{{State: []byte("alone")}, {Conn: server, State: []byte("seen")}} }, func(Handed) error { return nil })
	var taken []Handed
	next.Handover("echo", func() []Handed { return nil }, func(h Handed) error { taken = append(taken, h); return nil })
	address := filepath.Join(t.TempDir(), "ho.sock")
	offer, err := old.offerHandover(address)
	if err != nil || offer.count() != 2 {
		t.Fatalf("%v", err)
	}
	if err := next.takeOver(context.Background(), address); err != nil {
		t.Fatal(err)
	}
	if back := offer.back(); len(back) != 0 {
		t.Errorf("%d things come back", len(back))
	}
	if len(taken) != 2 || taken[0].Conn != nil || string(taken[0].State) != "alone" || taken[1].Conn == nil || string(taken[1].State) != "seen" {
		t.Fatalf("taken: %v", taken)
	}
	defer taken[1].Conn.Close()
	if _, err := server.Write([]byte("x")); err == nil {
		t.Error("the predecessor's copy is open")
	}
	if _, err := taken[1].Conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(client, b); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
}

// Without a successor everything comes back, open; a second offer at the same place is possible.
func TestHandoverComesBack(t *testing.T) {
	old := newC(hclog.NewNullLogger(), nil)
	server, client := connection(t)
	old.Handover("echo", func() []Handed { return []Handed{{Conn: server}} }, func(Handed) error { return nil })
	address := filepath.Join(t.TempDir(), "ho.sock")
	for range 2 {
		offer, err := old.offerHandover(address)
		if err != nil {
			t.Fatal(err)
		}
		back := offer.back()
		if len(back) != 1 || back[0].Conn != server || back[0].kind != "echo" {
			t.Fatalf("back: %v", back)
		}
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
