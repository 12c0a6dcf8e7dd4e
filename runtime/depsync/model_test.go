package depsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"carbonado.dev/carbonado/runtime/cluster"
)

// model is what must be so, whatever happens: a generation never changes, one follows another only where the content is another, and a
// node that says that it has a generation has exactly that.
type model struct {
	t           *rapid.T
	w           *world
	a           *machine
	all         []*machine
	generations map[uint64]map[string]string
	crashed     map[*machine]bool
}

// expected are the errors that a cluster with crashes and partitions may give.
func expected(err error) bool {
	for _, e := range []error{errCrash, cluster.ErrUnavailable, ErrNoSource, cluster.ErrConflict} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (m *model) look(n *machine) {
	if m.crashed[n] {
		n.stop()
		n.start()
		delete(m.crashed, n)
	}
	err := n.Look(context.Background())
	if errors.Is(err, ErrMuchGone) {
		_, err = n.Commit(context.Background())
	}
	if errors.Is(err, errCrash) {
		m.crashed[n] = true
	}
	if err != nil {
		if !expected(err) {
			m.t.Fatalf("%s: %v", n.id, err)
		}
		return
	}
	p := m.w.pointer()
	if base := n.Base(); base.Generation != p.Generation || base.Digest != p.Digest {
		m.t.Fatalf("%s has %+v, the present one is %+v", n.id, base, p)
	}
	if p.Generation > 0 {
		m.holds(n, p.Generation)
	}
}

// holds checks a folder against a generation; the first to have it says what it is.
func (m *model) holds(n *machine, generation uint64) {
	got := content(m.t, n.folder)
	want, ok := m.generations[generation]
	if !ok {
		if before, ok := m.generations[generation-1]; ok && maps.Equal(before, got) {
			m.t.Fatalf("generation %d is the same as the one before", generation)
		}
		m.generations[generation] = got
		return
	}
	if !maps.Equal(got, want) {
		m.t.Fatalf("%s has %v, generation %d is %v", n.id, got, generation, want)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		m := &model{t: t, w: w, a: w.add("a", true), generations: map[uint64]map[string]string{}, crashed: map[*machine]bool{}}
		m.all = []*machine{m.a, w.add("b", false), w.add("c", false)}
		node := rapid.SampledFrom(m.all)
		path := rapid.SampledFrom([]string{"s/1", "s/2", "r/3", "r/deep/4", "5"})
		t.Repeat(map[string]func(*rapid.T){
			"edit": func(t *rapid.T) {
				m.a.write(path.Draw(t, "path"), fmt.Sprint("content ", rapid.IntRange(1, 4).Draw(t, "content")))
			},
			"delete": func(t *rapid.T) {
				if p := path.Draw(t, "path"); content(t, m.a.folder)[p] != "" {
					m.a.remove(p)
				}
			},
			"look": func(t *rapid.T) { m.look(node.Draw(t, "node")) },
			"look and crash": func(t *rapid.T) {
				n := node.Draw(t, "node")
				if !m.crashed[n] {
					n.crashAt(rapid.IntRange(0, 12).Draw(t, "step"))
					m.look(n)
					n.Node.step = func(string) error { return nil }
				}
			},
			"restart": func(t *rapid.T) { m.crashed[node.Draw(t, "node")] = true },
			"cut": func(t *rapid.T) {
				n := node.Draw(t, "node")
				if rapid.Bool().Draw(t, "answers only") {
					n.member.LoseAnswers()
				} else {
					n.member.Cut()
				}
			},
			"mend": func(t *rapid.T) {
				n := node.Draw(t, "node")
				n.member.Mend()
			},
			"": func(*rapid.T) {},
		})
		for _, n := range m.all {
			n.member.Mend()
		}
		for _, n := range append(m.all, m.all...) {
			m.look(n)
		}
		for _, n := range m.all {
			w.equal(m.a, n)
			if s := m.a.sees(n.id); s.Behind != 0 || s.Problem != "" || s.Digest != w.pointer().Digest {
				t.Fatalf("%+v", s)
			}
		}
	})
}
