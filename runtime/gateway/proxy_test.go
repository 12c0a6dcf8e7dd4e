package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
)

func TestRequestHeadIsPassedWithoutSecrets(t *testing.T) {
	f := newFront(t, Limits{})
	f.client.CloseIdleConnections()
	f.client = f.newClient(false) // HTTP/2 has no headers of the connection
	heads := make(chan *httpv1.RequestHead, 1)
	f.behind.set(func(h *httpv1.RequestHead, s stream) error {
		heads <- h
		return s.Send(answer(204, "X-Mine", "yes", "Connection", "X-Hop", "X-Hop", "1", "Set-Cookie", sessionCookie+"=stolen", "Content-Security-Policy", "default-src 'self'"))
	})
	r := f.do("POST", f.secure+"/required/a%20b/c%2Fd?q=1%202&q=2", "12345", "Authorization", basicAuth("joe", "secret"), "Cookie", sessionCookie+"=x", "X-Forwarded-For", "1.2.3.4",
		"X-Custom", "a", "X-Custom", "b", "Connection", "X-Secret-Hop", "X-Secret-Hop", "1")
	var h *httpv1.RequestHead
	select {
	case h = <-heads:
	default:
		t.Fatalf("it did not arrive: %d %s", r.status, r.body)
	}
	if h.Method != "POST" || h.Url != "/required/a%20b/c%2Fd?q=1%202&q=2" || h.Scheme != "https" || h.ContentLength != 5 || !strings.HasPrefix(h.RemoteAddress, "127.0.0.1:") || "https://"+h.Host != f.secure {
		t.Errorf("%v", h)
	}
	if h.Principal.GetUser() != "joe" || len(h.PrincipalSignature) == 0 {
		t.Errorf("%v", h.Principal)
	}
	names := map[string][]string{}
	for _, x := range h.Headers {
		names[x.Name] = x.Values
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Forwarded-For", "Connection", "X-Secret-Hop"} {
		if _, ok := names[name]; ok {
			t.Errorf("%s was passed on: %q", name, names[name])
		}
	}
	if !slices.Equal(names["X-Custom"], []string{"a", "b"}) {
		t.Errorf("%q", names["X-Custom"])
	}
	if r.status != 204 || r.header.Get("X-Mine") != "yes" || r.header.Get("X-Hop") != "" || r.header.Get("Set-Cookie") != "" || r.header.Get("Content-Security-Policy") != "default-src 'self'" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

// Bodies are streamed both ways at once, over both protocols: each piece is answered before the next one is sent.
func TestBodiesStreamBothWays(t *testing.T) {
	f := newFront(t, Limits{})
	f.behind.set(echo)
	for _, http2 := range []bool{true, false} {
		c := f.newClient(http2)
		defer c.CloseIdleConnections()
		out, in := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.secure+"/none", out)
		if err != nil {
			t.Fatal(err)
		}
		first := make(chan error, 1)
		go func() {
			_, err := in.Write([]byte("piece 0\n"))
			first <- err
		}()
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if (resp.ProtoMajor == 2) != http2 {
			t.Errorf("spoke %s", resp.Proto)
		}
		lines := bufio.NewReader(resp.Body)
		for i := range 5 {
			line, err := lines.ReadString('\n')
			if want := fmt.Sprintf("piece %d\n", i); err != nil || line != want {
				t.Fatalf("%q, want %q: %v", line, want, err)
			}
			if i < 4 {
				if _, err := fmt.Fprintf(in, "piece %d\n", i+1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := errors.Join(in.Close(), resp.Body.Close()); err != nil {
			t.Error(err)
		}
	}
}

// echo sends back what it gets, piece by piece.
func echo(_ *httpv1.RequestHead, s stream) error {
	if err := s.Send(answer(200, "Content-Type", "application/octet-stream")); err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(bytesOf(string(m.GetBody()))); err != nil {
			return err
		}
	}
}

func TestLargeBodiesArriveWhole(t *testing.T) {
	f := newFront(t, Limits{})
	f.behind.set(echo)
	data := make([]byte, 5<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	for _, http2 := range []bool{true, false} {
		c := f.newClient(http2)
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.secure+"/none", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if r := f.send(c, req); r.status != 200 || r.body != string(data) {
			t.Errorf("%s: %d with %d bytes", r.proto, r.status, len(r.body))
		}
	}
}

func TestServerSentEventsAreNotHeldBack(t *testing.T) {
	f := newFront(t, Limits{Pause: 200 * time.Millisecond})
	next, gone := make(chan string), make(chan struct{})
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		if err := s.Send(answer(200, "Content-Type", "text/event-stream")); err != nil {
			return err
		}
		for {
			select {
			case text, ok := <-next:
				if !ok {
					return nil
				}
				if err := s.Send(bytesOf("data: " + text + "\n\n")); err != nil {
					return err
				}
			case <-s.Context().Done():
				gone <- struct{}{}
				return s.Context().Err()
			}
		}
	})
	for _, http2 := range []bool{true, false} {
		c := f.newClient(http2)
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.secure+"/none", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(resp.Body)
		for i := range 3 {
			if i == 2 {
				<-time.After(500 * time.Millisecond) // a silent stream is cut by no limit
			}
			next <- fmt.Sprint(i)
			line, err := lines.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("%s: %q, %v", resp.Proto, line, err)
			}
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if http2 {
			// The visitor goes: the component notices.
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Fatal("the component goes on")
			}
			continue
		}
		close(next)
		if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
			t.Errorf("%q, %v", rest, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVisitorsEndReachesTheComponent(t *testing.T) {
	f := newFront(t, Limits{})
	ended := make(chan error, 1)
	begun := make(chan struct{}, 1)
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		begun <- struct{}{}
		select {
		case <-s.Context().Done():
			ended <- nil
		case <-time.After(20 * time.Second):
			ended <- errors.New("the call goes on")
		}
		return s.Context().Err()
	})
	for _, http2 := range []bool{true, false} {
		c := f.newClient(http2)
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", f.secure+"/none", nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			resp, err := c.Do(req)
			if err == nil {
				err = resp.Body.Close()
			}
			done <- err
		}()
		<-begun
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.CloseIdleConnections()
	}
}

