package eventreceiver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/components/eventreceiver/cli"
	"carbonado.dev/carbonado/components/eventreceiver/forward"
	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/databridge/wire"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/sdktest"
)

const (
	deployed = controlv1.DeployResponse_STATE_DEPLOYED
	waits    = controlv1.DeployResponse_STATE_WAITING
	faulty   = controlv1.DeployResponse_STATE_FAULTY
)

var durableS = map[string]bool{"s:1.0.0": true}

// TestAgentToConsumer: log in on the secure port, publish on the plain one; every event arrives once, in order, under the agent's
// own source and counter.
func TestAgentToConsumer(t *testing.T) {
	w := newWorld(t, durableS, nil)
	w.kernel.MustDeploy("eventstreams/s_1.0.0.json", streamS)
	a := w.agent(nil)
	for i := range 3000 {
		if err := a.Publish(within(t), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	numbered(t, w.keeper.stored(), 3000)
	heads := w.keeper.headers()
	for i, h := range heads {
		if h.Source != heads[0].Source || h.Counter != uint64(i+1) || h.Parts != 1 || h.Tenant != sdktest.Tenant {
			t.Fatalf("header %d: %+v", i, h)
		}
	}
	if s := a.Stats(); s.Acknowledged != 3000 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// TestOwnSource: bundles without field 100 get a source of this process and a counter each; mixed bundles are parts of one.
func TestOwnSource(t *testing.T) {
	w := newWorld(t, map[string]bool{"s:1.0.0": true, "u:1.0.0": true}, nil)
	w.kernel.MustDeploy("eventstreams/s_1.0.0.json", streamS)
	w.kernel.MustDeploy("eventstreams/u_1.0.0.json", streamU)
	session, plain := w.login(), w.client("thrift")
	if err := plain.Publish(context.Background(), bundle(session, 0, 2)); err != nil {
		t.Fatal(err)
	}
	mixed := bundle(session, 2, 1)
	*mixed.EventNum = 3
	mixed.StringAttributeList = append(mixed.StringAttributeList, "u:1.0.0", "s:1.0.0", "t3")
	mixed.LongAttributeList = append(mixed.LongAttributeList, 1, 1)
	mixed.DoubleAttributeList = []float64{2.5}
	mixed.IntAttributeList = append(mixed.IntAttributeList, 3)
	if err := plain.Publish(context.Background(), mixed); err != nil {
		t.Fatal(err)
	}
	want := []string{row(0), row(1), row(2), row(3), "u:1.0.0 x=2.5 _arbitrary=null"}
	if got := w.keeper.stored(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
	h := w.keeper.headers()
	if h[0].Source == [16]byte{} || h[1].Source != h[0].Source || h[1].Counter != h[0].Counter+1 || h[2].Counter != h[1].Counter || h[1].Parts != 2 || h[2].Part != 1 {
		t.Errorf("%+v", h)
	}
}

func TestLogin(t *testing.T) {
	w := newWorld(t, nil, nil)
	secure := w.client("thriftSSL")
	for user, c := range map[string]struct{ password, text string }{
		"admin":     {"hunter2", "CBN-RCV-040"},
		"nobody":    {"secret-1", "CBN-RCV-040"},
		"guest":     {"secret-2", "CBN-RCV-041"},
		"far":       {"secret-3", "CBN-RCV-042"},
		"admin@far": {"secret-1", "CBN-RCV-040"},
	} {
		_, err := secure.Connect(context.Background(), user, c.password)
		var auth *wire.ThriftAuthenticationException
		if !errors.As(err, &auth) || !strings.Contains(auth.Message, c.text) || strings.Contains(auth.Message, c.password) {
			t.Errorf("%s: %v", user, err)
		}
	}
	for user, password := range map[string]string{"admin": "secret-1", "token": "secret-4"} {
		if id, err := secure.Connect(context.Background(), user, password); err != nil || len(id) != 36 {
			t.Errorf("%s: %q %v", user, id, err)
		}
	}
}

// TestDefineStream: the rules of DAS.md section 3.6, and the file that a definition becomes.
func TestDefineStream(t *testing.T) {
	w := newWorld(t, durableS, nil)
	session, plain := w.login(), w.client("thrift")
	ctx := context.Background()
	for range 2 {
		if id, err := plain.DefineStream(ctx, session, streamS); err != nil || id != "s:1.0.0" {
			t.Fatal(id, err)
		}
	}
	file := filepath.Join(w.kernel.Dir(), "repository", "deployment", "server", "eventstreams", "s_1.0.0.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d, _, err := streamdef.Parse(file, text); err != nil || d.ID() != "s:1.0.0" {
		t.Errorf("%v in %s", err, text)
	}
	var different *wire.ThriftDifferentStreamDefinitionAlreadyDefinedException
	if _, err := plain.DefineStream(ctx, session, `{name:s,payloadData:[{name:n,type:int}]}`); !errors.As(err, &different) {
		t.Errorf("another definition of the same id: %v", err)
	}
	if _, err := plain.DefineStream(ctx, session, `{name:s,version:'1.1.0',payloadData:[{name:n,type:long}]}`); !errors.As(err, &different) {
		t.Errorf("another type in another version: %v", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "s_1.1.0.json")); !os.IsNotExist(err) {
		t.Errorf("a refused definition left a file: %v", err)
	}
	if id, err := plain.DefineStream(ctx, session, `{name:s,version:'1.1.0',payloadData:[{name:n,type:int},{name:more,type:bool}]}`); err != nil || id != "s:1.1.0" {
		t.Errorf("a version with another attribute: %v %v", id, err)
	}
	var malformed *wire.ThriftMalformedStreamDefinitionException
	if _, err := plain.DefineStream(ctx, session, "{\n  name: 's',\n  payloadData: [{name: a, type: blob}]}"); !errors.As(err, &malformed) || !strings.Contains(malformed.Message, "definition:3:33") {
		t.Errorf("malformed: %v", err)
	}
	var expired *wire.ThriftSessionExpiredException
	if _, err := plain.DefineStream(ctx, "guess", streamU); !errors.As(err, &expired) {
		t.Errorf("no session: %v", err)
	}
	if err := plain.Publish(ctx, bundle(session, 0, 1)); err != nil {
		t.Fatal(err)
	}
	numbered(t, w.keeper.stored(), 1)
	if ok, err := plain.DeleteStreamById(ctx, session, "s:1.0.0"); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if ok, err := plain.DeleteStreamById(ctx, session, "s:1.0.0"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file of a deleted stream: %v", err)
	}
}

// TestConcurrentDefinitions: of two different definitions of one id, one wins; equal ones all succeed.
func TestConcurrentDefinitions(t *testing.T) {
	w := newWorld(t, nil, nil)
	session := w.login()
	var wg sync.WaitGroup
	var won, lost [2]atomic.Int64
	for i := range 16 {
		c := w.client("thrift")
		wg.Go(func() {
			_, err := c.DefineStream(context.Background(), session, fmt.Sprintf(`{name:r,payloadData:[{name:a%d,type:int}]}`, i%2))
			var different *wire.ThriftDifferentStreamDefinitionAlreadyDefinedException
			switch {
			case err == nil:
				won[i%2].Add(1)
			case errors.As(err, &different):
				lost[i%2].Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if !(won[0].Load() == 8 && lost[1].Load() == 8 || won[1].Load() == 8 && lost[0].Load() == 8) {
		t.Errorf("won %d and %d", won[0].Load(), won[1].Load())
	}
}

func TestStreamFiles(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.kernel.MustDeploy("eventstreams/a.json", streamS)
	state, c := w.kernel.Deploy("eventstreams/b.json", streamS)
	if state != faulty || c.GetCode() != "CBN-STR-003" || c.GetFile() != "deployment/server/eventstreams/b.json" {
		t.Errorf("the same id from another file: %v %v", state, c)
	}
	state, c = w.kernel.Deploy("eventstreams/c.json", `{name:s,version:'2.0.0',payloadData:[{name:n,type:string}]}`)
	if state != faulty || c.GetCode() != "CBN-STR-002" {
		t.Errorf("another type in another version: %v %v", state, c)
	}
	state, c = w.kernel.Deploy("eventstreams/d.json", "{\n name: }")
	if state != faulty || c.GetCode() != "CBN-STR-001" || c.GetLine() != 2 || c.GetColumn() != 8 {
		t.Errorf("a syntax error: %v %v", state, c)
	}
	admin := analyticsv1.NewStreamAdminClient(w.receiver.Conn(analyticsv1.StreamAdmin_ServiceDesc.ServiceName))
	attributes := func() int {
		t.Helper()
		resp, err := admin.Get(within(t), &analyticsv1.GetStreamRequest{Tenant: sdktest.Tenant, StreamId: "s:1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		return len(resp.Definition.Payload)
	}
	w.kernel.MustDeploy("eventstreams/a.json", `{name:s,payloadData:[{name:n,type:int},{name:t,type:string},{name:more,type:int}]}`)
	if n := attributes(); n != 3 {
		t.Errorf("an update of the same file: %d attributes", n)
	}
	if state, _ = w.kernel.Deploy("eventstreams/a.json", `{`); state != faulty || attributes() != 3 {
		t.Errorf("the last good definition is gone after a bad update")
	}
	w.kernel.Undeploy("eventstreams/a.json")
	if _, err := admin.Get(within(t), &analyticsv1.GetStreamRequest{Tenant: sdktest.Tenant, StreamId: "s:1.0.0"}); status.Code(err) != codes.NotFound {
		t.Errorf("after undeploy: %v", err)
	}
}

func TestStreamAdmin(t *testing.T) {
	w := newWorld(t, nil, nil)
	ctx := within(t)
	admin := analyticsv1.NewStreamAdminClient(w.receiver.Conn(analyticsv1.StreamAdmin_ServiceDesc.ServiceName))
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	watch, err := admin.Watch(ctx, &analyticsv1.WatchStreamsRequest{Tenant: sdktest.Tenant})
	if err != nil {
		t.Fatal(err)
	}
	next := func() *analyticsv1.WatchStreamsResponse {
		t.Helper()
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := next(); m.Definition.GetName() != "s" || m.Removed {
		t.Errorf("%v", m)
	}
	if m := next(); !m.Synced {
		t.Errorf("%v", m)
	}
	def := &analyticsv1.StreamDefinition{Name: "v", Version: "3.0.0", Payload: []*analyticsv1.Attribute{{Name: "a", Type: "bool"}}}
	if resp, err := admin.Define(ctx, &analyticsv1.DefineStreamRequest{Tenant: sdktest.Tenant, Definition: def}); err != nil || resp.StreamId != "v:3.0.0" {
		t.Fatal(resp, err)
	}
	if m := next(); m.Definition.GetName() != "v" || m.Definition.GetPayload()[0].GetType() != "bool" {
		t.Errorf("%v", m)
	}
	def.Payload[0].Type = "int"
	if _, err := admin.Define(ctx, &analyticsv1.DefineStreamRequest{Tenant: sdktest.Tenant, Definition: def}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("%v", err)
	}
	if resp, err := admin.List(ctx, &analyticsv1.ListStreamsRequest{Tenant: sdktest.Tenant}); err != nil || len(resp.Definitions) != 2 {
		t.Errorf("%v %v", resp, err)
	}
	if resp, err := admin.Delete(ctx, &analyticsv1.DeleteStreamRequest{Tenant: sdktest.Tenant, StreamId: "v:3.0.0"}); err != nil || !resp.Existed {
		t.Errorf("%v %v", resp, err)
	}
	if m := next(); !m.Removed || m.Definition.GetName() != "v" {
		t.Errorf("%v", m)
	}
	if _, err := admin.List(ctx, &analyticsv1.ListStreamsRequest{Tenant: 1}); status.Code(err) != codes.Unimplemented {
		t.Errorf("another tenant: %v", err)
	}
}

// TestNoConsumer: a stream without a durable consumer is refused with that cause and counted, unless its definition says none.
func TestNoConsumer(t *testing.T) {
	w := newWorld(t, map[string]bool{"s:1.0.0": false}, map[string]any{"startWait": "1ms"})
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	session, plain := w.login(), w.client("thrift")
	var undefined *wire.ThriftUndefinedEventTypeException
	if err := plain.Publish(context.Background(), bundle(session, 0, 7)); !errors.As(err, &undefined) || !strings.Contains(undefined.Message, forward.ErrNoConsumer.ID()) {
		t.Errorf("%v", err)
	}
	if n := len(w.keeper.stored()); n != 0 {
		t.Errorf("%d events of a refused bundle were handed over", n)
	}
	if got := streams(t, w); got.Refused != 7 || got.Stored != 0 {
		t.Errorf("counted %+v", got)
	}
	w.kernel.MustDeploy("eventstreams/s.json", strings.Replace(streamS, "{name:s,", "{name:s,durable:none,", 1))
	if err := plain.Publish(context.Background(), bundle(session, 0, 7)); err != nil {
		t.Fatal(err)
	}
	w.kernel.Eventually(func() bool { return len(w.keeper.stored()) == 7 })
}

type counters struct {
	Streams []struct{ ID, File string }
	Stored  int `json:"eventsStored"`
	Refused int `json:"eventsRefused"`
}

func streams(t *testing.T, w *world) counters {
	t.Helper()
	resp, err := w.receiver.HTTP(sdktest.Admin()).Get("http://x/streams")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var c counters
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	return c
}

// TestStartWaits: right after the start a bundle waits for its stream and its first consumer instead of being refused.
func TestStartWaits(t *testing.T) {
	w := newWorld(t, nil, nil)
	session, plain := w.login(), w.client("thrift")
	answered := make(chan error, 1)
	go func() { answered <- plain.Publish(context.Background(), bundle(session, 0, 5)) }()
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	select {
	case err := <-answered:
		t.Fatalf("answered before there was a consumer: %v", err)
	default:
	}
	w.keeper = newKeeper(durableS)
	w.kernel.Start(w.keeper.start, sdktest.WithDescriptor("testdata/keeper/component.yaml"))
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	numbered(t, w.keeper.stored(), 5)
}

// TestConsumerRestarts: while the durable consumer is away bundles are held; none is lost and none repeated.
func TestConsumerRestarts(t *testing.T) {
	w := newWorld(t, durableS, nil)
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	a := w.agent(nil)
	for i := range 4000 {
		if err := a.Publish(within(t), event(i)); err != nil {
			t.Fatal(err)
		}
		if i == 1000 || i == 2500 {
			w.keeping = w.keeping.Restart()
		}
	}
	if err := a.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	numbered(t, w.keeper.stored(), 4000)
}

// TestReceiverRestarts: an agent of ours goes through restarts of the receiver without loss or repeats.
func TestReceiverRestarts(t *testing.T) {
	w := newWorld(t, durableS, nil)
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	plain, secure := newProxy(t), newProxy(t)
	plain.to(w.receiver.Address("thrift"))
	secure.to(w.receiver.Address("thriftSSL"))
	a := w.agent(func(o *agent.Options) { o.URLs, o.AuthURLs = "tcp://"+plain.address(), "ssl://"+secure.address() })
	for i := range 4000 {
		if err := a.Publish(within(t), event(i)); err != nil {
			t.Fatal(err)
		}
		if i == 1500 || i == 3000 {
			w.receiver = w.receiver.Restart()
			plain.to(w.receiver.Address("thrift"))
			secure.to(w.receiver.Address("thriftSSL"))
		}
	}
	if err := a.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	numbered(t, w.keeper.stored(), 4000)
}

// TestHeldTooLong: a consumer that gives no answer makes the receiver close the agent's connection without a reply.
func TestHeldTooLong(t *testing.T) {
	w := newWorld(t, durableS, map[string]any{"hold": "50ms"})
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	session := w.login()
	came := make(chan *link.Incoming, 1)
	w.keeper.set(func(in *link.Incoming) bool {
		came <- in
		return true
	})
	plain := w.client("thrift")
	answered := make(chan error, 1)
	go func() { answered <- plain.Publish(context.Background(), bundle(session, 0, 1)) }()
	in := <-came
	w.keeper.set(nil)
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		w.keeping = w.keeping.Restart() // the link breaks; the frame is sent again after it
	}()
	<-restarted
	in.Refuse(errors.New("too late"), true)
	if err := <-answered; err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%v", err)
	}
	w.kernel.Eventually(func() bool { return len(w.keeper.stored()) == 1 })
}

// TestRefusedByConsumer: a refusal for good reaches the agent with its reason; one that may pass closes the connection.
func TestRefusedByConsumer(t *testing.T) {
	w := newWorld(t, durableS, nil)
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	session := w.login()
	w.keeper.set(func(in *link.Incoming) bool {
		in.Refuse(errCredentials.New("table is broken"), false)
		return true
	})
	plain := w.client("thrift")
	var undefined *wire.ThriftUndefinedEventTypeException
	if err := plain.Publish(context.Background(), bundle(session, 0, 1)); !errors.As(err, &undefined) || !strings.Contains(undefined.Message, "table is broken") {
		t.Errorf("%v", err)
	}
	w.keeper.set(func(in *link.Incoming) bool {
		in.Refuse(errCredentials.New("for now"), true)
		return true
	})
	if err := plain.Publish(context.Background(), bundle(session, 0, 1)); err == nil || errors.As(err, &undefined) {
		t.Errorf("the connection should be closed: %v", err)
	}
}

// TestSlowVolatileConsumer: a consumer that is not durable and gives no credit holds up nobody.
func TestSlowVolatileConsumer(t *testing.T) {
	w := newWorld(t, durableS, nil)
	slow := newKeeper(map[string]bool{"s:1.0.0": false})
	release := make(chan struct{})
	slow.set(func(*link.Incoming) bool {
		<-release
		return false
	})
	w.kernel.Start(slow.start, sdktest.WithDescriptor("testdata/slow/component.yaml"))
	t.Cleanup(func() { close(release) })
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	a := w.agent(nil)
	big := strings.Repeat("x", 10_000)
	for i := range 2000 { // 20 MB: more than queue and credit together
		if err := a.Publish(within(t), agent.Event{Stream: "s:1.0.0", Values: []any{int32(i), big}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(w.keeper.stored()); n != 2000 {
		t.Errorf("%d rows at the durable consumer", n)
	}
}

// TestBadBundles: a clear error each, nothing handed over, and the receiver goes on.
func TestBadBundles(t *testing.T) {
	w := newWorld(t, durableS, map[string]any{"startWait": "1ms"})
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	session, plain := w.login(), w.client("thrift")
	for name, c := range map[string]struct {
		change func(*wire.ThriftEventBundle)
		text   string
	}{
		"short list":     {func(b *wire.ThriftEventBundle) { b.IntAttributeList = nil }, "CBN-RCV-002"},
		"unknown stream": {func(b *wire.ThriftEventBundle) { b.StringAttributeList[0] = "z:1.0.0" }, "CBN-RCV-004"},
		"too many":       {func(b *wire.ThriftEventBundle) { *b.EventNum = 1 << 30 }, "CBN-RCV-002"},
		"not UTF-8":      {func(b *wire.ThriftEventBundle) { b.StringAttributeList[1] = "\xff" }, "CBN-RCV-008"},
	} {
		b := bundle(session, 0, 3)
		c.change(b)
		var undefined *wire.ThriftUndefinedEventTypeException
		if err := plain.Publish(context.Background(), b); !errors.As(err, &undefined) || !strings.Contains(undefined.Message, c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := bundle(session, 0, 1)
	large.StringAttributeList[1] = strings.Repeat("x", 9<<20)
	var undefined *wire.ThriftUndefinedEventTypeException
	if err := w.client("thrift").Publish(context.Background(), large); !errors.As(err, &undefined) || !strings.Contains(undefined.Message, "CBN-RCV-003") {
		t.Errorf("a huge event: %v", err)
	}
	if n := len(w.keeper.stored()); n != 0 {
		t.Errorf("%d rows of refused bundles", n)
	}
	if err := plain.Publish(context.Background(), bundle(session, 0, 3)); err != nil {
		t.Fatal(err)
	}
	numbered(t, w.keeper.stored(), 3)
}

// TestRoutes: /streams asks for the permission to publish.
func TestRoutes(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	if got := streams(t, w); len(got.Streams) != 1 || got.Streams[0].ID != "s:1.0.0" || got.Streams[0].File != "eventstreams/s.json" {
		t.Errorf("%+v", got)
	}
	for path, want := range map[string]int{"/streams/s:1.0.0": 200, "/streams/x:1.0.0": 404} {
		resp, err := w.receiver.HTTP(sdktest.Admin()).Get("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	guest := sdktest.Admin()
	guest.Permissions = []string{"/permission/login"}
	resp, err := w.receiver.HTTP(guest).Get("http://x/streams")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("without permission: %s", resp.Status)
	}
}

// TestSmartHomeFile: the sample's definition in the repository is the one that the verb publishes to.
func TestSmartHomeFile(t *testing.T) {
	file := "../../repository/deployment/server/eventstreams/" + cli.SmartHome.FileName() + ".json"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d, notices, err := streamdef.Parse(file, text); err != nil || len(notices) > 0 || string(d.JSON()) != string(cli.SmartHome.JSON()) {
		t.Errorf("%v %v\n%s", err, notices, text)
	}
}
