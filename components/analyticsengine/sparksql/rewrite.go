package sparksql

import (
	"sort"
	"strings"
)

// Rewritten is a query in DuckDB's dialect.
type Rewritten struct {
	SQL string
	// Uses names the macros and functions of this package that the text calls, and before each those that it calls itself.
	Uses []string
	// Marks say where pieces of SQL stand in the script, by rising offset.
	Marks []Mark
}

// Mark says that the text of SQL from Offset on stands at Pos in the script.
type Mark struct {
	Offset int
	Pos    Pos
}

// At gives the place in the script of an offset in SQL.
func (r *Rewritten) At(offset int) Pos {
	i := sort.Search(len(r.Marks), func(i int) bool { return r.Marks[i].Offset > offset })
	if i == 0 {
		if len(r.Marks) == 0 {
			return Pos{Line: 1, Column: 1}
		}
		return r.Marks[0].Pos
	}
	return r.Marks[i-1].Pos
}

// Insertion is a text to be put into a Rewritten before an offset.
type Insertion struct {
	Offset int
	Text   string
}

// With returns the query with texts put in. Offsets are those of the present SQL.
func (r *Rewritten) With(ins []Insertion) *Rewritten {
	ins = append([]Insertion(nil), ins...)
	sort.SliceStable(ins, func(i, j int) bool { return ins[i].Offset < ins[j].Offset })
	out := &Rewritten{Uses: r.Uses}
	var b strings.Builder
	last, m := 0, 0
	for _, in := range ins {
		for m < len(r.Marks) && r.Marks[m].Offset <= in.Offset {
			out.Marks = append(out.Marks, Mark{r.Marks[m].Offset + b.Len() - last, r.Marks[m].Pos})
			m++
		}
		b.WriteString(r.SQL[last:in.Offset])
		b.WriteString(in.Text)
		last = in.Offset
	}
	for ; m < len(r.Marks); m++ {
		out.Marks = append(out.Marks, Mark{r.Marks[m].Offset + b.Len() - last, r.Marks[m].Pos})
	}
	b.WriteString(r.SQL[last:])
	out.SQL = b.String()
	return out
}

// maxTokens and maxParts bound one query: planning takes time that grows faster than they do and can't be interrupted.
const (
	maxTokens = 20_000
	maxParts  = 300
)

// Rewrite writes a query in DuckDB's dialect. What DuckDB would run otherwise than Spark, or not at all, is refused by name.
// Names that are no keywords come out quoted, strings in single quotes, so that no word of DuckDB's own grammar gets a meaning.
func (q *Query) Rewrite() (*Rewritten, error) {
	if len(q.tokens) > maxTokens {
		return nil, at(ErrTooLarge, q.tokens[0].Pos, "the query has %d words and symbols, the limit is %d", len(q.tokens), maxTokens)
	}
	parts := 0
	for _, t := range q.tokens {
		if t.is("SELECT") || t.is("JOIN") || t.is("UNION") || t.is("EXCEPT") || t.is("INTERSECT") || t.is("MINUS") {
			parts++
		}
	}
	if parts > maxParts {
		return nil, at(ErrTooLarge, q.tokens[0].Pos, "the query has %d selects, joins and set operations, the limit is %d", parts, maxParts)
	}
	nodes, err := tree(q.tokens)
	if err != nil {
		return nil, err
	}
	w := &writer{source: q.source, seen: map[string]bool{}}
	if err := w.seq(nodes, scopeQuery); err != nil {
		return nil, err
	}
	return &Rewritten{SQL: w.b.String(), Uses: w.uses, Marks: w.marks}, nil
}

// node is a token, or a group in parentheses.
type node struct {
	tok   Token
	group []node
	paren bool
	end   int
}

// tree joins tokens between parentheses.
func tree(tokens []Token) ([]node, error) {
	type level struct {
		open  Token
		nodes []node
	}
	stack := []level{{}}
	for _, t := range tokens {
		top := &stack[len(stack)-1]
		switch {
		case t.is("("):
			if len(stack) > MaxNesting {
				return nil, at(ErrTooLarge, t.Pos, "parentheses are nested more than %d deep", MaxNesting)
			}
			stack = append(stack, level{open: t})
		case t.is(")"):
			if len(stack) == 1 {
				return nil, at(ErrSyntax, t.Pos, "this parenthesis closes nothing")
			}
			stack = stack[:len(stack)-1]
			below := &stack[len(stack)-1]
			below.nodes = append(below.nodes, node{tok: top.open, group: top.nodes, paren: true, end: t.End})
		default:
			top.nodes = append(top.nodes, node{tok: t, end: t.End})
		}
	}
	if len(stack) > 1 {
		return nil, at(ErrSyntax, stack[len(stack)-1].open.Pos, "this parenthesis is never closed")
	}
	return stack[0].nodes, nil
}

