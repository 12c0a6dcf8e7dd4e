package segment

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"strings"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"carbonado.dev/carbonado/components/dataservice/rows"
)

// column gathers the values of one column of a row group. data holds a slot for every row, null or not: fixed-width values as
// they are, booleans a byte each; strings lie in data between offs, or are indices of dict.
type column struct {
	name     string
	typ      rows.Type
	required bool

	rows  int
	data  []byte
	valid []byte // one byte a row; nil while no null was seen
	nullN int

	offs []uint32
	dict *dict
	idx  []int32
	// skipDict counts down row groups that don't try a dictionary, after one that failed.
	skipDict int

	pages []pageIndex
	i32   []int32
	i64   []int64
}

func newColumn(name string, typ rows.Type, required bool) *column {
	c := &column{name: name, typ: typ, required: required}
	c.reset()
	return c
}

func (c *column) isBytes() bool {
	return c.typ == rows.String || c.typ == rows.Facet || c.typ == rows.Binary
}

func (c *column) reset() {
	c.rows, c.nullN = 0, 0
	c.data, c.valid, c.idx = c.data[:0], nil, c.idx[:0]
	if !c.isBytes() {
		return
	}
	c.offs = append(c.offs[:0], 0)
	if c.dict == nil && c.skipDict > 0 {
		c.skipDict--
		return
	}
	if c.dict == nil {
		c.dict = newDict()
	}
	c.dict.reset()
}

func (c *column) physical() format.Type {
	switch c.typ {
	case rows.Integer:
		return format.Int32
	case rows.Long:
		return format.Int64
	case rows.Float:
		return format.Float
	case rows.Double:
		return format.Double
	case rows.Boolean:
		return format.Boolean
	default:
		return format.ByteArray
	}
}

func (c *column) element() format.SchemaElement {
	e := format.SchemaElement{Name: c.name, Type: thrift.New(c.physical()), RepetitionType: thrift.New(format.Optional)}
	if c.required {
		e.RepetitionType = thrift.New(format.Required)
	}
	if c.typ == rows.String || c.typ == rows.Facet {
		e.ConvertedType = thrift.New(deprecated.UTF8)
		e.LogicalType = format.LogicalType{Value: &format.StringType{}}
	}
	return e
}

func (c *column) encoding() format.Encoding {
	switch {
	case c.isBytes() && c.dict != nil:
		return format.RLEDictionary
	case c.isBytes():
		return format.DeltaLengthByteArray
	case c.typ == rows.Integer || c.typ == rows.Long:
		return format.DeltaBinaryPacked
	}
	return format.Plain
}

func (c *column) markValid(n int) {
	if c.valid != nil {
		for range n {
			c.valid = append(c.valid, 1)
		}
	}
	c.rows += n
}

func (c *column) markNulls(arr arrow.Array) {
	c.allValid()
	for i := range arr.Len() {
		if arr.IsNull(i) {
			c.valid = append(c.valid, 0)
			c.nullN++
		} else {
			c.valid = append(c.valid, 1)
		}
	}
	c.rows += arr.Len()
}

func (c *column) allValid() {
	if c.valid == nil {
		c.valid = bytes.Repeat([]byte{1}, c.rows)
	}
}

// nulls adds n nulls.
func (c *column) nulls(n int) {
	c.allValid()
	c.valid = append(c.valid, make([]byte, n)...)
	c.nullN += n
	c.rows += n
	switch {
	case c.dict != nil:
		c.idx = append(c.idx, make([]int32, n)...)
	case c.isBytes():
		for range n {
			c.offs = append(c.offs, uint32(len(c.data)))
		}
	default:
		c.data = append(c.data, make([]byte, n*c.width())...)
	}
}

func (c *column) width() int {
	switch c.typ {
	case rows.Integer, rows.Float:
		return 4
	case rows.Boolean:
		return 1
	}
	return 8
}

func (c *column) longs(v []int64) {
	c.data = append(c.data, arrow.Int64Traits.CastToBytes(v)...)
	c.rows += len(v)
}

// dictTry is how many rows decide whether a column has few different values.
const dictTry = 4096

// strings adds values that lie in all, cut at offs. The first offset may be more than 0.
func (c *column) strings(offs []int32, all []byte, arr arrow.Array) {
	base := offs[0]
	n := len(offs) - 1
	if c.dict == nil {
		start := uint32(len(c.data))
		c.data = append(c.data, all...)
		for _, o := range offs[1:] {
			c.offs = append(c.offs, start+uint32(o-base))
		}
		return
	}
	nulls := arr.NullN() > 0
	for i := range n {
		if nulls && arr.IsNull(i) {
			c.idx = append(c.idx, 0)
			continue
		}
		c.idx = append(c.idx, c.dict.add(all[offs[i]-base:offs[i+1]-base]))
	}
	if c.dict.full() || len(c.idx) >= dictTry && c.dict.len() > len(c.idx)/2 {
		c.spill()
	}
}

