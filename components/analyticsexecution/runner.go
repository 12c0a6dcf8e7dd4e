package analyticsexecution

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// runner runs one script on the engine under a lease, so that no other node runs it at the same time.
type runner struct {
	engine      analyticsv1.EngineClient
	bound       func() bool
	coordinator kernelv1.CoordinatorClient
	tenant      int32
	holder      string
	lease       time.Duration
	log         hclog.Logger
}

// outcome is what a run did.
type outcome struct {
	statements  int32
	rowsWritten int64
}

// callTimeout bounds each call to the coordinator.
const callTimeout = 10 * time.Second

func leaseName(script string) string { return "script:" + script }

// ready says why scripts can't run now; nil if they can.
func (r *runner) ready() error {
	if !r.bound() {
		return ErrNoEngine.New("scripts can't run: no AnalyticsEngine is wired on this node")
	}
	return nil
}

// run takes the lease, calls started, runs the script and gives the lease up. A scheduled run names its time: it is run by one node
// only, and what it writes is written once. Errors: errClaimed if another node has run this time, ErrRunning if another holds the
// lease, ErrNoEngine, the engine's own.
func (r *runner) run(ctx context.Context, d *definition, key string, fire time.Time, started func()) (outcome, error) {
	if err := r.ready(); err != nil {
		return outcome{}, err
	}
	token, err := r.acquire(ctx, d.name)
	if err != nil {
		return outcome{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		r.renew(ctx, stop, d.name, token)
	}()
	defer func() {
		stop(nil)
		<-renewed
		r.release(ctx, d.name, token)
	}()
	if !fire.IsZero() {
		if err := r.claim(ctx, d.name, fire); err != nil {
			return outcome{}, err
		}
	}
	started()
	return r.execute(ctx, d, key, token)
}

func (r *runner) acquire(ctx context.Context, script string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := r.coordinator.Acquire(ctx, &kernelv1.AcquireLeaseRequest{Name: leaseName(script), Holder: r.holder, TtlMs: r.lease.Milliseconds()})
	if err != nil {
		return 0, err
	}
	if !resp.Granted {
		return 0, ErrRunning.New("script %s is run by %s", script, resp.Holder)
	}
	return resp.Token, nil
}

// renew keeps the lease until the context ends; a lease that is lost ends the run.
func (r *runner) renew(ctx context.Context, stop context.CancelCauseFunc, script string, token uint64) {
	tick := time.NewTicker(r.lease / 3)
	defer tick.Stop()
	good := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		call, cancel := context.WithTimeout(ctx, r.lease/3)
		resp, err := r.coordinator.Acquire(call, &kernelv1.AcquireLeaseRequest{Name: leaseName(script), Holder: r.holder, TtlMs: r.lease.Milliseconds()})
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && resp.Granted && resp.Token == token:
			good = time.Now()
		case err == nil:
			stop(ErrLost.New("the lease of script %s went to %s", script, resp.Holder))
			return
		case time.Since(good) > r.lease-r.lease/3:
			stop(ErrLost.Wrap(err, "the lease of script %s could not be renewed", script))
			return
		}
	}
}

func (r *runner) release(ctx context.Context, script string, token uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	_, err := r.coordinator.Release(ctx, &kernelv1.ReleaseLeaseRequest{Name: leaseName(script), Holder: r.holder, Token: token})
	if err != nil {
		r.log.Warn("a lease was not released; it ends by itself", "script", script, "error", err)
	}
}

// errClaimed says that another node has run this time of the schedule.
var errClaimed = errors.New("this time is claimed")

// claim marks a time of the schedule as run. The lease is held, so only this node changes the mark now.
func (r *runner) claim(ctx context.Context, script string, fire time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := "analytics/fired/" + script
	resp, err := r.coordinator.Get(ctx, &kernelv1.GetStateRequest{Key: key})
	if err != nil {
		return err
	}
	stamp := fire.UTC().Format(time.RFC3339)
	if resp.Found && string(resp.Value) >= stamp {
		return errClaimed
	}
	_, err = r.coordinator.Set(ctx, &kernelv1.SetStateRequest{Key: key, Value: []byte(stamp), IfVersion: resp.Version})
	return err
}

// attempts bounds how often a run is handed to the engine again after the engine's process ended. The key is the same, so what was
// committed is not written twice.
const attempts = 3

// attemptPause is the time before the second attempt; each further one waits as long again. Right after the end of the engine's
// process its reference still leads there: attempts without a pause would all be lost before the kernel knows.
const attemptPause = time.Second

// execute runs the script, again if the engine is lost.
func (r *runner) execute(ctx context.Context, d *definition, key string, token uint64) (outcome, error) {
	written := map[int32]int64{}
	for n := 1; ; n++ {
		statements, err := r.attempt(ctx, d, key, token, written)
		out := outcome{statements: statements}
		for _, rows := range written {
			out.rowsWritten += rows
		}
		if err == nil {
			return out, nil
		}
		if ctx.Err() == nil && status.Code(err) == codes.Unavailable {
			err = ErrEngineLost.Wrap(err, "script %s, attempt %d of %d", d.name, n, attempts)
			if n < attempts {
				r.log.Warn("the engine was lost during a run; the run is repeated", "script", d.name, "error", err)
				select {
				case <-time.After(attemptPause * time.Duration(n)):
				case <-ctx.Done():
				}
				continue
			}
		}
		return out, r.explain(ctx, d, err)
	}
}

// attempt hands the script to the engine and follows its events. It returns how many statements ended; rows written go to written, by
// statement.
func (r *runner) attempt(ctx context.Context, d *definition, key string, token uint64, written map[int32]int64) (int32, error) {
	stream, err := r.engine.Execute(ctx, &analyticsv1.ExecuteRequest{Tenant: r.tenant, Script: d.text, RunKey: key, MaxRows: 1, FencingEpoch: token})
	if err != nil {
		return 0, err
	}
	var statements int32
	writes := false
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return statements, nil
		}
		if err != nil {
			return statements, err
		}
		switch ev := resp.Event.(type) {
		case *analyticsv1.ExecuteResponse_Started:
			writes = ev.Started.Kind == "insert" || ev.Started.Kind == "create"
		case *analyticsv1.ExecuteResponse_Finished:
			statements++
			if writes {
				// A statement that an earlier attempt committed is skipped and says 0.
				written[resp.Statement] = max(written[resp.Statement], ev.Finished.Rows)
			}
		case *analyticsv1.ExecuteResponse_Failed:
			return statements, cause.FromProto(ev.Failed, codes.FailedPrecondition)
		}
	}
}

// explain puts an error to its place in the file; why the run was ended counts more than what the call said of it.
func (r *runner) explain(ctx context.Context, d *definition, err error) error {
	if ctx.Err() != nil {
		var c *cause.Error
		if errors.As(context.Cause(ctx), &c) {
			return c
		}
		return ErrCancelled.New("the run of %s was cancelled", d.name)
	}
	return d.place(err)
}
