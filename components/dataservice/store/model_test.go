package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/store"
	"carbonado.dev/carbonado/components/dataservice/storetest"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/sdk/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store and the naive picture of what it must hold: one table without and one with keys, and a replica of each that
// is built from its feed.
type world struct {
	*rapid.T
	tb     testing.TB
	dir    string
	opts   store.Options
	s      *store.Store
	stream *storetest.Stream
	plain  map[int32]int64 // n -> time; every n is used once
	keyed  map[string]int32
	next   int32
	bundle uint64
	txKey  int
	feeds  map[string]*follower
}

type follower struct {
	pos  uint64
	rows map[int64]string
}

const (
	plainTable = "PLAIN"
	keyedTable = "KEYED"
)

func (w *world) must(err error) {
	if err != nil {
		w.Helper()
		w.Fatal(err)
	}
}

func (w *world) open() {
	s, err := store.Open(w.opts)
	w.must(err)
	w.s = s
}

func newWorld(rt *rapid.T, tb testing.TB) *world {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		rt.Fatal(err)
	}
	w := &world{T: rt, tb: tb, dir: dir, plain: map[int32]int64{}, keyed: map[string]int32{}, feeds: map[string]*follower{}}
	w.opts = store.Options{
		Dir: filepath.Join(dir, "data"), Segments: filepath.Join(dir, "segments"), Staging: filepath.Join(dir, "staging"),
		NoSync: true, LogFileSize: 16 << 10, Idle: time.Hour, Grace: time.Nanosecond, CutRows: 1 << 20,
		GroupRows: rapid.SampledFrom([]int{3, 20, segment.GroupRows}).Draw(rt, "rows of a group"),
	}
	w.stream = storetest.NewStream(tb, "s:1.0.0", arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "k", Type: arrow.BinaryTypes.String})
	w.open()
	col := func(name string, typ rows.Type) manifest.Column {
		return manifest.Column{Column: rows.Column{Name: name, Type: typ}}
	}
	_, err = w.s.CreateTable(plainTable, "", manifest.Schema{Columns: []manifest.Column{col("n", rows.Integer)}}, false)
	w.must(err)
	_, err = w.s.CreateTable(keyedTable, "", manifest.Schema{Columns: []manifest.Column{col("k", rows.String), col("n", rows.Integer)}, Keys: []string{"k"}}, false)
	w.must(err)
	w.must(w.s.Bind(w.stream.Name, plainTable, w.stream.Info.Body, manifest.Target{Columns: []manifest.TargetColumn{{From: "n", To: rows.Column{Name: "n", Type: rows.Integer}}}}))
	w.must(w.s.Bind(w.stream.Name, keyedTable, w.stream.Info.Body, manifest.Target{Columns: []manifest.TargetColumn{
		{From: "k", To: rows.Column{Name: "k", Type: rows.String}}, {From: "n", To: rows.Column{Name: "n", Type: rows.Integer}}}}))
	for _, t := range []string{plainTable, keyedTable} {
		w.feeds[t] = &follower{rows: map[int64]string{}}
	}
	return w
}

func (w *world) events(n int) []storetest.Row {
	out := make([]storetest.Row, n)
	for i := range out {
		w.next++
		out[i] = storetest.Row{"_timestamp": int64(rapid.IntRange(0, 50).Draw(w.T, "time")), "n": w.next, "k": fmt.Sprint("k", rapid.IntRange(0, 12).Draw(w.T, "key"))}
	}
	return out
}

// append sends a frame that both tables take, sometimes twice.
func (w *world) append() {
	rs := w.events(rapid.IntRange(1, 6).Draw(w.T, "events"))
	w.bundle++
	for range rapid.IntRange(1, 2).Draw(w.T, "times") {
		b := w.stream.Frame(w.tb, frame.Source{1}, w.bundle, rs)
		h, body, _, err := frame.Parse(b)
		w.must(err)
		done := make(chan error, 1)
		w.s.Append(w.stream.Name, h, b, body, func(err error) { done <- err })
		w.must(<-done)
	}
	for _, r := range rs {
		w.plain[r["n"].(int32)] = r["_timestamp"].(int64)
		w.keyed[r["k"].(string)] = r["n"].(int32)
	}
}

