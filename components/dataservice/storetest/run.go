package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Run tests a store. open gives a new, empty one for each test and closes it with the test.
func Run(t *testing.T, open func(testing.TB) Node) {
	for _, x := range []struct {
		name string
		run  func(*Client)
	}{
		{"tables are made, listed and dropped", tables},
		{"schemas are replaced and merged", schemas},
		{"records are read as they were put", putAndRead},
		{"ranges, paging and order", paging},
		{"records are found by number, id and key", exact},
		{"a key's newest record replaces the others", upsert},
		{"records are counted and deleted by time and id", deletes},
		{"frames of a stream become rows of its tables", events},
		{"a frame that comes twice is stored once", repeats},
		{"a value that does not fit becomes a dead letter", poison},
		{"what is acknowledged survives a restart", restart},
		{"snapshots name files that stay", snapshots},
		{"a transaction is committed once, whole or not at all", transactions},
		{"a transaction overwrites a table", overwrite},
		{"lower epochs are refused", fencing},
		{"the feed tells every change in order", feed},
		{"a feed goes on where it was left", feedResumes},
		{"a subscriber that does not read holds up nobody", slowSubscriber},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(NewClient(t, open(t))) })
	}
}

// wants fails unless the error has the gRPC code and a cause with a code of ours.
func (c *Client) wants(err error, code codes.Code, what string) {
	c.Helper()
	if status.Code(err) != code {
		c.Fatalf("%s: %v, want %s", what, err, code)
	}
	if cause.From(err).Code() == cause.Unknown.ID() {
		c.Fatalf("%s: no cause: %v", what, err)
	}
}

func (c *Client) same(what string, got, want any) {
	c.Helper()
	if !reflect.DeepEqual(got, want) {
		c.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func tables(c *Client) {
	schema := &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("a", String)}}
	info := c.Create("my_table", schema)
	c.same("name", info.Name, "MY_TABLE")
	_, err := c.CreateTable(c.Ctx(), &analyticsv1.CreateTableRequest{Tenant: Tenant, Table: "MY_table", Schema: &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("b", Long)}}})
	c.wants(err, codes.AlreadyExists, "second table of one name")
	r, err := c.CreateTable(c.Ctx(), &analyticsv1.CreateTableRequest{Tenant: Tenant, Table: "MY_table", IfNotExists: true})
	if err != nil || len(r.Table.Schema.Columns) != 1 {
		c.Fatalf("create if not exists: %v %v", r, err)
	}
	_, err = c.CreateTable(c.Ctx(), &analyticsv1.CreateTableRequest{Tenant: Tenant, Table: "x", Store: "NO_SUCH"})
	c.wants(err, codes.InvalidArgument, "unknown store")
	_, err = c.CreateTable(c.Ctx(), &analyticsv1.CreateTableRequest{Tenant: 7, Table: "x"})
	c.wants(err, codes.Unimplemented, "other tenant")
	for _, bad := range []string{"", "a/b", "a b", "\x00", "../x"} {
		_, err = c.CreateTable(c.Ctx(), &analyticsv1.CreateTableRequest{Tenant: Tenant, Table: bad})
		c.wants(err, codes.InvalidArgument, fmt.Sprintf("name %q", bad))
	}
	c.Create("other", nil)
	l, err := c.ListTables(c.Ctx(), &analyticsv1.ListTablesRequest{Tenant: Tenant})
	if err != nil || len(l.Tables) != 2 || l.Tables[0].Name != "MY_TABLE" || l.Tables[1].Name != "OTHER" {
		c.Fatalf("list: %v %v", l, err)
	}
	c.PutRows("my_table", Row{"a": "x"})
	for range 2 {
		if _, err := c.DropTable(c.Ctx(), &analyticsv1.DropTableRequest{Tenant: Tenant, Table: "my_Table"}); err != nil {
			c.Fatal(err)
		}
	}
	_, err = c.GetTable(c.Ctx(), &analyticsv1.GetTableRequest{Tenant: Tenant, Table: "my_table"})
	c.wants(err, codes.NotFound, "dropped table")
	_, err = c.Put(c.Ctx(), &analyticsv1.PutRequest{Tenant: Tenant, Table: "my_table", ArrowIpc: Records(c, []Row{{"a": "x"}})})
	c.wants(err, codes.NotFound, "put to a dropped table")
	c.Create("my_table", schema)
	c.same("rows of the new table", c.CountRows("my_table"), int64(0))
	s, err := c.ListStores(c.Ctx(), &analyticsv1.ListStoresRequest{})
	if err != nil || len(s.Stores) == 0 || s.Stores[0].Name != "EVENT_STORE" {
		c.Fatalf("stores: %v %v", s, err)
	}
}

