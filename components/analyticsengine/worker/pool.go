package worker

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/components/analyticsengine/statement"
)

const (
	// Rest is how long a worker waits for the next statement before it ends. The statements of a script follow one another at once, and
	// starting a worker takes a hundredth of a second: waiting longer would only keep memory.
	Rest = 250 * time.Millisecond
	// endTimeout is how long a worker may take to end by itself.
	endTimeout = 2 * time.Second
)

// Pool starts workers when they are needed and ends those that nobody needs. It is safe for concurrent use.
type Pool struct {
	exe   *os.File
	spill string

	// mu guards the fields below.
	mu     sync.Mutex
	idle   []*process
	alive  map[*process]bool
	closed bool
	// all counts processes that have not been reaped.
	all sync.WaitGroup
}

// NewPool keeps the executable open: what was there when the component started is what runs. Each worker spills into a folder of its own
// below spill, which goes with the process; empty: nothing is spilled.
func NewPool(executable, spill string) (*Pool, error) {
	exe, err := os.Open(executable)
	if err != nil {
		return nil, statement.ErrEngine.Wrap(err, "the worker's executable")
	}
	return &Pool{exe: exe, spill: spill, alive: map[*process]bool{}}, nil
}

// Close ends all workers: those that rest in order, those that run a statement at once. It may be called once.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	for w := range p.alive {
		if !slices.Contains(idle, w) {
			_ = w.cmd.Process.Kill() // it is reaped by its own goroutine
		}
	}
	p.mu.Unlock()
	for _, w := range idle {
		w.timer.Stop()
		w.end(endTimeout)
	}
	p.all.Wait()
	return p.exe.Close()
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Open makes a database in a worker that rests, or else in a new one.
func (p *Pool) Open(ctx context.Context, l statement.Limits) (statement.Database, error) {
	for {
		w, fresh, err := p.take()
		if err != nil {
			return nil, err
		}
		if l.Spill != "" {
			l.Spill = w.spill
		}
		s := &session{pool: p, w: w}
		_, err = s.call(ctx, request{Op: opOpen, Limits: wireLimits(l)}, nil)
		if err == nil {
			return s, nil
		}
		s.close(false)
		// A worker that ended while it rested has lost nothing: another one is asked.
		if fresh || !errors.Is(err, statement.ErrWorker) {
			return nil, err
		}
	}
}

func (p *Pool) take() (w *process, fresh bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, statement.ErrCancelled.New("the engine stops")
	}
	if n := len(p.idle); n > 0 {
		w = p.idle[n-1]
		p.idle = p.idle[:n-1]
		w.timer.Stop()
		return w, false, nil
	}
	w, err = p.start()
	return w, true, err
}

// put lets a worker rest.
func (p *Pool) put(w *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go w.end(endTimeout) // p.all counts it
		return
	}
	p.idle = append(p.idle, w)
	w.timer = time.AfterFunc(Rest, func() {
		if p.forget(w) {
			w.end(endTimeout)
		}
	})
}

// forget takes a worker out of those that rest; false: somebody else has it.
func (p *Pool) forget(w *process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range p.idle {
		if x == w {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return true
		}
	}
	return false
}

// process is one worker.
type process struct {
	cmd   *exec.Cmd
	conn  net.Conn
	dec   *gob.Decoder
	spill string
	// timer ends the worker's rest.
	timer *time.Timer
	calls uint64

	// sending guards enc: a cancel is sent beside the call.
	sending sync.Mutex
	enc     *gob.Encoder

	// done is closed when the process is reaped and its folder removed; err says how it ended.
	done chan struct{}
	err  error
}

// start runs a worker. The caller holds p.mu.
func (p *Pool) start() (*process, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, statement.ErrEngine.Wrap(err, "socket pair")
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "engine")
	defer theirs.Close()
	conn, err := net.FileConn(mine)
	mine.Close()
	if err != nil {
		return nil, statement.ErrEngine.Wrap(err, "socket pair")
	}
	w := &process{conn: conn, dec: gob.NewDecoder(conn), enc: gob.NewEncoder(conn), done: make(chan struct{})}
	if p.spill != "" {
		if w.spill, err = os.MkdirTemp(p.spill, "worker-"); err != nil {
			conn.Close()
			return nil, statement.ErrEngine.Wrap(err, "the folder for spilled data can't be made")
		}
	}
	w.cmd = &exec.Cmd{
		Path: fmt.Sprintf("/proc/self/fd/%d", p.exe.Fd()), Args: []string{Name}, Env: environment(), Stderr: os.Stderr, ExtraFiles: []*os.File{theirs},
		// The worker also ends when its socket does; the signal ends one that is busy. It stays in the component's process group.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := w.cmd.Start(); err != nil {
		conn.Close()
		return nil, errors.Join(statement.ErrEngine.Wrap(err, "the worker did not start"), w.clean())
	}
	p.alive[w] = true
	p.all.Add(1)
	go func() {
		defer p.all.Done()
		w.err = errors.Join(w.cmd.Wait(), w.clean())
		p.mu.Lock()
		delete(p.alive, w)
		p.mu.Unlock()
		close(w.done)
	}()
	return w, nil
}

// environment is what a worker may see of the component's. Its memory is DuckDB's; the little that Go takes is kept small.
func environment() []string {
	env := []string{"GOGC=100", "GOMEMLIMIT=64MiB"}
	for _, name := range []string{"TZ", "LANG", "TMPDIR", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (w *process) clean() error {
	if w.spill == "" {
		return nil
	}
	return os.RemoveAll(filepath.Clean(w.spill))
}

func (w *process) send(r request) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	return w.enc.Encode(r)
}

// end closes the conversation and waits until the process is gone; one that takes longer than patience is killed.
func (w *process) end(patience time.Duration) {
	w.conn.Close()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-w.done:
		return
	case <-t.C:
	}
	_ = w.cmd.Process.Kill()
	<-w.done
}
