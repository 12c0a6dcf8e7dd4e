package analyticsexecution

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// leases is a coordinator of which the tests decide who holds the lease.
type leases struct {
	kernelv1.CoordinatorClient
	mu       sync.Mutex // guards all below
	holder   string     // "" grants
	failing  bool
	token    uint64
	fired    string
	renewals int
	released int
}

func (l *leases) Acquire(_ context.Context, in *kernelv1.AcquireLeaseRequest, _ ...grpc.CallOption) (*kernelv1.AcquireLeaseResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewals++
	if l.failing {
		return nil, status.Error(codes.Unavailable, "kernel is away")
	}
	if l.holder != "" {
		return &kernelv1.AcquireLeaseResponse{Holder: l.holder}, nil
	}
	return &kernelv1.AcquireLeaseResponse{Granted: true, Token: l.token, Holder: in.Holder}, nil
}

func (l *leases) Release(context.Context, *kernelv1.ReleaseLeaseRequest, ...grpc.CallOption) (*kernelv1.ReleaseLeaseResponse, error) {
	l.released++
	return &kernelv1.ReleaseLeaseResponse{}, nil
}

func (l *leases) Get(context.Context, *kernelv1.GetStateRequest, ...grpc.CallOption) (*kernelv1.GetStateResponse, error) {
	return &kernelv1.GetStateResponse{Found: l.fired != "", Value: []byte(l.fired), Version: 1}, nil
}

func (l *leases) Set(_ context.Context, in *kernelv1.SetStateRequest, _ ...grpc.CallOption) (*kernelv1.SetStateResponse, error) {
	l.fired = string(in.Value)
	return &kernelv1.SetStateResponse{Version: 2}, nil
}

// engines is an engine whose streams the tests write.
type engines struct {
	analyticsv1.EngineClient
	requests []*analyticsv1.ExecuteRequest
	streams  []func(ctx context.Context) ([]*analyticsv1.ExecuteResponse, error)
}

type engineStream struct {
	grpc.ClientStream
	ctx    context.Context
	events []*analyticsv1.ExecuteResponse
	end    error
}

func (s *engineStream) Recv() (*analyticsv1.ExecuteResponse, error) {
	if len(s.events) == 0 {
		if s.end == nil {
			<-s.ctx.Done()
			return nil, status.FromContextError(s.ctx.Err()).Err()
		}
		return nil, s.end
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}

func (e *engines) Execute(ctx context.Context, in *analyticsv1.ExecuteRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[analyticsv1.ExecuteResponse], error) {
	f := e.streams[len(e.requests)]
	e.requests = append(e.requests, in)
	events, end := f(ctx)
	return &engineStream{ctx: ctx, events: events, end: end}, nil
}

func event(n int32, kind string, rows int64) []*analyticsv1.ExecuteResponse {
	return []*analyticsv1.ExecuteResponse{
		{Statement: n, Event: &analyticsv1.ExecuteResponse_Started{Started: &analyticsv1.StatementStarted{Kind: kind}}},
		{Statement: n, Event: &analyticsv1.ExecuteResponse_Finished{Finished: &analyticsv1.StatementFinished{Rows: rows}}},
	}
}

func gives(end error, events ...[]*analyticsv1.ExecuteResponse) func(context.Context) ([]*analyticsv1.ExecuteResponse, error) {
	return func(context.Context) ([]*analyticsv1.ExecuteResponse, error) {
		var all []*analyticsv1.ExecuteResponse
		for _, e := range events {
			all = append(all, e...)
		}
		return all, end
	}
}

func newRunner(l *leases, e *engines) *runner {
	return &runner{engine: e, bound: func() bool { return true }, coordinator: l, tenant: -1234, holder: "me", lease: 30 * time.Second, log: hclog.NewNullLogger()}
}

var fire = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

func TestALostEngineIsAskedAgainUnderTheSameKey(t *testing.T) {
	lost := status.Error(codes.Unavailable, "EOF")
	l := &leases{token: 7}
	e := &engines{streams: []func(context.Context) ([]*analyticsv1.ExecuteResponse, error){
		gives(lost, event(0, "create", 0), event(1, "insert", 5)),
		// The second attempt finds the first INSERT committed.
		gives(io.EOF, event(0, "create", 0), event(1, "insert", 0), event(2, "insert", 3), event(3, "select", 100)),
	}}
	out, err := newRunner(l, e).run(t.Context(), file(t, "a", ""), "key", fire, func() {})
	if err != nil || out.statements != 4 || out.rowsWritten != 8 {
		t.Errorf("%+v, %v", out, err)
	}
	if len(e.requests) != 2 || e.requests[0].RunKey != "key" || e.requests[1].RunKey != "key" || e.requests[1].FencingEpoch != 7 || l.released != 1 {
		t.Errorf("requests %+v, released %d", e.requests, l.released)
	}
}

// Right after the end of the engine its reference still leads to the dead process: the attempts leave the kernel time to know.
func TestAttemptsAfterALostEngineLeaveItTimeToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engines{}
		for range attempts {
			e.streams = append(e.streams, gives(status.Error(codes.Unavailable, "connection reset by peer")))
		}
		begin := time.Now()
		_, err := newRunner(&leases{token: 7}, e).run(t.Context(), file(t, "a", ""), "key", fire, func() {})
		if !errors.Is(err, ErrEngineLost) || len(e.requests) != attempts {
			t.Errorf("%d attempts, %v", len(e.requests), err)
		}
		if waited, want := time.Since(begin), 3*attemptPause; waited != want {
			t.Errorf("the attempts were spread over %s, want %s", waited, want)
		}
	})
}

