package databridge

import (
	"encoding/binary"

	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
)

// nullText is how the protocol writes null, whatever the attribute's type.
const nullText = "_null"

// Finder finds the layout of a stream id; nil is an unknown stream. It must not keep the bytes.
type Finder func(id []byte) *Layout

// Transpose turns the bundle into frames, appended to parts: one for each stream in the order of first appearance, or more
// where a stream's events don't fit in one frame. now, in milliseconds since 1970, is the time of events that have none. On
// an error no part is left: a bundle is taken as a whole or not at all. Errors are ErrMalformed, ErrUnknownStream,
// ErrAmbiguous, ErrUTF8 or ErrEventTooLarge.
func (b *Bundle) Transpose(find Finder, now int64, stamp Stamp, parts []Part) ([]Part, error) {
	if b.Events == 0 {
		if len(b.strings) > 0 {
			return parts, ErrMalformed.New("a bundle of 0 events has %d strings", len(b.strings))
		}
		return parts, nil
	}
	if b.Events > b.Held() {
		return parts, ErrMalformed.New("a bundle of %d events has %d strings and %d longs; each event takes at least one of both", b.Events, len(b.strings), b.longCount())
	}
	first := len(parts)
	l := find(b.at(b.strings[0]))
	if l == nil {
		return parts, ErrUnknownStream.New("stream %.210q", b.at(b.strings[0]))
	}
	var err error
	if b.isUniform(l) {
		parts, err = b.uniform(l, now, 0, b.Events, parts)
	} else {
		parts, err = b.mixed(find, now, parts)
	}
	if err == nil {
		err = seal(parts[first:], stamp)
	}
	if err != nil {
		FreeParts(parts[first:])
		return parts[:first], err
	}
	return parts, nil
}

// Held is how many events the bundle can hold at most, whatever it says: each takes a string and a long.
func (b *Bundle) Held() int { return min(b.Events, len(b.strings), b.longCount()) }

func (b *Bundle) intCount() int    { return int(b.ints.to-b.ints.from) / 4 }
func (b *Bundle) longCount() int   { return int(b.longs.to-b.longs.from) / 8 }
func (b *Bundle) doubleCount() int { return int(b.doubles.to-b.doubles.from) / 8 }
func (b *Bundle) boolCount() int   { return int(b.bools.to - b.bools.from) }

// isUniform reports whether all events are of one stream and every value that is not a string is there: then each list has a
// fixed stride. Marked nulls and arbitrary data take the other path.
func (b *Bundle) isUniform(l *Layout) bool {
	n := b.Events
	if b.hasNull || len(b.arb) > 0 || l.strings*n != len(b.strings) || l.longs*n != b.longCount() || l.ints*n != b.intCount() ||
		l.doubles*n != b.doubleCount() || l.bools*n != b.boolCount() {
		return false
	}
	for i := 0; i < len(b.strings); i += l.strings {
		s := b.strings[i]
		if int(s.to-s.from) != len(l.ID) || string(b.msg[s.from:s.to]) != l.ID {
			return false
		}
	}
	return true
}

