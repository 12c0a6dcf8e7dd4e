package filter

import (
	"strings"
	"unicode/utf8"
)

// Parse reads a filter. An error is a *SyntaxError.
func Parse(text string) (*Filter, error) {
	p := &parser{text: text}
	switch {
	case len(text) > MaxBytes:
		return nil, p.fault(MaxBytes, "it is longer than a filter may be")
	case !utf8.ValidString(text):
		return nil, p.fault(0, "it is no UTF-8")
	}
	p.space()
	n, err := p.node(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(text) {
		return nil, p.fault(p.at, "something follows the last )")
	}
	return made(text, n), nil
}

type parser struct {
	text string
	at   int
}

func (p *parser) fault(at int, text string) *SyntaxError {
	shown := p.text
	if len(shown) > 200 {
		shown = strings.ToValidUTF8(shown[:200], "") + "…"
	}
	return &SyntaxError{Filter: shown, Position: at + 1, Text: text}
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek is the next byte; 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) node(depth int) (node, error) {
	if p.peek() != '(' {
		return nil, p.fault(p.at, "a ( is missing")
	}
	if depth > MaxDepth {
		return nil, p.fault(p.at, "it is nested too deeply")
	}
	open := p.at
	p.at++
	p.space()
	switch c := p.peek(); c {
	case '&', '|', '!':
		p.at++
		g := &group{op: c}
		for p.space(); p.peek() == '('; p.space() {
			if c == '!' && len(g.parts) == 1 {
				return nil, p.fault(p.at, "! takes one filter")
			}
			n, err := p.node(depth + 1)
			if err != nil {
				return nil, err
			}
			g.parts = append(g.parts, n)
		}
		if len(g.parts) == 0 {
			return nil, p.fault(p.at, "a ( is missing after "+string(c))
		}
		return g, p.end(open)
	}
	t, err := p.term()
	if err != nil {
		return nil, err
	}
	return t, p.end(open)
}

func (p *parser) end(open int) error {
	if p.peek() == ')' {
		p.at++
		return nil
	}
	if p.at >= len(p.text) {
		return p.fault(open, "this ( is not closed")
	}
	return p.fault(p.at, "a ) is missing")
}

func (p *parser) term() (*term, error) {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte("=<>~()*\\", p.text[p.at]) < 0 {
		p.at++
	}
	t := &term{name: strings.TrimRight(p.text[start:p.at], " \t\r\n")}
	if t.name == "" {
		return nil, p.fault(p.at, "the name of a property is missing")
	}
	t.key = strings.ToLower(t.name)
	switch {
	case strings.HasPrefix(p.text[p.at:], "~="):
		t.op = opNear
	case strings.HasPrefix(p.text[p.at:], ">="):
		t.op = opAtLeast
	case strings.HasPrefix(p.text[p.at:], "<="):
		t.op = opAtMost
	case p.peek() == '=':
		t.op = opEqual
	default:
		return nil, p.fault(p.at, "one of = ~= >= <= is missing")
	}
	p.at += len(t.op)
	value := p.at
	pieces, err := p.value()
	switch {
	case err != nil:
		return nil, err
	case len(pieces) == 1:
		t.value = pieces[0]
	case t.op != opEqual:
		return nil, p.fault(value+strings.IndexByte(p.text[value:], '*'), "a * stands only after =; write \\* for the character")
	case len(pieces) == 2 && pieces[0] == "" && pieces[1] == "":
		t.op = opPresent
	default:
		t.op, t.pieces = opSubstring, pieces
	}
	return t, nil
}

// value reads up to the closing parenthesis: the pieces between the stars, escapes resolved.
func (p *parser) value() ([]string, error) {
	var pieces []string
	var b strings.Builder
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case ')':
			return append(pieces, b.String()), nil
		case '(':
			return nil, p.fault(p.at, "a ( within a value; write \\( for the character")
		case '*':
			pieces = append(pieces, b.String())
			b.Reset()
			p.at++
		case '\\':
			c, n := escaped(p.text[p.at+1:])
			if n == 0 {
				return nil, p.fault(p.at, "after \\ comes one of ( ) * \\, or two hexadecimal digits")
			}
			b.WriteByte(c)
			p.at += 1 + n
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return append(pieces, b.String()), nil
}

// escaped reads what follows a backslash: the byte, and how much text it took; 0 if it is none.
func escaped(s string) (byte, int) {
	if s != "" && strings.IndexByte(`()*\`, s[0]) >= 0 {
		return s[0], 1
	}
	if len(s) < 2 {
		return 0, 0
	}
	hi, lo := strings.IndexByte(hexDigits, s[0]|0x20), strings.IndexByte(hexDigits, s[1]|0x20)
	if hi < 0 || lo < 0 {
		return 0, 0
	}
	return byte(hi<<4 | lo), 2
}

const hexDigits = "0123456789abcdef"
