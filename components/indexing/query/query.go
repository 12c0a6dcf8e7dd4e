// Package query is a query as a tree: what is asked, of which fields, in terms of the index. It must not know the text it was
// read from, nor how it is answered.
package query

import (
	"fmt"
	"strconv"
	"strings"

	"carbonado.dev/carbonado/components/indexing/segment"
)

// Node is one question; its answer is a set of documents with scores. String prints it in a form that tests compare.
type Node interface {
	fmt.Stringer
	node()
}

// All is every document, None is none.
type (
	All  struct{ Boost float64 }
	None struct{}
)

// Occur says how a clause takes part.
type Occur uint8

const (
	Should  Occur = iota // may match; one must, if there is no Must
	Must                 // must match
	MustNot              // must not match
)

// Clause is a part of a Bool.
type Clause struct {
	Occur Occur
	Node  Node
}

// Bool joins clauses. Its score is the sum of its matching clauses' scores. With nothing but MustNot it matches nothing, as in
// Lucene.
type Bool struct {
	Clauses []Clause
	Boost   float64
}

// Term is a term of a text or keyword field, as the index has it.
type Term struct {
	Field string
	Kind  segment.Kind
	Text  string
	Boost float64
}

// PhraseTerm is a term of a phrase and its place in it.
type PhraseTerm struct {
	Text string
	At   uint32
}

// Phrase is terms of a text field at their places, or up to Slop moves away.
type Phrase struct {
	Field string
	Terms []PhraseTerm
	Slop  int
	Boost float64
}

// Match says which kind of pattern a Pattern is.
type Match uint8

const (
	Prefix   Match = iota // starts with Text
	Wildcard              // Text, where * is any characters, ? is one, \ escapes
	Regexp                // Text is a regular expression for the whole term
	Fuzzy                 // at most Edits edits away from Text
)

// Pattern is every term of a field that matches. All but Fuzzy score Boost.
type Pattern struct {
	Field string
	Kind  segment.Kind
	Match Match
	Text  string
	Edits int
	Boost float64
}

// TermRange is every term between two; an absent bound is open.
type TermRange struct {
	Field                string
	Kind                 segment.Kind
	Lo, Hi               *string
	IncludeLo, IncludeHi bool
	Boost                float64
}

// Range is every document whose number lies in [Lo, Hi], in the numbers of package column.
type Range struct {
	Field  string
	Kind   segment.Kind
	Lo, Hi int64
	Boost  float64
}

// Exists is every document that has a value in a field.
type Exists struct {
	Field string
	Kind  segment.Kind
	Boost float64
}

func (All) node()       {}
func (None) node()      {}
func (Bool) node()      {}
func (Term) node()      {}
func (Phrase) node()    {}
func (Pattern) node()   {}
func (TermRange) node() {}
func (Range) node()     {}
func (Exists) node()    {}

func boost(b float64) string {
	if b == 1 {
		return ""
	}
	return "^" + strconv.FormatFloat(b, 'g', -1, 64)
}

func (n All) String() string { return "*:*" + boost(n.Boost) }

func (None) String() string { return "none" }

func (n Bool) String() string {
	var b strings.Builder
	b.WriteByte('(')
	for i, c := range n.Clauses {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString([]string{"", "+", "-"}[c.Occur])
		b.WriteString(c.Node.String())
	}
	b.WriteByte(')')
	return b.String() + boost(n.Boost)
}

func (n Term) String() string { return fmt.Sprintf("%s:%q%s", n.Field, n.Text, boost(n.Boost)) }

func (n Phrase) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:phrase(", n.Field)
	for i, t := range n.Terms {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s@%d", t.Text, t.At)
	}
	b.WriteByte(')')
	if n.Slop > 0 {
		fmt.Fprintf(&b, "~%d", n.Slop)
	}
	return b.String() + boost(n.Boost)
}

func (n Pattern) String() string {
	name := []string{"prefix", "wildcard", "regexp", "fuzzy"}[n.Match]
	s := fmt.Sprintf("%s:%s(%s)", n.Field, name, n.Text)
	if n.Match == Fuzzy {
		s += fmt.Sprintf("~%d", n.Edits)
	}
	return s + boost(n.Boost)
}

func (n TermRange) String() string {
	lo, hi, open, end := "*", "*", "{", "}"
	if n.Lo != nil {
		lo = *n.Lo
	}
	if n.Hi != nil {
		hi = *n.Hi
	}
	if n.IncludeLo {
		open = "["
	}
	if n.IncludeHi {
		end = "]"
	}
	return n.Field + ":" + open + lo + " TO " + hi + end + boost(n.Boost)
}

func (n Range) String() string {
	return fmt.Sprintf("%s:[%d..%d]%s", n.Field, n.Lo, n.Hi, boost(n.Boost))
}

func (n Exists) String() string { return n.Field + ":exists" + boost(n.Boost) }
