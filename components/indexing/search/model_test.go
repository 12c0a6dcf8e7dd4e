package search_test

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/search"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// doc is a document as the naive model keeps it.
type doc struct {
	seq  uint64
	time int64
	msg  string
	n    *int64
	x    *float64
	loc  string
}

func (d doc) words() []string {
	var out []string
	a := analysis.New(nil)
	a.Reset([]byte(d.msg))
	for w, _, ok := a.Next(); ok; w, _, ok = a.Next() {
		out = append(out, string(w))
	}
	return out
}

func (d doc) paths() []string {
	var out []string
	for i, c := range d.loc {
		if c == ',' {
			out = append(out, d.loc[:i])
		}
	}
	return append(out, d.loc)
}

// terms are the document's terms in a field, with repetitions.
func (d doc) terms(field string) []string {
	switch field {
	case "msg":
		return d.words()
	case "_msg":
		return []string{d.msg}
	case "loc":
		return d.paths()
	}
	return nil
}

func (d doc) number(field string) (int64, bool) {
	switch {
	case field == "n" && d.n != nil:
		return *d.n, true
	case field == "x" && d.x != nil:
		return column.OfFloat64(*d.x), true
	case field == segment.Time:
		return d.time, true
	case field == segment.Seq:
		return int64(d.seq), true
	}
	return 0, false
}

func addTo(s *shard.Shard, d doc) {
	b := s.Batch()
	id := b.Add(d.seq, d.time)
	b.Field("msg", segment.Text).AddText(id, []byte(d.msg))
	b.Field("_msg", segment.Keyword).AddKeyword(id, []byte(d.msg))
	b.Field("loc", segment.Keyword).AddPath(id, []byte(d.loc))
	if d.n != nil {
		b.Field("n", segment.Int).AddNumber(id, *d.n)
	}
	if d.x != nil {
		b.Field("x", segment.Float64).AddNumber(id, column.OfFloat64(*d.x))
	}
}

// model answers by looking at every document.
type model struct {
	present []doc // in the index, deleted ones included: they count for statistics until a merge drops them
	dead    map[uint64]bool
	known   map[[2]string]statistics
}

type statistics struct {
	docs, df int
	avg      float64
}

func (m *model) stats(field string, term string) (docs, df int, avg float64) {
	if s, ok := m.known[[2]string{field, term}]; ok {
		return s.docs, s.df, s.avg
	}
	defer func() { m.known[[2]string{field, term}] = statistics{docs, df, avg} }()
	words := 0
	for _, d := range m.present {
		t := d.terms(field)
		if len(t) > 0 {
			docs++
			words += len(t)
		}
		if slices.Contains(t, term) {
			df++
		}
	}
	return docs, df, float64(words) / float64(docs)
}

func (m *model) idf(field, term string) float64 {
	docs, df, _ := m.stats(field, term)
	return math.Log(1 + (float64(docs)-float64(df)+0.5)/(float64(df)+0.5))
}

func (m *model) bm25(d doc, field string, idf, freq float64) float64 {
	if field != "msg" {
		return idf * freq / (freq + 1.2)
	}
	_, _, avg := m.stats(field, "")
	return idf * freq / (freq + 1.2*(1-0.75+0.75*float64(len(d.words()))/avg))
}

// match tells whether d matches and its score.
func (m *model) match(d doc, n query.Node) (bool, float64) {
	switch n := n.(type) {
	case query.All:
		return true, n.Boost
	case query.Term:
		f := 0.0
		for _, t := range d.terms(n.Field) {
			if t == n.Text {
				f++
			}
		}
		if f == 0 {
			return false, 0
		}
		if n.Field != "msg" {
			f = 1
		}
		return true, n.Boost * m.bm25(d, n.Field, m.idf(n.Field, n.Text), f)
	case query.Phrase:
		f := phraseFreq(d.words(), n)
		if f == 0 {
			return false, 0
		}
		idf := 0.0
		for _, t := range n.Terms {
			idf += m.idf(n.Field, t.Text)
		}
		return true, n.Boost * m.bm25(d, n.Field, idf, f)
	case query.Pattern:
		return m.matchPattern(d, n)
	case query.TermRange:
		for _, t := range d.terms(n.Field) {
			if (n.Lo == nil || t > *n.Lo || n.IncludeLo && t == *n.Lo) && (n.Hi == nil || t < *n.Hi || n.IncludeHi && t == *n.Hi) {
				return true, n.Boost
			}
		}
	case query.Range:
		if v, ok := d.number(n.Field); ok && v >= n.Lo && v <= n.Hi {
			return true, n.Boost
		}
	case query.Exists:
		_, ok := d.number(n.Field)
		return ok || len(d.terms(n.Field)) > 0, n.Boost
	case query.Bool:
		return m.matchBool(d, n)
	}
	return false, 0
}

