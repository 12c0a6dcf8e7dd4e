package databridge_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"go.uber.org/goleak"

	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/databridgetest"
	"carbonado.dev/sdk/databridge/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const stream = `{name:s,payloadData:[{name:n,type:int},{name:t,type:string}]}`

// client is Thrift's generated client on a fresh connection.
func client(t *testing.T, r *databridgetest.Receiver, secure bool) (*wire.ThriftSecureEventTransmissionServiceClient, net.Conn) {
	t.Helper()
	var conn net.Conn
	var err error
	if secure {
		conn, err = tls.Dial("tcp", r.Secure, r.ClientTLS)
	} else {
		conn, err = net.Dial("tcp", r.Plain)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransport(bufio.NewReader(conn), conn), nil)
	return wire.NewThriftSecureEventTransmissionServiceClient(thrift.NewTStandardClient(p, p)), conn
}

func bundle(session string, first, n int) *wire.ThriftEventBundle {
	count := int32(n)
	b := &wire.ThriftEventBundle{SessionId: &session, EventNum: &count}
	for i := range n {
		b.StringAttributeList = append(b.StringAttributeList, "s:1.0.0", fmt.Sprint("t", first+i))
		b.LongAttributeList = append(b.LongAttributeList, 5)
		b.IntAttributeList = append(b.IntAttributeList, int32(first+i))
	}
	return b
}

// TestGeneratedClient: Thrift's own client logs in over TLS and publishes in clear with the same session.
func TestGeneratedClient(t *testing.T) {
	r := databridgetest.NewReceiver(t)
	ctx := context.Background()
	secure, _ := client(t, r, true)
	plain, _ := client(t, r, false)

	var auth *wire.ThriftAuthenticationException
	if _, err := secure.Connect(ctx, "admin", "wrong"); !errors.As(err, &auth) {
		t.Fatalf("wrong password: %v", err)
	}
	session, err := secure.Connect(ctx, databridgetest.User, databridgetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := plain.DefineStream(ctx, session, stream); err != nil || id != "s:1.0.0" {
		t.Fatalf("%s %v", id, err)
	}
	if id, err := secure.DefineStream(ctx, session, stream); err != nil || id != "s:1.0.0" {
		t.Fatalf("again: %s %v", id, err)
	}
	var different *wire.ThriftDifferentStreamDefinitionAlreadyDefinedException
	if _, err := plain.DefineStream(ctx, session, `{name:s}`); !errors.As(err, &different) || !strings.Contains(different.Message, "CBN-STR-002") {
		t.Errorf("a different definition: %v", err)
	}
	var malformed *wire.ThriftMalformedStreamDefinitionException
	if _, err := plain.DefineStream(ctx, session, "{\n]"); !errors.As(err, &malformed) || !strings.Contains(malformed.Message, "2:1") {
		t.Errorf("a malformed definition: %v", err)
	}
	var none *wire.ThriftNoStreamDefinitionExistException
	if _, err := plain.FindStreamId(ctx, session, "x", "1.0.0"); !errors.As(err, &none) {
		t.Errorf("an unknown stream: %v", err)
	}
	if id, err := plain.FindStreamId(ctx, session, "s", "1.0.0"); err != nil || id != "s:1.0.0" {
		t.Errorf("%s %v", id, err)
	}
	if err := plain.Publish(ctx, bundle(session, 0, 200)); err != nil {
		t.Fatal(err)
	}
	if err := secure.Publish(ctx, bundle(session, 200, 1)); err != nil {
		t.Fatal(err)
	}
	var undefined *wire.ThriftUndefinedEventTypeException
	bad := bundle(session, 0, 3)
	bad.IntAttributeList = bad.IntAttributeList[:2]
	if err := plain.Publish(ctx, bad); !errors.As(err, &undefined) || !strings.Contains(undefined.Message, "CBN-RCV-002") {
		t.Errorf("a short list: %v", err)
	}
	var expired *wire.ThriftSessionExpiredException
	if err := plain.Publish(ctx, bundle("guess", 0, 1)); !errors.As(err, &expired) {
		t.Errorf("an unknown session: %v", err)
	}
	// After each refusal the connection goes on.
	if err := plain.Publish(ctx, bundle(session, 201, 1)); err != nil {
		t.Fatal(err)
	}
	rows := r.Rows()
	for i, row := range rows {
		if want := fmt.Sprintf("s:1.0.0 _timestamp=5 n=%d t=t%d _arbitrary=null", i, i); row != want {
			t.Fatalf("row %d is %q, want %q", i, row, want)
		}
	}
	if len(rows) != 202 {
		t.Errorf("%d rows", len(rows))
	}
	if ok, err := plain.DeleteStreamByNameVersion(ctx, session, "s", "1.0.0"); err != nil || !ok {
		t.Errorf("delete: %v %v", ok, err)
	}
	if ok, err := plain.DeleteStreamById(ctx, session, "s:1.0.0"); err != nil || ok {
		t.Errorf("delete again: %v %v", ok, err)
	}
	if err := secure.Disconnect(ctx, session); err != nil {
		t.Fatal(err)
	}
	if err := secure.Publish(ctx, bundle(session, 0, 1)); !errors.As(err, &expired) {
		t.Errorf("after disconnect: %v", err)
	}
}

// TestPlainPortTakesNoPassword: connect on the plain port is no method, so no agent sends a password in clear twice.
func TestPlainPortTakesNoPassword(t *testing.T) {
	r := databridgetest.NewReceiver(t)
	plain, _ := client(t, r, false)
	var app thrift.TApplicationException
	if _, err := plain.Connect(context.Background(), databridgetest.User, databridgetest.Password); !errors.As(err, &app) || app.TypeId() != thrift.UNKNOWN_METHOD {
		t.Errorf("%v", err)
	}
	if _, logins := r.Calls(); logins != 0 {
		t.Errorf("%d logins", logins)
	}
}

// TestBareConnections: agents open and close connections to see whether a receiver is up. Nothing is reported.
func TestBareConnections(t *testing.T) {
	r := databridgetest.NewReceiver(t)
	for _, address := range []string{r.Plain, r.Secure} {
		for range 20 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			// Half-closed, so that the server's end is seen.
			if c, err = net.Dial("tcp", address); err != nil {
				t.Fatal(err)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read %d %v", n, err)
			}
			c.Close()
		}
	}
	r.Stop()
	if reports := r.Reports(); len(reports) != 0 {
		t.Errorf("reported: %v", reports)
	}
}

