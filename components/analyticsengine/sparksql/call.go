package sparksql

import (
	"strconv"
	"strings"
)

// function says how a function of Spark is written for DuckDB.
type function struct {
	// min and max number of arguments; max -1 is any number.
	min, max int
	// tmpl is the text, with $1, $2 … for arguments and $* for all of them.
	tmpl string
	// more are templates by number of arguments, where tmpl doesn't fit.
	more map[int]string
	// each wraps every argument of $*, for example "spark_string(%)".
	each string
	// aggregate functions take DISTINCT; FILTER and OVER may follow.
	aggregate bool
	// window functions need OVER.
	window bool
	// literal are arguments (from 1) that must be string literals, changed by the function.
	literal map[int]func(string) (string, string)
}

// call writes a function's call, FILTER and OVER excepted, which follow as they are.
func (w *writer) call(nodes []node, i int) (int, error) {
	n := nodes[i]
	if prev := after(nodes, i, -1); prev.is(".") {
		return 0, at(ErrUnsupported, n.tok.Pos, "the function %s is refused: functions have no database before their name", n.tok.Text)
	}
	name := strings.ToLower(n.tok.Text)
	f, known := functions[name]
	if !known {
		if why := refusedFunctions[name]; why != "" {
			return 0, at(ErrUnsupported, n.tok.Pos, "the function %s is refused: %s", name, why)
		}
		return 0, at(ErrUnsupported, n.tok.Pos, "the function %s is not known to this engine", name)
	}
	args, err := splitArgs(nodes[i+1])
	if err != nil {
		return 0, err
	}
	distinct := false
	if len(args) > 0 && len(args[0]) > 1 && args[0][0].is("DISTINCT") {
		if !f.aggregate || len(args) > 1 {
			return 0, at(ErrUnsupported, n.tok.Pos, "%s(DISTINCT …) is refused: DISTINCT goes with one argument of an aggregate", name)
		}
		distinct = true
	}
	next := after(nodes, i, 2)
	over := next.is("OVER") || next.is("FILTER") && after(nodes, i, 3).paren && after(nodes, i, 4).is("OVER")
	if f.window && !over {
		return 0, at(ErrSyntax, n.tok.Pos, "the function %s needs OVER (…)", name)
	}
	if over && !f.window && !f.aggregate {
		return 0, at(ErrUnsupported, n.tok.Pos, "%s(…) OVER is refused: it is no window function here", name)
	}
	if next.is("FILTER") && after(nodes, i, 3).paren && !f.aggregate {
		return 0, at(ErrUnsupported, n.tok.Pos, "%s(…) FILTER is refused", name)
	}
	if next.is("IGNORE") || next.is("RESPECT") {
		return 0, at(ErrUnsupported, next.tok.Pos, "%s NULLS is refused", strings.ToUpper(next.tok.Text))
	}
	if name == "count" && len(args) == 1 && len(args[0]) == 1 && args[0][0].is("*") {
		w.put(n.tok.Pos, "count(*)")
		return 2, nil
	}
	for _, a := range args {
		if len(a) == 1 && a[0].is("*") {
			return 0, at(ErrUnsupported, n.tok.Pos, "%s(*) is refused", name)
		}
	}
	if distinct && !strings.Contains(f.tmpl, "$*") && f.tmpl != "" {
		return 0, at(ErrUnsupported, n.tok.Pos, "%s(DISTINCT …) is refused", name)
	}
	if len(args) < f.min || f.max >= 0 && len(args) > f.max {
		return 0, at(ErrUnsupported, n.tok.Pos, "%s takes %s, not %d", name, arity(f), len(args))
	}
	return 2, w.template(n.tok.Pos, f, args)
}

func arity(f function) string {
	switch {
	case f.max < 0:
		return "at least " + strconv.Itoa(f.min) + " arguments"
	case f.min == f.max && f.min == 1:
		return "1 argument"
	case f.min == f.max:
		return strconv.Itoa(f.min) + " arguments"
	}
	return strconv.Itoa(f.min) + " to " + strconv.Itoa(f.max) + " arguments"
}

