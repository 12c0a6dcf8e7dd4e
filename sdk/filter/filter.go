// Package filter reads filters on properties in the form of RFC 4515 as OSGi uses it, and applies them. It must not know what has the
// properties.
//
//	(&(adapter.type=http)(!(secure=*))(priority>=10)(name=a*z))
//
// Names of properties are compared without regard to case; values with regard to it. `>=` and `<=` compare as numbers where both sides
// are numbers, otherwise as text; `~=` passes over case and white space. A property that is not there makes its term false. A value
// writes `(`, `)`, `*` and `\` after a backslash, or any byte as a backslash and two hexadecimal digits.
package filter

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	// MaxBytes is the longest filter that is read, MaxDepth the deepest nesting: a filter is written by hand.
	MaxBytes = 16 << 10
	MaxDepth = 64
)

// Filter is a filter that was read. It is read-only. A nil Filter matches everything.
type Filter struct {
	text, canonical string
	root            node
	// key and value are what Key gives; key is empty if there is nothing.
	key, value string
}

// SyntaxError says what is wrong with a filter, and where.
type SyntaxError struct {
	Filter string
	// Position is the place of the fault, in bytes from 1.
	Position int
	Text     string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("the filter %q is wrong at position %d: %s", e.Filter, e.Position, e.Text)
}

// truth is what is known about a term.
type truth int8

const (
	no truth = iota - 1
	unknown
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// node is one parenthesis. eval answers under properties whose keys are in lower case; open: properties that are not there may come.
type node interface {
	eval(props map[string]string, open bool) truth
	write(b *strings.Builder)
}

// Equal makes the filter that wants each of these properties with this value. An empty map gives nil.
func Equal(props map[string]string) *Filter {
	var all []node
	for _, key := range slices.Sorted(maps.Keys(props)) {
		all = append(all, &term{name: key, key: strings.ToLower(key), op: opEqual, value: props[key]})
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return made("", all[0])
	}
	return made("", &group{op: '&', parts: all})
}

// made makes the filter of a node, which stands as text; empty is as its canonical form.
func made(text string, n node) *Filter {
	f := &Filter{text: text, canonical: canonical(n), root: n}
	if text == "" {
		f.text = f.canonical
	}
	if t := keyOf(n); t != nil {
		f.key, f.value = t.key, t.value
	}
	return f
}

// canonical is a node's text: no white space, escapes only where they are needed.
func canonical(n node) string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

// Matches tells whether a thing with these properties is meant.
func (f *Filter) Matches(props map[string]string) bool {
	return f == nil || f.root.eval(lower(props), false) == yes
}

// Possible tells whether a thing with these properties, and perhaps more that are not known yet, may be meant.
func (f *Filter) Possible(props map[string]string) bool {
	return f == nil || f.root.eval(lower(props), true) != no
}

// Failing names the innermost term that keeps these properties from matching; empty if they match.
func (f *Filter) Failing(props map[string]string, open bool) string {
	if f == nil {
		return ""
	}
	props = lower(props)
	n := f.root
	fails := func(n node) bool { return n.eval(props, open) == no }
	if !fails(n) {
		return ""
	}
	for {
		g, ok := n.(*group)
		if !ok || g.op != '&' {
			return canonical(n)
		}
		n = g.parts[slices.IndexFunc(g.parts, fails)]
	}
}

// Key is a property that must have one value for the filter to match, the first by name of those whose equality terms no | or ! stands above;
// ok is false if there is none. The name is in lower case. It is for those who keep an index.
func (f *Filter) Key() (name, value string, ok bool) {
	if f == nil {
		return "", "", false
	}
	return f.key, f.value, f.key != ""
}

// keyOf finds the term that Key gives.
func keyOf(n node) (first *term) {
	switch n := n.(type) {
	case *term:
		if n.op == opEqual {
			return n
		}
	case *group:
		if n.op != '&' {
			return nil
		}
		for _, p := range n.parts {
			if t := keyOf(p); t != nil && (first == nil || t.key < first.key) {
				first = t
			}
		}
	}
	return first
}

// Value is a property by its name in lower case, as filters see it.
func Value(props map[string]string, key string) (string, bool) {
	v, ok := lower(props)[key]
	return v, ok
}

// Text is the filter as it was written; empty for nil.
func (f *Filter) Text() string {
	if f == nil {
		return ""
	}
	return f.text
}

// String is the filter in its canonical form: no white space, escapes only where they are needed.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return f.canonical
}

