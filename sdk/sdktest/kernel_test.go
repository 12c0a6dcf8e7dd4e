package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
	"carbonado.dev/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDenied = cause.Define("CBN-SDK-990", "test", "")

// provider is a component with every ability.
type provider struct {
	analyticsv1.UnimplementedAuthorizerServer
	c      *component.C
	events *atomic.Int64
	phases []string
}

func (p *provider) Authorize(ctx context.Context, req *analyticsv1.AuthorizeRequest) (*analyticsv1.AuthorizeResponse, error) {
	switch req.User {
	case "panic":
		panic("as asked")
	case "denied":
		return nil, errDenied.New("user %s of %s", req.User, component.CallerFrom(ctx))
	}
	return &analyticsv1.AuthorizeResponse{Allowed: true}, nil
}
func (p *provider) Prepare(context.Context) error { p.phases = append(p.phases, "prepare"); return nil }
func (p *provider) Acquire(context.Context) error { p.phases = append(p.phases, "acquire"); return nil }
func (p *provider) Drain(context.Context) error   { p.phases = append(p.phases, "drain"); return nil }
func (p *provider) Release(context.Context) error { p.phases = append(p.phases, "release"); return nil }
func (p *provider) Stop(context.Context) error    { p.phases = append(p.phases, "stop"); return nil }

// notes is a deployer: "faulty…" is refused, "wait:X" waits for X, anything else offers note:<name>.
type notes struct{}

func (notes) Validate(context.Context, *component.Artifact) error { return nil }
func (n notes) Update(ctx context.Context, a *component.Artifact) error {
	return n.Deploy(ctx, a)
}
func (notes) Undeploy(context.Context, *component.Artifact) error { return nil }
func (notes) Deploy(_ context.Context, a *component.Artifact) error {
	text := string(a.Content)
	if strings.HasPrefix(text, "faulty") {
		return errDenied.New("bad note").At("", 1, 7)
	}
	if name, ok := strings.CutPrefix(text, "wait:"); ok && !offered.has(name) {
		return component.WaitFor("note:" + name)
	}
	a.Offer("note:" + a.Name)
	offered.add(a.Name)
	return nil
}

// names remembers which notes were deployed.
type names struct {
	mu  sync.Mutex
	all map[string]bool
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all[name] = true
}

func (n *names) has(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[name]
}

var offered = &names{all: map[string]bool{}}

func startProvider(p *provider) func(*component.C) error {
	return func(c *component.C) error {
		p.c = c
		analyticsv1.RegisterAuthorizerServer(c, p)
		c.Deploys("note", notes{})
		component.ConsumeFrames(c, "s:1.0.0", true, func(in *link.Incoming) {
			p.events.Add(int64(in.Rows))
			in.Ack()
		})
		component.ServeHTTP(c, "/notes", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, component.PrincipalFrom(r.Context()).GetUser(), body)
		}), component.HTTPTransports("http,https"))
		return nil
	}
}

