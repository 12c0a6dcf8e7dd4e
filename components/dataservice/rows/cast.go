package rows

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Castable says whether values of one type can become another at all, and whether single values may fail.
func Castable(from, to Type) (ok, mayFail bool) {
	if from == Facet {
		from = String
	}
	switch {
	case from == to:
		return true, false
	case to == String || to == Facet:
		return from != Binary, false
	case from == Binary || (to == Binary && from != String):
		return false, false
	case to == Binary:
		return true, false
	case from == String:
		return true, true
	case from == Boolean || to == Boolean:
		return false, false
	}
	whole := from == Integer || from == Long
	safe := from == Integer && to == Long || whole && (to == Double || to == Float) || from == Float && to == Double
	return true, !safe
}

// Cast turns an array into another type. bad are the positions whose value has no counterpart there: text that is no number,
// a fraction or an overflow where a whole number is asked for; they are null in the answer. Rounding to a floating-point number
// is allowed. Callers check Castable first; a pair of types that isn't castable gives all values as bad.
func Cast(arr arrow.Array, to Type) (out arrow.Array, bad []int32) {
	b := array.NewBuilder(memory.DefaultAllocator, Arrow(to))
	b.Reserve(arr.Len())
	for i := range arr.Len() {
		if arr.IsNull(i) {
			b.AppendNull()
			continue
		}
		if !castOne(b, arr, i, to) {
			b.AppendNull()
			bad = append(bad, int32(i))
		}
	}
	return b.NewArray(), bad
}

func castOne(b array.Builder, arr arrow.Array, i int, to Type) bool {
	switch to {
	case String, Facet:
		s, ok := Text(arr, i)
		if !ok {
			return false
		}
		if to == Facet {
			s = facet(s)
		}
		b.(*array.StringBuilder).Append(s)
		return true
	case Binary:
		switch a := arr.(type) {
		case *array.String:
			b.(*array.BinaryBuilder).Append([]byte(a.Value(i)))
			return true
		case *array.Binary:
			b.(*array.BinaryBuilder).Append(a.Value(i))
			return true
		}
		return false
	case Boolean:
		switch a := arr.(type) {
		case *array.Boolean:
			b.(*array.BooleanBuilder).Append(a.Value(i))
			return true
		case *array.String:
			v, ok := parseBool(a.Value(i))
			if ok {
				b.(*array.BooleanBuilder).Append(v)
			}
			return ok
		}
		return false
	}
	return castNumber(b, arr, i, to)
}

func castNumber(b array.Builder, arr arrow.Array, i int, to Type) bool {
	var n int64
	var f float64
	exact := false // n holds the value
	switch a := arr.(type) {
	case *array.Int32:
		n, exact = int64(a.Value(i)), true
	case *array.Int64:
		n, exact = a.Value(i), true
	case *array.Float32:
		f = float64(a.Value(i))
	case *array.Float64:
		f = a.Value(i)
	case *array.String:
		s := strings.TrimSpace(a.Value(i))
		var err error
		if n, err = strconv.ParseInt(s, 10, 64); err == nil {
			exact = true
		} else if f, err = strconv.ParseFloat(s, 64); err != nil {
			return false
		} else if to == Float {
			// A decimal fraction has no exact float: the nearest one is what its writer meant.
			v, err := strconv.ParseFloat(s, 32)
			if err == nil {
				b.(*array.Float32Builder).Append(float32(v))
			}
			return err == nil
		}
	default:
		return false
	}
	switch to {
	case Integer, Long:
		if !exact {
			if f != math.Trunc(f) || f < -(1<<63) || f >= 1<<63 {
				return false
			}
			n = int64(f)
		}
		if to == Long {
			b.(*array.Int64Builder).Append(n)
			return true
		}
		if n < math.MinInt32 || n > math.MaxInt32 {
			return false
		}
		b.(*array.Int32Builder).Append(int32(n))
		return true
	case Double:
		if exact {
			f = float64(n)
		}
		b.(*array.Float64Builder).Append(f)
		return true
	case Float:
		if exact {
			f = float64(n)
		}
		v := float32(f)
		if math.IsInf(float64(v), 0) && !math.IsInf(f, 0) {
			return false
		}
		b.(*array.Float32Builder).Append(v)
		return true
	}
	return false
}

func parseBool(s string) (v, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// facet turns a JSON array of strings into its elements joined by commas; single quotes are taken too. Others stay as they are
// (DAS.md section 4.8).
func facet(s string) string {
	t := strings.TrimSpace(s)
	if len(t) < 2 || t[0] != '[' || t[len(t)-1] != ']' {
		return s
	}
	var list []string
	if json.Unmarshal([]byte(t), &list) == nil || json.Unmarshal([]byte(strings.ReplaceAll(t, "'", `"`)), &list) == nil {
		return strings.Join(list, ",")
	}
	return s
}

// Text is a value as text, the same for equal values: numbers in their shortest form. ok is false for binary values.
func Text(arr arrow.Array, i int) (s string, ok bool) {
	switch a := arr.(type) {
	case *array.String:
		return a.Value(i), true
	case *array.Int32:
		return strconv.FormatInt(int64(a.Value(i)), 10), true
	case *array.Int64:
		return strconv.FormatInt(a.Value(i), 10), true
	case *array.Float32:
		return strconv.FormatFloat(float64(a.Value(i)), 'g', -1, 32), true
	case *array.Float64:
		return strconv.FormatFloat(a.Value(i), 'g', -1, 64), true
	case *array.Boolean:
		return strconv.FormatBool(a.Value(i)), true
	}
	return "", false
}
