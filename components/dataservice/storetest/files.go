package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// Stage writes a Parquet file into a transaction's folder: rows of column n, and k if keys are given, numbered from first on.
func (c *Client) Stage(folder, name string, first uint64, ns []int32, keys ...string) {
	c.Helper()
	rs := make([]Row, len(ns))
	for i, n := range ns {
		rs[i] = Row{"n": n}
		if len(keys) > 0 {
			rs[i]["k"] = keys[i]
		}
	}
	rec := record(c, rs, nil)
	r := &rows.Rows{}
	for i := range ns {
		r.Seq = append(r.Seq, int64(first)+int64(i))
		r.Time = append(r.Time, int64(5000+i))
	}
	for i, f := range rec.Schema().Fields() {
		typ, _ := rows.FromArrow(f.Type)
		r.Cols = append(r.Cols, rows.Col{Column: rows.Column{Name: f.Name, Type: typ}, Arr: rec.Column(i)})
	}
	f, err := vfs.OS.Create(filepath.Join(c.Staging, folder, name))
	if err != nil {
		c.Fatal(err)
	}
	w, err := segment.NewWriter(f, r.Columns(), segment.GroupRows)
	if err == nil {
		err = w.Append(r)
	}
	if err == nil {
		_, err = w.Close()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		c.Fatal(err)
	}
}

// begin begins a transaction.
func (c *Client) begin(table string, mode analyticsv1.WriteMode, key string, epoch uint64) *analyticsv1.BeginResponse {
	c.Helper()
	r, err := c.Begin(c.Ctx(), &analyticsv1.BeginRequest{Tenant: Tenant, Table: table, Mode: mode, Key: key, FencingEpoch: epoch})
	if err != nil {
		c.Fatal(err)
	}
	return r
}

func (c *Client) commit(tx string, epoch uint64, files ...string) *analyticsv1.CommitResponse {
	c.Helper()
	r, err := c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: tx, Files: files, FencingEpoch: epoch})
	if err != nil {
		c.Fatal(err)
	}
	return r
}

// Shorter names of the modes.
const (
	appendMode    = analyticsv1.WriteMode_WRITE_MODE_APPEND
	overwriteMode = analyticsv1.WriteMode_WRITE_MODE_OVERWRITE
)

// needFiles skips what only a store that shares files promises.
func (c *Client) needFiles() {
	if c.Segments == "" {
		c.Skip("this store shares no files")
	}
}

// fileRows reads the living rows of a snapshot's table from its files.
func (c *Client) fileRows(t *analyticsv1.TableSnapshot) []Row {
	c.Helper()
	var out []Row
	for _, f := range t.Files {
		file, err := vfs.OS.Open(filepath.Join(c.Segments, f.Path))
		if err != nil {
			c.Fatal(err)
		}
		r, err := segment.Open(file)
		if err != nil {
			c.Fatal(err)
		}
		n := int64(0)
		err = r.Scan(context.Background(), nil, segment.Range{}, func(p *rows.Rows) error {
			n += int64(p.Len())
			for _, row := range RowsOf(p.Record(nil)) {
				q := uint64(row["_seq"].(int64))
				if q < f.MinSeq || q > f.MaxSeq {
					return fmt.Errorf("row %d outside of [%d, %d]", q, f.MinSeq, f.MaxSeq)
				}
				if _, dead := slices.BinarySearch(f.Dead, q); !dead {
					out = append(out, row)
				}
			}
			return nil
		})
		if err := errors.Join(err, r.Close()); err != nil {
			c.Fatal(err)
		}
		c.same("rows of "+f.Path, n, f.Rows)
	}
	return out
}

