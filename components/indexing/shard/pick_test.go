package shard

import (
	"testing"

	"pgregory.net/rapid"
)

func records(docs ...int) []segmentRecord {
	var out []segmentRecord
	for i, n := range docs {
		out = append(out, segmentRecord{ID: uint64(i + 1), Docs: n})
	}
	return out
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		docs     []int
		busy     []uint64
		from, to int
	}{
		{[]int{5, 5}, nil, 0, 0},
		{[]int{5, 5, 5}, nil, 0, 3},
		{[]int{90_000, 1000, 1000, 1000}, nil, 1, 4},
		{[]int{1000, 1000, 90_000, 1000, 1000}, nil, 0, 0},
		{[]int{9000, 9000, 9000, 1000, 1000}, nil, 1, 5}, // what is small and to the right goes along
		{[]int{9000, 9000, 9000, 100, 100, 100}, nil, 3, 6},
		{[]int{2000, 1000, 500, 250}, nil, 0, 0},
		{[]int{5, 5, 5, 5, 5}, []uint64{2}, 2, 5},
		{[]int{600_000, 600_000, 600_000}, nil, 0, 0}, // together too many
		{[]int{2_000_000, 5, 5, 5}, nil, 1, 4},
	} {
		busy := map[uint64]bool{}
		for _, id := range c.busy {
			busy[id] = true
		}
		if from, to := pick(records(c.docs...), busy, 3, 1_000_000); from != c.from || to != c.to {
			t.Errorf("%v: [%d, %d), want [%d, %d)", c.docs, from, to, c.from, c.to)
		}
	}
	dying := records(100, 100)
	dying[1].Deleted = 30
	if from, to := pick(dying, nil, 3, 1000); from != 1 || to != 2 {
		t.Errorf("a segment that is mostly deleted: [%d, %d)", from, to)
	}
}

// TestMergingIsBounded: however documents come, merging ends, leaves few segments, and rewrites each document few times.
func TestMergingIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const factor, limit = 10, 5_000_000
		var segs []segmentRecord
		next, written, total := uint64(0), 0, 0
		size := rapid.SampledFrom([]int{1, 20, 1000, 10_000}).Draw(t, "size")
		for range rapid.IntRange(1, 2000).Draw(t, "commits") {
			next++
			segs = append(segs, segmentRecord{ID: next, Docs: size})
			total += size
			for rounds := 0; ; rounds++ {
				from, to := pick(segs, nil, factor, limit)
				if from == to {
					break
				}
				if rounds > 10 {
					t.Fatal("merging does not end")
				}
				sum := 0
				for _, s := range segs[from:to] {
					sum += s.Docs
				}
				if sum > limit {
					t.Fatalf("a merge of %d documents", sum)
				}
				written += sum
				next++
				segs = append(append(append([]segmentRecord{}, segs[:from]...), segmentRecord{ID: next, Docs: sum}), segs[to:]...)
			}
		}
		if len(segs) > 60 {
			t.Fatalf("%d segments of %d documents", len(segs), total)
		}
		bound := 8
		if written > bound*total {
			t.Fatalf("%d documents rewritten for %d", written, total)
		}
	})
}
