package httpreceiver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBad = cause.Define("CBN-RCV-990", "bad", "mend it").Code(codes.InvalidArgument)

// call is the event receiver's side of one opened receiver.
type call struct {
	t      *testing.T
	stream analyticsv1.InputAdapter_ReceiveClient
	mu     sync.Mutex // a gRPC stream takes one Send at a time
}

func open(t *testing.T, c *sdktest.Component, name string, properties map[string]string) (*call, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := analyticsv1.NewInputAdapterClient(c.ConnAs("EventReceiver", analyticsv1.InputAdapter_ServiceDesc.ServiceName)).Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	o := &analyticsv1.OpenReceiver{Name: name, Properties: properties, Tenant: sdktest.Tenant}
	if err := s.Send(&analyticsv1.ReceiveRequest{Request: &analyticsv1.ReceiveRequest_Open{Open: o}}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	if m.GetReady() == nil {
		t.Fatalf("%v", m)
	}
	return &call{t: t, stream: s}, nil
}

func (c *call) message() *analyticsv1.AdapterMessage {
	c.t.Helper()
	m, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return m.GetMessage()
}

func (c *call) outcome(o *analyticsv1.MessageOutcome) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.stream.Send(&analyticsv1.ReceiveRequest{Request: &analyticsv1.ReceiveRequest_Outcome{Outcome: o}}); err != nil {
		c.t.Error(err)
	}
}

type reply struct {
	status int
	header http.Header
	body   struct {
		Status  string          `json:"status"`
		Events  int             `json:"events"`
		Message string          `json:"message"`
		Cause   *commonv1.Cause `json:"cause"`
	}
}

func post(t *testing.T, client *http.Client, path, body string) reply {
	t.Helper()
	resp, err := client.Post("https://node"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(text, &r.body); err != nil {
		t.Errorf("%s: %s: %v", path, text, err)
	}
	return r
}

// inBackground posts without waiting.
func inBackground(t *testing.T, client *http.Client, path, body string) chan reply {
	out := make(chan reply, 1)
	go func() { out <- post(t, client, path, body) }()
	return out
}

// TestAnswersWhenStored: no answer before the outcome; then 200, 400 or 503 by it.
func TestAnswersWhenStored(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start)
	admin := c.HTTP(sdktest.Admin())
	r, err := open(t, c, "orders", map[string]string{"transports": "all"})
	if err != nil {
		t.Fatal(err)
	}
	first := inBackground(t, admin, "/endpoints/orders", `{"event":{}}`)
	m := r.message()
	if string(m.Payload) != `{"event":{}}` || m.ContentType != "application/json" || time.Since(time.UnixMilli(m.ReceivedUnixMs)).Abs() > time.Minute {
		t.Errorf("%v", m)
	}
	select {
	case got := <-first:
		t.Fatalf("answered before the events were stored: %+v", got)
	default:
	}
	r.outcome(&analyticsv1.MessageOutcome{Id: m.Id, Events: 3})
	if got := <-first; got.status != 200 || got.body.Events != 3 || got.body.Status != "stored" {
		t.Errorf("%+v", got)
	}
	for _, x := range []struct {
		outcome *analyticsv1.MessageOutcome
		status  int
	}{
		{&analyticsv1.MessageOutcome{Cause: errBad.New("event 1: n is missing").At("message", 1, 7).Proto()}, 400},
		{&analyticsv1.MessageOutcome{Cause: errBad.New("not now").Proto(), Retry: true}, 503},
	} {
		answer := inBackground(t, admin, "/endpoints/orders", "x")
		x.outcome.Id = r.message().Id
		r.outcome(x.outcome)
		got := <-answer
		if got.status != x.status || got.body.Cause.GetCode() != "CBN-RCV-990" || got.body.Cause.GetText() != x.outcome.Cause.Text || got.body.Cause.GetLine() != x.outcome.Cause.Line {
			t.Errorf("%+v, want %d with %v", got, x.status, x.outcome.Cause)
		}
		if (got.header.Get("Retry-After") != "") != (x.status == 503) {
			t.Errorf("Retry-After: %v", got.header)
		}
	}
}

