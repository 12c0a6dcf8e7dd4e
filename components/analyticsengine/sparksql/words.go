package sparksql

import (
	"strconv"
	"strings"
)

// units of INTERVAL, in the singular.
var units = words("YEAR MONTH WEEK DAY HOUR MINUTE SECOND MILLISECOND MICROSECOND")

func unitOf(n node) string {
	if n.paren || n.tok.Kind != Word {
		return ""
	}
	u := strings.TrimSuffix(strings.ToUpper(n.tok.Text), "S")
	if units[u] {
		return u
	}
	return ""
}

// word writes a keyword, a call or a name, and what belongs to it.
func (w *writer) word(nodes []node, i int, s scope) (int, error) {
	n := nodes[i]
	upper := strings.ToUpper(n.tok.Text)
	next := after(nodes, i, 1)
	prev := after(nodes, i, -1)
	afterDot := prev.is(".")
	if afterDot && !next.paren {
		w.put(n.tok.Pos, QuoteName(n.tok.Text))
		return 1, nil
	}
	if !prev.is("AS") && !next.is(".") {
		for _, r := range refused {
			if upper == r.word && (r.next == "" && s == scopeQuery && !prev.is(",") && !isSelectWord(prev) || r.next == "(" && next.paren && s == scopeQuery && prev.endsOperand() || r.next != "" && r.next != "(" && next.is(r.next)) {
				return 0, at(ErrUnsupported, n.tok.Pos, "%s", r.why)
			}
		}
	}
	if next.is(".") && upper != "NULL" && !plain[upper] {
		w.put(n.tok.Pos, QuoteName(n.tok.Text))
		return 1, nil
	}
	if count, done, err := w.contextual(nodes, i, upper, s); done || err != nil {
		return count, err
	}
	if plain[upper] {
		return w.keyword(nodes, i, upper)
	}
	if next.paren && !aliasColumns(nodes, i) {
		return w.call(nodes, i)
	}
	w.put(n.tok.Pos, QuoteName(n.tok.Text))
	return 1, nil
}

// isSelectWord reports whether a select list or an expression begins behind the node, where a word is a column.
func isSelectWord(n node) bool {
	return n.is("SELECT") || n.is("DISTINCT") || n.is("BY") || n.is("WHERE") || n.is("AND") || n.is("OR") || n.is("NOT") || n.is("ON") || n.is("HAVING")
}

// keyword writes a word of the grammar.
func (w *writer) keyword(nodes []node, i int, upper string) (int, error) {
	t := nodes[i].tok
	switch upper {
	case "SELECT":
		w.put(t.Pos, upper)
		return w.selectList(nodes, i)
	}
	w.put(t.Pos, upper)
	return 1, nil
}

