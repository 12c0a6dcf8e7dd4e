package segment

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/vfs"
)

// merge writes one file of others, without the rows whose `_seq` is in dead.
func merge(t testing.TB, names []string, dead ...int64) (string, Info) {
	t.Helper()
	var files []*Reader
	for _, name := range names {
		files = append(files, reader(t, name))
	}
	name := filepath.Join(t.TempDir(), "m.parquet")
	f, err := vfs.OS.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, allColumns, GroupRows)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Merge(t.Context(), files, Keep{
		Whole: func(first, last uint64) bool {
			return !slices.ContainsFunc(dead, func(d int64) bool { return uint64(d) >= first && uint64(d) <= last })
		},
		Rows: func(r *rows.Rows) *rows.Rows {
			return r.Select(r.Where(func(i int) bool { return !slices.Contains(dead, r.Seq[i]) }))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return name, info
}

// groups are the lengths of a file's row groups.
func groups(t testing.TB, name string) (out []int64) {
	for _, g := range reader(t, name).pf.Metadata().RowGroups {
		out = append(out, g.NumRows)
	}
	return out
}

func TestMergeCopiesLongRowGroups(t *testing.T) {
	const n = 100_000
	a, _ := write(t, makeRows(0, n, 0))
	b, _ := write(t, makeRows(n, n, 50))
	c, _ := write(t, makeRows(2*n, n, 0))
	name, info := merge(t, []string{a, b, c}, 2*n+5)
	if got := groups(t, name); !slices.Equal(got, []int64{n, n, n - 1}) {
		t.Errorf("row groups %v", got)
	}
	if info.Rows != 3*n-1 || info.MinSeq != 0 || info.MaxSeq != 3*n-1 || info.MinTime != 1_700_000_000_000 || info.MaxTime != 1_700_000_000_999 {
		t.Errorf("%+v", info)
	}
	// The pages of the first two lie in it byte by byte; the third was written anew without its dead row.
	out := contents(t, name)
	for i, want := range []bool{true, true, false} {
		in := contents(t, []string{a, b, c}[i])
		if got := bytes.Contains(out, in[4:1<<16]); got != want {
			t.Errorf("file %d was copied as it lies: %v", i, got)
		}
	}
	whole := join([]*rows.Rows{makeRows(0, n, 0), makeRows(n, n, 50), makeRows(2*n, n, 0)})
	want := whole.Select(whole.Where(func(i int) bool { return whole.Seq[i] != 2*n+5 }))
	r := reader(t, name)
	equal(t, scan(t, r), want)
	found, err := r.Fetch(t.Context(), nil, []uint64{3, n + 1, 2*n + 5, 2*n + 6})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found.Seq, []int64{3, n + 1, 2*n + 6}) {
		t.Errorf("found %v", found.Seq)
	}
}

// A merge of merges finds its row groups long: what is small is joined, and no small one is left between long ones.
func TestMergeLeavesNoShortRowGroups(t *testing.T) {
	var names []string
	at := 0
	for _, n := range []int{100, 70_000, 20, 30, 130_000, 500, 61_440, 7} {
		name, _ := write(t, makeRows(at, n, 0))
		names = append(names, name)
		at += n
	}
	name, _ := merge(t, names)
	for i, n := range groups(t, name) {
		if n < GroupRows/2 {
			t.Errorf("row group %d has %d rows", i, n)
		}
	}
	if got := scan(t, reader(t, name)); got.Len() != at || got.Seq[at-1] != int64(at-1) {
		t.Errorf("%d rows of %d", got.Len(), at)
	}
}

// What another program wrote has no page index, and other encodings: it is decoded.
func TestMergeDecodesForeignFiles(t *testing.T) {
	const n = 70_000
	ours, _ := write(t, makeRows(n, n, 0))
	foreign := filepath.Join(t.TempDir(), "f.parquet")
	writeForeign(t, foreign, makeRows(0, n, 0))
	name, _ := merge(t, []string{foreign, ours})
	if out := contents(t, name); bytes.Contains(out, contents(t, foreign)[4:1<<16]) || !bytes.Contains(out, contents(t, ours)[4:1<<16]) {
		t.Error("the wrong one was copied")
	}
	equal(t, scan(t, reader(t, name)), join([]*rows.Rows{makeRows(0, n, 0), makeRows(n, n, 0)}))
}

func TestAnotherReaderReadsAMerge(t *testing.T) {
	const n = 80_000
	a, _ := write(t, makeRows(0, n, 11))
	b, _ := write(t, makeRows(n, n, 0))
	name, _ := merge(t, []string{a, b})
	readByArrow(t, name, join([]*rows.Rows{makeRows(0, n, 11), makeRows(n, n, 0)}))
}

func TestWidenJoinsShortRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pieces []piece
		total := int64(0)
		for _, share := range rapid.SliceOfN(rapid.Int64Range(1, 150), 1, 20).Draw(t, "shares") {
			pieces = append(pieces, piece{rows: share * GroupRows / 100, share: share, whole: share >= longShare && rapid.Bool().Draw(t, "whole")})
			total += share
		}
		widen(pieces)
		for i := 0; i < len(pieces); {
			n, _, share := shortRun(pieces[i:])
			if n > 0 && share < longShare && total >= longShare {
				t.Fatalf("a run of %d %% is left in %+v", share, pieces)
			}
			i += n + 1
		}
	})
}

// writeForeign has arrow-go write rows to a file.
func writeForeign(t testing.TB, name string, r *rows.Rows) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	rec := r.Record(nil)
	w, err := pqarrow.NewFileWriter(rec.Schema(), f, parquet.NewWriterProperties(parquet.WithCreatedBy("another")), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
