package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// What may still be read of a body after its answer.
const (
	lingerBytes = 16 << 20
	lingerTime  = 3 * time.Second
	// lingerPause is how long such a body may stop coming.
	lingerPause = time.Second
)

// smallBody is how much of an announced body is read before an answer that didn't want it, so that the connection can be kept.
const smallBody = 64 << 10

// linger answers a request, and then reads on a little if its body is still coming: a connection of HTTP/1 that is closed before its
// client has sent everything is reset, and the reset can overtake the answer (RFC 9112 section 9.6). A client that waits for
// "100 Continue" sends nothing.
func linger(w http.ResponseWriter, r *http.Request, answer func(http.ResponseWriter, *http.Request)) {
	if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody || r.Header.Get("Expect") != "" {
		answer(w, r)
		return
	}
	t := &talk{ResponseWriter: w, rc: http.NewResponseController(w), body: &noted{ReadCloser: r.Body}}
	t.small = r.ContentLength > 0 && r.ContentLength <= smallBody
	_ = t.rc.EnableFullDuplex() // else net/http reads some of the body, and waits for it, before it sends the answer
	// A copy: net/http looks at its own request's body to see whether the connection can be used again.
	r = r.WithContext(r.Context())
	r.Body = t.body
	answer(t, r)
	if t.body.ended.Load() {
		return
	}
	if !t.wrote {
		t.WriteHeader(http.StatusOK)
	}
	if t.rc.Flush() == nil {
		t.readOn(lingerBytes, lingerTime)
	}
	// net/http waits for no more of it.
	_ = t.rc.SetReadDeadline(time.Unix(1, 0))
}

// talk is the answer to a request whose body may still be coming.
type talk struct {
	http.ResponseWriter
	rc   *http.ResponseController
	body *noted
	// small says that the body is announced and short; streams, that somebody reads it beside the answer.
	small, streams, wrote bool
}

// Unwrap is for http.ResponseController.
func (t *talk) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader says that the connection ends with the answer, if the body hasn't ended: what is left of it must not be read as a request.
func (t *talk) WriteHeader(status int) {
	if status >= http.StatusOK && !t.wrote {
		t.wrote = true
		if !t.body.ended.Load() && t.small && !t.streams {
			t.readOn(smallBody, lingerPause)
		}
		if !t.body.ended.Load() {
			t.Header().Set("Connection", "close")
		}
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *talk) Write(b []byte) (int, error) {
	if !t.wrote {
		t.WriteHeader(http.StatusOK)
	}
	return t.ResponseWriter.Write(b)
}

// readOn reads the body to its end, at most so many bytes for so long.
func (t *talk) readOn(most int, within time.Duration) {
	end := time.Now().Add(within)
	buf := make([]byte, piece)
	for most > 0 && time.Now().Before(end) {
		if t.rc.SetReadDeadline(time.Now().Add(lingerPause)) != nil {
			return
		}
		n, err := t.body.Read(buf)
		if most -= n; err != nil {
			break
		}
	}
	_ = t.rc.SetReadDeadline(time.Time{})
}

// noted is a body that knows whether it was read to its end.
type noted struct {
	io.ReadCloser
	ended atomic.Bool
}

func (b *noted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}