// uniform encodes the events of [from, to). It splits them where the frame would be too large.
func (b *Bundle) uniform(l *Layout, now int64, from, to int, parts []Part) ([]Part, error) {
	var w writer
	rows := to - from
	w.begin(l, rows, frame.HeaderSize+len(l.head)+len(b.msg)*rows/b.Events+rows*8+l.columns*24)
	ints, longs, doubles, bools := b.at(b.ints), b.at(b.longs), b.at(b.doubles), b.at(b.bools)
	if l.timeAttr >= 0 {
		w.times(longs, from*l.longs+l.attrs[l.timeAttr].slot, l.longs, now)
	} else {
		w.times(longs, from*l.longs, l.longs, now)
	}
	for i := range l.attrs {
		a := &l.attrs[i]
		switch {
		case i == l.timeAttr:
		case a.typ == streamdef.Int:
			w.int32s(ints, from*l.ints+a.slot, l.ints)
		case a.typ == streamdef.Long:
			w.int64s(longs, from*l.longs+a.slot, l.longs)
		case a.typ == streamdef.Float:
			w.float32s(doubles, from*l.doubles+a.slot, l.doubles)
		case a.typ == streamdef.Double:
			w.int64s(doubles, from*l.doubles+a.slot, l.doubles)
		case a.typ == streamdef.Bool:
			w.boolBits(bools, from*l.bools+a.slot, l.bools)
		default:
			if err := w.texts(b.msg, b.strings, from*l.strings+a.slot, l.strings); err != nil {
				w.abandon()
				return parts, err
			}
		}
	}
	w.allNull()
	if len(w.buf) <= frame.MaxSize {
		return append(parts, w.finish()), nil
	}
	w.abandon()
	if rows == 1 {
		return parts, ErrEventTooLarge.New("an event of stream %s", l.ID)
	}
	half := from + rows/2
	parts, err := b.uniform(l, now, from, half, parts)
	if err != nil {
		return parts, err
	}
	return b.uniform(l, now, half, to, parts)
}

// cursor is a position in the bundle's lists.
type cursor struct{ ints, longs, doubles, bools, strings int }

// list is the cursor's position in the list of a type, and that list's length.
func (b *Bundle) list(c *cursor, t streamdef.Type) (at *int, length int) {
	switch t {
	case streamdef.Int:
		return &c.ints, b.intCount()
	case streamdef.Long:
		return &c.longs, b.longCount()
	case streamdef.Float, streamdef.Double:
		return &c.doubles, b.doubleCount()
	case streamdef.Bool:
		return &c.bools, b.boolCount()
	}
	return &c.strings, len(b.strings)
}

// isNullText reports whether string number i is there and says null.
func (b *Bundle) isNullText(i int) bool {
	return i < len(b.strings) && string(b.at(b.strings[i])) == nullText
}

// marked reports bit k of field 101.
func (b *Bundle) marked(k int) bool {
	at := int(b.nulls.from) + k>>3
	return at < int(b.nulls.to) && b.msg[at]&(1<<(k&7)) != 0
}

// nullness says of the k-th attribute of the bundle, which is no string, whether it is null.
type nullness func(k int) bool

// mixed encodes a bundle of several streams, with nulls in attributes that are no strings, or with arbitrary data.
func (b *Bundle) mixed(find Finder, now int64, parts []Part) ([]Part, error) {
	var nulls nullness
	if b.hasNull {
		nulls = b.marked
	} else if err := b.walk(find, func(int) bool { return false }, nil); err != nil {
		found, solveErr := b.solve(find)
		if solveErr != nil {
			return parts, solveErr
		}
		if found == nil {
			return parts, err // what is wrong if no value is null
		}
		nulls = found
	} else {
		nulls = func(int) bool { return false }
	}
	arb, err := b.arbitraryOf()
	if err != nil {
		return parts, err
	}
	var groups []*Rows
	err = b.walk(find, nulls, func(event int, l *Layout, time int64, cells []Cell) {
		var g *Rows
		for _, have := range groups {
			if have.layout == l {
				g = have
			}
		}
		if g == nil {
			g = NewRows(l)
			groups = append(groups, g)
		}
		if time == 0 {
			time = now
		}
		var text []byte
		if arb != nil {
			text = arb[event]
		}
		g.add(time, cells, text)
	})
	if err != nil {
		return parts, err
	}
	for _, g := range groups {
		if parts, err = g.parts(0, len(g.times), parts); err != nil {
			return parts, err
		}
	}
	return parts, nil
}

