package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/telemetry"
)

// otlp is a collector in this process, with the contract of OpenTelemetry's own: over HTTP and over gRPC.
type otlp struct {
	collectorv1.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []seenSpan
	came  chan struct{}
}

type seenSpan struct{ trace, component, name, span, parent string }

func (o *otlp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var req collectorv1.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(b, &req) != nil || r.Header.Get("X-Team") != "blue" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	o.take(&req)
}

// Export implements collectorv1.TraceServiceServer.
func (o *otlp) Export(ctx context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	if team := metadata.ValueFromIncomingContext(ctx, "x-team"); len(team) != 1 || team[0] != "blue" {
		return nil, status.Errorf(codes.Unauthenticated, "team %q", team)
	}
	o.take(req)
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (o *otlp) take(req *collectorv1.ExportTraceServiceRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, rs := range req.ResourceSpans {
		for _, s := range rs.ScopeSpans[0].Spans {
			o.spans = append(o.spans, seenSpan{hex.EncodeToString(s.TraceId), rs.Resource.Attributes[0].Value.GetStringValue(), s.Name, hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId)})
		}
	}
	select {
	case o.came <- struct{}{}:
	default:
	}
}

// of gives the spans of one trace as "component name".
func (o *otlp) of(trace string) (names []string, spans []seenSpan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.spans {
		if s.trace == trace {
			names, spans = append(names, s.component+" "+s.name), append(spans, s)
		}
	}
	return names, spans
}

// overHTTP is where a collector listens over HTTP.
func overHTTP(t *testing.T, o *otlp) (endpoint string) {
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	return server.URL
}

// overGRPC is where a collector listens over gRPC.
func overGRPC(t *testing.T, o *otlp) (endpoint string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, o)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "grpc://" + l.Addr().String()
}

// One trace id leads from an agent's event over receiver, sink and store, and from a request at the gateway into a component, whichever
// way the spans take to their collector.
func TestATraceLeadsFromTheAgentToTheStore(t *testing.T) {
	for name, listen := range map[string]func(*testing.T, *otlp) string{"HTTP": overHTTP, "gRPC": overGRPC} {
		t.Run(name, func(t *testing.T) {
			collector := &otlp{came: make(chan struct{}, 1)}
			follow(t, collector, listen(t, collector))
		})
	}
}

// follow runs a server whose spans go to a collector, and sends an event and a request through it.
func follow(t *testing.T, collector *otlp, endpoint string) {
	root, err := repoRoot()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "home")
	if out, err := exec.Command(filepath.Join(root, "tools", "install.sh"), home).CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	// Components have users of their own, who must be able to pass.
	for dir := home; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := "traces:\n  endpoint: " + endpoint + "\n  headers: {X-Team: blue}\n"
	if err := os.WriteFile(filepath.Join(home, "repository", "conf", "telemetry.yaml"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	offset, err := freeOffset()
	if err != nil {
		t.Fatal(err)
	}
	const password = "a-password-for-tests"
	var output bytes.Buffer
	cmd := exec.Command(filepath.Join(home, "bin", "carbonado"), "server", "-DportOffset="+strconv.Itoa(offset))
	cmd.Env = append(os.Environ(), "CARBON_HOME="+home, "CARBONADO_ADMIN_PASSWORD="+password)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Log(output.String())
		}
	}()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	trace := telemetry.NewTrace()
	a, err := agent.New(agent.Options{
		URLs: "tcp://localhost:" + strconv.Itoa(7611+offset), AuthURLs: "ssl://localhost:" + strconv.Itoa(7711+offset), Username: "admin", Password: password,
		TLS: &tls.Config{InsecureSkipVerify: true}, Reconnect: 100 * time.Millisecond, Trace: func([]agent.Event) telemetry.Trace { return trace },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(ctx)
	event := agent.Event{Stream: "org.wso2.das.sample.smart.home.data:1.0.0", Time: time.Now().UnixMilli(), Values: []any{"Washington", int32(1), "Seattle", int32(2), float32(5), true}}
	want := []string{
		"EventReceiver receive bundle", "EventReceiver send org.wso2.das.sample.smart.home.data:1.0.0", "EventSink take org.wso2.das.sample.smart.home.data:1.0.0",
		"EventSink send org.wso2.das.sample.smart.home.data:1.0.0", "DataService take org.wso2.das.sample.smart.home.data:1.0.0",
	}
	// Spans are made from the moment on at which the kernel asks for them, which is soon after a component's start: events are sent until then.
	missing := want
	for len(missing) > 0 {
		if err := a.Publish(ctx, event); err != nil {
			t.Fatal(err)
		}
		select {
		case <-collector.came:
		case <-time.After(200 * time.Millisecond):
		case <-ended:
			t.Fatal("the server ended")
		case <-ctx.Done():
			names, _ := collector.of(trace.ID())
			t.Fatalf("the trace %s lacks %q; it has %q", trace.ID(), missing, names)
		}
		names, _ := collector.of(trace.ID())
		missing = nil
		for _, w := range want {
			if !strings.Contains("\n"+strings.Join(names, "\n")+"\n", "\n"+w+"\n") {
				missing = append(missing, w)
			}
		}
	}
	// The receiver's span hangs below the agent's, the others below the receiver's.
	_, spans := collector.of(trace.ID())
	receivers := map[string]bool{}
	for _, s := range spans {
		if s.name == "receive bundle" {
			receivers[s.span] = true
			if s.parent != hex.EncodeToString(trace[16:24]) {
				t.Errorf("the receiver's span hangs below %s", s.parent)
			}
		}
	}
	for _, s := range spans {
		if s.name != "receive bundle" && strings.Contains(s.name, "smart.home") && !receivers[s.parent] {
			t.Errorf("%s of %s hangs below %s, which is none of the receiver's", s.name, s.component, s.parent)
		}
	}

	// A request through the gateway is a trace of its own, or goes on with the one that it brings.
	request := telemetry.NewTrace()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost:"+strconv.Itoa(9443+offset)+"/analytics/tables", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("admin", password)
		req.Header.Set("Traceparent", request.Header())
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
		select {
		case <-collector.came:
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			names, _ := collector.of(request.ID())
			t.Fatalf("the trace of the request has %q", names)
		}
		names, _ := collector.of(request.ID())
		text := strings.Join(names, "\n")
		if strings.Contains(text, "kernel GET ") && strings.Contains(text, "Portal carbonado.http.v1.HTTPRoutes/Serve") {
			break
		}
	}
}