func (w *world) put() {
	rs := w.events(rapid.IntRange(1, 4).Draw(w.T, "records"))
	_, _, err := w.s.Put(keyedTable, storetest.Records(w.tb, rs))
	w.must(err)
	for _, r := range rs {
		w.keyed[r["k"].(string)] = r["n"].(int32)
	}
}

func (w *world) deleteKeys() {
	var ids []string
	var keys []string
	w.read(keyedTable, nil, func(r storetest.Row) {
		if rapid.IntRange(0, 3).Draw(w.T, "delete") == 0 {
			ids, keys = append(ids, r["_id"].(string)), append(keys, r["k"].(string))
		}
	})
	if len(ids) == 0 {
		return
	}
	n, err := w.s.Delete(context.Background(), keyedTable, nil, nil, ids, 0)
	w.must(err)
	if n != int64(len(ids)) {
		w.Fatalf("deleted %d of %d ids", n, len(ids))
	}
	for _, k := range keys {
		delete(w.keyed, k)
	}
}

func (w *world) deleteTimes() {
	from := int64(rapid.IntRange(0, 50).Draw(w.T, "from"))
	to := from + int64(rapid.IntRange(0, 10).Draw(w.T, "length"))
	want := int64(0)
	for n, t := range w.plain {
		if t >= from && t < to {
			want++
			delete(w.plain, n)
		}
	}
	n, err := w.s.Delete(context.Background(), plainTable, &from, &to, nil, 0)
	w.must(err)
	if n != want {
		w.Fatalf("deleted %d rows in [%d, %d), want %d", n, from, to, want)
	}
}

// transaction writes rows by a staged file; meanwhile others come.
func (w *world) transaction() {
	name := rapid.SampledFrom([]string{plainTable, keyedTable}).Draw(w.T, "table")
	over := rapid.Bool().Draw(w.T, "overwrite")
	w.txKey++
	key := fmt.Sprintf("script:m/%d", w.txKey)
	b, err := w.s.Begin(name, over, key, 1)
	w.must(err)
	if rapid.Bool().Draw(w.T, "meanwhile") {
		w.append()
	}
	if rapid.Bool().Draw(w.T, "cut meanwhile") {
		w.must(w.s.Cut(context.Background(), name))
	}
	if rapid.IntRange(0, 5).Draw(w.T, "abort") == 0 {
		w.must(w.s.Abort(b.Transaction))
		return
	}
	rs := w.events(rapid.IntRange(0, 5).Draw(w.T, "staged"))
	first := b.First
	if rapid.IntRange(0, 3).Draw(w.T, "badly numbered") == 0 {
		first = 1
	}
	var files []string
	if len(rs) > 0 {
		files = []string{"f.parquet"}
		w.stage(filepath.Join(w.opts.Staging, b.Folder, files[0]), first, rs, name == keyedTable)
	}
	version, n, err := w.s.Commit(context.Background(), b.Transaction, files, 1)
	w.must(err)
	again, _, err := w.s.Commit(context.Background(), b.Transaction, files, 1)
	w.must(err)
	if n != int64(len(rs)) || again != version {
		w.Fatalf("commit: %d rows, versions %d and %d", n, version, again)
	}
	if over {
		if name == plainTable {
			clear(w.plain)
		} else {
			clear(w.keyed)
		}
	}
	for _, r := range rs {
		if name == plainTable {
			w.plain[r["n"].(int32)] = r["_timestamp"].(int64)
		} else {
			w.keyed[r["k"].(string)] = r["n"].(int32)
		}
	}
}

