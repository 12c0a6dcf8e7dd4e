package sparksql

import (
	"strings"
)

// Kind of a statement, as it is shown in results.
const (
	KindCreate      = "create"
	KindInsert      = "insert"
	KindSelect      = "select"
	KindIncremental = "incremental"
)

// Statement is one statement of a script.
type Statement struct {
	// Kind is one of the constants above.
	Kind string
	// SQL is the statement as written, without its semicolon.
	SQL string
	// Pos is where it begins.
	Pos Pos
	// Create is set for CREATE TEMPORARY TABLE.
	Create *Create
	// Insert is set for INSERT.
	Insert *Insert
	// Incremental is set for INCREMENTAL_TABLE_….
	Incremental *IncrementalStatement
	// Query is the SELECT of SELECT, INSERT and CREATE … AS SELECT; nil without one.
	Query *Query
}

// Name is a table's name as written.
type Name struct {
	Text string
	Pos  Pos
}

// Create is CREATE TEMPORARY TABLE name USING CarbonAnalytics OPTIONS (…).
type Create struct {
	Name    Name
	Options Options
}

// Insert is INSERT INTO [TABLE] or INSERT OVERWRITE TABLE.
type Insert struct {
	Table     Name
	Overwrite bool
}

// IncrementalStatement is INCREMENTAL_TABLE_COMMIT, _RESET or _SHOW.
type IncrementalStatement struct {
	// Action is COMMIT, RESET or SHOW.
	Action string
	IDs    []string
}

// Query is a SELECT as tokens, to be rewritten.
type Query struct {
	tokens []Token
	source string
}

