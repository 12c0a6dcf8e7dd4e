package indexing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/components/indexing/disk"
	"carbonado.dev/carbonado/components/indexing/lucene"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	typeString  = analyticsv1.ColumnType_COLUMN_TYPE_STRING
	typeInt     = analyticsv1.ColumnType_COLUMN_TYPE_INTEGER
	typeLong    = analyticsv1.ColumnType_COLUMN_TYPE_LONG
	typeDouble  = analyticsv1.ColumnType_COLUMN_TYPE_DOUBLE
	typeFloat   = analyticsv1.ColumnType_COLUMN_TYPE_FLOAT
	typeBoolean = analyticsv1.ColumnType_COLUMN_TYPE_BOOLEAN
	typeFacet   = analyticsv1.ColumnType_COLUMN_TYPE_FACET
)

// node is a component under the double with its store.
type node struct {
	t     *testing.T
	store *memoryStore
	k     *sdktest.Kernel
	c     *sdktest.Component
	index analyticsv1.IndexClient
	data  string
}

func start(t *testing.T, config map[string]any) *node { return startOnFS(t, config, disk.OS{}) }

func startOnFS(t *testing.T, config map[string]any, fs disk.FS) *node {
	n := &node{t: t, store: newStore(t), k: sdktest.NewKernel(t), data: t.TempDir()}
	n.k.Provide(&analyticsv1.RecordStore_ServiceDesc, n.store, nil)
	n.k.Provide(&analyticsv1.ChangeFeed_ServiceDesc, n.store, nil)
	cfg := map[string]any{"nice": 0, "schemaSeconds": 600}
	for k, v := range config {
		cfg[k] = v
	}
	n.c = n.k.Start(func(c *component.C) error { return startOn(c, fs) }, sdktest.WithConfig(cfg), sdktest.WithData(n.data))
	n.index = analyticsv1.NewIndexClient(n.c.Conn(analyticsv1.Index_ServiceDesc.ServiceName))
	return n
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	n.t.Cleanup(cancel)
	return ctx
}

func (n *node) wait() {
	n.t.Helper()
	if _, err := n.index.WaitForIndexing(n.ctx(), &analyticsv1.WaitForIndexingRequest{Tenant: tenant}); err != nil {
		n.t.Fatalf("WaitForIndexing: %v", err)
	}
}

// find returns the `_seq` of the hits, in order.
func (n *node) find(table, q string, sort ...*analyticsv1.SortField) []uint64 {
	n.t.Helper()
	r, err := n.index.Search(n.ctx(), &analyticsv1.SearchRequest{Tenant: tenant, Table: table, Query: q, Count: 1000, Sort: sort})
	if err != nil {
		n.t.Fatalf("%s: %v", q, err)
	}
	c, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: table, Query: q})
	if err != nil || c.Count != r.Total || int(r.Total) != len(r.Hits) {
		n.t.Fatalf("%s: count %v, total %d, hits %d, %v", q, c, r.Total, len(r.Hits), err)
	}
	var out []uint64
	for _, h := range r.Hits {
		out = append(out, h.Seq)
	}
	return out
}

func (n *node) want(table, q string, seqs ...uint64) {
	n.t.Helper()
	got := n.find(table, q)
	slices.Sort(got)
	if !slices.Equal(got, seqs) {
		n.t.Fatalf("%s: rows %v, want %v", q, got, seqs)
	}
}

type values = map[string]any

