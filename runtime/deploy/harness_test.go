package deploy

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// Contents of test artifacts are lines between markers, so that a partial one shows:
//
//	<<
//	bad              refused, with line 2
//	wait NAME        waits for NAME
//	offer NAME       offers NAME; refused if another path offers it
//	>>
func content(lines ...string) string { return "<<\n" + strings.Join(lines, "\n") + "\n>>\n" }

// fakeOwner is a component that takes artifacts, in this process. It fails the test if it is given a partial one.
type fakeOwner struct {
	t *testing.T

	mu       sync.Mutex
	calls    []string // "validate path", "deploy path", …
	txs      []uint64
	running  map[string]string // path -> content
	offers   map[string]string // name -> path
	partial  bool              // partial contents are expected
	away     bool              // answers Unavailable
	crashOn  string            // answers Unavailable to contents with this text
	inflight int
}

func newFakeOwner(t *testing.T) *fakeOwner {
	return &fakeOwner{t: t, running: map[string]string{}, offers: map[string]string{}}
}

func (f *fakeOwner) judge(op string, r *controlv1.DeployRequest) (*controlv1.DeployResponse, error) {
	a := r.Artifact
	c := string(a.Content)
	f.calls = append(f.calls, op+" "+strings.TrimPrefix(a.Path, ServerRoot+"/"))
	f.txs = append(f.txs, r.Transaction)
	if f.away || (f.crashOn != "" && strings.Contains(c, f.crashOn)) {
		return nil, status.Error(codes.Unavailable, "the process is gone")
	}
	if !strings.HasPrefix(c, "<<\n") || !strings.HasSuffix(c, "\n>>\n") {
		if !f.partial {
			f.t.Errorf("%s was given partial content %.40q", op, c)
		}
		return faulty("not whole", 1), nil
	}
	if a.Digest != digestOf(a.Content) || a.Tenant != -1234 || a.Type != "stream" || !strings.HasSuffix(a.Path, "/"+a.Name+".json") {
		f.t.Errorf("%s was given a wrong description: %v", op, a)
	}
	resp := &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}
	for i, line := range strings.Split(c, "\n") {
		verb, name, _ := strings.Cut(line, " ")
		switch verb {
		case "bad":
			return faulty("bad line", i+1), nil
		case "wait":
			if f.offers[name] == "" {
				resp.State = controlv1.DeployResponse_STATE_WAITING
			}
			resp.WaitsFor = append(resp.WaitsFor, name)
		case "offer":
			if holder := f.offers[name]; holder != "" && holder != a.Path {
				return faulty(name+" is held by "+holder, i+1), nil
			}
			resp.Offers = append(resp.Offers, name)
		}
	}
	return resp, nil
}

func faulty(text string, line int) *controlv1.DeployResponse {
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_FAULTY, Cause: &commonv1.Cause{Code: "CBN-TEST-001", Text: text, Line: int32(line)}}
}

func (f *fakeOwner) Validate(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.judge("validate", r)
}

func (f *fakeOwner) put(op string, r *controlv1.DeployRequest) (*controlv1.DeployResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inflight++; f.inflight > 1 {
		f.t.Errorf("%s of %s while another call is under way", op, r.Artifact.Path)
	}
	defer func() { f.inflight-- }()
	resp, err := f.judge(op, r)
	if _, runs := f.running[r.Artifact.Path]; err == nil && runs != (op == "update") {
		f.t.Errorf("%s of %s, running: %v", op, r.Artifact.Path, runs)
	}
	if err != nil || resp.State != controlv1.DeployResponse_STATE_DEPLOYED {
		return resp, err
	}
	f.running[r.Artifact.Path] = string(r.Artifact.Content)
	maps.DeleteFunc(f.offers, func(_, p string) bool { return p == r.Artifact.Path })
	for _, n := range resp.Offers {
		f.offers[n] = r.Artifact.Path
	}
	return resp, nil
}

func (f *fakeOwner) Deploy(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return f.put("deploy", r)
}

func (f *fakeOwner) Update(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return f.put("update", r)
}

func (f *fakeOwner) Undeploy(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "undeploy "+strings.TrimPrefix(r.Artifact.Path, ServerRoot+"/"))
	f.txs = append(f.txs, r.Transaction)
	if f.away {
		return nil, status.Error(codes.Unavailable, "the process is gone")
	}
	delete(f.running, r.Artifact.Path)
	maps.DeleteFunc(f.offers, func(_, p string) bool { return p == r.Artifact.Path })
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}

// restart makes the owner a new process that has nothing.
func (f *fakeOwner) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running, f.offers, f.away = map[string]string{}, map[string]string{}, false
}

// fakeBell rings when told. It belongs to the bubble of its test.
type fakeBell struct {
	rings chan struct{}

	mu      sync.Mutex
	touched map[string]bool
	known   map[string]bool
	broken  error
}

func (b *fakeBell) Rings() <-chan struct{} { return b.rings }

func (b *fakeBell) Watch(folders []string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	added := false
	for _, f := range folders {
		added = added || !b.known[f]
		b.known[f] = true
	}
	return added, b.broken
}

