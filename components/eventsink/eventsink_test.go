package eventsink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deployed = controlv1.DeployResponse_STATE_DEPLOYED
	waits    = controlv1.DeployResponse_STATE_WAITING
	faulty   = controlv1.DeployResponse_STATE_FAULTY
)

const good = `<EventStoreConfiguration>
<TableSchema>
<ColumnDefinition><Name>meta_host</Name><EnableIndexing>true</EnableIndexing><IsPrimaryKey>true</IsPrimaryKey><EnableScoreParam>false</EnableScoreParam><IsFacet>false</IsFacet><Type>STRING</Type></ColumnDefinition>
<ColumnDefinition><Name>price</Name><EnableIndexing>false</EnableIndexing><IsPrimaryKey>false</IsPrimaryKey><EnableScoreParam>true</EnableScoreParam><Type>double</Type></ColumnDefinition>
<ColumnDefinition><Name>absent</Name><Type>FACET</Type></ColumnDefinition>
</TableSchema>
<Source><StreamId>org.acme.orders:1.0.0</StreamId></Source>
<MergeSchema>true</MergeSchema>
<RecordStoreName>PROCESSED_DATA_STORE</RecordStoreName>
</EventStoreConfiguration>`

func TestParse(t *testing.T) {
	d, err := parse("eventsink/org_acme_ORDERS.xml", "org_acme_ORDERS", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if d.table != "ORG_ACME_ORDERS" || d.store != "PROCESSED_DATA_STORE" || !d.merge || !slices.Equal(d.streams, []string{"org.acme.orders:1.0.0"}) {
		t.Errorf("%+v", d)
	}
	want := `meta_host STRING true false false, price DOUBLE false true false, absent FACET false false true, keys [meta_host]`
	var got []string
	for _, c := range d.schema.Columns {
		got = append(got, fmt.Sprint(c.Name, " ", strings.TrimPrefix(c.Type.String(), "COLUMN_TYPE_"), " ", c.Indexed, " ", c.ScoreParam, " ", c.Facet))
	}
	if s := strings.Join(got, ", ") + ", keys " + fmt.Sprint(d.schema.PrimaryKeys); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		old, new string
		kind     error
		line     int
	}{
		{"<EventStoreConfiguration>", "<!DOCTYPE x><EventStoreConfiguration>", carbonxml.ErrXML, 1},
		{"</EventStoreConfiguration>", "", carbonxml.ErrXML, 10},
		{"EventStoreConfiguration>", "Other>", ErrFile, 1},
		{"<Type>STRING</Type>", "<Type>TEXT</Type>", ErrFile, 3},
		{"<Type>FACET</Type>", "", ErrFile, 5},
		{"<Name>price</Name>", "<Name>META_host</Name>", ErrFile, 4},
		{"<Name>price</Name>", "", ErrFile, 4},
		{"<EnableIndexing>true</EnableIndexing>", "<EnableIndexing>yes</EnableIndexing>", ErrFile, 3},
		{"<StreamId>org.acme.orders:1.0.0</StreamId>", "", ErrFile, 1},
		{"<StreamId>org.acme.orders:1.0.0</StreamId>", "<StreamId>org.acme.orders</StreamId>", ErrFile, 7},
		{"</StreamId>", "</StreamId><StreamId>org.acme.other:1.0.0</StreamId>", ErrFile, 7},
		{"</StreamId>", "</StreamId><StreamId>org.acme.orders:1.0.0</StreamId>", ErrFile, 7},
		{"org.acme.orders", "org.acme.order", ErrName, 0},
	} {
		text := strings.ReplaceAll(good, c.old, c.new)
		_, err := parse("f.xml", "org_acme_orders", []byte(text))
		var e *cause.Error
		if !errors.Is(err, c.kind) || !errors.As(err, &e) {
			t.Errorf("%q: %v, want %v", c.new, err, c.kind)
			continue
		}
		if file, line, _ := e.Position(); file != "f.xml" || line != c.line {
			t.Errorf("%q: %v, want line %d", c.new, err, c.line)
		}
	}
}

// store is DataService and EventReceiver's StreamAdmin as the test needs them: it writes down what it is asked.
type store struct {
	// mu guards all below.
	mu      sync.Mutex
	calls   []string
	tables  map[string]bool
	streams map[string]*streamdef.Definition
	frames  []string
	answer  func(*link.Incoming) error // nil error acknowledges
	bindErr error
	changed chan struct{}
}

// The store's services, each with a type of its own because some of their methods have the same name.
type (
	recordStore struct {
		analyticsv1.UnimplementedRecordStoreServer
		*store
	}
	eventLog struct {
		analyticsv1.UnimplementedEventLogServer
		*store
	}
	streamAdmin struct {
		analyticsv1.UnimplementedStreamAdminServer
		*store
	}
)

func newStore() *store {
	return &store{tables: map[string]bool{}, streams: map[string]*streamdef.Definition{}, changed: make(chan struct{})}
}

func (s *store) note(format string, args ...any) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *store) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.calls
	s.calls = nil
	return out
}

