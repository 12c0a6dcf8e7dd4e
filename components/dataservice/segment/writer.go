// Package segment writes and reads the store's immutable files: Parquet with the columns `_seq`, `_timestamp` and a table's own.
// It must not know tables, the log, or which rows are dead.
//
// The writer is our own encoder, made for cheap cuts: fixed-width values are copied as they lie in Arrow's memory, strings of
// low cardinality become dictionary indices at once, whole numbers are delta-packed, the rest is zstd at its fastest level. It
// writes what DuckDB, Spark, arrow-go and parquet-go read; docs/adr in this component's README has the measurement.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/vfs"
)

const (
	// GroupRows is the usual size of a row group: DuckDB's own, so that its threads share a file well.
	GroupRows = 122880
	// groupBytes bounds the memory of a writer: a row group ends earlier if its values take more.
	groupBytes = 24 << 20
	// creator is who a file says that it was written by.
	creator = "carbonado"
	// pageRows is the size of a page: what must be decoded to get at one row.
	pageRows = 8192
	// flushBytes is how much is gathered before it is written to the file.
	flushBytes = 1 << 20
)

// Info is what a closed writer says of its file.
type Info struct {
	Rows    int64         `json:"rows"`
	Bytes   int64         `json:"bytes"`
	MinSeq  uint64        `json:"minSeq"`
	MaxSeq  uint64        `json:"maxSeq"`
	MinTime int64         `json:"minTime"`
	MaxTime int64         `json:"maxTime"`
	Columns []rows.Column `json:"columns"`
}

// Writer writes one file. It is not safe for concurrent use. After an error the file is of no use.
type Writer struct {
	f    vfs.File
	out  []byte // not yet written
	off  int64  // of the end of out
	cols []*column
	meta format.FileMetaData
	zw   *zstd.Encoder
	info Info

	inGroup int
	group   int64 // rows of a full row group
	limit   int   // of rows in the present one
	scratch []byte
	page    []byte
}

// NewWriter begins a file with the given columns besides `_seq` and `_timestamp`, in row groups of about groupRows.
func NewWriter(f vfs.File, cols []rows.Column, groupRows int) (*Writer, error) {
	zw, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	w := &Writer{f: f, zw: zw, group: int64(groupRows), limit: groupRows}
	w.info.Columns = cols
	w.info.MinTime, w.info.MaxTime = math.MaxInt64, math.MinInt64
	w.cols = append(w.cols, newColumn(rows.SeqColumn, rows.Long, true), newColumn(rows.TimeColumn, rows.Long, true))
	for _, c := range cols {
		w.cols = append(w.cols, newColumn(c.Name, c.Type, false))
	}
	w.put([]byte("PAR1"))
	return w, nil
}

// Expect says how many rows come: they are put into row groups of about one size.
func (w *Writer) Expect(n int64) {
	groups := max(1, (n+w.group/2)/w.group)
	w.limit = int(max(1, (n+groups-1)/groups))
}

// Rows is how many rows were added.
func (w *Writer) Rows() int64 { return w.info.Rows }

// Append adds rows; `_seq` must ascend over all calls. Columns that the writer doesn't have are an error, absent ones are null.
func (w *Writer) Append(r *rows.Rows) error {
	for r.Len() > 0 {
		n := min(r.Len(), w.limit-w.inGroup)
		if err := w.append(r.Slice(0, n)); err != nil {
			return err
		}
		r = r.Slice(n, r.Len())
	}
	return nil
}

func (w *Writer) append(r *rows.Rows) error {
	n := r.Len()
	last := w.info.MaxSeq
	for _, s := range r.Seq {
		if w.info.Rows > 0 && uint64(s) <= last || s < 0 {
			return fmt.Errorf("segment: `_seq` %d behind %d", s, last)
		}
		last = uint64(s)
		if w.info.Rows == 0 {
			w.info.MinSeq = last
		}
		w.info.Rows++
	}
	w.info.MaxSeq = last
	for _, t := range r.Time {
		w.info.MinTime, w.info.MaxTime = min(w.info.MinTime, t), max(w.info.MaxTime, t)
	}
	w.cols[0].longs(r.Seq)
	w.cols[1].longs(r.Time)
	bytes := 0
	found := 0
	for _, c := range w.cols[2:] {
		col := r.Col(c.name)
		if col == nil {
			c.nulls(n)
			continue
		}
		found++
		if err := c.append(col.Arr); err != nil {
			return err
		}
		bytes += len(c.data)
	}
	if found != len(r.Cols) {
		return fmt.Errorf("segment: %d of %d columns are not in the file", len(r.Cols)-found, len(r.Cols))
	}
	w.inGroup += n
	if w.inGroup >= w.limit || bytes >= groupBytes {
		return w.flushGroup()
	}
	return nil
}

