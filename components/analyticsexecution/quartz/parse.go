// Package quartz reads and evaluates cron expressions exactly as Quartz 2.3 does. It must not know scripts, schedules or what
// is done when an expression fires.
package quartz

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// ErrExpression is an expression that is no Quartz cron expression. The error carries the column as line 1, column n.
var ErrExpression = cause.Define("CBN-SCR-001", "The cron expression is wrong.",
	"Write seconds, minutes, hours, day of month, month, day of week and, if need be, year, as Quartz has them; one of the two days is ?.").Code(codes.InvalidArgument)

// MaxLength is the longest expression taken, in bytes.
const MaxLength = 512

// Years that an expression may name.
const (
	MinYear = 1970
	MaxYear = 2299
)

// fieldKind is one of the seven fields.
type fieldKind int

const (
	second fieldKind = iota
	minute
	hour
	dayOfMonth
	month
	dayOfWeek
	year
)

// fields says for each field its name, its least and greatest value, and the greatest step that Quartz takes.
var fields = [...]struct {
	name           string
	min, max, step int
	names          []string
}{
	second:     {name: "seconds", min: 0, max: 59, step: 59},
	minute:     {name: "minutes", min: 0, max: 59, step: 59},
	hour:       {name: "hours", min: 0, max: 23, step: 23},
	dayOfMonth: {name: "day of month", min: 1, max: 31, step: 31},
	month:      {name: "month", min: 1, max: 12, step: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	dayOfWeek:  {name: "day of week", min: 1, max: 7, step: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
	year:       {name: "year", min: MinYear, max: MaxYear, step: MaxYear - MinYear},
}

// Expression is a cron expression. It is immutable and safe for concurrent use.
type Expression struct {
	text string
	// Bit n of each set is value n; years count from MinYear.
	seconds, minutes, hours, days, months, weekdays uint64
	years                                           [(MaxYear - MinYear + 64) / 64]uint64
	// anyDay and anyWeekday are "?".
	anyDay, anyWeekday bool
	// last is L or L-offset, or, in the day of week, nL.
	lastDay    bool
	lastOffset int
	// nearest is W.
	nearest     bool
	lastWeekday bool
	// nth is n of #n, 0 without.
	nth int
}

// String gives the expression as it was written.
func (e *Expression) String() string { return e.text }

// parser reads one expression; every error names the column.
type parser struct {
	e    *Expression
	text string
}

func (p *parser) fail(column int, format string, args ...any) error {
	return ErrExpression.New("%s (column %d of %q)", fmt.Sprintf(format, args...), column+1, p.text).At("", 1, column+1)
}

// Parse reads an expression. Lower case is taken as upper case. What Quartz would take and partly ignore (a W in a list, a second
// weekday beside #, a step behind a name, more than seven fields) is refused.
func Parse(text string) (*Expression, error) {
	if len(text) > MaxLength {
		return nil, ErrExpression.New("the expression has %d bytes, the limit is %d", len(text), MaxLength)
	}
	p := &parser{e: &Expression{text: text}, text: text}
	upper := asciiUpper(text)
	kind := second
	for i := 0; i < len(upper); {
		if isBlank(upper[i]) {
			i++
			continue
		}
		end := i
		for end < len(upper) && !isBlank(upper[end]) {
			end++
		}
		if kind > year {
			return nil, p.fail(i, "there are at most seven fields")
		}
		if err := p.field(kind, upper[i:end], i); err != nil {
			return nil, err
		}
		kind++
		i = end
	}
	switch {
	case kind <= dayOfWeek:
		return nil, p.fail(len(text), "the expression ends before the field %s", fields[kind].name)
	case kind == year:
		p.add(year, MinYear, MaxYear, 1)
	}
	if p.e.anyDay == p.e.anyWeekday {
		return nil, p.fail(0, "exactly one of day of month and day of week must be ?")
	}
	return p.e, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// asciiUpper keeps offsets, which strings.ToUpper does not.
func asciiUpper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// field reads one field; column is where it begins.
func (p *parser) field(kind fieldKind, text string, column int) error {
	if text == "?" {
		switch kind {
		case dayOfMonth:
			p.e.anyDay = true
		case dayOfWeek:
			p.e.anyWeekday = true
		default:
			return p.fail(column, "? stands only for day of month or day of week, not for %s", fields[kind].name)
		}
		return nil
	}
	list := strings.Contains(text, ",")
	for text != "" || list {
		part, rest, more := strings.Cut(text, ",")
		if part == "" {
			return p.fail(column, "a value is missing in %s", fields[kind].name)
		}
		it := item{p: p, kind: kind, text: part, column: column, list: list}
		if err := it.read(); err != nil {
			return err
		}
		if !more {
			return nil
		}
		column += len(part) + 1
		text = rest
	}
	return nil
}

// item is one part of a list.
type item struct {
	p      *parser
	kind   fieldKind
	text   string
	i      int
	column int
	list   bool
}

func (t *item) fail(format string, args ...any) error {
	return t.p.fail(t.column+t.i, format, args...)
}

func (t *item) peek() byte {
	if t.i < len(t.text) {
		return t.text[t.i]
	}
	return 0
}

func (t *item) end() error {
	if t.i < len(t.text) {
		return t.fail("unexpected %q in %s", t.text[t.i:], fields[t.kind].name)
	}
	return nil
}

// read reads *, */n, /n, L…, a value, a range, each with what may follow.
func (t *item) read() error {
	switch t.peek() {
	case '*', '/':
		return t.all()
	case 'L':
		return t.last()
	}
	first, named, err := t.value()
	if err != nil {
		return err
	}
	if t.peek() == '-' {
		return t.rangeFrom(first, named)
	}
	return t.suffix(first, named)
}

// all is *, */n or /n.
func (t *item) all() error {
	if t.peek() == '*' {
		t.i++
	}
	step := 1
	if t.peek() == '/' {
		var err error
		if step, err = t.step(); err != nil {
			return err
		}
	}
	if step == 0 {
		step = 1
	}
	t.p.add(t.kind, fields[t.kind].min, fields[t.kind].max, step)
	return t.end()
}

// step reads /n.
func (t *item) step() (int, error) {
	t.i++
	if !isDigit(t.peek()) {
		return 0, t.fail("/ must be followed by a number")
	}
	at := t.i
	n, err := t.number()
	if err != nil {
		return 0, err
	}
	if n > fields[t.kind].step {
		t.i = at
		return 0, t.fail("the step %d of %s is beyond %d", n, fields[t.kind].name, fields[t.kind].step)
	}
	return n, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (t *item) number() (int, error) {
	at, n := t.i, 0
	for isDigit(t.peek()) {
		n = n*10 + int(t.peek()-'0')
		if n > 1_000_000 {
			t.i = at
			return 0, t.fail("the number is too large")
		}
		t.i++
	}
	return n, nil
}

// value reads a number or a name and checks it. Day and month count from 1; Sunday is 1.
func (t *item) value() (int, bool, error) {
	f := fields[t.kind]
	at := t.i
	if isDigit(t.peek()) {
		n, err := t.number()
		if err != nil {
			return 0, false, err
		}
		if n < f.min || n > f.max {
			t.i = at
			return 0, false, t.fail("%d is no value of %s, which goes from %d to %d", n, f.name, f.min, f.max)
		}
		return n, false, nil
	}
	for i, name := range f.names {
		if strings.HasPrefix(t.text[t.i:], name) {
			t.i += len(name)
			return i + f.min, true, nil
		}
	}
	return 0, false, t.fail("%q is no value of %s", t.text[t.i:], f.name)
}

// rangeFrom reads -b or -b/n; a range whose end is before its begin goes round.
func (t *item) rangeFrom(first int, named bool) error {
	t.i++
	last, lastNamed, err := t.value()
	if err != nil {
		return err
	}
	if named != lastNamed {
		return t.fail("a range has two names or two numbers")
	}
	step := 1
	if t.peek() == '/' && !named {
		if step, err = t.step(); err != nil {
			return err
		}
	}
	if last < first && t.kind == year {
		return t.fail("the first year of a range must be less than the last")
	}
	t.p.addRange(t.kind, first, last, step)
	return t.end()
}

// suffix reads what may follow a single value: /n, L, W, #n.
func (t *item) suffix(value int, named bool) error {
	e := t.p.e
	switch c := t.peek(); {
	case c == '/' && !named:
		step, err := t.step()
		if err != nil {
			return err
		}
		if step == 0 {
			t.p.set(t.kind, value)
		} else {
			t.p.add(t.kind, value, fields[t.kind].max, step)
		}
		return t.end()
	case c == 'L' && t.kind == dayOfWeek:
		if t.list {
			return t.fail("L can't be used with other days of the week")
		}
		t.i++
		e.lastWeekday = true
	case c == 'W' && t.kind == dayOfMonth:
		if t.list {
			return t.fail("W can't be used with other days of the month")
		}
		t.i++
		e.nearest = true
	case c == '#' && t.kind == dayOfWeek:
		if t.list {
			return t.fail("# can't be used with other days of the week")
		}
		t.i++
		if c := t.peek(); c < '1' || c > '5' {
			return t.fail("# must be followed by a number from 1 to 5")
		}
		e.nth = int(t.peek() - '0')
		t.i++
	}
	t.p.set(t.kind, value)
	return t.end()
}

// last reads L, LW, L-n, L-nW of the day of month, and L of the day of week, which is Saturday.
func (t *item) last() error {
	e := t.p.e
	if t.list || t.kind != dayOfMonth && t.kind != dayOfWeek {
		return t.fail("L stands alone, for day of month or day of week")
	}
	t.i++
	if t.kind == dayOfWeek {
		t.p.set(dayOfWeek, 7)
		return t.end()
	}
	e.lastDay = true
	if t.peek() == '-' {
		t.i++
		if !isDigit(t.peek()) {
			return t.fail("L- must be followed by a number")
		}
		n, err := t.number()
		if err != nil {
			return err
		}
		if n > 30 {
			return t.fail("L-%d is beyond 30", n)
		}
		e.lastOffset = n
	}
	if t.peek() == 'W' {
		t.i++
		e.nearest = true
	}
	return t.end()
}

// addRange adds first to last by steps; a range that ends before it begins goes round.
func (p *parser) addRange(kind fieldKind, first, last, step int) {
	if step == 0 {
		p.set(kind, first)
		return
	}
	f := fields[kind]
	span := f.max - f.min + 1
	if last < first {
		last += span
	}
	for v := first; v <= last; v += step {
		p.set(kind, f.min+(v-f.min)%span)
	}
}

func (p *parser) add(kind fieldKind, first, last, step int) {
	for v := first; v <= last; v += step {
		p.set(kind, v)
	}
}

func (p *parser) set(kind fieldKind, v int) {
	e := p.e
	switch kind {
	case second:
		e.seconds |= 1 << v
	case minute:
		e.minutes |= 1 << v
	case hour:
		e.hours |= 1 << v
	case dayOfMonth:
		e.days |= 1 << v
	case month:
		e.months |= 1 << v
	case dayOfWeek:
		e.weekdays |= 1 << v
	case year:
		e.years[(v-MinYear)/64] |= 1 << ((v - MinYear) % 64)
	}
}
