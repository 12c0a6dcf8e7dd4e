package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"carbonado.dev/carbonado/bench/load"
	"carbonado.dev/carbonado/components/dataservice"
	"carbonado.dev/carbonado/components/eventreceiver"
	"carbonado.dev/carbonado/components/eventsink"
	"carbonado.dev/sdk/agent"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	"carbonado.dev/sdk/sdktest"
)

// anyone lets admin in.
type anyone struct {
	analyticsv1.UnimplementedAuthenticatorServer
}

func (anyone) Authenticate(_ context.Context, req *analyticsv1.AuthenticateRequest) (*analyticsv1.AuthenticateResponse, error) {
	return &analyticsv1.AuthenticateResponse{Principal: &commonv1.Principal{User: req.GetBasic().GetUsername(), Tenant: sdktest.Tenant, Permissions: []string{"/permission"}}}, nil
}

// path is receiver, sink and store under the kernel double, in one process.
type path struct {
	t                     testing.TB
	kernel                *sdktest.Kernel
	store, sink, receiver *sdktest.Component
}

func newPath(t testing.TB) *path {
	t.Helper()
	k := sdktest.NewKernel(t)
	k.Provide(&analyticsv1.Authenticator_ServiceDesc, anyone{}, nil)
	folder := func(name string) sdktest.Option {
		return sdktest.WithDescriptor(filepath.Join("../../components", name, "component.yaml"))
	}
	p := &path{t: t, kernel: k}
	p.store = k.Start(dataservice.Start, folder("dataservice"))
	p.receiver = k.Start(eventreceiver.Start, folder("eventreceiver"))
	p.sink = k.Start(eventsink.Start, folder("eventsink"))
	k.MustDeploy("eventstreams/"+load.Stream.FileName()+".json", string(load.Stream.JSON()))
	k.MustDeploy("eventsink/"+load.SinkName+".xml", load.SinkFile(false))
	return p
}

func (p *path) agent(change func(*agent.Options)) *agent.Agent {
	p.t.Helper()
	o := agent.Options{
		URLs: "tcp://" + p.receiver.Address("thrift"), AuthURLs: "ssl://" + p.receiver.Address("thriftSSL"), Username: "admin", Password: "any",
		TLS: &tls.Config{InsecureSkipVerify: true}, Reconnect: 20 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	a, err := agent.New(o)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *path) records() analyticsv1.RecordStoreClient {
	return analyticsv1.NewRecordStoreClient(p.store.Conn(analyticsv1.RecordStore_ServiceDesc.ServiceName))
}

// column reads one string column of a table.
func (p *path) column(table, name string) []string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	stream, err := p.records().Read(ctx, &analyticsv1.ReadRequest{Tenant: sdktest.Tenant, Table: table, Columns: []string{name}})
	if err != nil {
		p.t.Fatal(err)
	}
	var text bytes.Buffer
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		text.Write(m.ArrowIpc)
	}
	var out []string
	r, err := ipc.NewReader(&text)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Release()
	for r.Next() {
		rec := r.RecordBatch()
		index := rec.Schema().FieldIndices(name)
		if len(index) != 1 {
			p.t.Fatalf("column %s: %v", name, rec.Schema())
		}
		switch c := rec.Column(index[0]).(type) {
		case *array.String:
			for i := range c.Len() {
				out = append(out, c.Value(i))
			}
		default:
			for i := range c.Len() {
				out = append(out, c.ValueStr(i))
			}
		}
	}
	if r.Err() != nil {
		p.t.Fatal(r.Err())
	}
	return out
}

// unique checks that the table holds event numbers 0 … n-1, each once.
func (p *path) unique(n int) {
	p.t.Helper()
	got := p.column(load.TableName, "serial")
	seen := map[string]int{}
	for _, v := range got {
		seen[v]++
	}
	missing, double := 0, 0
	for i := range n {
		switch c := seen[fmt.Sprint(i)]; {
		case c == 0:
			missing++
		case c > 1:
			double++
		}
	}
	if len(got) != n || missing > 0 || double > 0 {
		p.t.Errorf("%d rows of %d, %d missing, %d more than once", len(got), n, missing, double)
	}
}

// TestPathIsExact: from several connections of the agent to the store, through restarts of each component on the way, every event is
// stored exactly once.
func TestPathIsExact(t *testing.T) {
	p := newPath(t)
	a := p.agent(func(o *agent.Options) { o.Connections = 4 })
	const events = 20_000
	for i := range events {
		if err := a.Publish(t.Context(), load.Event(i)); err != nil {
			t.Fatal(err)
		}
		switch i {
		case 5_000:
			p.sink = p.sink.Restart()
		case 10_000:
			p.store = p.store.Restart()
		case 15_000:
			p.sink = p.sink.Restart()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if s := a.Stats(); s.Acknowledged != events || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	p.unique(events)
}

// TestPythonClient: a client that Thrift's compiler makes for Python from the protocol's facts logs in, defines a stream and publishes
// 10,000 events; all are stored.
func TestPythonClient(t *testing.T) {
	folder := t.TempDir()
	setup := exec.Command("testdata/python/setup.sh", folder)
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("a Python Thrift client can't be set up here: %v\n%s", err, out)
	}
	p := newPath(t)
	const stream = "org.acme.python"
	sink := strings.NewReplacer(load.Stream.ID(), stream+":1.0.0").Replace(`<EventStoreConfiguration><TableSchema>
		<ColumnDefinition><Name>serial</Name><Type>INTEGER</Type></ColumnDefinition><ColumnDefinition><Name>text</Name><Type>STRING</Type></ColumnDefinition>
		</TableSchema><Source><StreamId>` + load.Stream.ID() + `</StreamId></Source></EventStoreConfiguration>`)
	if state, c := p.kernel.Deploy("eventsink/org_acme_python.xml", sink); !strings.HasSuffix(state.String(), "WAITING") {
		t.Fatalf("%v %v", state, c)
	}
	cmd := exec.Command(filepath.Join(folder, "venv", "bin", "python"), "testdata/python/client.py", p.receiver.Address("thriftSSL"), p.receiver.Address("thrift"), "admin", "any", stream, "10000")
	cmd.Env = append(os.Environ(), "PYTHONPATH="+folder)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "published 10000") {
		t.Errorf("%s", out)
	}
	got := p.column("ORG_ACME_PYTHON", "serial")
	slices.SortFunc(got, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for i, v := range got {
		if v != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, v)
		}
	}
	if len(got) != 10_000 {
		t.Errorf("%d events stored", len(got))
	}
}

// BenchmarkPath is the whole path in one process: agent, receiver, sink, store; it reports events per second.
func BenchmarkPath(b *testing.B) {
	p := newPath(b)
	a := p.agent(func(o *agent.Options) { o.Connections = 8 })
	events := load.Pool()
	b.ResetTimer()
	var wg sync.WaitGroup
	const publishers = 2
	for range publishers {
		wg.Go(func() {
			for i := range b.N / publishers {
				if err := a.Publish(b.Context(), events[i%len(events)]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := a.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