func TestTrailersAndInformationalAnswers(t *testing.T) {
	f := newFront(t, Limits{})
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		return errors.Join(s.Send(answer(103, "Link", "</x>")), s.Send(answer(200)), s.Send(bytesOf("body")), s.Send(answer(0, "X-Sum", "42")))
	})
	for _, http2 := range []bool{true, false} {
		c := f.newClient(http2)
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.secure+"/none", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if string(body) != "body" || resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("%s: %q, trailers %v", resp.Proto, body, resp.Trailer)
		}
	}
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		return errors.Join(s.Send(answer(200, "Content-Length", "4")), s.Send(bytesOf("body")))
	})
	if r := f.do("HEAD", f.secure+"/none", ""); r.status != 200 || r.body != "" || r.header.Get("Content-Length") != "4" {
		t.Errorf("%d %q %v", r.status, r.body, r.header)
	}
}

func TestComponentsThatFail(t *testing.T) {
	f := newFront(t, Limits{})
	for name, c := range map[string]struct {
		handle func(*httpv1.RequestHead, stream) error
		status int
		code   string
	}{
		"gone":           {func(*httpv1.RequestHead, stream) error { return status.Error(codes.Unavailable, "going") }, 503, ErrComponentAway.ID()},
		"no answer":      {func(*httpv1.RequestHead, stream) error { return nil }, 502, ErrComponentBroke.ID()},
		"body first":     {func(_ *httpv1.RequestHead, s stream) error { return s.Send(bytesOf("x")) }, 502, ErrComponentBroke.ID()},
		"a wrong status": {func(_ *httpv1.RequestHead, s stream) error { return s.Send(answer(7)) }, 502, ErrComponentBroke.ID()},
		"an upgrade":     {func(_ *httpv1.RequestHead, s stream) error { return s.Send(answer(101)) }, 502, ErrComponentBroke.ID()},
	} {
		f.behind.set(c.handle)
		r := f.do("GET", f.secure+"/none", "")
		if r.status != c.status || !strings.Contains(r.body, c.code) {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	// An answer that is cut is not taken for a whole one.
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		return errors.Join(s.Send(answer(200)), s.Send(bytesOf("half")), status.Error(codes.Internal, "crash"))
	})
	for _, http2 := range []bool{true, false} {
		c := f.newClient(http2)
		defer c.CloseIdleConnections()
		resp, err := c.Get(f.secure + "/none") //nolint:noctx // the test's client has a timeout
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: a cut answer looks whole", resp.Proto)
		}
		_ = resp.Body.Close()
	}
}

func TestSilentComponentIsGivenUp(t *testing.T) {
	f := newFront(t, Limits{Answer: 200 * time.Millisecond})
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error { <-s.Context().Done(); return s.Context().Err() })
	r := f.do("GET", f.secure+"/none", "")
	if r.status != 503 || !strings.Contains(r.body, "did not answer within") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// A component that restarts can't be reached for a while: the visitor is told, not kept.
