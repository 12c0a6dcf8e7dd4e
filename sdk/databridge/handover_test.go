package databridge_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/wire"
)

// counter is a Handler that counts.
type counter struct {
	published, found atomic.Int64
	hold             chan struct{} // Publish waits for it, if not nil
	entered          chan struct{}
}

func (c *counter) Connect(context.Context, string, string, string) (string, error) { return "", nil }
func (c *counter) Disconnect(context.Context, string) error                        { return nil }
func (c *counter) DefineStream(context.Context, string, string) (string, error)    { return "", nil }
func (c *counter) DeleteStream(context.Context, string, string) (bool, error)      { return false, nil }
func (c *counter) Alive([]byte) bool                                               { return true }
func (c *counter) FindStreamID(_ context.Context, _, name, version string) (string, error) {
	c.found.Add(1)
	return name + ":" + version, nil
}

func (c *counter) Publish(context.Context, *databridge.Bundle) error {
	if c.hold != nil {
		c.entered <- struct{}{}
		<-c.hold
	}
	c.published.Add(1)
	return nil
}

// serving is a plain server on a port of its own.
type serving struct {
	*databridge.Server
	l     net.Listener
	ended chan error
}

func serve(t *testing.T, h databridge.Handler) *serving {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &serving{&databridge.Server{Handler: h, Report: func(remote, method string, err error) { t.Errorf("%s %s: %v", remote, method, err) }}, l, make(chan error, 1)}
	s.Prepare()
	go func() { s.ended <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		l.Close()
		s.Close()
		<-s.ended
	})
	return s
}

// call is one call's bytes.
func call(t *testing.T, name string, seq int32, args thrift.TStruct) []byte {
	t.Helper()
	out := thrift.NewTMemoryBuffer()
	p := thrift.NewTBinaryProtocolConf(out, nil)
	if err := p.WriteMessageBegin(context.Background(), name, thrift.CALL, seq); err != nil {
		t.Fatal(err)
	}
	if err := args.Write(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func questionOf(t *testing.T, seq int32) []byte {
	a := wire.NewThriftEventTransmissionServiceFindStreamIdArgs()
	a.SessionId, a.StreamName, a.StreamVersion = "x", "s", "1.0.0"
	return call(t, "findStreamId", seq, a)
}

func question(t *testing.T) []byte { return questionOf(t, 9) }

// conversation is what a client sends: two bundles, a question, and a bundle.
func conversation(t *testing.T) []byte {
	t.Helper()
	var out []byte
	for seq := range int32(4) {
		if seq == 2 {
			out = append(out, questionOf(t, seq)...)
			continue
		}
		a := wire.NewThriftEventTransmissionServicePublishArgs()
		a.EventBundle = bundle("x", int(seq), 3)
		out = append(out, call(t, "publish", seq, a)...)
	}
	return out
}

// answers reads answers, in this order.
func answers(t *testing.T, conn net.Conn, seqs ...int32) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	p := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransportR(conn), nil)
	for _, seq := range seqs {
		name, typ, got, err := p.ReadMessageBegin(context.Background())
		if err != nil || typ != thrift.REPLY || got != seq {
			t.Fatalf("answer %d is %s %d of type %d: %v", seq, name, got, typ, err)
		}
		if err := p.Skip(context.Background(), thrift.STRUCT); err != nil {
			t.Fatal(err)
		}
	}
}

// TestParkedConnectionsGoOn: wherever a client's bytes are cut by the handover, each message is answered once, by one of both servers.
func TestParkedConnectionsGoOn(t *testing.T) {
	all := conversation(t)
	for cut := 0; cut <= len(all); cut += 7 {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			h := &counter{}
			a, b := serve(t, h), serve(t, h)
			conn, err := net.Dial("tcp", a.l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(question(t)); err != nil { // it is accepted when this is answered
				t.Fatal(err)
			}
			answers(t, conn, 9)
			if _, err := conn.Write(all[:cut]); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := a.Park(ctx, a.l); err != nil {
				t.Fatal(err)
			}
			parked := a.Parked()
			if len(parked) != 1 {
				t.Fatalf("%d connections are parked", len(parked))
			}
			b.Adopt(context.Background(), parked[0])
			if _, err := conn.Write(all[cut:]); err != nil {
				t.Fatal(err)
			}
			answers(t, conn, 0, 1, 2, 3)
			if p, f := h.published.Load(), h.found.Load(); p != 3 || f != 2 {
				t.Errorf("%d bundles and %d questions were taken", p, f)
			}
		})
	}
}

// TestParkWaitsForTheAnswer: a bundle under way is answered by the old server, what is behind it by the new one.
func TestParkWaitsForTheAnswer(t *testing.T) {
	h := &counter{hold: make(chan struct{}), entered: make(chan struct{}, 4)}
	a, b := serve(t, h), serve(t, h)
	conn, err := net.Dial("tcp", a.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(conversation(t)); err != nil {
		t.Fatal(err)
	}
	<-h.entered
	parked, closed := make(chan error, 1), make(chan struct{})
	go func() { parked <- a.Park(context.Background(), closing{a.l, closed}) }()
	<-closed
	h.hold <- struct{}{}
	if err := <-parked; err != nil {
		t.Fatal(err)
	}
	all := a.Parked()
	if len(all) != 1 || h.published.Load() != 1 {
		t.Fatalf("%d parked, %d bundles", len(all), h.published.Load())
	}
	close(h.hold)
	b.Adopt(context.Background(), all[0])
	answers(t, conn, 0, 1, 2, 3)
	if p, f := h.published.Load(), h.found.Load(); p != 3 || f != 1 {
		t.Errorf("%d bundles and %d questions were taken", p, f)
	}
}

// closing tells of its Close.
type closing struct {
	net.Listener
	closed chan struct{}
}

func (c closing) Close() error {
	close(c.closed)
	return c.Listener.Close()
}
