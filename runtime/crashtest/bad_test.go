package crashtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"carbonado.dev/sdk/databridge/wire"
)

// TestInsults sends what no client should: to the receiver's sockets and to the gateway's. Each is refused with a code, logged with
// it, stores nothing, and the server's processes stay the same and serve others meanwhile.
func TestInsults(t *testing.T) {
	random := seeded(t)
	l := install(t)
	l.start()
	l.stream()
	x := l.agentLoad()
	x.moved(300)
	before := l.look()
	for _, c := range []struct {
		name string
		f    func(*testing.T, *lab, *rand.Rand)
	}{
		{"refused calls", refusedCalls},
		{"malformed bundles", malformedBundles},
		{"huge lengths", hugeLengths},
		{"noise", noise},
		{"half a bundle", halfBundle},
		{"requests", badRequests},
		{"other sites", crossSite},
		{"slow heads", slowHeads},
		{"passwords tried", sprayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			outer := l.t
			l.t = t
			defer func() { l.t = outer }()
			c.f(t, l, random)
			x.moved(60)
			if err := l.notActive(); err != nil {
				t.Errorf("not well afterwards: %v", err)
			}
		})
	}
	for name, c := range l.look() {
		if c.Pid != before[name].Pid || c.Detail.Generation != before[name].Detail.Generation {
			t.Errorf("%s has another process: %d, before %d", name, c.Pid, before[name].Pid)
		}
	}
	l.exactly(x.settle())
	l.stop()
	for _, secret := range []string{adminPassword, wrongPassword} {
		if strings.Contains(l.output.String(), secret) {
			t.Errorf("a password stands in the log: %s", tailFrom(l.output.String(), secret))
		}
	}
}

const wrongPassword = "wrong-password-7391"

// call runs one call on a fresh connection.
func (l *lab) call(secure bool, f func(context.Context, *wire.ThriftSecureEventTransmissionServiceClient) error) error {
	l.t.Helper()
	address, conf := l.port(7611), (*tls.Config)(nil)
	if secure {
		address, conf = l.port(7711), l.trust()
	}
	client, transport, err := dial(address, conf)
	if err != nil {
		l.t.Fatal(err)
	}
	defer transport.Close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return f(ctx, client)
}

func (l *lab) session() string {
	l.t.Helper()
	var session string
	err := l.call(true, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) (err error) {
		session, err = c.Connect(ctx, adminUser, adminPassword)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return session
}

// refused wants a typed exception whose text has a code, and the code in the log.
func refused[E error](l *lab, err error, code string) {
	l.t.Helper()
	var want E
	if !errors.As(err, &want) || !strings.Contains(err.Error(), code) {
		l.t.Errorf("got %T %v, want %T with %s", err, err, want, code)
	}
	l.logged(code)
}

func refusedCalls(t *testing.T, l *lab, _ *rand.Rand) {
	err := l.call(true, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
		_, err := c.Connect(ctx, "nobody", wrongPassword)
		return err
	})
	refused[*wire.ThriftAuthenticationException](l, err, "CBN-RCV-040")
	session := l.session()
	publish := func(b *wire.ThriftEventBundle) error {
		return l.call(false, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
			return c.Publish(ctx, b)
		})
	}
	unknown := bundle(session, 1, 2, "x")
	unknown.StringAttributeList[0], unknown.StringAttributeList[2] = "no.such:1.0.0", "no.such:1.0.0"
	refused[*wire.ThriftUndefinedEventTypeException](l, publish(unknown), "CBN-RCV-004")
	refused[*wire.ThriftSessionExpiredException](l, publish(bundle("no-such-session", 1, 2, "x")), "CBN-RCV-006")
	define := func(text string) error {
		return l.call(false, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
			_, err := c.DefineStream(ctx, session, text)
			return err
		})
	}
	refused[*wire.ThriftDifferentStreamDefinitionAlreadyDefinedException](l,
		define(`{"name": "crash.events", "version": "1.0.0", "payloadData": [{"name": "n", "type": "STRING"}]}`), "CBN-STR-00")
	refused[*wire.ThriftMalformedStreamDefinitionException](l, define(`{"name": "crash.other", "version": `), "CBN-STR-001")
	if _, err := os.Stat(l.home + "/repository/deployment/server/eventstreams/crash.other_1.0.0.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused definition left a file: %v", err)
	}
}