// Close writes what is left, the footer, and makes the file durable. The caller closes the file.
func (w *Writer) Close() (Info, error) {
	defer w.zw.Close()
	if err := w.flushGroup(); err != nil {
		return Info{}, err
	}
	if err := w.writeIndexes(); err != nil {
		return Info{}, err
	}
	w.meta.Version = 2
	w.meta.NumRows = w.info.Rows
	w.meta.CreatedBy = creator
	w.meta.Schema = append(w.meta.Schema, format.SchemaElement{Name: "rows", NumChildren: thrift.New(int32(len(w.cols)))})
	for _, c := range w.cols {
		w.meta.Schema = append(w.meta.Schema, c.element())
		w.meta.ColumnOrders = append(w.meta.ColumnOrders, format.ColumnOrder{Value: &format.TypeDefinedOrder{}})
	}
	footer, err := marshal(&w.meta)
	if err != nil {
		return Info{}, err
	}
	w.put(footer)
	w.put(binary.LittleEndian.AppendUint32(nil, uint32(len(footer))))
	w.put([]byte("PAR1"))
	if err := w.flush(); err != nil {
		return Info{}, err
	}
	if err := w.f.Datasync(); err != nil {
		return Info{}, err
	}
	w.info.Bytes = w.off
	if w.info.Rows == 0 {
		w.info.MinTime, w.info.MaxTime = 0, 0
	}
	return w.info, nil
}

func (w *Writer) put(b []byte) {
	w.out = append(w.out, b...)
	w.off += int64(len(b))
}

func (w *Writer) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	err := w.f.WriteAt([][]byte{w.out}, w.off-int64(len(w.out)))
	w.out = w.out[:0]
	return err
}

func marshal(v any) ([]byte, error) { return thrift.Marshal(new(thrift.CompactProtocol), v) }

func (w *Writer) ordinal() int16 { return int16(min(len(w.meta.RowGroups), math.MaxInt16)) }

func (w *Writer) flushGroup() error {
	n := w.inGroup
	if n == 0 {
		return nil
	}
	group := format.RowGroup{NumRows: int64(n), FileOffset: w.off, Ordinal: w.ordinal()}
	for _, c := range w.cols {
		chunk, err := w.writeChunk(c, n)
		if err != nil {
			return err
		}
		group.TotalByteSize += chunk.MetaData.TotalUncompressedSize
		group.TotalCompressedSize += chunk.MetaData.TotalCompressedSize
		group.Columns = append(group.Columns, chunk)
		c.reset()
		if len(w.out) >= flushBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	w.meta.RowGroups = append(w.meta.RowGroups, group)
	w.inGroup = 0
	return nil
}

func (w *Writer) writeChunk(c *column, n int) (format.ColumnChunk, error) {
	md := format.ColumnMetaData{
		Type: c.physical(), PathInSchema: thrift.Slice[string]{c.name}, Codec: format.Zstd, NumValues: int64(n),
		Statistics: c.statistics(),
	}
	if c.required {
		md.Codec = format.Uncompressed // deltas of neighbours are a few bits already
	}
	enc := c.encoding()
	md.Encoding = append(md.Encoding, format.RLE, enc)
	start := w.off
	if enc == format.RLEDictionary {
		md.Encoding = append(md.Encoding, format.Plain)
		w.page = c.dict.plain(w.page[:0])
		md.DictionaryPageOffset = w.off
		h := format.PageHeader{Type: format.DictionaryPage, DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{
			NumValues: int32(c.dict.len()), Encoding: format.Plain})}
		if err := w.writePage(&h, &md); err != nil {
			return format.ColumnChunk{}, err
		}
		md.EncodingStats = append(md.EncodingStats, format.PageEncodingStats{PageType: format.DictionaryPage, Encoding: format.Plain, Count: 1})
	}
	md.DataPageOffset = w.off
	c.pages = append(c.pages, pageIndex{})
	idx := &c.pages[len(c.pages)-1]
	for from := 0; from < n; from += pageRows {
		to := min(from+pageRows, n)
		page, err := c.encode(w.page[:0], from, to)
		if err != nil {
			return format.ColumnChunk{}, err
		}
		w.page = page
		at := w.off
		h := format.PageHeader{Type: format.DataPage, DataPageHeader: thrift.New(format.DataPageHeader{
			NumValues: int32(to - from), Encoding: enc, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE})}
		if err := w.writePage(&h, &md); err != nil {
			return format.ColumnChunk{}, err
		}
		idx.offsets.PageLocations = append(idx.offsets.PageLocations, format.PageLocation{
			Offset: at, CompressedPageSize: int32(w.off - at), FirstRowIndex: int64(from)})
		c.index(&idx.bounds, from, to)
	}
	md.EncodingStats = append(md.EncodingStats, format.PageEncodingStats{
		PageType: format.DataPage, Encoding: enc, Count: int32(len(idx.offsets.PageLocations))})
	md.TotalCompressedSize = w.off - start
	return format.ColumnChunk{FileOffset: start, MetaData: md}, nil
}

