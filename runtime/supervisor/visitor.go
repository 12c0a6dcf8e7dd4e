package supervisor

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// ErrVisitor is the kind of a process that wanted to join and could not.
var ErrVisitor = cause.Define("CBN-SUP-071", "A process that its developer started could not join the kernel.", "Run `carbonado plugin attach NAME` again and start it with what that prints.")

// Visitor is a process that its developer started, in a debugger for example, in the place of the installed one. It has the face of an
// Instance, but it is nobody's child here: its end is the end of the connection over which it joined, and closing that ends it.
type Visitor struct {
	name       string
	generation uint64
	peer       handshake.Peer
	run        string
	listeners  []*controlv1.Listener
	link       *net.UnixConn
	conn       *grpc.ClientConn
	began      time.Time
	done       chan struct{}

	mu    sync.Mutex // guards asked and exit
	asked component.ResultKind
	exit  Exit
}

// Visit makes an instance of a process that has been admitted on link and has been told its folders. It names this kernel as the one that may
// call, waits for the handshake line, and connects. link is the Visitor's from then on, on an error too.
func (s *Supervisor) Visit(ctx context.Context, link *net.UnixConn, name string, generation uint64, run string, listeners []*controlv1.Listener) (*Visitor, error) {
	v := &Visitor{name: name, generation: generation, run: run, listeners: listeners, link: link, began: time.Now(), done: make(chan struct{})}
	err := v.join(ctx)
	if err != nil {
		link.Close()
		if v.conn != nil {
			v.conn.Close()
		}
		return nil, ErrVisitor.Wrap(err, "%s", name)
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.work.Add(1)
	}
	s.mu.Unlock()
	if closed {
		link.Close()
		v.conn.Close()
		return nil, ErrCancelled.New("start %s: the kernel stops", name)
	}
	stop := context.AfterFunc(s.life, func() { link.Close() })
	go func() {
		defer s.work.Done()
		defer stop()
		v.follow()
	}()
	return v, nil
}

func (v *Visitor) join(ctx context.Context) error {
	var err error
	if v.peer, err = handshake.PeerOf(v.link); err != nil {
		return err
	}
	end, _ := ctx.Deadline()
	if err := v.link.SetDeadline(end); err != nil { // the zero time is none
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = v.link.SetDeadline(time.Unix(1, 0)) })()
	if _, err := v.link.Write([]byte(layout.Kernel{PID: os.Getpid(), UID: os.Geteuid()}.Line())); err != nil {
		return err
	}
	line, err := bufio.NewReaderSize(v.link, 1024).ReadString('\n')
	if err != nil {
		return fmt.Errorf("its handshake line: %w", err)
	}
	f := strings.Split(strings.TrimSpace(line), "|")
	if len(f) < 5 || f[0] != "1" || f[2] != "unix" || f[4] != "grpc" || filepath.Dir(filepath.Clean(f[3])) != v.run {
		return fmt.Errorf("its handshake line is %q", line)
	}
	v.conn, err = grpc.NewClient("unix://"+f[3], append(handshake.DialOptions(handshake.Exactly(v.peer.PID, v.peer.UID)), grpc.WithNoProxy(), grpc.WithDisableServiceConfig())...)
	if err != nil {
		return err
	}
	if _, err := grpc_health_v1.NewHealthClient(v.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "plugin"}); err != nil {
		return err
	}
	return v.link.SetDeadline(time.Time{})
}

// follow waits for the end of the connection.
func (v *Visitor) follow() {
	rest := make([]byte, 256)
	for {
		if _, err := v.link.Read(rest); err != nil {
			break
		}
	}
	v.link.Close()
	v.conn.Close()
	v.mu.Lock()
	kind := v.asked
	if kind == component.ResultNone {
		kind = component.ResultExit
	}
	v.exit = Exit{Result: component.Result{Kind: kind}, At: time.Now(), Ran: time.Since(v.began)}
	v.mu.Unlock()
	close(v.done)
	os.RemoveAll(v.run)
}

// PID is the process's number.
func (v *Visitor) PID() int { return v.peer.PID }

// UID is the user that the process runs as.
func (v *Visitor) UID() int { return v.peer.UID }

// Generation is the process generation that it was given.
func (v *Visitor) Generation() uint64 { return v.generation }

// RunFolder is its own folder, removed after the end.
func (v *Visitor) RunFolder() string { return v.run }

// Listeners is ConfigureRequest.listeners.
func (v *Visitor) Listeners() []*controlv1.Listener { return v.listeners }

// Component calls the component. Give each call a context with a deadline.
func (v *Visitor) Component() controlv1.ComponentClient { return controlv1.NewComponentClient(v.conn) }

// Deployer calls the component's deployer. Give each call a context with a deadline.
func (v *Visitor) Deployer() controlv1.DeployerClient { return controlv1.NewDeployerClient(v.conn) }

// Done is closed when the connection has ended.
func (v *Visitor) Done() <-chan struct{} { return v.done }

// Exit says how it ended. It waits for Done.
func (v *Visitor) Exit() Exit {
	<-v.done
	return v.exit
}

// Stop makes the calls of the ladder, then lets the process go.
func (v *Visitor) Stop(ctx context.Context, l Ladder) Exit {
	v.ask(l.Kind)
	c := v.Component()
	rungs := []struct {
		most time.Duration
		call func(context.Context) error
	}{
		{l.Drain, func(ctx context.Context) error {
			_, err := c.Drain(ctx, &controlv1.DrainRequest{DeadlineMs: l.Drain.Milliseconds()})
			return err
		}},
		{l.Release, func(ctx context.Context) error { _, err := c.Release(ctx, &controlv1.ReleaseRequest{}); return err }},
		{l.Stop, func(ctx context.Context) error { _, err := c.Stop(ctx, &controlv1.StopRequest{}); return err }},
	}
	for _, r := range rungs {
		if r.most <= 0 || ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, r.most)
		_ = r.call(ctx) // the next rung follows whatever comes of it
		cancel()
	}
	return v.Kill(ctx, l.Kind)
}

// Kill lets the process go: the SDK ends it. One that stands at a breakpoint ends when it goes on.
func (v *Visitor) Kill(_ context.Context, kind component.ResultKind) Exit {
	v.ask(kind)
	v.link.Close()
	return v.Exit()
}

func (v *Visitor) ask(kind component.ResultKind) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asked == component.ResultNone {
		v.asked = kind
	}
}
