package shard

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/disk"
	"carbonado.dev/carbonado/components/indexing/segment"
)

// Part is a segment of a snapshot and the documents of it that no longer count.
type Part struct {
	*segment.Segment
	Deleted codec.Bitmap
	// Dead is the number of deleted documents.
	Dead int
	// MaxSeq is the greatest `_seq` in the segment.
	MaxSeq uint64

	record segmentRecord
	mapped *mapped
}

// Live is the number of documents that count.
func (p *Part) Live() int { return p.Docs() - p.Dead }

// Snapshot is a shard as one commit left it: it never changes. Release it once. Safe for concurrent use.
type Snapshot struct {
	Parts    []*Part
	Position uint64

	refs atomic.Int64
}

// Documents is the number of live documents.
func (s *Snapshot) Documents() int {
	n := 0
	for _, p := range s.Parts {
		n += p.Live()
	}
	return n
}

// Bytes is the size of the segments' files.
func (s *Snapshot) Bytes() int64 {
	n := int64(0)
	for _, p := range s.Parts {
		n += int64(p.record.Bytes)
	}
	return n
}

// Release gives the snapshot up; after the last one its files leave memory.
func (s *Snapshot) Release() {
	if s.refs.Add(-1) == 0 {
		for _, p := range s.Parts {
			p.mapped.release()
		}
	}
}

// MaxSeq is the greatest `_seq` in the shard, deleted documents included.
func (s *Snapshot) MaxSeq() uint64 {
	most := uint64(0)
	for _, p := range s.Parts {
		most = max(most, p.MaxSeq)
	}
	return most
}

// Find is the part and document of a row, deleted or not.
func (s *Snapshot) Find(seq uint64) (part int, doc uint32, ok bool) {
	for i := len(s.Parts) - 1; i >= 0; i-- {
		if seq > s.Parts[i].MaxSeq {
			continue
		}
		if doc, ok := s.Parts[i].Find(seq); ok {
			return i, doc, true
		}
	}
	return 0, 0, false
}

// mapped is a segment file in memory, counted by the snapshots that have it.
type mapped struct {
	m    *disk.Mapping
	refs atomic.Int64
}

func (m *mapped) retain() { m.refs.Add(1) }

func (m *mapped) release() {
	if m.refs.Add(-1) == 0 {
		_ = m.m.Close() // munmap of what was mapped does not fail
	}
}

// ErrPanic: code failed over a snapshot's bytes. Either they are damaged, which Verify tells, or the code is wrong.
var ErrPanic = errors.New("the index code failed")

// Guard runs fn over a snapshot's memory. A fault there (a file cut short beneath the mapping) becomes an error that is
// codec.ErrDamaged, any other run-time error one that is ErrPanic, instead of the end of the process.
func Guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		re, ok := r.(runtime.Error)
		if !ok {
			panic(r)
		}
		kind := ErrPanic
		if _, fault := r.(interface{ Addr() uintptr }); fault {
			kind = codec.ErrDamaged
		}
		err = fmt.Errorf("%w: %v\n%s", kind, re, debug.Stack())
	}()
	return fn()
}

// Verify checks every checksum of the snapshot's segments.
func (s *Snapshot) Verify() error {
	return Guard(func() error {
		for _, p := range s.Parts {
			if err := p.Verify(); err != nil {
				return fmt.Errorf("%s: %w", p.record.file(), err)
			}
		}
		return nil
	})
}

func trailing(w uint64) int { return bits.TrailingZeros64(w) }