func schemas(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("a", String), Col("n", Integer)}, PrimaryKeys: []string{"n", "a"}})
	set := func(merge bool, keys []string, cols ...*analyticsv1.Column) (*analyticsv1.TableInfo, error) {
		r, err := c.SetSchema(c.Ctx(), &analyticsv1.SetSchemaRequest{Tenant: Tenant, Table: "t", Merge: merge, Schema: &analyticsv1.Schema{Columns: cols, PrimaryKeys: keys}})
		return r.GetTable(), err
	}
	t, err := set(true, nil, Col("b", Double), &analyticsv1.Column{Name: "n", Type: Integer, Indexed: true})
	if err != nil {
		c.Fatal(err)
	}
	var names []string
	for _, x := range t.Schema.Columns {
		names = append(names, x.Name)
	}
	c.same("columns", names, []string{"a", "n", "b"})
	c.same("keys are sorted", t.Schema.PrimaryKeys, []string{"a", "n"})
	c.same("a flag is added", t.Schema.Columns[1].Indexed, true)
	if t, err = set(true, nil, Col("n", Integer)); err != nil {
		c.Fatal(err)
	}
	c.same("a merge takes no flag away", t.Schema.Columns[1].Indexed, true)
	_, err = set(true, nil, Col("a", Long))
	c.wants(err, codes.FailedPrecondition, "conflict of type")
	_, err = set(true, []string{"b"}, Col("b", Double))
	c.wants(err, codes.FailedPrecondition, "conflict of keys")
	_, err = set(false, []string{"missing"}, Col("b", Double))
	c.wants(err, codes.FailedPrecondition, "key without column")
	_, err = set(false, nil, Col("_id", String))
	c.wants(err, codes.InvalidArgument, "reserved column")
	before := t.SchemaVersion
	if t, err = set(false, nil, Col("z", Boolean)); err != nil || len(t.Schema.Columns) != 1 || len(t.Schema.PrimaryKeys) != 0 {
		c.Fatalf("replace: %v %v", t, err)
	}
	if t.SchemaVersion <= before {
		c.Fatalf("schema version %d after %d", t.SchemaVersion, before)
	}
	_, err = c.SetSchema(c.Ctx(), &analyticsv1.SetSchemaRequest{Tenant: Tenant, Table: "none", Schema: &analyticsv1.Schema{}})
	c.wants(err, codes.NotFound, "schema of a missing table")
	// A column whose type changes is read in the new type.
	c.PutRows("t", Row{"z": true}, Row{"z": nil})
	if _, err = set(false, nil, Col("z", String)); err != nil {
		c.Fatal(err)
	}
	c.PutRows("t", Row{"z": "x"})
	c.same("values after the change", Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "t"}), "z"), []any{"true", nil, "x"})
	_, err = set(false, []string{"z"}, Col("z", String))
	c.wants(err, codes.FailedPrecondition, "keys of a table with rows")
}