// is reports whether the node is this word or symbol.
func (n node) is(text string) bool { return !n.paren && n.tok.is(text) }

// isQuery reports whether a group holds a query.
func (n node) isQuery() bool {
	if !n.paren || len(n.group) == 0 {
		return false
	}
	f := n.group[0]
	return f.is("SELECT") || f.is("WITH") || f.is("VALUES") && len(n.group) > 1 && n.group[1].paren || f.isQuery()
}

// scope is what the words of a sequence may mean.
type scope uint8

const (
	// scopeQuery holds clauses.
	scopeQuery scope = iota
	// scopeExpr holds an expression or a list of them.
	scopeExpr
	// scopeWindow is the group behind OVER.
	scopeWindow
)

// writer writes the nodes of a query, remembering where each piece came from.
type writer struct {
	source string
	b      strings.Builder
	marks  []Mark
	seen   map[string]bool
	uses   []string
	// depth counts macros around the present place.
	depth int
}

// put writes a piece; pieces are parted by a blank.
func (w *writer) put(p Pos, text string) {
	if w.b.Len() > 0 {
		w.b.WriteByte(' ')
	}
	w.marks = append(w.marks, Mark{w.b.Len(), p})
	w.b.WriteString(text)
}

func quoteString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// QuoteName writes an identifier for DuckDB.
func QuoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// plain are the words that are keywords wherever they stand.
var plain = words(`SELECT DISTINCT ALL FROM WHERE GROUP BY HAVING ORDER LIMIT UNION EXCEPT INTERSECT AS ON JOIN AND OR NOT IN EXISTS
	BETWEEN IS NULL TRUE FALSE CASE WHEN THEN ELSE END ASC DESC WITH`)

// refused are words that begin a clause which DuckDB lacks or runs otherwise, with the word that must follow.
var refused = []struct{ word, next, why string }{
	{"LATERAL", "VIEW", "LATERAL VIEW is refused: DuckDB has no counterpart of the same meaning"},
	{"LATERAL", "", "LATERAL is refused"},
	{"SORT", "BY", "SORT BY is refused: use ORDER BY"},
	{"CLUSTER", "BY", "CLUSTER BY is refused: use ORDER BY"},
	{"DISTRIBUTE", "BY", "DISTRIBUTE BY is refused: this engine has one partition"},
	{"TABLESAMPLE", "", "TABLESAMPLE is refused: its result would differ from Spark's"},
	{"PIVOT", "(", "PIVOT is refused"},
	{"UNPIVOT", "(", "UNPIVOT is refused"},
	{"WITH", "ROLLUP", "WITH ROLLUP is refused: write GROUP BY ROLLUP (…)"},
	{"WITH", "CUBE", "WITH CUBE is refused: write GROUP BY CUBE (…)"},
	{"WITH", "RECURSIVE", "WITH RECURSIVE is refused"},
	{"QUALIFY", "", "QUALIFY is refused: Spark has no such clause"},
	{"ASOF", "JOIN", "ASOF JOIN is refused: Spark has no such join"},
	{"POSITIONAL", "JOIN", "POSITIONAL JOIN is refused: Spark has no such join"},
}

