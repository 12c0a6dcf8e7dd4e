package guardian

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/guardian/brood"
	"carbonado.dev/carbonado/runtime/guardian/watch"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/sdk/handshake/layout"
	"carbonado.dev/sdk/idle"

	"golang.org/x/sys/unix"
)

const (
	// stopGrace is how long the kernel may take over an orderly stop before it is killed. It must exceed the kernel's own ladder
	// of all components (they stop in reverse order, each with 24 s at the worst, most in milliseconds).
	stopGrace = 2 * time.Minute
	// endGrace is the time from SIGTERM to SIGKILL for what remains after the kernel.
	endGrace = 2 * time.Second
	// endMost is the time after which the guardian goes, whatever remains; five seconds are promised.
	endMost = 4500 * time.Millisecond
	// sweepEvery is how often strays are looked for: processes whose parent died are not announced.
	sweepEvery = 2 * time.Second
	// killEvery is how often that is done while ending.
	killEvery = 50 * time.Millisecond
)

// program is what kernel and launcher are executed from: the guardian's own file, also when it was replaced on the disk meanwhile.
const program = "/proc/self/exe"

// processName is what ps shows of the guardian.
const processName = "carbonado-guard"

// envSocket tells the kernel the descriptor of its end of the socketpair.
const envSocket = "CARBONADO_GUARDIAN"

// kernelSocketFD is that descriptor.
const kernelSocketFD = 3

// Config is what the guardian is told.
type Config struct {
	// Args is the kernel's argument list; Args[0] is the name that ps shows.
	Args []string
	// Env is the kernel's environment; nil is the guardian's own.
	Env []string
	// StopGrace is how long the kernel may take to stop after SIGTERM; 0 is two minutes.
	StopGrace time.Duration
	// Restarts is how many deaths of kernels within a minute are answered by a new kernel; 0: the first ends all.
	Restarts int
	// NoCgroup leaves control groups alone even where they are to be had.
	NoCgroup bool
	// Log takes the guardian's few lines; nil is standard error.
	Log io.Writer
}

// Run is the guardian's whole life: it starts the kernel, serves it and those that follow it, and returns the last kernel's exit code
// (128 and the signal's number after a signal) when nothing of it is left, at most five seconds after that kernel's end. Call it from
// main's goroutine; the process must have no other children, and exits with the code.
//
// The first call does not return: the process becomes the watch, which starts the same program with the same arguments anew as its
// child; there Run is called again and is the guardian.
func Run(c Config) int {
	line := watch.Line()
	if line == nil {
		err := watch.Execute()
		fmt.Fprintf(os.Stderr, "carbonado guardian: goes on without a watch: %v\n", err)
	}
	_ = layout.SetProcessName(processName) // or ps shows "exe"
	// The thread that forks must live as long as the process: parent-death signals fire at its end. A locked goroutine's thread does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := newGuardian(c, line)
	if err != nil {
		fmt.Fprintf(os.Stderr, "carbonado guardian: %v\n", err)
		return 70 // EX_SOFTWARE
	}
	// What starting up left behind goes back to the system. What it allocates afterwards is little, and is collected before it is much:
	// the collector's least heap is 4 MiB times this, and less than 1 MiB lives.
	debug.SetGCPercent(gcPercent)
	defer time.AfterFunc(returnMemoryAfter, idle.Return).Stop()
	return g.serve()
}

// gcPercent of the guardian.
const gcPercent = 20

// returnMemoryAfter is when the kernel has started and the guardian is idle.
const returnMemoryAfter = 20 * time.Second

