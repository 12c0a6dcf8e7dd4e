package lucene

import (
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	eof kind = iota
	and
	or
	not
	plus
	minus
	open
	shut
	colon
	star
	boost  // ^2, text is the number
	tilde  // ~ or ~2, text is the number
	quoted // text without the quotes, escapes kept
	term
	prefix
	wild
	regexp // text without the slashes
	from   // [ or {
)

type token struct {
	kind kind
	text string
	at   int // byte offset
	end  int
}

// lexer cuts a query into tokens, as the grammar of Lucene's classic QueryParser does. Ranges are read by the parser, since
// other rules hold inside them.
type lexer struct {
	s  string
	at int
}

func (l *lexer) column(at int) int { return utf8.RuneCountInString(l.s[:min(at, len(l.s))]) + 1 }

func (l *lexer) fail(at int, format string, args ...any) error {
	return ErrSyntax.New(format, args...).At("query", 1, l.column(at))
}

func space(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\u3000' }

func (l *lexer) skipSpace() {
	for l.at < len(l.s) {
		r, n := utf8.DecodeRuneInString(l.s[l.at:])
		if !space(r) {
			return
		}
		l.at += n
	}
}

const special = "+-!():^[]\"{}~*?\\/"

func (l *lexer) next() (token, error) {
	l.skipSpace()
	t := token{at: l.at, end: l.at}
	if l.at == len(l.s) {
		return t, nil
	}
	single := func(k kind) (token, error) {
		l.at++
		t.kind, t.end = k, l.at
		return t, nil
	}
	switch c := l.s[l.at]; c {
	case '+':
		return single(plus)
	case '-':
		return single(minus)
	case '!':
		return single(not)
	case '(':
		return single(open)
	case ')':
		return single(shut)
	case ':':
		return single(colon)
	case '[', '{':
		t.text = string(c)
		return single(from)
	case ']', '}':
		return t, l.fail(l.at, "%q without the start of a range", string(c))
	case '^', '~':
		return l.number(c)
	case '"':
		return l.delimited('"', quoted)
	case '/':
		return l.delimited('/', regexp)
	}
	return l.word()
}

func (l *lexer) number(c byte) (token, error) {
	t := token{kind: tilde, at: l.at}
	l.at++
	start, dot := l.at, false
	for l.at < len(l.s) && (l.s[l.at] >= '0' && l.s[l.at] <= '9' || l.s[l.at] == '.' && !dot) {
		dot = dot || l.s[l.at] == '.'
		l.at++
	}
	t.text, t.end = l.s[start:l.at], l.at
	if c == '^' {
		t.kind = boost
		if t.text == "" || t.text == "." {
			return t, l.fail(t.at, "^ without a number")
		}
	}
	if t.text == "." {
		return t, l.fail(t.at, "~ without a number")
	}
	return t, nil
}

func (l *lexer) delimited(d byte, k kind) (token, error) {
	t := token{kind: k, at: l.at}
	for i := l.at + 1; i < len(l.s); i++ {
		switch l.s[i] {
		case '\\':
			i++
		case d:
			t.text, l.at, t.end = l.s[l.at+1:i], i+1, i+1
			return t, nil
		}
	}
	return t, l.fail(l.at, "%s without its end", string(d))
}

func (l *lexer) word() (token, error) {
	t := token{kind: term, at: l.at}
	stars, others, lastStar := 0, 0, false
loop:
	for l.at < len(l.s) {
		r, n := utf8.DecodeRuneInString(l.s[l.at:])
		lastStar = false
		switch {
		case r == '\\':
			if l.at+1 == len(l.s) {
				return t, l.fail(l.at, "nothing follows the last \\")
			}
			_, m := utf8.DecodeRuneInString(l.s[l.at+1:])
			n += m
		case r == '*':
			stars++
			lastStar = true
		case r == '?':
			others++
		case r == '+' || r == '-':
		case space(r), r < utf8.RuneSelf && strings.ContainsRune(special, r):
			break loop
		}
		l.at += n
	}
	t.text, t.end = l.s[t.at:l.at], l.at
	switch {
	case t.text == "*":
		t.kind = star
	case stars == 1 && others == 0 && lastStar:
		t.kind = prefix
	case stars+others > 0:
		t.kind = wild
	case t.text == "AND" || t.text == "&&":
		t.kind = and
	case t.text == "OR" || t.text == "||":
		t.kind = or
	case t.text == "NOT":
		t.kind = not
	}
	return t, nil
}

// bound is one end of a range.
type bound struct {
	text   string // escapes removed
	open   bool   // *
	at     int
	quoted bool
}

// bounds reads a range from behind its opening bracket to its end.
func (l *lexer) bounds() (lo, hi bound, closing byte, err error) {
	if lo, err = l.bound(); err != nil {
		return
	}
	l.skipSpace()
	if rest := l.s[l.at:]; strings.HasPrefix(rest, "TO") && len(rest) > 2 && (space(rune(rest[2])) || rest[2] == '"') {
		l.at += 2
	}
	if hi, err = l.bound(); err != nil {
		return
	}
	l.skipSpace()
	if l.at == len(l.s) || l.s[l.at] != ']' && l.s[l.at] != '}' {
		err = l.fail(l.at, "a range ends with ] or }, after two values")
		return
	}
	closing = l.s[l.at]
	l.at++
	return
}

func (l *lexer) bound() (bound, error) {
	l.skipSpace()
	b := bound{at: l.at}
	if l.at < len(l.s) && l.s[l.at] == '"' {
		t, err := l.delimited('"', quoted)
		if err != nil {
			return b, err
		}
		b.quoted = true
		b.text, err = l.unescape(t.text, b.at+1)
		return b, err
	}
	for l.at < len(l.s) {
		r, n := utf8.DecodeRuneInString(l.s[l.at:])
		if space(r) || r == ']' || r == '}' {
			break
		}
		l.at += n
	}
	raw := l.s[b.at:l.at]
	if raw == "" {
		return b, l.fail(b.at, "a range needs two values, * is none")
	}
	b.open = raw == "*"
	var err error
	b.text, err = l.unescape(raw, b.at)
	return b, err
}

// unescape removes backslashes: \x is x, \uXXXX is that character.
func (l *lexer) unescape(s string, at int) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", l.fail(at+i-1, "nothing follows the last \\")
		}
		if s[i] != 'u' {
			b.WriteByte(s[i])
			continue
		}
		if i+4 >= len(s) {
			return "", l.fail(at+i-1, `\u needs four hexadecimal digits`)
		}
		r := rune(0)
		for _, c := range []byte(s[i+1 : i+5]) {
			d := strings.IndexByte("0123456789abcdef", c|0x20)
			if d < 0 || c < '0' {
				return "", l.fail(at+i-1, `\u needs four hexadecimal digits`)
			}
			r = r<<4 | rune(d)
		}
		b.WriteRune(r)
		i += 4
	}
	return b.String(), nil
}
