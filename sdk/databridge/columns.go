package databridge

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
)

// writer appends one record batch behind the gap for the frame's header.
type writer struct {
	layout *Layout
	buf    []byte
	base   int // where the batch's buffers begin
	node   int // places in the head of the next column's numbers
	bufat  int
	rows   int
}

// begin starts a batch; size is an estimate in bytes.
func (w *writer) begin(l *Layout, rows, size int) {
	w.layout, w.rows = l, rows
	w.base = frame.HeaderSize + len(l.head)
	w.buf = link.Alloc(max(size, w.base))[:frame.HeaderSize]
	w.buf = append(w.buf, l.head...)
	w.node = frame.HeaderSize + l.atNodes
	w.bufat = frame.HeaderSize + l.atBufs
}

// finish fills in the sizes and hands the buffer over.
func (w *writer) finish() Part {
	binary.LittleEndian.PutUint64(w.buf[frame.HeaderSize+w.layout.atRows:], uint64(w.rows))
	binary.LittleEndian.PutUint64(w.buf[frame.HeaderSize+w.layout.atBytes:], uint64(len(w.buf)-w.base))
	p := Part{Layout: w.layout, Rows: w.rows, Frame: w.buf}
	w.buf = nil
	return p
}

// abandon gives the buffer back.
func (w *writer) abandon() {
	link.Free(w.buf)
	w.buf = nil
}

// grow appends n bytes of arbitrary content and answers them.
func (w *writer) grow(n int) []byte {
	at := len(w.buf)
	if at+n <= cap(w.buf) {
		w.buf = w.buf[:at+n]
	} else {
		next := link.Alloc(max(at+n, 2*cap(w.buf)))[:at+n]
		copy(next, w.buf)
		link.Free(w.buf)
		w.buf = next
	}
	return w.buf[at : at+n : at+n]
}

func (w *writer) column(nulls int) {
	binary.LittleEndian.PutUint64(w.buf[w.node:], uint64(w.rows))
	binary.LittleEndian.PutUint64(w.buf[w.node+8:], uint64(nulls))
	w.node += 16
}

// buffer writes the numbers of a buffer of n bytes that ends the buf, and pads it to 8 bytes.
func (w *writer) buffer(n int) {
	binary.LittleEndian.PutUint64(w.buf[w.bufat:], uint64(len(w.buf)-n-w.base))
	binary.LittleEndian.PutUint64(w.buf[w.bufat+8:], uint64(n))
	w.bufat += 16
	if odd := len(w.buf) % 8; odd != 0 {
		clear(w.grow(8 - odd))
	}
}

// validity writes the bitmap of a column with nulls. Without nulls the buffer is empty.
func (w *writer) validity(nulls int, isNull func(row int) bool) {
	w.column(nulls)
	if nulls == 0 {
		w.buffer(0)
		return
	}
	bits := w.grow((w.rows + 7) / 8)
	clear(bits)
	for i := range w.rows {
		if !isNull(i) {
			bits[i>>3] |= 1 << (i & 7)
		}
	}
	w.buffer(len(bits))
}

// noNulls starts a column without nulls.
func (w *writer) noNulls() {
	w.column(0)
	w.buffer(0)
}

// allNull writes a text column that has no value in any row.
func (w *writer) allNull() {
	w.column(w.rows)
	n := (w.rows + 7) / 8
	clear(w.grow(n))
	w.buffer(n)
	n = 4 * (w.rows + 1)
	clear(w.grow(n))
	w.buffer(n)
	w.buffer(0)
}

// The functions below take every stride-th element of a list in wire order, from element first on.

func (w *writer) int32s(list []byte, first, stride int) {
	w.noNulls()
	out := w.grow(4 * w.rows)
	for i, at := 0, 4*first; i < len(out); i, at = i+4, at+4*stride {
		binary.LittleEndian.PutUint32(out[i:], binary.BigEndian.Uint32(list[at:]))
	}
	w.buffer(len(out))
}