func snapshots(c *Client) {
	c.needFiles()
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("k", String), Col("n", Integer)}, PrimaryKeys: []string{"k"}})
	c.Create("u", nil)
	for i := range 30 {
		c.PutRows("t", Row{"k": fmt.Sprint(i % 20), "n": int32(i)})
	}
	ctx, cancel := context.WithCancel(c.Ctx())
	defer cancel()
	s, err := c.Snapshot(ctx, &analyticsv1.SnapshotRequest{Tenant: Tenant, Tables: []string{"t", "u"}})
	if err != nil {
		c.Fatal(err)
	}
	snap, err := s.Recv()
	if err != nil {
		c.Fatal(err)
	}
	if len(snap.Tables) != 2 || snap.Tables[0].Table.Name != "T" || len(snap.Tables[1].Files) != 0 {
		c.Fatalf("snapshot %v", snap)
	}
	c.same("rows said", snap.Tables[0].Table.Rows, int64(20))
	sum := func(rows []Row) (n int, total int32) {
		for _, r := range rows {
			n++
			total += r["n"].(int32)
		}
		return n, total
	}
	n, total := sum(c.fileRows(snap.Tables[0]))
	c.same("rows", n, 20)
	c.same("sum", total, int32(19*20/2+10*20))
	// What comes later changes nothing in it, and its files stay.
	for i := range 20 {
		c.PutRows("t", Row{"k": fmt.Sprint(i), "n": int32(0)})
	}
	tx := c.begin("t", overwriteMode, "script:a/1", 1)
	c.Stage(tx.Folder, "a.parquet", tx.FirstSeq, []int32{7}, "x")
	c.commit(tx.Transaction, 1, "a.parquet")
	c.cutNow("t")
	n, total = sum(c.fileRows(snap.Tables[0]))
	c.same("rows later", n, 20)
	c.same("sum later", total, int32(19*20/2+10*20))
	c.same("the table by now", Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "t"}), "n"), []any{int32(7)})
	path := filepath.Join(c.Segments, snap.Tables[0].Files[0].Path)
	cancel()
	c.eventually("the file is removed when nobody reads it", func() bool {
		_, err := os.Stat(path)
		return errors.Is(err, os.ErrNotExist)
	})
	s, err = c.Snapshot(c.Ctx(), &analyticsv1.SnapshotRequest{Tenant: Tenant, Tables: []string{"none"}})
	if err == nil {
		_, err = s.Recv()
	}
	c.wants(err, codes.NotFound, "snapshot of a missing table")
}