func malformedBundles(t *testing.T, l *lab, _ *rand.Rand) {
	session := l.session()
	for name, spoil := range map[string]func(*wire.ThriftEventBundle){
		"too few longs":   func(b *wire.ThriftEventBundle) { b.LongAttributeList = b.LongAttributeList[:5] },
		"too few strings": func(b *wire.ThriftEventBundle) { b.StringAttributeList = b.StringAttributeList[:7] },
		"no lists": func(b *wire.ThriftEventBundle) {
			b.LongAttributeList, b.IntAttributeList, b.StringAttributeList = nil, nil, nil
		},
		"more than eventNum":  func(b *wire.ThriftEventBundle) { n := int32(2); b.EventNum = &n },
		"events without end":  func(b *wire.ThriftEventBundle) { n := int32(1<<31 - 1); b.EventNum = &n },
		"less than no events": func(b *wire.ThriftEventBundle) { n := int32(-5); b.EventNum = &n },
		"no UTF-8":            func(b *wire.ThriftEventBundle) { b.StringAttributeList[1] = "\xff\xfe" },
		"no session":          func(b *wire.ThriftEventBundle) { b.SessionId = nil },
		"no count":            func(b *wire.ThriftEventBundle) { b.EventNum = nil },
	} {
		// Numbers that no event of the load has: that they are not stored shows in the count at the end.
		b := bundle(session, 1<<40, 1<<40+3, "bad")
		spoil(b)
		err := l.call(false, func(ctx context.Context, c *wire.ThriftSecureEventTransmissionServiceClient) error {
			return c.Publish(ctx, b)
		})
		if err == nil || !strings.Contains(err.Error(), "CBN-RCV-00") {
			t.Errorf("%s: %T %v", name, err, err)
		}
	}
	l.logged("CBN-RCV-002")
}

// message is the head of a strict binary call of publish with its one argument, the bundle, begun.
func message() []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x80010001)
	b = append(binary.BigEndian.AppendUint32(b, 7), "publish"...)
	b = binary.BigEndian.AppendUint32(b, 1)
	return append(b, 12, 0, 1) // field 1, a struct
}

// answered sends bytes and reads until the server closes; it wants that within a time. It answers what came.
func (l *lab) answered(address string, b []byte) []byte {
	l.t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(40 * time.Second))
	if _, err := conn.Write(b); err != nil {
		return nil // it has closed already
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	got, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("the server neither answers nor closes after %d bytes", len(b))
	}
	return got
}

func hugeLengths(t *testing.T, l *lab, _ *rand.Rand) {
	const huge = 1<<31 - 1
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, field := range map[string][]byte{
		"string":          append([]byte{11, 0, 1}, length(huge)...),
		"negative string": append([]byte{11, 0, 1}, length(0xffffffff)...),
		"list of i32":     append([]byte{15, 0, 3, 8}, length(huge)...),
		"list of strings": append([]byte{15, 0, 7, 11}, length(huge)...),
		"map of maps":     append([]byte{13, 0, 8, 8, 13}, length(huge)...),
		"unknown list":    append([]byte{15, 0, 55, 12}, length(huge)...),
		"unknown type":    {99, 0, 1},
		"nested structs":  bytes.Repeat([]byte{12, 0, 77}, 100_000),
	} {
		l.answered(l.port(7611), append(message(), field...))
		if !strings.Contains(l.output.String(), "CBN-RCV-00") {
			t.Errorf("%s: nothing is logged", name)
		}
	}
	// What the lengths announce is not allocated before it comes.
	pid := l.look()["EventReceiver"].Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(b), "VmHWM:")
	var kib int
	if _, err := fmt.Sscan(line, &kib); err != nil {
		t.Fatal(err)
	}
	if kib > 256<<10 {
		t.Errorf("EventReceiver took %d MiB", kib>>10)
	}
}