func (w *world) stage(path string, first uint64, rs []storetest.Row, keyed bool) {
	ns, ks := array.NewInt32Builder(memory), array.NewStringBuilder(memory)
	r := &rows.Rows{}
	for i, x := range rs {
		r.Seq = append(r.Seq, int64(first)+int64(i))
		r.Time = append(r.Time, x["_timestamp"].(int64))
		ns.Append(x["n"].(int32))
		ks.Append(x["k"].(string))
	}
	r.Cols = []rows.Col{{Column: rows.Column{Name: "n", Type: rows.Integer}, Arr: ns.NewArray()}}
	if keyed {
		r.Cols = append(r.Cols, rows.Col{Column: rows.Column{Name: "k", Type: rows.String}, Arr: ks.NewArray()})
	}
	f, err := vfs.OS.Create(path)
	w.must(err)
	sw, err := segment.NewWriter(f, r.Columns(), segment.GroupRows)
	w.must(err)
	w.must(sw.Append(r))
	_, err = sw.Close()
	w.must(errors.Join(err, f.Close()))
}

func (w *world) read(table string, q *store.Query, each func(storetest.Row)) {
	if q == nil {
		q = &store.Query{}
	}
	q.Table = table
	err := w.s.Read(context.Background(), q, func(*arrow.Schema) error { return nil }, func(rec arrow.RecordBatch) error {
		for _, r := range storetest.RowsOf(rec) {
			each(r)
		}
		return nil
	})
	w.must(err)
}

// check compares the store with the picture.
func (w *world) check() {
	plain := map[int32]int64{}
	w.read(plainTable, nil, func(r storetest.Row) {
		n := r["n"].(int32)
		if _, twice := plain[n]; twice {
			w.Fatalf("row %d is there twice", n)
		}
		plain[n] = r["_timestamp"].(int64)
	})
	if !maps.Equal(plain, w.plain) {
		w.Fatalf("plain rows %v, want %v", plain, w.plain)
	}
	keyed := map[string]int32{}
	w.read(keyedTable, nil, func(r storetest.Row) {
		k := r["k"].(string)
		if _, twice := keyed[k]; twice {
			w.Fatalf("key %s is there twice", k)
		}
		keyed[k] = r["n"].(int32)
	})
	if !maps.Equal(keyed, w.keyed) {
		w.Fatalf("keyed rows %v, want %v", keyed, w.keyed)
	}
	for k, n := range w.keyed {
		found := 0
		w.read(keyedTable, &store.Query{Keys: []map[string]string{{"k": k}}}, func(r storetest.Row) {
			found++
			if r["n"].(int32) != n {
				w.Fatalf("key %s has %v, want %d", k, r["n"], n)
			}
		})
		if found != 1 {
			w.Fatalf("key %s found %d times", k, found)
		}
	}
	for name, want := range map[string]int{plainTable: len(w.plain), keyedTable: len(w.keyed)} {
		if n, err := w.s.Count(context.Background(), name, nil, nil); err != nil || n != int64(want) {
			w.Fatalf("count of %s: %d, want %d, %v", name, n, want, err)
		}
	}
	from, to := int64(10), int64(30)
	want := int64(0)
	for _, t := range w.plain {
		if t >= from && t < to {
			want++
		}
	}
	if n, err := w.s.Count(context.Background(), plainTable, &from, &to); err != nil || n != want {
		w.Fatalf("count of a range: %d, want %d, %v", n, want, err)
	}
	var newest []int64
	w.read(plainTable, &store.Query{NewestFirst: true, Start: 1, Count: 5}, func(r storetest.Row) { newest = append(newest, r["_timestamp"].(int64)) })
	var times []int64
	for _, t := range w.plain {
		times = append(times, t)
	}
	slices.SortFunc(times, func(a, b int64) int { return int(b - a) })
	times = times[min(1, len(times)):min(6, len(times))]
	if !slices.Equal(newest, times) {
		w.Fatalf("newest %v, want %v", newest, times)
	}
}

