package databridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/thrift/lib/go/thrift"
	"pgregory.net/rapid"

	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/databridge/wire"
	"carbonado.dev/sdk/frame"
)

// event is an event as a test writes it: values in the definition's order.
type event struct {
	stream *streamdef.Definition
	time   int64
	values []any
	arb    map[string]string
}

func define(t testing.TB, text string) *streamdef.Definition {
	t.Helper()
	d, _, err := streamdef.Parse("", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// bundleOf writes events as DAS.md section 3.3 says agents do. mark adds field 101.
func bundleOf(events []event, mark bool) *wire.ThriftEventBundle {
	n := int32(len(events))
	session := "session-1"
	b := &wire.ThriftEventBundle{SessionId: &session, EventNum: &n}
	k := 0
	var nulls []byte
	for i, e := range events {
		b.StringAttributeList = append(b.StringAttributeList, e.stream.ID())
		b.LongAttributeList = append(b.LongAttributeList, e.time)
		for _, v := range e.values {
			if k%8 == 0 {
				nulls = append(nulls, 0)
			}
			switch x := v.(type) {
			case nil:
				nulls[k/8] |= 1 << (k % 8)
				b.StringAttributeList = append(b.StringAttributeList, "_null")
			case int32:
				b.IntAttributeList = append(b.IntAttributeList, x)
			case int64:
				b.LongAttributeList = append(b.LongAttributeList, x)
			case float32:
				b.DoubleAttributeList = append(b.DoubleAttributeList, float64(x))
			case float64:
				b.DoubleAttributeList = append(b.DoubleAttributeList, x)
			case bool:
				b.BoolAttributeList = append(b.BoolAttributeList, x)
			case string:
				b.StringAttributeList = append(b.StringAttributeList, x)
			}
			k++
		}
		if e.arb != nil {
			if b.ArbitraryDataMapMap == nil {
				b.ArbitraryDataMapMap = map[int32]map[string]string{}
			}
			b.ArbitraryDataMapMap[int32(i)] = e.arb
		}
	}
	if mark {
		b.Nulls = nulls
	}
	return b
}

// arguments are the bytes of a publish call behind the message's head.
func arguments(t testing.TB, b *wire.ThriftEventBundle) []byte {
	t.Helper()
	out := thrift.NewTMemoryBuffer()
	args := wire.ThriftEventTransmissionServicePublishArgs{EventBundle: b}
	if err := args.Write(context.Background(), thrift.NewTBinaryProtocolConf(out, nil)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sliceConn is a connection on which bytes arrive, in pieces of at most chunk.
type sliceConn struct {
	net.Conn
	data  []byte
	chunk int
}

func (c *sliceConn) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, net.ErrClosed
	}
	n := min(len(p), len(c.data), c.chunk)
	copy(p, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}
func (c *sliceConn) SetReadDeadline(time.Time) error { return nil }

// readBundle reads the arguments of one publish call.
func readBundle(data []byte, chunk int) (*Bundle, error) {
	in := &input{conn: &sliceConn{data: data, chunk: chunk}, idle: time.Second, patience: time.Second}
	if err := in.begin(8 << 20); err != nil {
		return nil, err
	}
	b := &Bundle{}
	return b, b.read(in, func([]byte) {})
}

// finder knows the streams of events.
func finder(defs ...*streamdef.Definition) Finder {
	layouts := map[string]*Layout{}
	for _, d := range defs {
		layouts[d.ID()] = NewLayout(d)
	}
	return func(id []byte) *Layout { return layouts[string(id)] }
}

// rowsOf decodes frames with the Arrow library: stream -> rows as text.
func rowsOf(t testing.TB, parts []Part) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for i, p := range parts {
		h, body, rest, err := frame.Parse(p.Frame)
		if err != nil || len(rest) != 0 || frame.CheckBody(p.Frame) != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if h.Kind != frame.Batch || int(h.Part) != i || int(h.Parts) != len(parts) || h.Schema != p.Layout.Schema.ID || int(h.Rows) != p.Rows {
			t.Fatalf("part %d: header %+v", i, h)
		}
		r, err := ipc.NewReader(bytes.NewReader(append(append([]byte(nil), p.Layout.Schema.Body...), body...)))
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if !r.Next() {
			t.Fatalf("part %d: no batch: %v", i, r.Err())
		}
		batch := r.RecordBatch()
		if int(batch.NumRows()) != p.Rows {
			t.Fatalf("part %d: %d rows, header says %d", i, batch.NumRows(), p.Rows)
		}
		for row := range p.Rows {
			out[p.Layout.ID] = append(out[p.Layout.ID], rowText(batch, row))
		}
		r.Release()
	}
	return out
}

func rowText(batch arrow.RecordBatch, row int) string {
	var cells []string
	for c := range int(batch.NumCols()) {
		cell := "null"
		if col := batch.Column(c); col.IsValid(row) {
			switch a := col.(type) {
			case *array.Float32:
				cell = fmt.Sprint("f", math.Float32bits(a.Value(row)))
			case *array.Float64:
				cell = fmt.Sprint("d", math.Float64bits(a.Value(row)))
			case *array.String:
				cell = fmt.Sprintf("%q", a.Value(row))
				if batch.ColumnName(c) == arbitraryName {
					var m map[string]string
					if err := json.Unmarshal([]byte(a.Value(row)), &m); err != nil {
						cell = err.Error()
					} else {
						b, _ := json.Marshal(m)
						cell = fmt.Sprintf("%q", b)
					}
				}
			default:
				cell = col.ValueStr(row)
			}
		}
		cells = append(cells, batch.ColumnName(c)+"="+cell)
	}
	return strings.Join(cells, " ")
}

// wantRows says what rowsOf must answer.
func wantRows(events []event, now int64) map[string][]string {
	out := map[string][]string{}
	for _, e := range events {
		time := e.time
		var cells []string
		for i, c := range e.stream.Columns() {
			if c.Name == "_timestamp" {
				if v, ok := e.values[i].(int64); ok {
					time = v
				}
				continue
			}
			cell := "null"
			switch x := e.values[i].(type) {
			case float32:
				cell = fmt.Sprint("f", math.Float32bits(x))
			case float64:
				cell = fmt.Sprint("d", math.Float64bits(x))
			case string:
				cell = fmt.Sprintf("%q", x)
			case nil:
			default:
				cell = fmt.Sprint(x)
			}
			cells = append(cells, c.Name+"="+cell)
		}
		if time == 0 {
			time = now
		}
		arb := "null"
		if e.arb != nil {
			b, _ := json.Marshal(e.arb)
			arb = fmt.Sprintf("%q", b)
		}
		row := fmt.Sprintf("_timestamp=%d %s", time, strings.Join(append(cells, "_arbitrary="+arb), " "))
		out[e.stream.ID()] = append(out[e.stream.ID()], row)
	}
	return out
}

func sameRows(t testing.TB, got, want map[string][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("streams: got %d, want %d", len(got), len(want))
	}
	for id, rows := range want {
		for i := range rows {
			if len(got[id]) != len(rows) || got[id][i] != rows[i] {
				t.Fatalf("stream %s, %d rows, want %d; row %d:\n got %v\nwant %s", id, len(got[id]), len(rows), i, got[id], rows[i])
			}
		}
	}
}

const allTypes = `{name:all,metaData:[{name:h,type:string}],correlationData:[{name:c,type:long}],
	payloadData:[{name:i,type:int},{name:f,type:float},{name:d,type:double},{name:b,type:bool},{name:s,type:string},{name:s2,type:string}]}`

func TestTransposeTable(t *testing.T) {
	all := define(t, allTypes)
	small := define(t, `{name:small,version:'2.0.0',payloadData:[{name:s,type:string},{name:i,type:int}]}`)
	none := define(t, `{name:none}`)
	timed := define(t, `{name:timed,payloadData:[{name:a,type:int},{name:_timestamp,type:long},{name:z,type:long}]}`)
	full := event{all, 1000, []any{"host", int64(-7), int32(-1), float32(1.5), math.Pi, true, "söme", ""}, nil}
	for _, c := range []struct {
		name   string
		events []event
		mark   bool
		parts  int
	}{
		{"one", []event{full}, false, 1},
		{"uniform", []event{full, {all, 0, []any{"", int64(1), int32(math.MinInt32), float32(math.Inf(1)), math.NaN(), false, "x", "y"}, nil}, full}, false, 1},
		{"null strings", []event{full, {all, 5, []any{nil, int64(1), int32(1), float32(0), 0.0, false, nil, nil}, nil}}, false, 1},
		{"null int", []event{full, {all, 5, []any{"h", int64(1), nil, float32(0), 0.0, false, "a", "b"}, nil}}, false, 1},
		{"null int and string", []event{{small, 5, []any{nil, nil}, nil}, {small, 6, []any{"x", int32(4)}, nil}}, false, 1},
		{"only nulls", []event{{all, 5, make([]any, 8), nil}, {all, 6, make([]any, 8), nil}}, false, 1},
		{"marked", []event{{all, 5, []any{"_null", nil, nil, float32(0), nil, nil, "_null", nil}, nil}, full}, true, 1},
		{"mixed", []event{full, {small, 3, []any{"k", int32(9)}, nil}, full, {none, 4, nil, nil}, {small, 4, []any{"l", int32(8)}, nil}}, false, 3},
		{"arbitrary", []event{full, {all, 0, full.values, map[string]string{"k": "v", "q\"\n": "ü\\"}}}, false, 1},
		{"no attributes", []event{{none, 7, nil, nil}, {none, 0, nil, nil}}, false, 1},
		{"time attribute", []event{{timed, 7, []any{int32(1), int64(99), int64(3)}, nil}, {timed, 7, []any{int32(1), int64(0), int64(3)}, nil}}, false, 1},
		{"time attribute marked null", []event{{timed, 7, []any{int32(1), nil, nil}, nil}}, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := arguments(t, bundleOf(c.events, c.mark))
			for _, chunk := range []int{1, 7, 1 << 20} {
				b, err := readBundle(data, chunk)
				if err != nil {
					t.Fatal(err)
				}
				if string(b.Session()) != "session-1" || b.Events != len(c.events) || b.HasID {
					t.Fatalf("%q %d %v", b.Session(), b.Events, b.HasID)
				}
				parts, err := b.Transpose(finder(all, small, none, timed), 77, Stamp{Counter: 5, Tenant: -1234}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(parts) != c.parts {
					t.Errorf("%d parts, want %d", len(parts), c.parts)
				}
				sameRows(t, rowsOf(t, parts), wantRows(c.events, 77))
				FreeParts(parts)
			}
		})
	}
}

func TestTransposeRefusals(t *testing.T) {
	all := define(t, allTypes)
	pair := define(t, `{name:pair,payloadData:[{name:a,type:int},{name:b,type:int}]}`)
	full := event{all, 1000, []any{"host", int64(-7), int32(-1), float32(1.5), math.Pi, true, "s", ""}, nil}
	change := func(f func(b *wire.ThriftEventBundle)) *wire.ThriftEventBundle {
		b := bundleOf([]event{full, full, full}, false)
		f(b)
		return b
	}
	num := func(n int32) *int32 { return &n }
	for _, c := range []struct {
		name string
		b    *wire.ThriftEventBundle
		kind error
		text string
	}{
		{"ints short", change(func(b *wire.ThriftEventBundle) { b.IntAttributeList = b.IntAttributeList[:2] }), ErrMalformed, "event 3 of 3, stream all:1.0.0: the list of ints ends before attribute i"},
		{"strings short", change(func(b *wire.ThriftEventBundle) { b.StringAttributeList = b.StringAttributeList[:11] }), ErrMalformed, "strings ends before attribute s2"},
		{"doubles missing", change(func(b *wire.ThriftEventBundle) { b.DoubleAttributeList = nil }), ErrMalformed, "event 1 of 3"},
		{"bools too many", change(func(b *wire.ThriftEventBundle) { b.BoolAttributeList = append(b.BoolAttributeList, true) }), ErrMalformed, "list of bools has 4 elements, 3 events take 3"},
		{"more events than said", change(func(b *wire.ThriftEventBundle) { b.EventNum = num(2) }), ErrMalformed, "2 events take"},
		{"fewer events than said", change(func(b *wire.ThriftEventBundle) { b.EventNum = num(4) }), ErrMalformed, "event 4 of 4"},
		{"huge number", change(func(b *wire.ThriftEventBundle) { b.EventNum = num(math.MaxInt32) }), ErrMalformed, "2147483647 events"},
		{"no number", change(func(b *wire.ThriftEventBundle) { b.EventNum = nil }), ErrMalformed, "0 events"},
		{"unknown stream", change(func(b *wire.ThriftEventBundle) { b.StringAttributeList[0] = "other:1.0.0" }), ErrUnknownStream, "other:1.0.0"},
		{"unknown stream later", change(func(b *wire.ThriftEventBundle) { b.StringAttributeList[4] = "other:1.0.0" }), ErrUnknownStream, "event 2 of 3"},
		{"arbitrary data of no event", change(func(b *wire.ThriftEventBundle) {
			b.ArbitraryDataMapMap = map[int32]map[string]string{3: {"k": "v"}}
		}), ErrMalformed, "event 3"},
		{"not UTF-8", change(func(b *wire.ThriftEventBundle) { b.StringAttributeList[2] = "a\xff" }), ErrUTF8, "attribute s of stream all:1.0.0"},
		{"not UTF-8 with arbitrary data", change(func(b *wire.ThriftEventBundle) {
			b.StringAttributeList[2] = "a\xff"
			b.ArbitraryDataMapMap = map[int32]map[string]string{0: {"k": "v"}}
		}), ErrUTF8, "attribute s"},
		{"arbitrary not UTF-8", change(func(b *wire.ThriftEventBundle) {
			b.ArbitraryDataMapMap = map[int32]map[string]string{0: {"k": "\xff"}}
		}), ErrUTF8, "k"},
		{"split rune", change(func(b *wire.ThriftEventBundle) { b.StringAttributeList[2], b.StringAttributeList[6] = "a\xc3", "\xa9b" }), ErrUTF8, "attribute s"},
		{"which of two ints is null", bundleOf([]event{{pair, 1, []any{int32(1), int32(2)}, nil}, {pair, 1, []any{nil, int32(7)}, nil}}, false), ErrAmbiguous, "event 2 of 2, stream pair:1.0.0: attribute"},
		{"marked null without its text", &wire.ThriftEventBundle{EventNum: num(1), StringAttributeList: []string{"pair:1.0.0", "x"}, LongAttributeList: []int64{1}, IntAttributeList: []int32{1}, Nulls: []byte{1}}, ErrMalformed, "event 1 of 1"},
		{"a large event", &wire.ThriftEventBundle{EventNum: num(1), StringAttributeList: []string{"all:1.0.0", strings.Repeat("x", 4<<20), "", ""}, LongAttributeList: []int64{1, 1}, IntAttributeList: []int32{1}, DoubleAttributeList: []float64{1, 1}, BoolAttributeList: []bool{true}}, ErrEventTooLarge, "all:1.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := readBundle(arguments(t, c.b), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if b.Held() > len(c.b.LongAttributeList) {
				t.Errorf("%d events are held by %d longs", b.Held(), len(c.b.LongAttributeList))
			}
			parts, err := b.Transpose(finder(all, pair), 77, Stamp{}, nil)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || len(parts) != 0 {
				t.Errorf("got %d parts and %v, want %v …%s…", len(parts), err, c.kind, c.text)
			}
		})
	}
}

