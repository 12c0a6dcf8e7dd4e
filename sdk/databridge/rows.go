package databridge

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
)

// Cell is one value. Bits holds an int's low 32 bits, a long, a float or double as float64 bits, or a bool as 0 or 1.
type Cell struct {
	Bits uint64
	Text []byte
	Null bool
}

// Rows collects events of one stream row by row, for producers that don't have columns. Not safe for concurrent use.
type Rows struct {
	layout *Layout
	times  []int64
	cells  []Cell // without the attribute `_timestamp`
	arb    [][]byte
	hasArb bool
}

// NewRows starts an empty collection.
func NewRows(l *Layout) *Rows { return &Rows{layout: l} }

// Len is the number of events.
func (r *Rows) Len() int { return len(r.times) }

func (r *Rows) width() int { return r.layout.columns - 2 }

func (r *Rows) add(time int64, cells []Cell, arb []byte) {
	r.times = append(r.times, time)
	r.cells = append(r.cells, cells...)
	r.arb = append(r.arb, arb)
	r.hasArb = r.hasArb || arb != nil
}

// Add adds an event. values are in the order of Definition.Columns: int32, int64, float32, float64, bool, string or nil. time is
// in milliseconds since 1970; a value of the attribute `_timestamp` replaces it. arbitrary may be nil.
func (r *Rows) Add(time int64, values []any, arbitrary map[string]string) error {
	l := r.layout
	if len(values) != len(l.attrs) {
		return ErrMalformed.New("an event of stream %s has %d values instead of %d", l.ID, len(values), len(l.attrs))
	}
	cells := make([]Cell, 0, len(values))
	for i, v := range values {
		c, err := cellOf(v, l.attrs[i].typ)
		if err != nil {
			return ErrMalformed.New("stream %s, attribute %s: %s", l.ID, l.attrs[i].name, err.Error())
		}
		if i != l.timeAttr {
			cells = append(cells, c)
		} else if !c.Null {
			time = int64(c.Bits)
		}
	}
	var arb []byte
	if len(arbitrary) > 0 {
		names := make([]string, 0, len(arbitrary))
		for name := range arbitrary {
			names = append(names, name)
		}
		slices.Sort(names)
		arb = append(arb, '{')
		for i, name := range names {
			if !utf8.ValidString(name) || !utf8.ValidString(arbitrary[name]) {
				return ErrUTF8.New("arbitrary data of an event of stream %s", l.ID)
			}
			if i > 0 {
				arb = append(arb, ',')
			}
			arb = appendJSON(arb, []byte(name))
			arb = append(arb, ':')
			arb = appendJSON(arb, []byte(arbitrary[name]))
		}
		arb = append(arb, '}')
	}
	r.add(time, cells, arb)
	return nil
}

func cellOf(v any, t streamdef.Type) (Cell, error) {
	switch x := v.(type) {
	case nil:
		return Cell{Null: true}, nil
	case int32:
		if t == streamdef.Int {
			return Cell{Bits: uint64(uint32(x))}, nil
		}
	case int64:
		if t == streamdef.Long {
			return Cell{Bits: uint64(x)}, nil
		}
	case float32:
		if t == streamdef.Float {
			return Cell{Bits: math.Float64bits(float64(x))}, nil
		}
	case float64:
		if t == streamdef.Double {
			return Cell{Bits: math.Float64bits(x)}, nil
		}
	case bool:
		if t == streamdef.Bool {
			if x {
				return Cell{Bits: 1}, nil
			}
			return Cell{}, nil
		}
	case string:
		if t == streamdef.String {
			if !utf8.ValidString(x) {
				return Cell{}, fmt.Errorf("the string is not UTF-8")
			}
			return Cell{Text: []byte(x)}, nil
		}
	}
	return Cell{}, fmt.Errorf("a %T where a value of type %s should be", v, t)
}

// Parts encodes all events, appended to parts, as frames of one bundle.
func (r *Rows) Parts(stamp Stamp, parts []Part) ([]Part, error) {
	first := len(parts)
	if r.Len() == 0 {
		return parts, nil
	}
	parts, err := r.parts(0, r.Len(), parts)
	if err == nil {
		err = seal(parts[first:], stamp)
	}
	if err != nil {
		FreeParts(parts[first:])
		return parts[:first], err
	}
	return parts, nil
}

