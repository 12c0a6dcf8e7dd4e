package databridge

import (
	"crypto/sha256"
	"encoding/binary"

	flatbuffers "github.com/google/flatbuffers/go"

	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
)

// Layout is a stream definition made ready for encoding: its attributes as columns, its Arrow schema message, and the head of
// its record batches with the places of all that varies. It is immutable and safe for concurrent use.
type Layout struct {
	// ID is "name:version".
	ID         string
	Definition *streamdef.Definition
	// Schema is the Arrow IPC Schema message and its id: `_timestamp`, the attributes, `_arbitrary`.
	Schema *link.SchemaInfo

	attrs []attribute
	// Elements of one event in the bundle's lists; longs and strings count the timestamp and the stream id.
	ints, longs, doubles, bools, strings int
	// timeAttr is the index in attrs of the payload attribute `_timestamp`, whose value is the event's time; -1 is none.
	timeAttr int
	columns  int

	head                             []byte // encapsulated RecordBatch metadata
	atRows, atNodes, atBufs, atBytes int    // places in head
}

type attribute struct {
	name string
	typ  streamdef.Type
	// slot is the element's index within the event's part of its list.
	slot int
}

// NewLayout prepares a valid definition.
func NewLayout(d *streamdef.Definition) *Layout {
	l := &Layout{ID: d.ID(), Definition: d, longs: 1, strings: 1, timeAttr: -1}
	for i, c := range d.Columns() {
		a := attribute{name: c.Name, typ: c.Type}
		counter := l.counter(c.Type)
		a.slot = *counter
		*counter++
		if c.Name == timestampName {
			l.timeAttr = i
		}
		l.attrs = append(l.attrs, a)
	}
	body := schemaMessage(l.attrs)
	sum := sha256.Sum256(body)
	l.Schema = &link.SchemaInfo{Body: body}
	copy(l.Schema.ID[:], sum[:])
	buffers := 0
	for _, t := range l.columnTypes() {
		l.columns++
		buffers += 2
		if t == streamdef.String {
			buffers++
		}
	}
	l.makeHead(l.columns, buffers)
	return l
}

func (l *Layout) counter(t streamdef.Type) *int {
	switch t {
	case streamdef.Int:
		return &l.ints
	case streamdef.Long:
		return &l.longs
	case streamdef.Float, streamdef.Double:
		return &l.doubles
	case streamdef.Bool:
		return &l.bools
	}
	return &l.strings
}

// columnTypes are the types of the record batch's columns in order.
func (l *Layout) columnTypes() []streamdef.Type {
	types := []streamdef.Type{streamdef.Long}
	for i, a := range l.attrs {
		if i != l.timeAttr {
			types = append(types, a.typ)
		}
	}
	return append(types, streamdef.String)
}

const (
	timestampName = "_timestamp"
	arbitraryName = "_arbitrary"
)

// Numbers of Arrow's IPC format (Message.fbs, Schema.fbs).
const (
	metadataV5        = 4
	headerSchema      = 1
	headerRecordBatch = 3
	arrowInt          = 2
	arrowFloat        = 3
	arrowUTF8         = 5
	arrowBool         = 6
)

// schemaMessage makes the Schema message of a stream. Equal attributes give equal bytes.
func schemaMessage(attrs []attribute) []byte {
	b := flatbuffers.NewBuilder(1024)
	fields := []flatbuffers.UOffsetT{schemaField(b, timestampName, streamdef.Long, false)}
	for _, a := range attrs {
		if a.name != timestampName {
			fields = append(fields, schemaField(b, a.name, a.typ, true))
		}
	}
	fields = append(fields, schemaField(b, arbitraryName, streamdef.String, true))
	b.StartVector(4, len(fields), 4)
	for i := len(fields) - 1; i >= 0; i-- {
		b.PrependUOffsetT(fields[i])
	}
	vector := b.EndVector(len(fields))
	b.StartObject(4)
	b.PrependUOffsetTSlot(1, vector, 0)
	schema := b.EndObject()
	return encapsulate(finishMessage(b, headerSchema, schema, 0))
}