// writePage compresses w.page and writes it behind its header.
func (w *Writer) writePage(h *format.PageHeader, md *format.ColumnMetaData) error {
	body := w.page
	if md.Codec == format.Zstd {
		w.scratch = w.zw.EncodeAll(body, w.scratch[:0])
		body = w.scratch
	}
	h.UncompressedPageSize = int32(len(w.page))
	h.CompressedPageSize = int32(len(body))
	head, err := marshal(h)
	if err != nil {
		return err
	}
	md.TotalUncompressedSize += int64(len(head) + len(w.page))
	w.put(head)
	w.put(body)
	return nil
}

// writeIndexes writes the page indexes of all row groups.
func (w *Writer) writeIndexes() error {
	for g := range w.meta.RowGroups {
		for i, c := range w.cols {
			if len(c.pages[g].bounds.NullPages) == 0 {
				continue
			}
			b, err := marshal(&c.pages[g].bounds)
			if err != nil {
				return err
			}
			chunk := &w.meta.RowGroups[g].Columns[i]
			chunk.ColumnIndexOffset, chunk.ColumnIndexLength = w.off, int32(len(b))
			w.put(b)
		}
	}
	for g := range w.meta.RowGroups {
		for i, c := range w.cols {
			b, err := marshal(&c.pages[g].offsets)
			if err != nil {
				return err
			}
			chunk := &w.meta.RowGroups[g].Columns[i]
			chunk.OffsetIndexOffset, chunk.OffsetIndexLength = w.off, int32(len(b))
			w.put(b)
		}
	}
	return nil
}

type pageIndex struct {
	offsets format.OffsetIndex
	bounds  format.ColumnIndex
}

// errType is the error of values that a column can't take.
var errType = errors.New("segment: a column's values have another type than the file's column")

// append adds an array's values.
func (c *column) append(arr arrow.Array) error {
	if !arrow.TypeEqual(arr.DataType(), rows.Arrow(c.typ)) {
		return fmt.Errorf("%w: %s is %s, not %s", errType, c.name, arr.DataType(), rows.TypeName(c.typ))
	}
	n := arr.Len()
	if arr.NullN() > 0 {
		c.markNulls(arr)
	} else {
		c.markValid(n)
	}
	switch a := arr.(type) {
	case *array.Int32:
		c.data = append(c.data, arrow.Int32Traits.CastToBytes(a.Int32Values())...)
	case *array.Int64:
		c.data = append(c.data, arrow.Int64Traits.CastToBytes(a.Int64Values())...)
	case *array.Float32:
		c.data = append(c.data, arrow.Float32Traits.CastToBytes(a.Float32Values())...)
	case *array.Float64:
		c.data = append(c.data, arrow.Float64Traits.CastToBytes(a.Float64Values())...)
	case *array.Boolean:
		for i := range n {
			var v byte
			if a.Value(i) {
				v = 1
			}
			c.data = append(c.data, v)
		}
	case *array.String:
		offs := a.ValueOffsets()
		if n > 0 {
			all := a.ValueBytes()
			if !utf8.Valid(all) {
				return c.appendInvalid(a)
			}
			c.strings(offs, all, a)
		}
	case *array.Binary:
		if n > 0 {
			c.strings(a.ValueOffsets(), a.ValueBytes(), a)
		}
	}
	return nil
}
