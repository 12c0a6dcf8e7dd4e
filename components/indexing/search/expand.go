package search

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"github.com/blevesearch/vellum"
	"github.com/blevesearch/vellum/levenshtein"
	"github.com/blevesearch/vellum/regexp"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/dict"
	"carbonado.dev/carbonado/components/indexing/postings"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

// Making a builder takes milliseconds; it is the same for every word.
var fuzzyBuilders = [...]func() (*levenshtein.LevenshteinAutomatonBuilder, error){
	1: sync.OnceValues(func() (*levenshtein.LevenshteinAutomatonBuilder, error) {
		return levenshtein.NewLevenshteinAutomatonBuilder(1, true)
	}),
	2: sync.OnceValues(func() (*levenshtein.LevenshteinAutomatonBuilder, error) {
		return levenshtein.NewLevenshteinAutomatonBuilder(2, true)
	}),
}

// union gathers the documents of several terms that all score the same.
type union struct {
	g     *program
	f     *segment.Field
	rows  int
	first postings.List
	n     int
	set   codec.Bitmap
	it    postings.Iterator
}

func (u *union) add(it *dict.Iterator) error {
	l, err := u.f.List(it)
	if err != nil {
		return err
	}
	if u.n++; u.n == 1 {
		u.first = l
		return nil
	}
	if u.set == nil {
		u.set = codec.NewBitmap(u.rows)
		if err := u.fill(u.first); err != nil {
			return err
		}
	}
	return u.fill(l)
}

func (u *union) fill(l postings.List) error {
	u.it.Reset(l)
	for {
		run := u.it.Block()
		if run == nil {
			return u.it.Err()
		}
		if int(run[len(run)-1]) >= u.rows {
			return codec.Damaged("posting of document %d of %d", run[len(run)-1], u.rows)
		}
		for _, d := range run {
			u.set.Set(d)
		}
	}
}

func (u *union) matcher(boost float64) matcher {
	switch u.n {
	case 0:
		return nil
	case 1:
		return &constantMatcher{termMatcher: u.g.list(u.f, u.first, nil), boost: boost}
	}
	return newBits(u.set, boost)
}

func (g *program) compileTermRange(p *shard.Part, n query.TermRange, boost float64) (matcher, error) {
	f := field(p, n.Field, n.Kind)
	if f == nil {
		return nil, nil
	}
	u := &union{g: g, f: f, rows: p.Docs()}
	it := f.Dict.Iterate()
	ok := false
	if n.Lo == nil {
		ok = it.Next()
	} else if ok = it.Seek([]byte(*n.Lo)); ok && !n.IncludeLo && string(it.Term()) == *n.Lo {
		ok = it.Next()
	}
	for ; ok; ok = it.Next() {
		if n.Hi != nil {
			if c := bytes.Compare(it.Term(), []byte(*n.Hi)); c > 0 || c == 0 && !n.IncludeHi {
				break
			}
		}
		if err := u.add(it); err != nil {
			return nil, err
		}
	}
	return u.matcher(boost), it.Err()
}

func (g *program) compilePattern(p *shard.Part, n query.Pattern, boost float64) (matcher, error) {
	f := field(p, n.Field, n.Kind)
	if f == nil {
		return nil, nil
	}
	if n.Match == query.Fuzzy {
		return g.compileFuzzy(f, n, boost)
	}
	u := &union{g: g, f: f, rows: p.Docs()}
	err := walk(f.Dict, n, func(it *dict.Iterator, _ int) error { return u.add(it) })
	return u.matcher(boost), err
}

// walk calls found for each term that matches, with its distance if the pattern is fuzzy.
func walk(d *dict.Dict, n query.Pattern, found func(it *dict.Iterator, edits int) error) error {
	switch n.Match {
	case query.Prefix:
		return walkPrefix(d, n.Text, found)
	case query.Wildcard:
		return walkWildcard(d, n.Text, found)
	case query.Regexp:
		r, err := regexp.New(n.Text)
		if err != nil {
			return err
		}
		return walkAutomaton(d, r, func(it *dict.Iterator, _ int) error { return found(it, 0) })
	}
	builder, err := fuzzyBuilders[n.Edits]()
	if err != nil {
		return err
	}
	dfa, err := builder.BuildDfa(n.Text, uint8(n.Edits))
	if err != nil {
		return err
	}
	return walkAutomaton(d, dfa, func(it *dict.Iterator, state int) error { return found(it, int(dfa.EditDistance(state))) })
}