func transactions(c *Client) {
	c.needFiles()
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("n", Integer)}})
	c.PutRows("t", Row{"n": int32(1)})
	tx := c.begin("t", appendMode, "script:a/1", 0)
	c.same("the same key is the same transaction", c.begin("t", appendMode, "script:a/1", 0).Transaction, tx.Transaction)
	c.Stage(tx.Folder, "b.parquet", tx.FirstSeq+2, []int32{12, 13})
	c.Stage(tx.Folder, "a.parquet", tx.FirstSeq, []int32{10, 11})
	// Rows that come meanwhile keep their place.
	c.PutRows("t", Row{"n": int32(2)})
	c.same("nothing is seen before the commit", c.CountRows("t"), int64(2))
	for _, bad := range []string{"../x", "missing.parquet", "/etc/passwd", ""} {
		_, err := c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: tx.Transaction, Files: []string{bad}})
		c.wants(err, codes.InvalidArgument, fmt.Sprintf("file %q", bad))
	}
	if err := os.WriteFile(filepath.Join(c.Staging, tx.Folder, "junk.parquet"), []byte("PAR1 junk PAR1"), 0o600); err != nil {
		c.Fatal(err)
	}
	_, err := c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: tx.Transaction, Files: []string{"a.parquet", "junk.parquet"}})
	c.wants(err, codes.InvalidArgument, "a file that is no Parquet")
	c.same("after failed commits", c.CountRows("t"), int64(2))
	r := c.commit(tx.Transaction, 0, "a.parquet", "b.parquet")
	c.same("rows of the commit", r.Rows, int64(4))
	again := c.commit(tx.Transaction, 0, "a.parquet", "b.parquet")
	c.same("the same commit twice", again.ManifestVersion, r.ManifestVersion)
	// What a dead run of a script left staged goes when a later run of it begins; statements of one run live side by side.
	dead := c.begin("t", appendMode, "script:gone/1/0", 0)
	c.Stage(dead.Folder, "a.parquet", dead.FirstSeq, []int32{1})
	first := c.begin("t", appendMode, "script:gone/2/0", 0)
	second := c.begin("t", appendMode, "script:gone/2/1", 0)
	if _, err := os.Stat(filepath.Join(c.Staging, dead.Folder)); !errors.Is(err, os.ErrNotExist) {
		c.Fatalf("the staging folder of a dead run: %v", err)
	}
	_, err = c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: dead.Transaction, Files: []string{"a.parquet"}})
	c.wants(err, codes.NotFound, "commit of a dead run")
	for _, live := range []*analyticsv1.BeginResponse{first, second} {
		if _, err := os.Stat(filepath.Join(c.Staging, live.Folder)); err != nil {
			c.Fatal(err)
		}
		if _, err := c.Abort(c.Ctx(), &analyticsv1.AbortRequest{Transaction: live.Transaction}); err != nil {
			c.Fatal(err)
		}
	}
	if b := c.begin("t", appendMode, "script:a/1", 0); !b.Committed {
		c.Fatalf("a committed key begins again: %v", b)
	}
	check := func(when string) {
		c.Helper()
		got := map[any]int{}
		for _, r := range c.ReadRows(&analyticsv1.ReadRequest{Table: "t"}) {
			got[r["n"]]++
		}
		c.same("rows "+when, got, map[any]int{int32(1): 1, int32(2): 1, int32(10): 1, int32(11): 1, int32(12): 1, int32(13): 1})
	}
	check("at once")
	// Aborted and forgotten ones leave nothing.
	tx = c.begin("t", appendMode, "script:a/2", 0)
	c.Stage(tx.Folder, "a.parquet", tx.FirstSeq, []int32{99})
	for range 2 {
		if _, err := c.Abort(c.Ctx(), &analyticsv1.AbortRequest{Transaction: tx.Transaction}); err != nil {
			c.Fatal(err)
		}
	}
	_, err = c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: tx.Transaction, Files: []string{"a.parquet"}})
	c.wants(err, codes.NotFound, "commit after abort")
	if _, err := os.Stat(filepath.Join(c.Staging, tx.Folder)); !errors.Is(err, os.ErrNotExist) {
		c.Fatalf("the folder of an aborted transaction: %v", err)
	}
	tx = c.begin("t", appendMode, "script:a/3", 0)
	c.Restarted()
	if _, err := os.Stat(filepath.Join(c.Staging, tx.Folder)); !errors.Is(err, os.ErrNotExist) {
		c.Fatalf("the folder of a forgotten transaction: %v", err)
	}
	_, err = c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: tx.Transaction})
	c.wants(err, codes.NotFound, "commit of a transaction from before the restart")
	check("after a restart")
	if b := c.begin("t", appendMode, "script:a/1", 0); !b.Committed {
		c.Fatalf("a committed key begins again after a restart: %v", b)
	}
	// Rows that are numbered badly are numbered by the store.
	tx = c.begin("t", overwriteMode, "script:a/4", 0)
	c.Stage(tx.Folder, "a.parquet", 1, []int32{21, 22})
	c.Stage(tx.Folder, "b.parquet", 1, []int32{23})
	c.commit(tx.Transaction, 0, "a.parquet", "b.parquet")
	c.same("numbered anew", len(c.ReadRows(&analyticsv1.ReadRequest{Table: "t"})), 3)
	// Types that the table doesn't have are refused.
	c.Create("typed", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("n", Long)}})
	tx = c.begin("typed", appendMode, "script:a/5", 0)
	c.Stage(tx.Folder, "a.parquet", tx.FirstSeq, []int32{1})
	_, err = c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: tx.Transaction, Files: []string{"a.parquet"}})
	c.wants(err, codes.InvalidArgument, "a column of another type")
}

