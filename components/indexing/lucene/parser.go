// Package lucene reads queries in the syntax of Lucene's classic QueryParser, typed by the columns they name (DAS.md section
// 6.5). It must not know how queries are answered.
package lucene

import (
	"strconv"
	"strings"
	"time"

	vellum "github.com/blevesearch/vellum/regexp"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/query"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/sdk/cause"
)

// What can be wrong with a query. Each names the column it is at.
var (
	ErrSyntax = cause.Define("CBN-IDX-010", "A query does not follow Lucene's classic syntax.",
		"Look at the column named; a character of + - ! ( ) : ^ [ ] \" { } ~ * ? \\ / stands for itself after a \\ or in quotes.").Code(codes.InvalidArgument)
	ErrNoField = cause.Define("CBN-IDX-011", "A term names no field, and there is no default field.",
		"Write field:term; all documents are *:*.").Code(codes.InvalidArgument)
	ErrUnknownField = cause.Define("CBN-IDX-012", "A query names a field that the table does not index.",
		"Index the column in the table's schema, or name another one.").Code(codes.InvalidArgument)
	ErrValue = cause.Define("CBN-IDX-013", "A value does not fit its column's type.",
		"Numbers for numeric columns; LONG columns and _timestamp take \"yyyy-MM-dd HH:mm:ss z\", \"yyyy-MM-dd HH:mm:ss\" and yyyy-MM-dd too.").Code(codes.InvalidArgument)
	ErrLimit = cause.Define("CBN-IDX-014", "A query is too large.",
		"Split it; the limits are 64 levels of brackets, 1,024 clauses and 64 KiB.").Code(codes.InvalidArgument)
	ErrLeadingWildcard = cause.Define("CBN-IDX-015", "A wildcard stands at the start of a term, which reads the whole dictionary.",
		"Give the term a beginning, or set allowLeadingWildcard in repository/conf/components/Indexing.yaml.").Code(codes.InvalidArgument)
)

const (
	maxDepth   = 64
	maxClauses = 1024
	maxBytes   = 64 << 10
	maxEdits   = 2
)

// Type is how the values of a field are read.
type Type uint8

const (
	String  Type = iota // words, analysed
	Keyword             // whole values
	Boolean             // true or false
	Integer
	Long // numbers or dates
	Float
	Double
)

// Options of the parser.
type Options struct {
	// Field tells the type of a field; false if there is none of that name.
	Field func(name string) (Type, bool)
	// Stop are the stop words of the analysis.
	Stop []string
	// AllowLeadingWildcard lets * and ? begin a term.
	AllowLeadingWildcard bool
	// Location is for dates without a zone; nil is time.Local.
	Location *time.Location
}

type parser struct {
	opts     Options
	lex      lexer
	tok      token
	peeked   *token
	depth    int
	clauses  int
	analyzer *analysis.Analyzer
}

// Parse reads a query; an empty one is every document. Errors are of this package's kinds.
func Parse(text string, opts Options) (query.Node, error) {
	p := &parser{opts: opts, lex: lexer{s: text}}
	if len(text) > maxBytes {
		return nil, ErrLimit.New("the query has %d bytes", len(text))
	}
	if strings.TrimSpace(text) == "" {
		return query.All{Boost: 1}, nil
	}
	if p.opts.Location == nil {
		p.opts.Location = time.Local
	}
	p.analyzer = analysis.New(opts.Stop)
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.query("")
	if err != nil {
		return nil, err
	}
	if p.tok.kind != eof {
		return nil, p.unexpected()
	}
	if n == nil {
		return query.None{}, nil
	}
	return n, nil
}

func (p *parser) advance() (err error) {
	if p.peeked != nil {
		p.tok, p.peeked = *p.peeked, nil
		return nil
	}
	p.tok, err = p.lex.next()
	return err
}

func (p *parser) peek() (token, error) {
	if p.peeked == nil {
		t, err := p.lex.next()
		if err != nil {
			return t, err
		}
		p.peeked = &t
	}
	return *p.peeked, nil
}

func (p *parser) unexpected() error {
	if p.tok.kind == eof {
		return p.lex.fail(p.tok.at, "the query ends too early")
	}
	return p.lex.fail(p.tok.at, "%q does not belong here", p.lex.s[p.tok.at:p.tok.end])
}