// contextual writes words that are keywords in some places and names in others.
func (w *writer) contextual(nodes []node, i int, upper string, s scope) (count int, done bool, err error) {
	t := nodes[i].tok
	next, prev := after(nodes, i, 1), after(nodes, i, -1)
	raw := func(n int, text string) (int, bool, error) {
		w.put(t.Pos, text)
		return n, true, nil
	}
	operand := i > 0 && prev.endsOperand()
	switch upper {
	case "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "OUTER", "SEMI", "ANTI":
		return w.join(nodes, i, upper)
	case "MINUS":
		if s == scopeQuery && (next.is("SELECT") || next.is("ALL") || next.is("DISTINCT") || next.isQuery()) {
			return raw(1, "EXCEPT")
		}
	case "USING":
		if next.paren && operand {
			w.put(t.Pos, upper)
			return 2, true, w.group(next, nodes, i+1)
		}
	case "VALUES":
		if next.paren && !operand {
			return raw(1, upper)
		}
	case "OFFSET":
		if next.tok.Kind == Number && operand && s == scopeQuery {
			return raw(1, upper)
		}
	case "OVER":
		if operand && next.paren {
			w.put(t.Pos, upper)
			return 2, true, w.group(next, nodes, i+1)
		}
		if operand && next.tok.Kind == Word && prev.paren {
			return raw(1, upper)
		}
	case "WINDOW":
		if s == scopeQuery && next.tok.Kind == Word && after(nodes, i, 2).is("AS") && after(nodes, i, 3).paren {
			return raw(1, upper)
		}
	case "FILTER":
		if prev.paren && next.paren && len(next.group) > 0 && next.group[0].is("WHERE") {
			w.put(t.Pos, upper)
			return 2, true, w.group(next, nodes, i+1)
		}
	case "NULLS":
		if next.is("FIRST") || next.is("LAST") {
			return raw(2, "NULLS "+strings.ToUpper(next.tok.Text))
		}
	case "PARTITION":
		if s == scopeWindow && next.is("BY") {
			return raw(1, upper)
		}
	case "ROWS", "RANGE", "UNBOUNDED", "PRECEDING", "FOLLOWING", "CURRENT", "ROW":
		if s == scopeWindow && !next.is(",") && !prev.is("BY") && !prev.is(",") {
			return raw(1, upper)
		}
	case "GROUPING":
		if next.is("SETS") {
			w.put(t.Pos, "GROUPING SETS")
			return 2, true, nil
		}
	case "ROLLUP", "CUBE":
		if next.paren && (prev.is("BY") || prev.is(",")) {
			w.put(t.Pos, upper)
			return 2, true, w.group(next, nodes, i+1)
		}
	case "LIKE", "ILIKE":
		if operand || prev.is("NOT") {
			return w.like(nodes, i, upper)
		}
	case "RLIKE", "REGEXP":
		if operand || prev.is("NOT") {
			return w.rlike(nodes, i)
		}
	case "DIV":
		if operand && !next.is(",") && next.tok.Kind != 0 {
			return raw(1, "//")
		}
	case "ANY", "SOME":
		if next.paren && next.isQuery() && !operand {
			w.put(t.Pos, "ANY")
			return 2, true, w.group(next, nodes, i+1)
		}
	case "ALL":
		if next.paren && next.isQuery() && prev.tok.Kind == Symbol {
			w.put(t.Pos, "ALL")
			return 2, true, w.group(next, nodes, i+1)
		}
	case "CAST":
		if next.paren {
			return w.cast(nodes, i)
		}
	case "EXTRACT":
		if next.paren {
			return w.extract(nodes, i)
		}
	case "INTERVAL":
		if !next.paren && (next.tok.Kind == String || next.tok.Kind == Number || next.is("-")) {
			return w.interval(nodes, i)
		}
	case "DATE", "TIMESTAMP":
		if !next.paren && next.tok.Kind == String {
			w.put(t.Pos, "CAST("+quoteString(next.tok.Text)+" AS "+upper+")")
			return 2, true, nil
		}
	case "X":
		if !next.paren && next.tok.Kind == String && next.tok.Pos.Offset == nodes[i].end {
			return 0, true, at(ErrUnsupported, t.Pos, "hexadecimal literals are refused")
		}
	case "CURRENT_DATE":
		if !next.paren {
			return raw(1, "CAST(now() AS DATE)")
		}
	case "CURRENT_TIMESTAMP":
		if !next.paren {
			return raw(1, "CAST(now() AS TIMESTAMP)")
		}
	}
	return 0, false, nil
}

// join writes the words before JOIN; LEFT SEMI JOIN is DuckDB's SEMI JOIN.
func (w *writer) join(nodes []node, i int, upper string) (int, bool, error) {
	t := nodes[i].tok
	var seen []string
	for j := i; j < len(nodes); j++ {
		n := nodes[j]
		if n.paren || n.tok.Kind != Word {
			return 0, false, nil
		}
		u := strings.ToUpper(n.tok.Text)
		if u == "JOIN" {
			if len(seen) == 0 {
				return 0, false, nil
			}
			break
		}
		switch u {
		case "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "OUTER", "SEMI", "ANTI":
			seen = append(seen, u)
		default:
			return 0, false, nil
		}
		if j == len(nodes)-1 {
			return 0, false, nil
		}
	}
	count := len(seen)
	if count > 1 && seen[0] == "LEFT" && (seen[1] == "SEMI" || seen[1] == "ANTI") {
		seen = seen[1:]
	}
	w.put(t.Pos, strings.Join(seen, " "))
	return count, true, nil
}

