package segment

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/vfs"
)

var allColumns = []rows.Column{
	{Name: "i", Type: rows.Integer}, {Name: "l", Type: rows.Long}, {Name: "f", Type: rows.Float}, {Name: "d", Type: rows.Double},
	{Name: "b", Type: rows.Boolean}, {Name: "low", Type: rows.String}, {Name: "high", Type: rows.String}, {Name: "x", Type: rows.Binary},
	{Name: "none", Type: rows.String}, {Name: "_arbitrary", Type: rows.String},
}

// make gives n rows from `_seq` first on; about one in nulls values is null.
func makeRows(first, n, nulls int) *rows.Rows {
	r := &rows.Rows{}
	var bs []array.Builder
	for _, c := range allColumns {
		bs = append(bs, array.NewBuilder(memory.DefaultAllocator, rows.Arrow(c.Type)))
	}
	for i := range n {
		s := first + i
		r.Seq = append(r.Seq, int64(s))
		r.Time = append(r.Time, int64(1_700_000_000_000+s*7%1000))
		for k, b := range bs {
			if allColumns[k].Name == "none" || nulls > 0 && (s*31+k)%nulls == 0 {
				b.AppendNull()
				continue
			}
			switch b := b.(type) {
			case *array.Int32Builder:
				b.Append(int32(s%21) - 10)
			case *array.Int64Builder:
				b.Append(int64(s) * 1_000_003)
			case *array.Float32Builder:
				b.Append(float32(s) / 3)
			case *array.Float64Builder:
				if s%97 == 0 {
					b.Append(math.NaN())
				} else {
					b.Append(float64(s) / 7)
				}
			case *array.BooleanBuilder:
				b.Append(s%3 == 0)
			case *array.StringBuilder:
				switch allColumns[k].Name {
				case "low":
					b.Append([]string{"Seattle", "Boston", "", "Łódź"}[s%4])
				case "high":
					b.Append(fmt.Sprintf("message number %d of many", s))
				default:
					b.Append(`{"k":1}`)
				}
			case *array.BinaryBuilder:
				b.Append([]byte{0xff, byte(s), byte(s >> 8)})
			}
		}
	}
	for k, b := range bs {
		r.Cols = append(r.Cols, rows.Col{Column: allColumns[k], Arr: b.NewArray()})
	}
	return r
}

func write(t testing.TB, parts ...*rows.Rows) (string, Info) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "s.parquet")
	f, err := vfs.OS.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f, allColumns, GroupRows)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if err := w.Append(p); err != nil {
			t.Fatal(err)
		}
	}
	info, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name, info
}

