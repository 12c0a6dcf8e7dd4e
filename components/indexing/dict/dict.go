// Package dict is the term dictionary of one field: terms in byte order, front-coded in blocks of 32, with an index of the
// blocks' first terms for binary search. It must not know what a term's payload means.
package dict

import (
	"bytes"
	"encoding/binary"
	"io"
	"sort"

	"carbonado.dev/carbonado/components/indexing/codec"
)

// Version of both sections.
const Version = 1

// BlockSize is the number of terms in a block.
const BlockSize = 32

// An index entry is the first term's place in the keys, the block's place in the terms, and the block's base.
const indexEntry = 20

// Writer takes terms in strictly ascending byte order. The caller writes what Terms and Index hold into sections.
type Writer struct {
	terms  io.Writer
	index  []byte
	keys   []byte
	last   []byte
	buf    []byte
	offset uint64
	n      uint32
}

// NewWriter writes blocks to terms as they fill; the index stays in memory (about one byte per term).
func NewWriter(terms io.Writer) *Writer { return &Writer{terms: terms} }

// AtBlockStart tells whether the next term opens a block, whose base it sets.
func (w *Writer) AtBlockStart() bool { return w.n%BlockSize == 0 }

// Len is the number of terms added.
func (w *Writer) Len() uint32 { return w.n }

// Add appends a term. base is kept once per block: of its first term.
func (w *Writer) Add(term []byte, base uint64, payload []byte) {
	shared := 0
	if w.AtBlockStart() {
		w.Flush()
		w.index = binary.LittleEndian.AppendUint32(w.index, uint32(len(w.keys)))
		w.index = binary.LittleEndian.AppendUint64(w.index, w.offset)
		w.index = binary.LittleEndian.AppendUint64(w.index, base)
		w.keys = append(w.keys, term...)
	} else {
		n := min(len(term), len(w.last))
		for shared < n && term[shared] == w.last[shared] {
			shared++
		}
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(shared))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(term)-shared))
	w.buf = append(w.buf, term[shared:]...)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(payload)))
	w.buf = append(w.buf, payload...)
	w.last = append(w.last[:0], term...)
	w.n++
}

// Flush hands the present block to the terms' writer; to be called once at the end. Write errors are the writer's to keep.
func (w *Writer) Flush() {
	if len(w.buf) > 0 {
		_, _ = w.terms.Write(w.buf)
		w.offset += uint64(len(w.buf))
		w.buf = w.buf[:0]
	}
}

// Index returns the section that goes with the terms: count, blocks, entries, keys.
func (w *Writer) Index() []byte {
	p := binary.LittleEndian.AppendUint32(nil, w.n)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(w.index)/indexEntry))
	p = append(p, w.index...)
	return append(p, w.keys...)
}

// Dict reads a dictionary. Safe for concurrent use.
type Dict struct {
	terms  []byte
	index  []byte
	keys   []byte
	n      int
	blocks int
}

// Open takes the two sections.
func Open(terms, index []byte) (*Dict, error) {
	if len(index) < 8 {
		return nil, codec.Damaged("term index of %d bytes", len(index))
	}
	d := &Dict{terms: terms, n: int(binary.LittleEndian.Uint32(index)), blocks: int(binary.LittleEndian.Uint32(index[4:]))}
	if d.blocks != (d.n+BlockSize-1)/BlockSize || len(index)-8 < d.blocks*indexEntry {
		return nil, codec.Damaged("term index of %d blocks for %d terms", d.blocks, d.n)
	}
	d.index = index[8 : 8+d.blocks*indexEntry]
	d.keys = index[8+d.blocks*indexEntry:]
	var key, off uint64
	for b := range d.blocks {
		e := d.index[b*indexEntry:]
		k, o := uint64(binary.LittleEndian.Uint32(e)), binary.LittleEndian.Uint64(e[4:])
		if k < key || k > uint64(len(d.keys)) || o < off || o >= uint64(len(terms)) {
			return nil, codec.Damaged("term block %d out of bounds", b)
		}
		key, off = k, o
	}
	return d, nil
}

