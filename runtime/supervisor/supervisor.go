package supervisor

import (
	"context"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"google.golang.org/grpc"
)

// Supervisor starts instances. Safe for concurrent use.
type Supervisor struct{}

// Close kills every instance that still runs, waits for them until ctx ends, and closes Events.
func (s *Supervisor) Close(ctx context.Context) error { return nil }

// Events gives every start and end, in order. The channel is never full: what the reader doesn't take waits in memory. It has
// one reader, and is closed by Close.
func (s *Supervisor) Events() <-chan Event { return nil }

// Start verifies, starts, shakes hands and connects. It returns when the component can be called, or when nothing of the
// attempt is left. ctx or the spec's StartTimeout ends the attempt.
func (s *Supervisor) Start(ctx context.Context, spec Spec) (*Instance, error) { return nil, nil }

// Event is a start or an end.
type Event struct {
	Kind     EventKind
	Instance *Instance
	// Exit is set where Kind is Ended.
	Exit Exit
	At   time.Time
}

// EventKind tells which.
type EventKind uint8

const (
	// Started: the component can be called.
	Started EventKind = iota + 1
	// Ended: its process is gone.
	Ended
)

// Instance is one process. Safe for concurrent use.
type Instance struct{}

func (i *Instance) Name() string         { return "" }
func (i *Instance) Version() string      { return "" }
func (i *Instance) Generation() uint64   { return 0 }
func (i *Instance) PID() int             { return 0 }
func (i *Instance) UID() int             { return 0 }
func (i *Instance) StartedAt() time.Time { return time.Time{} }

// RunFolder is the attempt's own folder, 0700, removed when the instance has ended. It is ConfigureRequest.run_folder.
func (i *Instance) RunFolder() string { return "" }

// Listeners is ConfigureRequest.listeners.
func (i *Instance) Listeners() []*controlv1.Listener { return nil }

// Component calls the component. Give each call a context with a deadline.
func (i *Instance) Component() controlv1.ComponentClient { return nil }

// Deployer calls the component's deployer.
func (i *Instance) Deployer() controlv1.DeployerClient { return nil }

// Conn is the control connection itself.
func (i *Instance) Conn() grpc.ClientConnInterface { return nil }

// Ping asks the process for a sign of life (gRPC health) until ctx ends, PingTimeout at most.
func (i *Instance) Ping(ctx context.Context) error { return nil }

// Done is closed when the process has ended, whatever still holds its pipes.
func (i *Instance) Done() <-chan struct{} { return nil }

// Exit says how it ended. It waits for Done.
func (i *Instance) Exit() Exit { return Exit{} }

// Stop walks down the ladder until the process has ended, and says how. The second of two concurrent calls waits for the first.
func (i *Instance) Stop(ctx context.Context, ladder Ladder) Exit { return Exit{} }

// Kill ends the process and its group at once and says how it ended. kind becomes the result, unless it had ended by itself.
func (i *Instance) Kill(ctx context.Context, kind component.ResultKind) Exit { return Exit{} }

// Ladder is how an instance is stopped: each rung has its own deadline, a rung of 0 is left out, and the end of the process at any
// rung ends the climb down.
type Ladder struct {
	// Kind becomes the result: ResultOperator, ResultReplaced, ResultWatchdog, ResultStartTimeout or ResultOK.
	Kind component.ResultKind
	// Drain, Release and Stop are the calls of control.proto.
	Drain   time.Duration
	Release time.Duration
	Stop    time.Duration
	// Exit is the time from the answer of Stop to the process's own exit.
	Exit time.Duration
	// Term is the time between SIGTERM and SIGKILL, both to the whole process group.
	Term time.Duration
}

// DefaultLadder gives work under way 10 s to end, and the rest what a healthy component needs many times over.
func DefaultLadder(kind component.ResultKind) Ladder {
	return Ladder{Kind: kind, Drain: 10 * time.Second, Release: 5 * time.Second, Stop: 5 * time.Second, Exit: 2 * time.Second, Term: 2 * time.Second}
}
