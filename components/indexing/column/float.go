package column

import (
	"math"
	"math/bits"
)

func popcount(w uint64) int { return bits.OnesCount64(w) }
func highest(w uint64) int  { return 63 - bits.LeadingZeros64(w) }

// OfFloat64 maps a float to an integer of the same order. Zeros are one value; NaN is above all others.
func OfFloat64(f float64) int64 {
	if f == 0 {
		f = 0
	}
	if f != f {
		return math.MaxInt64
	}
	b := int64(math.Float64bits(f))
	return b ^ (b >> 63 & math.MaxInt64)
}

// Float64 undoes OfFloat64.
func Float64(v int64) float64 {
	return math.Float64frombits(uint64(v ^ (v >> 63 & math.MaxInt64)))
}

// OfFloat32 is OfFloat64 in 32 bits.
func OfFloat32(f float32) int64 {
	if f == 0 {
		f = 0
	}
	if f != f {
		return math.MaxInt32
	}
	b := int32(math.Float32bits(f))
	return int64(b ^ (b >> 31 & math.MaxInt32))
}

// Float32 undoes OfFloat32.
func Float32(v int64) float32 {
	b := int32(v)
	return math.Float32frombits(uint32(b ^ (b >> 31 & math.MaxInt32)))
}