// splitArgs parts the arguments of a call at commas.
func splitArgs(g node) ([][]node, error) {
	if len(g.group) == 0 {
		return nil, nil
	}
	var args [][]node
	start := 0
	for i := 0; i <= len(g.group); i++ {
		if i < len(g.group) && !g.group[i].is(",") {
			continue
		}
		if i == start {
			return nil, at(ErrSyntax, g.tok.Pos, "an argument is missing in this list")
		}
		args = append(args, g.group[start:i])
		start = i + 1
	}
	return args, nil
}

// use notes a macro or function of ours, with all that it calls.
func (w *writer) use(name string) {
	if w.seen[name] {
		return
	}
	w.seen[name] = true
	for _, d := range calls(Macros[name]) {
		w.use(d)
	}
	w.uses = append(w.uses, name)
}

// calls finds names of ours in a text.
func calls(text string) []string {
	var out []string
	for rest := text; ; {
		i := strings.Index(rest, "spark_")
		if i < 0 {
			return out
		}
		rest = rest[i:]
		end := 0
		for end < len(rest) && (rest[end] == '_' || rest[end] >= 'a' && rest[end] <= 'z' || rest[end] >= '0' && rest[end] <= '9') {
			end++
		}
		out = append(out, rest[:end])
		rest = rest[end:]
	}
}

// maxMacros bounds how deep casts and functions that are macros stand in one another: each names its argument several times, so that a
// plan grows by a factor with each level.
const maxMacros = 5

func (w *writer) deeper(p Pos) error {
	w.depth++
	if w.depth > maxMacros {
		return at(ErrTooLarge, p, "casts and functions are nested more than %d deep: make the inner ones in a subquery", maxMacros)
	}
	return nil
}

// template writes a call by its function's template.
func (w *writer) template(p Pos, f function, args [][]node) error {
	tmpl := f.tmpl
	if t, ok := f.more[len(args)]; ok {
		tmpl = t
	}
	names := calls(tmpl + f.each)
	for _, name := range names {
		w.use(name)
	}
	if len(names) > 0 {
		if err := w.deeper(p); err != nil {
			return err
		}
		defer func() { w.depth-- }()
	}
	for tmpl != "" {
		i := strings.IndexByte(tmpl, '$')
		if i < 0 || i+1 == len(tmpl) {
			break
		}
		if i > 0 {
			w.put(p, tmpl[:i])
		}
		c := tmpl[i+1]
		tmpl = tmpl[i+2:]
		if c == '*' {
			if err := w.list(p, f, args); err != nil {
				return err
			}
			continue
		}
		if err := w.argument(f, args, int(c-'0')); err != nil {
			return err
		}
	}
	if tmpl != "" {
		w.put(p, tmpl)
	}
	return nil
}

// list writes all arguments, each as the function wants it.
func (w *writer) list(p Pos, f function, args [][]node) error {
	head, tail, _ := strings.Cut(f.each, "%")
	sep := ","
	if strings.HasSuffix(tail, "||") {
		tail, sep = strings.TrimSuffix(tail, "||"), "||"
	}
	for j, a := range args {
		if j > 0 {
			w.put(p, sep)
		}
		if head != "" {
			w.put(p, head)
		}
		if a[0].is("DISTINCT") {
			w.put(a[0].tok.Pos, "DISTINCT")
			a = a[1:]
		}
		if err := w.seq(a, scopeExpr); err != nil {
			return err
		}
		if tail != "" {
			w.put(p, tail)
		}
	}
	return nil
}

// argument writes argument n, counted from 1.
func (w *writer) argument(f function, args [][]node, n int) error {
	a := args[n-1]
	if change := f.literal[n]; change != nil {
		if len(a) != 1 || a[0].paren || a[0].tok.Kind != String {
			return at(ErrUnsupported, a[0].tok.Pos, "this argument must be a string literal")
		}
		text, why := change(a[0].tok.Text)
		if why != "" {
			return at(ErrUnsupported, a[0].tok.Pos, "%s", why)
		}
		w.put(a[0].tok.Pos, quoteString(text))
		return nil
	}
	return w.seq(a, scopeExpr)
}