func putAndRead(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{
		Col("s", String), Col("i", Integer), Col("l", Long), Col("f", Float), Col("d", Double), Col("b", Boolean), Col("x", Binary), Col("fc", Facet)}})
	full := Row{"_timestamp": int64(1000), "s": "größer", "i": int32(-5), "l": int64(1) << 60, "f": float32(1.5), "d": 2.25, "b": true,
		"x": []byte{0, 255}, "fc": "a,b", "_arbitrary": `{"k":"v"}`}
	p := c.PutRows("T", full, Row{"_timestamp": int64(1001), "s": ""})
	if p.LastSeq != p.FirstSeq+1 || p.FirstSeq == 0 {
		c.Fatalf("numbers %v", p)
	}
	got := c.ReadRows(&analyticsv1.ReadRequest{Table: "t"})
	if len(got) != 2 {
		c.Fatalf("%d rows", len(got))
	}
	for k, v := range full {
		c.same(k, got[0][k], v)
	}
	c.same("_seq", got[0]["_seq"], int64(p.FirstSeq))
	if id, _ := got[0]["_id"].(string); id == "" || id == got[1]["_id"] {
		c.Fatalf("ids %v %v", got[0]["_id"], got[1]["_id"])
	}
	c.same("absent value", got[1]["i"], nil)
	c.same("empty text", got[1]["s"], "")
	// Values take the column's type; what has no counterpart is refused, the whole request with it.
	c.PutRows("t", Row{"_timestamp": int64(1), "l": int32(7), "s": int64(8), "i": "9"})
	got = c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Start: 2, Columns: []string{"l", "s", "i"}})
	c.same("cast", []any{got[0]["l"], got[0]["s"], got[0]["i"]}, []any{int64(7), "8", int32(9)})
	if _, there := got[0]["d"]; there || len(got[0]) != 6 {
		c.Fatalf("columns not asked for: %v", got[0])
	}
	_, err := c.Put(c.Ctx(), &analyticsv1.PutRequest{Tenant: Tenant, Table: "t", ArrowIpc: Records(c, []Row{{"i": "1"}, {"i": "nine"}})})
	c.wants(err, codes.InvalidArgument, "bad value")
	_, err = c.Put(c.Ctx(), &analyticsv1.PutRequest{Tenant: Tenant, Table: "t", ArrowIpc: []byte("no arrow")})
	c.wants(err, codes.InvalidArgument, "no Arrow stream")
	c.same("rows", c.CountRows("t"), int64(3))
	// Columns that the schema doesn't have are stored too.
	c.PutRows("t", Row{"more": "m"})
	got = c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Start: 3})
	c.same("unknown column", got[0]["more"], "m")
	_, err = c.TryRead(&analyticsv1.ReadRequest{Table: "t", Columns: []string{"nope"}})
	c.wants(err, codes.InvalidArgument, "unknown column asked for")
	_, err = c.TryRead(&analyticsv1.ReadRequest{Table: "none"})
	c.wants(err, codes.NotFound, "missing table")
}

// cutNow makes the store put the table's tail into segments, if it keeps segments.
func (c *Client) cutNow(tables ...string) *analyticsv1.SnapshotResponse {
	c.Helper()
	s, err := c.Snapshot(c.Ctx(), &analyticsv1.SnapshotRequest{Tenant: Tenant, Tables: tables})
	if err != nil {
		c.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil {
		c.Fatal(err)
	}
	return r
}

func paging(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("n", Integer)}})
	const n = 500
	at := func(i int) int64 { return int64(10_000 + i*37%n) }
	for from := 0; from < n; from += 100 {
		var rows []Row
		for i := from; i < from+100; i++ {
			rows = append(rows, Row{"n": int32(i), "_timestamp": at(i)})
		}
		c.PutRows("t", rows...)
		if from == 200 && c.Segments != "" {
			c.cutNow("t")
		}
	}
	ns := func(q *analyticsv1.ReadRequest) []any {
		c.Helper()
		q.Table = "t"
		return Column(c.ReadRows(q), "n")
	}
	var all, newest, ranged []any
	byTime := map[int64]int32{}
	for i := range n {
		all = append(all, int32(i))
		byTime[at(i)] = int32(i)
		if t := at(i); t >= 10_100 && t < 10_200 {
			ranged = append(ranged, int32(i))
		}
	}
	for t := int64(10_000 + n - 1); t >= 10_000; t-- {
		newest = append(newest, byTime[t])
	}
	from, to := int64(10_100), int64(10_200)
	c.same("all", ns(&analyticsv1.ReadRequest{}), all)
	c.same("a page", ns(&analyticsv1.ReadRequest{Start: 250, Count: 130}), all[250:380])
	c.same("the last page", ns(&analyticsv1.ReadRequest{Start: 490, Count: 100}), all[490:])
	c.same("behind the end", ns(&analyticsv1.ReadRequest{Start: 500, Count: 1}), []any{})
	c.same("count -1 is all", ns(&analyticsv1.ReadRequest{Start: 1, Count: -1}), all[1:])
	c.same("a range", ns(&analyticsv1.ReadRequest{From: &from, To: &to}), ranged)
	c.same("a page of a range", ns(&analyticsv1.ReadRequest{From: &from, To: &to, Start: 40, Count: 20}), ranged[40:60])
	c.same("newest first", ns(&analyticsv1.ReadRequest{NewestFirst: true}), newest)
	c.same("a page of newest first", ns(&analyticsv1.ReadRequest{NewestFirst: true, Start: 100, Count: 50}), newest[100:150])
	c.same("newest first in a range", ns(&analyticsv1.ReadRequest{NewestFirst: true, From: &from, To: &to, Start: 10, Count: 20}), newest[n-200+10:n-200+30])
	r, err := c.Count(c.Ctx(), &analyticsv1.CountRequest{Tenant: Tenant, Table: "t", From: &from, To: &to})
	if err != nil || r.Rows != 100 {
		c.Fatalf("count of a range: %v %v", r, err)
	}
}

