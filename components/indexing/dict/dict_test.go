package dict

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/indexing/codec"
)

func build(terms []string) (t, index []byte) {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for i, s := range terms {
		w.Add([]byte(s), uint64(i), []byte(strings.Repeat("p", i%5)))
	}
	w.Flush()
	return buf.Bytes(), w.Index()
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.SampledFrom([]rune("abé\x00")), 0, 8, -1)
		terms := rapid.SliceOfNDistinct(word, 0, 200, rapid.ID[string]).Draw(t, "terms")
		sort.Strings(terms)
		d, err := Open(build(terms))
		if err != nil || d.Len() != len(terms) {
			t.Fatal(err)
		}
		it, last := d.Iterate(), ""
		for i, want := range terms {
			if !it.Next() || string(it.Term()) != want || it.Ord() != i {
				t.Fatalf("term %d is %q, want %q", i, it.Term(), want)
			}
			base, payload := it.Payload()
			if len(payload) != i%5 || base != uint64(i/BlockSize*BlockSize) {
				t.Fatalf("payload %q, base %d of term %d", payload, base, i)
			}
			if want[:it.Shared()] != last[:it.Shared()] || it.Shared() < len(want) && it.Shared() < len(last) && want[it.Shared()] == last[it.Shared()] {
				t.Fatalf("%q shares %d bytes with %q", want, it.Shared(), last)
			}
			last = want
		}
		if it.Next() || it.Err() != nil {
			t.Fatal("more terms than there are")
		}
		for range 20 {
			s := word.Draw(t, "seek")
			i, found := slices.BinarySearch(terms, s)
			it := d.Iterate()
			if ok := it.Seek([]byte(s)); ok != (i < len(terms)) || ok && (it.Ord() != i || string(it.Term()) != terms[i]) {
				t.Fatalf("seek %q: %v %q", s, ok, it.Term())
			}
			if d.Iterate().Find([]byte(s)) != found {
				t.Fatalf("find %q", s)
			}
		}
		if len(terms) > 0 {
			i := rapid.IntRange(0, len(terms)-1).Draw(t, "ord")
			if it := d.Iterate(); !it.SeekOrd(i) || string(it.Term()) != terms[i] {
				t.Fatalf("term %d is %q, want %q", i, it.Term(), terms[i])
			}
		}
	})
}

// FuzzOpen: no bytes make a walk fail without ErrDamaged, nor go on for ever.
func FuzzOpen(f *testing.F) {
	terms := []string{"a", "ab", "abc", "b"}
	for i := range 40 {
		terms = append(terms, "c"+strings.Repeat("x", i))
	}
	blocks, index := build(terms)
	f.Add(blocks, index)
	f.Fuzz(func(t *testing.T, blocks, index []byte) {
		d, err := Open(blocks, index)
		if err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		it := d.Iterate()
		n := 0
		for it.Next() {
			n++
		}
		if it.Err() == nil && n != d.Len() || it.Err() != nil && !errors.Is(it.Err(), codec.ErrDamaged) {
			t.Fatalf("%d of %d terms: %v", n, d.Len(), it.Err())
		}
		it.Seek([]byte("abc"))
		if d.Len() > 0 {
			it.SeekOrd(d.Len() - 1)
		}
	})
}
