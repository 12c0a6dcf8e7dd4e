package postings

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/indexing/codec"
)

type output struct{ bytes.Buffer }

func (o *output) Position() uint64 { return uint64(o.Len()) }

type entry struct {
	doc    uint32
	pos    []uint32
	length uint32
}

func genList(t *rapid.T, freqs bool) []entry {
	// Few long lists, many short ones; gaps of one and of many.
	n := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 600)).Draw(t, "n")
	gap := rapid.SampledFrom([]uint32{1, 3, 1000}).Draw(t, "gap")
	seed := rapid.Uint32().Draw(t, "seed")
	next := func(below uint32) uint32 {
		seed = seed*1664525 + 1013904223
		return (seed >> 8) % below
	}
	list := make([]entry, n)
	doc := next(gap * 10)
	for i := range list {
		list[i] = entry{doc: doc, length: 1 + next(500)}
		if freqs {
			p := next(5)
			for range 1 + next(1+next(12)) {
				list[i].pos = append(list[i].pos, p)
				p += 1 + next(40)
			}
		}
		doc += 1 + next(gap)
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		format := Format{Freqs: rapid.Bool().Draw(t, "freqs")}
		out := &output{}
		out.WriteString("before")
		w := NewWriter(out, format)
		var lists [][]entry
		var payloads [][]byte
		base := uint64(0)
		for i := range rapid.IntRange(1, 4).Draw(t, "lists") {
			list := genList(t, format.Freqs)
			w.Start()
			for _, e := range list {
				w.Add(e.doc, e.pos, e.length)
			}
			if i == 0 {
				base = w.Offset()
			}
			lists, payloads = append(lists, list), append(payloads, w.Finish(nil, base))
		}
		section := append(out.Bytes(), make([]byte, 8)...)[:out.Len()]
		for i, list := range lists {
			l, err := Open(section, format, base, payloads[i])
			if err != nil || l.Count() != len(list) {
				t.Fatal(err)
			}
			checkWalk(t, l, list, format)
			checkAdvance(t, l, list)
			var it Iterator
			it.Reset(l)
			var docs []uint32
			for run := it.Block(); run != nil; run = it.Block() {
				docs = append(docs, run...)
			}
			for k, e := range list {
				if docs[k] != e.doc {
					t.Fatal("blocks")
				}
			}
		}
	})
}

func checkWalk(t *rapid.T, l List, list []entry, format Format) {
	var it Iterator
	it.Reset(l)
	every := rapid.IntRange(1, 3).Draw(t, "every")
	for k, e := range list {
		if it.Next() != e.doc || it.Doc() != e.doc {
			t.Fatalf("document %d is %d, want %d", k, it.Doc(), e.doc)
		}
		if !format.Freqs || k%every != 0 {
			continue
		}
		if it.Freq() != uint32(len(e.pos)) {
			t.Fatalf("frequency %d, want %d", it.Freq(), len(e.pos))
		}
		if got := it.Positions(nil); !slices.Equal(got, e.pos) {
			t.Fatalf("positions %v, want %v", got, e.pos)
		}
	}
	for range 2 { // it stays there
		if at := it.Next(); at != End || it.Err() != nil {
			t.Fatalf("at %d after the end: %v", at, it.Err())
		}
	}
}

func checkAdvance(t *rapid.T, l List, list []entry) {
	var it Iterator
	it.Reset(l)
	at := uint32(0)
	for k := 0; ; k++ {
		target := at + uint32(rapid.IntRange(0, 1+int(list[len(list)-1].doc)/3).Draw(t, "target"))
		i := sort.Search(len(list), func(i int) bool { return list[i].doc >= target })
		if last, maxTF, minLen, ok := it.Impact(target); ok && i < len(list) {
			for _, e := range list[i:] {
				if e.doc <= last && (uint32(len(e.pos)) > maxTF || e.length < minLen) {
					t.Fatalf("impact %d, %d up to %d does not bound document %d", maxTF, minLen, last, e.doc)
				}
			}
		}
		d := it.Advance(target)
		if i == len(list) {
			if d != End {
				t.Fatalf("advance %d gives %d, want the end", target, d)
			}
			return
		}
		if d != list[i].doc {
			t.Fatalf("advance %d gives %d, want %d", target, d, list[i].doc)
		}
		if got := it.Positions(nil); !slices.Equal(got, list[i].pos) {
			t.Fatalf("positions after advance: %v, want %v", got, list[i].pos)
		}
		at = d + 1
	}
}

// FuzzIterate: no bytes make a walk fail without ErrDamaged, nor go on for ever.
func FuzzIterate(f *testing.F) {
	out := &output{}
	w := NewWriter(out, Format{Freqs: true})
	w.Start()
	for i := range uint32(300) {
		w.Add(3*i, []uint32{i, i + 5}, 10)
	}
	f.Add(out.Bytes(), w.Finish(nil, 0), true)
	w.Start()
	w.Add(7, []uint32{1, 2}, 2)
	f.Add([]byte{}, w.Finish(nil, 0), true)
	f.Fuzz(func(t *testing.T, section, payload []byte, freqs bool) {
		l, err := Open(section, Format{Freqs: freqs}, 0, payload)
		if err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if l.Count() > 1<<12 {
			return // as many steps as it says, which is no fault of the bytes
		}
		var it Iterator
		it.Reset(l)
		for n, d := 0, it.Next(); d != End; n, d = n+1, it.Next() {
			if n > l.Count() {
				t.Fatal("more documents than the list says")
			}
			if it.Freq() < 100 {
				it.Positions(nil)
			}
		}
		it.Reset(l)
		it.Advance(100)
		it.Impact(1000)
	})
}
