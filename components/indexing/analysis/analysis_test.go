package analysis

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func words(a *Analyzer, text string) []string {
	var out []string
	a.Reset([]byte(text))
	for w, _, ok := a.Next(); ok; w, _, ok = a.Next() {
		out = append(out, string(w))
	}
	return out
}

// TestLikeLucene compares with what Lucene 5.2.1 (the version DAS 3.1 shipped) made of the same texts.
func TestLikeLucene(t *testing.T) {
	p, err := os.ReadFile("testdata/standard.tsv")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(strings.TrimRight(string(p), "\n"), "\n")[1:] {
		text, want, _ := strings.Cut(line, "\t")
		if got := strings.Join(words(New(nil), text), "|"); got != want {
			t.Errorf("%q\n got %s\nwant %s", text, got, want)
		}
		n++
	}
	if n < 300 {
		t.Fatalf("only %d texts", n)
	}
}

func TestStopWordsKeepPositions(t *testing.T) {
	a := New(English)
	a.Reset([]byte("The fox AND the hound"))
	var got []string
	var at []uint32
	for w, pos, ok := a.Next(); ok; w, pos, ok = a.Next() {
		got, at = append(got, string(w)), append(at, pos)
	}
	if !slices.Equal(got, []string{"fox", "hound"}) || !slices.Equal(at, []uint32{1, 4}) {
		t.Fatalf("%v at %v", got, at)
	}
}

func TestKeywordIsCutByCharacters(t *testing.T) {
	v := strings.Repeat("é", 1200)
	if got := Keyword([]byte(v)); utf8.RuneCount(got) != MaxKeyword || string(got) != v[:2*MaxKeyword] {
		t.Fatalf("%d characters", utf8.RuneCount(got))
	}
	if got := Keyword([]byte("short")); string(got) != "short" {
		t.Fatal(string(got))
	}
}

// FuzzAnalyze: no text makes the analyzer fail, loop, or make words that are too long; ASCII texts give the same words by the
// table as by the segmenter.
func FuzzAnalyze(f *testing.F) {
	f.Add("a_b.c'd:e 1,2;3")
	f.Add("größe 日本\xff\xfe🙂")
	f.Fuzz(func(t *testing.T, text string) {
		a := New(nil)
		got := words(a, text)
		for _, w := range got {
			if w == "" || utf8.RuneCountInString(w) > MaxWord || !utf8.ValidString(w) {
				t.Fatalf("%q gives %q", text, w)
			}
		}
		b := New(nil)
		b.Reset(nil)
		b.split([]byte(text))
		var slow []string
		for w, _, ok := b.Next(); ok; w, _, ok = b.Next() {
			slow = append(slow, string(w))
		}
		if !slices.Equal(got, slow) {
			t.Fatalf("%q: by the table %q, by the segmenter %q", text, got, slow)
		}
	})
}
