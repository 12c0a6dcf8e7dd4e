// Package sparksql reads Spark SQL scripts as DAS ran them and writes each statement in DuckDB's dialect. It must not know
// DuckDB's library, the record store or any service: it turns text into text.
package sparksql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the front. A script beyond them is refused before anything is parsed further.
const (
	MaxScriptBytes = 1 << 20
	MaxNesting     = 200
)

// Pos is a place in a script. Line and Column count from 1, columns in characters; Offset counts bytes from 0.
type Pos struct {
	Offset int
	Line   int
	Column int
}

// Kind is the kind of a token.
type Kind uint8

// Kinds of tokens. Comments and blanks are no tokens.
const (
	// Word is an unquoted identifier or keyword.
	Word Kind = iota + 1
	// Quoted is an identifier in backticks.
	Quoted
	// String is a literal in single or double quotes.
	String
	// Number is a numeric literal without its sign.
	Number
	// Symbol is an operator or a separator.
	Symbol
)

// Token is one token of a script.
type Token struct {
	Kind Kind
	// Text is the word or number as written, the symbol, the identifier without backticks, or the string after its escapes.
	Text string
	Pos  Pos
	// End is the offset behind the token.
	End int
}

// is reports whether the token is this word (in any case) or this symbol.
func (t Token) is(text string) bool {
	switch t.Kind {
	case Word:
		return strings.EqualFold(t.Text, text)
	case Symbol:
		return t.Text == text
	}
	return false
}

// Tokenize splits a script into tokens. Strings take single or double quotes, a doubled quote, and Spark's backslash escapes;
// r'…' is raw. Comments are -- to the end of the line and /* */, which nest. Line breaks are blanks.
func Tokenize(script string) ([]Token, error) {
	if len(script) > MaxScriptBytes {
		return nil, at(ErrTooLarge, Pos{Line: 1, Column: 1}, "the script has %d bytes, the limit is %d", len(script), MaxScriptBytes)
	}
	l := lexer{src: script, pos: Pos{Line: 1, Column: 1}}
	for strings.HasPrefix(l.rest(), "\ufeff") {
		l.next()
	}
	for {
		if err := l.blanks(); err != nil {
			return nil, err
		}
		if l.pos.Offset == len(l.src) {
			return l.out, nil
		}
		if err := l.token(); err != nil {
			return nil, err
		}
	}
}

// symbols are the operators and separators, longest first. Some exist only to be refused by name later.
var symbols = []string{
	"<=>", "->", "=>", "::", "||", "&&", "<=", ">=", "<>", "!=", "==",
	"(", ")", ",", ";", ".", "*", "+", "-", "/", "%", "=", "<", ">", "|", "&", "~", "^", "!", "[", "]", "{", "}", ":", "?", "@", "#", "$", "\\",
}

type lexer struct {
	src string
	pos Pos
	out []Token
}

func (l *lexer) rest() string { return l.src[l.pos.Offset:] }

// peek gives the next character, or 0 and width 0 at the end.
func (l *lexer) peek() (rune, int) {
	if l.pos.Offset >= len(l.src) {
		return 0, 0
	}
	return utf8.DecodeRuneInString(l.rest())
}

// next steps over one character.
func (l *lexer) next() rune {
	r, w := l.peek()
	l.pos.Offset += w
	if r == '\n' {
		l.pos.Line++
		l.pos.Column = 1
	} else if w > 0 {
		l.pos.Column++
	}
	return r
}

func (l *lexer) skip(n int) {
	for end := l.pos.Offset + n; l.pos.Offset < end; {
		l.next()
	}
}