func TestTypesAndKinds(t *testing.T) {
	n := start(t, nil)
	notIndexed := &analyticsv1.Column{Name: "secret", Type: typeString}
	facet := &analyticsv1.Column{Name: "kind", Type: typeString, Indexed: true, Facet: true}
	n.store.create("HOMES", col("city", typeString), col("rooms", typeInt), col("meter", typeLong), col("usage", typeDouble), col("f", typeFloat),
		col("peak", typeBoolean), col("place", typeFacet), notIndexed, facet)
	s := n.store.put("HOMES",
		values{"city": "New York", "rooms": 3, "meter": -5, "usage": 1.5, "f": 0.1, "peak": true, "place": "US, NY", "secret": "x", "kind": "a"},
		values{"city": "London", "rooms": 4, "meter": 1_000_000_000_000, "usage": -2.5, "peak": false, "place": "UK", "kind": "b"},
		values{"city": "york moor", "rooms": nil, "peak": nil})
	n.wait()
	a, b, c := s[0], s[1], s[2]
	for q, rows := range map[string][]uint64{
		"": {a, b, c}, "*:*": {a, b, c}, "city:york": {a, c}, `city:"new york"`: {a}, `_city:"New York"`: {a}, `_city:"new york"`: {}, "_city:New*": {a},
		"city:(york -moor)": {a}, "rooms:3": {a}, "rooms:[4 TO *]": {b}, "meter:-5": {a}, "meter:[2000-01-01 TO 2002-01-01]": {b}, "usage:-2.5": {b},
		"usage:{-2.5 TO *]": {a}, "f:0.1": {a}, "peak:true": {a}, "peak:[false TO true]": {a, b}, "rooms:*": {a, b}, "place:US,NY": {a}, "place:US": {a},
		`place:"EMPTY_FACET_VALUE!"`: {c}, "city:lndon~1": {b}, "city:/y.*k/": {a, c}, "city:y?rk AND NOT peak:true": {c}, fmt.Sprintf("_seq:[%d TO *]", b): {b, c},
		`_timestamp:["2023-11-14" TO "2023-11-15"]`: {a, b, c}, "_timestamp:[2030-01-01 TO *]": {}, "city:nowhere": {}, "kind:b": {b},
	} {
		n.want("HOMES", q, rows...)
	}
	n.want("homes", "city:london", b)
	for _, q := range []struct {
		field string
		desc  bool
		want  []uint64
	}{{"rooms", true, []uint64{b, a, c}}, {"city", false, []uint64{b, a, c}}, {"_timestamp", true, []uint64{c, b, a}}, {"usage", false, []uint64{b, a, c}}, {"peak", false, []uint64{b, a, c}}} {
		if got := n.find("HOMES", "*:*", &analyticsv1.SortField{Field: q.field, Descending: q.desc}); !slices.Equal(got, q.want) {
			t.Errorf("sorted by %v: %v, want %v", q.field, got, q.want)
		}
	}
	for _, e := range []struct {
		table, q, sort string
		kind           *cause.Kind
	}{{"HOMES", "secret:x", "", lucene.ErrUnknownField}, {"HOMES", "york", "", lucene.ErrNoField}, {"HOMES", "rooms:x", "", lucene.ErrValue},
		{"NONE", "*:*", "", ErrTable}, {"HOMES", "*:*", "secret", ErrSort}, {"HOMES", "city:(", "", lucene.ErrSyntax}, {"HOMES", "city:*x", "", lucene.ErrLeadingWildcard}} {
		req := &analyticsv1.SearchRequest{Tenant: tenant, Table: e.table, Query: e.q, Count: 1}
		if e.sort != "" {
			req.Sort = []*analyticsv1.SortField{{Field: e.sort}}
		}
		if _, err := n.index.Search(n.ctx(), req); !errors.Is(cause.From(err), e.kind) {
			t.Errorf("%s in %s: %v, want %s", e.q, e.table, err, e.kind.ID())
		}
	}
	for _, req := range []*analyticsv1.SearchRequest{{Tenant: tenant, Table: "HOMES"}, {Tenant: tenant, Table: "HOMES", Count: 1, Start: -1},
		{Tenant: tenant, Table: "HOMES", Count: 1 << 62, Start: 1 << 62}} {
		if _, err := n.index.Search(n.ctx(), req); !errors.Is(cause.From(err), ErrRequest) {
			t.Errorf("%v: %v", req, err)
		}
	}
	if _, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: 5, Table: "HOMES"}); !errors.Is(cause.From(err), ErrTenant) {
		t.Errorf("another tenant: %v", err)
	}
}

