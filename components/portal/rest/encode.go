package rest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Columns that the store adds to each row.
const (
	columnSeq       = "_seq"
	columnTimestamp = "_timestamp"
	columnID        = "_id"
	columnArbitrary = "_arbitrary"
)

// encoder writes rows as DAS's record beans, with commas between them.
type encoder struct {
	out   *bufio.Writer
	table string
	any   bool
	buf   []byte
}

// field writes the value of one row.
type field func(buf []byte, row int) []byte

// value is a column of the answer: its name with quotes and colon, and its values.
type value struct {
	name  string
	key   []byte
	array arrow.Array
	write field
}

// batch writes the rows of a batch. Null values are left out, as DAS did. If columns is not empty, arbitrary values are
// limited to those it names; the store has limited the others.
func (e *encoder) batch(rows arrow.RecordBatch, columns []string) error {
	var id, timestamp field
	var arbitrary *array.String
	var values []value
	names := map[string]bool{}
	for i, f := range rows.Schema().Fields() {
		write, err := fieldOf(rows.Column(i))
		if err != nil {
			return fmt.Errorf("column %s: %w", f.Name, err)
		}
		switch f.Name {
		case columnSeq:
		case columnTimestamp:
			timestamp = write
		case columnID:
			id = write
		case columnArbitrary:
			arbitrary, _ = rows.Column(i).(*array.String)
		default:
			values = append(values, value{f.Name, append(appendString(nil, f.Name), ':'), rows.Column(i), write})
			names[f.Name] = true
		}
	}
	if id == nil || timestamp == nil {
		return fmt.Errorf("the store's answer has no %s or no %s", columnID, columnTimestamp)
	}
	for row := range int(rows.NumRows()) {
		b := e.buf[:0]
		if e.any {
			b = append(b, ',')
		}
		e.any = true
		b = append(b, `{"id":`...)
		b = id(b, row)
		b = append(b, `,"tableName":`...)
		b = appendString(b, e.table)
		b = append(b, `,"timestamp":`...)
		b = timestamp(b, row)
		b = append(b, `,"values":{`...)
		first := true
		comma := func() {
			if !first {
				b = append(b, ',')
			}
			first = false
		}
		for _, v := range values {
			if v.array.IsNull(row) {
				continue
			}
			comma()
			b = append(b, v.key...)
			b = v.write(b, row)
		}
		if arbitrary != nil && arbitrary.IsValid(row) {
			var more map[string]json.RawMessage
			if err := json.Unmarshal([]byte(arbitrary.Value(row)), &more); err != nil {
				return fmt.Errorf("the arbitrary values of a row are no JSON object: %w", err)
			}
			keys := make([]string, 0, len(more))
			for key := range more {
				if !names[key] && (len(columns) == 0 || slices.Contains(columns, key)) {
					keys = append(keys, key)
				}
			}
			slices.Sort(keys)
			for _, key := range keys {
				comma()
				b = appendString(b, key)
				b = append(b, ':')
				b = append(b, more[key]...)
			}
		}
		b = append(b, "}}"...)
		e.buf = b
		if _, err := e.out.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func fieldOf(column arrow.Array) (field, error) {
	switch a := column.(type) {
	case *array.String:
		return func(b []byte, row int) []byte { return appendString(b, a.Value(row)) }, nil
	case *array.Int32:
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, int64(a.Value(row)), 10) }, nil
	case *array.Int64:
		return func(b []byte, row int) []byte { return strconv.AppendInt(b, a.Value(row), 10) }, nil
	case *array.Float32:
		return func(b []byte, row int) []byte { return appendFloat(b, float64(a.Value(row)), 32) }, nil
	case *array.Float64:
		return func(b []byte, row int) []byte { return appendFloat(b, a.Value(row), 64) }, nil
	case *array.Boolean:
		return func(b []byte, row int) []byte { return strconv.AppendBool(b, a.Value(row)) }, nil
	case *array.Binary:
		return func(b []byte, row int) []byte {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, a.Value(row))
			return append(b, '"')
		}, nil
	}
	return nil, fmt.Errorf("Arrow type %s is not one of a table's", column.DataType())
}

// appendFloat writes a number; JSON has none for NaN and the infinities, which become strings.
func appendFloat(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		text := strconv.FormatFloat(f, 'g', -1, bits)
		return appendString(b, text)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, bits)
}

// appendString writes a JSON string. What is plain ASCII, as most is, is copied.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // cannot be: every string has a form
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