// walk goes through all events. visit may be nil; its cells are valid during the call.
func (b *Bundle) walk(find Finder, isNull nullness, visit func(event int, l *Layout, time int64, cells []Cell)) error {
	var c cursor
	k := 0
	for event := range b.Events {
		if c.strings >= len(b.strings) {
			return ErrMalformed.New("the list of strings ends before event %d of %d", event+1, b.Events)
		}
		id := b.at(b.strings[c.strings])
		l := find(id)
		if l == nil {
			return ErrUnknownStream.New("event %d of %d: stream %.210q", event+1, b.Events, id)
		}
		c.strings++
		if c.longs >= b.longCount() {
			return ErrMalformed.New("the list of longs ends before the time of event %d of %d", event+1, b.Events)
		}
		time := int64(binary.BigEndian.Uint64(b.at(b.longs)[8*c.longs:]))
		c.longs++
		b.cells = b.cells[:0]
		for i := range l.attrs {
			cell, err := b.cell(&c, &l.attrs[i], isNull, k)
			if err != nil {
				return ErrMalformed.New("event %d of %d, stream %s: the list of %s ends before attribute %s", event+1, b.Events, l.ID, listName(l.attrs[i].typ), l.attrs[i].name)
			}
			k++
			if i == l.timeAttr {
				if !cell.Null {
					time = int64(cell.Bits)
				}
				continue
			}
			if visit != nil {
				b.cells = append(b.cells, cell)
			}
		}
		if visit != nil {
			visit(event, l, time, b.cells)
		}
	}
	return b.allUsed(&c)
}

func listName(t streamdef.Type) string {
	if t == streamdef.Float {
		t = streamdef.Double
	}
	return t.String() + "s"
}

func (b *Bundle) allUsed(c *cursor) error {
	for t := streamdef.Int; t <= streamdef.String; t++ {
		if at, n := b.list(c, t); *at != n {
			return ErrMalformed.New("the list of %s has %d elements, %d events take %d", listName(t), n, b.Events, *at)
		}
	}
	return nil
}

// cell takes the next attribute. Its only error is that a list ended.
func (b *Bundle) cell(c *cursor, a *attribute, isNull nullness, k int) (Cell, error) {
	if a.typ == streamdef.String {
		if c.strings >= len(b.strings) {
			return Cell{}, ErrMalformed
		}
		text := b.at(b.strings[c.strings])
		null := string(text) == nullText
		if b.hasNull {
			null = isNull(k)
		}
		c.strings++
		return Cell{Text: text, Null: null}, nil
	}
	if isNull(k) {
		if !b.isNullText(c.strings) {
			return Cell{}, ErrMalformed
		}
		c.strings++
		return Cell{Null: true}, nil
	}
	at, n := b.list(c, a.typ)
	if *at >= n {
		return Cell{}, ErrMalformed
	}
	i := *at
	*at++
	switch a.typ {
	case streamdef.Int:
		return Cell{Bits: uint64(binary.BigEndian.Uint32(b.at(b.ints)[4*i:]))}, nil
	case streamdef.Long:
		return Cell{Bits: binary.BigEndian.Uint64(b.at(b.longs)[8*i:])}, nil
	case streamdef.Bool:
		return Cell{Bits: uint64(b.at(b.bools)[i])}, nil
	}
	return Cell{Bits: binary.BigEndian.Uint64(b.at(b.doubles)[8*i:])}, nil
}

// arbitraryOf makes each event's arbitrary data a JSON object; nil if no event has any.
func (b *Bundle) arbitraryOf() ([][]byte, error) {
	if len(b.arb) == 0 {
		return nil, nil
	}
	of := make([][]byte, b.Events)
	for _, a := range b.arb {
		if int(a.event) >= b.Events {
			return nil, ErrMalformed.New("arbitrary data of event %d in a bundle of %d events", a.event, b.Events)
		}
		if of[a.event] != nil {
			return nil, ErrMalformed.New("arbitrary data of event %d stands twice", a.event)
		}
		text, err := objectOf(b, b.pairs[a.first:a.last])
		if err != nil {
			return nil, err
		}
		of[a.event] = text
	}
	return of, nil
}