// Len is the number of terms.
func (d *Dict) Len() int { return d.n }

func (d *Dict) firstKey(b int) []byte {
	from := binary.LittleEndian.Uint32(d.index[b*indexEntry:])
	to := uint32(len(d.keys))
	if b+1 < d.blocks {
		to = binary.LittleEndian.Uint32(d.index[(b+1)*indexEntry:])
	}
	return d.keys[from:to]
}

// Iterator walks terms in order. What Term and Payload return is valid until the next call. Not safe for concurrent use.
type Iterator struct {
	d       *Dict
	ord     int // of the present term; -1 before the first
	at      int // of the next entry in d.terms
	base    uint64
	term    []byte
	payload []byte
	shared  int
	err     error
}

// Iterate starts before the first term.
func (d *Dict) Iterate() *Iterator { return &Iterator{d: d, ord: -1} }

// Err is set where a walk ended because the bytes make no sense.
func (it *Iterator) Err() error { return it.err }

// Ord is the present term's number.
func (it *Iterator) Ord() int { return it.ord }

// Term is the present term.
func (it *Iterator) Term() []byte { return it.term }

// Shared is how many leading bytes the present term has in common with the one before it in the walk.
func (it *Iterator) Shared() int { return it.shared }

// Payload is what was added with the term, and its block's base.
func (it *Iterator) Payload() (base uint64, payload []byte) { return it.base, it.payload }

// Next goes on to the next term; false at the end or at damage.
func (it *Iterator) Next() bool {
	if it.err != nil || it.ord+1 >= it.d.n {
		it.ord = it.d.n
		return false
	}
	it.ord++
	if it.ord%BlockSize == 0 {
		e := it.d.index[it.ord/BlockSize*indexEntry:]
		it.at = int(binary.LittleEndian.Uint64(e[4:]))
		it.base = binary.LittleEndian.Uint64(e[12:])
	}
	return it.read()
}

func (it *Iterator) read() bool {
	p := it.d.terms
	shared, i, ok1 := codec.Uvarint(p, it.at)
	n, i, ok2 := codec.Uvarint(p, i)
	if !ok1 || !ok2 || int(shared) > len(it.term) || int(n) > len(p)-i {
		return it.damaged()
	}
	suffix := p[i : i+int(n)]
	size, i, ok := codec.Uvarint(p, i+int(n))
	if !ok || int(size) > len(p)-i {
		return it.damaged()
	}
	it.shared = int(shared)
	if it.ord%BlockSize == 0 {
		// A block's first term is whole; what it shares with its predecessor is found by comparing.
		if shared != 0 {
			return it.damaged()
		}
		for it.shared < min(len(suffix), len(it.term)) && suffix[it.shared] == it.term[it.shared] {
			it.shared++
		}
	}
	it.term = append(it.term[:shared], suffix...)
	it.payload = p[i : i+int(size)]
	it.at = i + int(size)
	return true
}

func (it *Iterator) damaged() bool {
	it.err = codec.Damaged("term %d", it.ord)
	it.ord = it.d.n
	return false
}

// Seek goes to the first term that is not below t; false if there is none. Shared is 0 afterwards.
func (it *Iterator) Seek(t []byte) bool {
	b := sort.Search(it.d.blocks, func(i int) bool { return bytes.Compare(it.d.firstKey(i), t) > 0 }) - 1
	it.ord, it.term = max(b, 0)*BlockSize-1, it.term[:0]
	for it.Next() {
		if bytes.Compare(it.term, t) >= 0 {
			it.shared = 0
			return true
		}
	}
	return false
}

// SeekOrd goes to term ord, which must be below Len.
func (it *Iterator) SeekOrd(ord int) bool {
	it.ord, it.term = ord/BlockSize*BlockSize-1, it.term[:0]
	for it.Next() {
		if it.ord == ord {
			it.shared = 0
			return true
		}
	}
	return false
}

// Find goes to exactly t.
func (it *Iterator) Find(t []byte) bool { return it.Seek(t) && bytes.Equal(it.term, t) }
