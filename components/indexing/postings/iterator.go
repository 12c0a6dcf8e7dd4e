package postings

import (
	"encoding/binary"
	"math"

	"carbonado.dev/carbonado/components/indexing/codec"
)

// End is the document number after the last.
const End = math.MaxUint32

// List is where a term's documents are; the zero List has none.
type List struct {
	format Format
	df     int
	inline []byte
	data   []byte // blocks, and what follows them in the section
	skip   []byte
}

// Open finds a list by what the dictionary keeps with its term.
func Open(section []byte, format Format, base uint64, payload []byte) (List, error) {
	head, i, ok := codec.Uvarint(payload, 0)
	l := List{format: format, df: int(head >> 1)}
	if !ok || l.df == 0 {
		return List{}, codec.Damaged("postings head")
	}
	if head&1 != 0 {
		if l.df != 1 {
			return List{}, codec.Damaged("inline postings of %d documents", l.df)
		}
		l.inline = payload[i:]
		return l, nil
	}
	off, i, ok := codec.Uvarint(payload, i)
	size := uint64(len(section))
	if !ok || base > size || uint64(off) > size-base {
		return List{}, codec.Damaged("postings out of bounds")
	}
	l.data = section[base+uint64(off):]
	if l.df > BlockSize {
		n, _, ok := codec.Uvarint(payload, i)
		need := l.blocks() * format.skipEntry()
		if !ok || int(n) > len(l.data) || need > len(l.data)-int(n) {
			return List{}, codec.Damaged("skip table out of bounds")
		}
		l.skip = l.data[n : int(n)+need]
	}
	return l, nil
}

// Count is the number of documents, deleted ones included.
func (l List) Count() int { return l.df }

func (l List) blocks() int { return (l.df + BlockSize - 1) / BlockSize }

// Iterator walks the documents of a list. The zero value is to be Reset. After damage it is at End with Err set. Not safe for
// concurrent use.
type Iterator struct {
	list  List
	doc   uint32
	block int // index of the present block
	n, i  int // documents in it, present one
	docs  [BlockSize]uint32

	freqs     [BlockSize]uint32
	haveFreqs bool
	freqAt    []byte // packed frequencies, then positions
	freqWidth uint
	posWidth  uint
	posBefore int // positions of documents before posDoc
	posDoc    int
	err       error
}

// Reset starts before the first document of l.
func (it *Iterator) Reset(l List) {
	it.list, it.block, it.n, it.i, it.err = l, -1, 0, 0, nil
	it.doc = End
}

// Err is set where the walk ended because the bytes make no sense.
func (it *Iterator) Err() error { return it.err }

// Doc is the present document.
func (it *Iterator) Doc() uint32 { return it.doc }

// Count is the list's.
func (it *Iterator) Count() int { return it.list.df }

// Next goes to the next document and returns it; End if there is none.
func (it *Iterator) Next() uint32 {
	if it.i++; it.i < it.n {
		it.doc = it.docs[it.i]
		return it.doc
	}
	return it.load(it.block + 1)
}

// Advance goes to the first document at or after target, which must be above the present one.
func (it *Iterator) Advance(target uint32) uint32 {
	if it.n == 0 || it.docs[it.n-1] < target {
		b := it.block + 1
		if it.list.skip != nil {
			b = it.list.blockOf(b, target)
		}
		if it.load(b) == End {
			return End
		}
	} else {
		it.i++
	}
	docs := it.docs[:it.n]
	lo, hi := it.i, it.n
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if docs[mid] < target {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == it.n {
		return it.load(it.block + 1)
	}
	it.i, it.doc = lo, docs[lo]
	return it.doc
}

// blockOf is the first block from b on that reaches target.
func (l List) blockOf(b int, target uint32) int {
	entry, n := l.format.skipEntry(), l.blocks()
	step := 1
	for b+step < n && binary.LittleEndian.Uint32(l.skip[(b+step)*entry:]) < target {
		b += step
		step *= 2
	}
	hi := min(b+step, n)
	for b < hi {
		mid := (b + hi) / 2
		if binary.LittleEndian.Uint32(l.skip[mid*entry:]) < target {
			b = mid + 1
		} else {
			hi = mid
		}
	}
	return b
}

// Impact returns, for the block that holds the first document at or after target, its last document and upper bounds: the
// highest frequency and the least length in it. It does not move the iterator. ok is false where the list keeps no impacts.
func (it *Iterator) Impact(target uint32) (last, maxTF, minLen uint32, ok bool) {
	l := it.list
	if l.skip == nil || !l.format.Freqs {
		return End, 0, 0, false
	}
	b := l.blockOf(max(it.block, 0), target)
	if b >= l.blocks() {
		return End, 0, 1, true
	}
	e := l.skip[b*16:]
	return binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:]), true
}