func TestChangesFollowTheStore(t *testing.T) {
	n := start(t, map[string]any{"commitSeconds": 60, "shardCount": 3})
	n.store.create("A", col("msg", typeString), col("n", typeInt))
	n.store.create("PLAIN", &analyticsv1.Column{Name: "x", Type: typeString})
	var live []uint64
	for i := range 50 {
		live = append(live, n.store.put("A", values{"msg": "one fox", "n": i}, values{"msg": "two foxes", "n": -i})...)
	}
	n.wait()
	n.want("A", "*:*", live...)
	// Deletes, then rows, then both uncommitted together.
	n.store.remove("A", live[:30]...)
	live = live[30:]
	live = append(live, n.store.put("A", values{"msg": "three", "n": 7})...)
	gone := n.store.put("A", values{"msg": "four", "n": 8})
	n.store.remove("A", gone...)
	n.wait()
	n.want("A", "*:*", live...)
	n.want("A", "msg:four")
	// Overwrite is one step: before its end nothing of it is seen, and the old rows are.
	finish := n.store.overwrite("A", 2, true, values{"msg": "new one"}, values{"msg": "new two"}, values{"msg": "new three"}, values{"msg": "new four"})
	more := n.store.put // rows of another table commit meanwhile
	n.store.create("B", col("msg", typeString))
	b := more("B", values{"msg": "bee"})
	n.wait()
	n.want("B", "msg:bee", b...)
	n.want("A", "*:*", live...)
	finish()
	n.wait()
	if got := n.find("A", "*:*"); len(got) != 4 {
		t.Fatalf("after the overwrite: %v", got)
	}
	n.want("A", "msg:fox")
	// Half a transaction is forgotten when the feed breaks, and comes whole again.
	finish = n.store.overwrite("A", 1, true, values{"msg": "x"}, values{"msg": "y"}, values{"msg": "z"})
	n.store.breakFeeds()
	finish()
	n.wait()
	if got := n.find("A", "*:*"); len(got) != 3 {
		t.Fatalf("after the second overwrite: %v", got)
	}
	// A dropped table is no longer there, on disk neither.
	n.store.drop("B")
	n.wait()
	if _, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: "B"}); !errors.Is(cause.From(err), ErrTable) {
		t.Fatalf("search in a dropped table: %v", err)
	}
	if _, err := os.Stat(filepath.Join(n.data, "-1234", "B")); !os.IsNotExist(err) {
		t.Fatalf("the dropped table's folder: %v", err)
	}
}

// TestNoTableNoSubscription: without an indexed table nothing is subscribed to, and the first one is followed at once.
func TestNoTableNoSubscription(t *testing.T) {
	n := start(t, nil)
	n.store.create("PLAIN", &analyticsv1.Column{Name: "x", Type: typeString})
	n.wait()
	n.c.WaitHealth(component.OK)
	n.store.mu.Lock()
	feeds := n.store.nextFeed
	n.store.mu.Unlock()
	if feeds != 0 {
		t.Fatalf("%d subscriptions without a table", feeds)
	}
	n.store.create("A", col("msg", typeString))
	seqs := n.store.put("A", values{"msg": "first"})
	n.wait()
	n.want("A", "msg:first", seqs...)
}

// TestBreakWithinAPosition: rows of one position may come in several frames; a break between them, after a commit, loses and
// doubles nothing.
func TestBreakWithinAPosition(t *testing.T) {
	n := start(t, map[string]any{"commitDocuments": 1})
	n.store.create("A", col("msg", typeString))
	live := n.store.put("A", values{"msg": "first"})
	n.wait()
	more, finish := n.store.putSplit("A", values{"msg": "a"}, values{"msg": "b"}, values{"msg": "c"}, values{"msg": "d"})
	n.k.Eventually(func() bool {
		c, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: "A"})
		return err == nil && c.Count == 3
	})
	n.store.breakFeeds()
	finish()
	live = append(live, more...)
	n.wait()
	n.want("A", "*:*", live...)
	// A table dropped and made anew under the same name has the new rows only.
	n.store.drop("A")
	n.store.create("A", col("msg", typeString))
	live = n.store.put("A", values{"msg": "second life"})
	n.k.Eventually(func() bool {
		c, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: "A"})
		return err == nil && c.Count == 1
	})
	n.want("A", "msg:life", live...)
}

func TestNewColumnsApplyFromThenOn(t *testing.T) {
	n := start(t, nil)
	n.store.create("A", col("msg", typeString))
	old := n.store.put("A", values{"msg": "old", "level": 1})
	n.wait()
	n.store.create("A", col("msg", typeString), col("level", typeInt))
	fresh := n.store.put("A", values{"msg": "new", "level": 1})
	n.wait()
	n.want("A", "level:1", fresh...)
	n.want("A", "msg:(old new)", old[0], fresh[0])
	// With no indexed column at all there is nothing to search; with one again the index goes on where it stopped.
	n.store.create("A", &analyticsv1.Column{Name: "msg", Type: typeString}, &analyticsv1.Column{Name: "level", Type: typeInt})
	n.wait()
	if _, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: "A"}); !errors.Is(cause.From(err), ErrTable) {
		t.Fatalf("search in a table without indexed columns: %v", err)
	}
	n.store.create("A", col("msg", typeString), col("level", typeInt))
	n.wait()
	n.want("A", "msg:(old new)", old[0], fresh[0])
	if _, err := n.index.Clear(n.ctx(), &analyticsv1.ClearIndexRequest{Tenant: tenant, Table: "a"}); err != nil {
		t.Fatal(err)
	}
	n.wait()
	n.want("A", "level:1", old[0], fresh[0])
}

