package segment

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/vfs"
)

// longShare is the least size of a row group, in percent of a full one, that a merge copies as it lies.
const longShare = 50

// Keep says what of a file goes into a merge.
type Keep struct {
	// Whole tells whether all rows with a `_seq` in [min, max] are kept.
	Whole func(min, max uint64) bool
	// Rows leaves those out that are not kept.
	Rows func(*rows.Rows) *rows.Rows
}

// piece is one row group of a merge.
type piece struct {
	r     *Reader
	g     int
	rows  int64
	share int64 // its size in percent of a full row group
	whole bool  // it is copied as it lies
}

// Merge appends what is kept of files, whose `_seq` must ascend from one to the next. Long row groups that are kept whole are copied
// without being decoded; what lies between them becomes row groups of one size, so that merging again finds long ones.
func (w *Writer) Merge(ctx context.Context, files []*Reader, keep Keep) error {
	if err := w.flushGroup(); err != nil {
		return err
	}
	var pieces []piece
	for _, r := range files {
		for g, group := range r.pf.Metadata().RowGroups {
			p := piece{r: r, g: g, rows: group.NumRows, share: max(group.NumRows*100/w.group, group.TotalByteSize*100/groupBytes)}
			p.whole = p.share >= longShare && w.takes(r, g, keep)
			pieces = append(pieces, p)
		}
	}
	widen(pieces)
	for len(pieces) > 0 {
		if p := pieces[0]; p.whole {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.copyGroup(p.r, p.g); err != nil {
				return err
			}
			pieces = pieces[1:]
			continue
		}
		n, total, _ := shortRun(pieces)
		w.Expect(total)
		for _, p := range pieces[:n] {
			err := p.r.scan(ctx, p.g, p.r.cols, func(r *rows.Rows) error { return w.Append(keep.Rows(r)) })
			if err != nil {
				return err
			}
		}
		if err := w.flushGroup(); err != nil {
			return err
		}
		pieces = pieces[n:]
	}
	return nil
}

// shortRun is how many pieces at the beginning are not whole, their rows and their share of a full row group.
func shortRun(pieces []piece) (n int, rows, share int64) {
	for n < len(pieces) && !pieces[n].whole {
		rows += pieces[n].rows
		share += pieces[n].share
		n++
	}
	return n, rows, share
}

// widen lets a run of pieces that would make a short row group take in the shorter one of its neighbours.
func widen(pieces []piece) {
	for i := 0; i < len(pieces); {
		n, _, share := shortRun(pieces[i:])
		if n > 0 && share < longShare {
			before, after := i-1, i+n
			switch {
			case before < 0 && after == len(pieces):
			case before < 0 || after < len(pieces) && pieces[after].rows <= pieces[before].rows:
				pieces[after].whole = false
				continue // it may lead to the next run
			default:
				pieces[before].whole = false
			}
		}
		i += n + 1
	}
}

// takes tells whether a row group may be copied as it lies: this package wrote it, with the writer's columns.
func (w *Writer) takes(r *Reader, g int, keep Keep) bool {
	meta := r.pf.Metadata()
	group := &meta.RowGroups[g]
	if meta.CreatedBy != creator || len(w.cols) != len(r.leaf) {
		return false
	}
	for _, c := range w.cols {
		i, ok := r.leaf[c.name]
		if !ok || group.Columns[i].OffsetIndexLength == 0 || r.pf.Schema().Fields()[i].Optional() == c.required {
			return false
		}
		if want, have := c.element(), meta.Schema[i+1]; !same(want.Type, have.Type) || !same(want.ConvertedType, have.ConvertedType) {
			return false
		}
	}
	lo, hi, ok := r.longBounds(g, rows.SeqColumn)
	return ok && keep.Whole(uint64(lo), uint64(hi))
}

func same[T comparable](a, b thrift.Null[T]) bool { return a.Valid == b.Valid && a.V == b.V }

