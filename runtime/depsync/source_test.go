package depsync

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
)

// A node that gives as much as it may sends who comes then elsewhere, and they come again.
func TestABusyNode(t *testing.T) {
	w := newWorld(t)
	a := w.add("a", true)
	a.write("x", "1")
	a.look()
	h := Handler(a.Store())
	held := make(chan struct{})
	began := make(chan struct{}, uploads)
	for range uploads {
		go h.ServeHTTP(&slowWriter{began: began, held: held}, get(t, digestOf([]byte("1"))))
		<-began
	}
	r := &slowWriter{}
	h.ServeHTTP(r, get(t, digestOf([]byte("1"))))
	if r.status != 503 {
		t.Errorf("status %d", r.status)
	}
	close(held)
}

// busySource is busy a few times before it gives.
type busySource struct {
	times   int
	content []byte
}

func (b *busySource) String() string { return "busy" }

func (b *busySource) Blob(context.Context, string) (io.ReadCloser, error) {
	if b.times--; b.times >= 0 {
		return nil, errBusy
	}
	return io.NopCloser(bytes.NewReader(b.content)), nil
}

func TestABusyNodeIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	b := w.add("b", false)
	content := []byte("x")
	source := &busySource{times: 2, content: content}
	b.Node.sources = func(context.Context) []BlobSource { return []BlobSource{source} }
	if err := b.fetch(t.Context(), digestOf(content), 1); err != nil || !b.Store().Has(digestOf(content)) {
		t.Errorf("%v", err)
	}
	source.times = 1000
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.fetch(ctx, digestOf([]byte("y")), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// slowWriter is a client that does not read on until held is closed.
type slowWriter struct {
	began, held chan struct{}
	status      int
}

func (s *slowWriter) Header() http.Header { return http.Header{} }

func (s *slowWriter) WriteHeader(status int) { s.status = status }

func (s *slowWriter) Write(b []byte) (int, error) {
	if s.held != nil {
		s.began <- struct{}{}
		<-s.held
	}
	return len(b), nil
}

func get(t *testing.T, digest string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, BlobPath+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
