package few

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// A Map is a map: whatever is done to both, both say the same, and so does a copy made before.
func TestIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m, before Map[int, string]
		want, wanted := map[int]string{}, map[int]string{}
		key := rapid.IntRange(0, 3)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				k, v := key.Draw(t, "key"), rapid.String().Draw(t, "value")
				m.Set(k, v)
				want[k] = v
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				m.Delete(k)
				delete(want, k)
			},
			"clone": func(*rapid.T) { before, wanted = m.Clone(), maps.Clone(want) },
			"": func(t *rapid.T) {
				for m, want := range map[*Map[int, string]]map[int]string{&m: want, &before: wanted} {
					if got := maps.Collect(m.All()); !maps.Equal(got, want) || m.Len() != len(want) {
						t.Fatalf("%v, %d, but %v", got, m.Len(), want)
					}
					for k := range 4 {
						v, ok := m.Get(k)
						if w, is := want[k]; v != w || ok != is {
							t.Fatalf("%d is %q, %v, but %q, %v", k, v, ok, w, is)
						}
					}
				}
			},
		})
	})
}

func TestOneEntryNeedsNoMemory(t *testing.T) {
	var m Map[string, int]
	if n := testing.AllocsPerRun(100, func() {
		m.Set("a", 1)
		for range m.All() {
		}
		m.Delete("a")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