// TestOutcomesOutOfOrder: each request gets its own outcome.
func TestOutcomesOutOfOrder(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start)
	admin := c.HTTP(sdktest.Admin())
	r, err := open(t, c, "r", nil)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]chan reply{}
	ids := map[string]uint64{}
	for _, text := range []string{"1", "2", "3"} {
		answers[text] = inBackground(t, admin, "/endpoints/r", text)
		m := r.message()
		ids[string(m.Payload)] = m.Id
	}
	for i, text := range []string{"3", "1", "2"} {
		r.outcome(&analyticsv1.MessageOutcome{Id: ids[text], Events: uint32(10 + i)})
		if got := <-answers[text]; got.body.Events != 10+i {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start, sdktest.WithConfig(map[string]any{"maxBody": 2048, "inFlight": 1, "timeout": "100ms"}))
	admin := c.HTTP(sdktest.Admin())
	want := func(got reply, status int, kind *cause.Kind) {
		t.Helper()
		if got.status != status || got.body.Cause.GetCode() != kind.ID() || got.body.Status != "failed" {
			t.Errorf("%+v, want %d %s", got, status, kind.ID())
		}
	}
	want(post(t, admin, "/endpoints/none", "{}"), 404, ErrNone)
	if _, err := open(t, c, "r", map[string]string{"transports": "http", "basicAuthEnabled": "false"}); err != nil {
		t.Fatal(err)
	}
	want(post(t, admin, "/endpoints/r", "{}"), 403, ErrTransport) // the double speaks https
	r, err := open(t, c, "r", map[string]string{"transports": "https"})
	if err != nil {
		t.Fatal(err)
	}
	guest := sdktest.Admin()
	guest.Permissions = []string{"/permission/admin/login"}
	want(post(t, c.HTTP(guest), "/endpoints/r", "{}"), 403, ErrPublisher)
	want(post(t, c.HTTP(nil), "/endpoints/r", "{}"), 403, ErrPublisher)
	want(post(t, admin, "/endpoints/r", strings.Repeat("x", 3000)), 413, ErrTooLarge)
	// The first is under way, the second finds no place, and the first gets no outcome in time.
	first := inBackground(t, admin, "/endpoints/r", "{}")
	r.message()
	want(post(t, admin, "/endpoints/r", "{}"), 503, ErrBusy)
	want(<-first, 503, ErrBusy)
	if resp, err := admin.Get("https://node/endpoints/r"); err != nil || resp.StatusCode != 405 {
		t.Errorf("GET: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	for name, properties := range map[string]map[string]string{"": nil, "x": {"transports": "ftp"}} {
		if _, err := open(t, c, name, properties); !errors.Is(cause.From(err), ErrOpen) {
			t.Errorf("open %q %v: %v", name, properties, err)
		}
	}
}

// TestReceiverGoes: with its call gone a receiver is gone, and requests under way are told to come again.
func TestReceiverGoes(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start)
	admin := c.HTTP(sdktest.Admin())
	r, err := open(t, c, "r", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := inBackground(t, admin, "/endpoints/r", "{}")
	r.message()
	if err := r.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got := <-first; got.status != 503 || got.body.Cause.GetCode() != ErrBusy.ID() {
		t.Errorf("%+v", got)
	}
	if got := post(t, admin, "/endpoints/r", "{}"); got.status != 404 {
		t.Errorf("%+v", got)
	}
}

// TestModified: the largest body changes while it serves; a timeout that is none is refused, and what was holds.
func TestModified(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start, sdktest.WithConfig(map[string]any{"maxBody": 1024}))
	admin := c.HTTP(sdktest.Admin())
	r, err := open(t, c, "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 1500)
	if got := post(t, admin, "/endpoints/orders", large); got.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("%d", got.status)
	}
	if err := c.Modify(map[string]any{"maxBody": 4096, "timeout": "soon"}); err == nil || !strings.Contains(err.Error(), "positive duration") {
		t.Fatalf("%v", err)
	}
	if got := post(t, admin, "/endpoints/orders", large); got.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("after a refused change %d", got.status)
	}
	if err := c.Modify(map[string]any{"maxBody": 4096}); err != nil {
		t.Fatal(err)
	}
	answer := inBackground(t, admin, "/endpoints/orders", large)
	r.outcome(&analyticsv1.MessageOutcome{Id: r.message().Id, Events: 1})
	if got := <-answer; got.status != http.StatusOK {
		t.Errorf("%d", got.status)
	}
}