// spill gives the dictionary up: the values so far are written out.
func (c *column) spill() {
	for i, x := range c.idx {
		if c.valid == nil || c.valid[i] != 0 {
			c.data = append(c.data, c.dict.value(x)...)
		}
		c.offs = append(c.offs, uint32(len(c.data)))
	}
	c.idx = c.idx[:0]
	c.dict = nil
	c.skipDict = 8
}

// appendInvalid adds strings some of which are not UTF-8: their bad bytes become U+FFFD, because readers refuse a file with
// them.
func (c *column) appendInvalid(a *array.String) error {
	var all []byte
	offs := make([]int32, 1, a.Len()+1)
	for i := range a.Len() {
		all = append(all, strings.ToValidUTF8(a.Value(i), "\uFFFD")...)
		offs = append(offs, int32(len(all)))
	}
	c.strings(offs, all, a)
	return nil
}

// encode writes rows [from, to) as a data page.
func (c *column) encode(dst []byte, from, to int) ([]byte, error) {
	var valid []byte
	if !c.required {
		if c.valid != nil {
			valid = c.valid[from:to]
			if bytes.IndexByte(valid, 0) < 0 {
				valid = nil
			}
		}
		dst = appendLevels(dst, valid, to-from)
	}
	var part []byte
	var err error
	switch {
	case c.dict != nil:
		c.i32 = pick(c.i32[:0], c.idx[from:to], valid)
		part, err = new(rle.DictionaryEncoding).EncodeInt32(nil, c.i32)
	case c.isBytes():
		c.i32 = c.i32[:0]
		for i := from; i < to; i++ {
			if valid == nil || valid[i-from] != 0 {
				c.i32 = append(c.i32, int32(c.offs[i+1]-c.offs[i]))
			}
		}
		if part, err = new(delta.BinaryPackedEncoding).EncodeInt32(nil, c.i32); err == nil {
			dst = append(dst, part...)
			part = c.data[c.offs[from]:c.offs[to]]
			if valid != nil {
				// Null slots may hold bytes.
				part = nil
				for i := from; i < to; i++ {
					if valid[i-from] != 0 {
						part = append(part, c.data[c.offs[i]:c.offs[i+1]]...)
					}
				}
			}
		}
	case c.typ == rows.Integer:
		c.i32 = pick(c.i32[:0], view[int32](c.data)[from:to], valid)
		part, err = new(delta.BinaryPackedEncoding).EncodeInt32(nil, c.i32)
	case c.typ == rows.Long:
		c.i64 = pick(c.i64[:0], view[int64](c.data)[from:to], valid)
		part, err = new(delta.BinaryPackedEncoding).EncodeInt64(nil, c.i64)
	case c.typ == rows.Boolean:
		part = packBools(c.data[from:to], valid)
	default:
		w := c.width()
		if valid == nil {
			part = c.data[from*w : to*w]
			break
		}
		for i := from; i < to; i++ {
			if valid[i-from] != 0 {
				part = append(part, c.data[i*w:(i+1)*w]...)
			}
		}
	}
	return append(dst, part...), err
}

func pick[T any](dst, src []T, valid []byte) []T {
	if valid == nil {
		return src
	}
	for i, v := range src {
		if valid[i] != 0 {
			dst = append(dst, v)
		}
	}
	return dst
}

