package analyticsengine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"carbonado.dev/carbonado/components/analyticsengine/statement"
)

// batchRows and batchBytes bound one record batch of a result; pieceBytes bounds one message.
const (
	batchRows  = 4096
	batchBytes = 1 << 20
	pieceBytes = 1 << 20
)

// arrowSink makes an Arrow IPC stream of a result and hands it on in pieces. It doesn't keep rows beyond one batch.
type arrowSink struct {
	send   func(piece []byte) error
	buf    bytes.Buffer
	writer *ipc.Writer
	build  *array.RecordBuilder
	kinds  []string
	rows   int
	bytes  int
}

// arrowType maps a type of DuckDB. What has no counterpart travels as text.
func arrowType(t string) (arrow.DataType, string) {
	switch {
	case t == "BOOLEAN":
		return arrow.FixedWidthTypes.Boolean, "bool"
	case t == "TINYINT" || t == "SMALLINT" || t == "INTEGER":
		return arrow.PrimitiveTypes.Int32, "int32"
	case t == "BIGINT" || t == "HUGEINT" || t == "UBIGINT" || t == "UINTEGER" || t == "USMALLINT" || t == "UTINYINT":
		return arrow.PrimitiveTypes.Int64, "int64"
	case t == "FLOAT":
		return arrow.PrimitiveTypes.Float32, "float32"
	case t == "DOUBLE":
		return arrow.PrimitiveTypes.Float64, "float64"
	case t == "BLOB":
		return arrow.BinaryTypes.Binary, "binary"
	case t == "DATE":
		return arrow.FixedWidthTypes.Date32, "date"
	case t == "TIMESTAMP":
		return &arrow.TimestampType{Unit: arrow.Microsecond}, "timestamp"
	case t == "TIMESTAMP WITH TIME ZONE" || t == "TIMESTAMPTZ":
		return arrow.FixedWidthTypes.Timestamp_us, "timestamp"
	case strings.HasPrefix(t, "DECIMAL("):
		var width, scale int32
		if _, err := fmt.Sscanf(t, "DECIMAL(%d,%d)", &width, &scale); err == nil {
			return &arrow.Decimal128Type{Precision: width, Scale: scale}, "decimal"
		}
	}
	return arrow.BinaryTypes.String, "text"
}

