package builder

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// terms numbers byte strings in the order of their first coming: an arena and an open-addressing hash table.
type terms struct {
	seed   maphash.Seed
	arena  []byte
	ends   []uint32 // of each term in the arena
	hashes []uint32
	slots  []uint32 // number plus one; 0 is free
}

func newTerms() *terms { return &terms{seed: maphash.MakeSeed(), slots: make([]uint32, 64)} }

func (t *terms) reset() {
	t.arena, t.ends, t.hashes = t.arena[:0], t.ends[:0], t.hashes[:0]
	clear(t.slots)
}

func (t *terms) len() int { return len(t.ends) }

func (t *terms) term(id uint32) []byte {
	from := uint32(0)
	if id > 0 {
		from = t.ends[id-1]
	}
	return t.arena[from:t.ends[id]]
}

func (t *terms) id(b []byte) uint32 {
	h := uint32(maphash.Bytes(t.seed, b))
	mask := uint32(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s == 0 {
			return t.add(i, h, b)
		}
		if t.hashes[s-1] == h && bytes.Equal(t.term(s-1), b) {
			return s - 1
		}
	}
}

func (t *terms) add(slot, h uint32, b []byte) uint32 {
	t.arena = append(t.arena, b...)
	t.ends = append(t.ends, uint32(len(t.arena)))
	t.hashes = append(t.hashes, h)
	id := uint32(len(t.ends))
	t.slots[slot] = id
	if 2*len(t.ends) > len(t.slots) {
		t.grow()
	}
	return id - 1
}

func (t *terms) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint32(len(t.slots) - 1)
	for id, h := range t.hashes {
		i := h & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(id) + 1
	}
}

type sortKey struct {
	head uint64 // first eight bytes, big-endian
	id   uint32
}

// order sorts the terms by their bytes.
func (t *terms) order(dst []sortKey) []sortKey {
	dst = dst[:0]
	for id := range t.ends {
		b := t.term(uint32(id))
		var head uint64
		if len(b) >= 8 {
			head = binary.BigEndian.Uint64(b)
		} else {
			var p [8]byte
			copy(p[:], b)
			head = binary.BigEndian.Uint64(p[:])
		}
		dst = append(dst, sortKey{head, uint32(id)})
	}
	slices.SortFunc(dst, func(x, y sortKey) int {
		switch {
		case x.head < y.head:
			return -1
		case x.head > y.head:
			return 1
		}
		return bytes.Compare(t.term(x.id), t.term(y.id))
	})
	return dst
}