func exact(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("n", Integer)}})
	p := c.PutRows("t", Row{"n": int32(1)}, Row{"n": int32(2)}, Row{"n": int32(3)})
	if c.Segments != "" {
		c.cutNow("t")
	}
	q := c.PutRows("t", Row{"n": int32(4)})
	got := c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Seqs: []uint64{q.FirstSeq, p.FirstSeq + 2, 999_999_999, p.FirstSeq}})
	c.same("by number, in the order asked for", Column(got, "n"), []any{int32(4), int32(3), int32(1)})
	var ids []string
	for _, r := range got {
		ids = append(ids, r["_id"].(string))
	}
	slices.Reverse(ids)
	c.same("by id", Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Ids: append(ids, "!", "")}), "n"), []any{int32(1), int32(3), int32(4)})
	_, err := c.TryRead(&analyticsv1.ReadRequest{Table: "t", Seqs: []uint64{1}, Ids: ids})
	c.wants(err, codes.InvalidArgument, "numbers and ids at once")
	_, err = c.TryRead(&analyticsv1.ReadRequest{Table: "t", Keys: []*analyticsv1.KeyValues{{Values: map[string]string{"n": "1"}}}})
	c.wants(err, codes.InvalidArgument, "keys of a table without")
}

func upsert(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("a", String), Col("b", String), Col("n", Integer), Col("v", Long)}, PrimaryKeys: []string{"a", "b", "n"}})
	row := func(a, b any, n any, v int64) Row { return Row{"a": a, "b": b, "n": n, "v": v} }
	// Keys that would be one if values were joined without lengths; null differs from empty.
	c.PutRows("t", row("a", "bc", int32(1), 1), row("ab", "c", int32(1), 2), row("", "abc", int32(1), 3), row(nil, "abc", int32(1), 4))
	c.same("rows", c.CountRows("t"), int64(4))
	// Within one request the last one counts.
	c.PutRows("t", row("a", "bc", int32(1), 5), row("x", "y", int32(2), 6), row("x", "y", int32(2), 7))
	c.same("rows after the upsert", c.CountRows("t"), int64(5))
	check := func(when string) {
		c.Helper()
		got := map[any]bool{}
		for _, r := range c.ReadRows(&analyticsv1.ReadRequest{Table: "t"}) {
			got[r["v"]] = true
		}
		c.same("values "+when, got, map[any]bool{int64(5): true, int64(2): true, int64(3): true, int64(4): true, int64(7): true})
	}
	check("in the tail")
	if c.Segments != "" {
		c.cutNow("t")
		check("in a segment")
	}
	key := func(a, b, n string) *analyticsv1.KeyValues {
		return &analyticsv1.KeyValues{Values: map[string]string{"a": a, "b": b, "n": n}}
	}
	got := c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Keys: []*analyticsv1.KeyValues{key("x", "y", "2"), key("no", "y", "2"), key("a", "bc", "1"),
		{Values: map[string]string{"b": "abc", "n": "1"}}}})
	c.same("by key", Column(got, "v"), []any{int64(7), int64(5), int64(4)})
	_, err := c.TryRead(&analyticsv1.ReadRequest{Table: "t", Keys: []*analyticsv1.KeyValues{key("x", "y", "two")}})
	c.wants(err, codes.InvalidArgument, "key that is no number")
	id := got[0]["_id"].(string)
	c.PutRows("t", row("x", "y", int32(2), 8))
	got = c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Ids: []string{id}, Columns: []string{"v"}})
	c.same("the id is the key's", Column(got, "v"), []any{int64(8)})
	c.Restarted()
	c.same("rows after a restart", c.CountRows("t"), int64(5))
	got = c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Ids: []string{id}})
	c.same("after a restart", Column(got, "v"), []any{int64(8)})
	d, err := c.Delete(c.Ctx(), &analyticsv1.DeleteRequest{Tenant: Tenant, Table: "t", Ids: []string{id}})
	if err != nil || d.Rows != 1 {
		c.Fatalf("delete: %v %v", d, err)
	}
	c.same("after the delete", len(c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Keys: []*analyticsv1.KeyValues{key("x", "y", "2")}})), 0)
	c.PutRows("t", row("x", "y", int32(2), 9))
	c.same("rows at the end", c.CountRows("t"), int64(5))
}

