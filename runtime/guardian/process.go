package guardian

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one process that the guardian started for this kernel, or for one before it. Safe for concurrent use, its pipes excepted.
type Process struct {
	// PID is also the number of its process group.
	PID int
	// Stdout and Stderr are read ends of its pipes, the caller's to close.
	Stdout, Stderr *os.File

	// Of an adopted process: its argv[0], when it was forked, what an earlier kernel had Kept, how much of its output was thrown away
	// while no kernel read it, and the descriptor that was executed, the caller's to close; nil in one that this kernel started.
	Name       string
	Started    time.Time
	Record     []byte
	Lost       int64
	Executable *os.File

	// Grouped: it has a control group of its own, which ends whole. Controllers are those that bound it there: cpu, memory, pids.
	// Without them its bounds are rlimits.
	Grouped     bool
	Controllers []string

	client *Client
	done   chan struct{}
	exit   Exit // written before done is closed
}

func newProcess(c *Client, pid, stdout, stderr int) *Process {
	// Non-blocking, so that closing them ends a read.
	unix.SetNonblock(stdout, true)
	unix.SetNonblock(stderr, true)
	return &Process{
		PID:    pid,
		Stdout: os.NewFile(uintptr(stdout), "stdout"),
		Stderr: os.NewFile(uintptr(stderr), "stderr"),
		client: c,
		done:   make(chan struct{}),
	}
}

func (p *Process) inherit(h heir, executable int) {
	p.Name, p.Started, p.Record, p.Lost = h.Name, h.Started, h.Record, h.Lost
	p.Executable = os.NewFile(uintptr(executable), h.Name)
}

func (p *Process) finish(e Exit) {
	p.exit = e
	close(p.done)
}

// Done is closed when the guardian has seen the process end, whatever still holds its pipes.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how it ended, waiting for Done.
func (p *Process) Exit() Exit {
	<-p.done
	return p.exit
}

// Signal sends a signal to the process's whole group. A process that has ended is no error.
func (p *Process) Signal(s syscall.Signal) error {
	return p.tell(request{Op: opSignal, PID: p.PID, Signal: s})
}

// Kill ends the process and all that belongs to it at once. A process that has ended is no error.
func (p *Process) Kill() error {
	return p.tell(request{Op: opKill, PID: p.PID})
}

// tell sends a request whose answer says nothing. The guardian takes care that the number is still this process's.
func (p *Process) tell(r request) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	_, err := p.client.send(r, nil)
	return err
}
