package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/handshake"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Why a running process can't be taken over by a new kernel. None of them keeps a kernel from starting: the component is started anew.
var (
	ErrRecord = cause.Define("CBN-SUP-012", "What an earlier kernel wrote down about a process is missing or can't be read.",
		"Nothing: the component is started anew. A start that was under way when the kernel ended leaves no record.")
	ErrRunning = cause.Define("CBN-SUP-013", "A running process is not the executable that was installed.",
		"Find out who changed the package; the component is started anew from what is installed now.").Code(codes.PermissionDenied)
	ErrUnable = cause.Define("CBN-SUP-014", "A component's SDK can't be taken over by a new kernel.",
		"Build the component with the present SDK; until then it is restarted with the kernel.").Code(codes.Unimplemented)
)

// AttachTimeout bounds what a running process may take to answer a new kernel; the kernel's start waits that long at most.
const AttachTimeout = 5 * time.Second

// recordFormat is the only one yet. Fields may be added to it; another format is not read.
const recordFormat = 1

// record is what the guardian keeps of a process for the kernel after this one.
type record struct {
	Format int  `json:"format"`
	Spec   Spec `json:"spec"`
	// RunFolder is the attempt's; Control the path of the control socket in it.
	RunFolder string `json:"runFolder"`
	Control   string `json:"control"`
	// Protocol is the version of the control protocol that was agreed.
	Protocol int `json:"protocol,omitempty"`
}

// remember leaves the record of a started instance with the guardian.
func (s *Supervisor) remember(ctx context.Context, i *Instance) {
	b, err := json.Marshal(record{Format: recordFormat, Spec: i.spec, RunFolder: i.runFolder, Control: i.process.control, Protocol: i.protocol})
	if err == nil {
		err = i.process.p.Keep(ctx, b)
	}
	if err != nil {
		s.conf.Log.Warn("a later kernel will not take this process over", "component", i.spec.Name, "pid", i.PID(), "error", err)
	}
}

// Attach takes over a process that an earlier kernel started: its output goes to the log, and it can be called. It returns within
// AttachTimeout. The error says why the process can't go on beneath this kernel; the Instance, which is there all the same, ends it
// then. The answer is the component's own word.
func (s *Supervisor) Attach(ctx context.Context, p *guardian.Process) (*Instance, *controlv1.TakeOverResponse, error) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.work.Add(1)
	}
	s.mu.Unlock()
	if closed {
		return nil, nil, ErrCancelled.New("take over %s: the kernel stops", p.Name)
	}
	defer s.work.Done()
	ctx, cancel := context.WithTimeout(ctx, AttachTimeout)
	defer cancel()
	defer p.Executable.Close()

	r, broken := s.readRecord(p)
	log := s.conf.Log.Named(r.Spec.Name)
	lines := newLineLog(log)
	i := &Instance{
		spec: r.Spec, runFolder: r.RunFolder, protocol: r.Protocol, started: p.Started, done: make(chan struct{}),
		output: newOutput(lines.line, lines.lost, time.Now),
	}
	i.process = adopted(r.Spec.Name, r.RunFolder, i.output, p)
	if p.Lost > 0 {
		log.Warn("output was left out while no kernel ran", "bytes", p.Lost)
	}
	dialled := s.dial(i, r.Control)
	s.mu.Lock()
	s.instances[i] = struct{}{}
	s.events.put(Event{Kind: Started, Instance: i, At: time.Now()})
	s.work.Go(func() { s.watch(i, nil) })
	s.mu.Unlock()
	select {
	case <-p.Done():
		<-i.done
		return i, nil, i.exit.Err(i.spec.Name)
	default:
	}
	if err := cmp.Or(broken, dialled); err != nil {
		return i, nil, err
	}
	if err := s.verifyRunning(p, r.Spec); err != nil {
		return i, nil, err
	}
	s.work.Go(func() { s.guard(i) })
	answer, err := i.Component().TakeOver(ctx, &controlv1.TakeOverRequest{}, grpc.WaitForReady(true))
	switch {
	case status.Code(err) == codes.Unimplemented:
		err = ErrUnable.New("%s %s", r.Spec.Name, r.Spec.Version)
	case err != nil && i.ended():
		err = i.exit.Err(r.Spec.Name)
	case err != nil:
		err = ErrSilent.Wrap(err, "%s (pid %d)", r.Spec.Name, p.PID)
	default:
		s.work.Go(func() { s.guard(i) })
	}
	return i, answer, err
}

