package agent

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"carbonado.dev/sdk/telemetry"
)

// nullText is how the protocol writes null.
const nullText = "_null"

// Thrift's type numbers, and the bundle's fields as in sdk/databridge/idl.
const (
	stop, tBool, tDouble, tI32, tI64, tString, tStruct, tMap, tList = 0, 2, 4, 8, 10, 11, 12, 13, 15

	fEvents, fInts, fLongs, fDoubles, fBools, fStrings, fArbitrary, fID, fNulls = 2, 3, 4, 5, 6, 7, 8, 100, 101
)

// check refuses what can't be encoded, before the event is queued.
func check(e *Event) error {
	if e.Stream == "" || !utf8.ValidString(e.Stream) {
		return ErrEvent.New("an event without a stream id")
	}
	for i, v := range e.Values {
		switch x := v.(type) {
		case nil, int32, int64, float32, float64, bool:
		case string:
			if !utf8.ValidString(x) {
				return ErrEvent.New("value %d of an event of stream %s is not UTF-8", i+1, e.Stream)
			}
		default:
			return ErrEvent.New("value %d of an event of stream %s is a %T", i+1, e.Stream, v)
		}
	}
	for k, v := range e.Arbitrary {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return ErrEvent.New("arbitrary data of an event of stream %s is not UTF-8", e.Stream)
		}
	}
	return nil
}

// encoder turns events into a bundle's fields behind the session id. It keeps its buffers.
type encoder struct {
	ints, longs, doubles, bools, strings []byte
	nInts, nLongs, nDoubles, nBools, nS  int
	nulls                                []byte
	values                               int
	mark                                 bool // "_null" alone would not say which value is null
	out                                  []byte
}

func (x *encoder) text(s string) {
	x.strings = append(binary.BigEndian.AppendUint32(x.strings, uint32(len(s))), s...)
	x.nS++
}

func (x *encoder) value(v any) {
	k := x.values
	x.values++
	if k%8 == 0 {
		x.nulls = append(x.nulls, 0)
	}
	switch v := v.(type) {
	case nil:
		x.nulls[k/8] |= 1 << (k % 8)
		x.mark = true // a string's null is marked too: the bitmap, where present, says all
		x.text(nullText)
	case int32:
		x.ints = binary.BigEndian.AppendUint32(x.ints, uint32(v))
		x.nInts++
	case int64:
		x.longs = binary.BigEndian.AppendUint64(x.longs, uint64(v))
		x.nLongs++
	case float32:
		x.doubles = binary.BigEndian.AppendUint64(x.doubles, math.Float64bits(float64(v)))
		x.nDoubles++
	case float64:
		x.doubles = binary.BigEndian.AppendUint64(x.doubles, math.Float64bits(v))
		x.nDoubles++
	case bool:
		b := byte(0)
		if v {
			b = 1
		}
		x.bools = append(x.bools, b)
		x.nBools++
	case string:
		if v == nullText {
			x.mark = true
		}
		x.text(v)
	}
}

// encode answers the bundle's fields from eventNum on, with the closing stops of bundle and arguments. The bytes are valid until the
// next call.
func (x *encoder) encode(events []Event, source [16]byte, counter uint64, trace telemetry.Trace) []byte {
	x.ints, x.longs, x.doubles, x.bools, x.strings, x.nulls = x.ints[:0], x.longs[:0], x.doubles[:0], x.bools[:0], x.strings[:0], x.nulls[:0]
	x.nInts, x.nLongs, x.nDoubles, x.nBools, x.nS, x.values, x.mark = 0, 0, 0, 0, 0, 0, false
	arbitrary := 0
	for i := range events {
		e := &events[i]
		x.text(e.Stream)
		x.longs = binary.BigEndian.AppendUint64(x.longs, uint64(e.Time))
		x.nLongs++
		for _, v := range e.Values {
			x.value(v)
		}
		if len(e.Arbitrary) > 0 {
			arbitrary++
		}
	}
	o := field(x.out[:0], tI32, fEvents)
	o = binary.BigEndian.AppendUint32(o, uint32(len(events)))
	o = list(o, fInts, tI32, x.nInts, x.ints)
	o = list(o, fLongs, tI64, x.nLongs, x.longs)
	o = list(o, fDoubles, tDouble, x.nDoubles, x.doubles)
	o = list(o, fBools, tBool, x.nBools, x.bools)
	o = list(o, fStrings, tString, x.nS, x.strings)
	if arbitrary > 0 {
		o = append(field(o, tMap, fArbitrary), tI32, tMap)
		o = binary.BigEndian.AppendUint32(o, uint32(arbitrary))
		for i := range events {
			if len(events[i].Arbitrary) > 0 {
				o = binary.BigEndian.AppendUint32(o, uint32(i))
				o = stringMap(o, events[i].Arbitrary)
			}
		}
	}
	o = field(o, tStruct, fID)
	o = field(o, tString, 1)
	o = append(binary.BigEndian.AppendUint32(o, uint32(len(source))), source[:]...)
	o = field(o, tI64, 2)
	o = binary.BigEndian.AppendUint64(o, counter)
	if trace != (telemetry.Trace{}) {
		o = field(o, tString, 3)
		o = append(binary.BigEndian.AppendUint32(o, uint32(len(trace))), trace[:]...)
	}
	o = append(o, stop)
	if x.mark {
		o = field(o, tString, fNulls)
		o = append(binary.BigEndian.AppendUint32(o, uint32(len(x.nulls))), x.nulls...)
	}
	x.out = append(o, stop, stop)
	return x.out
}

func field(b []byte, typ byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, typ), id)
}

func list(b []byte, id uint16, elem byte, n int, data []byte) []byte {
	if n == 0 {
		return b
	}
	b = append(field(b, tList, id), elem)
	return append(binary.BigEndian.AppendUint32(b, uint32(n)), data...)
}

func stringMap(b []byte, m map[string]string) []byte {
	b = append(b, tString, tString)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
	for k, v := range m {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(k))), k...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return b
}