func reader(t testing.TB, name string) *Reader {
	t.Helper()
	f, err := vfs.OS.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func join(parts []*rows.Rows) *rows.Rows {
	out := &rows.Rows{}
	var bs []array.Builder
	for _, c := range parts[0].Cols {
		out.Cols = append(out.Cols, rows.Col{Column: c.Column})
		bs = append(bs, array.NewBuilder(memory.DefaultAllocator, rows.Arrow(c.Type)))
	}
	for _, p := range parts {
		out.Seq, out.Time = append(out.Seq, p.Seq...), append(out.Time, p.Time...)
		for i, c := range p.Cols {
			for k := range c.Arr.Len() {
				rows.AppendValue(bs[i], c.Arr, k)
			}
		}
	}
	for i := range out.Cols {
		out.Cols[i].Arr = bs[i].NewArray()
	}
	return out
}

func scan(t testing.TB, r *Reader) *rows.Rows {
	t.Helper()
	var parts []*rows.Rows
	if err := r.Scan(context.Background(), nil, Range{}, func(p *rows.Rows) error { parts = append(parts, p); return nil }); err != nil {
		t.Fatal(err)
	}
	return join(parts)
}

func equal(t testing.TB, got, want *rows.Rows) {
	t.Helper()
	a, b := got.Record(nil), want.Record(nil)
	if !a.Schema().Equal(b.Schema()) {
		t.Fatalf("schema %s, want %s", a.Schema(), b.Schema())
	}
	for i := range a.NumCols() {
		if !array.ApproxEqual(a.Column(int(i)), b.Column(int(i)), array.WithNaNsEqual(true), array.WithAbsTolerance(0)) {
			t.Fatalf("column %s differs", a.ColumnName(int(i)))
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, nulls := range []int{0, 5} {
		for _, n := range []int{1, 7, pageRows, pageRows + 1, GroupRows + 5000} {
			t.Run(fmt.Sprintf("%d rows, nulls %d", n, nulls), func(t *testing.T) {
				all := makeRows(1, n, nulls)
				name, info := write(t, all.Slice(0, n/3), all.Slice(n/3, n))
				if info.Rows != int64(n) || info.MinSeq != 1 || info.MaxSeq != uint64(n) {
					t.Fatalf("info %+v", info)
				}
				equal(t, scan(t, reader(t, name)), all)
			})
		}
	}
}

// TestAnotherReaderReadsIt has arrow-go read the file, which shares no code with the writer.
func TestAnotherReaderReadsIt(t *testing.T) {
	for _, nulls := range []int{0, 5} {
		all := makeRows(1, GroupRows+9000, nulls)
		name, _ := write(t, all)
		readByArrow(t, name, all)
	}
}

func readByArrow(t *testing.T, name string, all *rows.Rows) {
	t.Helper()
	pf, err := file.OpenParquetFile(name, false)
	if err != nil {
		t.Fatal(err)
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 1 << 20}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := fr.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := all.Record(nil)
	for i := range want.NumCols() {
		col := tab.Column(int(i)).Data()
		got, err := array.Concatenate(col.Chunks(), memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		if !array.ApproxEqual(got, want.Column(int(i)), array.WithNaNsEqual(true), array.WithAbsTolerance(0)) {
			t.Fatalf("column %s differs", want.ColumnName(int(i)))
		}
	}
}

func TestFetchFindsRowsBySeq(t *testing.T) {
	all := makeRows(1, GroupRows+9000, 7)
	// Gaps: every row whose number ends in 3 is missing.
	sel := all.Where(func(i int) bool { return all.Seq[i]%10 != 3 })
	name, _ := write(t, all.Select(sel))
	r := reader(t, name)
	want := []uint64{1, 2, 4, 8191, 8192, 50001, 122880, 122881, 131880}
	asked := append([]uint64{3}, want...)
	asked = append(asked[1:4], asked[4:]...)
	got, err := r.Fetch(context.Background(), []string{"i", "high", "x"}, asked)
	if err != nil {
		t.Fatal(err)
	}
	if got.Len() != len(want) {
		t.Fatalf("%d rows, want %d: %v", got.Len(), len(want), got.Seq)
	}
	pos := make([]int32, len(want))
	for i, s := range want {
		pos[i] = int32(s - 1)
	}
	ref := all.Select(pos)
	ref.Cols = []rows.Col{*ref.Col("i"), *ref.Col("high"), *ref.Col("x")}
	equal(t, got, ref)
}

func TestRangeSkipsRowGroups(t *testing.T) {
	all := makeRows(1, 2*GroupRows, 0)
	name, _ := write(t, all)
	n := 0
	err := reader(t, name).Scan(context.Background(), []string{}, Range{MinSeq: GroupRows + 10, MaxSeq: GroupRows + 20}, func(p *rows.Rows) error {
		n += p.Len()
		return nil
	})
	if err != nil || n != GroupRows {
		t.Fatalf("%d rows, %v", n, err)
	}
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.Append("ok")
	b.Append("bad\xff")
	r := &rows.Rows{Seq: []int64{1, 2}, Time: []int64{1, 1}, Cols: []rows.Col{{Column: allColumns[5], Arr: b.NewArray()}}}
	name, _ := write(t, r)
	got := scan(t, reader(t, name)).Col("low").Arr.(*array.String)
	if got.Value(0) != "ok" || got.Value(1) != "bad\uFFFD" {
		t.Fatalf("%q %q", got.Value(0), got.Value(1))
	}
}

func TestRandomStringsSurvive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		r := &rows.Rows{}
		vals := rapid.SliceOfN(rapid.StringN(0, 12, 40), 1, 300).Draw(rt, "values")
		times := rapid.IntRange(1, 40).Draw(rt, "times")
		for k := range times {
			for i, v := range vals {
				if (i+k)%11 == 0 {
					b.AppendNull()
				} else {
					b.Append(v)
				}
				r.Seq = append(r.Seq, int64(len(r.Seq)+1))
				r.Time = append(r.Time, int64(i))
			}
		}
		r.Cols = []rows.Col{{Column: allColumns[5], Arr: b.NewArray()}}
		name, _ := write(t, r)
		got := scan(t, reader(t, name)).Col("low").Arr
		if !array.Equal(got, r.Cols[0].Arr) {
			rt.Fatal("strings differ")
		}
	})
}

func FuzzOpen(f *testing.F) {
	name, _ := write(f, makeRows(1, 100, 3))
	file, err := vfs.OS.Open(name)
	if err != nil {
		f.Fatal(err)
	}
	size, _ := file.Size()
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(memFile{bytes.NewReader(b)})
		if err != nil {
			return
		}
		defer r.Close()
		_ = r.Scan(context.Background(), nil, Range{}, func(*rows.Rows) error { return nil })
	})
}

