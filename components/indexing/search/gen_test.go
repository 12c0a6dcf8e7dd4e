package search_test

import (
	"math"
	"strings"

	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/segment"
)

var vocabulary = []string{"alpha", "beta", "alphas", "gamma", "delta", "ablpha", "größe", "naïve", "b", "be", "бета", "日本"}

func genDoc(t *rapid.T, seq uint64) doc {
	d := doc{seq: seq, time: 1000 + int64(seq)}
	if rapid.IntRange(0, 3).Draw(t, "late") == 0 {
		d.time -= int64(rapid.IntRange(0, 50).Draw(t, "by"))
	}
	words := rapid.SliceOfN(rapid.SampledFrom(vocabulary), 0, 9).Draw(t, "words")
	d.msg = strings.Join(words, rapid.SampledFrom([]string{" ", ", ", "-"}).Draw(t, "sep"))
	if rapid.Bool().Draw(t, "hasN") {
		v := rapid.OneOf(rapid.Int64Range(-5, 5), rapid.Int64()).Draw(t, "n")
		d.n = &v
	}
	if rapid.Bool().Draw(t, "hasX") {
		v := rapid.OneOf(rapid.Float64Range(-2, 2), rapid.SampledFrom([]float64{0, 1, -1})).Draw(t, "x")
		d.x = &v
	}
	d.loc = strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"us", "ca", "ny", "lk"}), 1, 3).Draw(t, "loc"), ",")
	return d
}

func genNode(t *rapid.T, depth int) query.Node {
	boost := rapid.SampledFrom([]float64{1, 1, 1, 2, 0.5}).Draw(t, "boost")
	word := rapid.SampledFrom(append([]string{"absent", "us", "us,ca", "alpha beta"}, vocabulary...))
	field := rapid.SampledFrom([]string{"msg", "msg", "_msg", "loc"}).Draw(t, "field")
	kind := segment.Keyword
	if field == "msg" {
		kind = segment.Text
	}
	numeric := rapid.SampledFrom([]string{"n", "x", segment.Time, segment.Seq}).Draw(t, "numeric")
	numericKind := segment.Int
	if numeric == "x" {
		numericKind = segment.Float64
	}
	choices := 8
	if depth > 0 {
		choices = 11
	}
	switch rapid.IntRange(0, choices).Draw(t, "node") {
	case 0:
		return query.All{Boost: boost}
	case 1, 2:
		return query.Term{Field: field, Kind: kind, Text: word.Draw(t, "word"), Boost: boost}
	case 3:
		n := query.Phrase{Field: "msg", Slop: rapid.IntRange(0, 4).Draw(t, "slop"), Boost: boost}
		at := uint32(0)
		for range rapid.IntRange(2, 3).Draw(t, "terms") {
			n.Terms = append(n.Terms, query.PhraseTerm{Text: rapid.SampledFrom(vocabulary[:4]).Draw(t, "term"), At: at})
			at += uint32(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "step"))
		}
		return n
	case 4:
		n := query.Pattern{Field: field, Kind: kind, Match: query.Match(rapid.IntRange(0, 3).Draw(t, "match")), Boost: boost}
		switch n.Match {
		case query.Prefix:
			n.Text = rapid.SampledFrom([]string{"", "a", "al", "be", "us,", "x", "grö"}).Draw(t, "prefix")
		case query.Wildcard:
			n.Text = rapid.SampledFrom([]string{"a*a", "*a", "?e*", "gr??e", "*", "b?", "*l*h*", "us*"}).Draw(t, "wildcard")
		case query.Regexp:
			n.Text = rapid.SampledFrom([]string{"al.*", "[ab].*", "b|be", "(us|ca).*", "gr.+e", "x?"}).Draw(t, "regexp")
		case query.Fuzzy:
			n.Text = rapid.SampledFrom([]string{"alpha", "aplha", "bet", "größ", "delto"}).Draw(t, "fuzzy")
			n.Edits = rapid.IntRange(1, 2).Draw(t, "edits")
		}
		return n
	case 5:
		n := query.TermRange{Field: field, Kind: kind, IncludeLo: rapid.Bool().Draw(t, "lo]"), IncludeHi: rapid.Bool().Draw(t, "hi]"), Boost: boost}
		if rapid.Bool().Draw(t, "hasLo") {
			s := word.Draw(t, "lo")
			n.Lo = &s
		}
		if rapid.Bool().Draw(t, "hasHi") {
			s := word.Draw(t, "hi")
			n.Hi = &s
		}
		return n
	case 6, 7:
		n := query.Range{Field: numeric, Kind: numericKind, Lo: math.MinInt64, Hi: math.MaxInt64, Boost: boost}
		value := func(label string) int64 {
			if numeric == "x" {
				return column.OfFloat64(rapid.Float64Range(-2, 2).Draw(t, label))
			}
			if numeric == segment.Time {
				return 1000 + rapid.Int64Range(0, 200).Draw(t, label)
			}
			return rapid.Int64Range(-6, 100).Draw(t, label)
		}
		if rapid.Bool().Draw(t, "hasLo") {
			n.Lo = value("lo")
		}
		if rapid.Bool().Draw(t, "hasHi") {
			n.Hi = value("hi")
		}
		return n
	case 8:
		if rapid.Bool().Draw(t, "numeric?") {
			return query.Exists{Field: numeric, Kind: numericKind, Boost: boost}
		}
		return query.Exists{Field: field, Kind: kind, Boost: boost}
	}
	n := query.Bool{Boost: boost}
	for range rapid.IntRange(1, 4).Draw(t, "clauses") {
		n.Clauses = append(n.Clauses, query.Clause{Occur: query.Occur(rapid.IntRange(0, 2).Draw(t, "occur")), Node: genNode(t, depth-1)})
	}
	return n
}
