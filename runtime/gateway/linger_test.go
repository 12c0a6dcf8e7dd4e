package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
)

// TestAnEarlyAnswerIsHeard: a client of HTTP/1.1 that sends all of its body before it reads gets the answer, not a reset, whoever
// answered early.
func TestAnEarlyAnswerIsHeard(t *testing.T) {
	f := newFront(t, Limits{Body: 10 << 20})
	f.routes("/none", "none", "", "/closed", "required", "")
	f.behind.set(func(_ *httpv1.RequestHead, s stream) error {
		return s.Send(&httpv1.ServeResponse{Part: &httpv1.ServeResponse_Head{Head: &httpv1.ResponseHead{Status: 400}}})
	})
	for _, c := range []struct {
		path   string
		size   int
		status int
	}{
		{"/closed", 8 << 20, 401},
		{"/nowhere", 8 << 20, 404},
		{"/none", 12 << 20, 413},
		{"/none", 8 << 20, 400},
	} {
		for _, chunked := range []bool{false, true} {
			if chunked && c.status == 413 {
				continue // its length shows at the end only
			}
			conn := f.dial()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			head, tail := fmt.Sprintf("Content-Length: %d\r\n\r\n", c.size), ""
			if chunked {
				head, tail = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", c.size), "\r\n0\r\n\r\n"
			}
			if _, err := io.WriteString(conn, "POST "+c.path+" HTTP/1.1\r\nHost: x\r\n"+head); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(append(bytes.Repeat([]byte("x"), c.size), tail...)); err != nil {
				t.Errorf("%s, chunked %t: the body: %v", c.path, chunked, err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s, chunked %t: %v", c.path, chunked, err)
			} else if resp.StatusCode != c.status {
				t.Errorf("%s, chunked %t: %s, want %d", c.path, chunked, resp.Status, c.status)
			}
			conn.Close()
		}
	}
}

// TestAStalledBodyDelaysNothing: the answer is there at once, and the connection is closed soon.
func TestAStalledBodyDelaysNothing(t *testing.T) {
	conn := newFront(t, Limits{}).dial()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 404 {
		t.Fatalf("%v %v", resp, err)
	}
	if took := time.Since(began); took > lingerPause/2 {
		t.Errorf("the answer took %s", took)
	}
	if !resp.Close {
		t.Error("the connection would be kept")
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Errorf("the connection's end: %v", err)
	}
}

// TestWhatIsLeftOfABodyIsNoRequest: a body that wasn't read to its end can't be the next request on its connection, and a short one that
// nobody wanted doesn't cost the connection.
func TestWhatIsLeftOfABodyIsNoRequest(t *testing.T) {
	f := newFront(t, Limits{})
	for _, c := range []struct {
		body   string
		length int
		kept   bool
	}{
		{"x", 1, true},
		{"", 100, false}, // what follows is its body
		{"", 100_000, false},
	} {
		conn := f.dial()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		fmt.Fprintf(conn, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", c.length, c.body)
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 404 || resp.Close == c.kept {
			t.Fatalf("%d bytes: %v %v", c.length, resp, err)
		} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if c.kept != (err == nil) {
			t.Errorf("%d bytes: after the answer %v %v", c.length, resp, err)
		}
		conn.Close()
	}
}