func (s *store) define(text string) {
	d, _, err := streamdef.Parse("", []byte(text))
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[d.ID()] = d
	close(s.changed)
	s.changed = make(chan struct{})
}

var errNone = cause.Define("CBN-STORE-990", "none", "").Code(codes.NotFound)

func (s streamAdmin) Get(_ context.Context, req *analyticsv1.GetStreamRequest) (*analyticsv1.GetStreamResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.streams[req.StreamId]; d != nil {
		return &analyticsv1.GetStreamResponse{Definition: d.Proto()}, nil
	}
	return nil, errNone.New("stream %s", req.StreamId)
}

func (s streamAdmin) Watch(_ *analyticsv1.WatchStreamsRequest, stream grpc.ServerStreamingServer[analyticsv1.WatchStreamsResponse]) error {
	for {
		s.mu.Lock()
		var all []*streamdef.Definition
		for _, d := range s.streams {
			all = append(all, d)
		}
		changed := s.changed
		s.mu.Unlock()
		for _, d := range all {
			if err := stream.Send(&analyticsv1.WatchStreamsResponse{Definition: d.Proto()}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s recordStore) GetTable(_ context.Context, req *analyticsv1.GetTableRequest) (*analyticsv1.GetTableResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables[req.Table] {
		return &analyticsv1.GetTableResponse{}, nil
	}
	return nil, errNone.New("table %s", req.Table)
}

func (s recordStore) CreateTable(_ context.Context, req *analyticsv1.CreateTableRequest) (*analyticsv1.CreateTableResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[req.Table] = true
	s.note("create %s in %s, %d columns", req.Table, req.Store, len(req.Schema.Columns))
	return &analyticsv1.CreateTableResponse{}, nil
}

func (s recordStore) SetSchema(_ context.Context, req *analyticsv1.SetSchemaRequest) (*analyticsv1.SetSchemaResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("schema %s, %d columns, merge %v", req.Table, len(req.Schema.Columns), req.Merge)
	return &analyticsv1.SetSchemaResponse{}, nil
}

func (s recordStore) Bind(_ context.Context, req *analyticsv1.StoreBindRequest) (*analyticsv1.StoreBindResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bindErr != nil {
		return nil, s.bindErr
	}
	var columns []string
	for _, c := range req.Columns {
		columns = append(columns, c.From+">"+c.To.Name)
	}
	s.note("bind %s to %s as %s: %s, schema of %d bytes", req.Stream, req.Table, req.Version, strings.Join(columns, " "), min(len(req.StreamSchema), 1))
	return &analyticsv1.StoreBindResponse{}, nil
}

func (s recordStore) Unbind(_ context.Context, req *analyticsv1.StoreUnbindRequest) (*analyticsv1.StoreUnbindResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("unbind %s from %s", req.Stream, req.Table)
	return &analyticsv1.StoreUnbindResponse{}, nil
}

func (s eventLog) Append(stream grpc.BidiStreamingServer[linkv1.Frame, linkv1.Frame]) error {
	return link.New(stream, link.Options{}).Run(func(in *link.Incoming) error {
		if in.Kind == frame.Open {
			return nil
		}
		s.mu.Lock()
		answer := s.answer
		text := fmt.Sprintf("%s %x %d %d/%d rows %d", in.Name, in.Source[:2], in.Counter, in.Part, in.Parts, in.Rows)
		if err := frame.CheckBody(in.Bytes); err != nil || in.Schema == nil {
			text = fmt.Sprint(err, in.Schema)
		}
		s.frames = append(s.frames, text)
		s.mu.Unlock()
		if answer != nil {
			if err := answer(in); err != nil {
				in.Refuse(err, false)
				return nil
			}
		}
		in.Ack()
		return nil
	})
}

// world is a sink with a store.
type world struct {
	t      *testing.T
	kernel *sdktest.Kernel
	store  *store
	sink   *sdktest.Component
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, kernel: sdktest.NewKernel(t), store: newStore()}
	w.kernel.Provide(&analyticsv1.RecordStore_ServiceDesc, recordStore{store: w.store}, nil)
	w.kernel.Provide(&analyticsv1.EventLog_ServiceDesc, eventLog{store: w.store}, nil)
	w.kernel.Provide(&analyticsv1.StreamAdmin_ServiceDesc, streamAdmin{store: w.store}, nil)
	w.sink = w.kernel.Start(Start)
	return w
}

const orders = `{name:org.acme.orders,metaData:[{name:host,type:string}],payloadData:[{name:price,type:double},{name:extra,type:int}]}`

func (w *world) want(calls ...string) {
	w.t.Helper()
	if got := w.store.take(); !slices.Equal(got, calls) {
		w.t.Errorf("the store was asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(calls, "\n"))
	}
}

const bound = "bind org.acme.orders:1.0.0 to ORG_ACME_ORDERS as 1.0.0: meta_host>meta_host price>price, schema of 1 bytes"

func TestDeploy(t *testing.T) {
	w := newWorld(t)
	state, c := w.kernel.Deploy("eventsink/org_acme_orders.xml", good)
	if state != waits || !strings.Contains(c.GetText(), "eventstream:org.acme.orders:1.0.0") {
		t.Fatalf("%v %v", state, c)
	}
	w.want()
	w.store.define(orders)
	w.kernel.MustDeploy("eventsink/org_acme_orders.xml", good)
	w.want("create ORG_ACME_ORDERS in PROCESSED_DATA_STORE, 3 columns", "schema ORG_ACME_ORDERS, 3 columns, merge true", bound)
	if state, c = w.kernel.Deploy("eventsink/ORG_acme_orders.xml", good); state != faulty || c.GetCode() != ErrDuplicate.ID() {
		t.Errorf("a second file: %v %v", state, c)
	}
	if state, c = w.kernel.Deploy("eventsink/orders.xml", good); state != faulty || c.GetCode() != ErrName.ID() {
		t.Errorf("a wrong name: %v %v", state, c)
	}
	w.want()
	w.kernel.MustDeploy("eventsink/org_acme_orders.xml", strings.Replace(good, "<MergeSchema>true", "<MergeSchema>false", 1))
	w.want("schema ORG_ACME_ORDERS, 3 columns, merge false", bound)
	// The stream changes: it is bound anew.
	w.store.define(strings.Replace(orders, "extra,type:int", "extra,type:long", 1))
	w.kernel.Eventually(func() bool { return slices.Contains(w.store.take(), bound) })
	w.kernel.Undeploy("eventsink/org_acme_orders.xml")
	w.want("unbind org.acme.orders:1.0.0 from ORG_ACME_ORDERS")
}

func TestFailedDeploymentLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.store.define(orders)
	w.store.bindErr = errors.New("disk on fire")
	state, c := w.kernel.Deploy("eventsink/org_acme_orders.xml", good)
	if state != faulty || c.GetCode() != ErrStore.ID() || c.GetFile() == "" {
		t.Errorf("%v %v", state, c)
	}
	if err := w.send(1); err == nil {
		t.Error("a stream that is not bound was taken")
	}
	w.store.mu.Lock()
	w.store.bindErr = status.Error(codes.Unavailable, "restarting")
	w.store.mu.Unlock()
	if state, c = w.kernel.Deploy("eventsink/org_acme_orders.xml", good); state != waits {
		t.Errorf("the store is away: %v %v", state, c)
	}
}

// send publishes one frame as a receiver does and answers what became of it.
func (w *world) send(counter uint64) error {
	d, _, err := streamdef.Parse("", []byte(orders))
	if err != nil {
		return err
	}
	rows := databridge.NewRows(databridge.NewLayout(d))
	if err := rows.Add(1, []any{"h", 1.5, int32(3)}, nil); err != nil {
		return err
	}
	parts, err := rows.Parts(databridge.Stamp{Source: frame.Source{7, 8}, Counter: counter, Tenant: sdktest.Tenant}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	p := link.NewProducer(ctx, func(ctx context.Context) (link.Transport, error) {
		return analyticsv1.NewStreamConsumerClient(w.sink.Conn(analyticsv1.StreamConsumer_ServiceDesc.ServiceName)).Consume(ctx, link.CallOption())
	}, link.Options{})
	defer p.Close()
	done := make(chan error, 1)
	if err := p.Send(ctx, parts[0].Layout.ID, parts[0].Layout.Schema, parts[0].Frame, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

// TestFramesPassUntouched: source, counter, part and body go on; the acknowledgement is the store's, and so is a refusal.
func TestFramesPassUntouched(t *testing.T) {
	w := newWorld(t)
	w.store.define(orders)
	w.kernel.MustDeploy("eventsink/org_acme_orders.xml", good)
	reached, leave := make(chan struct{}), make(chan struct{})
	w.store.mu.Lock()
	w.store.answer = func(*link.Incoming) error {
		close(reached)
		<-leave
		return nil
	}
	w.store.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- w.send(41) }()
	<-reached
	select {
	case err := <-done:
		t.Errorf("acknowledged before the store did: %v", err)
	default:
	}
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.store.mu.Lock()
	frames := slices.Clone(w.store.frames)
	w.store.answer = func(*link.Incoming) error { return errNone.New("the table is gone") }
	w.store.mu.Unlock()
	if want := []string{"org.acme.orders:1.0.0 0708 41 0/1 rows 1"}; !slices.Equal(frames, want) {
		t.Errorf("got %q", frames)
	}
	var refused *link.Refused
	if err := w.send(42); !errors.As(err, &refused) || refused.Retry || !strings.Contains(refused.Error(), "the table is gone") {
		t.Errorf("%v", err)
	}
	w.kernel.Undeploy("eventsink/org_acme_orders.xml")
	if err := w.send(43); !errors.As(err, &refused) || !refused.Retry {
		t.Errorf("after undeploy: %v", err)
	}
}

// TestRestart: what was deployed is taken again after a restart.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.store.define(orders)
	w.kernel.MustDeploy("eventsink/org_acme_orders.xml", good)
	w.sink = w.sink.Restart()
	if err := w.send(1); err != nil {
		t.Error(err)
	}
}
