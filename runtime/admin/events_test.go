package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/carbonado/runtime/tlskeys"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"google.golang.org/grpc"
)

// everybody signs in anybody as administrator.
type everybody struct{ tokens }

func (e *everybody) Authenticator() (analyticsv1.AuthenticatorClient, *commonv1.Cause) { return e, nil }

func (*everybody) Authenticate(context.Context, *analyticsv1.AuthenticateRequest, ...grpc.CallOption) (*analyticsv1.AuthenticateResponse, error) {
	return &analyticsv1.AuthenticateResponse{Principal: &commonv1.Principal{User: "admin", Tenant: -1234, Permissions: []string{"/permission/admin"}}}, nil
}

// serve puts the API behind the real gateway and gives its address.
func serve(t *testing.T, s *Server, n *node) string {
	t.Helper()
	pair, err := tlskeys.Load(tlskeys.Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := pair.Server("", "h2", "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(gateway.Options{TLS: conf, Authenticators: &everybody{}, Nodes: n, API: s, Limits: gateway.Limits{Drain: time.Second}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx, l, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + l.Addr().String()
}

func subscribe(t *testing.T, ctx context.Context, url string, http2 bool) (next func() Event, end func()) {
	t.Helper()
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(http2)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: p} //nolint:gosec // the pair is made for the test
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "x")
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || (resp.ProtoMajor == 2) != http2 {
		t.Fatalf("%s %s %v", resp.Proto, resp.Status, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	next = func() Event {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var ev Event
				if err := json.Unmarshal([]byte(data), &ev); err != nil {
					t.Fatal(err)
				}
				return ev
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return Event{}
	}
	return next, func() {
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
	}
}

// A browser that subscribes on a quiet node learns at once that it is connected, and pauses longer than a write may take end
// nothing, over HTTP/2 in particular.
func TestEventsThroughTheGateway(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		s, n, _ := newServer()
		s.patience, s.alive = time.Second, 2500*time.Millisecond
		url := serve(t, s, n)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		next, end := subscribe(t, ctx, url, http2)
		if ev := next(); ev.Kind != "status" || ev.Text != "connected" || ev.State != "RUNNING" {
			t.Errorf("first: %+v", ev)
		}
		if ev := next(); ev.Kind != "status" || ev.Text != "alive" {
			t.Errorf("after a pause: %+v", ev)
		}
		n.events <- Event{Seq: 7, Kind: "transition", Component: "A", Transition: &Transition{From: "STARTING", To: "ACTIVE"}}
		if ev := next(); ev.Seq != 7 || ev.Transition == nil || ev.Transition.To != "ACTIVE" {
			t.Errorf("%+v", ev)
		}
		end()
		cancel()
	}
}

// The reader's end reaches the Runtime, and so does the gateway's end.
func TestEventsEnd(t *testing.T) {
	s, n, _ := newServer()
	url := serve(t, s, n)
	ctx, cancel := context.WithCancel(t.Context())
	next, end := subscribe(t, ctx, url, true)
	next()
	cancel()
	end()
	// The test's end stops the gateway with a second stream open; goleak says whether anything is left.
	next, end = subscribe(t, t.Context(), url, true)
	next()
	t.Cleanup(end)
	close(n.events)
}

func TestLogsFollow(t *testing.T) {
	s, n, _ := newServer()
	url := serve(t, s, n)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/components/A/logs?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "x")
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the pair is made for the test
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || line != "\"A\" 100 lines\n" {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	if err := resp.Body.Close(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
