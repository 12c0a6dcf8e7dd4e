package depsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"
)

const (
	// uploads is how many contents a node gives at once; who comes then asks another node.
	uploads = 4
	// busyRounds is how often nodes are asked that are all busy, busyWait how much longer each wait between is.
	busyRounds = 6
	busyWait   = 100 * time.Millisecond
	// slowest is the transfer that is still waited for, in bytes a second.
	slowest = 1 << 20
)

// errBusy is the answer of a node that gives as many contents as it may.
var errBusy = errors.New("it serves other nodes")

// BlobSource is a node, or a store elsewhere, that contents can be had from. What comes is not trusted.
type BlobSource interface {
	// Blob opens a content; fs.ErrNotExist if it is not there. The caller closes it. ctx bounds the reading too.
	Blob(ctx context.Context, digest string) (io.ReadCloser, error)
	// String names it in errors.
	String() string
}

// BlobPath is where Handler serves contents, with the digest after it.
const BlobPath = "/blobs/sha256/"

// Handler gives the contents of a store to other nodes: GET BlobPath + digest. Who may ask is decided before it.
func Handler(s *Store) http.Handler {
	places := make(chan struct{}, uploads)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+BlobPath+"{digest}", func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			http.Error(w, "other nodes are being served", http.StatusServiceUnavailable)
			return
		}
		f, err := s.Open(r.PathValue("digest"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	return mux
}

// HTTPSource asks another node's Handler.
type HTTPSource struct {
	// URL is what stands before BlobPath.
	URL    string
	Client *http.Client
}

// String implements BlobSource.
func (h HTTPSource) String() string { return h.URL }

// Blob implements BlobSource.
func (h HTTPSource) Blob(ctx context.Context, digest string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+BlobPath+digest, nil)
	if err != nil {
		return nil, err
	}
	resp, err := h.Client.Do(r)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.Body, nil
	case http.StatusNotFound:
		return nil, errors.Join(fs.ErrNotExist, resp.Body.Close())
	case http.StatusServiceUnavailable:
		return nil, errors.Join(errBusy, resp.Body.Close())
	}
	return nil, errors.Join(fmt.Errorf("it answers %s", resp.Status), resp.Body.Close())
}

// fetch brings a content into the store, from the first source that has it as it should be. size is negative where it is not known.
func (n *Node) fetch(ctx context.Context, digest string, size int64) error {
	if n.store.Has(digest) {
		return nil
	}
	if err := n.step("fetch " + digest); err != nil {
		return err
	}
	for round := 1; ; round++ {
		busy := false
		var failed []error
		for _, s := range n.sources(ctx) {
			err := n.fetchFrom(ctx, s, digest, size)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			busy = busy || errors.Is(err, errBusy)
			failed = append(failed, fmt.Errorf("%s: %w", s, err))
			if errors.Is(err, ErrContent) {
				n.log.Warn("a node gave a content that is not what its digest says", "node", s.String(), "digest", digest, "cause", err)
			}
		}
		if !busy || round == busyRounds {
			return ErrNoSource.Wrap(errors.Join(failed...), "%s, %d nodes asked", digest, len(failed))
		}
		select {
		case <-time.After(n.jittered(time.Duration(round) * busyWait)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) fetchFrom(ctx context.Context, s BlobSource, digest string, size int64) error {
	most := size
	if size < 0 {
		most = maxManifest
	}
	ctx, cancel := context.WithTimeout(ctx, n.times.Call+time.Duration(most/slowest)*time.Second)
	defer cancel()
	content, err := s.Blob(ctx, digest)
	if err != nil {
		return err
	}
	var from io.Reader = content
	if size < 0 {
		from = io.LimitReader(content, maxManifest)
	}
	return errors.Join(n.store.Put(digest, size, from), content.Close())
}
