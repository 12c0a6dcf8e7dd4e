package depsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/runtime/cluster/hub"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(layerEnv); folder != "" {
		layForEver(folder)
		return
	}
	goleak.VerifyTestMain(m)
}

// tb is what a test and a property have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Cleanup(f func())
}

// world is a cluster of nodes with real folders that give each other contents over HTTP.
type world struct {
	t  tb
	h  *hub.Hub
	mu sync.Mutex
	at time.Time
	n  map[string]*machine
}

// machine is one computer: what outlives its node's process.
type machine struct {
	*Node
	w             *world
	id            string
	folder, blobs string
	commits       bool
	member        *hub.Member
	server        *httptest.Server
	client        *http.Client
}

func newWorld(t tb) *world {
	return &world{t: t, h: hub.New(), at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), n: map[string]*machine{}}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// add makes a machine with an empty deployment folder and starts its node.
func (w *world) add(id string, commits bool) *machine {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "depsync")
	if err != nil {
		w.t.Fatal(err)
	}
	m := &machine{w: w, id: id, folder: filepath.Join(dir, "server"), blobs: filepath.Join(dir, "store"), commits: commits, client: &http.Client{Transport: &http.Transport{}}}
	if err := os.Mkdir(m.folder, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.n[id] = m
	m.start()
	w.t.Cleanup(func() {
		m.stop()
		if err := os.RemoveAll(dir); err != nil {
			w.t.Error(err)
		}
	})
	return m
}

func (m *machine) start() {
	m.w.t.Helper()
	var node *Node
	m.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { Handler(node.Store()).ServeHTTP(rw, r) }))
	m.member = m.w.h.Join(m.id, strings.TrimPrefix(m.server.URL, "http://"))
	o := Options{ID: m.id, Coordinator: m.member, Folder: m.folder, Store: m.blobs, Sources: m.peers, Now: m.w.now, Times: Times{Debounce: time.Millisecond, Reread: time.Hour}}
	if m.commits {
		o.Files = m.files
	}
	var err error
	if node, err = New(o); err != nil {
		m.w.t.Fatal(err)
	}
	m.Node = node
}

func (m *machine) stop() {
	m.server.Close()
	m.client.CloseIdleConnections()
	if err := errors.Join(m.member.Close(), m.Node.Close()); err != nil {
		m.w.t.Error(err)
	}
}

// peers are the other members that this one reaches.
func (m *machine) peers(ctx context.Context) []BlobSource {
	list, err := m.member.Members(ctx)
	if err != nil {
		return nil
	}
	var out []BlobSource
	for _, x := range list {
		if !x.Self {
			out = append(out, HTTPSource{"http://" + x.Address, m.client})
		}
	}
	return out
}

// files is what hot deployment would say: what lies in the folder whole.
func (m *machine) files() (map[string]string, bool) {
	root, err := os.OpenRoot(m.folder)
	if err != nil {
		return nil, true
	}
	defer root.Close()
	have, err := walk(root, &m.Node.digests)
	if err != nil {
		m.w.t.Error(err)
	}
	out := map[string]string{}
	for p, h := range have {
		if h.kind == 0 {
			out[p] = h.digest
		}
	}
	return out, true
}

func (m *machine) write(path, content string) {
	m.w.t.Helper()
	p := filepath.Join(m.folder, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.w.t.Fatal(err)
	}
	// Beside and renamed: digests are remembered by file, and two writes within a tick of the clock look the same.
	temp := filepath.Join(filepath.Dir(p), ".new")
	if err := os.WriteFile(temp, []byte(content), 0o640); err != nil {
		m.w.t.Fatal(err)
	}
	if err := os.Rename(temp, p); err != nil {
		m.w.t.Fatal(err)
	}
}

func (m *machine) remove(path string) {
	m.w.t.Helper()
	if err := os.Remove(filepath.Join(m.folder, path)); err != nil {
		m.w.t.Fatal(err)
	}
}

func (m *machine) look() {
	m.w.t.Helper()
	if err := m.Look(context.Background()); err != nil {
		m.w.t.Fatalf("%s: %v", m.id, err)
	}
}

// content is everything in a folder by path.
func content(t tb, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(folder, p)
		out[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) equal(a, b *machine) {
	w.t.Helper()
	x, y := content(w.t, a.folder), content(w.t, b.folder)
	if !maps.Equal(x, y) {
		w.t.Errorf("%s has %v, %s has %v", a.id, x, b.id, y)
	}
}

// sees is a node as another one sees it.
func (m *machine) sees(id string) NodeState {
	m.w.t.Helper()
	list, err := m.Nodes(context.Background())
	if err != nil {
		m.w.t.Fatal(err)
	}
	for _, s := range list {
		if s.Node == id {
			return s
		}
	}
	m.w.t.Fatalf("%s does not see %s", m.id, id)
	return NodeState{}
}

func (w *world) pointer() Pointer {
	w.t.Helper()
	for _, m := range w.n {
		if p, _, err := m.pointer(context.Background()); err == nil {
			return p
		}
	}
	w.t.Fatal("nobody reaches the cluster")
	return Pointer{}
}

// three are a committer with two files and two followers that have them.
func three(t tb) (w *world, a, b, c *machine) {
	w = newWorld(t)
	a, b, c = w.add("a", true), w.add("b", false), w.add("c", false)
	a.write("eventstreams/one.json", "1")
	a.write("eventreceivers/two.xml", "2")
	for _, m := range []*machine{a, b, c} {
		m.look()
	}
	return w, a, b, c
}

func aside(t tb, m *machine) []string {
	var out []string
	for p, text := range content(t, m.blobs) {
		if strings.HasPrefix(p, asideFolder+"/") {
			out = append(out, fmt.Sprint(filepath.Base(p), "=", text))
		}
	}
	return out
}