// readRecord reads what an earlier kernel kept. What can't be known stays empty, the name excepted. A run folder that is not an
// attempt's own is never believed: it is removed in the end.
func (s *Supervisor) readRecord(p *guardian.Process) (record, error) {
	none := record{Spec: Spec{Name: p.Name}}
	if len(p.Record) == 0 {
		return none, ErrRecord.New("process %d (%s) was being started when its kernel ended", p.PID, p.Name)
	}
	var r record
	if err := json.Unmarshal(p.Record, &r); err != nil {
		return none, ErrRecord.Wrap(err, "process %d (%s)", p.PID, p.Name)
	}
	if r.Format != recordFormat || r.Spec.Name != p.Name {
		return none, ErrRecord.New("process %d (%s): the record is of format %d, of component %q", p.PID, p.Name, r.Format, r.Spec.Name)
	}
	if !s.attempts.has(r.RunFolder) || filepath.Dir(filepath.Clean(r.Control)) != r.RunFolder {
		return none, ErrRecord.New("process %d (%s): %s is no run folder of this installation with the socket %s in it", p.PID, p.Name, r.RunFolder, r.Control)
	}
	return r, nil
}

// dial makes the control connection without go-plugin, which can't both reattach and verify.
func (s *Supervisor) dial(i *Instance, control string) (err error) {
	if control == "" {
		control = "/nowhere" // of a process without a record: it can be ended, not called
	}
	i.conn, err = grpc.NewClient("unix://"+control, append(handshake.DialOptions(handshake.Exactly(i.PID(), i.UID())),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		// The component may not have heard of this kernel when it is first called.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: AttachTimeout,
		}))...)
	return err
}

// verifyRunning makes sure that what was executed has the recorded digest, and that the process still runs it: its image is that very
// file, or, where that is a script, an interpreter's.
func (s *Supervisor) verifyRunning(p *guardian.Process, spec Spec) error {
	sum, err := s.conf.Digests.Of(p.Executable)
	if err != nil {
		return ErrRunning.Wrap(err, "read the executable of %s (pid %d)", spec.Name, p.PID)
	}
	if sum != spec.Digest {
		return ErrRunning.New("the SHA-256 of what process %d executes is %s, %s was installed for %s", p.PID, sum, spec.Digest, spec.Name)
	}
	head := make([]byte, 2)
	if _, err := p.Executable.ReadAt(head, 0); err == nil && bytes.Equal(head, []byte("#!")) {
		return nil
	}
	executed, err := p.Executable.Stat()
	if err != nil {
		return ErrRunning.Wrap(err, "the executable of %s", spec.Name)
	}
	runs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.PID))
	if err != nil {
		return ErrRunning.Wrap(err, "what process %d executes can't be seen", p.PID)
	}
	if !os.SameFile(executed, runs) {
		return ErrRunning.New("process %d no longer executes the program that it was started with (%s)", p.PID, spec.Name)
	}
	return nil
}

// Tidy removes the run folders of attempts that nobody runs in, after the last Attach.
func (s *Supervisor) Tidy() {
	s.mu.Lock()
	used := map[string]bool{}
	for i := range s.instances {
		used[i.runFolder] = true
	}
	for _, name := range s.short {
		used[filepath.Join(s.attempts.root, name)] = true
	}
	s.mu.Unlock()
	entries, err := os.ReadDir(s.attempts.root)
	if err != nil {
		s.conf.Log.Warn("run folder", "error", err)
		return
	}
	for _, e := range entries {
		folder := filepath.Join(s.attempts.root, e.Name())
		if used[folder] {
			continue
		}
		if err := os.RemoveAll(folder); err != nil {
			s.conf.Log.Warn("a run folder is left", "error", err)
		}
	}
}

// Release lets go of every instance without touching it, for a kernel that follows: what they have printed so far is logged, until ctx
// ends. The Supervisor can't be used afterwards, not even closed.
func (s *Supervisor) Release(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.die()
	var outs []*output
	for i := range s.instances {
		_ = i.process.p.Stdout.SetReadDeadline(time.Now())
		_ = i.process.p.Stderr.SetReadDeadline(time.Now())
		o, readers := i.output, &i.process.readers
		s.work.Go(func() {
			readers.Wait()
			o.close()
		})
		outs = append(outs, o)
	}
	s.mu.Unlock()
	for _, o := range outs {
		select {
		case <-o.done:
		case <-ctx.Done():
			return
		}
	}
}