// blanks steps over blanks and comments.
func (l *lexer) blanks() error {
	for {
		r, w := l.peek()
		switch {
		case w == 0:
			return nil
		case unicode.IsSpace(r):
			l.next()
		case strings.HasPrefix(l.rest(), "--"):
			for r, w := l.peek(); w > 0 && r != '\n'; r, w = l.peek() {
				l.next()
			}
		case strings.HasPrefix(l.rest(), "/*"):
			if err := l.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

func (l *lexer) comment() error {
	start := l.pos
	depth := 0
	for {
		switch rest := l.rest(); {
		case rest == "":
			return at(ErrSyntax, start, "the comment that starts here has no end")
		case strings.HasPrefix(rest, "/*"):
			depth++
			l.skip(2)
		case strings.HasPrefix(rest, "*/"):
			depth--
			l.skip(2)
			if depth == 0 {
				return nil
			}
		default:
			l.next()
		}
	}
}

func isWordStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }
func isWordPart(r rune) bool {
	return isWordStart(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r)
}

func (l *lexer) token() error {
	start := l.pos
	r, w := l.peek()
	switch {
	case r == utf8.RuneError && w <= 1:
		return at(ErrSyntax, start, "the script is not UTF-8 here")
	case r == '\'' || r == '"':
		return l.text(start, false)
	case r == '`':
		return l.quoted(start)
	case (r == 'r' || r == 'R') && len(l.rest()) > 1 && (l.rest()[1] == '\'' || l.rest()[1] == '"'):
		l.next()
		return l.text(start, true)
	case r >= '0' && r <= '9', r == '.' && l.digitAt(1):
		return l.number(start)
	case isWordStart(r):
		for r, w := l.peek(); w > 0 && isWordPart(r); r, w = l.peek() {
			l.next()
		}
		l.add(Word, start, l.src[start.Offset:l.pos.Offset])
		return nil
	}
	for _, s := range symbols {
		if strings.HasPrefix(l.rest(), s) {
			l.skip(len(s))
			l.add(Symbol, start, s)
			return nil
		}
	}
	return at(ErrSyntax, start, "the character %q has no meaning in SQL", r)
}

func (l *lexer) add(k Kind, start Pos, text string) {
	l.out = append(l.out, Token{Kind: k, Text: text, Pos: start, End: l.pos.Offset})
}

func (l *lexer) digitAt(i int) bool {
	rest := l.rest()
	return len(rest) > i && rest[i] >= '0' && rest[i] <= '9'
}

func (l *lexer) digits() {
	for l.digitAt(0) {
		l.next()
	}
}

// number reads 1, 1.5, .5, 1e3 and the suffixes of Spark: L, S, Y, D, F, BD.
func (l *lexer) number(start Pos) error {
	l.digits()
	if r, _ := l.peek(); r == '.' {
		l.next()
		l.digits()
	}
	if rest := l.rest(); rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		n := 1
		if len(rest) > 1 && (rest[1] == '+' || rest[1] == '-') {
			n = 2
		}
		if l.digitAt(n) {
			l.skip(n)
			l.digits()
		}
	}
	for r, w := l.peek(); w > 0 && isWordPart(r); r, w = l.peek() {
		l.next()
	}
	text := l.src[start.Offset:l.pos.Offset]
	if _, _, ok := splitNumber(text); !ok {
		return at(ErrSyntax, start, "%q is neither a number nor a name; a name that starts with a digit needs backticks", text)
	}
	l.add(Number, start, text)
	return nil
}

// splitNumber parts a number from its suffix, which is upper-cased.
func splitNumber(text string) (digits, suffix string, ok bool) {
	end := len(text)
	for end > 0 && (text[end-1] < '0' || text[end-1] > '9') && text[end-1] != '.' {
		end--
	}
	digits, suffix = text[:end], strings.ToUpper(text[end:])
	switch suffix {
	case "", "L", "S", "Y", "D", "F", "BD":
	default:
		return "", "", false
	}
	if digits == "" || digits == "." {
		return "", "", false
	}
	rest := strings.TrimLeft(digits, "0123456789")
	if strings.HasPrefix(rest, ".") {
		rest = strings.TrimLeft(rest[1:], "0123456789")
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		if rest == "" {
			return "", "", false
		}
		rest = strings.TrimLeft(rest, "0123456789")
	}
	if rest != "" {
		return "", "", false
	}
	switch suffix {
	case "L", "S", "Y":
		if strings.ContainsAny(digits, ".eE") {
			return "", "", false
		}
	}
	return digits, suffix, true
}

// quoted reads an identifier in backticks; a doubled backtick is one.
func (l *lexer) quoted(start Pos) error {
	l.next()
	var b strings.Builder
	for {
		r, w := l.peek()
		switch {
		case w == 0:
			return at(ErrSyntax, start, "the name that starts here has no closing backtick")
		case r == 0 || r == utf8.RuneError && w == 1:
			return at(ErrSyntax, l.pos, "a name must not hold this character")
		}
		l.next()
		if r == '`' {
			if r, _ := l.peek(); r != '`' {
				break
			}
			l.next()
		}
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return at(ErrSyntax, start, "a name must not be empty")
	}
	l.add(Quoted, start, b.String())
	return nil
}

// text reads a string literal; the quote is the next character.
func (l *lexer) text(start Pos, raw bool) error {
	quote := l.next()
	var b strings.Builder
	for {
		r, w := l.peek()
		switch {
		case w == 0:
			return at(ErrSyntax, start, "the string that starts here has no end")
		case r == 0 || r == utf8.RuneError && w == 1:
			return at(ErrSyntax, l.pos, "a string must not hold this character")
		case r == '\\' && !raw:
			if err := l.escape(&b); err != nil {
				return err
			}
			continue
		}
		l.next()
		if r == quote {
			if r, _ := l.peek(); r != quote || raw {
				break
			}
			l.next()
		}
		b.WriteRune(r)
	}
	l.add(String, start, b.String())
	return nil
}

// escape reads one backslash escape as Spark's ParserUtils.unescapeSQLString does; the next character is the backslash.
func (l *lexer) escape(b *strings.Builder) error {
	start := l.pos
	l.next()
	rest := l.rest()
	if len(rest) >= 5 && rest[0] == 'u' {
		if v, ok := hex(rest[1:5]); ok {
			if v == 0 || v >= 0xD800 && v < 0xE000 {
				return at(ErrSyntax, start, "a string must not hold this character")
			}
			l.skip(5)
			b.WriteRune(v)
			return nil
		}
	}
	if len(rest) >= 3 && rest[0] >= '0' && rest[0] <= '1' && octal(rest[1]) && octal(rest[2]) {
		v := rune(rest[0]-'0')<<6 | rune(rest[1]-'0')<<3 | rune(rest[2]-'0')
		if v == 0 {
			return at(ErrSyntax, start, "a string must not hold this character")
		}
		l.skip(3)
		b.WriteRune(v)
		return nil
	}
	r, w := l.peek()
	if w == 0 {
		return nil
	}
	switch r {
	case '0':
		return at(ErrSyntax, start, "a string must not hold this character")
	case 'b':
		r = '\b'
	case 'n':
		r = '\n'
	case 'r':
		r = '\r'
	case 't':
		r = '\t'
	case 'Z':
		r = 0x1a
	case '%', '_':
		b.WriteByte('\\')
	}
	if r == 0 || r == utf8.RuneError && w == 1 {
		return at(ErrSyntax, l.pos, "a string must not hold this character")
	}
	l.next()
	b.WriteRune(r)
	return nil
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

func hex(s string) (rune, bool) {
	var v rune
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