func deletes(c *Client) {
	c.Create("t", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("n", Integer)}})
	var rows []Row
	for i := range 100 {
		rows = append(rows, Row{"n": int32(i), "_timestamp": int64(i)})
	}
	c.PutRows("t", rows[:50]...)
	if c.Segments != "" {
		c.cutNow("t")
	}
	c.PutRows("t", rows[50:]...)
	del := func(q *analyticsv1.DeleteRequest) int64 {
		c.Helper()
		q.Tenant, q.Table = Tenant, "t"
		r, err := c.Delete(c.Ctx(), q)
		if err != nil {
			c.Fatal(err)
		}
		return r.Rows
	}
	from, to := int64(40), int64(60)
	c.same("deleted by time", del(&analyticsv1.DeleteRequest{From: &from, To: &to}), int64(20))
	c.same("deleted again", del(&analyticsv1.DeleteRequest{From: &from, To: &to}), int64(0))
	ids := Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "t", Start: 5, Count: 2}), "_id")
	c.same("deleted by id", del(&analyticsv1.DeleteRequest{Ids: []string{ids[0].(string), ids[1].(string), ids[0].(string), "zzz"}}), int64(2))
	check := func() {
		c.Helper()
		c.same("rows", c.CountRows("t"), int64(78))
		var want []any
		for i := range 100 {
			if i != 5 && i != 6 && (i < 40 || i >= 60) {
				want = append(want, int32(i))
			}
		}
		c.same("what is left", Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "t"}), "n"), want)
	}
	check()
	c.Restarted()
	check()
	c.same("all deleted", del(&analyticsv1.DeleteRequest{}), int64(78))
	c.same("rows at last", c.CountRows("t"), int64(0))
	c.PutRows("t", Row{"n": int32(1)})
	c.same("one again", c.CountRows("t"), int64(1))
	_, err := c.Delete(c.Ctx(), &analyticsv1.DeleteRequest{Tenant: Tenant, Table: "t", From: &from, Ids: []string{"1"}})
	c.wants(err, codes.InvalidArgument, "ids and time at once")
}

func smartHome(t testing.TB) *Stream {
	return NewStream(t, "smart.home:1.0.0", arrow.Field{Name: "house", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "area", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "power", Type: arrow.PrimitiveTypes.Float32}, arrow.Field{Name: "peak", Type: arrow.FixedWidthTypes.Boolean})
}

func homeRow(i int) Row {
	return Row{"_timestamp": int64(1000 + i), "house": int32(i), "area": fmt.Sprintf("area %d", i%3), "power": float32(i) / 2, "peak": i%2 == 0}
}