func walkPrefix(d *dict.Dict, prefix string, found func(it *dict.Iterator, edits int) error) error {
	it := d.Iterate()
	for ok := it.Seek([]byte(prefix)); ok && bytes.HasPrefix(it.Term(), []byte(prefix)); ok = it.Next() {
		if err := found(it, 0); err != nil {
			return err
		}
	}
	return it.Err()
}

func walkWildcard(d *dict.Dict, pattern string, found func(it *dict.Iterator, edits int) error) error {
	w := parseWildcard(pattern)
	return walkPrefix(d, w.head(), func(it *dict.Iterator, _ int) error {
		if !w.match(it.Term()) {
			return nil
		}
		return found(it, 0)
	})
}

// walkAutomaton keeps the states of the bytes that a term shares with the one before it.
func walkAutomaton(d *dict.Dict, a vellum.Automaton, found func(it *dict.Iterator, state int) error) error {
	it := d.Iterate()
	states := []int{a.Start()}
	for it.Next() {
		depth := min(it.Shared(), len(states)-1)
		states = states[:depth+1]
		s, t := states[depth], it.Term()
		for ; depth < len(t) && a.CanMatch(s); depth++ {
			s = a.Accept(s, t[depth])
			states = append(states, s)
		}
		if depth == len(t) && a.CanMatch(s) && a.IsMatch(s) {
			if err := found(it, s); err != nil {
				return err
			}
		}
	}
	return it.Err()
}

// compileFuzzy scores each term by itself, less by its distance, as Lucene's rewriting does.
func (g *program) compileFuzzy(f *segment.Field, n query.Pattern, boost float64) (matcher, error) {
	length := utf8.RuneCountInString(n.Text)
	var parts []matcher
	err := walk(f.Dict, n, func(it *dict.Iterator, edits int) error {
		term := string(it.Term())
		share := 1 - float64(edits)/float64(max(min(length, utf8.RuneCountInString(term)), 1))
		w, err := g.weightOf(query.Term{Field: n.Field, Kind: n.Kind, Text: term}, boost*max(share, 0))
		if err != nil {
			return err
		}
		l, err := f.List(it)
		if err == nil {
			parts = append(parts, g.list(f, l, w))
		}
		return err
	})
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	return anyOf(parts), nil
}

// wildcard is a pattern as characters; star and question are beyond Unicode.
type wildcard []rune

const (
	star     rune = -1
	question rune = -2
)

func parseWildcard(s string) wildcard {
	var w wildcard
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			w, escaped = append(w, r), false
		case r == '\\':
			escaped = true
		case r == '*':
			w = append(w, star)
		case r == '?':
			w = append(w, question)
		default:
			w = append(w, r)
		}
	}
	return w
}

// head is what every match starts with.
func (w wildcard) head() string {
	for i, r := range w {
		if r < 0 {
			return string(w[:i])
		}
	}
	return string(w)
}

// match walks back to the last star only, so it takes at most len(w)*len(t) steps.
func (w wildcard) match(t []byte) bool {
	i, at := 0, 0
	starAt, resume := -1, 0
	for at < len(t) {
		r, n := utf8.DecodeRune(t[at:])
		switch {
		case i < len(w) && w[i] == star:
			starAt, resume = i, at
			i++
		case i < len(w) && (w[i] == question || w[i] == r):
			i, at = i+1, at+n
		case starAt >= 0:
			_, m := utf8.DecodeRune(t[resume:])
			resume += m
			i, at = starAt+1, resume
		default:
			return false
		}
	}
	for i < len(w) && w[i] == star {
		i++
	}
	return i == len(w)
}