func view[T any](b []byte) []T {
	if len(b) == 0 {
		return nil
	}
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

func packBools(v, valid []byte) []byte {
	out := make([]byte, 0, (len(v)+7)/8)
	var b byte
	n := 0
	for i, x := range v {
		if valid != nil && valid[i] == 0 {
			continue
		}
		b |= x << (n % 8)
		if n++; n%8 == 0 {
			out = append(out, b)
			b = 0
		}
	}
	if n%8 != 0 {
		out = append(out, b)
	}
	return out
}

// appendLevels writes definition levels of bit width 1: one run if nothing is null, else bit-packed.
func appendLevels(dst, valid []byte, n int) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	if valid == nil {
		dst = binary.AppendUvarint(dst, uint64(n)<<1)
		dst = append(dst, 1)
	} else {
		groups := (n + 7) / 8
		dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
		packed := packBools(valid, nil)
		dst = append(dst, packed...)
	}
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// statistics are those of the whole chunk.
func (c *column) statistics() format.Statistics {
	s := format.Statistics{NullCount: int64(c.nullN)}
	if c.dict != nil && (c.typ == rows.String || c.typ == rows.Facet) {
		s.MinValue, s.MaxValue = c.dict.bounds()
		return s
	}
	s.MinValue, s.MaxValue = c.bounds(0, c.rows)
	return s
}

// index adds the bounds of a page of numbers.
func (c *column) index(x *format.ColumnIndex, from, to int) {
	if c.isBytes() || c.typ == rows.Boolean {
		return
	}
	lo, hi := c.bounds(from, to)
	var nulls int64
	if c.valid != nil {
		nulls = int64(bytes.Count(c.valid[from:to], []byte{0}))
	}
	if lo == nil && nulls < int64(to-from) {
		// Only NaN: bounds can't be said, so the page must not be pruned.
		lo, hi = c.widest()
	}
	x.NullPages = append(x.NullPages, lo == nil)
	if lo == nil {
		lo, hi = []byte{}, []byte{}
	}
	x.MinValues = append(x.MinValues, lo)
	x.MaxValues = append(x.MaxValues, hi)
	x.NullCounts = append(x.NullCounts, nulls)
	if c.required && c.name == rows.SeqColumn {
		x.BoundaryOrder = format.Ascending
	}
}

func (c *column) widest() (lo, hi []byte) {
	if c.typ == rows.Float {
		return fixed(float32(math.Inf(-1))), fixed(float32(math.Inf(1)))
	}
	return fixed(math.Inf(-1)), fixed(math.Inf(1))
}

func (c *column) bounds(from, to int) (lo, hi []byte) {
	switch c.typ {
	case rows.Integer:
		return minmax(view[int32](c.data), c.valid, from, to)
	case rows.Long:
		return minmax(view[int64](c.data), c.valid, from, to)
	case rows.Float:
		return minmax(view[float32](c.data), c.valid, from, to)
	case rows.Double:
		return minmax(view[float64](c.data), c.valid, from, to)
	}
	return nil, nil
}

func minmax[T int32 | int64 | float32 | float64](v []T, valid []byte, from, to int) (lo, hi []byte) {
	var a, b T
	found := false
	for i := from; i < to; i++ {
		x := v[i]
		if valid != nil && valid[i] == 0 || x != x {
			continue
		}
		if !found {
			a, b, found = x, x, true
			continue
		}
		a, b = min(a, x), max(b, x)
	}
	if !found {
		return nil, nil
	}
	if a == 0 {
		a = negZero(a) // -0.0 sorts before +0.0 for readers that compare bits
	}
	return fixed(a), fixed(b)
}

func negZero[T int32 | int64 | float32 | float64](z T) T {
	switch p := any(&z).(type) {
	case *float32:
		*p = float32(math.Copysign(0, -1))
	case *float64:
		*p = math.Copysign(0, -1)
	}
	return z
}

func fixed[T int32 | int64 | float32 | float64](v T) []byte {
	switch x := any(v).(type) {
	case int32:
		return binary.LittleEndian.AppendUint32(nil, uint32(x))
	case int64:
		return binary.LittleEndian.AppendUint64(nil, uint64(x))
	case float32:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(x))
	case float64:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(x))
	}
	return nil
}

const (
	dictMax      = 1 << 15
	dictMaxBytes = 1 << 20
)

// dict numbers different byte strings in order of first appearance.
type dict struct {
	table []uint32 // 1 + index, by hash
	hash  []uint32
	offs  []uint32
	data  []byte
}

func newDict() *dict { return &dict{table: make([]uint32, 256)} }

func (d *dict) reset() {
	clear(d.table)
	d.hash, d.offs, d.data = d.hash[:0], append(d.offs[:0], 0), d.data[:0]
}

func (d *dict) len() int             { return len(d.hash) }
func (d *dict) full() bool           { return len(d.hash) >= dictMax || len(d.data) >= dictMaxBytes }
func (d *dict) value(i int32) []byte { return d.data[d.offs[i]:d.offs[i+1]] }

func (d *dict) add(v []byte) int32 {
	h := hash(v)
	mask := uint32(len(d.table) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		x := d.table[i]
		if x == 0 {
			n := len(d.hash)
			d.table[i] = uint32(n) + 1
			d.hash = append(d.hash, h)
			d.data = append(d.data, v...)
			d.offs = append(d.offs, uint32(len(d.data)))
			if 2*(n+1) > len(d.table) {
				d.grow()
			}
			return int32(n)
		}
		if d.hash[x-1] == h && string(d.value(int32(x-1))) == string(v) {
			return int32(x - 1)
		}
	}
}

func (d *dict) grow() {
	d.table = make([]uint32, 2*len(d.table))
	mask := uint32(len(d.table) - 1)
	for n, h := range d.hash {
		i := h & mask
		for d.table[i] != 0 {
			i = (i + 1) & mask
		}
		d.table[i] = uint32(n) + 1
	}
}

// plain writes the entries as a dictionary page.
func (d *dict) plain(dst []byte) []byte {
	for i := range d.hash {
		v := d.value(int32(i))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v)))
		dst = append(dst, v...)
	}
	return dst
}

// maxBound is the longest string kept as a bound.
const maxBound = 64

func (d *dict) bounds() (lo, hi []byte) {
	for i := range d.hash {
		v := d.value(int32(i))
		if i == 0 || bytes.Compare(v, lo) < 0 {
			lo = v
		}
		if i == 0 || bytes.Compare(v, hi) > 0 {
			hi = v
		}
	}
	if len(lo) == 0 || len(lo) > maxBound || len(hi) > maxBound {
		return nil, nil
	}
	return append([]byte{}, lo...), append([]byte{}, hi...)
}

var seed = maphash.MakeSeed()

func hash(b []byte) uint32 { return uint32(maphash.Bytes(seed, b)) }