// TestLargeBundleIsSplit: events that don't fit in one frame come as parts, in order.
func TestLargeBundleIsSplit(t *testing.T) {
	d := define(t, `{name:big,payloadData:[{name:n,type:int},{name:s,type:string}]}`)
	for _, arb := range []map[string]string{nil, {"k": "v"}} {
		var events []event
		for i := range 60 {
			events = append(events, event{d, int64(i + 1), []any{int32(i), strings.Repeat("x", 120_000)}, arb})
		}
		b, err := readBundle(arguments(t, bundleOf(events, false)), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := b.Transpose(finder(d), 0, Stamp{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(parts) < 2 {
			t.Errorf("%d parts", len(parts))
		}
		sameRows(t, rowsOf(t, parts), wantRows(events, 0))
	}
}

func TestBundleIdentity(t *testing.T) {
	d := define(t, `{name:none}`)
	b := bundleOf([]event{{d, 1, nil, nil}}, false)
	source, counter := []byte("0123456789abcdef"), int64(42)
	b.BundleId = &wire.BundleId{Source: source, Counter: &counter}
	got, err := readBundle(arguments(t, b), 3)
	if err != nil || !got.HasID || string(got.Source[:]) != string(source) || got.Counter != 42 {
		t.Errorf("%+v %v", got, err)
	}
	b.BundleId.Source = []byte("short")
	if _, err := readBundle(arguments(t, b), 3); !errors.Is(err, ErrMalformed) {
		t.Errorf("a source of 5 bytes: %v", err)
	}
}

// TestTransposeProperty: whatever events an agent sends, the batches hold them, or the bundle is refused as ambiguous, which
// marking nulls heals.
func TestTransposeProperty(t *testing.T) {
	types := []string{"int", "long", "float", "double", "bool", "string"}
	rapid.Check(t, func(rt *rapid.T) {
		var defs []*streamdef.Definition
		for i := range rapid.IntRange(1, 3).Draw(rt, "streams") {
			d := &streamdef.Definition{Name: fmt.Sprint("s", i), Version: "1.0.0"}
			for j := range rapid.IntRange(0, 6).Draw(rt, "attributes") {
				typ, _ := streamdef.TypeOf(rapid.SampledFrom(types).Draw(rt, "type"))
				a := streamdef.Attribute{Name: fmt.Sprint("a", j), Type: typ}
				switch rapid.IntRange(0, 2).Draw(rt, "section") {
				case 0:
					d.Meta = append(d.Meta, a)
				case 1:
					d.Correlation = append(d.Correlation, a)
				default:
					d.Payload = append(d.Payload, a)
				}
			}
			defs = append(defs, d)
		}
		var events []event
		nulls := rapid.IntRange(0, 3).Draw(rt, "nulls") == 0
		for range rapid.IntRange(1, 12).Draw(rt, "events") {
			e := event{stream: rapid.SampledFrom(defs).Draw(rt, "stream"), time: rapid.Int64Range(0, 3).Draw(rt, "time")}
			for _, c := range e.stream.Columns() {
				if nulls && rapid.IntRange(0, 4).Draw(rt, "null") == 0 {
					e.values = append(e.values, nil)
					continue
				}
				e.values = append(e.values, drawValue(rt, c.Type))
			}
			if rapid.IntRange(0, 5).Draw(rt, "arb") == 0 {
				e.arb = rapid.MapOfN(rapid.String(), rapid.String(), 1, 3).Draw(rt, "map")
				for k, v := range e.arb {
					if !validForTest(k + v) {
						e.arb = map[string]string{"k": "v"}
					}
				}
			}
			events = append(events, e)
		}
		b, err := readBundle(arguments(t, bundleOf(events, false)), rapid.SampledFrom([]int{1, 13, 1 << 20}).Draw(rt, "chunk"))
		if err != nil {
			rt.Fatal(err)
		}
		parts, err := b.Transpose(finder(defs...), 9, Stamp{Counter: 1}, nil)
		if errors.Is(err, ErrAmbiguous) && nulls {
			if b, err = readBundle(arguments(t, bundleOf(events, true)), 1<<20); err != nil {
				rt.Fatal(err)
			}
			parts, err = b.Transpose(finder(defs...), 9, Stamp{Counter: 1}, nil)
		}
		if err != nil {
			rt.Fatal(err)
		}
		sameRows(t, rowsOf(t, parts), wantRows(events, 9))
		FreeParts(parts)
	})
}

func validForTest(s string) bool {
	return strings.ToValidUTF8(s, "") == s && !strings.ContainsRune(s, '\ufffd')
}

func drawValue(rt *rapid.T, typ streamdef.Type) any {
	switch typ {
	case streamdef.Int:
		return rapid.Int32().Draw(rt, "int")
	case streamdef.Long:
		return rapid.Int64().Draw(rt, "long")
	case streamdef.Float:
		return rapid.Float32().Draw(rt, "float")
	case streamdef.Double:
		return rapid.Float64().Draw(rt, "double")
	case streamdef.Bool:
		return rapid.Bool().Draw(rt, "bool")
	}
	s := rapid.String().Draw(rt, "string")
	if !validForTest(s) || s == "_null" {
		return "plain"
	}
	return s
}
