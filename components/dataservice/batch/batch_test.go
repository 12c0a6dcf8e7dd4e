package batch

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"carbonado.dev/sdk/frame"
)

func sample(t testing.TB, rows int) (*arrow.Schema, arrow.RecordBatch) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64},
		{Name: "i", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "d", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "x", Type: arrow.BinaryTypes.Binary, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for r := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(r))
		if r%3 == 0 {
			for c := 1; c < 7; c++ {
				b.Field(c).AppendNull()
			}
			continue
		}
		b.Field(1).(*array.Int32Builder).Append(int32(r))
		b.Field(2).(*array.Float32Builder).Append(float32(r))
		b.Field(3).(*array.Float64Builder).Append(float64(r))
		b.Field(4).(*array.BooleanBuilder).Append(r%2 == 0)
		b.Field(5).(*array.StringBuilder).Append("value")
		b.Field(6).(*array.BinaryBuilder).Append([]byte{1, 2, 3})
	}
	return schema, b.NewRecordBatch()
}

func TestParseGivesWhatWasWritten(t *testing.T) {
	for _, rows := range []int{0, 1, 7, 200} {
		schema, rec := sample(t, rows)
		msg, err := SchemaMessage(schema)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSchema(msg)
		if err != nil || !got.Equal(schema) {
			t.Fatalf("schema %v, %v", got, err)
		}
		var buf bytes.Buffer
		if err := AppendMessage(&buf, rec); err != nil {
			t.Fatal(err)
		}
		back, err := Parse(schema, buf.Bytes(), rows)
		if err != nil {
			t.Fatal(err)
		}
		if !array.RecordEqual(rec, back) {
			t.Fatalf("got %v, want %v", back, rec)
		}
		// The same bytes at an odd place.
		odd := append([]byte{0}, buf.Bytes()...)[1:]
		if back, err = Parse(schema, odd, rows); err != nil || !array.RecordEqual(rec, back) {
			t.Fatalf("unaligned: %v", err)
		}
	}
}

func TestSealMakesAFrame(t *testing.T) {
	schema, rec := sample(t, 10)
	msg, _ := SchemaMessage(schema)
	b, err := Seal(frame.Header{Tenant: -1234}, SchemaID(msg), rec)
	if err != nil {
		t.Fatal(err)
	}
	h, body, rest, err := frame.Parse(b)
	if err != nil || len(rest) != 0 || h.Rows != 10 || h.Schema != SchemaID(msg) || frame.CheckBody(b) != nil {
		t.Fatalf("%+v %v", h, err)
	}
	if err := Check(schema, body, 10); err != nil {
		t.Fatal(err)
	}
	if err := Check(schema, body, 11); err == nil {
		t.Fatal("a wrong number of rows was taken")
	}
}

func FuzzParse(f *testing.F) {
	schema, rec := sample(f, 20)
	var buf bytes.Buffer
	if err := AppendMessage(&buf, rec); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes(), 20)
	f.Fuzz(func(t *testing.T, b []byte, rows int) {
		if rows < 0 || rows > 1<<20 {
			return
		}
		got, err := Parse(schema, b, rows)
		if err != nil {
			return
		}
		// Whatever was taken can be read through.
		for _, c := range got.Columns() {
			for i := range c.Len() {
				_ = c.ValueStr(i)
			}
		}
	})
}
