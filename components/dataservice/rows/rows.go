// Package rows is the store's rows in memory: columns as Arrow arrays beside `_seq` and `_timestamp`, with selection and casts.
// It must not know where rows come from or go to.
package rows

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Names of the columns that every table has.
const (
	SeqColumn       = "_seq"
	TimeColumn      = "_timestamp"
	IDColumn        = "_id"
	ArbitraryColumn = "_arbitrary"
	VersionColumn   = "_version"
)

// Type of a column.
type Type = analyticsv1.ColumnType

// The types, short.
const (
	String  = analyticsv1.ColumnType_COLUMN_TYPE_STRING
	Integer = analyticsv1.ColumnType_COLUMN_TYPE_INTEGER
	Long    = analyticsv1.ColumnType_COLUMN_TYPE_LONG
	Float   = analyticsv1.ColumnType_COLUMN_TYPE_FLOAT
	Double  = analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE
	Boolean = analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN
	Binary  = analyticsv1.ColumnType_COLUMN_TYPE_BINARY
	Facet   = analyticsv1.ColumnType_COLUMN_TYPE_FACET
)

// TypeName is a type's name as operators write it, for example "LONG".
func TypeName(t Type) string { return strings.TrimPrefix(t.String(), "COLUMN_TYPE_") }

// Arrow is the Arrow type of a column type.
func Arrow(t Type) arrow.DataType {
	switch t {
	case Integer:
		return arrow.PrimitiveTypes.Int32
	case Long:
		return arrow.PrimitiveTypes.Int64
	case Float:
		return arrow.PrimitiveTypes.Float32
	case Double:
		return arrow.PrimitiveTypes.Float64
	case Boolean:
		return arrow.FixedWidthTypes.Boolean
	case Binary:
		return arrow.BinaryTypes.Binary
	default:
		return arrow.BinaryTypes.String
	}
}

// FromArrow is the column type of an Arrow type; ok is false for types that rows don't have.
func FromArrow(t arrow.DataType) (typ Type, ok bool) {
	switch t.ID() {
	case arrow.INT32:
		return Integer, true
	case arrow.INT64:
		return Long, true
	case arrow.FLOAT32:
		return Float, true
	case arrow.FLOAT64:
		return Double, true
	case arrow.BOOL:
		return Boolean, true
	case arrow.STRING:
		return String, true
	case arrow.BINARY:
		return Binary, true
	}
	return 0, false
}

// Column is the name and type of a column.
type Column struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
}

// Col is a column's values.
type Col struct {
	Column
	Arr arrow.Array
}

// Rows is some rows of one table, in `_seq` order unless said otherwise. All slices and arrays have the same length. Rows are
// not changed once made; several Rows may share arrays.
type Rows struct {
	Seq  []int64
	Time []int64
	Cols []Col
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.Seq) }

// Col is the column of that name, or nil.
func (r *Rows) Col(name string) *Col {
	for i := range r.Cols {
		if r.Cols[i].Name == name {
			return &r.Cols[i]
		}
	}
	return nil
}

// Columns are the names and types of the columns.
func (r *Rows) Columns() []Column {
	cols := make([]Column, len(r.Cols))
	for i, c := range r.Cols {
		cols[i] = c.Column
	}
	return cols
}

// Select keeps the rows whose positions are given, in that order. A selection of all rows gives r itself.
func (r *Rows) Select(sel []int32) *Rows {
	if identity(sel, r.Len()) {
		return r
	}
	out := &Rows{Seq: make([]int64, len(sel)), Time: make([]int64, len(sel)), Cols: make([]Col, len(r.Cols))}
	for i, s := range sel {
		out.Seq[i], out.Time[i] = r.Seq[s], r.Time[s]
	}
	for i, c := range r.Cols {
		out.Cols[i] = Col{c.Column, Take(c.Arr, sel)}
	}
	return out
}

// Slice is rows [from, to).
func (r *Rows) Slice(from, to int) *Rows {
	if from == 0 && to == r.Len() {
		return r
	}
	out := &Rows{Seq: r.Seq[from:to], Time: r.Time[from:to], Cols: make([]Col, len(r.Cols))}
	for i, c := range r.Cols {
		out.Cols[i] = Col{c.Column, array.NewSlice(c.Arr, int64(from), int64(to))}
	}
	return out
}

// Where gives the positions of the rows that keep says yes to.
func (r *Rows) Where(keep func(i int) bool) []int32 {
	sel := make([]int32, 0, r.Len())
	for i := range r.Seq {
		if keep(i) {
			sel = append(sel, int32(i))
		}
	}
	return sel
}

// Project gives exactly the columns asked for, in that order: cast if they have another type, null if absent or if the cast
// fails.
func (r *Rows) Project(want []Column) *Rows {
	out := &Rows{Seq: r.Seq, Time: r.Time, Cols: make([]Col, len(want))}
	for i, w := range want {
		out.Cols[i].Column = w
		c := r.Col(w.Name)
		switch {
		case c == nil:
			out.Cols[i].Arr = Nulls(w.Type, r.Len())
		case arrow.TypeEqual(c.Arr.DataType(), Arrow(w.Type)):
			out.Cols[i].Arr = c.Arr
		default:
			out.Cols[i].Arr, _ = Cast(c.Arr, w.Type)
		}
	}
	return out
}

