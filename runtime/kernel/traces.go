package kernel

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	collectorv1 "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	otlpcommonv1 "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/sdk/cause"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

// errExport is the kind of a collector that does not take spans. They are given up: a trace is worth less than memory.
var errExport = cause.Define("CBN-API-012", "Traces can't be handed to their collector.", "Check traces.endpoint in repository/conf/telemetry.yaml, and the collector.")

const (
	exportEvery   = time.Second
	exportBatch   = 512
	exportQueue   = 16 // batches that wait while the collector is slow
	exportTimeout = 10 * time.Second
	// complainEvery is how often at most the log says that the collector does not take spans.
	complainEvery = time.Minute
)

// traces takes finished spans from all components and the kernel, and hands them to a collector by OTLP. Components dial nowhere for it.
type traces struct {
	k      *Kernel
	conf   *config.Telemetry
	wake   chan struct{}
	queue  chan *tracev1.ResourceSpans
	send   func(context.Context, *collectorv1.ExportTraceServiceRequest) error
	closed func() error

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// openTraces begins to collect if an endpoint is configured; without one nothing is made anywhere.
func (k *Kernel) openTraces() error {
	conf := k.basis().config.Telemetry
	if conf.Endpoint.V == "" {
		return nil
	}
	t := &traces{k: k, conf: conf, wake: make(chan struct{}, 1), queue: make(chan *tracev1.ResourceSpans, exportQueue)}
	if err := t.dial(); err != nil {
		return errExport.Wrap(err, "%s", conf.Endpoint.V).At(conf.Endpoint.From.File, conf.Endpoint.From.Line, 0)
	}
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(func() { t.collect(ctx) })
	t.wg.Go(func() { t.export(ctx) })
	t.wg.Go(func() {
		_ = k.telemetry.Spans(ctx, conf.Ratio.V, func(list []*diagv1.Span, _ uint64) error { // ends with ctx only
			t.take(reconcile.KernelName, list)
			return nil
		})
	})
	k.traces = t
	t.look()
	return nil
}

// dial makes send.
func (t *traces) dial() error {
	u, err := url.Parse(t.conf.Endpoint.V)
	if err != nil {
		return err
	}
	if strings.HasPrefix(u.Scheme, "grpc") {
		creds := insecure.NewCredentials()
		if u.Scheme == "grpcs" {
			creds = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
		}
		conn, err := grpc.NewClient("dns:///"+u.Host, grpc.WithTransportCredentials(creds))
		if err != nil {
			return err
		}
		t.closed = conn.Close
		t.send = func(ctx context.Context, r *collectorv1.ExportTraceServiceRequest) error {
			ctx = metadata.NewOutgoingContext(ctx, metadata.New(t.conf.Headers))
			return conn.Invoke(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", r, &collectorv1.ExportTraceServiceResponse{})
		}
		return nil
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	client := &http.Client{}
	t.closed = func() error { client.CloseIdleConnections(); return nil }
	t.send = func(ctx context.Context, r *collectorv1.ExportTraceServiceRequest) error {
		b, err := proto.Marshal(r)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-protobuf")
		for name, value := range t.conf.Headers {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("the collector answers %s", resp.Status)
		}
		return nil
	}
	return nil
}

// look makes collect look for new processes. It does not block; a nil traces looks for none.
func (t *traces) look() {
	if t == nil {
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// collect reads the spans of every process that serves.
func (t *traces) collect(ctx context.Context) {
	var mu sync.Mutex
	following := map[grpc.ClientConnInterface]bool{}
	for {
		for name, conn := range t.k.reconciler.Conns() {
			mu.Lock()
			already := following[conn]
			following[conn] = true
			mu.Unlock()
			if already {
				continue
			}
			t.wg.Go(func() {
				t.read(ctx, name, conn)
				mu.Lock()
				defer mu.Unlock()
				delete(following, conn)
			})
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return
		}
	}
}

// read takes the spans of one process until it ends. One of an older SDK has none.
func (t *traces) read(ctx context.Context, name string, conn grpc.ClientConnInterface) {
	stream, err := diagv1.NewDiagnosticsClient(conn).Spans(ctx, &diagv1.SpansRequest{Ratio: t.conf.Ratio.V}, grpc.MaxCallRecvMsgSize(16<<20))
	if err != nil {
		return
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		t.take(name, r.Spans)
	}
}

// take queues spans of one component; what there is no room for is given up.
func (t *traces) take(name string, list []*diagv1.Span) {
	attribute := func(key, value string) *otlpcommonv1.KeyValue {
		return &otlpcommonv1.KeyValue{Key: key, Value: &otlpcommonv1.AnyValue{Value: &otlpcommonv1.AnyValue_StringValue{StringValue: value}}}
	}
	scope := &tracev1.ScopeSpans{Scope: &otlpcommonv1.InstrumentationScope{Name: "carbonado", Version: t.k.options.Version}}
	for _, s := range list {
		out := &tracev1.Span{
			TraceId: s.TraceId, SpanId: s.SpanId, ParentSpanId: s.ParentId, Name: s.Name, Kind: tracev1.Span_SpanKind(s.Kind),
			StartTimeUnixNano: uint64(s.StartUnixNano), EndTimeUnixNano: uint64(s.EndUnixNano),
		}
		for key, value := range s.Attributes {
			out.Attributes = append(out.Attributes, attribute(key, value))
		}
		if s.Error != "" {
			out.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR, Message: s.Error}
		}
		scope.Spans = append(scope.Spans, out)
	}
	batch := &tracev1.ResourceSpans{
		Resource: &resourcev1.Resource{Attributes: []*otlpcommonv1.KeyValue{
			attribute("service.name", name), attribute("service.namespace", "carbonado"), attribute("service.instance.id", t.k.nodeID),
		}},
		ScopeSpans: []*tracev1.ScopeSpans{scope},
	}
	select {
	case t.queue <- batch:
	default:
	}
}

// export hands over what has come, at most exportEvery late.
func (t *traces) export(ctx context.Context) {
	var complained time.Time
	for {
		var first *tracev1.ResourceSpans
		select {
		case first = <-t.queue:
		case <-ctx.Done():
			return
		}
		r := &collectorv1.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{first}}
		timer := time.NewTimer(exportEvery)
	more:
		for n := len(first.ScopeSpans[0].Spans); n < exportBatch; {
			select {
			case b := <-t.queue:
				r.ResourceSpans = append(r.ResourceSpans, b)
				n += len(b.ScopeSpans[0].Spans)
			case <-timer.C:
				break more
			case <-ctx.Done():
				break more
			}
		}
		timer.Stop()
		// What has been collected is handed over even while the kernel ends.
		send, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportTimeout)
		err := t.send(send, r)
		cancel()
		if err != nil && time.Since(complained) > complainEvery {
			complained = time.Now()
			t.k.log.Warn("traces", "cause", errExport.Wrap(err, "%s", t.conf.Endpoint.V))
		}
	}
}

// close ends the collecting; a nil traces has nothing to end.
func (t *traces) close() {
	if t == nil {
		return
	}
	t.cancel()
	t.wg.Wait()
	_ = t.closed()
}
