// Package column is numbers in row order: frame of reference per 1,024 rows, with the least and the greatest value of each.
// It must not know what the numbers stand for; floats come as integers of the same order.
package column

import (
	"encoding/binary"
	"math"

	"carbonado.dev/carbonado/components/indexing/codec"
)

// Version of the section.
const Version = 1

// BlockRows is the number of rows in a block.
const BlockRows = 1024

const (
	entrySize = 24
	tailSize  = 16

	flagAscending = 1
	flagComplete  = 2
)

// Writer takes one value per row. Write errors are the output's to keep. Not safe for concurrent use.
type Writer struct {
	out     interface{ Write(p []byte) (int, error) }
	vals    [BlockRows]int64
	present [BlockRows / 64]uint64
	n       int
	rows    uint32
	offset  uint64
	table   []byte
	bits    []byte
	buf     []byte
	last    int64
	flags   uint32
}

// NewWriter writes a column to out, the section it is in.
func NewWriter(out interface{ Write(p []byte) (int, error) }) *Writer {
	return &Writer{out: out, last: math.MinInt64, flags: flagAscending | flagComplete}
}

// Add appends a row's value.
func (w *Writer) Add(v int64) {
	if v < w.last {
		w.flags &^= flagAscending
	}
	w.last = v
	w.present[w.n>>6] |= 1 << (w.n & 63)
	w.vals[w.n] = v
	w.step()
}

// Skip appends a row without a value.
func (w *Writer) Skip() {
	w.flags &^= flagComplete | flagAscending
	w.vals[w.n] = 0
	w.step()
}

func (w *Writer) step() {
	if w.n++; w.n == BlockRows {
		w.flush()
	}
}

func (w *Writer) flush() {
	lo, hi, any := int64(math.MaxInt64), int64(math.MinInt64), false
	for i, v := range w.vals[:w.n] {
		if w.present[i>>6]>>(i&63)&1 != 0 {
			lo, hi, any = min(lo, v), max(hi, v), true
		}
	}
	width := byte(0)
	if any {
		width = widthOf(uint64(hi) - uint64(lo))
	}
	w.table = binary.LittleEndian.AppendUint64(w.table, uint64(lo))
	w.table = binary.LittleEndian.AppendUint64(w.table, uint64(hi))
	w.table = binary.LittleEndian.AppendUint64(w.table, w.offset<<8|uint64(width))
	w.buf = w.buf[:0]
	for i, v := range w.vals[:w.n] {
		d := uint64(0)
		if w.present[i>>6]>>(i&63)&1 != 0 {
			d = uint64(v) - uint64(lo)
		}
		switch width {
		case 1:
			w.buf = append(w.buf, byte(d))
		case 2:
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(d))
		case 4:
			w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(d))
		case 8:
			w.buf = binary.LittleEndian.AppendUint64(w.buf, d)
		}
	}
	_, _ = w.out.Write(w.buf)
	for _, b := range w.present {
		w.bits = binary.LittleEndian.AppendUint64(w.bits, b)
	}
	w.offset += uint64(len(w.buf))
	w.rows += uint32(w.n)
	w.n, w.present = 0, [BlockRows / 64]uint64{}
}

// Finish writes the table of blocks and, unless every row has a value, which have.
func (w *Writer) Finish() {
	if w.n > 0 {
		w.flush()
	}
	if w.flags&flagComplete == 0 {
		_, _ = w.out.Write(w.bits)
	}
	t := binary.LittleEndian.AppendUint32(w.table, w.rows)
	t = binary.LittleEndian.AppendUint32(t, uint32(len(w.table)/entrySize))
	t = binary.LittleEndian.AppendUint32(t, w.flags)
	t = binary.LittleEndian.AppendUint32(t, 0)
	_, _ = w.out.Write(t)
}

func widthOf(span uint64) byte {
	switch {
	case span == 0:
		return 0
	case span < 1<<8:
		return 1
	case span < 1<<16:
		return 2
	case span < 1<<32:
		return 4
	}
	return 8
}

// Column reads what a Writer wrote. Safe for concurrent use.
type Column struct {
	data   []byte
	bits   []byte
	table  []byte
	rows   int
	blocks int
	flags  uint32
}

// Open checks the section's structure, so that later reads stay inside it.
func Open(p []byte) (*Column, error) {
	if len(p) < tailSize {
		return nil, codec.Damaged("column of %d bytes", len(p))
	}
	t := p[len(p)-tailSize:]
	c := &Column{rows: int(binary.LittleEndian.Uint32(t)), blocks: int(binary.LittleEndian.Uint32(t[4:])), flags: binary.LittleEndian.Uint32(t[8:])}
	p = p[:len(p)-tailSize]
	if c.blocks != (c.rows+BlockRows-1)/BlockRows || len(p) < c.blocks*entrySize {
		return nil, codec.Damaged("column of %d blocks for %d rows", c.blocks, c.rows)
	}
	c.table = p[len(p)-c.blocks*entrySize:]
	p = p[:len(p)-c.blocks*entrySize]
	if c.flags&flagComplete == 0 {
		n := c.blocks * BlockRows / 8
		if len(p) < n {
			return nil, codec.Damaged("column without its bits")
		}
		c.bits = p[len(p)-n:]
		p = p[:len(p)-n]
	}
	c.data = p
	for b := range c.blocks {
		off, width := c.place(b)
		if width > 8 || width == 3 || width > 4 && width < 8 || off > uint64(len(p)) || uint64(c.blockRows(b))*width > uint64(len(p))-off {
			return nil, codec.Damaged("column block %d out of bounds", b)
		}
	}
	return c, nil
}