func (w *writer) int64s(list []byte, first, stride int) {
	w.noNulls()
	out := w.grow(8 * w.rows)
	for i, at := 0, 8*first; i < len(out); i, at = i+8, at+8*stride {
		binary.LittleEndian.PutUint64(out[i:], binary.BigEndian.Uint64(list[at:]))
	}
	w.buffer(len(out))
}

// times is int64s where 0 means now.
func (w *writer) times(list []byte, first, stride int, now int64) {
	w.noNulls()
	out := w.grow(8 * w.rows)
	for i, at := 0, 8*first; i < len(out); i, at = i+8, at+8*stride {
		t := binary.BigEndian.Uint64(list[at:])
		if t == 0 {
			t = uint64(now)
		}
		binary.LittleEndian.PutUint64(out[i:], t)
	}
	w.buffer(len(out))
}

func (w *writer) float32s(list []byte, first, stride int) {
	w.noNulls()
	out := w.grow(4 * w.rows)
	for i, at := 0, 8*first; i < len(out); i, at = i+4, at+8*stride {
		f := float32(math.Float64frombits(binary.BigEndian.Uint64(list[at:])))
		binary.LittleEndian.PutUint32(out[i:], math.Float32bits(f))
	}
	w.buffer(len(out))
}

func (w *writer) boolBits(list []byte, first, stride int) {
	w.noNulls()
	out := w.grow((w.rows + 7) / 8)
	clear(out)
	for i, at := 0, first; i < w.rows; i, at = i+1, at+stride {
		if list[at] != 0 {
			out[i>>3] |= 1 << (i & 7)
		}
	}
	w.buffer(len(out))
}

// texts writes a text column; "_null" is null.
func (w *writer) texts(msg []byte, list []span, first, stride int) error {
	size, nulls := 0, 0
	for i := 0; i < w.rows; i++ {
		s := list[first+i*stride]
		n := int(s.to - s.from)
		if n == len(nullText) && string(msg[s.from:s.to]) == nullText {
			nulls++
			continue
		}
		size += n
	}
	if nulls == 0 {
		w.noNulls()
	} else {
		w.validity(nulls, func(row int) bool {
			s := list[first+row*stride]
			return string(msg[s.from:s.to]) == nullText
		})
	}
	offsets := w.grow(4 * (w.rows + 1))
	w.buffer(len(offsets))
	at := len(w.buf) - (len(offsets)+7)&^7
	data := w.grow(size)
	offsets = w.buf[at : at+4*(w.rows+1)]
	binary.LittleEndian.PutUint32(offsets, 0)
	n := 0
	for i := 0; i < w.rows; i++ {
		s := list[first+i*stride]
		if nulls == 0 || string(msg[s.from:s.to]) != nullText {
			n += copy(data[n:], msg[s.from:s.to])
		}
		binary.LittleEndian.PutUint32(offsets[4*i+4:], uint32(n))
	}
	if !ascii(data) && !eachValid(offsets, data) {
		return ErrUTF8.New("attribute %s", w.name(first))
	}
	w.buffer(size)
	return nil
}

// name finds the string attribute with a slot, for messages.
func (w *writer) name(slot int) string {
	for _, a := range w.layout.attrs {
		if w.layout.counter(a.typ) == &w.layout.strings && a.slot == slot%w.layout.strings {
			return a.name + " of stream " + w.layout.ID
		}
	}
	return "of stream " + w.layout.ID
}

// ascii reports whether all bytes are below 128.
func ascii(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// eachValid reports whether each text between two offsets is UTF-8.
func eachValid(offsets, data []byte) bool {
	from := uint32(0)
	for o := offsets[4:]; len(o) > 0; o = o[4:] {
		to := binary.LittleEndian.Uint32(o)
		if !utf8.Valid(data[from:to]) {
			return false
		}
		from = to
	}
	return true
}
