package guardian

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/sdk/handshake/layout"

	"golang.org/x/sys/unix"
)

// ErrAbsent is the error of Connect in a process that no guardian started.
var ErrAbsent = errors.New("this process was not started by the guardian")

// ErrLost is the error of every request once the guardian is gone.
var ErrLost = errors.New("the guardian is gone")

// ExitLost is the exit code of a kernel whose guardian is gone.
const ExitLost = 113

// requestMost bounds the wait for an answer whatever the caller's context says; the guardian answers in milliseconds.
const requestMost = 30 * time.Second

// Client is the kernel's end of the socketpair. Safe for concurrent use.
type Client struct {
	wire wire
	end  func()        // what to do when the guardian is gone
	lost chan struct{} // closed when the reading goroutine has ended
	late sync.WaitGroup

	sending sync.Mutex // held while a request is written; taken before mu

	mu        sync.Mutex // guards what follows
	next      uint64
	pending   map[uint64]chan answer // each with room for its one answer
	processes map[int][]*Process     // several where one was adopted that was known
	gone      bool                   // the connection has ended
	closed    bool                   // by Close
}

// answer is a reply with what came along.
type answer struct {
	reply
	fds     []int
	process *Process // of a start; its pipes are not among fds
}

// drop lets go of an answer that nobody waits for.
func (a answer) drop() {
	closeAll(a.fds)
	if a.process != nil {
		_ = a.process.Kill() // it may have ended
		a.process.Stdout.Close()
		a.process.Stderr.Close()
		a.process.Executable.Close()
	}
}

// Inside reports whether the guardian started this process as its kernel.
func Inside() bool { return os.Getenv(envSocket) != "" }

// Connect takes the kernel's end of the socketpair that the guardian left to this process. Call it once. When the guardian is
// gone the process exits at once with ExitLost: the system's SIGKILL is on its way too.
func Connect() (*Client, error) {
	text := os.Getenv(envSocket)
	if text == "" {
		return nil, ErrAbsent
	}
	os.Unsetenv(envSocket)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", envSocket, text, err)
	}
	unix.CloseOnExec(fd)
	_ = layout.SetProcessName(filepath.Base(os.Args[0])) // or ps shows "exe"
	w, err := newWire(fd)
	if err != nil {
		return nil, err
	}
	return newClient(w, func() { os.Exit(ExitLost) }), nil
}

func newClient(w wire, end func()) *Client {
	c := &Client{wire: w, end: end, lost: make(chan struct{}), pending: map[uint64]chan answer{}, processes: map[int][]*Process{}}
	go c.read()
	return c
}

// PID is the guardian's.
func (c *Client) PID() int { return os.Getppid() }

// Close ends the connection. Processes live on; the guardian ends them when the kernel ends.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.wire.close()
	<-c.lost
	c.late.Wait()
	return err
}

func (c *Client) read() {
	defer close(c.lost)
	for {
		var r reply
		fds, err := c.wire.receive(&r)
		if errors.Is(err, errBroken) {
			continue
		}
		if err != nil {
			break
		}
		c.take(r, fds)
	}
	c.mu.Lock()
	c.gone = true
	closed, pending, processes := c.closed, c.pending, c.processes
	c.mu.Unlock()
	if !closed {
		c.end()
	}
	for _, got := range pending {
		got <- answer{reply: reply{Error: ErrLost.Error()}}
	}
	for _, same := range processes {
		for _, p := range same {
			p.finish(Exit{PID: p.PID, Code: -1, At: time.Now()})
		}
	}
}

// take hands one reply to who waits for it. A process is entered in the list here, because its exit may be the next packet.
func (c *Client) take(r reply, fds []int) {
	a := answer{reply: r, fds: fds}
	c.mu.Lock()
	if r.ID == 0 {
		var same []*Process
		if r.Exit != nil {
			same = c.processes[r.Exit.PID]
			delete(c.processes, r.Exit.PID)
		}
		c.mu.Unlock()
		a.drop()
		for _, p := range same {
			p.finish(*r.Exit)
		}
		return
	}
	got := c.pending[r.ID]
	delete(c.pending, r.ID)
	switch {
	case r.PID <= 0 || r.Error != "":
	case len(fds) == 2:
		a.fds, a.process = nil, newProcess(c, r.PID, fds[0], fds[1])
		a.process.Grouped, a.process.Controllers = r.Grouped, r.Controllers
		c.processes[r.PID] = []*Process{a.process}
	case len(fds) == 3 && r.Heir != nil:
		a.fds, a.process = nil, newProcess(c, r.PID, fds[0], fds[1])
		a.process.inherit(*r.Heir, fds[2])
		a.process.Grouped, a.process.Controllers = r.Grouped, r.Controllers
		if r.Exit != nil {
			a.process.finish(*r.Exit)
		} else {
			c.processes[r.PID] = append(c.processes[r.PID], a.process)
		}
	}
	c.mu.Unlock()
	if got == nil {
		a.drop()
		return
	}
	got <- a
}