func words(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// after gives the node at i+n, or an empty one.
func after(nodes []node, i, n int) node {
	if i+n < 0 || i+n >= len(nodes) {
		return node{}
	}
	return nodes[i+n]
}

// endsOperand reports whether an expression can end with this node.
func (n node) endsOperand() bool {
	if n.paren {
		return true
	}
	switch n.tok.Kind {
	case Quoted, String, Number:
		return true
	case Word:
		u := strings.ToUpper(n.tok.Text)
		return !plain[u] || u == "END" || u == "NULL" || u == "TRUE" || u == "FALSE"
	}
	return n.is("*")
}

// seq writes a sequence of nodes.
func (w *writer) seq(nodes []node, s scope) error {
	for i := 0; i < len(nodes); {
		n, err := w.one(nodes, i, s)
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// one writes what begins at node i and returns how many nodes that were.
func (w *writer) one(nodes []node, i int, s scope) (int, error) {
	n := nodes[i]
	if n.paren {
		return 1, w.group(n, nodes, i)
	}
	switch n.tok.Kind {
	case Quoted:
		if after(nodes, i, 1).paren && !aliasColumns(nodes, i) && !after(nodes, i, 1).isQuery() {
			return w.call(nodes, i)
		}
		w.put(n.tok.Pos, QuoteName(n.tok.Text))
		return 1, nil
	case String:
		return w.stringLiteral(nodes, i), nil
	case Number:
		w.number(n.tok)
		return 1, nil
	case Symbol:
		return 1, w.symbol(nodes, i)
	}
	return w.word(nodes, i, s)
}

// stringLiteral writes a string; strings that follow one another are one, as in Spark.
func (w *writer) stringLiteral(nodes []node, i int) int {
	text, n := nodes[i].tok.Text, 1
	for next := after(nodes, i, n); !next.paren && next.tok.Kind == String; next = after(nodes, i, n) {
		text += next.tok.Text
		n++
	}
	w.put(nodes[i].tok.Pos, quoteString(text))
	return n
}

func (w *writer) number(t Token) {
	digits, suffix, _ := splitNumber(t.Text)
	if strings.HasSuffix(digits, ".") {
		digits += "0"
	}
	switch suffix {
	case "L":
		digits = "CAST(" + digits + " AS BIGINT)"
	case "S":
		digits = "CAST(" + digits + " AS SMALLINT)"
	case "Y":
		digits = "CAST(" + digits + " AS TINYINT)"
	case "D":
		digits = "CAST(" + digits + " AS DOUBLE)"
	case "F":
		digits = "CAST(" + digits + " AS FLOAT)"
	}
	w.put(t.Pos, digits)
}

// symbol writes an operator.
func (w *writer) symbol(nodes []node, i int) error {
	t := nodes[i].tok
	switch t.Text {
	case ",", ".", "*", "+", "-", "/", "%", "=", "<", ">", "<=", ">=", "<>", "||":
		w.put(t.Pos, t.Text)
	case "|", "&":
		w.put(t.Pos, t.Text)
	case "==":
		w.put(t.Pos, "=")
	case "!=":
		w.put(t.Pos, "<>")
	case "<=>":
		w.put(t.Pos, "IS NOT DISTINCT FROM")
	case "!":
		w.put(t.Pos, "NOT")
	case "~":
		if i > 0 && nodes[i-1].endsOperand() {
			return at(ErrSyntax, t.Pos, "~ stands before an operand, not between two")
		}
		w.put(t.Pos, t.Text)
	case "^":
		return at(ErrUnsupported, t.Pos, "the operator ^ is refused: it is exclusive or in Spark and a power in DuckDB")
	case "[", "]":
		return at(ErrUnsupported, t.Pos, "access by [ ] is refused: Spark counts from 0 and DuckDB from 1; use element_at(array, position)")
	case "->":
		return at(ErrUnsupported, t.Pos, "lambda functions are refused")
	case "&&":
		return at(ErrUnsupported, t.Pos, "the operator && is refused: write AND")
	case "?", ":", "$", "@", "#":
		return at(ErrUnsupported, t.Pos, "%q is refused: statements have no parameters or variables", t.Text)
	default:
		return at(ErrSyntax, t.Pos, "the symbol %q has no meaning here", t.Text)
	}
	return nil
}

// group writes a node in parentheses that is no call's list of arguments.
func (w *writer) group(n node, nodes []node, i int) error {
	s := scopeExpr
	if n.isQuery() {
		s = scopeQuery
	} else if i > 0 && nodes[i-1].is("OVER") {
		s = scopeWindow
	} else if i > 1 && nodes[i-1].is("AS") && isWindowClause(nodes, i) {
		s = scopeWindow
	} else if hasJoin(n.group) {
		s = scopeQuery
	}
	w.put(n.tok.Pos, "(")
	if err := w.seq(n.group, s); err != nil {
		return err
	}
	w.put(n.tok.Pos, ")")
	return nil
}

// hasJoin reports whether a group is a join in parentheses: FROM (a JOIN b ON …).
func hasJoin(nodes []node) bool {
	for _, n := range nodes {
		if n.is("JOIN") {
			return true
		}
	}
	return false
}

// isWindowClause reports whether the group at i belongs to WINDOW name AS (…).
func isWindowClause(nodes []node, i int) bool {
	for j := i - 1; j >= 0; j-- {
		n := nodes[j]
		if n.is("WINDOW") {
			return after(nodes, j, 2).is("AS")
		}
		if !n.paren && n.tok.Kind == Word && plain[strings.ToUpper(n.tok.Text)] && !n.is("AS") {
			return false
		}
	}
	return false
}

// aliasColumns reports whether the word at i, which a group follows, is the name of a table with columns, name(a, b).
func aliasColumns(nodes []node, i int) bool {
	if i == 0 {
		return false
	}
	prev := nodes[i-1]
	if prev.is("AS") || prev.is("WITH") {
		return true
	}
	if prev.is(",") && after(nodes, i, 2).is("AS") && after(nodes, i, 3).isQuery() {
		return true
	}
	return prev.endsOperand() && !prev.is("*")
}