func TestComponentUnderTheDouble(t *testing.T) {
	clear(offered.all)
	k := sdktest.NewKernel(t)
	p := &provider{events: new(atomic.Int64)}
	provided := k.Start(startProvider(p), sdktest.WithDescriptor("testdata/provider.yaml"), sdktest.WithConfig(map[string]any{"loud": true}))
	if p.c.String("greeting") != "hello" || !p.c.Bool("loud") || p.c.TLS() == nil || p.c.Share("Provider/out") == "" {
		t.Error("configuration, TLS or share is missing")
	}
	if _, err := p.c.Listener("echo"); err != nil {
		t.Error(err)
	}
	if _, err := p.c.Listener("other"); !errors.Is(err, component.ErrNoListener) {
		t.Errorf("other listener: %v", err)
	}
	provided.WaitHealth(component.OK)

	var consumer *component.C
	k.Start(func(c *component.C) error { consumer = c; return nil }, sdktest.WithDescriptor("testdata/consumer.yaml"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	auth := analyticsv1.NewAuthorizerClient(consumer.Ref("authorizer"))
	if r, err := auth.Authorize(ctx, &analyticsv1.AuthorizeRequest{User: "a"}); err != nil || !r.Allowed {
		t.Fatalf("call through a reference: %v", err)
	}
	_, err := auth.Authorize(ctx, &analyticsv1.AuthorizeRequest{User: "denied"})
	if !errors.Is(cause.From(err), errDenied) || !strings.Contains(err.Error(), "of Consumer") {
		t.Errorf("typed error: %v", err)
	}
	if _, err := auth.Authorize(ctx, &analyticsv1.AuthorizeRequest{User: "panic"}); err == nil || !strings.Contains(err.Error(), "CBN-SDK-009") {
		t.Errorf("panic: %v", err)
	}
	if consumer.Share("Provider/out") != p.c.Share("Provider/out") {
		t.Error("a share has two folders")
	}

	resp, err := provided.HTTP(&commonv1.Principal{User: "ann"}).Post("https://node/notes/x?q=1", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "POST /notes/x ann body" {
		t.Errorf("HTTP answer %q", body)
	}

	lease := func(holder string) *kernelv1.AcquireLeaseResponse {
		r, err := kernelv1.NewCoordinatorClient(consumer.Kernel()).Acquire(ctx, &kernelv1.AcquireLeaseRequest{Name: "l", Holder: holder, TtlMs: 60000})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if a, b := lease("a"), lease("b"); !a.Granted || b.Granted || b.Holder != "a" {
		t.Error("a lease has two holders")
	}

	// The reference "kernel" holds two services; each call goes to its own.
	put, err := kernelv1.NewArtifactsClient(consumer.Kernel()).Put(ctx, &kernelv1.PutArtifactRequest{Type: "note", Name: "p", Content: []byte("by a component")})
	if err != nil || put.Artifact.State != "DEPLOYED" {
		t.Errorf("artifact written by a component: %v %v", put, err)
	}
	if state, _ := k.Deploy("notes/w.txt", "wait:n"); state != controlv1.DeployResponse_STATE_WAITING {
		t.Errorf("waiting note is %v", state)
	}
	if state, c := k.Deploy("notes/f.txt", "faulty"); state != controlv1.DeployResponse_STATE_FAULTY || c.Line != 1 || c.Column != 7 || c.File == "" {
		t.Errorf("faulty note is %v: %v", state, c)
	}
	k.MustDeploy("notes/n.txt", "fine")
	if state := k.ArtifactState("notes/w.txt"); state != controlv1.DeployResponse_STATE_DEPLOYED {
		t.Errorf("after the offer the waiting note is %v", state)
	}
}

func TestCallsAndFramesSurviveARestartOfTheProvider(t *testing.T) {
	k := sdktest.NewKernel(t)
	total := new(atomic.Int64)
	// Each generation gets a provider of its own, as each process would.
	provided := k.Start(func(c *component.C) error { return startProvider(&provider{events: total})(c) }, sdktest.WithDescriptor("testdata/provider.yaml"))
	var consumer *component.C
	k.Start(func(c *component.C) error { consumer = c; return nil }, sdktest.WithDescriptor("testdata/consumer.yaml"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	var target *component.Bound
	k.Eventually(func() bool {
		for _, b := range consumer.Refs("consumers").All() {
			if b.Properties()["stream"] == "s:1.0.0" && b.Properties()["durable"] == "true" {
				target = b
			}
		}
		return target != nil
	})
	producer := link.NewProducer(ctx, func(ctx context.Context) (link.Transport, error) {
		return analyticsv1.NewStreamConsumerClient(target).Consume(ctx, link.CallOption())
	}, link.Options{})
	defer producer.Close()

	schema := &link.SchemaInfo{ID: frame.SchemaID{1}, Body: []byte("schema")}
	const frames = 400
	acked := make(chan error, frames)
	calls := make(chan error, 100)
	go func() {
		auth := analyticsv1.NewAuthorizerClient(consumer.Ref("authorizer"))
		for range cap(calls) {
			_, err := auth.Authorize(ctx, &analyticsv1.AuthorizeRequest{User: "a"})
			calls <- err
		}
	}()
	for i := range frames {
		b, err := frame.Append(nil, &frame.Header{Kind: frame.Batch, Counter: uint64(i + 1), Rows: 10, Schema: schema.ID}, make([]byte, 5000))
		if err != nil {
			t.Fatal(err)
		}
		if err := producer.Send(ctx, "s:1.0.0", schema, b, func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
		if i == frames/2 {
			provided = provided.Restart()
		}
	}
	for range frames {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	for range cap(calls) {
		if err := <-calls; err != nil {
			t.Fatal(err)
		}
	}
	if got := total.Load(); got < frames*10 {
		t.Errorf("%d events arrived, %d were acknowledged", got, frames*10)
	}
}

func TestMismatchWithTheDescriptorIsRefused(t *testing.T) {
	k := sdktest.NewKernel(t)
	_, err := k.TryStart(func(*component.C) error { return nil }, sdktest.WithDescriptor("testdata/provider.yaml"))
	if !errors.Is(cause.From(err), component.ErrMismatch) {
		t.Errorf("got %v", err)
	}
}

func TestLifeCycleOrder(t *testing.T) {
	k := sdktest.NewKernel(t)
	p := &provider{events: new(atomic.Int64)}
	c := k.Start(startProvider(p), sdktest.WithDescriptor("testdata/provider.yaml"))
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.phases, " "); got != "prepare acquire drain release stop" {
		t.Errorf("phases: %s", got)
	}
	if p.c.Context().Err() == nil {
		t.Error("the component's context outlives Stop")
	}
}

// poisoned answers UNAVAILABLE, as a process does that the call itself ends.
type poisoned struct {
	analyticsv1.UnimplementedAuthorizerServer
	called chan struct{}
}

func (p poisoned) Authorize(context.Context, *analyticsv1.AuthorizeRequest) (*analyticsv1.AuthorizeResponse, error) {
	p.called <- struct{}{}
	return nil, status.Error(codes.Unavailable, "gone")
}

func TestACallThatEndsItsProvidersIsGivenUp(t *testing.T) {
	k := sdktest.NewKernel(t)
	called := make(chan struct{}, 10_000)
	provided := k.Start(func(c *component.C) error {
		analyticsv1.RegisterAuthorizerServer(c, poisoned{called: called})
		return nil
	}, sdktest.WithDescriptor("testdata/authorizer.yaml"))
	var consumer *component.C
	k.Start(func(c *component.C) error { consumer = c; return nil }, sdktest.WithDescriptor("testdata/consumer.yaml"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := analyticsv1.NewAuthorizerClient(consumer.Ref("authorizer")).Authorize(ctx, &analyticsv1.AuthorizeRequest{User: "a"})
		result <- err
	}()
	restarts := 0
	for {
		select {
		case err := <-result:
			if !errors.Is(err, component.ErrLost) || restarts != 2 {
				t.Errorf("after %d restarts: %v", restarts, err)
			}
			return
		case <-called:
			if restarts < 2 {
				restarts++
				provided = provided.Restart()
			}
		}
	}
}