func events(c *Client) {
	s := smartHome(c)
	p := c.NewProducer()
	b := s.Frame(c, frame.Source{1}, 1, []Row{homeRow(1)})
	err := p.Append(s, b)
	var refused *link.Refused
	if !errors.As(err, &refused) || !refused.Retry {
		c.Fatalf("a stream without binding: %v", err)
	}
	c.Create("home", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("house", Integer), Col("area", String), Col("power", Float), Col("peak", Boolean)}})
	c.BindAll(s, "home")
	c.Create("other", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("id", Long), Col("where", String)}, PrimaryKeys: []string{"where"}})
	if _, err := c.Bind(c.Ctx(), &analyticsv1.StoreBindRequest{Tenant: Tenant, Stream: s.Name, Table: "other", StreamSchema: s.Info.Body, Version: "1.0.0",
		Columns: []*analyticsv1.BindingColumn{{From: "house", To: Col("id", Long)}, {From: "area", To: Col("where", String)}}}); err != nil {
		c.Fatal(err)
	}
	_, err = c.Bind(c.Ctx(), &analyticsv1.StoreBindRequest{Tenant: Tenant, Stream: s.Name, Table: "home", StreamSchema: s.Info.Body,
		Columns: []*analyticsv1.BindingColumn{{From: "nope", To: Col("house", Integer)}}})
	c.wants(err, codes.InvalidArgument, "binding of an attribute that is not there")
	for i := range 10 {
		if err := p.Append(s, s.Frame(c, frame.Source{1}, uint64(i+2), []Row{homeRow(2 * i), homeRow(2*i + 1)})); err != nil {
			c.Fatal(err)
		}
	}
	check := func(when string) {
		c.Helper()
		got := c.ReadRows(&analyticsv1.ReadRequest{Table: "home"})
		if len(got) != 20 {
			c.Fatalf("%s: %d rows", when, len(got))
		}
		for i, r := range got {
			for k, v := range homeRow(i) {
				c.same(fmt.Sprintf("%s, row %d, %s", when, i, k), r[k], v)
			}
		}
		got = c.ReadRows(&analyticsv1.ReadRequest{Table: "other"})
		c.same("the other table "+when, Column(got, "where"), []any{"area 2", "area 0", "area 1"})
		c.same("cast "+when, Column(got, "id"), []any{int64(17), int64(18), int64(19)})
		c.same("version "+when, Column(got, "_version"), []any{"1.0.0", "1.0.0", "1.0.0"})
	}
	check("at once")
	if c.Segments != "" {
		c.cutNow("home", "other")
		check("in segments")
	}
	// Keys that the binding gives nothing: refused until the stream is bound anew, not stored under one empty key.
	c.Create("late", nil)
	if _, err := c.Bind(c.Ctx(), &analyticsv1.StoreBindRequest{Tenant: Tenant, Stream: s.Name, Table: "late", StreamSchema: s.Info.Body,
		Columns: []*analyticsv1.BindingColumn{{From: "house", To: Col("house", Integer)}}}); err != nil {
		c.Fatal(err)
	}
	if _, err := c.SetSchema(c.Ctx(), &analyticsv1.SetSchemaRequest{Tenant: Tenant, Table: "late", Schema: &analyticsv1.Schema{
		Columns: []*analyticsv1.Column{Col("area", String)}, PrimaryKeys: []string{"area"}}}); err != nil {
		c.Fatal(err)
	}
	if err := p.Append(s, s.Frame(c, frame.Source{1}, 49, []Row{homeRow(49)})); !errors.As(err, &refused) || !refused.Retry {
		c.Fatalf("a binding without the table's key: %v", err)
	}
	if _, err := c.DropTable(c.Ctx(), &analyticsv1.DropTableRequest{Tenant: Tenant, Table: "late"}); err != nil {
		c.Fatal(err)
	}
	if _, err := c.Unbind(c.Ctx(), &analyticsv1.StoreUnbindRequest{Tenant: Tenant, Stream: s.Name, Table: "other"}); err != nil {
		c.Fatal(err)
	}
	if err := p.Append(s, s.Frame(c, frame.Source{1}, 50, []Row{homeRow(50)})); err != nil {
		c.Fatal(err)
	}
	c.same("after unbind", c.CountRows("other"), int64(3))
	c.same("the other binding goes on", c.CountRows("home"), int64(21))
	c.Restarted()
	c.same("after a restart", c.CountRows("home"), int64(21))
	if err := c.NewProducer().Append(s, s.Frame(c, frame.Source{1}, 51, []Row{homeRow(51)})); err != nil {
		c.Fatal(err)
	}
	c.same("bindings survive", c.CountRows("home"), int64(22))
}

