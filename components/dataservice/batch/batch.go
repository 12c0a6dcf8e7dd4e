// Package batch reads and writes the bodies of SCHEMA and BATCH frames: Arrow IPC messages, without copying a column. It must
// not know tables, streams or files.
package batch

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
)

// ErrMalformed is the error of a body that is not what its frame says.
var ErrMalformed = cause.Define("CBN-STORE-030", "A batch is malformed.",
	"The producer sent bytes that are no Arrow record batch of the schema it named: report it against that component.").Code(codes.InvalidArgument)

// SchemaID is the head of the SHA-256 of a schema message.
func SchemaID(message []byte) (id frame.SchemaID) {
	sum := sha256.Sum256(message)
	copy(id[:], sum[:])
	return id
}

// ParseSchema reads a Schema message. Only the types of RecordStore's rows are allowed.
func ParseSchema(message []byte) (schema *arrow.Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			schema, err = nil, ErrMalformed.New("schema: %v", p)
		}
	}()
	r, err := ipc.NewReader(bytes.NewReader(message))
	if err != nil {
		return nil, ErrMalformed.Wrap(err, "schema")
	}
	defer r.Release()
	schema = r.Schema()
	for _, f := range schema.Fields() {
		if _, ok := layouts[f.Type.ID()]; !ok {
			return nil, ErrMalformed.New("field %s has type %s", f.Name, f.Type)
		}
	}
	return schema, nil
}

// SchemaMessage writes a Schema message.
func SchemaMessage(schema *arrow.Schema) ([]byte, error) {
	var buf bytes.Buffer
	p := ipc.GetSchemaPayload(schema, memory.DefaultAllocator)
	defer p.Release()
	if _, err := p.WritePayload(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// AppendMessage writes a RecordBatch message.
func AppendMessage(buf *bytes.Buffer, rec arrow.RecordBatch) error {
	p, err := ipc.GetRecordBatchPayload(rec)
	if err != nil {
		return err
	}
	defer p.Release()
	_, err = p.WritePayload(buf)
	return err
}

// Seal makes a BATCH frame of a record batch. The header's kind, rows and schema are set here.
func Seal(h frame.Header, id frame.SchemaID, rec arrow.RecordBatch) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, 4096))
	buf.Write(make([]byte, frame.HeaderSize))
	if err := AppendMessage(buf, rec); err != nil {
		return nil, err
	}
	n := buf.Len() - frame.HeaderSize
	size := frame.Size(n)
	if size > frame.MaxSize {
		return nil, frame.ErrTooLarge.New("batch of %d rows and %d bytes", rec.NumRows(), n)
	}
	buf.Write(make([]byte, size-buf.Len()))
	h.Kind, h.Schema, h.Rows = frame.Batch, id, uint32(rec.NumRows())
	b := buf.Bytes()
	frame.Seal(b, &h, n)
	return b, nil
}

type layout int

const (
	bits layout = iota
	fixed4
	fixed8
	variable
)

var layouts = map[arrow.Type]layout{
	arrow.BOOL: bits, arrow.INT32: fixed4, arrow.FLOAT32: fixed4, arrow.INT64: fixed8, arrow.FLOAT64: fixed8,
	arrow.STRING: variable, arrow.BINARY: variable,
}

// Parse reads a RecordBatch message of the given schema and rows. The arrays alias body, which must stay untouched as long as
// they are in use. Everything that could later make an array's access fail is checked here: sizes, offsets, bitmaps.
func Parse(schema *arrow.Schema, body []byte, rows int) (arrow.RecordBatch, error) {
	cols, err := parse(schema, body, rows, true)
	if err != nil {
		return nil, err
	}
	return array.NewRecordBatch(schema, cols, int64(rows)), nil
}

// Check checks as Parse does and makes nothing.
func Check(schema *arrow.Schema, body []byte, rows int) error {
	_, err := parse(schema, body, rows, false)
	return err
}