func (m *model) matchBool(d doc, n query.Bool) (bool, float64) {
	sum, must, should, positive := 0.0, false, false, false
	for _, c := range n.Clauses {
		ok, s := m.match(d, c.Node)
		switch c.Occur {
		case query.Must:
			must = true
			if !ok {
				return false, 0
			}
			sum += s
		case query.MustNot:
			if ok {
				return false, 0
			}
		default:
			positive = true
			if ok {
				should = true
				sum += s
			}
		}
	}
	return must || positive && should, sum * n.Boost
}

func (m *model) matchPattern(d doc, n query.Pattern) (bool, float64) {
	found, sum := false, 0.0
	seen := map[string]bool{}
	for _, t := range d.terms(n.Field) {
		if seen[t] {
			continue
		}
		seen[t] = true
		switch n.Match {
		case query.Prefix:
			found = found || strings.HasPrefix(t, n.Text)
		case query.Wildcard:
			e := strings.NewReplacer(`\*`, ".*", `\?`, "(?s:.)").Replace(regexp.QuoteMeta(n.Text))
			found = found || regexp.MustCompile("^(?s:"+e+")$").MatchString(t)
		case query.Regexp:
			found = found || regexp.MustCompile("^(?:"+n.Text+")$").MatchString(t)
		case query.Fuzzy:
			if e := distance([]rune(t), []rune(n.Text)); e <= n.Edits {
				found = true
				_, s := m.match(d, query.Term{Field: n.Field, Kind: n.Kind, Text: t, Boost: 1})
				sum += s * max(0, 1-float64(e)/float64(max(1, min(len([]rune(t)), len([]rune(n.Text))))))
			}
		}
	}
	if n.Match != query.Fuzzy {
		sum = 1
	}
	return found, sum * n.Boost
}

// distance counts edits, a swap of neighbours being one.
func distance(a, b []rune) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			c := 1
			if a[i-1] == b[j-1] {
				c = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+c)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// phraseFreq tries every assignment of positions; of the windows that end at the same place the tightest counts.
func phraseFreq(words []string, n query.Phrase) float64 {
	best := map[int]int{} // start of the window -> its end
	var try func(i, lo, hi int, used map[int]bool)
	try = func(i, lo, hi int, used map[int]bool) {
		if i == len(n.Terms) {
			if e, ok := best[lo]; !ok || hi < e {
				best[lo] = hi
			}
			return
		}
		for p, w := range words {
			if w == n.Terms[i].Text && !used[p] {
				used[p] = true
				at := p - int(n.Terms[i].At)
				try(i+1, min(lo, at), max(hi, at), used)
				delete(used, p)
			}
		}
	}
	try(0, math.MaxInt, math.MinInt, map[int]bool{})
	if n.Slop == 0 {
		f := 0.0
		for lo, hi := range best {
			if lo == hi {
				f++
			}
		}
		return f
	}
	// A window is the least end for its start; one that another with a later start and the same or an earlier end lies in does
	// not count.
	f := 0.0
	for lo, hi := range best {
		dominated := false
		for l, h := range best {
			dominated = dominated || l > lo && h <= hi
		}
		if !dominated && hi-lo <= n.Slop {
			f += 1 / float64(1+hi-lo)
		}
	}
	return f
}

type found struct {
	doc   doc
	score float64
}

func (m *model) run(n query.Node) []found {
	var out []found
	for _, d := range m.present {
		if m.dead[d.seq] {
			continue
		}
		if ok, s := m.match(d, n); ok {
			out = append(out, found{d, s})
		}
	}
	return out
}

var sortFields = []search.Sort{{}, {Field: "n", Kind: segment.Int}, {Field: "x", Kind: segment.Float64}, {Field: "_msg", Kind: segment.Keyword},
	{Field: "loc", Kind: segment.Keyword}, {Field: segment.Time, Kind: segment.Int}, {Field: "nowhere", Kind: segment.Keyword}}

