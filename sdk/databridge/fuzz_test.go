package databridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge/wire"
	"carbonado.dev/sdk/link"
)

// hugeList is a bundle whose list claims n elements and has none.
func hugeList(field uint16, elem byte, n int32) []byte {
	b := appendField(nil, typeStruct, 1)
	b = appendField(b, typeList, field)
	b = append(b, elem)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// malformed are publish arguments that can't be read, by name.
func malformed() map[string][]byte {
	deep := appendField(appendField(nil, typeStruct, 1), typeStruct, 9)
	for range 200 {
		deep = appendField(deep, typeStruct, 1)
	}
	return map[string][]byte{
		"huge list of ints":         hugeList(fieldInts, typeI32, 0x7fffffff),
		"huge list of strings":      hugeList(fieldStrings, typeString, 0x7fffffff),
		"huge list of bools":        hugeList(fieldBools, typeBool, 1<<30),
		"negative length":           hugeList(fieldLongs, typeI64, -5),
		"longs where ints belong":   hugeList(fieldInts, typeI64, 3),
		"huge string":               binary.BigEndian.AppendUint32(appendField(appendField(nil, typeStruct, 1), typeString, fieldSession), 0x7fffffff),
		"negative string":           binary.BigEndian.AppendUint32(appendField(appendField(nil, typeStruct, 1), typeString, fieldSession), 0xffffffff),
		"number of events negative": binary.BigEndian.AppendUint32(appendField(appendField(nil, typeStruct, 1), typeI32, fieldEvents), 0xffffffff),
		"session of a wrong type":   binary.BigEndian.AppendUint32(appendField(appendField(nil, typeStruct, 1), typeI32, fieldSession), 1),
		"huge map":                  append(appendField(appendField(nil, typeStruct, 1), typeMap, fieldArbitrary), typeI32, typeMap, 0x7f, 0xff, 0xff, 0xff),
		"deep nesting":              deep,
		"unknown type":              appendField(appendField(nil, typeStruct, 1), 99, 9),
		"no bundle":                 {typeStop},
		"bundle is no struct":       appendField(nil, typeI32, 1),
		"huge unknown list":         append(appendField(appendField(nil, typeStruct, 1), typeList, 9), typeByte, 0x7f, 0xff, 0xff, 0xff),
	}
}

func TestMalformedBundlesAllocateNothing(t *testing.T) {
	for name, data := range malformed() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := readBundle(data, 1<<20)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
			if grew := after.TotalAlloc - before.TotalAlloc; grew > 256<<10 {
				t.Errorf("%d bytes allocated", grew)
			}
		})
	}
}

// FuzzBundle: no input makes the reader or the transposer panic; errors have a code or are the connection's; and what the
// reader takes, Thrift's generated reader takes with the same lists.
func FuzzBundle(f *testing.F) {
	all := define(f, allTypes)
	pair := define(f, `{name:pair,payloadData:[{name:a,type:int},{name:s,type:string}]}`)
	full := event{all, 1000, []any{"host", int64(-7), int32(-1), float32(1.5), 2.5, true, "s", nil}, map[string]string{"k": "v"}}
	f.Add(arguments(f, bundleOf([]event{full, full}, false)))
	f.Add(arguments(f, bundleOf([]event{{pair, 1, []any{nil, nil}, nil}, full}, true)))
	f.Add(arguments(f, bundleOf([]event{{pair, 1, []any{nil, nil}, nil}, {pair, 1, []any{int32(3), "_null"}, nil}}, false)))
	source, counter := []byte("0123456789abcdef"), int64(42)
	id := bundleOf([]event{{pair, 1, []any{int32(3), "x"}, nil}}, false)
	id.BundleId = &wire.BundleId{Source: source, Counter: &counter}
	f.Add(arguments(f, id))
	for _, data := range malformed() {
		f.Add(data)
	}
	find := finder(all, pair)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := readBundle(data, 64)
		if err != nil {
			return
		}
		args := wire.NewThriftEventTransmissionServicePublishArgs()
		if err := args.Read(context.Background(), thrift.NewTBinaryProtocolConf(&thrift.TMemoryBuffer{Buffer: bytes.NewBuffer(data)}, nil)); err != nil {
			t.Fatalf("the generated reader refuses it: %v", err)
		}
		want := args.EventBundle
		if want == nil || want.GetEventNum() != int32(b.Events) || want.GetSessionId() != string(b.Session()) || len(want.IntAttributeList) != b.intCount() ||
			len(want.LongAttributeList) != b.longCount() || len(want.DoubleAttributeList) != b.doubleCount() || len(want.BoolAttributeList) != b.boolCount() ||
			len(want.StringAttributeList) != len(b.strings) {
			t.Fatalf("read as %+v, the generated reader has %+v", b, want)
		}
		for i, s := range want.StringAttributeList {
			if s != string(b.at(b.strings[i])) {
				t.Fatalf("string %d is %q, want %q", i, b.at(b.strings[i]), s)
			}
		}
		parts, err := b.Transpose(find, 1, Stamp{}, nil)
		if err != nil {
			var c *cause.Error
			if !errors.As(err, &c) || len(parts) != 0 {
				t.Fatalf("%v with %d parts", err, len(parts))
			}
			return
		}
		rows := 0
		for _, r := range rowsOf(t, parts) {
			rows += len(r)
		}
		if rows != b.Events {
			t.Fatalf("%d rows of %d events", rows, b.Events)
		}
	})
}

// benchBundle is what the ingest bench sends: 200 events of about 200 bytes.
func benchBundle(b testing.TB) ([]byte, Finder) {
	d := define(b, `{name:'org.wso2.das.sample.smart.home.data',payloadData:[{name:house_id,type:int},{name:metro_area,type:string},
		{name:state,type:string},{name:device_id,type:int},{name:power_reading,type:float},{name:is_peak,type:bool},{name:note,type:string}]}`)
	var events []event
	for i := range 200 {
		events = append(events, event{d, int64(1700000000000 + i), []any{int32(i % 21), "New York", "NY", int32(i % 7), float32(i), i%2 == 0, fmt.Sprintf("%s-%d", strings.Repeat("n", 80), i)}, nil})
	}
	return arguments(b, bundleOf(events, false)), finder(d)
}

// BenchmarkTranspose reads bundles of 200 events and makes frames of them; it reports ns per event.
func BenchmarkTranspose(b *testing.B) {
	data, find := benchBundle(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	conn := &sliceConn{chunk: 1 << 20}
	in := &input{conn: conn}
	bundle := &Bundle{}
	var parts []Part
	for b.Loop() {
		conn.data = data
		if err := in.begin(8 << 20); err != nil {
			b.Fatal(err)
		}
		if err := bundle.read(in, func([]byte) {}); err != nil {
			b.Fatal(err)
		}
		var err error
		if parts, err = bundle.Transpose(find, 1, Stamp{Counter: 1}, parts[:0]); err != nil || len(parts) != 1 {
			b.Fatal(err)
		}
		link.Free(parts[0].Frame)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/event")
}