func TestUnreachableComponent(t *testing.T) {
	f := newFront(t, Limits{Open: 200 * time.Millisecond})
	f.gw.SetRoutes([]Route{{Component: "Away", Properties: map[string]string{"prefix": "/away", "auth": "none"}, Conn: waiting{f.conn}}})
	r := f.do("GET", f.secure+"/away", "")
	if r.status != 503 || !strings.Contains(r.body, "Away did not take the request") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestBodyLimits(t *testing.T) {
	swallow := func(_ *httpv1.RequestHead, s stream) error {
		for {
			if _, err := s.Recv(); errors.Is(err, io.EOF) {
				return s.Send(answer(200))
			} else if err != nil {
				return err
			}
		}
	}
	f, hasty := newFront(t, Limits{Body: 1 << 10}), newFront(t, Limits{Pause: 300 * time.Millisecond})
	f.behind.set(swallow)
	hasty.behind.set(swallow)
	post := func(f *front, http2 bool, body io.Reader) reply {
		t.Helper()
		c := f.newClient(http2)
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.secure+"/none", body)
		if err != nil {
			t.Fatal(err)
		}
		return f.send(c, req)
	}
	for _, http2 := range []bool{true, false} {
		if r := post(f, http2, strings.NewReader(strings.Repeat("x", 1<<10))); r.status != 200 {
			t.Errorf("the largest body: %d %s", r.status, r.body)
		}
		before := f.behind.count()
		if r := post(f, http2, strings.NewReader(strings.Repeat("x", 1<<10+1))); r.status != 413 || f.behind.count() != before {
			t.Errorf("an announced body: %d %s", r.status, r.body)
		}
		if r := post(f, http2, io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<11)))); r.status != 413 || !strings.Contains(r.body, ErrBodyTooLarge.ID()) {
			t.Errorf("an unannounced body: %d %s", r.status, r.body)
		}
		out, in := io.Pipe()
		go func() { _, _ = in.Write([]byte("x")) }()
		late := time.AfterFunc(20*time.Second, func() { _ = in.Close() }) // net/http's client waits for the body even when the connection was cut
		if r := post(hasty, http2, out); r.status != 408 || !strings.Contains(r.body, ErrBodySlow.ID()) {
			t.Errorf("a body that stops: %s %d %s", r.proto, r.status, r.body)
		}
		late.Stop()
		_ = in.Close()
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	conn := newFront(t, Limits{Header: 200 * time.Millisecond}).dial()
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /none HTTP/1.1\r\nHost: x\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(conn); err != nil {
		t.Errorf("%q, %v", data, err)
	}
	f := newFront(t, Limits{HeaderBytes: 8 << 10})
	f.client.CloseIdleConnections()
	f.client = f.newClient(false)
	if r := f.do("GET", f.secure+"/none", "", "X-Large", strings.Repeat("x", 64<<10)); r.status != 431 {
		t.Errorf("a large head: %d", r.status)
	}
}

// dial opens a raw TLS connection for HTTP/1.1.
func (f *front) dial() net.Conn {
	f.t.Helper()
	u, _ := url.Parse(f.secure)
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // the pair is made for the test
	if err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// raw sends bytes and gives the status line's code.
func (f *front) raw(text string) string {
	f.t.Helper()
	conn := f.dial()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		f.t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "closed"
	}
	return strings.Fields(line)[1]
}

func TestMalformedRequestsReachNobody(t *testing.T) {
	f := newFront(t, Limits{})
	for _, target := range []string{"/none/../required", "/none/%2e%2e/required", "/none/..%2frequired", "/none/.", "/none//x", "//none", "/none/%00", "/none\\x", "/none/%5c..", "/none/%0a", "*", "none", "/%"} {
		if got := f.raw("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); got != "400" {
			t.Errorf("%s: %s", target, got)
		}
	}
	for name, text := range map[string]string{
		"two lengths":          "POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"no host":              "GET /none HTTP/1.1\r\n\r\n",
		"a space in a header":  "GET /none HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
		"an unknown transfer":  "POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
		"a negative length":    "POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"TRACE":                "TRACE /none HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT":              "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n",
		"length and chunks":    "POST /required HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a broken chunk's end": "POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		if got := f.raw(text); got == "200" || got[0] == '3' {
			t.Errorf("%s: %s", name, got)
		}
	}
	if n := f.behind.count(); n > 1 { // the broken chunk shows only after the head has passed
		t.Errorf("%d requests reached the component", n)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.plain, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: evil.example/@x\r\n\r\n"))
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 400 ") {
		t.Errorf("a redirect to a strange host: %q, %v", line, err)
	}
}