// parts encodes the rows of [from, to) without sealing.
func (r *Rows) parts(from, to int, parts []Part) ([]Part, error) {
	part, err := r.encode(from, to)
	if err != nil {
		return parts, err
	}
	if len(part.Frame) <= frame.MaxSize {
		return append(parts, part), nil
	}
	FreeParts([]Part{part})
	if to-from == 1 {
		return parts, ErrEventTooLarge.New("an event of stream %s", r.layout.ID)
	}
	half := from + (to-from)/2
	if parts, err = r.parts(from, half, parts); err != nil {
		return parts, err
	}
	return r.parts(half, to, parts)
}

func (r *Rows) encode(from, to int) (Part, error) {
	l := r.layout
	width := r.width()
	var w writer
	w.begin(l, to-from, frame.HeaderSize+len(l.head)+(to-from)*(16+12*width)+24*l.columns)
	w.noNulls()
	out := w.grow(8 * w.rows)
	for i := range w.rows {
		binary.LittleEndian.PutUint64(out[8*i:], uint64(r.times[from+i]))
	}
	w.buffer(len(out))
	column := 0
	for i := range l.attrs {
		if i == l.timeAttr {
			continue
		}
		at := func(row int) *Cell { return &r.cells[(from+row)*width+column] }
		if err := w.cells(&l.attrs[i], at); err != nil {
			w.abandon()
			return Part{}, err
		}
		column++
	}
	if !r.hasArb {
		w.allNull()
		return w.finish(), nil
	}
	arb := func(row int) *Cell { return &Cell{Text: r.arb[from+row], Null: r.arb[from+row] == nil} }
	if err := w.cells(&attribute{name: arbitraryName, typ: streamdef.String}, arb); err != nil {
		w.abandon()
		return Part{}, err
	}
	return w.finish(), nil
}

// cells writes one column of cells.
func (w *writer) cells(a *attribute, at func(row int) *Cell) error {
	nulls := 0
	for i := range w.rows {
		if at(i).Null {
			nulls++
		}
	}
	w.validity(nulls, func(row int) bool { return at(row).Null })
	switch a.typ {
	case streamdef.String:
		return w.textCells(a, at)
	case streamdef.Bool:
		out := w.grow((w.rows + 7) / 8)
		clear(out)
		for i := range w.rows {
			if c := at(i); !c.Null && c.Bits != 0 {
				out[i>>3] |= 1 << (i & 7)
			}
		}
		w.buffer(len(out))
	case streamdef.Int:
		out := w.grow(4 * w.rows)
		for i := range w.rows {
			binary.LittleEndian.PutUint32(out[4*i:], uint32(at(i).Bits))
		}
		w.buffer(len(out))
	case streamdef.Float:
		out := w.grow(4 * w.rows)
		for i := range w.rows {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(float32(math.Float64frombits(at(i).Bits))))
		}
		w.buffer(len(out))
	default:
		out := w.grow(8 * w.rows)
		for i := range w.rows {
			binary.LittleEndian.PutUint64(out[8*i:], at(i).Bits)
		}
		w.buffer(len(out))
	}
	return nil
}

func (w *writer) textCells(a *attribute, at func(row int) *Cell) error {
	start := len(w.buf)
	out := w.grow(4 * (w.rows + 1))
	binary.LittleEndian.PutUint32(out, 0)
	w.buffer(len(out))
	begin := len(w.buf)
	for i := range w.rows {
		if c := at(i); !c.Null {
			if !utf8.Valid(c.Text) {
				return ErrUTF8.New("attribute %s of stream %s", a.name, w.layout.ID)
			}
			copy(w.grow(len(c.Text)), c.Text)
		}
		binary.LittleEndian.PutUint32(w.buf[start+4*(i+1):], uint32(len(w.buf)-begin))
	}
	w.buffer(len(w.buf) - begin)
	return nil
}

// objectOf makes a JSON object of pairs. A key that stands twice is malformed.
func objectOf(b *Bundle, pairs []pair) ([]byte, error) {
	out := []byte{'{'}
	seen := make(map[string]bool, len(pairs))
	for i, p := range pairs {
		key, value := b.at(p.key), b.at(p.value)
		if !utf8.Valid(key) || !utf8.Valid(value) {
			return nil, ErrUTF8.New("arbitrary data with key %.40q", key)
		}
		if seen[string(key)] {
			return nil, ErrMalformed.New("arbitrary data has key %.40q twice", key)
		}
		seen[string(key)] = true
		if i > 0 {
			out = append(out, ',')
		}
		out = appendJSON(out, key)
		out = append(out, ':')
		out = appendJSON(out, value)
	}
	return append(out, '}'), nil
}

// appendJSON appends a JSON string.
func appendJSON(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, `\u00`...)
			dst = append(dst, '0'+(c>>4), "0123456789abcdef"[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