func parse(schema *arrow.Schema, body []byte, rows int, build bool) ([]arrow.Array, error) {
	m, err := readMessage(body)
	if err != nil {
		return nil, err
	}
	if m.rows != int64(rows) {
		return nil, ErrMalformed.New("the header says %d rows, the batch has %d", rows, m.rows)
	}
	n := schema.NumFields()
	if m.nodes.len() != n {
		return nil, ErrMalformed.New("%d columns, the schema has %d", m.nodes.len(), n)
	}
	var cols []arrow.Array
	if build {
		cols = make([]arrow.Array, 0, n)
	}
	next := 0
	take := func() ([]byte, error) {
		if next >= m.buffers.len() {
			return nil, ErrMalformed.New("the batch has %d buffers, more are needed", m.buffers.len())
		}
		off, length := m.buffers.pair(next)
		next++
		if off < 0 || length < 0 || off > int64(len(m.data)) || length > int64(len(m.data))-off {
			return nil, ErrMalformed.New("buffer %d lies outside of the batch", next-1)
		}
		return m.data[off : off+length], nil
	}
	for i := range n {
		f := schema.Field(i)
		length, nulls := m.nodes.pair(i)
		if length != int64(rows) || nulls < 0 || nulls > length {
			return nil, ErrMalformed.New("column %s: %d rows, %d nulls, expected %d rows", f.Name, length, nulls, rows)
		}
		valid, err := take()
		if err != nil {
			return nil, err
		}
		if nulls > 0 && len(valid) < (rows+7)/8 {
			return nil, ErrMalformed.New("column %s: validity of %d bytes for %d rows", f.Name, len(valid), rows)
		}
		lay := layouts[f.Type.ID()]
		first, err := take()
		if err != nil {
			return nil, err
		}
		var second []byte
		if lay == variable {
			if second, err = take(); err != nil {
				return nil, err
			}
		}
		if err := checkBuffers(lay, rows, &first, second); err != nil {
			return nil, ErrMalformed.Wrap(err, "column %s", f.Name)
		}
		if !build {
			continue
		}
		bufs := []*memory.Buffer{nil, memory.NewBufferBytes(first)}
		if nulls > 0 {
			bufs[0] = memory.NewBufferBytes(valid)
		}
		if lay == variable {
			bufs = append(bufs, memory.NewBufferBytes(second))
		}
		// The count of nulls is taken from the bitmap, not from the sender.
		unknown := array.UnknownNullCount
		if nulls == 0 {
			unknown = 0
		}
		cols = append(cols, array.MakeFromData(array.NewData(f.Type, rows, bufs, nil, unknown, 0)))
	}
	if next != m.buffers.len() {
		return nil, ErrMalformed.New("the batch has %d buffers, %d are needed", m.buffers.len(), next)
	}
	return cols, nil
}

func checkBuffers(lay layout, rows int, first *[]byte, second []byte) error {
	need := 0
	switch lay {
	case bits:
		need = (rows + 7) / 8
	case fixed4:
		need = rows * 4
	case fixed8:
		need = rows * 8
	case variable:
		if rows == 0 {
			*first = nil
			return nil
		}
		need = (rows + 1) * 4
	}
	if len(*first) < need {
		return fmt.Errorf("a buffer of %d bytes, %d are needed", len(*first), need)
	}
	*first = aligned((*first)[:need])
	if lay != variable {
		return nil
	}
	offs := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(*first))), rows+1)
	prev := offs[0]
	if prev < 0 {
		return fmt.Errorf("offset %d", prev)
	}
	var bad bool
	for _, o := range offs[1:] {
		bad = bad || o < prev
		prev = o
	}
	if bad || int(prev) > len(second) {
		return fmt.Errorf("offsets are not ascending within %d bytes", len(second))
	}
	return nil
}