// guardian is the state of Run. Everything in it belongs to Run's goroutine, the two goroutines of each link excepted.
type guardian struct {
	conf     Config
	link     *link         // to the present kernel, nil where there is none
	requests chan incoming // from the reading goroutines
	orphaned chan struct{} // closed when the watch is gone
	signals  chan os.Signal

	null       int
	kernel     int // pid, 0 once reaped
	lastKernel int
	status     unix.WaitStatus // how the last kernel ended
	succession
	children  map[int]*child
	listeners map[string]*listener
	cgroups   cgroups
	oom       oomWatch
	// noNetwork is a network namespace without a network. Making it takes the system some 10 ms: it begins while the kernel starts.
	noNetwork func() (*os.File, error)

	ending bool
	killed bool // the grace of ending is over
}

// incoming is a request with its descriptors.
type incoming struct {
	request
	fds  []int
	from *link
}

func newGuardian(c Config, line *os.File) (*guardian, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("no kernel to start")
	}
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.StopGrace == 0 {
		c.StopGrace = stopGrace
	}
	if c.Log == nil {
		c.Log = os.Stderr
	}
	if err := brood.Adopt(); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	g := &guardian{
		conf:      c,
		requests:  make(chan incoming),
		orphaned:  make(chan struct{}),
		signals:   make(chan os.Signal, 16),
		children:  map[int]*child{},
		listeners: map[string]*listener{},
		oom:       newOOMWatch(),
		noNetwork: sync.OnceValues(launch.EmptyNetwork),

		succession: succession{image: image{-1}, note: -1, gone: map[int]*child{}},
	}
	if os.Geteuid() == 0 {
		go func() { _, _ = g.noNetwork() }() // who needs it asks again, and hears of an error
	}
	// Caught, not ignored: what is ignored stays ignored in the programs that we start. SIGINT is the kernel's, which has it from the
	// terminal; SIGPIPE must not end us when the terminal is gone. SIGHUP stays ignored where nohup asked for that.
	signal.Notify(g.signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGPIPE)
	if !signal.Ignored(unix.SIGHUP) {
		signal.Notify(g.signals, unix.SIGHUP)
	}
	var err error
	if g.null, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("/dev/null: %w", err)
	}
	if line != nil {
		go func() { // to the end of the process, as the line is
			_, _ = line.Read(make([]byte, 1))
			close(g.orphaned)
		}()
	}
	if !c.NoCgroup {
		g.cgroups = newCgroups()
	}
	if err := g.startKernel(); err != nil {
		g.cgroups.close()
		return nil, err
	}
	// What starting needed is not needed again.
	debug.FreeOSMemory()
	return g, nil
}

// serve is the loop. One goroutine, so that nothing here needs a lock and every fork happens on one thread.
func (g *guardian) serve() int {
	defer func() {
		if g.link != nil {
			g.link.close()
		}
		g.forgetGone()
	}()

	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	spill := time.NewTicker(time.Hour) // more often while a kernel is missing
	defer spill.Stop()
	var again <-chan time.Time       // of starting a kernel
	var grace, most <-chan time.Time // of ending
	var stopping <-chan time.Time    // of the kernel, after SIGTERM
	orphaned := g.orphaned
	for {
		select {
		case <-orphaned:
			orphaned = nil
			g.logf("the watch is gone; all is ended")
			g.stopping = true
			g.signalKernel(unix.SIGKILL)
		case in := <-g.requests:
			if in.from != g.link {
				closeAll(in.fds)
				continue
			}
			g.answer(in)
		case <-again:
			again = nil
			if err := g.startKernel(); err != nil {
				if pause, follows := g.unborn(err); follows {
					again = time.After(pause)
				} else {
					g.stopping = true
				}
			}
		case <-g.late:
			g.overdue()
		case <-spill.C:
			if !g.spill() {
				spill.Reset(time.Hour)
			}
		case s := <-g.signals:
			switch s {
			case unix.SIGTERM, unix.SIGHUP:
				g.stopping = true
				g.signalKernel(unix.SIGTERM)
				if stopping == nil {
					stopping = time.After(g.conf.StopGrace)
				}
			case unix.SIGCHLD:
				g.reap()
			}
		case <-stopping:
			g.logf("the kernel did not stop within %s and is killed", g.conf.StopGrace)
			g.signalKernel(unix.SIGKILL)
		case <-sweep.C:
			g.reap()
			g.cgroups.sweep()
		case <-grace:
			g.killAll()
			sweep.Reset(killEvery)
		case <-most:
			g.logf("%d processes could not be ended", len(g.children))
			g.cgroups.close()
			return brood.Code(g.status)
		}
		if g.kernel == 0 && !g.ending && !g.mourned {
			if pause, follows := g.mourn(); follows {
				again = time.After(pause)
				spill.Reset(spillEvery)
			} else {
				g.stopping = true
			}
		}
		if g.kernel == 0 && g.stopping && !g.ending {
			g.ending = true
			again = nil
			g.terminateAll()
			grace, most = time.After(endGrace), time.After(endMost)
		}
		if g.ending && len(g.children) == 0 {
			if !g.killed { // strays get no grace: they had left
				g.killAll()
				sweep.Reset(killEvery)
			}
			if g.reap(); len(brood.Children()) == 0 {
				g.cgroups.close()
				return brood.Code(g.status)
			}
		}
	}
}