// distinct writes DISTINCT or ALL behind SELECT and returns how many words that were.
func (w *writer) distinct(nodes []node, i int) int {
	n := after(nodes, i, 0)
	if n.is("DISTINCT") || n.is("ALL") {
		w.put(n.tok.Pos, strings.ToUpper(n.tok.Text))
		return 1
	}
	return 0
}

// endsSelectList reports whether the select list ends before node i.
func endsSelectList(nodes []node, i int) bool {
	n := nodes[i]
	if n.paren || n.tok.Kind != Word {
		return false
	}
	switch strings.ToUpper(n.tok.Text) {
	case "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "LATERAL", "SORT", "CLUSTER", "DISTRIBUTE":
		u := strings.ToUpper(n.tok.Text)
		return plain[u] || after(nodes, i, 1).is("BY") || after(nodes, i, 1).is("VIEW")
	case "MINUS":
		next := after(nodes, i, 1)
		return next.is("SELECT") || next.is("ALL") || next.is("DISTINCT") || next.isQuery()
	case "WINDOW":
		return after(nodes, i, 2).is("AS") && after(nodes, i, 3).paren
	}
	return false
}

// selectList writes the list behind the SELECT at i. An expression without a name is named by its own text.
func (w *writer) selectList(nodes []node, i int) (int, error) {
	start := i + 1 + w.distinct(nodes, i+1)
	if n := after(nodes, start, 0); start > i+1 && n.is("ON") {
		return 0, at(ErrUnsupported, after(nodes, i, 1).tok.Pos, "DISTINCT ON is refused: Spark has no such clause")
	}
	end := start
	for end < len(nodes) && !endsSelectList(nodes, end) {
		end++
	}
	first := start
	for j := start; j <= end; j++ {
		if j < end && !nodes[j].is(",") {
			continue
		}
		item := nodes[first:j]
		if len(item) == 0 {
			p := nodes[i].tok.Pos
			if j < len(nodes) {
				p = nodes[j].tok.Pos
			}
			return 0, at(ErrSyntax, p, "an expression is missing in the SELECT list")
		}
		if err := w.seq(item, scopeExpr); err != nil {
			return 0, err
		}
		if needsName(item) {
			w.put(item[0].tok.Pos, "AS "+QuoteName(w.nameOf(item)))
		}
		if j < end {
			w.put(nodes[j].tok.Pos, ",")
		}
		first = j + 1
	}
	return end - i, nil
}

// nameOf is the text of an item, blanks joined, cut at 120 characters.
func (w *writer) nameOf(item []node) string {
	text := strings.Join(strings.Fields(w.source[item[0].tok.Pos.Offset:item[len(item)-1].end]), " ")
	if r := []rune(text); len(r) > 120 {
		text = string(r[:120])
	}
	return text
}

// needsName reports whether a SELECT item is an expression without an alias.
func needsName(item []node) bool {
	path := true
	for k, n := range item {
		if n.is("AS") {
			return false
		}
		if n.paren || (k%2 == 1) != n.is(".") || k%2 == 0 && n.tok.Kind != Word && n.tok.Kind != Quoted && !n.is("*") {
			path = false
		}
	}
	last := item[len(item)-1]
	if path && !isLiteralWord(item[0]) || last.is("*") {
		return false
	}
	if len(item) == 1 || last.paren || last.tok.Kind != Word && last.tok.Kind != Quoted {
		return true
	}
	prev := item[len(item)-2]
	isName := last.tok.Kind == Quoted || !plain[strings.ToUpper(last.tok.Text)]
	return !isName || !prev.endsOperand() || prev.is("OVER")
}

func isLiteralWord(n node) bool {
	return n.is("NULL") || n.is("TRUE") || n.is("FALSE") || n.is("CURRENT_DATE") || n.is("CURRENT_TIMESTAMP")
}

// WithCalled names a macro behind those that it calls, as Rewritten.Uses does. An empty name gives nothing.
func WithCalled(name string) []string {
	if name == "" {
		return nil
	}
	w := &writer{seen: map[string]bool{}}
	w.use(name)
	return w.uses
}
