package gateway

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkGet is one small request at a time, over HTTP/2 and TLS, through the gateway to a component's socket and back.
func BenchmarkGet(b *testing.B) { benchmark(b, 0) }

// BenchmarkPost64K sends a body of 64 KiB, which comes back.
func BenchmarkPost64K(b *testing.B) { benchmark(b, 64<<10) }

func benchmark(b *testing.B, size int64) {
	f := newFront(b, Limits{})
	method := http.MethodGet
	if size > 0 {
		f.behind.set(echo)
		method = http.MethodPost
		b.SetBytes(size)
	}
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), method, f.secure+"/none", io.LimitReader(zeros{}, size))
		if err != nil {
			b.Fatal(err)
		}
		req.ContentLength = size
		resp, err := f.client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || resp.StatusCode != 200 || (size > 0 && n != size) {
			b.Fatalf("%s, %d bytes, %v", resp.Status, n, err)
		}
		_ = resp.Body.Close()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