// lower gives the properties with their names in lower case. Of names that differ in case only, the first in order counts.
func lower(props map[string]string) map[string]string {
	plain := true
	for k := range props {
		plain = plain && strings.ToLower(k) == k
	}
	if plain {
		return props
	}
	out := make(map[string]string, len(props))
	for _, k := range slices.Sorted(maps.Keys(props)) {
		if _, twice := out[strings.ToLower(k)]; !twice {
			out[strings.ToLower(k)] = props[k]
		}
	}
	return out
}

// group is (& …), (| …) or (! …).
type group struct {
	op    byte
	parts []node
}

func (g *group) eval(props map[string]string, open bool) truth {
	switch g.op {
	case '!':
		return -g.parts[0].eval(props, open)
	case '&':
		out := yes
		for _, p := range g.parts {
			out = min(out, p.eval(props, open))
		}
		return out
	}
	out := no
	for _, p := range g.parts {
		out = max(out, p.eval(props, open))
	}
	return out
}

func (g *group) write(b *strings.Builder) {
	b.WriteByte('(')
	b.WriteByte(g.op)
	for _, p := range g.parts {
		p.write(b)
	}
	b.WriteByte(')')
}

type op string

const (
	opEqual     op = "="
	opNear      op = "~="
	opAtLeast   op = ">="
	opAtMost    op = "<="
	opPresent   op = "=*"
	opSubstring op = "=…"
)

// term is (name op value). pieces are the parts of a substring between its stars.
type term struct {
	name   string
	key    string // name in lower case
	op     op
	value  string
	pieces []string
}

func (t *term) eval(props map[string]string, open bool) truth {
	have, ok := props[t.key]
	switch {
	case !ok && open:
		return unknown
	case !ok:
		return no
	}
	switch t.op {
	case opPresent:
		return yes
	case opEqual:
		return truthOf(have == t.value)
	case opNear:
		return truthOf(near(have) == near(t.value))
	case opAtLeast:
		return truthOf(compare(have, t.value) >= 0)
	case opAtMost:
		return truthOf(compare(have, t.value) <= 0)
	}
	return truthOf(substring(have, t.pieces))
}

func near(s string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s))
}

func compare(a, b string) int {
	x, errX := strconv.ParseFloat(strings.TrimSpace(a), 64)
	y, errY := strconv.ParseFloat(strings.TrimSpace(b), 64)
	if errX != nil || errY != nil || x != x || y != y {
		return strings.Compare(a, b)
	}
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// substring tells whether s is made of the pieces in order, anything between them; the first and the last stand at the ends.
func substring(s string, pieces []string) bool {
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, p := range pieces[1 : len(pieces)-1] {
		_, rest, ok := strings.Cut(s, p)
		if !ok {
			return false
		}
		s = rest
	}
	return true
}

func (t *term) write(b *strings.Builder) {
	b.WriteByte('(')
	b.WriteString(t.name)
	switch t.op {
	case opPresent:
		b.WriteString("=*")
	case opSubstring:
		b.WriteByte('=')
		for i, p := range t.pieces {
			if i > 0 {
				b.WriteByte('*')
			}
			escape(b, p)
		}
	default:
		b.WriteString(string(t.op))
		escape(b, t.value)
	}
	b.WriteByte(')')
}

func escape(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte(`()*\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(b, `\%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
}