// memFile is a file in memory.
type memFile struct{ *bytes.Reader }

func (memFile) Close() error                  { return nil }
func (memFile) WriteAt([][]byte, int64) error { return nil }
func (memFile) Datasync() error               { return nil }
func (memFile) Truncate(int64) error          { return nil }
func (memFile) Reserve(int64) error           { return nil }
func (m memFile) Size() (int64, error)        { return m.Reader.Size(), nil }

func BenchmarkCut(b *testing.B) {
	// The event of ENGINE.md section 1: about 190 bytes.
	cols := []rows.Column{{Name: "host", Type: rows.String}, {Name: "service", Type: rows.String}, {Name: "level", Type: rows.String},
		{Name: "user", Type: rows.String}, {Name: "message", Type: rows.String}, {Name: "code", Type: rows.Integer},
		{Name: "latency", Type: rows.Double}, {Name: "bytes", Type: rows.Long}}
	const n = 200
	parts := make([]*rows.Rows, 64)
	seq := 0
	for p := range parts {
		var bs []array.Builder
		for _, c := range cols {
			bs = append(bs, array.NewBuilder(memory.DefaultAllocator, rows.Arrow(c.Type)))
		}
		r := &rows.Rows{}
		for range n {
			seq++
			x := uint32(seq) * 2654435761
			r.Seq = append(r.Seq, int64(seq))
			r.Time = append(r.Time, 1_700_000_000_000+int64(seq/100))
			bs[0].(*array.StringBuilder).Append(fmt.Sprintf("host-%03d", x>>8%200))
			bs[1].(*array.StringBuilder).Append(fmt.Sprintf("service-%02d", x>>7%50))
			bs[2].(*array.StringBuilder).Append([]string{"DEBUG", "INFO", "WARN", "ERROR", "FATAL"}[x>>5%5])
			bs[3].(*array.StringBuilder).Append(fmt.Sprintf("user-%06d", x>>4%100000))
			bs[4].(*array.StringBuilder).Append(fmt.Sprintf("request %d to /api/v1/resource/%d finished after %d steps with outcome %d of class A", x, x>>3, x>>9%100, x>>11%10))
			bs[5].(*array.Int32Builder).Append(int32(200 + x>>12%300))
			bs[6].(*array.Float64Builder).Append(float64(x%100000) / 97)
			bs[7].(*array.Int64Builder).Append(int64(x >> 2 % 1000000))
		}
		for k, bb := range bs {
			r.Cols = append(r.Cols, rows.Col{Column: cols[k], Arr: bb.NewArray()})
		}
		parts[p] = r
	}
	b.ReportAllocs()
	f := &nullFile{}
	w, err := NewWriter(f, cols, GroupRows)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	next := int64(0)
	for i := 0; i < b.N; i += n {
		r := *parts[(i/n)%len(parts)]
		s := make([]int64, n)
		for k := range s {
			next++
			s[k] = next
		}
		r.Seq = s
		if err := w.Append(&r); err != nil {
			b.Fatal(err)
		}
	}
	info, err := w.Close()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Bytes)/float64(info.Rows), "B/row")
}

type nullFile struct{ memFile }

func (nullFile) WriteAt([][]byte, int64) error { return nil }
func (nullFile) Datasync() error               { return nil }

var _ = arrow.INT32