// Block loads the next block of documents and returns it, nil at the end: for walks that use nothing else. The slice is valid
// until the next call.
func (it *Iterator) Block() []uint32 {
	if it.load(it.block+1) == End {
		return nil
	}
	it.i = it.n - 1
	return it.docs[:it.n]
}

func (it *Iterator) fail(what string) uint32 {
	it.err = codec.Damaged("postings: %s in block %d", what, it.block)
	it.doc, it.n, it.i = End, 0, 0
	it.block = it.list.blocks()
	return End
}

func (it *Iterator) load(b int) uint32 {
	l := &it.list
	if b >= l.blocks() {
		it.block, it.n, it.i, it.doc = l.blocks(), 0, 0, End
		return End
	}
	it.haveFreqs, it.posBefore, it.posDoc = false, 0, 0
	it.block, it.i = b, 0
	if l.inline != nil {
		doc, i, ok := codec.Uvarint(l.inline, 0)
		if !ok {
			return it.fail("document")
		}
		it.n, it.docs[0], it.doc, it.freqAt = 1, doc, doc, l.inline[i:]
		return doc
	}
	from, base := 0, uint32(0)
	if b > 0 {
		e := l.skip[(b-1)*l.format.skipEntry():]
		base, from = binary.LittleEndian.Uint32(e)+1, int(binary.LittleEndian.Uint32(e[4:]))
	}
	it.n = min(l.df-b*BlockSize, BlockSize)
	head := 1
	if l.format.Freqs {
		head = 3
	}
	if from > len(l.data)-head {
		return it.fail("offset")
	}
	p := l.data[from:]
	width := uint(p[0])
	if l.format.Freqs {
		it.freqWidth, it.posWidth = uint(p[1]), uint(p[2])
	}
	p = p[head:]
	if !codec.Unpack(it.docs[:it.n], p, width) {
		return it.fail("documents")
	}
	it.freqAt = p[codec.PackedSize(it.n, width):]
	for i, d := range it.docs[:it.n] {
		base += d
		it.docs[i] = base
		base++
	}
	it.doc = it.docs[0]
	return it.doc
}

// Freq is how often the term occurs in the present document; 1 without frequencies.
func (it *Iterator) Freq() uint32 {
	if !it.list.format.Freqs {
		return 1
	}
	if !it.haveFreqs {
		it.loadFreqs()
	}
	return it.freqs[it.i]
}

func (it *Iterator) loadFreqs() {
	it.haveFreqs = true
	if it.list.inline != nil {
		f, i, ok := codec.Uvarint(it.freqAt, 0)
		if !ok || f >= inlineFreq {
			it.err = codec.Damaged("postings: frequency")
			f = 0
		}
		it.freqs[0], it.freqAt = f+1, it.freqAt[min(i, len(it.freqAt)):]
		return
	}
	if !codec.Unpack(it.freqs[:it.n], it.freqAt, it.freqWidth) {
		it.err = codec.Damaged("postings: frequencies in block %d", it.block)
		clear(it.freqs[:it.n])
		it.posWidth = 0
	} else {
		it.freqAt = it.freqAt[codec.PackedSize(it.n, it.freqWidth):]
	}
	for i := range it.freqs[:it.n] {
		it.freqs[i]++
	}
}

// Positions appends the present document's positions to dst, ascending.
func (it *Iterator) Positions(dst []uint32) []uint32 {
	if !it.list.format.Freqs {
		return dst
	}
	n := int(it.Freq())
	if it.list.inline != nil {
		last, i := uint32(0), 0
		for range n {
			var d uint32
			var ok bool
			if d, i, ok = codec.Uvarint(it.freqAt, i); !ok {
				it.err = codec.Damaged("postings: position")
				return dst
			}
			last += d
			dst = append(dst, last)
		}
		return dst
	}
	for ; it.posDoc < it.i; it.posDoc++ {
		it.posBefore += int(it.freqs[it.posDoc])
	}
	if n > 8*len(it.freqAt)+BlockSize && it.posWidth > 0 {
		it.err = codec.Damaged("postings: %d positions in block %d", n, it.block)
		return dst
	}
	last := uint32(0)
	for k := range n {
		d, ok := codec.At(it.freqAt, it.posBefore+k, it.posWidth)
		if !ok {
			it.err = codec.Damaged("postings: position in block %d", it.block)
			return dst
		}
		last += d
		dst = append(dst, last)
	}
	return dst
}