// operandEnd finds where the primary expression that begins at i ends; 0 if it is not a simple one.
func operandEnd(nodes []node, i int) int {
	n := after(nodes, i, 0)
	switch {
	case n.paren, n.tok.Kind == Number:
		return i + 1
	case n.tok.Kind == String:
		for after(nodes, i, 0).tok.Kind == String && !after(nodes, i, 0).paren {
			i++
		}
		return i
	case n.tok.Kind == Word || n.tok.Kind == Quoted:
		if plain[strings.ToUpper(n.tok.Text)] && n.tok.Kind == Word && !n.is("NULL") {
			return 0
		}
		i++
		for after(nodes, i, 0).is(".") && i+1 < len(nodes) {
			i += 2
		}
		if after(nodes, i, 0).paren {
			i++
		}
		return i
	}
	return 0
}

// operators that would bind tighter than LIKE and RLIKE.
func bindsTighter(n node) bool {
	return n.is("||") || n.is("+") || n.is("-") || n.is("*") || n.is("/") || n.is("%") || n.is("|") || n.is("&") || n.is("DIV")
}

// like writes LIKE; Spark's escape character is the backslash.
func (w *writer) like(nodes []node, i int, upper string) (int, bool, error) {
	t := nodes[i].tok
	next := after(nodes, i, 1)
	if next.is("ANY") || next.is("SOME") || next.is("ALL") {
		return 0, true, at(ErrUnsupported, t.Pos, "%s %s is refused", upper, strings.ToUpper(next.tok.Text))
	}
	end := operandEnd(nodes, i+1)
	if end == 0 || bindsTighter(after(nodes, end, 0)) {
		return 0, true, at(ErrUnsupported, t.Pos, "the pattern of %s must be one operand: put it in parentheses", upper)
	}
	w.put(t.Pos, upper)
	if err := w.seq(nodes[i+1:end], scopeExpr); err != nil {
		return 0, true, err
	}
	if esc := after(nodes, end, 1); after(nodes, end, 0).is("ESCAPE") {
		if esc.paren || esc.tok.Kind != String {
			return 0, true, at(ErrSyntax, esc.tok.Pos, "a string expected after ESCAPE")
		}
		w.put(esc.tok.Pos, "ESCAPE "+quoteString(esc.tok.Text))
		return end + 2 - i, true, nil
	}
	literal := true
	escapes := false
	for _, n := range nodes[i+1 : end] {
		literal = literal && !n.paren && n.tok.Kind == String
		escapes = escapes || strings.Contains(n.tok.Text, `\`)
	}
	if !literal || escapes {
		w.put(t.Pos, `ESCAPE '\'`)
	}
	return end - i, true, nil
}

// rlike writes RLIKE, which finds its pattern anywhere, as SIMILAR TO, which matches the whole.
func (w *writer) rlike(nodes []node, i int) (int, bool, error) {
	t := nodes[i].tok
	end := operandEnd(nodes, i+1)
	if end == 0 || bindsTighter(after(nodes, end, 0)) {
		return 0, true, at(ErrUnsupported, t.Pos, "the pattern of RLIKE must be one operand: put it in parentheses")
	}
	w.put(t.Pos, "SIMILAR TO ('(?s:.*)(?:' ||")
	if err := w.seq(nodes[i+1:end], scopeExpr); err != nil {
		return 0, true, err
	}
	w.put(t.Pos, "|| ')(?s:.*)')")
	return end - i, true, nil
}

// interval writes INTERVAL 1 DAY, INTERVAL '1' DAY; the string form '1 day' of DuckDB is no Spark.
func (w *writer) interval(nodes []node, i int) (int, bool, error) {
	t := nodes[i].tok
	j := i + 1
	sign := ""
	if nodes[j].is("-") {
		sign = "-"
		j++
	}
	v := after(nodes, j, 0)
	unit := unitOf(after(nodes, j, 1))
	if unit == "" || v.paren || v.tok.Kind != String && v.tok.Kind != Number {
		return 0, true, at(ErrUnsupported, t.Pos, "this form of INTERVAL is refused: write INTERVAL number UNIT")
	}
	if after(nodes, j, 2).is("TO") || unitOf(after(nodes, j, 3)) != "" && !after(nodes, j, 2).paren && (after(nodes, j, 2).tok.Kind == Number || after(nodes, j, 2).tok.Kind == String) {
		return 0, true, at(ErrUnsupported, t.Pos, "an INTERVAL of several units is refused: add intervals of one unit each")
	}
	number, err := strconv.ParseInt(strings.TrimSpace(v.tok.Text), 10, 32)
	if err != nil {
		return 0, true, at(ErrUnsupported, v.tok.Pos, "INTERVAL takes a whole number here, not %q", v.tok.Text)
	}
	if sign != "" {
		number = -number
	}
	w.put(t.Pos, "INTERVAL ("+strconv.FormatInt(number, 10)+") "+unit)
	return j + 2 - i, true, nil
}

// extract writes EXTRACT(unit FROM x) as the function of the unit.
func (w *writer) extract(nodes []node, i int) (int, bool, error) {
	t := nodes[i].tok
	g := nodes[i+1].group
	if len(g) < 3 || !g[1].is("FROM") || g[0].paren {
		return 0, true, at(ErrSyntax, t.Pos, "EXTRACT(unit FROM expression) expected")
	}
	unit := strings.ToLower(g[0].tok.Text)
	switch unit {
	case "year", "quarter", "month", "day", "hour", "minute":
	case "week":
		unit = "weekofyear"
	default:
		return 0, true, at(ErrUnsupported, g[0].tok.Pos, "EXTRACT(%s …) is refused; YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE run", strings.ToUpper(unit))
	}
	return 2, true, w.template(t.Pos, functions[unit], [][]node{g[2:]})
}

// casts maps Spark's types to the macro that casts as Spark does.
var casts = map[string]string{
	"string": "spark_string", "varchar": "spark_string", "char": "spark_string",
	"int": "spark_int", "integer": "spark_int", "bigint": "spark_bigint", "long": "spark_bigint",
	"smallint": "spark_smallint", "short": "spark_smallint", "tinyint": "spark_tinyint", "byte": "spark_tinyint",
	"double": "spark_double", "float": "spark_float", "real": "spark_float", "boolean": "spark_boolean",
	"timestamp": "spark_timestamp", "date": "spark_date", "binary": "spark_binary",
}

// cast writes CAST(x AS type) by the macro of the type.
func (w *writer) cast(nodes []node, i int) (int, bool, error) {
	t := nodes[i].tok
	g := nodes[i+1].group
	as := -1
	for j, n := range g {
		if n.is("AS") {
			as = j
		}
	}
	if as <= 0 || as == len(g)-1 || g[as+1].paren || g[as+1].tok.Kind != Word {
		return 0, true, at(ErrSyntax, t.Pos, "CAST(expression AS type) expected")
	}
	typ := g[as+1]
	name := strings.ToLower(typ.tok.Text)
	args := g[as+2:]
	switch name {
	case "decimal", "dec", "numeric":
		return w.castDecimal(t, typ, args, g[:as])
	case "varchar", "char":
		return 0, true, at(ErrUnsupported, typ.tok.Pos, "CAST to %s is refused: cast to STRING", strings.ToUpper(name))
	}
	macro, known := casts[name]
	if !known || len(args) > 0 {
		return 0, true, at(ErrUnsupported, typ.tok.Pos, "CAST to %s is refused", strings.ToUpper(w.source[typ.tok.Pos.Offset:g[len(g)-1].end]))
	}
	w.use(macro)
	if err := w.deeper(t.Pos); err != nil {
		return 0, true, err
	}
	defer func() { w.depth-- }()
	w.put(t.Pos, macro+"(")
	if err := w.seq(g[:as], scopeExpr); err != nil {
		return 0, true, err
	}
	w.put(t.Pos, ")")
	return 2, true, nil
}

func (w *writer) castDecimal(t Token, typ node, args, operand []node) (int, bool, error) {
	size := "10,0"
	if len(args) == 1 && args[0].paren {
		var parts []string
		for _, n := range args[0].group {
			if n.paren || n.tok.Kind != Number && !n.is(",") {
				return 0, true, at(ErrSyntax, typ.tok.Pos, "DECIMAL(precision, scale) expected")
			}
			parts = append(parts, n.tok.Text)
		}
		size = strings.Join(parts, "")
		if len(parts) == 1 {
			size += ",0"
		}
	} else if len(args) > 0 {
		return 0, true, at(ErrSyntax, typ.tok.Pos, "DECIMAL(precision, scale) expected")
	}
	w.put(t.Pos, "TRY_CAST(")
	if err := w.seq(operand, scopeExpr); err != nil {
		return 0, true, err
	}
	w.put(t.Pos, "AS DECIMAL("+size+"))")
	return 2, true, nil
}
