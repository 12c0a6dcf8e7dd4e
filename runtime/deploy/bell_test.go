package deploy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// realWorld runs a service on the operating system's own file events and clock, with short waits.
type realWorld struct {
	t       *testing.T
	home    string
	owner   *fakeOwner
	service *Service

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
}

func (w *realWorld) Owners() []Owner {
	return []Owner{{Component: "Streams", Generation: 1, Client: w.owner, Types: []Type{
		{Type: "stream", Directory: "streams", Suffix: ".json"}, {Type: "stream", Directory: "a/b/c", Suffix: ".json"},
	}}}
}

func newRealWorld(t *testing.T, times Times) *realWorld {
	t.Helper()
	w := &realWorld{t: t, home: t.TempDir(), owner: newFakeOwner(t), changed: make(chan struct{})}
	if err := os.MkdirAll(filepath.Join(w.home, ServerRoot, "streams"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Repository: w.home, Data: filepath.Join(w.home, "data"), Deployers: w, Times: times, OnChange: func(Artifact) {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(w.changed)
		w.changed = make(chan struct{})
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.service = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-s.Scanned()
	return w
}

// until waits for a condition, looking at it after each change.
func (w *realWorld) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			list := w.service.List("")
			w.t.Fatalf("%s: not within two minutes: %d artifacts: %v", what, len(list), list[:min(len(list), 5)])
		}
	}
}

func (w *realWorld) runs(path, text string) bool {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	got, ok := w.owner.running[ServerRoot+"/"+path]
	return ok == (text != "") && got == text
}

var quick = Times{Debounce: 5 * time.Millisecond, Quiet: 10 * time.Millisecond, Rescan: time.Hour}

// Case 15 of CLUSTER.md: a folder tree and a file in it, made at once, a hundred times. The periodic look is out of reach,
// so only events and the looks they cause can find the files.
func TestTreeMadeAtOnceIsFound(t *testing.T) {
	w := newRealWorld(t, quick)
	top, tree := filepath.Join(w.home, ServerRoot, "a"), filepath.Join(w.home, ServerRoot, "a/b/c")
	for i := range 100 {
		text := content(fmt.Sprint(i))
		if err := os.MkdirAll(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, "x.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		w.until(fmt.Sprintf("deploy %d", i), func() bool { return w.runs("a/b/c/x.json", text) })
		if err := os.RemoveAll(top); err != nil {
			t.Fatal(err)
		}
		w.until(fmt.Sprintf("undeploy %d", i), func() bool { return w.runs("a/b/c/x.json", "") })
	}
}

// A file that is rewritten in place without pause is never handed over in part, and its last content arrives.
func TestRewritesInPlaceUnderRealEvents(t *testing.T) {
	w := newRealWorld(t, quick)
	name := filepath.Join(w.home, ServerRoot, "streams/x.json")
	var last string
	for i := range 300 {
		last = content(fmt.Sprint(i))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []byte(last) {
			if _, err := f.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w.until("the last content", func() bool { return w.runs("streams/x.json", last) })
}

// The root itself goes and comes back: its watch is lost with it, the periodic look finds it and watches anew.
func TestRootDeletedAndMadeAnew(t *testing.T) {
	times := quick
	times.Rescan = 50 * time.Millisecond
	w := newRealWorld(t, times)
	for i := range 3 {
		text := content(fmt.Sprint(i))
		if err := os.MkdirAll(filepath.Join(w.home, ServerRoot, "streams"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.home, ServerRoot, "streams/x.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		w.until("deploy", func() bool { return w.runs("streams/x.json", text) })
		if err := os.RemoveAll(filepath.Join(w.home, "deployment")); err != nil {
			t.Fatal(err)
		}
		w.until("undeploy", func() bool { return w.runs("streams/x.json", "") })
	}
}

func TestDoorbellTellsWholeFromWritten(t *testing.T) {
	b, err := NewDoorbell()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir, other := t.TempDir(), t.TempDir()
	if added, err := b.Watch([]string{dir}); err != nil || !added {
		t.Fatalf("added %v, %v", added, err)
	}
	if added, err := b.Watch([]string{dir}); err != nil || added {
		t.Fatalf("added again: %v, %v", added, err)
	}
	write := func(name string) {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "written"))
	write(filepath.Join(other, "o"))
	if err := os.Rename(filepath.Join(other, "o"), filepath.Join(dir, "whole")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for len(got) < 2 {
		select {
		case <-b.Rings():
		case <-time.After(10 * time.Second):
			t.Fatalf("only %v", got)
		}
		for p, written := range b.Touched() {
			got[filepath.Base(p)] = got[filepath.Base(p)] || written
		}
	}
	if !got["written"] || got["whole"] {
		t.Errorf("%v", got)
	}
	if _, err := b.Watch([]string{filepath.Join(dir, "missing")}); err == nil {
		t.Error("a folder that is not there was watched")
	}
}