// follow brings a replica up to date; it may stop half-way, at a place outside of a transaction.
func (w *world) follow(table string, all bool) {
	f := w.feeds[table]
	c, err := w.s.Subscribe(table, f.pos)
	w.must(err)
	defer c.Close()
	inside := false
	var held []func()
	pos := f.pos
	stop := errors.New("stop")
	for {
		caught := false
		err := c.Next(context.Background(), func(ch store.Change) error {
			var do func()
			switch ch.Kind {
			case store.ChangeRows:
				rs := storetest.RowsOf(ch.Rows)
				do = func() {
					for _, r := range rs {
						q := r["_seq"].(int64)
						if _, twice := f.rows[q]; twice {
							w.Fatalf("%s: row %d came twice", table, q)
						}
						f.rows[q] = fmt.Sprint(r["n"], r["k"])
					}
				}
			case store.ChangeDelete:
				do = func() {
					for _, q := range ch.Dead {
						delete(f.rows, int64(q))
					}
				}
			case store.ChangeTruncate:
				do = func() { clear(f.rows) }
			case store.ChangeBegin:
				inside = true
			case store.ChangeEnd:
				inside = false
			case store.ChangeCaughtUp:
				caught = true
			}
			if do != nil {
				held = append(held, do)
			}
			if inside {
				return nil
			}
			// Outside of transactions every position is one to go on from, once a greater one has come or the feed is idle.
			if ch.Pos > pos || caught || ch.Kind == store.ChangeEnd || ch.Kind == store.ChangeTruncate {
				for _, h := range held {
					h()
				}
				held = nil
				pos, f.pos = ch.Pos, ch.Pos
				if !all && rapid.IntRange(0, 4).Draw(w.T, "stop") == 0 {
					return stop
				}
			}
			return nil
		})
		if errors.Is(err, stop) {
			return
		}
		w.must(err)
		if caught {
			break
		}
	}
	want := map[int64]string{}
	w.read(table, nil, func(r storetest.Row) { want[r["_seq"].(int64)] = fmt.Sprint(r["n"], r["k"]) })
	if !maps.Equal(want, f.rows) {
		w.Fatalf("replica of %s: %v, want %v", table, f.rows, want)
	}
}

// TestModel does at random what writers, readers, the background and crashes do.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, t)
		defer os.RemoveAll(w.dir)
		defer func() { w.s.Crash() }()
		steps := map[string]func(){
			"append":      w.append,
			"append more": w.append,
			"put":         w.put,
			"delete keys": w.deleteKeys,
			"delete by time": func() {
				w.deleteTimes()
			},
			"truncate": func() {
				if rapid.IntRange(0, 3).Draw(rt, "really") > 0 {
					return
				}
				_, err := w.s.Delete(context.Background(), keyedTable, nil, nil, nil, 0)
				w.must(err)
				clear(w.keyed)
			},
			"transaction": w.transaction,
			"cut": func() {
				w.must(w.s.Cut(context.Background(), rapid.SampledFrom([]string{plainTable, keyedTable}).Draw(rt, "table")))
			},
			"compact":    func() { w.must(w.s.Compact()) },
			"checkpoint": func() { w.must(w.s.Checkpoint()) },
			"crash": func() {
				w.s.Crash()
				w.open()
			},
			"restart": func() {
				w.must(w.s.Close())
				w.open()
			},
			"follow": func() { w.follow(rapid.SampledFrom([]string{plainTable, keyedTable}).Draw(rt, "table"), false) },
		}
		names := slices.Sorted(maps.Keys(steps))
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			steps[rapid.SampledFrom(names).Draw(rt, "step")]()
			w.check()
		}
		w.follow(plainTable, true)
		w.follow(keyedTable, true)
	})
}
