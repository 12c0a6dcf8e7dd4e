// Package postings is the lists of documents of a term: bit-packed blocks of 128 with frequencies and positions, and a skip
// table with impacts. It must not know terms, fields or scores.
package postings

import (
	"encoding/binary"

	"carbonado.dev/carbonado/components/indexing/codec"
)

// Version of the section.
const Version = 1

// BlockSize is the number of documents in a block.
const BlockSize = 128

// A document whose term occurs this often at most may stand in the dictionary itself, if it is the term's only one.
const inlineFreq = 8

// Format says what a field's lists hold. Lists without frequencies have no positions.
type Format struct {
	// Freqs: frequencies, positions and impacts.
	Freqs bool
}

func (f Format) skipEntry() int {
	if f.Freqs {
		return 16
	}
	return 8
}

// Output is where lists go: a section of a file.
type Output interface {
	Write(p []byte) (int, error)
	Position() uint64
}

// Writer writes one list after another. Not safe for concurrent use.
type Writer struct {
	format Format
	out    Output
	start  uint64
	df     uint32
	last   uint32 // document before the present block, plus one; 0 for none
	n      int
	docs   [BlockSize]uint32
	freqs  [BlockSize]uint32
	pos    []uint32 // deltas of all documents of the block
	maxTF  uint32
	minLen uint32
	skip   []byte
	buf    []byte
}

// NewWriter writes lists of one field to out, whose errors are its own to keep.
func NewWriter(out Output, format Format) *Writer { return &Writer{out: out, format: format} }

// Start begins a list.
func (w *Writer) Start() {
	w.start, w.df, w.last, w.n = w.out.Position(), 0, 0, 0
	w.pos, w.skip = w.pos[:0], w.skip[:0]
	w.maxTF, w.minLen = 0, 1<<32-1
}

// Add appends a document; documents ascend, positions within one ascend. length is the document's number of words in the
// field. Without frequencies only doc counts.
func (w *Writer) Add(doc uint32, positions []uint32, length uint32) {
	if w.n == BlockSize {
		w.flush()
	}
	w.docs[w.n] = doc
	if w.format.Freqs {
		w.freqs[w.n] = uint32(len(positions)) - 1
		last := uint32(0)
		for _, p := range positions {
			w.pos = append(w.pos, p-last)
			last = p
		}
		w.maxTF, w.minLen = max(w.maxTF, uint32(len(positions))), min(w.minLen, length)
	}
	w.n++
	w.df++
}

// Finish ends the list and appends to dst what the dictionary has to keep with the term. base is the number the dictionary
// keeps for the term's block; where the term opens a block it must be Offset.
func (w *Writer) Finish(dst []byte, base uint64) []byte {
	if w.df == 1 && (!w.format.Freqs || w.freqs[0] < inlineFreq) {
		dst = append(dst, 1<<1|1)
		dst = binary.AppendUvarint(dst, uint64(w.docs[0]))
		if w.format.Freqs {
			dst = binary.AppendUvarint(dst, uint64(w.freqs[0]))
			for _, p := range w.pos {
				dst = binary.AppendUvarint(dst, uint64(p))
			}
		}
		return dst
	}
	w.flush()
	dst = binary.AppendUvarint(dst, uint64(w.df)<<1)
	dst = binary.AppendUvarint(dst, w.start-base)
	if w.df > BlockSize {
		dst = binary.AppendUvarint(dst, w.out.Position()-w.start)
		_, _ = w.out.Write(w.skip)
	}
	return dst
}

// Offset is where the present list began.
func (w *Writer) Offset() uint64 { return w.start }

func (w *Writer) flush() {
	if w.n == 0 {
		return
	}
	docs := w.docs[:w.n]
	lastDoc := docs[w.n-1]
	var or, orFreq, orPos uint32
	for i, d := range docs {
		docs[i] = d - w.last
		w.last = d + 1
		or |= docs[i]
	}
	width := codec.Width(or)
	w.buf = append(w.buf[:0], byte(width))
	if w.format.Freqs {
		for _, f := range w.freqs[:w.n] {
			orFreq |= f
		}
		for _, p := range w.pos {
			orPos |= p
		}
		w.buf = append(w.buf, byte(codec.Width(orFreq)), byte(codec.Width(orPos)))
	}
	w.buf = codec.AppendPacked(w.buf, docs, width)
	if w.format.Freqs {
		w.buf = codec.AppendPacked(w.buf, w.freqs[:w.n], codec.Width(orFreq))
		w.buf = codec.AppendPacked(w.buf, w.pos, codec.Width(orPos))
	}
	_, _ = w.out.Write(w.buf)
	w.skip = binary.LittleEndian.AppendUint32(w.skip, lastDoc)
	w.skip = binary.LittleEndian.AppendUint32(w.skip, uint32(w.out.Position()-w.start))
	if w.format.Freqs {
		w.skip = binary.LittleEndian.AppendUint32(w.skip, w.maxTF)
		w.skip = binary.LittleEndian.AppendUint32(w.skip, w.minLen)
	}
	w.n, w.pos = 0, w.pos[:0]
	w.maxTF, w.minLen = 0, 1<<32-1
}