func repeats(c *Client) {
	s := smartHome(c)
	c.Create("home", nil)
	c.BindAll(s, "home")
	p := c.NewProducer()
	send := func(source byte, counter uint64) {
		c.Helper()
		src := frame.Source{}
		if source > 0 {
			src = frame.Source{source}
		}
		if err := p.Append(s, s.Frame(c, src, counter, []Row{homeRow(int(counter))})); err != nil {
			c.Fatal(err)
		}
	}
	for _, n := range []uint64{1, 2, 2, 4, 3, 1, 4} {
		send(1, n)
	}
	c.same("each once", c.CountRows("home"), int64(4))
	send(2, 1)
	c.same("another source", c.CountRows("home"), int64(5))
	send(0, 1)
	send(0, 1)
	c.same("without source nothing is a repeat", c.CountRows("home"), int64(7))
	if c.Segments != "" {
		c.cutNow("home")
	}
	c.Restarted()
	p = c.NewProducer()
	send(1, 3)
	send(2, 1)
	c.same("after a restart", c.CountRows("home"), int64(7))
	send(1, 5)
	c.same("a new one", c.CountRows("home"), int64(8))
}

func poison(c *Client) {
	s := NewStream(c, "texts:1.0.0", arrow.Field{Name: "v", Type: arrow.BinaryTypes.String})
	c.Create("nums", &analyticsv1.Schema{Columns: []*analyticsv1.Column{Col("v", Integer)}})
	if _, err := c.Bind(c.Ctx(), &analyticsv1.StoreBindRequest{Tenant: Tenant, Stream: s.Name, Table: "nums", StreamSchema: s.Info.Body,
		Columns: []*analyticsv1.BindingColumn{{From: "v", To: Col("v", Integer)}}}); err != nil {
		c.Fatal(err)
	}
	p := c.NewProducer()
	if err := p.Append(s, s.Frame(c, frame.Source{1}, 1, []Row{{"_timestamp": int64(1), "v": "1"}, {"_timestamp": int64(2), "v": "two"}, {"_timestamp": int64(3), "v": "3"},
		{"_timestamp": int64(4), "v": "99999999999"}})); err != nil {
		c.Fatal(err)
	}
	check := func(when string) {
		c.Helper()
		c.same("rows "+when, Column(c.ReadRows(&analyticsv1.ReadRequest{Table: "nums"}), "v"), []any{int32(1), int32(3)})
		c.same("count "+when, c.CountRows("nums"), int64(2))
		dead := c.ReadRows(&analyticsv1.ReadRequest{Table: "__DEAD_LETTERS"})
		if len(dead) != 2 {
			c.Fatalf("%s: %d dead letters", when, len(dead))
		}
		c.same("stream", dead[0]["stream"], s.Name)
		c.same("column", dead[0]["column"], "v")
	}
	check("at once")
	if c.Segments != "" {
		c.cutNow("nums")
		check("in a segment")
	}
	c.Restarted()
	check("after a restart")
}

func restart(c *Client) {
	s := smartHome(c)
	c.Create("home", nil)
	c.BindAll(s, "home")
	total := 0
	for round := range 4 {
		p := c.NewProducer()
		for i := range 20 {
			n := round*20 + i
			if err := p.Append(s, s.Frame(c, frame.Source{1}, uint64(n+1), []Row{homeRow(n)})); err != nil {
				c.Fatal(err)
			}
			total++
			if i == 10 && round%2 == 1 && c.Segments != "" {
				c.cutNow("home")
			}
		}
		c.Restarted()
		got := c.ReadRows(&analyticsv1.ReadRequest{Table: "home"})
		if len(got) != total {
			c.Fatalf("round %d: %d rows, want %d", round, len(got), total)
		}
		for i, r := range got {
			c.same("order", r["house"], int32(i))
		}
	}
}
