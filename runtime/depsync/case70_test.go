package depsync

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/cluster"
)

func TestCase70AJoinedNodeConverges(t *testing.T) {
	w, a, b, c := three(t)
	w.equal(a, b)
	w.equal(a, c)
	if err := os.Chmod(filepath.Join(a.folder, "eventstreams/one.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.remove("eventreceivers/two.xml")
	a.write("deep/er/three.txt", "3")
	a.look()
	d := w.add("d", false)
	for _, m := range []*machine{b, c, d} {
		m.look()
		w.equal(a, m)
		s := a.sees(m.id)
		if s.Generation != 2 || s.Digest != w.pointer().Digest || s.Behind != 0 || !s.Member || s.Committer {
			t.Errorf("%+v", s)
		}
	}
	a.remove("deep/er/three.txt")
	a.look()
	b.look()
	if _, err := os.Lstat(filepath.Join(b.folder, "deep/er")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder without files stays: %v", err)
	}
	if info, err := os.Stat(filepath.Join(d.folder, "eventstreams/one.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if s := d.sees("a"); !s.Committer || s.Generation != 3 {
		t.Errorf("%+v", s)
	}
}

// Nobody tells the nodes: they watch.
func TestCase70NodesFollowByThemselves(t *testing.T) {
	w, a, b, c := three(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, m := range []*machine{a, b, c} {
		wg.Go(func() { m.Run(ctx) })
	}
	defer wg.Wait()
	defer cancel()
	reports, err := a.member.Watch(ctx, keyNode("c"))
	if err != nil {
		t.Fatal(err)
	}
	a.write("eventstreams/one.json", "1 anew")
	a.Ring()
	end := time.After(20 * time.Second)
	for c.Base().Generation != 2 {
		select {
		case <-reports:
		case <-end:
			t.Fatalf("c has generation %d", c.Base().Generation)
		}
	}
	w.equal(a, c)
}

func TestCase70APartitionedNodeIsBehindWithVersionAndAge(t *testing.T) {
	w, a, b, c := three(t)
	before := w.now()
	before70 := content(t, c.folder)
	c.member.Cut()
	for i := range 3 {
		w.later(10 * time.Minute)
		a.write("eventstreams/one.json", fmt.Sprint("change ", i))
		a.look()
		b.look()
		if err := c.Look(t.Context()); !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	s := b.sees("c")
	if s.Generation != 1 || s.Behind != 3 || s.Member || !s.Time.Equal(before) || w.now().Sub(s.Time) != 30*time.Minute {
		t.Errorf("%+v", s)
	}
	if s := b.sees("b"); s.Generation != 4 || s.Behind != 0 || !s.Member {
		t.Errorf("%+v", s)
	}
	if got := content(t, c.folder); len(got) != len(before70) || got["eventstreams/one.json"] != "1" {
		t.Errorf("the partitioned node has %v", got)
	}
	if _, err := c.Nodes(t.Context()); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	c.member.Mend()
	c.look()
	w.equal(a, c)
	if s := b.sees("c"); s.Generation != 4 || s.Behind != 0 || !s.Member || !s.Time.Equal(w.now()) {
		t.Errorf("%+v", s)
	}
}

// What a follower writes makes no generation, and what is the same makes none either.
func TestCase70NoLoop(t *testing.T) {
	w, a, b, c := three(t)
	want := w.pointer()
	for range 5 {
		for _, m := range []*machine{a, b, c} {
			m.look()
		}
	}
	a.write("eventstreams/one.json", "1") // the same again
	a.look()
	b.write("eventstreams/mine.json", "a foreign edit")
	b.look()
	if _, err := b.Commit(t.Context()); !errors.Is(err, ErrFollows) {
		t.Errorf("%v", err)
	}
	for _, m := range []*machine{a, b, c} {
		m.stop()
		m.start()
		m.look()
	}
	if got := w.pointer(); got != want {
		t.Errorf("generation %d became %d", want.Generation, got.Generation)
	}
	w.equal(a, b)
	if kept := aside(t, b); !slices.Equal(kept, []string{"mine.json=a foreign edit"}) {
		t.Errorf("put aside: %v", kept)
	}
}

func TestCase70ASecondCommitterIsRefused(t *testing.T) {
	w, a, b, _ := three(t)
	d := w.add("d", true)
	d.write("eventstreams/one.json", "another opinion")
	for range 2 {
		if err := d.Look(t.Context()); !errors.Is(err, ErrOtherCommitter) {
			t.Fatalf("%v", err)
		}
	}
	if _, err := d.Commit(t.Context()); !errors.Is(err, ErrOtherCommitter) {
		t.Errorf("%v", err)
	}
	if s := b.sees("d"); s.Behind != 1 || s.Committer || s.Problem == "" {
		t.Errorf("%+v", s)
	}
	if err := a.member.Close(); err != nil { // the first one's end gives the second no right either
		t.Fatal(err)
	}
	if err := d.Look(t.Context()); !errors.Is(err, ErrOtherCommitter) {
		t.Errorf("%v", err)
	}
	if p := w.pointer(); p.Generation != 1 || p.Committer != "a" {
		t.Errorf("%+v", p)
	}
	if got := content(t, d.folder); got["eventstreams/one.json"] != "another opinion" {
		t.Errorf("%v", got)
	}
}

// Two that begin together: one is pinned.
func TestCase70OfTwoCommittersOneWins(t *testing.T) {
	w := newWorld(t)
	list := []*machine{w.add("a", true), w.add("b", true)}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, m := range list {
		m.write("x", m.id)
		wg.Go(func() { errs[i] = m.Look(context.Background()) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("%v", errs)
	}
	if p := w.pointer(); p.Generation != 1 {
		t.Errorf("%+v", p)
	}
}

var errCrash = errors.New("the machine stops here")

// crashAt makes the n-th change of disk or shared state the last of this process; it answers how many there were.
func (m *machine) crashAt(n int) *int {
	count := new(int)
	m.Node.step = func(string) error {
		if *count++; *count > n {
			return errCrash
		}
		return nil
	}
	return count
}

// A follower's process ends before each of its writes in turn. Every file is the old one or the new one, and the next process finishes.
func TestCase70CrashAtEveryStepOfASwitch(t *testing.T) {
	for n := 0; ; n++ {
		w, a, b, _ := three(t)
		old := content(t, a.folder)
		a.write("eventstreams/one.json", "1 anew")
		a.write("eventstreams/four.json", "4")
		a.remove("eventreceivers/two.xml")
		a.write("eventreceivers/two.xml/now/a/folder", "5 5 5")
		a.look()
		count := b.crashAt(n)
		err := b.Look(t.Context())
		anew := content(t, a.folder)
		for p, text := range content(t, b.folder) {
			if text != old[p] && text != anew[p] {
				t.Errorf("crash at %d: %s holds %q", n, p, text)
			}
		}
		if s := a.sees("b"); errors.Is(err, errCrash) && s.Generation != 1 {
			t.Errorf("crash at %d: b reports %+v", n, s)
		}
		b.stop()
		b.start()
		b.look()
		w.equal(a, b)
		if s := a.sees("b"); s.Generation != 2 || s.Behind != 0 {
			t.Errorf("crash at %d: %+v", n, s)
		}
		if kept := aside(t, b); len(kept) != 0 {
			t.Errorf("crash at %d: put aside %v", n, kept)
		}
		if err == nil {
			if *count < 8 {
				t.Errorf("a switch has %d steps only", *count)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
	}
}

// After a crash in the middle of a switch the pointer goes back to what the node had: the folder is put right all the same.
func TestCase70CrashThenTheOldContentAgain(t *testing.T) {
	w, a, b, _ := three(t)
	a.write("eventstreams/one.json", "1 anew")
	a.write("eventreceivers/two.xml", "2 anew")
	a.look()
	b.crashAt(4) // fetched, and one file written
	if err := b.Look(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	got := content(t, b.folder)
	if (got["eventstreams/one.json"] == "1 anew") == (got["eventreceivers/two.xml"] == "2 anew") {
		t.Fatalf("the crash was not in the middle: %v", got)
	}
	b.stop()
	a.write("eventstreams/one.json", "1")
	a.write("eventreceivers/two.xml", "2")
	a.look()
	b.start()
	b.look()
	w.equal(a, b)
	if p := w.pointer(); p.Generation != 3 {
		t.Errorf("%+v", p)
	}
}

// The committer's process ends before each of its writes in turn: there is the old generation or the new one, and the next process ends
// with exactly one more.
func TestCase70CrashAtEveryStepOfACommit(t *testing.T) {
	for n := 0; ; n++ {
		w, a, b, _ := three(t)
		a.write("eventstreams/one.json", "1 anew")
		a.write("eventstreams/four.json", "4")
		a.crashAt(n)
		err := a.Look(t.Context())
		b.look()
		a.stop()
		a.start()
		a.look()
		b.look()
		w.equal(a, b)
		if p := w.pointer(); p.Generation != 2 {
			t.Errorf("crash at %d: generation %d", n, p.Generation)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
	}
}

// The pointer was moved, and the answer was lost: it is no second generation.
func TestCase70AnswerOfACommitIsLost(t *testing.T) {
	w, a, b, _ := three(t)
	a.write("eventstreams/one.json", "1 anew")
	a.Node.step = func(what string) error {
		if what == "set "+keyCurrent {
			a.member.LoseAnswers()
		}
		return nil
	}
	if err := a.Look(t.Context()); !errors.Is(err, cluster.ErrUnavailable) {
		t.Fatal(err)
	}
	a.member.Mend()
	a.look()
	b.look()
	w.equal(a, b)
	if p := w.pointer(); p.Generation != 2 || a.Base() != p {
		t.Errorf("%+v, %+v", p, a.Base())
	}
	// Where it can be asked, it is known at once.
	a.Node.step = func(string) error { return nil }
	a.Node.c = forgetful{a.member}
	a.write("eventstreams/one.json", "1 once more")
	a.look()
	if p := w.pointer(); p.Generation != 3 || a.Base() != p {
		t.Errorf("%+v, %+v", p, a.Base())
	}
}

// forgetful does what it is asked for, and says that it can't be reached where the pointer was moved.
type forgetful struct{ cluster.Coordinator }

func (f forgetful) Set(ctx context.Context, key string, value []byte, ifVersion uint64) (uint64, error) {
	v, err := f.Coordinator.Set(ctx, key, value, ifVersion)
	if key == keyCurrent && err == nil {
		err = cluster.ErrUnavailable.New("the answer is lost")
	}
	return v, err
}

// A committer that slept while its lease ended and its place was taken does not move the pointer.
func TestCase70APausedCommitterIsFenced(t *testing.T) {
	w, a, _, _ := three(t)
	a.write("eventstreams/one.json", "1 anew")
	a.Node.step = func(what string) error {
		if what != "set "+keyCurrent {
			return nil
		}
		other := w.h.Join("z", "")
		defer other.Close()
		v, err := other.Get(t.Context(), keyCurrent)
		if err != nil {
			return err
		}
		_, err = other.Set(t.Context(), keyCurrent, []byte(`{"generation":7,"digest":"d","committer":"z","token":99999}`), v.Version)
		return err
	}
	if err := a.Look(t.Context()); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("%v", err)
	}
	if p := w.pointer(); p.Generation != 7 {
		t.Errorf("%+v", p)
	}
}