func overwrite(c *Client) {
	c.needFiles()
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("k", String), Col("n", Integer)}, PrimaryKeys: []string{"k"}})
	c.PutRows("t", Row{"k": "old", "n": int32(1)}, Row{"k": "a", "n": int32(1)})
	c.cutNow("t")
	c.PutRows("t", Row{"k": "older", "n": int32(1)})
	tx := c.begin("t", overwriteMode, "script:o/1", 3)
	c.Stage(tx.Folder, "x.parquet", tx.FirstSeq, []int32{1, 2, 3}, "a", "b", "a")
	c.PutRows("t", Row{"k": "meanwhile", "n": int32(1)})
	c.commit(tx.Transaction, 3, "x.parquet")
	check := func(when string) {
		c.Helper()
		got := map[any]any{}
		for _, r := range c.ReadRows(&analyticsv1.ReadRequest{Table: "t"}) {
			got[r["k"]] = r["n"]
		}
		c.same("rows "+when, got, map[any]any{"a": int32(3), "b": int32(2)})
		c.same("count "+when, c.CountRows("t"), int64(2))
	}
	check("at once")
	c.Restarted()
	check("after a restart")
	// Staged rows of a keyed table are upserts.
	tx = c.begin("t", appendMode, "script:o/2", 3)
	c.Stage(tx.Folder, "x.parquet", tx.FirstSeq, []int32{20, 40}, "b", "d")
	c.commit(tx.Transaction, 3, "x.parquet")
	got := c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Keys: []*analyticsv1.KeyValues{{Values: map[string]string{"k": "b"}}, {Values: map[string]string{"k": "d"}}}})
	c.same("upserts", Column(got, "n"), []any{int32(20), int32(40)})
	c.same("count", c.CountRows("t"), int64(3))
	c.PutRows("t", Row{"k": "b", "n": int32(21)})
	c.Restarted()
	got = c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Keys: []*analyticsv1.KeyValues{{Values: map[string]string{"k": "b"}}}})
	c.same("upsert of an adopted row", Column(got, "n"), []any{int32(21)})
	// An empty commit empties the table.
	tx = c.begin("t", overwriteMode, "script:o/3", 3)
	c.commit(tx.Transaction, 3)
	c.same("empty", c.CountRows("t"), int64(0))
}

func fencing(c *Client) {
	c.Create("t", nil)
	old := c.begin("t", appendMode, "script:f/1", 5)
	begin := func(key string, epoch uint64) error {
		_, err := c.Begin(c.Ctx(), &analyticsv1.BeginRequest{Tenant: Tenant, Table: "t", Mode: appendMode, Key: key, FencingEpoch: epoch})
		return err
	}
	c.wants(begin("script:f/2", 4), codes.Aborted, "begin with a lower epoch")
	if err := begin("script:other/1", 1); err != nil {
		c.Fatalf("another script: %v", err)
	}
	next := c.begin("t", appendMode, "script:f/1", 6)
	if next.Transaction == old.Transaction {
		c.Fatal("a new holder got the transaction of the old one")
	}
	_, err := c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: next.Transaction, FencingEpoch: 5})
	c.wants(err, codes.Aborted, "commit with a lower epoch")
	_, err = c.Commit(c.Ctx(), &analyticsv1.CommitRequest{Transaction: old.Transaction, FencingEpoch: 5})
	if err == nil {
		c.Fatal("the old holder committed")
	}
	c.Restarted()
	c.wants(begin("script:f/3", 5), codes.Aborted, "lower epoch after a restart")
	del := func(epoch uint64) error {
		_, err := c.Delete(c.Ctx(), &analyticsv1.DeleteRequest{Tenant: Tenant, Table: "t", FencingEpoch: epoch})
		return err
	}
	if err := del(3); err != nil {
		c.Fatal(err)
	}
	c.wants(del(2), codes.Aborted, "delete with a lower epoch")
}

// replica is a table built from a feed.
type replica struct {
	rows map[uint64]Row
	pos  uint64
	// inside counts the changes of a transaction that is not over.
	inside  bool
	marks   int
	dropped bool
}

func newReplica() *replica { return &replica{rows: map[uint64]Row{}} }

