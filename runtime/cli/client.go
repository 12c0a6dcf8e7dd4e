package cli

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/sdk/cause"
)

func (a *app) runFolder() string { return filepath.Join(a.Home, "repository", "run") }

// client reaches the node's admin socket.
func (a *app) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return admin.Dial(ctx, a.runFolder())
	}}}
}

// do makes a call. An answer that is no success is a *admin.Failure. The caller closes the body.
func (a *app) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client().Do(req)
	if err != nil {
		if c := cause.From(err); c.Code() != cause.Unknown.ID() || ctx.Err() != nil {
			return nil, c
		}
		return nil, admin.ErrNoServer.Wrap(err, "the server went away during %s %s", method, path)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	f := admin.NewFailure(resp.StatusCode)
	if json.Unmarshal(b, f) != nil || f.Message == "" {
		f.Message = method + " " + path + ": " + resp.Status
	}
	return nil, f
}

// call makes a call and decodes its answer.
func call[T any](ctx context.Context, a *app, method, path string, body io.Reader) (T, error) {
	var v T
	resp, err := a.do(ctx, method, path, body)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

func get[T any](ctx context.Context, a *app, path string) (T, error) {
	return call[T](ctx, a, http.MethodGet, path, nil)
}
