package deploy

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/metadata"

	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	"carbonado.dev/sdk/telemetry"
)

// listenerPatience is how long a listener may take over one event before the batch goes on without it.
const listenerPatience = 5 * time.Second

// ErrListener is the kind of a listener that failed. It is logged: it never stops a batch.
var ErrListener = cause.Define("CBN-DEP-041", "A listener of deployments failed.", "See the reason; the deployment went on.")

// Phase of an operation on an artifact.
type Phase string

// The phases.
const (
	Before Phase = "before"
	After  Phase = "after"
)

// Operation is what is done with an artifact.
type Operation string

// The operations.
const (
	OperationDeploy   Operation = "deploy"
	OperationUpdate   Operation = "update"
	OperationUndeploy Operation = "undeploy"
)

// Lifecycle is one moment of one operation. For one owner, events come one after the other: before, after, before, …; owners are served side
// by side.
type Lifecycle struct {
	Phase     Phase
	Operation Operation
	// Path, Type, Name, Digest of the artifact; Owner is who is asked.
	Path, Type, Name, Digest, Owner string
	// Transaction grows with each batch.
	Transaction uint64
	// Result after it: Deployed, Waiting, Faulty, or Gone for what was taken back; empty before it.
	Result State
	// Cause of Faulty; nil otherwise.
	Cause *commonv1.Cause
	// Trace is the id of the trace that the owner does it under, hexadecimal.
	Trace string
}

// Listener is told of operations. It is called by the goroutine that does them: what it does holds them up, listenerPatience at most. An
// error or a panic is logged.
type Listener func(ctx context.Context, ev Lifecycle) error

// announced makes a call on an owner, and tells the listeners before and after it.
func (s *Service) announced(ctx context.Context, op Operation, owner string, m method, r *controlv1.DeployRequest) answered {
	parent := telemetry.TraceFrom(ctx)
	if parent == (telemetry.Trace{}) && !s.telemetry.Tracing() {
		parent = telemetry.NewTrace()
		parent[24] = 0 // named, and not kept by anybody
	}
	span, trace := s.telemetry.Start(parent, string(op)+" "+r.Artifact.Path, diagv1.Span_KIND_CLIENT)
	ev := Lifecycle{
		Phase: Before, Operation: op, Path: r.Artifact.Path, Type: r.Artifact.Type, Name: r.Artifact.Name, Digest: r.Artifact.Digest,
		Owner: owner, Transaction: r.Transaction, Trace: trace.ID(),
	}
	s.listen(ctx, ev)
	a := s.call(metadata.AppendToOutgoingContext(ctx, telemetry.TraceKey, trace.Header()), m, r)
	span.End(a.err)
	ev.Phase = After
	switch {
	case a.err != nil:
		ev.Result, ev.Cause = Faulty, cause.Proto(a.err)
	case op == OperationUndeploy:
		ev.Result = Gone
	case a.state == controlv1.DeployResponse_STATE_WAITING:
		ev.Result, ev.Cause = Waiting, a.why
	default:
		ev.Result = Deployed
	}
	s.listen(ctx, ev)
	return a
}

// listen calls the listeners in their order. None of them can stop the others, or what is done.
func (s *Service) listen(ctx context.Context, ev Lifecycle) {
	for i, l := range s.listeners {
		if err := s.heard(ctx, l, ev); err != nil {
			s.log.Warn("a listener failed", "cause", ErrListener.Wrap(err, "listener %d, %s %s of %s", i+1, ev.Phase, ev.Operation, ev.Path))
		}
	}
}

func (s *Service) heard(ctx context.Context, l Listener, ev Lifecycle) error {
	ctx, cancel := context.WithTimeout(ctx, listenerPatience)
	defer cancel()
	done := make(chan error, 1)
	go func() { // ends with the listener; one that does not heed its context is left behind
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("panic: %v", r)
			}
		}()
		done <- l(ctx, ev)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
