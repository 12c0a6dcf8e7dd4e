package cluster_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/local"
	"carbonado.dev/sdk/cause"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// client serves a local coordinator on a Unix socket, as components meet it.
func client(t *testing.T) (kernelv1.CoordinatorClient, *local.Coordinator) {
	t.Helper()
	c, err := local.Open(t.TempDir(), "node-1", "127.0.0.1:9443")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	kernelv1.RegisterCoordinatorServer(s, cluster.NewServer(c))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if err := errors.Join(conn.Close(), <-done, c.Close()); err != nil {
			t.Error(err)
		}
	})
	return kernelv1.NewCoordinatorClient(conn), c
}

func TestCoordinatorOverGRPC(t *testing.T) {
	k, c := client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m, err := k.Members(ctx, &kernelv1.MembersRequest{})
	if err != nil || len(m.Members) != 1 || m.Members[0].NodeId != "node-1" || !m.Members[0].Self || !m.Members[0].Leader {
		t.Errorf("%v, %v", m, err)
	}
	a, err := k.Acquire(ctx, &kernelv1.AcquireLeaseRequest{Name: "script:x", Holder: "a", TtlMs: 60000})
	if err != nil || !a.Granted || a.Token == 0 || a.ExpiresUnixMs == 0 {
		t.Errorf("%v, %v", a, err)
	}
	b, err := k.Acquire(ctx, &kernelv1.AcquireLeaseRequest{Name: "script:x", Holder: "b", TtlMs: 60000})
	if err != nil || b.Granted || b.Holder != "a" {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := k.Release(ctx, &kernelv1.ReleaseLeaseRequest{Name: "script:x", Holder: "a", Token: a.Token}); err != nil {
		t.Error(err)
	}
	for _, ttl := range []int64{-1, 0, 1 << 62} {
		_, err := k.Acquire(ctx, &kernelv1.AcquireLeaseRequest{Name: "l", Holder: "a", TtlMs: ttl})
		if status.Code(err) != codes.InvalidArgument || !errors.Is(cause.From(err), cluster.ErrInvalid) {
			t.Errorf("ttl %d: %v", ttl, err)
		}
	}

	w, err := k.Watch(ctx, &kernelv1.WatchStateRequest{Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := w.Recv(); err != nil || v.Found {
		t.Errorf("%v, %v", v, err)
	}
	v, err := k.Set(ctx, &kernelv1.SetStateRequest{Key: "k", Value: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Recv(); err != nil || string(got.Value) != "1" || got.Version != v.Version {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := k.Set(ctx, &kernelv1.SetStateRequest{Key: "k", Value: []byte("2"), IfVersion: 99}); status.Code(err) != codes.Aborted {
		t.Errorf("%v", err)
	}
	if _, err := k.Set(ctx, &kernelv1.SetStateRequest{Key: "k", IfVersion: v.Version, Delete: true}); err != nil {
		t.Error(err)
	}
	if got, err := k.Get(ctx, &kernelv1.GetStateRequest{Key: "k"}); err != nil || got.Found {
		t.Errorf("%v, %v", got, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
}
