package plan

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestGroupsListThePlacesOfAKey(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOf(rapid.Int32Range(0, 5)).Draw(rt, "keys")
		g := grouped(6, len(keys), func(i int) int32 { return keys[i] })
		for key := range int32(6) {
			var want []int32
			for i, k := range keys {
				if k == key {
					want = append(want, int32(i))
				}
			}
			if got := g.of(key); !slices.Equal(got, want) {
				rt.Fatalf("%v: %d stands at %v, not at %v", keys, key, got, want)
			}
		}
	})
}

func TestAQueueGivesTheLeastFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q queue
		var want []int64
		for _, key := range rapid.SliceOf(rapid.Int64Range(-1, 20)).Draw(rt, "keys") {
			if key >= 0 {
				q.push(key)
				want = append(want, key)
				slices.Sort(want)
			} else if len(q) > 0 {
				if got := q.pop(); got != want[0] {
					rt.Fatalf("%d came before %v", got, want)
				}
				want = want[1:]
			}
			if len(q) != len(want) {
				rt.Fatalf("%d keys, not %d", len(q), len(want))
			}
		}
	})
}

func TestAKeyIsALevelThenARank(t *testing.T) {
	for _, pair := range [][2]int64{{keyOf(1, 9), keyOf(2, 0)}, {keyOf(1, 0), keyOf(1, 1)}, {keyOf(0, -1), keyOf(0, 0)}} {
		if pair[0] >= pair[1] {
			t.Errorf("%d is not before %d", pair[0], pair[1])
		}
	}
	if rankOf(keyOf(1000, 7)) != 7 || rankOf(keyOf(0, -1)) != -1 {
		t.Error("a rank is lost")
	}
}
