package eventreceiver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/eventreceiver"
	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge/wire"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	streamS = `{name:s,payloadData:[{name:n,type:int},{name:t,type:string}]}`
	streamU = `{name:u,payloadData:[{name:x,type:double}]}`
)

var errCredentials = cause.Define("CBN-ID-001", "Wrong credentials.", "Try again.").Code(codes.Unauthenticated)

// authenticator knows admin, a user without permission, a user of another tenant, and a publish token.
type authenticator struct {
	analyticsv1.UnimplementedAuthenticatorServer
}

func (authenticator) Authenticate(_ context.Context, req *analyticsv1.AuthenticateRequest) (*analyticsv1.AuthenticateResponse, error) {
	p := &commonv1.Principal{User: req.GetBasic().GetUsername(), Tenant: sdktest.Tenant, Permissions: []string{"/permission/admin"}, Via: "basic"}
	switch p.User + " " + req.GetBasic().GetPassword() {
	case "admin secret-1":
	case "guest secret-2":
		p.Permissions = []string{"/permission/admin/publish/other", "/permission/admin/publish/wso2event/x"}
	case "far secret-3":
		p.Tenant = 7
	case "token secret-4":
		p.User, p.Permissions = "operator", []string{"/permission/admin/publish/wso2event"}
	default:
		return nil, errCredentials.New("wrong user or password")
	}
	return &analyticsv1.AuthenticateResponse{Principal: p}, nil
}

// keeper is a consuming component in memory. It drops repeats as the store does.
type keeper struct {
	durable map[string]bool // by stream

	// mu guards all below.
	mu     sync.Mutex
	c      *component.C
	seen   map[string]bool
	rows   []string
	heads  []frame.Header
	answer func(in *link.Incoming) (handled bool)
}

func newKeeper(durable map[string]bool) *keeper {
	return &keeper{durable: durable, seen: map[string]bool{}}
}

func (k *keeper) start(c *component.C) error {
	component.PrepareConsumer(c)
	k.mu.Lock()
	k.c = c
	k.mu.Unlock()
	for stream, durable := range k.durable {
		component.ConsumeFrames(c, stream, durable, k.take)
	}
	return nil
}

func (k *keeper) take(in *link.Incoming) {
	k.mu.Lock()
	answer := k.answer
	k.mu.Unlock()
	if answer != nil && answer(in) {
		return
	}
	k.keep(in)
	in.Ack()
}

func (k *keeper) keep(in *link.Incoming) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heads = append(k.heads, in.Header)
	id := fmt.Sprintf("%x %d %d", in.Source, in.Counter, in.Part)
	if k.seen[id] {
		return
	}
	k.seen[id] = true
	if err := frame.CheckBody(in.Bytes); err != nil {
		k.rows = append(k.rows, err.Error())
		return
	}
	rec, err := component.DecodeRecord(in.Schema, in.Body)
	if err != nil {
		k.rows = append(k.rows, err.Error())
		return
	}
	defer rec.Release()
	for row := range int(rec.NumRows()) {
		text := in.Name
		for c := 1; c < int(rec.NumCols()); c++ { // without the time
			cell := "null"
			if col := rec.Column(c); col.IsValid(row) {
				cell = col.ValueStr(row)
			}
			text += " " + rec.ColumnName(c) + "=" + cell
		}
		k.rows = append(k.rows, text)
	}
}

func (k *keeper) set(answer func(*link.Incoming) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = answer
}

func (k *keeper) stored() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.rows)
}

func (k *keeper) headers() []frame.Header {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.heads)
}

// world is a receiver with what it stands among.
type world struct {
	t        *testing.T
	kernel   *sdktest.Kernel
	receiver *sdktest.Component
	keeper   *keeper
	keeping  *sdktest.Component
}

// newWorld starts a keeper and a receiver. config changes the receiver's configuration.
func newWorld(t *testing.T, durable map[string]bool, config map[string]any, provide ...func(*sdktest.Kernel)) *world {
	t.Helper()
	w := &world{t: t, kernel: sdktest.NewKernel(t)}
	w.kernel.Provide(&analyticsv1.Authenticator_ServiceDesc, authenticator{}, nil)
	for _, p := range provide {
		p(w.kernel)
	}
	if durable != nil {
		w.keeper = newKeeper(durable)
		w.keeping = w.kernel.Start(w.keeper.start, sdktest.WithDescriptor("testdata/keeper/component.yaml"))
	}
	w.receiver = w.kernel.Start(eventreceiver.Start, sdktest.WithConfig(config))
	return w
}

var anyTLS = &tls.Config{InsecureSkipVerify: true}

// agent is the Go agent on both ports.
func (w *world) agent(change func(*agent.Options)) *agent.Agent {
	w.t.Helper()
	o := agent.Options{
		URLs: "tcp://" + w.receiver.Address("thrift"), AuthURLs: "ssl://" + w.receiver.Address("thriftSSL"), Username: "admin", Password: "secret-1",
		TLS: anyTLS, Reconnect: 10 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	a, err := agent.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// client is Thrift's generated client on a port.
func (w *world) client(port string) *wire.ThriftSecureEventTransmissionServiceClient {
	w.t.Helper()
	var conn net.Conn
	var err error
	if port == "thriftSSL" {
		conn, err = tls.Dial("tcp", w.receiver.Address(port), anyTLS)
	} else {
		conn, err = net.Dial("tcp", w.receiver.Address(port))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransport(bufio.NewReader(conn), conn), nil)
	return wire.NewThriftSecureEventTransmissionServiceClient(thrift.NewTStandardClient(p, p))
}

func (w *world) login() string {
	w.t.Helper()
	session, err := w.client("thriftSSL").Connect(context.Background(), "admin", "secret-1")
	if err != nil {
		w.t.Fatal(err)
	}
	return session
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

func event(n int) agent.Event {
	return agent.Event{Stream: "s:1.0.0", Time: 5, Values: []any{int32(n), fmt.Sprint("t", n)}}
}

func row(n int) string { return fmt.Sprintf("s:1.0.0 n=%d t=t%d _arbitrary=null", n, n) }

// numbered checks that events 0 … n-1 of stream s are there once each, in order.
func numbered(t *testing.T, rows []string, n int) {
	t.Helper()
	if len(rows) != n {
		t.Errorf("%d rows, want %d", len(rows), n)
		return
	}
	for i := range n {
		if rows[i] != row(i) {
			t.Errorf("row %d is %q, want %q", i, rows[i], row(i))
			return
		}
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
