package supervisor

import (
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/carbonado/runtime/launch"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// PingTimeout is the most that a sign of life may take. A loaded machine answers in milliseconds, one that swaps in seconds.
const PingTimeout = 5 * time.Second

// memoryExitCodes are those with which runtimes end after they have said that memory ran out: a JVM's or Python's whose main thread
// ended, Go's, a JVM's with ExitOnOutOfMemoryError, the sanitizers' (a component built with the race detector).
var memoryExitCodes = []int{1, 2, 3, 66}

// Instance is one process. Safe for concurrent use.
type Instance struct {
	spec      Spec
	runFolder string
	listeners []*controlv1.Listener
	process   *process
	output    *output
	conn      *grpc.ClientConn // set before Start returns
	started   time.Time
	protocol  int

	done chan struct{}
	exit Exit // written before done is closed

	mu    sync.Mutex // guards asked
	asked component.ResultKind

	stopping sync.Mutex // held by the one Stop that walks the ladder
}

func (i *Instance) Name() string       { return i.spec.Name }
func (i *Instance) Version() string    { return i.spec.Version }
func (i *Instance) Generation() uint64 { return i.spec.Generation }

// Digest is the SHA-256 of the executable that runs, in hexadecimal.
func (i *Instance) Digest() string { return i.spec.Digest }

// PID is the process's number and its group's.
func (i *Instance) PID() int { return i.process.p.PID }

// UID is the user that the process runs as.
func (i *Instance) UID() int {
	if i.ownUser() {
		return i.spec.Cage.UID
	}
	return os.Geteuid()
}

// Protocol is the version of the control protocol that both sides speak; 0 is not known.
func (i *Instance) Protocol() int { return i.protocol }

// Confinement is what Spec.Confinement said at the start.
func (i *Instance) Confinement() []component.Measure { return i.spec.Confinement }

// cage is the spec's, with the attempt's own folder.
func (i *Instance) cage() launch.Cage {
	c := i.spec.Cage
	c.Rules = append(slices.Clone(c.Rules), launch.Rule{Path: i.runFolder, Access: launch.Read | launch.Write})
	return c
}

// StartedAt is the moment of the fork.
func (i *Instance) StartedAt() time.Time { return i.started }

// RunFolder is the attempt's own folder, 0700, removed after the end. It is ConfigureRequest.run_folder.
func (i *Instance) RunFolder() string { return i.runFolder }

// Listeners is ConfigureRequest.listeners.
func (i *Instance) Listeners() []*controlv1.Listener { return i.listeners }

// Component calls the component. Give each call a context with a deadline.
func (i *Instance) Component() controlv1.ComponentClient {
	return controlv1.NewComponentClient(i.conn)
}

// Deployer calls the component's deployer. Give each call a context with a deadline.
func (i *Instance) Deployer() controlv1.DeployerClient { return controlv1.NewDeployerClient(i.conn) }

// Conn is the control connection itself. It is closed when the process has ended.
func (i *Instance) Conn() grpc.ClientConnInterface { return i.conn }

// Ping asks the process for a sign of life (gRPC health, which the SDK answers by itself) until ctx ends, PingTimeout at most.
func (i *Instance) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, PingTimeout)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(i.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return ErrSilent.Wrap(err, "%s (pid %d)", i.spec.Name, i.PID())
	}
	return nil
}

// Done is closed when the process has ended and its output was read, whatever still holds its pipes.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Exit says how it ended. It waits for Done.
func (i *Instance) Exit() Exit {
	<-i.done
	return i.exit
}

// Ladder is how an instance is stopped: each rung has its own deadline, a rung of 0 is left out, and the end of the process at any
// rung ends the way down. SIGKILL to the whole group is always the last.
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

// DefaultLadder gives work under way 10 s to end, and the rest what a healthy component needs many times over: 24 s at the worst.
func DefaultLadder(kind component.ResultKind) Ladder {
	return Ladder{Kind: kind, Drain: 10 * time.Second, Release: 5 * time.Second, Stop: 5 * time.Second, Exit: 2 * time.Second, Term: 2 * time.Second}
}

