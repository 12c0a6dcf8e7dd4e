package duck

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
)

func isNative(name string) bool {
	for _, n := range sparksql.Natives {
		if n == name {
			return true
		}
	}
	return false
}

// overload is one form of a function: types of arguments, of the result, and the function itself, called with no nulls.
type overload struct {
	args   []duckdb.Type
	result duckdb.Type
	run    func(args []driver.Value) (any, error)
}

func (o overload) Config() duckdb.ScalarFuncConfig {
	var in []duckdb.TypeInfo
	for _, t := range o.args {
		info, _ := duckdb.NewTypeInfo(t)
		in = append(in, info)
	}
	out, _ := duckdb.NewTypeInfo(o.result)
	return duckdb.ScalarFuncConfig{InputTypeInfos: in, ResultTypeInfo: out}
}

func (o overload) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: o.run}
}

// registerNative makes one of the front's functions that are written in Go.
func registerNative(conn *sql.Conn, name string, zone *time.Location) error {
	const (
		double = duckdb.TYPE_DOUBLE
		float  = duckdb.TYPE_FLOAT
		text   = duckdb.TYPE_VARCHAR
		bigint = duckdb.TYPE_BIGINT
		whole  = duckdb.TYPE_INTEGER
		stamp  = duckdb.TYPE_TIMESTAMP
	)
	var forms []duckdb.ScalarFunc
	add := func(result duckdb.Type, run func(a []driver.Value) (any, error), args ...duckdb.Type) {
		forms = append(forms, overload{args: args, result: result, run: run})
	}
	switch name {
	case "spark_java_double":
		add(text, func(a []driver.Value) (any, error) { return javaFloat(a[0].(float64), 64), nil }, double)
	case "spark_java_float":
		add(text, func(a []driver.Value) (any, error) { return javaFloat(float64(a[0].(float32)), 32), nil }, float)
	case "spark_round":
		add(double, func(a []driver.Value) (any, error) { return roundHalfUp(a[0].(float64), 64, int(a[1].(int32))), nil }, double, whole)
		add(float, func(a []driver.Value) (any, error) {
			return float32(roundHalfUp(float64(a[0].(float32)), 32, int(a[1].(int32)))), nil
		}, float, whole)
		add(bigint, func(a []driver.Value) (any, error) { return roundInt(a[0].(int64), int(a[1].(int32))) }, bigint, whole)
		add(whole, func(a []driver.Value) (any, error) {
			v, err := roundInt(int64(a[0].(int32)), int(a[1].(int32)))
			if err == nil && v != int64(int32(v)) {
				err = errRoundRange
			}
			return int32(v), err
		}, whole, whole)
	case "spark_format_time":
		add(text, func(a []driver.Value) (any, error) {
			// A TIMESTAMP of DuckDB is wall-clock time, which the driver gives as if it were UTC.
			return formatTime(wall(a[0].(time.Time), zone), a[1].(string))
		}, stamp, text)
	case "spark_format_unix":
		add(text, func(a []driver.Value) (any, error) {
			return formatTime(time.Unix(a[0].(int64), 0).In(zone), a[1].(string))
		}, bigint, text)
	case "spark_parse_unix":
		add(bigint, func(a []driver.Value) (any, error) {
			t, ok := parseTime(a[0].(string), a[1].(string), zone)
			if !ok {
				return nil, nil
			}
			return floorDiv(t.UnixMilli(), 1000), nil
		}, text, text)
	default:
		return fmt.Errorf("no function %s", name)
	}
	if len(forms) == 1 {
		return duckdb.RegisterScalarUDF(conn, name, forms[0])
	}
	return duckdb.RegisterScalarUDFSet(conn, name, forms...)
}

func wall(t time.Time, zone *time.Location) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// javaFloat writes a number as Java's Double.toString and Float.toString do.
func javaFloat(v float64, bits int) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	case v == 0:
		if math.Signbit(v) {
			return "-0.0"
		}
		return "0.0"
	}
	if a := math.Abs(v); a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(v, 'f', -1, bits)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	sign := ""
	if exponent[0] == '-' {
		sign = "-"
	}
	return mantissa + "E" + sign + strings.TrimLeft(exponent[1:], "0")
}

// roundHalfUp rounds the shortest decimal form of a number, as Spark does: round(1.005, 2) is 1.01.
func roundHalfUp(v float64, bits, digits int) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) || digits > 400 {
		return v
	}
	if digits < -400 {
		return 0
	}
	x, ok := new(big.Rat).SetString(strconv.FormatFloat(v, 'e', -1, bits))
	if !ok {
		return v
	}
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(abs(digits))), nil))
	if digits < 0 {
		scale.Inv(scale)
	}
	x.Mul(x, scale)
	half := big.NewRat(1, 2)
	if x.Sign() < 0 {
		half.Neg(half)
	}
	x.Add(x, half)
	x.SetInt(new(big.Int).Quo(x.Num(), x.Denom()))
	x.Quo(x, scale)
	out, _ := x.Float64()
	return out
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

var errRoundRange = errors.New("a rounded number is out of range")

// roundInt rounds a whole number at a digit left of the point; to the right of it nothing changes.
func roundInt(v int64, digits int) (int64, error) {
	if digits >= 0 {
		return v, nil
	}
	if digits < -19 {
		return 0, nil
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-digits)), nil)
	x := big.NewInt(v)
	half := new(big.Int).Quo(unit, big.NewInt(2))
	if v < 0 {
		half.Neg(half)
	}
	x.Add(x, half)
	x.Quo(x, unit)
	x.Mul(x, unit)
	if !x.IsInt64() {
		return 0, errRoundRange
	}
	return x.Int64(), nil
}