func (a *arrowSink) Columns(cols []statement.ResultColumn) error {
	fields := make([]arrow.Field, len(cols))
	a.kinds = make([]string, len(cols))
	for i, c := range cols {
		var typ arrow.DataType
		typ, a.kinds[i] = arrowType(c.Type)
		fields[i] = arrow.Field{Name: c.Name, Type: typ, Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	a.build = array.NewRecordBuilder(memory.DefaultAllocator, schema)
	a.writer = ipc.NewWriter(&a.buf, ipc.WithSchema(schema))
	return nil
}

func (a *arrowSink) Row(values []any) error {
	for i, v := range values {
		n, err := appendValue(a.build.Field(i), a.kinds[i], v)
		if err != nil {
			return err
		}
		a.bytes += n
	}
	a.rows++
	if a.rows >= batchRows || a.bytes >= batchBytes {
		return a.flush()
	}
	return nil
}

func (a *arrowSink) flush() error {
	rec := a.build.NewRecordBatch()
	defer rec.Release()
	a.rows, a.bytes = 0, 0
	if err := a.writer.Write(rec); err != nil {
		return statement.ErrEngine.Wrap(err, "Arrow batch")
	}
	return a.drain()
}

// drain hands on what the writer has written.
func (a *arrowSink) drain() error {
	for a.buf.Len() > 0 {
		piece := append([]byte(nil), a.buf.Next(pieceBytes)...)
		if err := a.send(piece); err != nil {
			return err
		}
	}
	a.buf.Reset()
	return nil
}

// close ends the stream.
func (a *arrowSink) close() error {
	if a.writer == nil {
		return nil
	}
	if a.rows > 0 {
		if err := a.flush(); err != nil {
			return err
		}
	}
	a.build.Release()
	if err := a.writer.Close(); err != nil {
		return statement.ErrEngine.Wrap(err, "Arrow stream")
	}
	return a.drain()
}

// whole turns any whole number into an int64; sums beyond it are refused, where Spark would wrap around.
func whole(v any) (int64, error) {
	switch v := v.(type) {
	case int8:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case int64:
		return v, nil
	case uint8:
		return int64(v), nil
	case uint16:
		return int64(v), nil
	case uint32:
		return int64(v), nil
	case uint64:
		if v <= 1<<63-1 {
			return int64(v), nil
		}
	case *big.Int:
		if v.IsInt64() {
			return v.Int64(), nil
		}
	}
	return 0, statement.ErrRun.New("the number %v is out of the range of BIGINT", v)
}

// appendValue adds a value and says about how many bytes it takes.
func appendValue(b array.Builder, kind string, v any) (int, error) {
	if v == nil {
		b.AppendNull()
		return 1, nil
	}
	switch kind {
	case "bool":
		b.(*array.BooleanBuilder).Append(v.(bool))
	case "int32":
		n, err := whole(v)
		if err != nil {
			return 0, err
		}
		b.(*array.Int32Builder).Append(int32(n))
	case "int64":
		n, err := whole(v)
		if err != nil {
			return 0, err
		}
		b.(*array.Int64Builder).Append(n)
	case "float32":
		b.(*array.Float32Builder).Append(v.(float32))
	case "float64":
		b.(*array.Float64Builder).Append(v.(float64))
	case "binary":
		x := v.([]byte)
		b.(*array.BinaryBuilder).Append(x)
		return len(x) + 4, nil
	case "date":
		b.(*array.Date32Builder).Append(arrow.Date32FromTime(v.(time.Time)))
	case "timestamp":
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(v.(time.Time).UnixMicro()))
	case "decimal":
		b.(*array.Decimal128Builder).Append(decimal128.FromBigInt(v.(statement.Decimal).Unscaled))
		return 16, nil
	default:
		s, err := text(v)
		if err != nil {
			return 0, err
		}
		b.(*array.StringBuilder).Append(s)
		return len(s) + 4, nil
	}
	return 8, nil
}

// text writes a value that has no type of its own on the wire; arrays are JSON.
func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []any:
		plain := make([]any, len(v))
		for i, x := range v {
			p, err := jsonValue(x)
			if err != nil {
				return "", err
			}
			plain[i] = p
		}
		b, err := json.Marshal(plain)
		if err != nil {
			return "", statement.ErrEngine.Wrap(err, "array")
		}
		return string(b), nil
	case statement.Interval:
		return fmt.Sprintf("%d months %d days %d microseconds", v.Months, v.Days, v.Micros), nil
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04:05.999999"), nil
	}
	return fmt.Sprint(v), nil
}

// jsonValue is a value as JSON has it: numbers exact, NaN and infinities as text, times as "2006-01-02 15:04:05.999".
func jsonValue(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string:
		return v, nil
	case []byte:
		return v, nil // base64
	case float32:
		return jsonFloat(float64(v), 32), nil
	case float64:
		return jsonFloat(v, 64), nil
	case statement.Decimal:
		return json.Number(v.Text), nil
	case time.Time, []any, statement.Interval:
		s, err := text(v)
		if l, ok := v.([]any); ok && err == nil && l != nil {
			return json.RawMessage(s), nil
		}
		return s, err
	}
	return whole(v)
}

func jsonFloat(v float64, bits int) any {
	if v != v || v > 1.7976931348623157e308 || v < -1.7976931348623157e308 {
		return strconv.FormatFloat(v, 'g', -1, bits)
	}
	return json.Number(strconv.FormatFloat(v, 'g', -1, bits))
}
