package databridge

import (
	"carbonado.dev/sdk/frame"
)

// Thrift's type numbers.
const (
	typeStop   = 0
	typeBool   = 2
	typeByte   = 3
	typeDouble = 4
	typeI16    = 6
	typeI32    = 8
	typeI64    = 10
	typeString = 11
	typeStruct = 12
	typeMap    = 13
	typeSet    = 14
	typeList   = 15
)

// Field numbers of the bundle.
const (
	fieldSession   = 1
	fieldEvents    = 2
	fieldInts      = 3
	fieldLongs     = 4
	fieldDoubles   = 5
	fieldBools     = 6
	fieldStrings   = 7
	fieldArbitrary = 8
	fieldBundleID  = 100
	fieldNulls     = 101
)

// maxDepth bounds structs, maps and lists within unknown fields.
const maxDepth = 16

// keptScratch is how many elements of scratch a connection keeps between messages.
const keptScratch = 64 << 10

// Bundle is one published bundle as it lies in the connection's buffer. It is valid until Handler.Publish returns, and not
// safe for concurrent use.
type Bundle struct {
	// Events is the number of events that the agent says are in it.
	Events int
	// Source and Counter identify the bundle if HasID (field 100).
	Source  frame.Source
	Counter uint64
	HasID   bool
	// Trace is the trace that the agent sends its events under; zero is none. It is valid if HasID.
	Trace frame.Trace

	msg     []byte // the message; spans index it
	session span
	ints    span // elements as on the wire: big-endian
	longs   span
	doubles span
	bools   span
	strings []span
	arb     []arbitrary
	pairs   []pair
	nulls   span
	hasNull bool

	cells []Cell // scratch of the slow path
}

// arbitrary is the map of one event: pairs from first to last.
type arbitrary struct {
	event       int32
	first, last int
}

type pair struct{ key, value span }

// Session is the session id; it aliases the buffer.
func (b *Bundle) Session() []byte { return b.at(b.session) }

// Size in bytes on the wire.
func (b *Bundle) Size() int { return len(b.msg) }

func (b *Bundle) at(s span) []byte { return b.msg[s.from:s.to] }

func (b *Bundle) reset() {
	if cap(b.strings)+cap(b.arb)+cap(b.pairs) > keptScratch {
		b.strings, b.arb, b.pairs = nil, nil, nil
	}
	clear(b.cells[:cap(b.cells)]) // they refer to the last message
	*b = Bundle{strings: b.strings[:0], arb: b.arb[:0], pairs: b.pairs[:0], cells: b.cells[:0]}
}

// read reads the arguments of a publish call: struct {1: bundle}. sessionSeen is called once the session is known, and may
// raise the input's limit; before, a stranger's message can't make the buffer grow.
func (b *Bundle) read(in *input, sessionSeen func(id []byte)) error {
	b.reset()
	found := false
	for {
		typ, id, err := in.field()
		if err != nil {
			return err
		}
		if typ == typeStop {
			break
		}
		if id != 1 {
			if err := in.skip(typ, 0); err != nil {
				return err
			}
			continue
		}
		if typ != typeStruct || found {
			return ErrMalformed.New("argument 1 of publish has type %d", typ)
		}
		found = true
		if err := b.readStruct(in, sessionSeen); err != nil {
			return err
		}
	}
	if !found {
		return ErrMalformed.New("publish without a bundle")
	}
	b.msg = in.message()
	return nil
}

func (b *Bundle) readStruct(in *input, sessionSeen func(id []byte)) error {
	for {
		typ, id, err := in.field()
		if err != nil {
			return err
		}
		if typ == typeStop {
			return nil
		}
		want, known := bundleTypes[id]
		if known && typ != want {
			return ErrMalformed.New("field %d of the bundle has type %d instead of %d", id, typ, want)
		}
		switch id {
		case fieldSession:
			if b.session, err = in.text(); err == nil {
				sessionSeen(in.buf[in.start+int(b.session.from) : in.start+int(b.session.to)])
			}
		case fieldEvents:
			var n int32
			if n, err = in.i32(); err == nil && n < 0 {
				err = ErrMalformed.New("a bundle of %d events", n)
			}
			b.Events = int(n)
		case fieldInts:
			b.ints, err = in.list(typeI32, 4)
		case fieldLongs:
			b.longs, err = in.list(typeI64, 8)
		case fieldDoubles:
			b.doubles, err = in.list(typeDouble, 8)
		case fieldBools:
			b.bools, err = in.list(typeBool, 1)
		case fieldStrings:
			err = b.readStrings(in)
		case fieldArbitrary:
			err = b.readArbitrary(in)
		case fieldBundleID:
			err = b.readID(in)
		case fieldNulls:
			b.nulls, err = in.text()
			b.hasNull = true
		default:
			err = in.skip(typ, 0)
		}
		if err != nil {
			return err
		}
	}
}

var bundleTypes = map[int16]byte{
	fieldSession: typeString, fieldEvents: typeI32, fieldInts: typeList, fieldLongs: typeList, fieldDoubles: typeList,
	fieldBools: typeList, fieldStrings: typeList, fieldArbitrary: typeMap, fieldBundleID: typeStruct, fieldNulls: typeString,
}

func (b *Bundle) readStrings(in *input) error {
	n, err := in.listHead(typeString, 4)
	if err != nil {
		return err
	}
	b.strings = b.strings[:0]
	for range n {
		// The loop is the reader's hottest: both bounds are checked once where the string is in the buffer already.
		if p := in.pos; in.end-p >= 4 {
			size := int(int32(uint32(in.buf[p])<<24 | uint32(in.buf[p+1])<<16 | uint32(in.buf[p+2])<<8 | uint32(in.buf[p+3])))
			if size >= 0 && in.end-p-4 >= size {
				at := p + 4 - in.start
				b.strings = append(b.strings, span{uint32(at), uint32(at + size)})
				in.pos = p + 4 + size
				continue
			}
		}
		s, err := in.text()
		if err != nil {
			return err
		}
		b.strings = append(b.strings, s)
	}
	return nil
}