// read passes requests on until the kernel's end of the socket is gone.
func (g *guardian) read(l *link) {
	for {
		in := incoming{from: l}
		fds, err := l.wire.receive(&in.request)
		if errors.Is(err, errBroken) {
			continue
		}
		if err != nil {
			return
		}
		in.fds = fds
		select {
		case g.requests <- in:
		case <-l.stop:
			closeAll(fds)
			return
		}
	}
}

// answer does what one request asks for, and replies.
func (g *guardian) answer(in incoming) {
	defer closeAll(in.fds)
	r := reply{ID: in.ID}
	var fds []int
	var err error
	switch {
	case g.ending:
		err = syscall.ESHUTDOWN
	case in.Op == opListen:
		r.Address, err = g.listen(in.Key, in.Address)
	case in.Op == opUnlisten:
		g.unlisten(in.Key)
	case in.Op == opShare:
		var l *listener
		if l, err = g.listener(in.Key); err == nil {
			r.Address, fds = l.address, []int{l.fd}
		}
	case in.Op == opStart && in.Order != nil && len(in.fds) == 1:
		var c *child
		if c, err = g.start(in.Order, in.fds[0]); err == nil {
			r.PID, fds = c.pid, []int{c.stdout, c.stderr}
			r.Grouped, r.Controllers = c.cgroup != "", c.controllers
		}
	case in.Op == opSignal:
		err = g.signal(in.PID, in.Signal)
	case in.Op == opKill:
		g.kill(in.PID)
	case in.Op == opReady:
		g.beReady()
	case in.Op == opStopping:
		g.stopping = true
	case in.Op == opKeep:
		err = g.keep(in.request, in.fds)
	case in.Op == opInherit:
		r.Estate, fds = g.inherit()
	case in.Op == opAdopt:
		var c *child
		if c, fds, err = g.adopt(in.PID); err == nil {
			r.PID, r.Exit = in.PID, c.exit
			r.Grouped, r.Controllers = c.cgroup != "", c.controllers
			r.Heir = &heir{Name: c.name, Record: c.record, Started: c.started, Lost: c.lost}
			c.lost = 0
		}
	case in.Op == opHandOver && len(in.fds) == 1:
		err = g.handOver(in.fds[0], in.Deadline)
	default:
		err = syscall.EINVAL
	}
	if err != nil {
		r.Error = err.Error()
		errors.As(err, &r.Errno)
	}
	g.link.out.put(r, fds...)
	if r.Heir != nil && r.Exit != nil {
		g.gone[in.PID].close()
		delete(g.gone, in.PID)
	}
}

func (g *guardian) signalKernel(s syscall.Signal) {
	if g.kernel > 0 {
		unix.Kill(g.kernel, s)
	}
}

func (g *guardian) logf(format string, args ...any) {
	fmt.Fprintf(g.conf.Log, "carbonado guardian: "+format+"\n", args...)
}