// Stop walks down the ladder until the process has ended, and says how. When ctx ends it goes to SIGKILL at once. A second
// concurrent Stop waits for the first and returns the same. An Exit without a time means that the system holds the process although it was
// killed; Done tells when it lets go.
func (i *Instance) Stop(ctx context.Context, l Ladder) Exit {
	i.stopping.Lock()
	defer i.stopping.Unlock()
	if i.ended() || !i.ask(l.Kind) {
		return i.killed()
	}
	c := i.Component()
	i.rung(ctx, l.Drain, func(ctx context.Context) error {
		_, err := c.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: l.Drain.Milliseconds()})
		return err
	})
	i.rung(ctx, l.Release, func(ctx context.Context) error {
		_, err := c.Release(ctx, &controlv1.ReleaseRequest{})
		return err
	})
	if i.rung(ctx, l.Stop, func(ctx context.Context) error {
		_, err := c.Stop(ctx, &controlv1.StopRequest{})
		return err
	}) {
		i.await(ctx, l.Exit)
	}
	if l.Term > 0 && !i.ended() && ctx.Err() == nil {
		_ = i.process.p.Signal(unix.SIGTERM) // SIGKILL follows whatever comes of it
		i.await(ctx, l.Term)
	}
	return i.killed()
}

// Kill ends the process and its group at once and says how it ended; see Stop for an Exit without a time. kind becomes the result
// unless the process had ended by itself or another reason was given before.
func (i *Instance) Kill(ctx context.Context, kind component.ResultKind) Exit {
	i.ask(kind)
	return i.killed()
}

// rung makes one call of the ladder. ok is false if the process is better asked by other means.
func (i *Instance) rung(ctx context.Context, most time.Duration, call func(context.Context) error) (ok bool) {
	if most <= 0 || i.ended() || ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := call(ctx)
	// Unavailable: it went before it could answer, which is as good as an answer.
	return err == nil || status.Code(err) == codes.Unavailable
}

// await waits for the end, for d at most.
func (i *Instance) await(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-i.done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// killed makes sure of the end and returns the exit.
func (i *Instance) killed() Exit {
	if !i.ended() {
		_ = i.process.p.Kill() // an error means that the guardian is gone, and with it everything
	}
	t := time.NewTimer(killMost)
	defer t.Stop()
	select {
	case <-i.done:
		return i.exit
	case <-t.C:
		i.mu.Lock()
		defer i.mu.Unlock()
		return Exit{Result: component.Result{Kind: i.asked}, Forced: true}
	}
}

func (i *Instance) ended() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// ask writes down why the kernel ends the process. It returns false if that was done before, or if the process has ended by itself.
func (i *Instance) ask(kind component.ResultKind) bool {
	select {
	case <-i.process.p.Done():
		return false
	default:
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asked != component.ResultNone {
		return false
	}
	i.asked = kind
	return true
}

// finish writes the exit, once the process has ended and its output was read.
func (i *Instance) finish() {
	i.mu.Lock()
	asked := i.asked
	i.mu.Unlock()
	tail, hungry := i.output.last()
	i.exit = exitOf(i.process.p.Exit(), asked, hungry)
	i.exit.Ran = i.exit.At.Sub(i.started)
	i.exit.Protocol = i.process.opening.spoken()
	i.exit.Tail, i.exit.Complaint = tail, i.output.complaint()
	close(i.done)
}

// exitOf says why a process ended: the kernel's reason where it had one, else what the system and the process's last words tell.
func exitOf(e guardian.Exit, asked component.ResultKind, hungry bool) Exit {
	x := Exit{Forced: e.Ours && e.Signal == syscall.SIGKILL, At: e.At, MaxRSS: e.MaxRSS, CPU: e.CPU}
	r := &x.Result
	switch {
	case asked != component.ResultNone:
		r.Kind = asked
	case e.OutOfMemory, hungry && (e.Signal == syscall.SIGABRT || e.Signal == 0 && slices.Contains(memoryExitCodes, e.Code)):
		r.Kind = component.ResultOutOfMemory
	case e.Signal != 0:
		r.Kind = component.ResultSignal
	default:
		r.Kind = component.ResultExit
	}
	if e.Signal != 0 {
		r.Signal = unix.SignalName(e.Signal)
	} else {
		r.Code = e.Code
	}
	return x
}

// Err is the exit as a cause, for the unit whose process it was.
func (e Exit) Err(name string) error {
	last := ""
	if len(e.Tail) > 0 {
		last = lastWords(e)
	}
	return ErrEnded.New("%s ended after %s: %s%s", name, e.Ran.Round(time.Millisecond), e.Result, last)
}