func (b *Bundle) readArbitrary(in *input) error {
	n, err := in.mapHead(typeI32, typeMap, 4+6)
	if err != nil {
		return err
	}
	for range n {
		event, err := in.i32()
		if err != nil {
			return err
		}
		if event < 0 {
			return ErrMalformed.New("arbitrary data of event %d", event)
		}
		m, err := in.mapHead(typeString, typeString, 8)
		if err != nil {
			return err
		}
		first := len(b.pairs)
		for range m {
			var p pair
			if p.key, err = in.text(); err != nil {
				return err
			}
			if p.value, err = in.text(); err != nil {
				return err
			}
			b.pairs = append(b.pairs, p)
		}
		b.arb = append(b.arb, arbitrary{event, first, len(b.pairs)})
	}
	return nil
}

func (b *Bundle) readID(in *input) error {
	b.Trace = frame.Trace{}
	var source, counter bool
	for {
		typ, id, err := in.field()
		switch {
		case err != nil:
			return err
		case typ == typeStop:
			b.HasID = source && counter && b.Counter > 0
			return nil
		case id == 1 && typ == typeString:
			s, err := in.text()
			if err != nil {
				return err
			}
			if s.to-s.from != uint32(len(b.Source)) {
				return ErrMalformed.New("a source of %d bytes instead of %d", s.to-s.from, len(b.Source))
			}
			copy(b.Source[:], in.buf[in.start+int(s.from):])
			source = true
		case id == 2 && typ == typeI64:
			n, err := in.i64()
			if err != nil {
				return err
			}
			if n < 0 {
				return ErrMalformed.New("a counter of %d", n)
			}
			b.Counter, counter = uint64(n), true
		case id == 3 && typ == typeString:
			s, err := in.text()
			if err != nil {
				return err
			}
			if s.to-s.from == uint32(len(b.Trace)) { // another length is of another time: no trace
				copy(b.Trace[:], in.buf[in.start+int(s.from):])
			}
		default:
			if err := in.skip(typ, 0); err != nil {
				return err
			}
		}
	}
}

// field takes the head of a struct's next field.
func (in *input) field() (typ byte, id int16, err error) {
	if typ, err = in.u8(); err != nil || typ == typeStop {
		return typ, 0, err
	}
	n, err := in.u16()
	return typ, int16(n), err
}

// listHead takes the head of a list and checks its length against the message's limit: each element takes at least min bytes.
func (in *input) listHead(elem byte, min int) (int, error) {
	typ, err := in.u8()
	if err != nil {
		return 0, err
	}
	n, err := in.i32()
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	if typ != elem {
		return 0, ErrMalformed.New("a list of type %d instead of %d", typ, elem)
	}
	return in.checkCount(n, min)
}

func (in *input) mapHead(key, value byte, min int) (int, error) {
	k, err := in.u8()
	if err != nil {
		return 0, err
	}
	v, err := in.u8()
	if err != nil {
		return 0, err
	}
	n, err := in.i32()
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	if k != key || v != value {
		return 0, ErrMalformed.New("a map of types %d and %d instead of %d and %d", k, v, key, value)
	}
	return in.checkCount(n, min)
}

func (in *input) checkCount(n int32, min int) (int, error) {
	if n < 0 {
		return 0, ErrMalformed.New("a list of length %d", n)
	}
	if left := in.limit - (in.pos - in.start); int64(n)*int64(min) > int64(left) {
		return 0, ErrTooLarge.New("a list of length %d does not fit in the %d bytes that are left", n, left)
	}
	return int(n), nil
}

// list takes a list of fixed-width elements.
func (in *input) list(elem byte, width int) (span, error) {
	n, err := in.listHead(elem, width)
	if err != nil {
		return span{}, err
	}
	return in.bytes(n * width)
}

// skip passes over a value of an unknown field.
func (in *input) skip(typ byte, depth int) error {
	if depth > maxDepth {
		return ErrMalformed.New("values nested deeper than %d", maxDepth)
	}
	width := 0
	switch typ {
	case typeBool, typeByte:
		width = 1
	case typeI16:
		width = 2
	case typeI32:
		width = 4
	case typeI64, typeDouble:
		width = 8
	case typeString:
		_, err := in.text()
		return err
	case typeStruct:
		for {
			t, _, err := in.field()
			if err != nil || t == typeStop {
				return err
			}
			if err := in.skip(t, depth+1); err != nil {
				return err
			}
		}
	case typeMap, typeList, typeSet:
		return in.skipMany(typ, depth)
	default:
		return ErrMalformed.New("a value of unknown type %d", typ)
	}
	_, err := in.bytes(width)
	return err
}

func (in *input) skipMany(typ byte, depth int) error {
	elems := [2]byte{}
	kinds := elems[:1]
	if typ == typeMap {
		kinds = elems[:2]
	}
	var err error
	for i := range kinds {
		if kinds[i], err = in.u8(); err != nil {
			return err
		}
	}
	n, err := in.i32()
	if err != nil {
		return err
	}
	// Each element takes at least a byte of the message, so the limit bounds the loop.
	count, err := in.checkCount(n, 1)
	if err != nil {
		return err
	}
	for range count {
		for _, k := range kinds {
			if err := in.skip(k, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
