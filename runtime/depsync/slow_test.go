package depsync

import (
	"net/http"
	"testing"
)

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
