package service_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
)

// start serves one method, test.Big/Get, which answers with a stream.
func start(t *testing.T, handler grpc.StreamHandler) (*service.Server, grpc.ClientStream) {
	t.Helper()
	dir, err := os.MkdirTemp("", "svc") // a Unix path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := service.New(t.Context(), "Big", hclog.NewNullLogger(), filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	desc := grpc.StreamDesc{StreamName: "Get", ServerStreams: true, Handler: handler}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Big", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc}}, struct{}{})
	s.Admit(&controlv1.AdmitRequest{Consumer: "Test", Service: "test.Big", Token: []byte("t"), ConsumerUid: int32(os.Getuid())})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := service.Dial(s.Address(), 0, os.Getuid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(service.WithToken(t.Context(), "t"), 20*time.Second)
	t.Cleanup(cancel)
	stream, err := conn.NewStream(ctx, &desc, "/test.Big/Get")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	return s, stream
}

// What a handler has given as its answer arrives, though the server stops as soon as the handler has returned.
func TestStopLosesNoAnswer(t *testing.T) {
	const pieces = 64
	piece := wrapperspb.Bytes(bytes.Repeat([]byte("x"), 128<<10))
	returned := make(chan struct{})
	s, stream := start(t, func(_ any, ss grpc.ServerStream) error {
		defer close(returned)
		for range pieces {
			if err := ss.SendMsg(piece); err != nil {
				return err
			}
		}
		return nil
	})
	<-returned
	stopped := make(chan struct{})
	go func() { s.Stop(); close(stopped) }()
	for n := 0; ; n++ {
		err := stream.RecvMsg(new(wrapperspb.BytesValue))
		if errors.Is(err, io.EOF) && n == pieces {
			break
		}
		if err != nil {
			t.Fatalf("after %d of %d pieces: %v", n, pieces, err)
		}
	}
	<-stopped
}

// A call that does not end by itself is ended.
func TestStopEndsCalls(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	s, stream := start(t, func(_ any, ss grpc.ServerStream) error {
		close(begun)
		<-ss.Context().Done()
		close(ended)
		return ss.Context().Err()
	})
	<-begun
	s.Stop()
	<-ended
	if err := stream.RecvMsg(new(wrapperspb.BytesValue)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