func TestLongestPrefixWins(t *testing.T) {
	var refused []string
	table := newTable([]Route{
		{ID: 9, Properties: map[string]string{"prefix": "/"}}, {ID: 1, Properties: map[string]string{"prefix": "/a"}},
		{ID: 2, Properties: map[string]string{"prefix": "/a/b"}}, {ID: 5, Properties: map[string]string{"prefix": "/same"}},
		{ID: 4, Properties: map[string]string{"prefix": "/same"}}, {ID: 8, Ranking: 1, Properties: map[string]string{"prefix": "/ranked"}},
		{ID: 7, Properties: map[string]string{"prefix": "/ranked"}}, {ID: 10, Properties: map[string]string{"prefix": "/api/x"}},
		{ID: 11, Properties: map[string]string{"prefix": "/signin"}}, {ID: 12, Properties: map[string]string{"prefix": "x"}},
		{ID: 13, Properties: map[string]string{"prefix": "/x/../y"}}, {ID: 14, Properties: map[string]string{"prefix": "/x/"}}, {ID: 15},
	}, func(r Route, _ string) { refused = append(refused, fmt.Sprint(r.ID)) })
	for p, id := range map[string]uint64{"/": 9, "/a": 1, "/a/": 1, "/ab": 9, "/a/b": 2, "/a/b/c": 2, "/a/bc": 1, "/same/x": 4, "/ranked": 8, "/zzz": 9} {
		if e, ok := table.find(p); !ok || e.ID != id {
			t.Errorf("%s: %d, want %d", p, e.ID, id)
		}
	}
	if want := []string{"10", "11", "12", "13", "14", "15"}; !slices.Equal(refused, want) {
		t.Errorf("refused %v, want %v", refused, want)
	}
}

func TestOperatorReachesEveryRoute(t *testing.T) {
	f := newFront(t, Limits{})
	h := f.gw.As(&commonv1.Principal{User: "operator", Tenant: -1234, Permissions: []string{"/permission"}, Via: "admin-socket"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	for path, want := range map[string]string{"/required": "operator via admin-socket", "/page": "operator via admin-socket", "/none": "operator via admin-socket", "/api/status": "api for operator"} {
		if r := f.do("POST", "http://"+l.Addr().String()+path, "", "Origin", "https://elsewhere.example"); r.status != 200 || r.body != want {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	f.client.CloseIdleConnections()
	_ = s.Close()
	<-done
}

// FuzzPaths: whatever is accepted means the same to the gateway and to the component that parses the address anew.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"/", "/none", "/none/../required", "/a%2fb", "/%2e%2e/x", "//x", "/a;b?c=d", "/a?b#c", "/none/%252e%252e/x", "/\\x", "http://h/none", "/é", "/%zz", "?x", "/a/b/"} {
		f.Add(s)
	}
	table := newTable([]Route{
		{ID: 1, Properties: map[string]string{"prefix": "/"}}, {ID: 2, Properties: map[string]string{"prefix": "/none"}}, {ID: 3, Properties: map[string]string{"prefix": "/a/b"}},
	}, func(Route, string) {})
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: "GET", URL: u, Header: http.Header{}}
		if checkTarget(r) != nil {
			return
		}
		route, ok := table.find(u.Path)
		if !ok {
			t.Fatalf("%q was accepted and has no route", target)
		}
		head, err := requestHead(r, door{scheme: "https"}, route, nil)
		if err != nil {
			t.Fatal(err)
		}
		there, err := url.ParseRequestURI(head.Url)
		if err != nil {
			t.Fatalf("%q became %q, which can't be parsed: %v", target, head.Url, err)
		}
		if there.Path != u.Path || there.RawQuery != u.RawQuery || there.Host != "" {
			t.Fatalf("%q means %q here and %q there", target, u.Path, there.Path)
		}
		clean, ok := table.find(cleanOf(there.Path))
		if !ok || clean.ID != route.ID {
			t.Fatalf("%q goes to route %d, cleaned to %d", target, route.ID, clean.ID)
		}
		if to := local(target); checkPath(strings.SplitN(strings.SplitN(to, "?", 2)[0], "#", 2)[0]) != nil || strings.HasPrefix(to, "//") {
			t.Fatalf("local(%q) = %q", target, to)
		}
	})
}

// TestNoAnswerIsMadeUpForAVisitorWhoGoes: one who has ended its side of the TLS session, and still reads, gets no 200 that no component gave.
func TestNoAnswerIsMadeUpForAVisitorWhoGoes(t *testing.T) {
	f := newFront(t, Limits{})
	begun := make(chan struct{}, 1)
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		begun <- struct{}{}
		<-s.Context().Done()
		return s.Context().Err()
	})
	c, err := tls.Dial("tcp", strings.TrimPrefix(f.secure, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /none HTTP/1.1\r\nHost: here\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(c); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it gets %q, %v", answer, err)
	}
}