// take applies a change and says whether the feed has caught up.
func (r *replica) take(c *Client, ch Change) bool {
	c.Helper()
	if ch.Kind != frame.Mark && ch.Kind != frame.Truncate && ch.Pos < r.pos && !r.inside {
		c.Fatalf("position %d after %d", ch.Pos, r.pos)
	}
	switch ch.Kind {
	case frame.Batch:
		for _, row := range ch.Rows {
			q := uint64(row["_seq"].(int64))
			if r.rows[q] != nil {
				c.Fatalf("row %d came twice", q)
			}
			r.rows[q] = row
		}
	case frame.Delete:
		for _, q := range ch.Dead {
			delete(r.rows, q)
		}
	case frame.Truncate:
		clear(r.rows)
	case frame.Mark:
		switch ch.Mark.Edge {
		case linkv1.Mark_EDGE_BEGIN:
			r.inside = true
			r.marks++
		case linkv1.Mark_EDGE_END:
			r.inside = false
			r.dropped = ch.Mark.Dropped
		case linkv1.Mark_EDGE_CAUGHT_UP:
			r.pos = ch.Mark.Seq
			return true
		}
	}
	r.pos = ch.Pos
	return false
}

func (r *replica) catchUp(c *Client, table string) {
	c.Helper()
	c.Feed(table, r.pos, func(ch Change) bool { return !r.take(c, ch) })
}

func (r *replica) equals(c *Client, table, when string) {
	c.Helper()
	want := map[uint64]Row{}
	for _, row := range c.ReadRows(&analyticsv1.ReadRequest{Table: table}) {
		want[uint64(row["_seq"].(int64))] = row
	}
	if len(want) != len(r.rows) {
		c.Fatalf("%s: %d rows in the replica, %d in the table", when, len(r.rows), len(want))
	}
	for q, row := range want {
		for k, v := range row {
			// Rows that came before a column did have it as null.
			if got, there := r.rows[q][k]; (there || v != nil) && fmt.Sprint(got) != fmt.Sprint(v) {
				c.Fatalf("%s: row %d: %v, want %v", when, q, r.rows[q], row)
			}
		}
	}
}

func feed(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("k", String), Col("n", Integer)}, PrimaryKeys: []string{"k"}})
	late, early := newReplica(), newReplica()
	steps := []struct {
		what string
		do   func()
	}{
		{"rows", func() {
			for i := range 10 {
				c.PutRows("t", Row{"k": fmt.Sprint(i), "n": int32(i)}, Row{"k": fmt.Sprint(i + 1), "n": int32(-i)})
			}
		}},
		{"a cut", func() {
			if c.Segments != "" {
				c.cutNow("t")
			}
		}},
		{"upserts", func() {
			c.PutRows("t", Row{"k": "3", "n": int32(33)}, Row{"k": "new", "n": int32(1)}, Row{"k": "new", "n": int32(2)})
		}},
		{"deletes", func() {
			ids := Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Count: 2}), "_id")
			if _, err := c.Delete(c.Ctx(), &analyticsv1.DeleteRequest{Tenant: Tenant, Table: "t", Ids: []string{ids[0].(string), ids[1].(string)}}); err != nil {
				c.Fatal(err)
			}
		}},
		{"a restart", func() { c.Restarted() }},
		{"more rows", func() { c.PutRows("t", Row{"k": "5", "n": int32(55)}, Row{"k": "more", "n": int32(1)}) }},
		{"an adopted file", func() {
			if c.Segments == "" {
				return
			}
			tx := c.begin("t", appendMode, "script:feed/1", 0)
			c.PutRows("t", Row{"k": "between", "n": int32(1)})
			c.Stage(tx.Folder, "a", tx.FirstSeq, []int32{1, 2}, "5", "adopted")
			c.commit(tx.Transaction, 0, "a")
		}},
		{"a second cut", func() {
			if c.Segments != "" {
				c.cutNow("t")
			}
		}},
		{"a truncation", func() {
			if _, err := c.Delete(c.Ctx(), &analyticsv1.DeleteRequest{Tenant: Tenant, Table: "t"}); err != nil {
				c.Fatal(err)
			}
		}},
		{"rows after it", func() { c.PutRows("t", Row{"k": "5", "n": int32(1)}) }},
		{"an overwrite", func() {
			if c.Segments == "" {
				return
			}
			tx := c.begin("t", overwriteMode, "script:feed/2", 0)
			c.Stage(tx.Folder, "a", tx.FirstSeq, []int32{1, 2, 3}, "5", "x", "y")
			c.commit(tx.Transaction, 0, "a")
		}},
		{"a second restart", func() { c.Restarted() }},
		{"the last rows", func() { c.PutRows("t", Row{"k": "x", "n": int32(9)}) }},
	}
	for i, s := range steps {
		s.do()
		early.catchUp(c, "t")
		early.equals(c, "t", "after "+s.what)
		fresh := newReplica()
		fresh.catchUp(c, "t")
		fresh.equals(c, "t", "from the beginning after "+s.what)
		if i%3 == 2 {
			late.catchUp(c, "t")
			late.equals(c, "t", "a late one after "+s.what)
		}
	}
	if c.Segments != "" && early.marks == 0 {
		c.Fatal("no transaction was marked")
	}
	// The last change of a table is its drop; a new table of the name is another one.
	done := make(chan bool, 1)
	c.Feed("t", early.pos, func(ch Change) bool {
		early.take(c, ch)
		if ch.Mark.GetEdge() == linkv1.Mark_EDGE_CAUGHT_UP {
			go func() {
				_, err := c.DropTable(c.Ctx(), &analyticsv1.DropTableRequest{Tenant: Tenant, Table: "t"})
				done <- err == nil
			}()
		}
		return !early.dropped
	})
	if !<-done {
		c.Fatal("drop failed")
	}
	c.Create("t", nil)
	c.PutRows("t", Row{"n": int32(1)})
	early.dropped = false
	early.catchUp(c, "t")
	early.equals(c, "t", "the new table")
}