// Parse reads a whole script. It stops at the first error, which carries line and column. No statement at all is ErrEmpty.
func Parse(script string) ([]*Statement, error) {
	parts, err := split(script)
	if err != nil {
		return nil, err
	}
	var out []*Statement
	for _, tokens := range parts {
		st, err := parseStatement(script, tokens)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	if len(out) == 0 {
		return nil, at(ErrEmpty, Pos{Line: 1, Column: 1}, "no statement in the script")
	}
	return out, nil
}

// ParseAll is Parse for checking: it goes on after a statement in error and returns every error found.
func ParseAll(script string) ([]*Statement, []error) {
	parts, err := split(script)
	if err != nil {
		return nil, []error{err}
	}
	var out []*Statement
	var errs []error
	for _, tokens := range parts {
		if st, err := parseStatement(script, tokens); err != nil {
			errs = append(errs, err)
		} else {
			out = append(out, st)
		}
	}
	if len(out) == 0 && len(errs) == 0 {
		errs = append(errs, at(ErrEmpty, Pos{Line: 1, Column: 1}, "no statement in the script"))
	}
	return out, errs
}

// split parts a script's tokens at semicolons; empty statements are dropped.
func split(script string) ([][]Token, error) {
	tokens, err := Tokenize(script)
	if err != nil {
		return nil, err
	}
	var parts [][]Token
	start := 0
	for i, t := range tokens {
		if t.Kind == Symbol && t.Text == ";" {
			if i > start {
				parts = append(parts, tokens[start:i])
			}
			start = i + 1
		}
	}
	if start < len(tokens) {
		parts = append(parts, tokens[start:])
	}
	return parts, nil
}

// parser walks over the tokens of one statement.
type parser struct {
	script string
	tokens []Token
	i      int
}

func parseStatement(script string, tokens []Token) (*Statement, error) {
	p := &parser{script: script, tokens: tokens}
	first := tokens[0]
	st := &Statement{Pos: first.Pos, SQL: script[first.Pos.Offset:tokens[len(tokens)-1].End]}
	var err error
	switch {
	case first.is("SELECT"), first.is("WITH"), first.is("("), first.is("VALUES"):
		st.Kind = KindSelect
		st.Query, err = p.query()
	case first.is("CREATE"):
		st.Kind = KindCreate
		err = p.create(st)
	case first.is("INSERT"):
		st.Kind = KindInsert
		err = p.insert(st)
	case first.Kind == Word && strings.HasPrefix(strings.ToUpper(first.Text), "INCREMENTAL_TABLE_"):
		st.Kind = KindIncremental
		err = p.incremental(st)
	case first.Kind == Word:
		return nil, at(ErrStatement, first.Pos, "%s is refused: this engine runs CREATE TEMPORARY TABLE, INSERT INTO, INSERT OVERWRITE TABLE, SELECT and INCREMENTAL_TABLE_…",
			strings.ToUpper(first.Text))
	default:
		return nil, at(ErrSyntax, first.Pos, "a statement can't begin with %q", first.Text)
	}
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (p *parser) done() bool { return p.i >= len(p.tokens) }

// peek gives the next token; at the end a token of no kind that stands behind the last.
func (p *parser) peek() Token {
	if p.done() {
		last := p.tokens[len(p.tokens)-1]
		end := last.Pos
		end.Offset = last.End
		end.Column += last.End - last.Pos.Offset
		return Token{Pos: end, End: last.End}
	}
	return p.tokens[p.i]
}

func (p *parser) accept(text string) bool {
	if p.peek().is(text) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(text, where string) error {
	if p.accept(text) {
		return nil
	}
	return at(ErrSyntax, p.peek().Pos, "%s expected %s, found %s", text, where, describe(p.peek()))
}

func describe(t Token) string {
	switch t.Kind {
	case 0:
		return "the end of the statement"
	case String:
		return "a string"
	}
	return "\"" + t.Text + "\""
}

// name reads a table's name; names of databases don't exist here.
func (p *parser) name(where string) (Name, error) {
	t := p.peek()
	if t.Kind != Word && t.Kind != Quoted {
		return Name{}, at(ErrSyntax, t.Pos, "a table's name expected %s, found %s", where, describe(t))
	}
	p.i++
	if p.peek().is(".") {
		return Name{}, at(ErrUnsupported, t.Pos, "the name %s.… is refused: tables have no database before their name", t.Text)
	}
	return Name{Text: t.Text, Pos: t.Pos}, nil
}

func (p *parser) query() (*Query, error) {
	t := p.peek()
	if !t.is("SELECT") && !t.is("WITH") && !t.is("(") && !t.is("VALUES") {
		return nil, at(ErrSyntax, t.Pos, "SELECT expected, found %s", describe(t))
	}
	q := &Query{tokens: p.tokens[p.i:], source: p.script}
	p.i = len(p.tokens)
	return q, nil
}

func (p *parser) create(st *Statement) error {
	p.i++
	if t := p.peek(); !t.is("TEMPORARY") && !t.is("TEMP") {
		return at(ErrStatement, t.Pos, "CREATE %s is refused: only CREATE TEMPORARY TABLE … USING CarbonAnalytics is run", strings.ToUpper(t.Text))
	}
	p.i++
	if t := p.peek(); t.is("VIEW") || t.is("FUNCTION") {
		return at(ErrStatement, t.Pos, "CREATE TEMPORARY %s is refused: only CREATE TEMPORARY TABLE … USING CarbonAnalytics is run", strings.ToUpper(t.Text))
	}
	if err := p.expect("TABLE", "after CREATE TEMPORARY"); err != nil {
		return err
	}
	if t := p.peek(); t.is("IF") && p.i+1 < len(p.tokens) && p.tokens[p.i+1].is("NOT") {
		return at(ErrUnsupported, t.Pos, "IF NOT EXISTS is refused: a temporary table lives as long as its script")
	}
	c := &Create{}
	var err error
	if c.Name, err = p.name("after TABLE"); err != nil {
		return err
	}
	if t := p.peek(); t.is("(") {
		return at(ErrUnsupported, t.Pos, "columns before USING are refused: name them in the option schema")
	}
	if err := p.expect("USING", "after the table's name"); err != nil {
		return err
	}
	if err := p.provider(); err != nil {
		return err
	}
	raw, pos, err := p.options()
	if err != nil {
		return err
	}
	if c.Options, err = parseOptions(raw, pos); err != nil {
		return err
	}
	st.Create = c
	if p.done() {
		return nil
	}
	if err := p.expect("AS", "or the statement's end after OPTIONS (…)"); err != nil {
		return err
	}
	st.Query, err = p.query()
	return err
}

// The provider's name in scripts, and the class that it is short for.
const (
	providerName  = "CarbonAnalytics"
	providerClass = "org.wso2.carbon.analytics.spark.core.sources.AnalyticsRelationProvider"
)

func (p *parser) provider() error {
	t := p.peek()
	start := t.Pos
	var parts []string
	for {
		t := p.peek()
		if t.Kind != Word && t.Kind != Quoted {
			return at(ErrSyntax, t.Pos, "a provider's name expected after USING, found %s", describe(t))
		}
		parts = append(parts, t.Text)
		p.i++
		if !p.accept(".") {
			break
		}
	}
	name := strings.Join(parts, ".")
	if strings.EqualFold(name, providerName) || name == providerClass {
		return nil
	}
	return at(ErrUnsupported, start, "the provider %s is refused: this engine has CarbonAnalytics alone", name)
}

// option is one entry of OPTIONS.
type option struct {
	key, value string
	keyPos     Pos
	valuePos   Pos
}

func (p *parser) options() ([]option, Pos, error) {
	start := p.peek().Pos
	if err := p.expect("OPTIONS", "after the provider"); err != nil {
		return nil, start, err
	}
	if err := p.expect("(", "after OPTIONS"); err != nil {
		return nil, start, err
	}
	var out []option
	for {
		k := p.peek()
		if k.Kind != Word && k.Kind != Quoted && k.Kind != String {
			return nil, start, at(ErrSyntax, k.Pos, "an option's name expected, found %s", describe(k))
		}
		p.i++
		key := k.Text
		for p.accept(".") {
			t := p.peek()
			if t.Kind != Word && t.Kind != Quoted {
				return nil, start, at(ErrSyntax, t.Pos, "an option's name expected, found %s", describe(t))
			}
			key += "." + t.Text
			p.i++
		}
		p.accept("=")
		v := p.peek()
		switch {
		case v.Kind == String, v.Kind == Number, v.is("true"), v.is("false"):
			p.i++
		default:
			return nil, start, at(ErrSyntax, v.Pos, "the value of option %s must be a string, found %s", key, describe(v))
		}
		out = append(out, option{key: key, value: v.Text, keyPos: k.Pos, valuePos: v.Pos})
		if p.accept(",") {
			continue
		}
		if err := p.expect(")", "or a comma after an option"); err != nil {
			return nil, start, err
		}
		return out, start, nil
	}
}

func (p *parser) insert(st *Statement) error {
	p.i++
	in := &Insert{}
	switch {
	case p.accept("INTO"):
		p.accept("TABLE")
	case p.accept("OVERWRITE"):
		in.Overwrite = true
		if err := p.expect("TABLE", "after INSERT OVERWRITE"); err != nil {
			return err
		}
	default:
		return at(ErrSyntax, p.peek().Pos, "INTO or OVERWRITE TABLE expected after INSERT, found %s", describe(p.peek()))
	}
	var err error
	if in.Table, err = p.name("after INSERT"); err != nil {
		return err
	}
	t := p.peek()
	if t.is("PARTITION") {
		return at(ErrUnsupported, t.Pos, "PARTITION is refused: tables have no partitions of their own")
	}
	if t.is("(") && p.i+1 < len(p.tokens) {
		if n := p.tokens[p.i+1]; !n.is("SELECT") && !n.is("WITH") && !n.is("(") && !n.is("VALUES") {
			return at(ErrUnsupported, t.Pos, "a list of columns is refused: INSERT is positional, give every column in the order of the schema")
		}
	}
	st.Insert = in
	st.Query, err = p.query()
	return err
}

func (p *parser) incremental(st *Statement) error {
	t := p.peek()
	action := strings.TrimPrefix(strings.ToUpper(t.Text), "INCREMENTAL_TABLE_")
	switch action {
	case "COMMIT", "RESET", "SHOW":
	default:
		return at(ErrStatement, t.Pos, "%s is unknown: there are INCREMENTAL_TABLE_COMMIT, INCREMENTAL_TABLE_RESET and INCREMENTAL_TABLE_SHOW", strings.ToUpper(t.Text))
	}
	p.i++
	inc := &IncrementalStatement{Action: action}
	for {
		t := p.peek()
		if t.Kind != Word && t.Kind != Quoted && t.Kind != String {
			return at(ErrSyntax, t.Pos, "an incremental id expected, found %s", describe(t))
		}
		inc.IDs = append(inc.IDs, t.Text)
		p.i++
		if p.done() {
			st.Incremental = inc
			return nil
		}
		// DAS took ids parted by commas; blanks alone are taken too.
		p.accept(",")
	}
}