func (b *fakeBell) Touched() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.touched
	b.touched = map[string]bool{}
	return t
}

func (b *fakeBell) Close() error { return nil }

// world is a repository, a service that watches it and an owner, in one bubble of synctest.
type world struct {
	t       *testing.T
	home    string
	owner   *fakeOwner
	bell    *fakeBell
	service *Service
	changes []Artifact
	// resume is given to the next start.
	resume bool
	// listeners are given to the next start.
	listeners []Listener

	mu     sync.Mutex // guards owners and changes
	owners []Owner
	end    func()
}

// inWorld runs a test in a bubble whose clock stands still while anything works.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	home := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, home: home, owner: newFakeOwner(t)}
		w.setOwner(1)
		w.mkdir("streams")
		defer func() {
			if w.end != nil {
				w.end()
			}
		}()
		test(w)
	})
}

func (w *world) Owners() []Owner {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owners
}

// setOwner makes the owner run as a process of a generation; 0 stops it.
func (w *world) setOwner(generation uint64) {
	o := Owner{Component: "Streams", Types: []Type{{Type: "stream", Directory: "streams", Suffix: ".json"}}, Generation: generation}
	if generation > 0 {
		o.Client = w.owner
	} else {
		o.Cause = &commonv1.Cause{Code: "CBN-SUP-001", Text: "Streams is disabled by profile indexer"}
	}
	w.mu.Lock()
	w.owners = []Owner{o}
	w.mu.Unlock()
	if w.service != nil {
		w.service.Ring()
	}
}

// start begins to watch; stop ends it as a kernel's end does.
func (w *world) start() {
	w.t.Helper()
	w.bell = &fakeBell{rings: make(chan struct{}, 1), known: map[string]bool{}}
	s, err := New(Options{
		Repository: w.home, Data: filepath.Join(w.home, "data/kernel/artifacts"), Deployers: w, Bell: w.bell, Listeners: w.listeners, Resume: w.resume,
		OnChange: func(a Artifact) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, a)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.service = s
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		w.service, w.end = nil, nil
	}
	w.pass(0)
}

func (w *world) stop() { w.end() }

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

func (w *world) abs(name string) string {
	return filepath.Join(w.home, ServerRoot, filepath.FromSlash(name))
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mkdir(name string) { w.check(os.MkdirAll(w.abs(name), 0o755)) }

// event rings the bell. written false: the file appeared whole.
func (w *world) event(name string, written bool) {
	if w.bell == nil {
		return
	}
	w.bell.mu.Lock()
	if w.bell.touched == nil {
		w.bell.touched = map[string]bool{}
	}
	w.bell.touched[w.abs(name)] = written || w.bell.touched[w.abs(name)]
	w.bell.mu.Unlock()
	select {
	case w.bell.rings <- struct{}{}:
	default:
	}
}

// write is what `cp` and os.WriteFile do.
func (w *world) write(name, text string) {
	w.t.Helper()
	w.check(os.WriteFile(w.abs(name), []byte(text), 0o644))
	w.event(name, true)
}

// replace writes beside and renames.
func (w *world) replace(name, text string) {
	w.t.Helper()
	temp := w.abs(filepath.Dir(name)) + "/.incoming.tmp"
	w.check(os.WriteFile(temp, []byte(text), 0o644))
	w.check(os.Rename(temp, w.abs(name)))
	w.event(name, false)
}

func (w *world) rename(from, to string) {
	w.t.Helper()
	w.check(os.Rename(w.abs(from), w.abs(to)))
	w.event(to, false)
}

func (w *world) remove(name string) {
	w.t.Helper()
	w.check(os.Remove(w.abs(name)))
	w.event(name, false)
}

// calls gives the owner's calls since the last time, without validations.
func (w *world) calls() []string {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	list := slices.DeleteFunc(w.owner.calls, func(c string) bool { return strings.HasPrefix(c, "validate ") })
	w.owner.calls = nil
	return list
}

func (w *world) wantCalls(want ...string) {
	w.t.Helper()
	if got := w.calls(); !slices.Equal(got, want) {
		w.t.Errorf("calls %q, want %q", got, want)
	}
}

// wantRunning compares what the owner runs, by name under streams/.
func (w *world) wantRunning(want map[string]string) {
	w.t.Helper()
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	got := map[string]string{}
	for p, c := range w.owner.running {
		got[strings.TrimPrefix(p, ServerRoot+"/streams/")] = c
	}
	if !maps.Equal(got, want) {
		w.t.Errorf("running %q, want %q", got, want)
	}
}

func (w *world) get(name string) Artifact {
	w.t.Helper()
	for _, a := range w.service.List("") {
		if a.Path == ServerRoot+"/"+name || a.Path == name {
			return a
		}
	}
	return Artifact{}
}

func (w *world) wantState(name string, want State) Artifact {
	w.t.Helper()
	a := w.get(name)
	if a.State != want {
		w.t.Errorf("%s is %q (%v), want %q", name, a.State, a.Cause, want)
	}
	return a
}

func describe(a Artifact) string {
	return fmt.Sprintf("%s %s r%d %.6s running %.6s %v", a.Path, a.State, a.Revision, a.Digest, a.Running, a.Cause)
}
