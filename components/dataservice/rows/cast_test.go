package rows

import (
	"fmt"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func build[T any](t Type, values ...T) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, Arrow(t))
	for _, v := range values {
		b.(builder[T]).Append(v)
	}
	b.AppendNull()
	return b.NewArray()
}

func TestCast(t *testing.T) {
	for _, x := range []struct {
		from arrow.Array
		to   Type
		want string
		bad  []int32
	}{
		{build(String, "7", " -8 ", "9.0", "x", "", "99999999999"), Integer, "[7 -8 9 (null) (null) (null) (null)]", []int32{3, 4, 5}},
		{build(String, "1e3", "0.1"), Long, "[1000 (null) (null)]", []int32{1}},
		{build(String, "0.1", "nope"), Float, "[0.1 (null) (null)]", []int32{1}},
		{build(String, "true", "FALSE", "1"), Boolean, "[true false (null) (null)]", []int32{2}},
		{build(String, `["a","b"]`, `['a','b']`, "plain", "[broken"), Facet, `["a,b" "a,b" "plain" "[broken" (null)]`, nil},
		{build(Long, int64(1), int64(1)<<40), Integer, "[1 (null) (null)]", []int32{1}},
		{build(Integer, int32(-1)), Double, "[-1 (null)]", nil},
		{build(Double, 2.0, 2.5, math.NaN(), 1e300), Long, "[2 (null) (null) (null) (null)]", []int32{1, 2, 3}},
		{build(Double, 1e300, 0.5), Float, "[(null) 0.5 (null)]", []int32{0}},
		{build(Float, float32(0.1)), String, `["0.1" (null)]`, nil},
		{build(Boolean, true), String, `["true" (null)]`, nil},
	} {
		got, bad := Cast(x.from, x.to)
		if got.String() != x.want || fmt.Sprint(bad) != fmt.Sprint(x.bad) {
			t.Errorf("%s to %s: %s, bad %v, want %s, bad %v", x.from, TypeName(x.to), got, bad, x.want, x.bad)
		}
		from, _ := FromArrow(x.from.DataType())
		if ok, mayFail := Castable(from, x.to); !ok || !mayFail && len(bad) > 0 {
			t.Errorf("%s to %s: castable %v, may fail %v", TypeName(from), TypeName(x.to), ok, mayFail)
		}
	}
	for _, x := range [][2]Type{{Boolean, Integer}, {Long, Boolean}, {Binary, String}, {Double, Binary}} {
		if ok, _ := Castable(x[0], x[1]); ok {
			t.Errorf("%s can become %s", TypeName(x[0]), TypeName(x[1]))
		}
	}
}

func TestSelectSliceProject(t *testing.T) {
	r := &Rows{Seq: []int64{1, 2, 3}, Time: []int64{10, 20, 30}, Cols: []Col{
		{Column{"s", String}, build(String, "a", "b")}, {Column{"n", Integer}, build(Integer, int32(7), int32(8))}}}
	got := r.Select([]int32{2, 0}).Project([]Column{{"n", Long}, {"missing", Double}, {"s", String}})
	if s := fmt.Sprint(got.Record(nil)); got.Seq[0] != 3 || got.Time[1] != 10 || got.Cols[0].Arr.String() != "[(null) 7]" || got.Cols[1].Arr.String() != "[(null) (null)]" || got.Cols[2].Arr.String() != `[(null) "a"]` {
		t.Fatal(s)
	}
	part := r.Slice(1, 3)
	if part.Len() != 2 || part.Cols[0].Arr.String() != `["b" (null)]` || part.Bytes() <= 0 || (&Rows{Cols: []Col{{Column{"s", String}, Nulls(String, 0)}}}).Bytes() != 0 {
		t.Fatalf("%v", part)
	}
}