func feedResumes(c *Client) {
	s := smartHome(c)
	c.Create("home", nil)
	c.BindAll(s, "home")
	p := c.NewProducer()
	const n = 40
	for i := range n {
		if err := p.Append(s, s.Frame(c, frame.Source{1}, uint64(i+1), []Row{homeRow(2 * i), homeRow(2*i + 1)})); err != nil {
			c.Fatal(err)
		}
		if i == 20 && c.Segments != "" {
			c.cutNow("home")
		}
	}
	// Every position that the feed told is one to go on from.
	r := newReplica()
	for caught := false; !caught; {
		c.Feed("home", r.pos, func(ch Change) bool {
			caught = r.take(c, ch)
			return false
		})
	}
	r.equals(c, "home", "one change at a time")
	c.same("rows", len(r.rows), 2*n)
	if !strings.HasPrefix(fmt.Sprint(r.rows[r.pos]["area"]), "area") {
		c.Fatalf("the last position %d is no row's", r.pos)
	}
}

func slowSubscriber(c *Client) {
	c.Create("t", nil)
	ctx, cancel := context.WithCancel(c.Ctx())
	defer cancel()
	stuck, err := analyticsv1.NewChangeFeedClient(c.Conns.Feed).Subscribe(ctx, link.CallOption())
	if err != nil {
		c.Fatal(err)
	}
	body, err := proto.Marshal(&linkv1.Open{Kind: linkv1.Open_KIND_TABLE, Name: "t"})
	if err != nil {
		c.Fatal(err)
	}
	open, err := frame.Append(nil, &frame.Header{Kind: frame.Open, Stream: 1}, body)
	if err != nil {
		c.Fatal(err)
	}
	// It asks for a table and then neither grants credit nor reads.
	if err := stuck.Send(&linkv1.Frame{Data: open}); err != nil {
		c.Fatal(err)
	}
	var rows []Row
	for i := range 2000 {
		rows = append(rows, Row{"n": int32(i), "text": strings.Repeat("x", 500)})
	}
	for range 20 {
		c.PutRows("t", rows...)
	}
	c.same("rows", c.CountRows("t"), int64(40000))
	r := newReplica()
	r.catchUp(c, "t")
	c.same("rows of another subscriber", len(r.rows), 40000)
}
