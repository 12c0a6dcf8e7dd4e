package column

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/indexing/codec"
)

type value struct {
	v   int64
	has bool
}

func write(vals []value) []byte {
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for _, v := range vals {
		if v.has {
			w.Add(v.v)
		} else {
			w.Skip()
		}
	}
	w.Finish()
	return buf.Bytes()
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 2*BlockRows+100).Draw(t, "rows")
		span := rapid.SampledFrom([]int64{0, 100, 60_000, 4_000_000_000, math.MaxInt64}).Draw(t, "span")
		base := rapid.SampledFrom([]int64{0, -50, math.MinInt64, 1_700_000_000_000}).Draw(t, "base")
		holes, ascending := rapid.Bool().Draw(t, "holes"), rapid.Bool().Draw(t, "ascending")
		seed := rapid.Uint64().Draw(t, "seed")
		vals := make([]value, n)
		for i := range vals {
			seed = seed*6364136223846793005 + 1442695040888963407
			d := int64(0)
			if span > 0 {
				d = int64(seed>>1) % span
			}
			vals[i] = value{int64(uint64(base) + uint64(d)), !holes || seed>>60 > 5}
		}
		if ascending {
			slices.SortFunc(vals, func(a, b value) int { return cmp.Compare(a.v, b.v) })
		}
		c, err := Open(write(vals))
		if err != nil || c.Rows() != n {
			t.Fatal(err)
		}
		sorted := slices.IsSortedFunc(vals, func(a, b value) int { return cmp.Compare(a.v, b.v) })
		complete := !slices.ContainsFunc(vals, func(v value) bool { return !v.has })
		if c.Complete() != complete || c.Ascending() && !(sorted && complete) || sorted && complete && !c.Ascending() {
			t.Fatalf("complete %v, ascending %v", c.Complete(), c.Ascending())
		}
		for i, v := range vals {
			if c.Has(uint32(i)) != v.has || v.has && c.Get(uint32(i)) != v.v {
				t.Fatalf("row %d", i)
			}
		}
		checkMatch(t, c, vals)
	})
}

func checkMatch(t *rapid.T, c *Column, vals []value) {
	pick := func(label string) int64 {
		if len(vals) == 0 || rapid.Bool().Draw(t, label+" any") {
			return rapid.Int64().Draw(t, label)
		}
		return vals[rapid.IntRange(0, len(vals)-1).Draw(t, label)].v
	}
	lo, hi := pick("lo"), pick("hi")
	if lo > hi {
		lo, hi = hi, lo
	}
	var bits [BlockRows / 64]uint64
	for b := range (len(vals) + BlockRows - 1) / BlockRows {
		n := c.Match(b, lo, hi, &bits)
		for i := range BlockRows {
			row := b*BlockRows + i
			want := row < len(vals) && vals[row].has && vals[row].v >= lo && vals[row].v <= hi
			if bits[i>>6]>>(i&63)&1 != 0 != want {
				t.Fatalf("row %d in [%d, %d]: %v", row, lo, hi, !want)
			}
			if want {
				n--
			}
		}
		if n != 0 {
			t.Fatal("count of matches")
		}
	}
	v := pick("find")
	row, ok := c.Find(v)
	want := -1
	for i, x := range vals {
		if x.has && x.v == v {
			want = i
		}
	}
	if ok != (want >= 0) || ok && int(row) != want {
		t.Fatalf("find %d: row %d %v, want %d", v, row, ok, want)
	}
}

func TestFloatsKeepTheirOrder(t *testing.T) {
	order := []float64{math.Inf(-1), -math.MaxFloat64, -1.5, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, 1.5, math.MaxFloat64, math.Inf(1), math.NaN()}
	for i := range order[1:] {
		if OfFloat64(order[i]) >= OfFloat64(order[i+1]) {
			t.Errorf("%v is not below %v", order[i], order[i+1])
		}
		a, b := float32(order[i]), float32(order[i+1])
		if a < b && OfFloat32(a) >= OfFloat32(b) {
			t.Errorf("%v is not below %v", a, b)
		}
	}
	if OfFloat64(math.Copysign(0, -1)) != OfFloat64(0) || OfFloat32(float32(math.Copysign(0, -1))) != OfFloat32(0) {
		t.Error("there are two zeros")
	}
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64().Draw(t, "f")
		if Float64(OfFloat64(f)) != f || Float32(OfFloat32(float32(f))) != float32(f) {
			t.Fatal(f)
		}
	})
}

// FuzzOpen: what Open takes can be read everywhere without leaving the bytes.
func FuzzOpen(f *testing.F) {
	vals := make([]value, 1500)
	for i := range vals {
		vals[i] = value{int64(i * i), i%7 != 0}
	}
	f.Add(write(vals))
	f.Add(write(vals[1:6]))
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := Open(p)
		if err != nil {
			if !errors.Is(err, codec.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if c.Rows() > 1<<20 {
			return
		}
		var bits [BlockRows / 64]uint64
		for row := range uint32(c.Rows()) {
			c.Get(row)
			c.Has(row)
		}
		for b := range (c.Rows() + BlockRows - 1) / BlockRows {
			c.Match(b, -5, 500, &bits)
		}
		c.Find(49)
		c.MinMax()
	})
}