func (c *Column) place(b int) (off, width uint64) {
	x := binary.LittleEndian.Uint64(c.table[b*entrySize+16:])
	return x >> 8, x & 0xff
}

func (c *Column) blockRows(b int) int { return min(c.rows-b*BlockRows, BlockRows) }

// Rows is the number of rows.
func (c *Column) Rows() int { return c.rows }

// Ascending: every row has a value, none is below the one before.
func (c *Column) Ascending() bool { return c.flags&flagAscending != 0 }

// Complete: every row has a value.
func (c *Column) Complete() bool { return c.bits == nil }

// Has tells whether a row has a value.
func (c *Column) Has(row uint32) bool {
	return c.bits == nil || c.bits[row>>3]>>(row&7)&1 != 0
}

// Bounds are the least and the greatest value in a block; lo > hi if it has none.
func (c *Column) Bounds(block int) (lo, hi int64) {
	e := c.table[block*entrySize:]
	return int64(binary.LittleEndian.Uint64(e)), int64(binary.LittleEndian.Uint64(e[8:]))
}

// MinMax are the column's bounds; lo > hi if it has no value.
func (c *Column) MinMax() (lo, hi int64) {
	lo, hi = math.MaxInt64, math.MinInt64
	for b := range c.blocks {
		l, h := c.Bounds(b)
		lo, hi = min(lo, l), max(hi, h)
	}
	return lo, hi
}

// Get is a row's value, which is of no meaning where Has is false. row must be below Rows.
func (c *Column) Get(row uint32) int64 {
	b, r := int(row/BlockRows), uint64(row%BlockRows)
	lo := int64(binary.LittleEndian.Uint64(c.table[b*entrySize:]))
	off, width := c.place(b)
	switch width {
	case 1:
		return int64(uint64(lo) + uint64(c.data[off+r]))
	case 2:
		return int64(uint64(lo) + uint64(binary.LittleEndian.Uint16(c.data[off+2*r:])))
	case 4:
		return int64(uint64(lo) + uint64(binary.LittleEndian.Uint32(c.data[off+4*r:])))
	case 8:
		return int64(uint64(lo) + binary.LittleEndian.Uint64(c.data[off+8*r:]))
	}
	return lo
}

// Match sets in bits, which has BlockRows of them, the rows of a block whose value lies in [lo, hi]; it clears the others and
// returns how many are set.
func (c *Column) Match(block int, lo, hi int64, bits *[BlockRows / 64]uint64) int {
	*bits = [BlockRows / 64]uint64{}
	least, greatest := c.Bounds(block)
	if greatest < lo || least > hi || least > greatest {
		return 0
	}
	n := c.blockRows(block)
	switch {
	case lo <= least && greatest <= hi:
		for i := range bits {
			if n >= 64*(i+1) {
				bits[i] = ^uint64(0)
			} else if n > 64*i {
				bits[i] = 1<<(n-64*i) - 1
			}
		}
	default:
		c.compare(block, n, lo, hi, bits)
	}
	count := 0
	for i := range bits {
		if c.bits != nil {
			bits[i] &= binary.LittleEndian.Uint64(c.bits[block*BlockRows/8+8*i:])
		}
		count += popcount(bits[i])
	}
	return count
}

func (c *Column) compare(block, n int, lo, hi int64, bits *[BlockRows / 64]uint64) {
	least, greatest := c.Bounds(block)
	// In terms of differences to the least value: d in [from, from+span].
	from := uint64(max(lo, least)) - uint64(least)
	span := uint64(min(hi, greatest)) - uint64(least) - from
	off, width := c.place(block)
	p := c.data[off:]
	for i := range n {
		var d uint64
		switch width {
		case 1:
			d = uint64(p[i])
		case 2:
			d = uint64(binary.LittleEndian.Uint16(p[2*i:]))
		case 4:
			d = uint64(binary.LittleEndian.Uint32(p[4*i:]))
		case 8:
			d = binary.LittleEndian.Uint64(p[8*i:])
		}
		if d-from <= span {
			bits[i>>6] |= 1 << (i & 63)
		}
	}
}

// Find is the row that holds v, if any: by halving where the column ascends, else in the blocks whose bounds admit it. Where
// v occurs more than once it is the last row.
func (c *Column) Find(v int64) (row uint32, ok bool) {
	if c.Ascending() {
		lo, hi := 0, c.rows
		for lo < hi {
			mid := int(uint(lo+hi) >> 1)
			if c.Get(uint32(mid)) <= v {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo == 0 || c.Get(uint32(lo-1)) != v {
			return 0, false
		}
		return uint32(lo - 1), true
	}
	var bits [BlockRows / 64]uint64
	for b := c.blocks - 1; b >= 0; b-- {
		if c.Match(b, v, v, &bits) == 0 {
			continue
		}
		for i := len(bits) - 1; i >= 0; i-- {
			if bits[i] != 0 {
				return uint32(b*BlockRows + 64*i + highest(bits[i])), true
			}
		}
	}
	return 0, false
}
