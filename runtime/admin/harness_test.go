package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/gateway"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var since = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

// node is a Runtime in this process: component A is ACTIVE, B is disabled.
type node struct {
	mu      sync.Mutex
	calls   []string
	err     error // what changes answer
	events  chan Event
	waiting chan struct{} // changes wait for the end of their context after this is closed
}

func (n *node) Status(context.Context) (Status, error) {
	return Status{State: "RUNNING", Profile: "receiver", GuardianPid: 7, KernelPid: 8, Since: since, NodeID: "node-1", Version: "1.0.0",
		Components: map[string]int{"ACTIVE": 1, "DISABLED": 1}, Causes: []Cause{}}, nil
}

func (n *node) Components(context.Context) ([]Component, error) {
	return []Component{{Name: "A", Version: "1.0.0", State: "ACTIVE", Health: "OK", Pid: 9}, {Name: "B", State: "DISABLED", DisabledBy: "profile receiver",
		Cause: CauseOf(&commonv1.Cause{Code: "CBN-PLAN-001", Text: "B is disabled", Fix: "Enable it.", Chain: []*commonv1.Cause{{Code: "CBN-PLAN-002", Text: "by profile", File: "profiles.yaml", Line: 3}}})}}, nil
}

func (n *node) Component(ctx context.Context, name string) (Component, error) {
	list, _ := n.Components(ctx)
	for _, c := range list {
		if c.Name == name {
			c.Detail = &ComponentDetail{Config: json.RawMessage(`{"password":"***"}`)}
			return c, nil
		}
	}
	return Component{}, ErrNoComponent.New("component %s", name)
}

func (n *node) History(_ context.Context, name string, all bool) ([]Transition, error) {
	if name != "A" {
		return nil, ErrNoComponent.New("component %s", name)
	}
	return []Transition{{Seq: 1, Time: since, From: "STARTING", To: "ACTIVE", Reason: fmt.Sprint("all=", all), Actor: "kernel"}}, nil
}

func (n *node) Diag(_ context.Context, name string) (Diagnosis, error) {
	return Diagnosis{Name: name, State: "DISABLED", Blocks: []string{}, Evidence: []string{}}, nil
}

func (n *node) Logs(ctx context.Context, name string, lines int, follow bool, w io.Writer) error {
	if name == "missing" {
		return ErrNoComponent.New("component %s", name)
	}
	if _, err := fmt.Fprintf(w, "%q %d lines\n", name, lines); err != nil || !follow {
		return err
	}
	w.(http.Flusher).Flush()
	<-ctx.Done()
	return nil
}

func (n *node) change(ctx context.Context, verb, name, actor string) error {
	n.mu.Lock()
	n.calls = append(n.calls, verb+" "+name+" by "+actor)
	err := n.err
	n.mu.Unlock()
	if n.waiting != nil {
		close(n.waiting)
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (n *node) Start(ctx context.Context, name, actor string) error {
	return n.change(ctx, "start", name, actor)
}

func (n *node) Stop(ctx context.Context, name, actor string) error {
	return n.change(ctx, "stop", name, actor)
}

func (n *node) Restart(ctx context.Context, name, actor string, _ bool) error {
	return n.change(ctx, "restart", name, actor)
}

func (n *node) Disable(ctx context.Context, name, actor string) error {
	return n.change(ctx, "disable", name, actor)
}

func (n *node) Enable(ctx context.Context, name, actor string) error {
	return n.change(ctx, "enable", name, actor)
}

func (n *node) Services(context.Context) ([]ServiceInfo, error) {
	return []ServiceInfo{{ID: 1, Service: "acme.greet.v1.Greeter", Version: "1.0.0", Provider: "A", Properties: map[string]string{}, Users: []string{}}}, nil
}

func (n *node) Plan(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"components":[{"name":"A","runs":true}]}`), nil
}

func (n *node) Profile(context.Context) (Profile, error) {
	return Profile{Name: "receiver", Rules: []ProfileRule{{Component: "B", Rule: "profile receiver"}}}, nil
}

func (n *node) Listeners(context.Context) (map[string]string, error) {
	return map[string]string{"EventReceiver/thrift": "127.0.0.1:7611"}, nil
}

func (n *node) Events(ctx context.Context) (<-chan Event, error) {
	out := make(chan Event)
	go func() {
		defer close(out)
		for {
			select {
			case ev, ok := <-n.events:
				if !ok {
					return
				}
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (n *node) Nodes(context.Context) ([]Node, error) {
	return []Node{{Node: "node-1", Generation: 3, Digest: "d3", State: NodeStateText(2), Behind: 2, Since: &since}}, nil
}

func (n *node) CommitDeployment(ctx context.Context, actor string) (Generation, error) {
	return Generation{Generation: 4, Digest: "d4"}, n.change(ctx, "commit", "deployment", actor)
}

// Node implements gateway.Nodes.
func (n *node) Node() gateway.Node { return gateway.Node{ID: "node-1"} }

func (n *node) taken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

type artifacts struct{}

func (artifacts) List(typ string) []deploy.Artifact {
	list := []deploy.Artifact{
		{Path: "deployment/server/eventstreams/a.json", Type: "eventstream", Name: "a", Owner: "EventReceiver", State: deploy.Deployed, Revision: 2, Digest: "d1", Since: since},
		{Path: "deployment/server/eventsink/b.xml", Type: "eventsink", Name: "b", State: deploy.Faulty, Since: since, Cause: &commonv1.Cause{Code: "CBN-STR-002", Text: "bad", File: "b.xml", Line: 3, Column: 5}},
	}
	return slices.DeleteFunc(list, func(a deploy.Artifact) bool { return typ != "" && a.Type != typ })
}

// tokens issues credentials.
type tokens struct {
	analyticsv1.AuthenticatorClient
	absent bool
	asked  []*analyticsv1.IssueTokenRequest
}

func (k *tokens) Authenticator() (analyticsv1.AuthenticatorClient, *commonv1.Cause) {
	if k.absent {
		return nil, &commonv1.Cause{Code: "CBN-GW-090", Text: "nobody provides sign-in"}
	}
	return k, nil
}

func (k *tokens) IssueToken(_ context.Context, r *analyticsv1.IssueTokenRequest, _ ...grpc.CallOption) (*analyticsv1.IssueTokenResponse, error) {
	k.asked = append(k.asked, r)
	return &analyticsv1.IssueTokenResponse{Token: "t0ken", ExpiresUnixMs: since.UnixMilli()}, nil
}

func newServer() (*Server, *node, *tokens) {
	n, k := &node{events: make(chan Event)}, &tokens{}
	return New(Options{Runtime: n, Artifacts: artifacts{}, Authenticators: k, Certificate: []byte("PEM"), PublicURL: "https://localhost:9443", Version: "1.0.0"}), n, k
}

// ask sends a request as a user and gives status and body.
func ask(t *testing.T, h http.Handler, method, path, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(gateway.WithPrincipal(t.Context(), &commonv1.Principal{User: "eve"}), method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

var errPlain = errors.New("a plain error")
