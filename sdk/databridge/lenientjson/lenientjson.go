// Package lenientjson reads JSON as DAS's parser (Gson, lenient) takes it: single quotes, bare words, comments, and `=` and `;`
// as separators besides the standard form. It must not know what the document means.
package lenientjson

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may be nested.
const MaxDepth = 64

// Kind says what a value is.
type Kind uint8

// The kinds. Word is a bare token that is no literal: a string without quotes, or a number.
const (
	Null Kind = iota + 1
	Bool
	Word
	String
	Object
	Array
)

// String is the kind's name as used in messages.
func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number or word", "a string", "an object", "an array"}[k]
}

// Value is one value with its place in the text. Line and Column count from 1; columns count bytes.
type Value struct {
	Kind Kind
	// Text of Word, String and Bool ("true" or "false").
	Text string
	// Members of an Object in their order, names unique.
	Members []Member
	// Items of an Array.
	Items        []*Value
	Line, Column int
}

// Member is one name and value of an object.
type Member struct {
	Name         string
	Value        *Value
	Line, Column int
}

// Get finds a member by its exact name; nil if there is none.
func (v *Value) Get(name string) *Value {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return v.Members[i].Value
		}
	}
	return nil
}

// SyntaxError says what is wrong and where.
type SyntaxError struct {
	Line, Column int
	Text         string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Text)
}

// Parse reads one document. Every error is a *SyntaxError.
func Parse(data []byte) (*Value, error) {
	p := &parser{data: data, line: 1}
	if len(data) >= 3 && string(data[:3]) == "\xef\xbb\xbf" {
		p.pos, p.lineStart = 3, 3
	}
	if !utf8.Valid(data) {
		return nil, p.invalidUTF8()
	}
	v, err := p.document()
	if err != nil {
		return nil, err
	}
	return v, nil
}

type parser struct {
	data      []byte
	pos       int
	line      int
	lineStart int
}

func (p *parser) invalidUTF8() error {
	for p.pos < len(p.data) {
		r, n := utf8.DecodeRune(p.data[p.pos:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		p.step(n)
	}
	return p.fail("the text is not UTF-8")
}

func (p *parser) step(n int) {
	for range n {
		if p.data[p.pos] == '\n' {
			p.line++
			p.lineStart = p.pos + 1
		}
		p.pos++
	}
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{p.line, p.pos - p.lineStart + 1, fmt.Sprintf(format, args...)}
}

func (p *parser) document() (*Value, error) {
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos < len(p.data) {
		return nil, p.fail("%s after the end of the document", p.here())
	}
	return v, nil
}

// here names what stands at the position.
func (p *parser) here() string {
	if p.pos >= len(p.data) {
		return "the end of the text"
	}
	r, _ := utf8.DecodeRune(p.data[p.pos:])
	return strconv.QuoteRune(r)
}

// space passes white space and comments (//, #, /* */).
func (p *parser) space() error {
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f':
			p.step(1)
		case c == '#' || c == '/' && p.pos+1 < len(p.data) && p.data[p.pos+1] == '/':
			for p.pos < len(p.data) && p.data[p.pos] != '\n' {
				p.pos++
			}
		case c == '/' && p.pos+1 < len(p.data) && p.data[p.pos+1] == '*':
			end := bytes.Index(p.data[p.pos+2:], []byte("*/"))
			if end < 0 {
				return p.fail("a comment is not closed")
			}
			p.step(end + 4)
		default:
			return nil
		}
	}
	return nil
}

func (p *parser) value(depth int) (*Value, error) {
	if err := p.space(); err != nil {
		return nil, err
	}
	if depth > MaxDepth {
		return nil, p.fail("values are nested deeper than %d", MaxDepth)
	}
	v := &Value{Line: p.line, Column: p.pos - p.lineStart + 1}
	if p.pos >= len(p.data) {
		return nil, p.fail("a value is missing")
	}
	switch c := p.data[p.pos]; c {
	case '{':
		return v, p.object(v, depth)
	case '[':
		return v, p.array(v, depth)
	case '"', '\'':
		text, err := p.quoted(c)
		v.Kind, v.Text = String, text
		return v, err
	}
	text := p.word()
	switch {
	case text == "":
		return nil, p.fail("%s where a value should be", p.here())
	case text == "null":
		v.Kind = Null
	case strings.EqualFold(text, "true") || strings.EqualFold(text, "false"):
		v.Kind, v.Text = Bool, strings.ToLower(text)
	default:
		v.Kind, v.Text = Word, text
	}
	return v, nil
}

