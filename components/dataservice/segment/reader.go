package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/sdk/cause"
)

// Errors of segment files.
var (
	ErrDamaged = cause.Define("CBN-STORE-040", "A segment file can't be read.",
		"Restore the named file from a backup, or drop the table.").Code(codes.DataLoss)
	ErrColumns = cause.Define("CBN-STORE-041", "A Parquet file has columns that the store doesn't take.",
		"Write `_seq` and `_timestamp` as BIGINT and the others as VARCHAR, INTEGER, BIGINT, FLOAT, DOUBLE, BOOLEAN or BLOB.").Code(codes.InvalidArgument)
)

// Reader reads one file. It is safe for concurrent use.
type Reader struct {
	f    vfs.File
	pf   *parquet.File
	cols []rows.Column
	leaf map[string]int

	// runMu guards runs: for each row group, the runs of consecutive `_seq`, made at the first lookup.
	runMu sync.Mutex
	runs  map[int][]run
}

type run struct {
	seq int64
	row int64
	n   int64
}

// Open reads the footer. The reader owns the file and closes it with Close. ErrColumns: it is Parquet, with other columns.
func Open(f vfs.File) (*Reader, error) {
	r, err := open(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func open(f vfs.File) (r *Reader, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, ErrDamaged.New("footer: %v", p)
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	pf, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, ErrDamaged.Wrap(err, "footer")
	}
	r = &Reader{f: f, pf: pf, leaf: map[string]int{}, runs: map[int][]run{}}
	for i, field := range pf.Root().Columns() {
		typ, err := columnType(field)
		if err != nil {
			return nil, err
		}
		name := field.Name()
		if _, twice := r.leaf[name]; twice {
			return nil, ErrColumns.New("column %s is there twice", name)
		}
		r.leaf[name] = i
		switch name {
		case rows.SeqColumn, rows.TimeColumn:
			if typ != rows.Long {
				return nil, ErrColumns.New("column %s is %s", name, rows.TypeName(typ))
			}
		default:
			r.cols = append(r.cols, rows.Column{Name: name, Type: typ})
		}
	}
	for _, name := range []string{rows.SeqColumn, rows.TimeColumn} {
		if _, ok := r.leaf[name]; !ok {
			return nil, ErrColumns.New("column %s is missing", name)
		}
	}
	return r, nil
}

func columnType(c *parquet.Column) (rows.Type, error) {
	if !c.Leaf() || c.Repeated() {
		return 0, ErrColumns.New("column %s is nested", c.Name())
	}
	logical := c.Type().LogicalType()
	kind := c.Type().Kind()
	var integer *format.IntType
	var text, other bool
	if logical != nil && logical.Value != nil {
		switch v := logical.Value.(type) {
		case *format.IntType:
			integer = v
		case *format.StringType, *format.EnumType, *format.JsonType:
			text = true
		default:
			other = true
		}
	}
	switch {
	case other:
	case kind == parquet.Boolean:
		return rows.Boolean, nil
	case kind == parquet.Int32 && (integer == nil || integer.IsSigned):
		return rows.Integer, nil
	case kind == parquet.Int64 && (integer == nil || integer.IsSigned):
		return rows.Long, nil
	case kind == parquet.Float:
		return rows.Float, nil
	case kind == parquet.Double:
		return rows.Double, nil
	case kind == parquet.ByteArray && text:
		return rows.String, nil
	case kind == parquet.ByteArray:
		return rows.Binary, nil
	}
	return 0, ErrColumns.New("column %s has Parquet type %s", c.Name(), c.Type())
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// Rows is the number of rows.
func (r *Reader) Rows() int64 { return r.pf.NumRows() }

// Columns are the columns besides `_seq` and `_timestamp`.
func (r *Reader) Columns() []rows.Column { return r.cols }

// Range restricts a scan: `_seq` in [MinSeq, MaxSeq], `_timestamp` in [From, To). It skips row groups by their statistics; the
// rows that remain still need a look. The zero value of a bound pair is no restriction.
type Range struct {
	MinSeq, MaxSeq uint64
	From, To       int64
}

// Scan calls each with pieces of rows, in order, with the named columns (nil: all); names the file doesn't have are left out.
func (r *Reader) Scan(ctx context.Context, names []string, in Range, each func(*rows.Rows) error) error {
	cols := r.pick(names)
	for g := range r.pf.RowGroups() {
		if !r.overlaps(g, in) {
			continue
		}
		if err := r.scan(ctx, g, cols, each); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) pick(names []string) []rows.Column {
	if names == nil {
		return r.cols
	}
	var cols []rows.Column
	for _, c := range r.cols {
		if slices.Contains(names, c.Name) {
			cols = append(cols, c)
		}
	}
	return cols
}

func (r *Reader) overlaps(g int, in Range) bool {
	if in.MaxSeq > 0 {
		if lo, hi, ok := r.longBounds(g, rows.SeqColumn); ok && (uint64(hi) < in.MinSeq || uint64(lo) > in.MaxSeq) {
			return false
		}
	}
	if in.From != in.To {
		if lo, hi, ok := r.longBounds(g, rows.TimeColumn); ok && (hi < in.From || lo >= in.To) {
			return false
		}
	}
	return true
}

// scan is Scan for one row group.
func (r *Reader) scan(ctx context.Context, g int, cols []rows.Column, each func(*rows.Rows) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ErrDamaged.New("%v", p)
		}
	}()
	group := r.pf.RowGroups()[g]
	seq, tm, cr := r.cursors(group, cols)
	defer closeAll(append(cr, seq, tm))
	for left := group.NumRows(); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(left, pageRows))
		out := &rows.Rows{Cols: make([]rows.Col, len(cols))}
		if out.Seq, err = seq.longs(n); err != nil {
			return err
		}
		if out.Time, err = tm.longs(n); err != nil {
			return err
		}
		for i, c := range cols {
			b := array.NewBuilder(memory.DefaultAllocator, rows.Arrow(c.Type))
			if err := cr[i].read(b, n); err != nil {
				return err
			}
			out.Cols[i] = rows.Col{Column: c, Arr: b.NewArray()}
		}
		if err := each(out); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

func (r *Reader) cursors(group parquet.RowGroup, cols []rows.Column) (seq, tm *cursor, rest []*cursor) {
	chunks := group.ColumnChunks()
	seq = newCursor(chunks[r.leaf[rows.SeqColumn]], rows.SeqColumn)
	tm = newCursor(chunks[r.leaf[rows.TimeColumn]], rows.TimeColumn)
	for _, c := range cols {
		rest = append(rest, newCursor(chunks[r.leaf[c.Name]], c.Name))
	}
	return seq, tm, rest
}

func closeAll(cs []*cursor) {
	for _, c := range cs {
		c.close()
	}
}

// Fetch gives the rows with the given `_seq`, which must ascend; those that aren't there are left out.
func (r *Reader) Fetch(ctx context.Context, names []string, seqs []uint64) (out *rows.Rows, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, ErrDamaged.New("%v", p)
		}
	}()
	cols := r.pick(names)
	out = &rows.Rows{Cols: make([]rows.Col, len(cols))}
	builders := make([]array.Builder, len(cols))
	for i, c := range cols {
		builders[i] = array.NewBuilder(memory.DefaultAllocator, rows.Arrow(c.Type))
	}
	for g, group := range r.pf.RowGroups() {
		if len(seqs) == 0 {
			break
		}
		if !r.overlaps(g, Range{MinSeq: seqs[0], MaxSeq: seqs[len(seqs)-1]}) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		runs, err := r.groupRuns(g, group)
		if err != nil {
			return nil, err
		}
		at, found := locate(runs, seqs)
		if len(at) == 0 {
			continue
		}
		out.Seq = append(out.Seq, found...)
		_, tm, cr := r.cursors(group, cols)
		for _, row := range at {
			if err = tm.seek(row); err != nil {
				break
			}
			var t []int64
			if t, err = tm.longs(1); err != nil {
				break
			}
			out.Time = append(out.Time, t[0])
			for i := range cols {
				if err = cr[i].seek(row); err == nil {
					err = cr[i].read(builders[i], 1)
				}
				if err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		closeAll(append(cr, tm))
		if err != nil {
			return nil, err
		}
	}
	for i, c := range cols {
		out.Cols[i] = rows.Col{Column: c, Arr: builders[i].NewArray()}
	}
	return out, nil
}

// maxRuns is how many runs of a row group are kept in memory.
const maxRuns = 16 << 10

func (r *Reader) groupRuns(g int, group parquet.RowGroup) ([]run, error) {
	r.runMu.Lock()
	defer r.runMu.Unlock()
	if runs, ok := r.runs[g]; ok {
		return runs, nil
	}
	c := newCursor(group.ColumnChunks()[r.leaf[rows.SeqColumn]], rows.SeqColumn)
	defer c.close()
	var runs []run
	for row := int64(0); row < group.NumRows(); {
		seqs, err := c.longs(int(min(pageRows, group.NumRows()-row)))
		if err != nil {
			return nil, err
		}
		for _, s := range seqs {
			if n := len(runs); n > 0 && runs[n-1].seq+runs[n-1].n == s {
				runs[n-1].n++
			} else {
				runs = append(runs, run{s, row, 1})
			}
			row++
		}
	}
	if len(runs) <= maxRuns {
		r.runs[g] = runs
	}
	return runs, nil
}

func locate(runs []run, seqs []uint64) (at, found []int64) {
	for _, s := range seqs {
		i, ok := slices.BinarySearchFunc(runs, int64(s), func(r run, s int64) int {
			switch {
			case r.seq > s:
				return 1
			case r.seq+r.n <= s:
				return -1
			}
			return 0
		})
		if ok {
			at = append(at, runs[i].row+int64(s)-runs[i].seq)
			found = append(found, int64(s))
		}
	}
	return at, found
}

// cursor reads one column of a row group.
type cursor struct {
	name  string
	pages parquet.Pages
	page  parquet.Page
	vals  parquet.ValueReader
	left  int64 // values of vals not yet read
	pos   int64 // row of the next value
	buf   []parquet.Value
}

func newCursor(chunk parquet.ColumnChunk, name string) *cursor {
	return &cursor{name: name, pages: chunk.Pages()}
}

func (c *cursor) close() {
	c.drop()
	_ = c.pages.Close() // nothing was written
}

func (c *cursor) drop() {
	if c.page != nil {
		parquet.Release(c.page)
		c.page, c.vals, c.left = nil, nil, 0
	}
}

func (c *cursor) fill() error {
	for c.left == 0 {
		c.drop()
		page, err := c.pages.ReadPage()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return ErrDamaged.Wrap(err, "column %s", c.name)
		}
		c.page, c.vals, c.left = page, page.Values(), page.NumValues()
	}
	return nil
}