func TestAFailedStatementIsPutIntoItsFile(t *testing.T) {
	failed := []*analyticsv1.ExecuteResponse{{Event: &analyticsv1.ExecuteResponse_Failed{Failed: &commonv1.Cause{Code: "CBN-SQL-021", Text: "no", Line: 2, Column: 4}}}}
	e := &engines{streams: []func(context.Context) ([]*analyticsv1.ExecuteResponse, error){gives(io.EOF, failed)}}
	_, err := newRunner(&leases{}, e).run(t.Context(), file(t, "a", ""), "key", time.Time{}, func() {})
	if c := cause.From(err); c == nil || !strings.Contains(c.Error(), "CBN-SQL-021 deployment/server/sparkscripts/a.xml:6:4: no") {
		t.Errorf("%v", err)
	}
}

func TestALeaseThatIsLostEndsTheRun(t *testing.T) {
	for name, lose := range map[string]func(*leases){
		"to another": func(l *leases) { l.holder = "other" },
		"in silence": func(l *leases) { l.failing = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &leases{token: 1}
				e := &engines{streams: []func(context.Context) ([]*analyticsv1.ExecuteResponse, error){gives(nil)}}
				go func() {
					time.Sleep(time.Minute)
					l.mu.Lock()
					defer l.mu.Unlock()
					lose(l)
				}()
				begin := time.Now()
				_, err := newRunner(l, e).run(t.Context(), file(t, "a", ""), "key", time.Time{}, func() {})
				if !errors.Is(err, ErrLost) {
					t.Errorf("%v", err)
				}
				// Before the lease can be another's: it lasts 30 s.
				if took := time.Since(begin); took < time.Minute || took > 90*time.Second {
					t.Errorf("ended after %s", took)
				}
				if l.renewals < 6 {
					t.Errorf("%d renewals", l.renewals)
				}
			})
		})
	}
}

func TestALeaseOfAnotherAndATimeOfAnother(t *testing.T) {
	started := false
	_, err := newRunner(&leases{holder: "node2"}, &engines{}).run(t.Context(), file(t, "a", ""), "key", fire, func() { started = true })
	if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "node2") || started {
		t.Errorf("%v", err)
	}
	l := &leases{fired: "2026-11-25T10:00:00Z"}
	if _, err = newRunner(l, &engines{}).run(t.Context(), file(t, "a", ""), "key", fire, func() { started = true }); !errors.Is(err, errClaimed) || started || l.released != 1 {
		t.Errorf("%v", err)
	}
	r := newRunner(&leases{}, &engines{})
	r.bound = func() bool { return false }
	if _, err = r.run(t.Context(), file(t, "a", ""), "key", fire, func() {}); !errors.Is(err, ErrNoEngine) {
		t.Errorf("%v", err)
	}
}