// Bytes estimates the memory of the rows in bytes.
func (r *Rows) Bytes() int {
	n := 16 * r.Len()
	for _, c := range r.Cols {
		switch a := c.Arr.(type) {
		case *array.String:
			if a.Len() > 0 {
				n += a.Len()*5 + len(a.ValueBytes())
			}
		case *array.Binary:
			if a.Len() > 0 {
				n += a.Len()*5 + len(a.ValueBytes())
			}
		default:
			n += a.Len() * 8
		}
	}
	return n
}

// Nulls is n nulls.
func Nulls(t Type, n int) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, Arrow(t))
	b.AppendNulls(n)
	return b.NewArray()
}

// Int64s is an Arrow array over values.
func Int64s(values []int64) arrow.Array {
	return array.NewInt64Data(array.NewData(arrow.PrimitiveTypes.Int64, len(values),
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(values))}, nil, 0, 0))
}

func identity(sel []int32, n int) bool {
	if len(sel) != n {
		return false
	}
	for i, s := range sel {
		if int(s) != i {
			return false
		}
	}
	return true
}

// Take gathers the values at the given positions.
func Take(arr arrow.Array, sel []int32) arrow.Array {
	if identity(sel, arr.Len()) {
		return arr
	}
	b := array.NewBuilder(memory.DefaultAllocator, arr.DataType())
	b.Reserve(len(sel))
	nulls := arr.NullN() > 0
	switch a := arr.(type) {
	case *array.Int32:
		gather(b.(*array.Int32Builder), a, sel, nulls)
	case *array.Int64:
		gather(b.(*array.Int64Builder), a, sel, nulls)
	case *array.Float32:
		gather(b.(*array.Float32Builder), a, sel, nulls)
	case *array.Float64:
		gather(b.(*array.Float64Builder), a, sel, nulls)
	case *array.Boolean:
		gather(b.(*array.BooleanBuilder), a, sel, nulls)
	case *array.String:
		gather(b.(*array.StringBuilder), a, sel, nulls)
	case *array.Binary:
		gather(b.(*array.BinaryBuilder), a, sel, nulls)
	default:
		panic(fmt.Sprintf("rows: no column has type %s", arr.DataType()))
	}
	return b.NewArray()
}

type builder[T any] interface {
	Append(T)
	AppendNull()
}
type values[T any] interface {
	Value(int) T
	IsNull(int) bool
}

func gather[T any](b builder[T], a values[T], sel []int32, nulls bool) {
	for _, s := range sel {
		if nulls && a.IsNull(int(s)) {
			b.AppendNull()
		} else {
			b.Append(a.Value(int(s)))
		}
	}
}

// AppendValue appends one value of an array to a builder of the same type.
func AppendValue(b array.Builder, arr arrow.Array, i int) {
	if arr.IsNull(i) {
		b.AppendNull()
		return
	}
	switch a := arr.(type) {
	case *array.Int32:
		b.(*array.Int32Builder).Append(a.Value(i))
	case *array.Int64:
		b.(*array.Int64Builder).Append(a.Value(i))
	case *array.Float32:
		b.(*array.Float32Builder).Append(a.Value(i))
	case *array.Float64:
		b.(*array.Float64Builder).Append(a.Value(i))
	case *array.Boolean:
		b.(*array.BooleanBuilder).Append(a.Value(i))
	case *array.String:
		b.(*array.StringBuilder).Append(a.Value(i))
	case *array.Binary:
		b.(*array.BinaryBuilder).Append(a.Value(i))
	default:
		panic(fmt.Sprintf("rows: no column has type %s", arr.DataType()))
	}
}

// Record makes an Arrow record of `_seq`, `_timestamp`, and the columns; ids, if not nil, become `_id` in between.
func (r *Rows) Record(ids arrow.Array) arrow.RecordBatch {
	schema := RecordSchema(r.Columns(), ids != nil)
	cols := []arrow.Array{Int64s(r.Seq), Int64s(r.Time)}
	if ids != nil {
		cols = append(cols, ids)
	}
	for _, c := range r.Cols {
		cols = append(cols, c.Arr)
	}
	return array.NewRecordBatch(schema, cols, int64(r.Len()))
}

// RecordSchema is the schema of Record's answer.
func RecordSchema(cols []Column, ids bool) *arrow.Schema {
	fields := []arrow.Field{
		{Name: SeqColumn, Type: arrow.PrimitiveTypes.Int64},
		{Name: TimeColumn, Type: arrow.PrimitiveTypes.Int64},
	}
	if ids {
		fields = append(fields, arrow.Field{Name: IDColumn, Type: arrow.BinaryTypes.String})
	}
	for _, c := range cols {
		fields = append(fields, arrow.Field{Name: c.Name, Type: Arrow(c.Type), Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}