func TestPositionIsCommittedWithTheDocuments(t *testing.T) {
	n := start(t, nil)
	n.store.create("A", col("msg", typeString))
	var live []uint64
	for range 20 {
		live = append(live, n.store.put("A", values{"msg": "kept"})...)
	}
	n.wait()
	last := live[len(live)-1]
	n.c = n.c.Restart()
	n.index = analyticsv1.NewIndexClient(n.c.Conn(analyticsv1.Index_ServiceDesc.ServiceName))
	live = append(live, n.store.put("A", values{"msg": "kept"})...)
	n.wait()
	n.want("A", "msg:kept", live...)
	n.store.mu.Lock()
	opens := slices.Clone(n.store.opens)
	n.store.mu.Unlock()
	if opens[len(opens)-1] != last {
		t.Fatalf("subscribed after %v, want %d last", opens, last)
	}
	st, err := n.index.Status(n.ctx(), &analyticsv1.IndexStatusRequest{Tenant: tenant})
	if err != nil || len(st.Tables) != 1 || st.Tables[0].Documents != 21 || st.Tables[0].Position != live[20] || st.Tables[0].StorePosition != live[20] || st.Tables[0].Bytes == 0 || st.Tables[0].Segments == 0 {
		t.Fatalf("status %v, %v", st, err)
	}
}

func TestDamagedShardIsReplayed(t *testing.T) {
	n := start(t, nil)
	n.store.create("A", col("msg", typeString))
	live := n.store.put("A", values{"msg": "kept " + words(50)}, values{"msg": "kept too"})
	n.wait()
	n.want("A", "msg:kept", live...)
	if err := n.c.Stop(); err != nil {
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(n.data, "-1234", "A", "shard-0", "seg-*"))
	p, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	p[len(p)/2] ^= 1
	if err := os.WriteFile(segments[0], p, 0o600); err != nil {
		t.Fatal(err)
	}
	n.c = n.k.Start(Start, sdktest.WithConfig(map[string]any{"nice": 0}), sdktest.WithData(n.data))
	n.index = analyticsv1.NewIndexClient(n.c.Conn(analyticsv1.Index_ServiceDesc.ServiceName))
	n.wait()
	n.want("A", "msg:kept", live...)
	n.c.WaitHealth(component.OK)
}