// word takes a bare token.
func (p *parser) word() string {
	from := p.pos
	for p.pos < len(p.data) && !strings.ContainsRune("/\\;#={}[]:,'\" \t\f\r\n", rune(p.data[p.pos])) {
		p.pos++
	}
	return string(p.data[from:p.pos])
}

func (p *parser) object(v *Value, depth int) error {
	v.Kind = Object
	p.pos++
	seen := map[string]bool{}
	for {
		if err := p.space(); err != nil {
			return err
		}
		if p.take("}") {
			return nil
		}
		m := Member{Line: p.line, Column: p.pos - p.lineStart + 1}
		var err error
		if p.pos < len(p.data) && (p.data[p.pos] == '"' || p.data[p.pos] == '\'') {
			m.Name, err = p.quoted(p.data[p.pos])
		} else if m.Name = p.word(); m.Name == "" {
			err = p.fail("%s where a name should be", p.here())
		}
		if err != nil {
			return err
		}
		if seen[m.Name] {
			return &SyntaxError{m.Line, m.Column, fmt.Sprintf("the name %q stands twice in one object", m.Name)}
		}
		seen[m.Name] = true
		if err := p.space(); err != nil {
			return err
		}
		if !p.take("=>") && !p.take(":") && !p.take("=") {
			return p.fail("%s where ':' should be", p.here())
		}
		if m.Value, err = p.value(depth + 1); err != nil {
			return err
		}
		v.Members = append(v.Members, m)
		if err := p.space(); err != nil {
			return err
		}
		if p.take("}") {
			return nil
		}
		if !p.take(",") && !p.take(";") {
			return p.fail("%s where ',' or '}' should be", p.here())
		}
	}
}

func (p *parser) array(v *Value, depth int) error {
	v.Kind = Array
	p.pos++
	for {
		if err := p.space(); err != nil {
			return err
		}
		if p.take("]") {
			return nil
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		v.Items = append(v.Items, item)
		if err := p.space(); err != nil {
			return err
		}
		if p.take("]") {
			return nil
		}
		if !p.take(",") && !p.take(";") {
			return p.fail("%s where ',' or ']' should be", p.here())
		}
	}
}

func (p *parser) take(s string) bool {
	if !strings.HasPrefix(string(p.data[p.pos:min(p.pos+len(s), len(p.data))]), s) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *parser) quoted(quote byte) (string, error) {
	line, column := p.line, p.pos-p.lineStart+1
	p.pos++
	var b strings.Builder
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; c {
		case quote:
			p.pos++
			return b.String(), nil
		case '\\':
			if err := p.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			p.step(1)
		}
	}
	return "", &SyntaxError{line, column, "a string is not closed"}
}

func (p *parser) escape(b *strings.Builder) error {
	if p.pos+1 >= len(p.data) {
		return p.fail("a string is not closed")
	}
	c := p.data[p.pos+1]
	if i := strings.IndexByte(`"'\/bfnrt`, c); i >= 0 {
		b.WriteByte("\"'\\/\b\f\n\r\t"[i])
		p.pos += 2
		return nil
	}
	if c == '\n' { // a line break may be escaped
		p.step(2)
		b.WriteByte('\n')
		return nil
	}
	if c != 'u' {
		return p.fail("\\%c is no escape", c)
	}
	r, ok := p.hex4(p.pos + 2)
	if !ok {
		return p.fail("\\u needs four hexadecimal digits")
	}
	n := 6
	if utf16.IsSurrogate(r) {
		low, ok := rune(0), false
		if p.pos+7 < len(p.data) && p.data[p.pos+6] == '\\' && p.data[p.pos+7] == 'u' {
			low, ok = p.hex4(p.pos + 8)
		}
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return p.fail("half of a surrogate pair")
		}
		n = 12
	}
	b.WriteRune(r)
	p.pos += n
	return nil
}

func (p *parser) hex4(at int) (rune, bool) {
	if at+4 > len(p.data) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.data[at:at+4]), 16, 16)
	return rune(n), err == nil
}