// copyGroup appends a row group as it lies in its file.
func (w *Writer) copyGroup(r *Reader, g int) error {
	src := &r.pf.Metadata().RowGroups[g]
	first, last, ok := r.longBounds(g, rows.SeqColumn)
	from, to, timed := r.longBounds(g, rows.TimeColumn)
	if !ok || !timed {
		return ErrDamaged.New("row group %d has no bounds", g)
	}
	if w.info.Rows > 0 && uint64(first) <= w.info.MaxSeq {
		return fmt.Errorf("segment: `_seq` %d behind %d", first, w.info.MaxSeq)
	}
	group := *src
	group.FileOffset, group.Ordinal, group.Columns = w.off, w.ordinal(), nil
	for _, c := range w.cols {
		chunk, index, err := w.copyChunk(r, src.Columns[r.leaf[c.name]])
		if err != nil {
			return ErrDamaged.Wrap(err, "column %s", c.name)
		}
		group.Columns = append(group.Columns, chunk)
		c.pages = append(c.pages, index)
	}
	w.meta.RowGroups = append(w.meta.RowGroups, group)
	if w.info.Rows == 0 {
		w.info.MinSeq = uint64(first)
	}
	w.info.MaxSeq = uint64(last)
	w.info.Rows += src.NumRows
	w.info.MinTime, w.info.MaxTime = min(w.info.MinTime, from), max(w.info.MaxTime, to)
	return nil
}

// copyChunk appends the pages of one column, and gives the chunk and its page index as they stand in this file.
func (w *Writer) copyChunk(r *Reader, chunk format.ColumnChunk) (format.ColumnChunk, pageIndex, error) {
	var index pageIndex
	if err := r.unmarshal(chunk.OffsetIndexOffset, chunk.OffsetIndexLength, &index.offsets); err != nil {
		return chunk, index, err
	}
	if chunk.ColumnIndexLength > 0 {
		if err := r.unmarshal(chunk.ColumnIndexOffset, chunk.ColumnIndexLength, &index.bounds); err != nil {
			return chunk, index, err
		}
	}
	md := &chunk.MetaData
	start := md.DataPageOffset
	if md.DictionaryPageOffset > 0 {
		start = md.DictionaryPageOffset
	}
	shift := w.off - start
	if err := w.copyBytes(r.f, start, md.TotalCompressedSize); err != nil {
		return chunk, index, err
	}
	md.DataPageOffset += shift
	if md.DictionaryPageOffset > 0 {
		md.DictionaryPageOffset += shift
	}
	for i := range index.offsets.PageLocations {
		index.offsets.PageLocations[i].Offset += shift
	}
	chunk.FileOffset = start + shift
	chunk.OffsetIndexOffset, chunk.OffsetIndexLength, chunk.ColumnIndexOffset, chunk.ColumnIndexLength = 0, 0, 0, 0
	return chunk, index, nil
}

func (w *Writer) copyBytes(f vfs.File, at, n int64) error {
	for n > 0 {
		part := int(min(n, flushBytes))
		have := len(w.out)
		w.out = append(w.out, make([]byte, part)...)
		if _, err := f.ReadAt(w.out[have:], at); err != nil {
			return err
		}
		w.off += int64(part)
		at, n = at+int64(part), n-int64(part)
		if len(w.out) >= flushBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Reader) unmarshal(at int64, n int32, v any) error {
	b := make([]byte, n)
	if _, err := r.f.ReadAt(b, at); err != nil {
		return err
	}
	return thrift.Unmarshal(new(thrift.CompactProtocol), b, v)
}

// longBounds are the least and the greatest value of a whole-number column in a row group, if the file says them.
func (r *Reader) longBounds(g int, column string) (lo, hi int64, ok bool) {
	s := r.pf.Metadata().RowGroups[g].Columns[r.leaf[column]].MetaData.Statistics
	if len(s.MinValue) != 8 || len(s.MaxValue) != 8 {
		return 0, 0, false
	}
	return int64(binary.LittleEndian.Uint64(s.MinValue)), int64(binary.LittleEndian.Uint64(s.MaxValue)), true
}