func noise(t *testing.T, l *lab, random *rand.Rand) {
	for range 30 {
		b := make([]byte, 1+random.IntN(4000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if random.IntN(2) == 0 {
			b = append(message(), b...)
		}
		l.answered(l.port(7611), b)
		l.answered(l.port(7711), b)
	}
	l.answered(l.port(7611), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	l.logged("CBN-RCV-001")
	// A look whether somebody is there is no error.
	for range 5 {
		conn, err := net.Dial("tcp", l.port(7611))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// halfBundle ends connections in the middle of bundles that would be good.
func halfBundle(t *testing.T, l *lab, random *rand.Rand) {
	// A good bundle's bytes, as the client writes them to a server that never answers.
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	whole := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			whole <- nil
			return
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(callTimeout))
		b := make([]byte, 1<<16)
		n, _ := io.ReadAtLeast(conn, b, 3000) // more than one flush of the client; the rest is not needed
		whole <- b[:n]
	}()
	client, transport, err := dial(listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	session := l.session()
	_ = client.Publish(ctx, bundle(session, 1<<41, 1<<41+99, "half"))
	transport.Close()
	b := <-whole
	if len(b) < 3000 {
		t.Fatalf("the bundle has %d bytes", len(b))
	}
	for range 20 {
		l.answered(l.port(7611), b[:1+random.IntN(2900)])
	}
}

// request does one request on 9443 and answers status and body.
func (l *lab) request(method, path string, body io.Reader, change ...func(*http.Request)) (*http.Response, string) {
	l.t.Helper()
	req, err := http.NewRequest(method, "https://"+l.port(9443)+path, body)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(req)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: l.trust(), DisableKeepAlives: true, ExpectContinueTimeout: 30 * time.Second}}
	resp, err := client.Do(req)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(text)
}

func basic(r *http.Request) { r.SetBasicAuth(adminUser, adminPassword) }

// expect wants a status and a code in the answer.
func (l *lab) expect(what string, resp *http.Response, text string, status int, code string) {
	l.t.Helper()
	if resp.StatusCode != status || !strings.Contains(text, code) {
		l.t.Errorf("%s: %s, want %d with %s: %.300s", what, resp.Status, status, code, text)
	}
}

func badRequests(t *testing.T, l *lab, _ *rand.Rand) {
	deep := strings.Repeat("[", 1_000_000)
	for path, code := range map[string]string{"/engine/query": "CBN-SQL-047", "/index/search": "CBN-IDX-003", "/endpoints/smart_home_http": "CBN-RCV-053"} {
		resp, text := l.request(http.MethodPost, path, strings.NewReader(deep), basic)
		l.expect(path, resp, text, http.StatusBadRequest, code)
	}
	// A body beyond the limit is refused by its length, before it is sent, and so is any of somebody who is not signed in.
	announce := func(size int64) func(*http.Request) {
		return func(r *http.Request) { r.ContentLength = size; r.Header.Set("Expect", "100-continue") }
	}
	resp, text := l.request(http.MethodPost, "/engine/query", neverEnding{}, basic, announce(200<<20))
	l.expect("200 MiB", resp, text, http.StatusRequestEntityTooLarge, "CBN-GW-018")
	resp, text = l.request(http.MethodPost, "/engine/query", neverEnding{}, announce(50<<20))
	l.expect("50 MiB of nobody", resp, text, http.StatusUnauthorized, "CBN-GW-010")
	for name, raw := range map[string]string{
		"two lengths":          "POST /engine/query HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"length and chunks":    "POST /endpoints/x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nG",
		"no host":              "GET / HTTP/1.1\r\n\r\n",
		"a head of a megabyte": "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"no HTTP":              "HELO mail.example\r\n\r\n",
	} {
		if got := l.answered(l.port(9763), []byte(raw)); len(got) > 0 && !bytes.Contains(got[:min(len(got), 20)], []byte(" 4")) && !bytes.Contains(got[:min(len(got), 20)], []byte(" 501")) {
			t.Errorf("%s: %.200s", name, got)
		}
	}
	for _, path := range []string{"/api/../engine", "/%2e%2e/etc/passwd", "/analytics//tables", `/analytics\..\tables`} {
		got := string(l.answered(l.port(9763), []byte("GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")))
		if !strings.Contains(got, " 400 ") || !strings.Contains(got, "CBN-GW-016") {
			t.Errorf("%s: %.200s", path, got)
		}
	}
}

// neverEnding is a body without end.
type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// crossSite: the cookie of a signed-in browser is of no use to pages of other sites, and GET changes nothing.
func crossSite(t *testing.T, l *lab, _ *rand.Rand) {
	resp, text := l.request(http.MethodPost, "/signin", strings.NewReader(fmt.Sprintf(`{"username": %q, "password": %q}`, adminUser, adminPassword)))
	cookies := resp.Cookies()
	if resp.StatusCode >= 400 || len(cookies) == 0 {
		t.Fatalf("sign-in: %s, %d cookies: %.200s", resp.Status, len(cookies), text)
	}
	c := cookies[0]
	if !c.HttpOnly || !c.Secure || c.SameSite == http.SameSiteNoneMode || !strings.HasPrefix(c.Name, "__Host-") {
		t.Errorf("the cookie can be had by others: %s", resp.Header["Set-Cookie"])
	}
	signedIn := func(r *http.Request) { r.AddCookie(c) }
	resp, text = l.request(http.MethodGet, "/api/status", nil, signedIn)
	l.expect("the cookie", resp, text, http.StatusOK, "RUNNING")
	const stop = "/api/components/Portal/stop"
	for name, header := range map[string][2]string{"origin": {"Origin", "https://evil.example"}, "fetch metadata": {"Sec-Fetch-Site", "cross-site"}, "null": {"Origin", "null"}} {
		resp, text = l.request(http.MethodPost, stop, nil, signedIn, func(r *http.Request) { r.Header.Set(header[0], header[1]) })
		l.expect(name, resp, text, http.StatusForbidden, "CBN-GW-017")
	}
	resp, text = l.request(http.MethodGet, stop, nil, signedIn)
	if resp.StatusCode != http.StatusMethodNotAllowed && resp.StatusCode != http.StatusNotFound {
		t.Errorf("GET %s: %s %.200s", stop, resp.Status, text)
	}
	if s := l.look()["Portal"].State; s != "ACTIVE" {
		t.Errorf("Portal is %s", s)
	}
}

// slowHeads holds many connections open whose requests never get ready; others are served, and the slow ones end.
func slowHeads(t *testing.T, l *lab, _ *rand.Rand) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 100 {
		for _, address := range []string{l.port(9763), l.port(9443), l.port(7711)} {
			c, err := net.DialTimeout("tcp", address, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			if _, err := c.Write([]byte("POST / HTTP/1.1\r\nX-A: ")[:1+len(conns)%20]); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := time.Now()
	resp, text := l.request(http.MethodGet, "/api/status", nil, basic)
	l.expect("status beside 300 slow connections", resp, text, http.StatusOK, "RUNNING")
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
	for i, c := range conns {
		if i%3 == 2 {
			continue // the receiver's patience is longer than this test's
		}
		_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a slow connection to %s is kept", c.RemoteAddr())
		}
	}
}

// sprayed tries passwords until the gateway answers no more of them; another user signs in meanwhile.
func sprayed(t *testing.T, l *lab, _ *rand.Rand) {
	limited := false
	for i := range 40 {
		resp, text := l.request(http.MethodGet, "/api/status", nil, func(r *http.Request) { r.SetBasicAuth("victim", fmt.Sprint(wrongPassword, i)) })
		switch resp.StatusCode {
		case http.StatusUnauthorized:
		case http.StatusTooManyRequests:
			limited = true
			if resp.Header.Get("Retry-After") == "" || !strings.Contains(text, "CBN-") {
				t.Errorf("429 without Retry-After or code: %.200s", text)
			}
		default:
			t.Fatalf("try %d: %s %.200s", i, resp.Status, text)
		}
	}
	if !limited {
		t.Error("forty wrong passwords in a row were all checked")
	}
	resp, text := l.request(http.MethodGet, "/api/status", nil, basic)
	l.expect("the right password of another user", resp, text, http.StatusOK, "RUNNING")
}