func (c *cursor) seek(row int64) error {
	if row == c.pos {
		return nil
	}
	if row > c.pos && row-c.pos < c.left {
		return c.skip(row - c.pos)
	}
	c.drop()
	if err := c.pages.SeekToRow(row); err != nil {
		return ErrDamaged.Wrap(err, "column %s", c.name)
	}
	c.pos = row
	return nil
}

func (c *cursor) skip(n int64) error {
	for n > 0 {
		buf := c.values(int(min(n, 256)))
		m, err := c.vals.ReadValues(buf)
		if m == 0 && err != nil {
			return ErrDamaged.Wrap(err, "column %s", c.name)
		}
		n -= int64(m)
		c.left -= int64(m)
		c.pos += int64(m)
	}
	return nil
}

func (c *cursor) values(n int) []parquet.Value {
	if cap(c.buf) < n {
		c.buf = make([]parquet.Value, n)
	}
	return c.buf[:n]
}

// longs reads n values that must not be null.
func (c *cursor) longs(n int) ([]int64, error) {
	out := make([]int64, 0, n)
	for len(out) < n {
		if err := c.fill(); err != nil {
			return nil, err
		}
		want := int(min(int64(n-len(out)), c.left))
		if lr, ok := c.vals.(parquet.Int64Reader); ok {
			m, err := lr.ReadInt64s(out[len(out) : len(out)+want])
			if m == 0 && err != nil {
				return nil, ErrDamaged.Wrap(err, "column %s", c.name)
			}
			out = out[:len(out)+m]
			c.left -= int64(m)
			c.pos += int64(m)
			continue
		}
		buf := c.values(want)
		m, err := c.vals.ReadValues(buf)
		if m == 0 && err != nil {
			return nil, ErrDamaged.Wrap(err, "column %s", c.name)
		}
		for _, v := range buf[:m] {
			if v.IsNull() {
				return nil, ErrColumns.New("column %s has nulls", c.name)
			}
			out = append(out, v.Int64())
		}
		c.left -= int64(m)
		c.pos += int64(m)
	}
	return out, nil
}