// ask sends a request and waits for its answer.
func (c *Client) ask(ctx context.Context, r request, fds ...int) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestMost)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	got, err := c.send(r, fds)
	if err != nil {
		return answer{}, err
	}
	select {
	case a := <-got:
		if err := a.err(); err != nil {
			a.drop()
			return answer{}, err
		}
		return a, nil
	case <-ctx.Done():
		// The answer must still be taken: a process that was started is ended, descriptors are closed.
		c.late.Go(func() {
			select {
			case a := <-got:
				a.drop()
			case <-c.lost:
			}
		})
		return answer{}, fmt.Errorf("wait for the guardian: %w", ctx.Err())
	}
}

func (c *Client) send(r request, fds []int) (chan answer, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	got := make(chan answer, 1)
	c.mu.Lock()
	if c.gone || c.closed {
		c.mu.Unlock()
		return nil, ErrLost
	}
	c.next++
	r.ID = c.next
	c.pending[r.ID] = got
	c.mu.Unlock()
	if err := c.wire.send(r, fds...); err != nil {
		c.mu.Lock()
		delete(c.pending, r.ID)
		c.mu.Unlock()
		return nil, fmt.Errorf("ask the guardian: %w", err)
	}
	return got, nil
}

// err is the guardian's error: its text, and the system's error for errors.Is.
func (r reply) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Errno == 0:
		return errors.New(r.Error)
	}
	return remoteError{r.Error, r.Errno}
}

type remoteError struct {
	text  string
	errno syscall.Errno
}

func (e remoteError) Error() string { return e.text }
func (e remoteError) Unwrap() error { return e.errno }

// Listen opens a TCP listener that outlives kernel and components, under a key of the caller's choice. The same key and address
// again is the open one; another address replaces it. The address returned is the bound one. errors.Is(err, syscall.EADDRINUSE)
// tells a port in use.
func (c *Client) Listen(ctx context.Context, key, address string) (bound string, err error) {
	a, err := c.ask(ctx, request{Op: opListen, Key: key, Address: address})
	return a.Address, err
}

// Unlisten closes the guardian's hold on a listener. Processes that have it keep it. An unknown key is no error.
func (c *Client) Unlisten(ctx context.Context, key string) error {
	_, err := c.ask(ctx, request{Op: opUnlisten, Key: key})
	return err
}

// Share returns a listener of this process on the guardian's socket of that key: for what the kernel itself serves.
func (c *Client) Share(ctx context.Context, key string) (net.Listener, error) {
	a, err := c.ask(ctx, request{Op: opShare, Key: key})
	if err != nil {
		return nil, err
	}
	if len(a.fds) != 1 {
		a.drop()
		return nil, errBroken
	}
	f := os.NewFile(uintptr(a.fds[0]), key)
	defer f.Close()
	return net.FileListener(f)
}

// Address returns the bound address of an open listener; errors.Is(err, syscall.ENOENT) tells that there is none of that key.
func (c *Client) Address(ctx context.Context, key string) (string, error) {
	a, err := c.ask(ctx, request{Op: opShare, Key: key})
	if err != nil {
		return "", err
	}
	a.drop()
	return a.Address, nil
}

// Start starts a program which the caller has open and has verified. The executable stays the caller's.
func (c *Client) Start(ctx context.Context, o Order, executable *os.File) (*Process, error) {
	raw, err := executable.SyscallConn()
	if err != nil {
		return nil, err
	}
	var a answer
	if control := raw.Control(func(fd uintptr) {
		a, err = c.ask(ctx, request{Op: opStart, Order: &o}, int(fd))
	}); control != nil {
		return nil, control
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	if a.process == nil {
		a.drop()
		return nil, errBroken
	}
	return a.process, nil
}
