package codec

import (
	"encoding/binary"
	"math/bits"
)

// Width is the number of bits that v needs; 0 for 0.
func Width(v uint32) uint { return uint(bits.Len32(v)) }

// PackedSize is the number of bytes that n values of width bits take.
func PackedSize(n int, width uint) int { return (n*int(width) + 7) / 8 }

// AppendPacked appends the low width bits of each value, little-endian, the last byte filled with zeros.
func AppendPacked(dst []byte, vals []uint32, width uint) []byte {
	if width == 0 {
		return dst
	}
	var acc uint64
	var have uint
	for _, v := range vals {
		acc |= uint64(v) << have
		have += width
		if have >= 32 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(acc))
			acc >>= 32
			have -= 32
		}
	}
	for ; have > 0; have -= min(have, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// Unpack reads len(dst) values of width bits (at most 32) from src. It reads up to 8 bytes past them where src's capacity
// allows and is slower where it does not. False: src is too short.
func Unpack(dst []uint32, src []byte, width uint) bool {
	if width == 0 {
		clear(dst)
		return true
	}
	need := PackedSize(len(dst), width)
	if width > 32 || len(src) < need {
		return false
	}
	if cap(src) < need+8 {
		padded := make([]byte, need+8)
		copy(padded, src[:need])
		src = padded
	}
	src = src[:need+8]
	mask := uint64(1)<<width - 1
	switch width {
	case 8:
		for i := range dst {
			dst[i] = uint32(src[i])
		}
		return true
	case 16:
		for i := range dst {
			dst[i] = uint32(binary.LittleEndian.Uint16(src[2*i:]))
		}
		return true
	}
	at := uint(0)
	for i := range dst {
		dst[i] = uint32(binary.LittleEndian.Uint64(src[at>>3:]) >> (at & 7) & mask)
		at += width
	}
	return true
}

// At reads value i of a packed run. ok is false where src is too short.
func At(src []byte, i int, width uint) (v uint32, ok bool) {
	if width == 0 {
		return 0, true
	}
	at := uint(i) * width
	end := (at + width + 7) / 8
	if width > 32 || end > uint(len(src)) {
		return 0, false
	}
	if from := at / 8; from+8 <= uint(cap(src)) {
		return uint32(binary.LittleEndian.Uint64(src[from:from+8]) >> (at & 7) & (1<<width - 1)), true
	}
	var acc uint64
	for k, b := range src[at/8 : end] {
		acc |= uint64(b) << (8 * k)
	}
	return uint32(acc >> (at & 7) & (1<<width - 1)), true
}

// Bitmap is a set of row numbers below 64 times its length.
type Bitmap []uint64

// NewBitmap holds n rows, all absent.
func NewBitmap(n int) Bitmap { return make(Bitmap, (n+63)/64) }

// Set adds i.
func (b Bitmap) Set(i uint32) { b[i>>6] |= 1 << (i & 63) }

// Has tells whether i is in the set; a nil bitmap has none.
func (b Bitmap) Has(i uint32) bool { return int(i>>6) < len(b) && b[i>>6]>>(i&63)&1 != 0 }

// Count is the number of rows in the set.
func (b Bitmap) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Bytes is the set in little-endian words.
func (b Bitmap) Bytes() []byte {
	p := make([]byte, 0, 8*len(b))
	for _, w := range b {
		p = binary.LittleEndian.AppendUint64(p, w)
	}
	return p
}

// BitmapOf reads what Bytes wrote for n rows.
func BitmapOf(p []byte, n int) (Bitmap, error) {
	b := NewBitmap(n)
	if len(p) != 8*len(b) {
		return nil, Damaged("bitmap of %d bytes for %d rows", len(p), n)
	}
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(p[8*i:])
	}
	if n%64 != 0 && b[len(b)-1]>>(n%64) != 0 {
		return nil, Damaged("bitmap has rows beyond %d", n)
	}
	return b, nil
}

// Uvarint reads a varint at p[i:] that fits 32 bits. ok is false where there is none.
func Uvarint(p []byte, i int) (v uint32, next int, ok bool) {
	if uint(i) >= uint(len(p)) {
		return 0, 0, false
	}
	if b := p[i]; b < 0x80 {
		return uint32(b), i + 1, true
	}
	x, n := binary.Uvarint(p[i:])
	if n <= 0 || x > 1<<32-1 {
		return 0, 0, false
	}
	return uint32(x), i + n, true
}