// less orders the model's hits, or says 0.
func less(sorts []search.Sort, x, y found) int {
	for _, s := range sorts {
		c := 0
		switch {
		case s.Field == "":
			if math.Abs(x.score-y.score) > 1e-9 {
				c = cmp.Compare(x.score, y.score)
			}
		case s.Kind == segment.Keyword:
			a, b := x.doc.terms(s.Field), y.doc.terms(s.Field)
			if len(a) > 0 && len(b) > 0 {
				c = bytes.Compare([]byte(a[len(a)-1]), []byte(b[len(b)-1]))
			}
		default:
			a, okA := x.doc.number(s.Field)
			b, okB := y.doc.number(s.Field)
			if okA != okB {
				if okA {
					return -1
				}
				return 1
			}
			c = cmp.Compare(a, b)
		}
		if s.Descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func check(t *rapid.T, snap *shard.Snapshot, all map[uint64]doc, live map[uint64]bool) {
	m := &model{dead: map[uint64]bool{}, known: map[[2]string]statistics{}}
	have := 0
	for _, p := range snap.Parts {
		for i := range uint32(p.Docs()) {
			d, ok := all[p.SeqOf(i)]
			if !ok {
				t.Fatalf("the index has row %d, which was never added", p.SeqOf(i))
			}
			m.present = append(m.present, d)
			if p.Deleted.Has(i) {
				m.dead[d.seq] = true
			} else if have++; !live[d.seq] {
				t.Fatalf("the index has row %d, which was deleted", d.seq)
			}
		}
	}
	if have != len(live) || snap.Documents() != len(live) {
		t.Fatalf("the index has %d documents (says %d), the model %d", have, snap.Documents(), len(live))
	}
	for range 8 {
		n := genNode(t, 2)
		want := m.run(n)
		req := search.Request{Node: n, Start: rapid.IntRange(0, 3).Draw(t, "start"), Count: rapid.IntRange(1, 12).Draw(t, "count")}
		sorts := []search.Sort{{Descending: true}}
		if rapid.Bool().Draw(t, "sorted") {
			req.Sort = nil
			for range rapid.IntRange(1, 2).Draw(t, "sorts") {
				s := rapid.SampledFrom(sortFields).Draw(t, "sort")
				s.Descending = rapid.Bool().Draw(t, "descending")
				req.Sort = append(req.Sort, s)
			}
			sorts = req.Sort
		}
		order := map[uint64]int{}
		for i, d := range m.present {
			order[d.seq] = i
		}
		slices.SortStableFunc(want, func(x, y found) int {
			return cmp.Or(less(sorts, x, y), cmp.Compare(order[x.doc.seq], order[y.doc.seq]))
		})
		r, err := search.Run(context.Background(), snap, req)
		if err != nil {
			t.Fatalf("%v: %v", n, err)
		}
		r = search.Combine([]search.Result{r}, req)
		c, err := search.Count(context.Background(), snap, n)
		if err != nil || c != len(want) || r.Total != len(want) {
			t.Fatalf("%v: count %d, total %d, want %d (%v)", n, c, r.Total, len(want), err)
		}
		want = want[min(req.Start, len(want)):min(req.Start+req.Count, len(want))]
		if len(r.Hits) != len(want) {
			t.Fatalf("%v: %d hits, want %d", n, len(r.Hits), len(want))
		}
		for i, h := range r.Hits {
			scored := false
			for _, s := range sorts {
				scored = scored || s.Field == ""
			}
			if scored && math.Abs(h.Score-want[i].score) > 1e-9 {
				t.Fatalf("%v sorted by %v: hit %d has score %v, want %v", n, sorts, i, h.Score, want[i].score)
			}
			if h.Seq != want[i].doc.seq && less(sorts, found{all[h.Seq], h.Score}, want[i]) != 0 {
				t.Fatalf("%v sorted by %v: hit %d is row %d, want %d", n, sorts, i, h.Seq, want[i].doc.seq)
			}
		}
	}
}

// TestAgainstModel drives documents, deletes, truncations, commits, merges and reopening, and compares every kind of query.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := tempDir(t)
		open := func() *shard.Shard {
			s, err := shard.Open(dir, shard.Options{MergeFactor: rapid.IntRange(2, 4).Draw(t, "factor")})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		defer func() { s.Close() }()
		all, live := map[uint64]doc{}, map[uint64]bool{}
		next, position := uint64(1), uint64(0)
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			if rapid.IntRange(0, 14).Draw(t, "truncate") == 0 {
				s.Truncate()
				clear(live)
			}
			for range rapid.IntRange(0, 25).Draw(t, "docs") {
				next += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
				d := genDoc(t, next)
				all[next], live[next] = d, true
				addTo(s, d)
			}
			for range rapid.IntRange(0, 8).Draw(t, "deletes") {
				seq := uint64(rapid.IntRange(1, int(next)).Draw(t, "delete"))
				s.Delete(seq)
				delete(live, seq)
			}
			position = next
			if err := s.Commit(position); err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 4).Draw(t, "reopen") == 0 {
				s.Close()
				s = open()
			}
			if s.Position() != position {
				t.Fatalf("position %d, want %d", s.Position(), position)
			}
			if rapid.IntRange(0, 2).Draw(t, "check") == 0 {
				snap := s.Acquire()
				check(t, snap, all, live)
				snap.Release()
			}
		}
		snap := s.Acquire()
		defer snap.Release()
		check(t, snap, all, live)
	})
}

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "index")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