// aligned gives b, copied if it doesn't stand at a multiple of 8: producers may pad less than Arrow recommends.
func aligned(b []byte) []byte {
	if len(b) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%8 == 0 {
		return b
	}
	words := make([]uint64, (len(b)+7)/8)
	c := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(b))
	copy(c, b)
	return c
}

type message struct {
	rows    int64
	nodes   structs
	buffers structs
	data    []byte
}

// structs is a flatbuffers vector of structs of two int64.
type structs []byte

func (s structs) len() int { return len(s) / 16 }
func (s structs) pair(i int) (int64, int64) {
	return int64(binary.LittleEndian.Uint64(s[i*16:])), int64(binary.LittleEndian.Uint64(s[i*16+8:]))
}

const (
	headerRecordBatch = 3
	continuation      = 0xFFFFFFFF
)

func readMessage(b []byte) (m message, err error) {
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != continuation {
		return m, ErrMalformed.New("no encapsulated Arrow message")
	}
	n := int64(int32(binary.LittleEndian.Uint32(b[4:])))
	if n < 8 || n > int64(len(b)-8) {
		return m, ErrMalformed.New("message metadata of %d bytes", n)
	}
	fb := flat{b: b[8 : 8+n]}
	msg := fb.root()
	if t := fb.u8(fb.field(msg, 1)); t != headerRecordBatch {
		return m, ErrMalformed.New("message of type %d instead of a record batch", t)
	}
	rb := fb.indirect(fb.field(msg, 2))
	bodyLength := fb.i64(fb.field(msg, 3))
	m.rows = fb.i64(fb.field(rb, 0))
	m.nodes = fb.vector16(fb.field(rb, 1))
	m.buffers = fb.vector16(fb.field(rb, 2))
	if fb.field(rb, 3) != 0 {
		return m, ErrMalformed.New("the batch is compressed")
	}
	rest := b[8+n:]
	if bodyLength < 0 || bodyLength > int64(len(rest)) {
		return m, ErrMalformed.New("body of %d bytes, %d are there", bodyLength, len(rest))
	}
	m.data = rest[:bodyLength]
	if fb.bad {
		return m, ErrMalformed.New("message metadata points outside of itself")
	}
	return m, nil
}

// flat reads flatbuffers with every access checked. Position 0 is "absent"; bad is set at the first access outside.
type flat struct {
	b   []byte
	bad bool
}

func (f *flat) at(pos, n int) []byte {
	if pos <= 0 || pos > len(f.b)-n {
		f.bad = true
		return zeros[:n]
	}
	return f.b[pos : pos+n]
}

var zeros [16]byte

func (f *flat) root() int {
	if len(f.b) < 4 {
		f.bad = true
		return 0
	}
	return int(binary.LittleEndian.Uint32(f.b))
}

// field is the position of a table's field, or 0.
func (f *flat) field(table, i int) int {
	if table == 0 {
		return 0
	}
	vt := table - int(int32(binary.LittleEndian.Uint32(f.at(table, 4))))
	size := int(binary.LittleEndian.Uint16(f.at(vt, 2)))
	slot := 4 + 2*i
	if slot+2 > size {
		return 0
	}
	off := int(binary.LittleEndian.Uint16(f.at(vt+slot, 2)))
	if off == 0 {
		return 0
	}
	return table + off
}

func (f *flat) u8(pos int) byte {
	if pos == 0 {
		return 0
	}
	return f.at(pos, 1)[0]
}

func (f *flat) i64(pos int) int64 {
	if pos == 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(f.at(pos, 8)))
}

func (f *flat) indirect(pos int) int {
	if pos == 0 {
		return 0
	}
	return pos + int(binary.LittleEndian.Uint32(f.at(pos, 4)))
}

func (f *flat) vector16(pos int) structs {
	v := f.indirect(pos)
	if v == 0 {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(f.at(v, 4)))
	if n > len(f.b)/16 {
		f.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	start := v + 4
	if start <= 0 || start > len(f.b)-16*n {
		f.bad = true
		return nil
	}
	return structs(f.b[start : start+16*n])
}