// TestDamageFoundBySearch cuts a file short beneath the running component: the search that meets it says so, and the table is read
// again.
func TestDamageFoundBySearch(t *testing.T) {
	n := start(t, nil)
	n.store.create("A", col("msg", typeString))
	var live []uint64
	for i := range 300 {
		live = append(live, n.store.put("A", values{"msg": fmt.Sprintf("kept number%d %s", i, words(i))})...)
	}
	n.wait()
	n.want("A", "msg:kept", live...)
	segments, _ := filepath.Glob(filepath.Join(n.data, "-1234", "A", "shard-0", "seg-*"))
	for _, s := range segments {
		if err := os.Truncate(s, 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := n.index.Count(n.ctx(), &analyticsv1.SearchCountRequest{Tenant: tenant, Table: "A", Query: "msg:kept AND msg:number7"})
	if !errors.Is(cause.From(err), ErrRebuild) {
		t.Fatalf("search over a file that was cut short: %v", err)
	}
	n.wait()
	n.want("A", "msg:kept", live...)
	n.c.WaitHealth(component.OK)
}

// failing lets every new file fail while it is on.
type failing struct {
	disk.OS
	on atomic.Bool
}

func (f *failing) Create(name string) (disk.File, error) {
	if f.on.Load() {
		return nil, syscall.ENOSPC
	}
	return f.OS.Create(name)
}

// TestFullDisk: while nothing can be written the last commit is served and health says why; afterwards everything comes.
func TestFullDisk(t *testing.T) {
	fs := &failing{}
	n := startOnFS(t, nil, fs)
	n.store.create("A", col("msg", typeString))
	live := n.store.put("A", values{"msg": "before"})
	n.wait()
	n.c.WaitHealth(component.OK)
	fs.on.Store(true)
	live = append(live, n.store.put("A", values{"msg": "during"})...)
	if h := n.c.WaitHealth(component.Warn); !strings.Contains(h.Cause.GetText()+h.Cause.GetCode(), "CBN-IDX-00") {
		t.Errorf("health %v", h)
	}
	n.want("A", "*:*", live[0])
	fs.on.Store(false)
	live = append(live, n.store.put("A", values{"msg": "after"})...)
	n.wait()
	n.want("A", "*:*", live...)
	n.c.WaitHealth(component.OK)
}

func TestHTTPAndCLI(t *testing.T) {
	n := start(t, nil)
	n.store.create("A", col("msg", typeString), col("n", typeInt))
	seqs := n.store.put("A", values{"msg": "a fox\tand\x1b[31m more", "n": 1}, values{"msg": "two foxes", "n": 2}, values{"msg": "three fox", "n": 3})
	n.wait()
	post := func(p *commonv1.Principal, path, body string) (int, string) {
		resp, err := n.c.HTTP(p).Post("http://node"+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		return resp.StatusCode, b.String()
	}
	code, body := post(sdktest.Admin(), "/index/search", `{"table":"a","query":"msg:fox","count":1,"start":1,"sort":["n desc"]}`)
	var a searchAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || code != 200 {
		t.Fatal(code, body)
	}
	if a.Total != 2 || !a.Complete || len(a.Records) != 1 || a.Records[0].Seq != seqs[0] || a.Records[0].Values["n"] != 1.0 || !slices.Equal(a.Columns, []string{"msg", "n"}) {
		t.Fatalf("%+v", a)
	}
	if code, body = post(sdktest.Admin(), "/index/count", `{"table":"A","query":"msg:fox"}`); code != 200 || !strings.Contains(body, `"count":2`) {
		t.Fatal(code, body)
	}
	for _, c := range []struct {
		p    *commonv1.Principal
		body string
		code int
		text string
	}{
		{&commonv1.Principal{User: "eve", Permissions: []string{"/permission/admin/manage/analytics/records/get"}}, `{"table":"A"}`, 403, "CBN-IDX-016"},
		{nil, `{"table":"A"}`, 403, "CBN-IDX-016"},
		{&commonv1.Principal{User: "ann", Permissions: []string{permission}}, `{"table":"A"}`, 200, `"total":3`},
		{sdktest.Admin(), `{"table":"NONE"}`, 404, "CBN-IDX-002"},
		{sdktest.Admin(), `{"table":"A","query":"msg:("}`, 400, `"column":6`},
		{sdktest.Admin(), `{"table":"A","qery":"x"}`, 400, "qery"},
		{sdktest.Admin(), `{}`, 400, "table is not given"},
		{sdktest.Admin(), `{"table":"A","sort":["n up"]}`, 400, "neither asc nor desc"},
		{sdktest.Admin(), `{"table":"A","count":100001}`, 400, "10000"},
		{sdktest.Admin(), `{"table":"A","count":-1}`, 400, "count is -1"},
	} {
		if code, body := post(c.p, "/index/search", c.body); code != c.code || !strings.Contains(body, c.text) {
			t.Errorf("%s: %d %s", c.body, code, body)
		}
	}
	cli := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		client := n.c.HTTP(sdktest.Admin())
		inv := &component.Invocation{Verb: "search", Args: args, Stdout: &out, Stderr: &errs, Admin: &http.Client{Transport: client.Transport}}
		return searchVerb(context.Background(), inv), out.String(), errs.String()
	}
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"A", "msg:fox", "--sort", "n desc"}, 0, "three fox"},
		{[]string{"A", "--count-only", "msg:fox"}, 0, "2\n"},
		{[]string{"--count", "1", "A"}, 0, "1 of 3 records"},
		{[]string{"A", "msg:fox", "-o", "json"}, 0, "\"total\": 2"},
		{[]string{"A", "-o", "yaml", "n:[2 TO *]"}, 0, "total: 2"},
		{[]string{"-h"}, 0, "usage"},
		{nil, 64, ""}, {[]string{"A", "-o", "xml"}, 64, ""}, {[]string{"A", "--nope"}, 64, ""}, {[]string{"A", "b", "c"}, 64, ""},
		{[]string{"A", "fox"}, 1, ""},
	} {
		code, out, errs := cli(c.args...)
		if code != c.code || !strings.Contains(out, c.out) || code != 0 && errs == "" {
			t.Errorf("%q: %d\n%s%s", c.args, code, out, errs)
		}
		if strings.ContainsAny(out, "\x1b") {
			t.Errorf("%q prints control characters", c.args)
		}
	}
	if _, _, errs := cli("A", "fox"); !strings.Contains(errs, "CBN-IDX-011") || !strings.Contains(errs, "fix:") {
		t.Errorf("error of a search: %s", errs)
	}
}