// query is clauses with their conjunctions, up to a closing bracket or the end.
func (p *parser) query(field string) (query.Node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, ErrLimit.New("brackets are nested more than %d deep", maxDepth).At("query", 1, p.lex.column(p.tok.at))
	}
	defer func() { p.depth-- }()
	var list []query.Clause
	for first := true; first || p.tok.kind != eof && p.tok.kind != shut; first = false {
		conj := term
		if !first && (p.tok.kind == and || p.tok.kind == or) {
			conj = p.tok.kind
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		mod := term
		if k := p.tok.kind; k == plus || k == minus || k == not {
			mod = k
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		n, err := p.clause(field)
		if err != nil {
			return nil, err
		}
		// As Lucene's addClause with OR as the default operator.
		if conj == and && len(list) > 0 {
			if last := &list[len(list)-1]; last.Occur != query.MustNot {
				last.Occur = query.Must
			}
		}
		if n == nil { // the analysis left nothing of it
			continue
		}
		if p.clauses++; p.clauses > maxClauses {
			return nil, ErrLimit.New("the query has more than %d clauses", maxClauses)
		}
		occur := query.Should
		switch {
		case mod == minus || mod == not:
			occur = query.MustNot
		case mod == plus || conj == and:
			occur = query.Must
		}
		list = append(list, query.Clause{Occur: occur, Node: n})
	}
	switch {
	case len(list) == 0:
		return nil, nil
	case len(list) == 1 && list[0].Occur != query.MustNot:
		return list[0].Node, nil
	}
	return query.Bool{Clauses: list, Boost: 1}, nil
}

func (p *parser) clause(field string) (query.Node, error) {
	if p.tok.kind == term || p.tok.kind == star {
		next, err := p.peek()
		if err != nil {
			return nil, err
		}
		if next.kind == colon {
			return p.fielded(p.tok)
		}
	}
	if p.tok.kind == open {
		return p.group(field)
	}
	return p.value(field)
}

func (p *parser) fielded(name token) (query.Node, error) {
	field, err := p.lex.unescape(name.text, name.at)
	if err != nil {
		return nil, err
	}
	for range 2 { // the name and its colon
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if name.kind == star {
		if p.tok.kind != star {
			return nil, p.lex.fail(name.at, "* as a field is for *:* alone")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		return p.boosted(query.All{Boost: 1})
	}
	if _, ok := p.opts.Field(field); !ok {
		return nil, ErrUnknownField.New("field %q is not indexed", field).At("query", 1, p.lex.column(name.at))
	}
	if p.tok.kind == open {
		return p.group(field)
	}
	if p.tok.kind == minus { // a negative number
		return p.negative(field)
	}
	return p.value(field)
}

func (p *parser) group(field string) (query.Node, error) {
	start := p.tok.at
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.query(field)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != shut {
		return nil, p.lex.fail(start, "( without its )")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.boosted(n)
}

func (p *parser) negative(field string) (query.Node, error) {
	sign := p.tok
	next, err := p.peek()
	if err != nil {
		return nil, err
	}
	if next.kind != term || next.at != sign.end {
		return nil, p.unexpected()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	p.tok.text, p.tok.at = "-"+p.tok.text, sign.at
	if t, _ := p.opts.Field(field); t < Integer {
		return nil, p.lex.fail(sign.at, "a - after the : is for numbers; \\- is the character")
	}
	return p.value(field)
}

// boosted applies a ^n that follows.
func (p *parser) boosted(n query.Node) (query.Node, error) {
	if p.tok.kind != boost {
		return n, nil
	}
	f, err := strconv.ParseFloat(p.tok.text, 64)
	if err != nil {
		return nil, p.lex.fail(p.tok.at, "^%s is no boost", p.tok.text)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return withBoost(n, f), nil
}

func withBoost(n query.Node, f float64) query.Node {
	switch n := n.(type) {
	case query.All:
		n.Boost *= f
		return n
	case query.Bool:
		n.Boost *= f
		return n
	case query.Term:
		n.Boost *= f
		return n
	case query.Phrase:
		n.Boost *= f
		return n
	case query.Pattern:
		n.Boost *= f
		return n
	case query.TermRange:
		n.Boost *= f
		return n
	case query.Range:
		n.Boost *= f
		return n
	case query.Exists:
		n.Boost *= f
		return n
	}
	return n
}

// value is a term, a phrase, a pattern or a range, with what may follow it.
func (p *parser) value(field string) (query.Node, error) {
	t := p.tok
	switch t.kind {
	case term, prefix, wild, star, regexp, quoted, from:
	default:
		return nil, p.unexpected()
	}
	if field == "" {
		return nil, ErrNoField.New("%q names no field", p.lex.s[t.at:max(t.end, t.at+1)]).At("query", 1, p.lex.column(t.at))
	}
	typ, _ := p.opts.Field(field)
	f := target{p: p, name: field, typ: typ, at: t.at}
	if t.kind == from {
		return p.ranged(f)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	edits, boosted := token{}, token{}
	for p.tok.kind == tilde || p.tok.kind == boost {
		which := &edits
		if p.tok.kind == boost {
			which = &boosted
		}
		if which.kind != eof {
			return nil, p.unexpected()
		}
		*which = p.tok
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if edits.kind == tilde && t.kind != term && t.kind != quoted {
		return nil, p.lex.fail(edits.at, "~ means nothing after a pattern")
	}
	n, err := f.build(t, edits)
	if err != nil || n == nil || boosted.kind == eof {
		return n, err
	}
	b, err := strconv.ParseFloat(boosted.text, 64)
	if err != nil {
		return nil, p.lex.fail(boosted.at, "^%s is no boost", boosted.text)
	}
	return withBoost(n, b), nil
}

func (p *parser) ranged(f target) (query.Node, error) {
	// The lexer stands behind the bracket: nothing was peeked, since a range's start is never a field's name.
	lo, hi, closing, err := p.lex.bounds()
	if err != nil {
		return nil, err
	}
	n, err := f.between(lo, hi, p.tok.text == "[", closing == ']')
	if err != nil {
		return nil, err
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.boosted(n)
}

// checkRegexp compiles an expression to see whether it can be.
func checkRegexp(expr string) error {
	_, err := vellum.New(expr)
	return err
}

func kindOf(t Type) segment.Kind {
	switch t {
	case String:
		return segment.Text
	case Keyword, Boolean:
		return segment.Keyword
	case Float:
		return segment.Float32
	case Double:
		return segment.Float64
	}
	return segment.Int
}
