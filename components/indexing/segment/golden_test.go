package segment_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/builder"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/postings"
	"carbonado.dev/carbonado/components/indexing/segment"
)

var update = flag.Bool("update", false, "write the golden segment anew, after the format's version was raised")

// made is a segment with every kind of field, lists of one, of few and of more than a block, and documents without values.
func made(t *testing.T) []byte {
	b := builder.New(analysis.New(nil))
	for i := range 300 {
		doc := b.Add(uint64(1000+3*i), 1_700_000_000_000+int64(i))
		b.Field("msg", segment.Text).AddText(doc, fmt.Appendf(nil, "all words of %d, of größe %d", i, i%5))
		if i%3 == 0 {
			b.Field("_msg", segment.Keyword).AddKeyword(doc, fmt.Appendf(nil, "key %d", i%10))
			b.Field("place", segment.Keyword).AddPath(doc, fmt.Appendf(nil, "US,S%d", i%4))
		}
		if i%2 == 0 {
			b.Field("n", segment.Int).AddNumber(doc, int64(i*i)-500)
		}
		b.Field("x", segment.Float64).AddNumber(doc, column.OfFloat64(float64(i)/7))
		b.Field("f", segment.Float32).AddNumber(doc, column.OfFloat32(float32(i)/3))
	}
	var buf bytes.Buffer
	w := segment.NewWriter(&buf, t.TempDir(), b.Docs())
	if err := b.WriteTo(w); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestGolden: a file that an earlier build wrote is read, and written the same. Who changes the format raises a version, so that
// old shards are read again from the store, and runs this with -update.
func TestGolden(t *testing.T) {
	const name = "testdata/segment-1.cbn"
	got := made(t)
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the same documents are written otherwise: %d bytes, %d before", len(got), len(want))
	}
	s, err := segment.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	if s.Docs() != 300 || s.MaxSeq() != 1897 || s.SeqOf(7) != 1021 {
		t.Errorf("%d documents, greatest row %d, eighth row %d", s.Docs(), s.MaxSeq(), s.SeqOf(7))
	}
	count := func(field, term string) int {
		l, err := s.Field(field).Find([]byte(term))
		if err != nil {
			t.Fatal(err)
		}
		return l.Count()
	}
	for term, n := range map[string]int{"all": 300, "7": 1, "größe": 300, "3": 60, "absent": 0} {
		if got := count("msg", term); got != n {
			t.Errorf("%s is in %d documents, want %d", term, got, n)
		}
	}
	if count("_msg", "key 3") != 10 || count("place", "US") != 100 || count("place", "US,S2") != 25 {
		t.Error("keywords")
	}
	l, err := s.Field("msg").Find([]byte("of"))
	if err != nil {
		t.Fatal(err)
	}
	var it postings.Iterator
	it.Reset(l)
	if it.Advance(200) != 200 || it.Freq() != 2 || !slices.Equal(it.Positions(nil), []uint32{2, 4}) || s.Field("msg").Length(200) != 7 {
		t.Errorf("document %d has it %d times at %v", it.Doc(), it.Freq(), it.Positions(nil))
	}
	n := s.Field("n").Column
	if n.Has(3) || !n.Has(4) || n.Get(4) != -484 || column.Float64(s.Field("x").Column.Get(7)) != 1 || column.Float32(s.Field("f").Column.Get(9)) != 3 {
		t.Error("numbers")
	}
	if s.Field("_msg").Ordinal(1) != 0 || s.Field("_msg").Ordinal(0) == 0 {
		t.Error("ordinals")
	}
}