// raw sends bytes and answers what comes back until the server closes.
func raw(t *testing.T, address string, data []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return out
}

func message(name string, typ uint32, rest ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x80010000|typ)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(name))), name...)
	return append(binary.BigEndian.AppendUint32(b, 7), rest...)
}

// TestBadBytes: whatever comes, the answer or the report has a code, the connection ends, and the server goes on.
func TestBadBytes(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	for _, c := range []struct {
		name   string
		data   []byte
		answer string // part of the reply; empty: none
		kind   error
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "", databridge.ErrProtocol},
		{"TLS on the plain port", []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, "", databridge.ErrProtocol},
		{"another version", []byte{0x80, 9, 0, 1, 0, 0, 0, 1, 'x'}, "", databridge.ErrProtocol},
		{"cut short", message("publish", 1)[:9], "", databridge.ErrProtocol},
		{"a huge name", binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 0x80010001), 0x7fffffff), "", databridge.ErrProtocol},
		{"a reply", message("publish", 2, 0), "", databridge.ErrProtocol},
		{"unknown method", message("launch", 1, 0), "unknown method", databridge.ErrProtocol},
		{"huge list", message("publish", 1, 12, 0, 1, 15, 0, 3, 8, 0x7f, 0xff, 0xff, 0xff), "CBN-RCV-006", databridge.ErrSession},
		{"huge session", message("publish", 1, 12, 0, 1, 11, 0, 1, 0x7f, 0xff, 0xff, 0xff), "CBN-RCV-006", databridge.ErrSession},
		{"wrong type", message("publish", 1, 12, 0, 1, 8, 0, 7, 0, 0, 0, 1), "CBN-RCV-006", databridge.ErrSession},
		{"huge definition", message("defineStream", 1, 11, 0, 2, 0x7f, 0xff, 0xff, 0xff), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(r.Reports())
			out := raw(t, r.Plain, c.data)
			if !strings.Contains(string(out), c.answer) || c.answer == "" && c.kind != nil && len(out) != 0 {
				t.Errorf("answer %q", out)
			}
			reports := r.Reports()[before:]
			if len(reports) != 1 || c.kind != nil && !errors.Is(reports[0], c.kind) {
				t.Errorf("reports %v", reports)
			}
		})
	}
	session, err := func() (string, error) {
		s, _ := client(t, r, true)
		return s.Connect(context.Background(), databridgetest.User, databridgetest.Password)
	}()
	if err != nil {
		t.Fatal(err)
	}
	// With a session the refusal says what is wrong with the bundle.
	head := append([]byte{12, 0, 1, 11, 0, 1, 0, 0, 0, byte(len(session))}, session...)
	for name, rest := range map[string][]byte{
		"huge list":  {15, 0, 3, 8, 0x7f, 0xff, 0xff, 0xff},
		"wrong type": {8, 0, 7, 0, 0, 0, 1},
		"negative":   {15, 0, 7, 11, 0xff, 0xff, 0xff, 0xff},
	} {
		out := raw(t, r.Plain, message("publish", 1, append(append([]byte(nil), head...), rest...)...))
		if !strings.Contains(string(out), "CBN-RCV-002") && !strings.Contains(string(out), "CBN-RCV-003") {
			t.Errorf("%s: answer %q", name, out)
		}
	}
	plain, _ := client(t, r, false)
	if err := plain.Publish(context.Background(), bundle(session, 0, 1)); err != nil || len(r.Rows()) != 1 {
		t.Errorf("afterwards: %v, %d rows", err, len(r.Rows()))
	}
}

// TestStrangersGetNoMemory: a bundle of an unknown session is not read beyond 64 KiB.
func TestStrangersGetNoMemory(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	plain, _ := client(t, r, false)
	b := bundle("guess", 0, 1)
	b.StringAttributeList[1] = strings.Repeat("x", 1<<20)
	var expired *wire.ThriftSessionExpiredException
	if err := plain.Publish(context.Background(), b); !errors.As(err, &expired) {
		t.Errorf("%v", err)
	}
}

// TestDrain: calls under way are answered, quiet connections close.
func TestDrain(t *testing.T) {
	r := databridgetest.NewReceiver(t, stream)
	entered, leave := make(chan struct{}), make(chan struct{})
	r.Before = func(int, *databridge.Bundle) error {
		close(entered)
		<-leave
		return nil
	}
	secure, _ := client(t, r, true)
	session, err := secure.Connect(context.Background(), databridgetest.User, databridgetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := client(t, r, false)
	answered := make(chan error, 1)
	go func() { answered <- plain.Publish(context.Background(), bundle(session, 0, 1)) }()
	<-entered
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(context.Background()) }()
	if _, err := secure.Connect(context.Background(), "x", "y"); err == nil {
		t.Error("a quiet connection outlived the drain")
	}
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", r.Plain); err == nil {
		c.Close()
		t.Error("it still accepts")
	}
}