func schemaField(b *flatbuffers.Builder, name string, t streamdef.Type, nullable bool) flatbuffers.UOffsetT {
	text := b.CreateString(name)
	var kind byte
	switch t {
	case streamdef.Int, streamdef.Long:
		kind = arrowInt
		b.StartObject(2)
		b.PrependInt32Slot(0, map[streamdef.Type]int32{streamdef.Int: 32, streamdef.Long: 64}[t], 0)
		b.PrependBoolSlot(1, true, false)
	case streamdef.Float, streamdef.Double:
		kind = arrowFloat
		b.StartObject(1)
		b.PrependInt16Slot(0, map[streamdef.Type]int16{streamdef.Float: 1, streamdef.Double: 2}[t], 0)
	case streamdef.Bool:
		kind = arrowBool
		b.StartObject(0)
	default:
		kind = arrowUTF8
		b.StartObject(0)
	}
	typ := b.EndObject()
	b.StartVector(4, 0, 4)
	children := b.EndVector(0)
	b.StartObject(7)
	b.PrependUOffsetTSlot(0, text, 0)
	b.PrependBoolSlot(1, nullable, false)
	b.PrependByteSlot(2, kind, 0)
	b.PrependUOffsetTSlot(3, typ, 0)
	b.PrependUOffsetTSlot(5, children, 0)
	return b.EndObject()
}

func finishMessage(b *flatbuffers.Builder, kind byte, header flatbuffers.UOffsetT, body int64) []byte {
	b.StartObject(5)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependByteSlot(1, kind, 0)
	b.PrependUOffsetTSlot(2, header, 0)
	b.PrependInt64Slot(3, body, 0)
	b.Finish(b.EndObject())
	return b.FinishedBytes()
}

// encapsulate puts Arrow's message prefix before the metadata and pads it to 8 bytes.
func encapsulate(meta []byte) []byte {
	padded := (len(meta) + 7) &^ 7
	out := make([]byte, 8, 8+padded)
	binary.LittleEndian.PutUint32(out, 0xffffffff)
	binary.LittleEndian.PutUint32(out[4:], uint32(padded))
	out = append(out, meta...)
	return append(out, make([]byte, padded-len(meta))...)
}

// makeHead makes the RecordBatch message with ones for all numbers and finds their places.
func (l *Layout) makeHead(columns, buffers int) {
	b := flatbuffers.NewBuilder(1024)
	pairs := func(n int) flatbuffers.UOffsetT {
		b.StartVector(16, n, 8)
		for range 2 * n {
			b.PrependInt64(1)
		}
		return b.EndVector(n)
	}
	bufs := pairs(buffers)
	nodes := pairs(columns)
	b.StartObject(5)
	b.PrependInt64Slot(0, 1, 0)
	b.PrependUOffsetTSlot(1, nodes, 0)
	b.PrependUOffsetTSlot(2, bufs, 0)
	meta := finishMessage(b, headerRecordBatch, b.EndObject(), 1)
	l.head = encapsulate(meta)
	m := flatbuffers.Table{Bytes: meta, Pos: flatbuffers.GetUOffsetT(meta)}
	batch := flatbuffers.Table{Bytes: meta, Pos: m.Indirect(m.Pos + flatbuffers.UOffsetT(m.Offset(8)))}
	const prefix = 8
	l.atBytes = prefix + int(m.Pos) + int(m.Offset(10))
	l.atRows = prefix + int(batch.Pos) + int(batch.Offset(4))
	l.atNodes = prefix + int(batch.Vector(flatbuffers.UOffsetT(batch.Offset(6))))
	l.atBufs = prefix + int(batch.Vector(flatbuffers.UOffsetT(batch.Offset(8))))
}

// Stamp is what the producer writes into the headers of a bundle's frames.
type Stamp struct {
	Source  frame.Source
	Counter uint64
	Tenant  int32
	Epoch   uint64
	// Trace that the frames belong to; zero is none.
	Trace frame.Trace
}

// Part is one frame of a bundle: rows of one stream. Its buffer comes from link.Alloc; whoever takes the part frees it.
type Part struct {
	Layout *Layout
	Rows   int
	Frame  []byte
}

// FreeParts gives the buffers of parts back that nobody took.
func FreeParts(parts []Part) {
	for i := range parts {
		link.Free(parts[i].Frame)
		parts[i].Frame = nil
	}
}

// seal writes the headers once the number of parts is known.
func seal(parts []Part, stamp Stamp) error {
	if len(parts) > 0xffff {
		return ErrTooLarge.New("a bundle of %d parts", len(parts))
	}
	for i := range parts {
		p := &parts[i]
		frame.Seal(p.Frame, &frame.Header{
			Kind: frame.Batch, Source: stamp.Source, Counter: stamp.Counter, Part: uint16(i), Parts: uint16(len(parts)),
			Schema: p.Layout.Schema.ID, Rows: uint32(p.Rows), Tenant: stamp.Tenant, Epoch: stamp.Epoch, Trace: stamp.Trace,
		}, bodySize(p.Frame))
	}
	return nil
}

// bodySize: bodies are multiples of 8 bytes, so a frame holds no padding.
func bodySize(b []byte) int { return len(b) - frame.HeaderSize }