// read appends n values to a builder of the column's type.
func (c *cursor) read(b array.Builder, n int) error {
	b.Reserve(n)
	for n > 0 {
		if err := c.fill(); err != nil {
			return err
		}
		buf := c.values(int(min(int64(n), c.left, 1024)))
		m, err := c.vals.ReadValues(buf)
		if m == 0 && err != nil {
			return ErrDamaged.Wrap(err, "column %s", c.name)
		}
		appendValues(b, buf[:m])
		n -= m
		c.left -= int64(m)
		c.pos += int64(m)
	}
	return nil
}

func appendValues(b array.Builder, vs []parquet.Value) {
	switch b := b.(type) {
	case *array.Int32Builder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.Append(vs[i].Int32())
			}
		}
	case *array.Int64Builder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.Append(vs[i].Int64())
			}
		}
	case *array.Float32Builder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.Append(vs[i].Float())
			}
		}
	case *array.Float64Builder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.Append(vs[i].Double())
			}
		}
	case *array.BooleanBuilder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.Append(vs[i].Boolean())
			}
		}
	case *array.StringBuilder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.BinaryBuilder.Append(vs[i].ByteArray())
			}
		}
	case *array.BinaryBuilder:
		for i := range vs {
			if vs[i].IsNull() {
				b.AppendNull()
			} else {
				b.Append(vs[i].ByteArray())
			}
		}
	default:
		panic(fmt.Sprintf("segment: no column has type %s", b.Type()))
	}
}

// Schema is the Arrow schema of a scan with all columns, for tests and tools.
func (r *Reader) Schema() *arrow.Schema { return rows.RecordSchema(r.cols, false) }
