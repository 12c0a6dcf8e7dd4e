package guardian

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/guardian/brood"
	"carbonado.dev/sdk/handshake/layout"

	"golang.org/x/sys/unix"
)

// A kernel follows another: after a death that nobody asked for, by the same program; after a HandOver, by the program handed over,
// which is on trial until its kernel is ready, and given up for the one before it if that does not come about.

const (
	// deathsPer is the time in which Config.Restarts deaths are borne.
	deathsPer = time.Minute
	// restartPause is added with each death after the first in a row, so that a kernel which can't start does not take the machine.
	restartPause = 250 * time.Millisecond
	// handOverGrace is how long a kernel may take to end once it has handed over.
	handOverGrace = 15 * time.Second
	// trialMost is how long a program handed over may take to be ready where the kernel names no time.
	trialMost = 2 * time.Minute
	// spillEvery is how often the output of processes that no kernel reads is looked at.
	spillEvery = 250 * time.Millisecond
	// pipeSize is how much of it can wait: the most that an ordinary user may ask for.
	pipeSize = 1 << 20
	// programFDLeast keeps a program's descriptor clear of those that the kernel gets.
	programFDLeast = 16
)

// link is the connection to one kernel.
type link struct {
	wire    wire
	out     *outbox
	reading chan struct{} // closed when the reading goroutine has ended
	stop    chan struct{}
}

func (g *guardian) newLink(w wire) *link {
	l := &link{wire: w, out: newOutbox(w), reading: make(chan struct{}), stop: make(chan struct{})}
	go func() {
		defer close(l.reading)
		g.read(l)
	}()
	return l
}

func (l *link) close() {
	close(l.stop)
	l.wire.close()
	<-l.reading
	l.out.close()
}

// image is a program that a kernel is executed from.
type image struct{ fd int } // -1: the guardian's own file

func (i image) path() string {
	if i.fd < 0 {
		return program
	}
	return "/proc/self/fd/" + strconv.Itoa(i.fd)
}

func (i image) close() {
	if i.fd >= 0 {
		unix.Close(i.fd)
	}
}

// succession is what the guardian knows of kernels beyond the present one.
type succession struct {
	estate   Estate // of the present kernel, without pids
	image    image
	previous *image // image is on trial; this one comes back if it fails
	next     *image // asked for by a kernel that is about to end
	trial    time.Duration
	late     <-chan time.Time // when the present step of a hand-over must be done
	ready    bool             // some kernel was
	stopping bool             // nobody follows the present kernel
	mourned  bool             // the last kernel's end was dealt with
	deaths   []time.Time
	note     int // file with what kernels leave to one another; -1 is none
	gone     map[int]*child
}

// startKernel forks a kernel and names it to every process.
func (g *guardian) startKernel() error {
	ours, theirs, err := socketpair()
	if err != nil {
		return err
	}
	defer unix.Close(theirs)
	w, err := newWire(ours)
	if err != nil {
		return err
	}
	g.kernel, err = syscall.ForkExec(g.image.path(), g.conf.Args, &syscall.ProcAttr{
		Env:   append(append([]string{}, g.conf.Env...), envSocket+"="+strconv.Itoa(kernelSocketFD)),
		Files: []uintptr{0, 1, 2, uintptr(theirs)},
		Sys:   &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	})
	if err != nil {
		g.kernel = 0
		w.close()
		return fmt.Errorf("start the kernel: %w", err)
	}
	g.mourned = false
	g.estate.Kernels++
	line := []byte(layout.Kernel{PID: g.kernel, UID: syscall.Geteuid()}.Line())
	for pid, c := range g.children {
		if _, err := unix.Write(c.lifeline, line); err != nil && !errors.Is(err, unix.EPIPE) {
			g.logf("process %d (%s) can't be told of the new kernel: %v", pid, c.name, err)
		}
	}
	g.link = g.newLink(w)
	return nil
}

// mourn takes leave of a kernel that has ended. It says whether another follows, and after which pause.
func (g *guardian) mourn() (pause time.Duration, follows bool) {
	g.mourned = true
	dead := g.estate
	if g.link != nil {
		g.link.close()
		g.link = nil
	}
	for _, c := range g.children {
		c.known = false
		for _, fd := range []int{c.stdout, c.stderr} {
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize) // or what it has must do
		}
	}
	g.estate = Estate{Kernels: dead.Kernels, Previous: g.lastKernel, Ended: ending(g.status), EndedAt: time.Now(), Refused: dead.Refused}
	g.late = nil
	switch {
	case g.stopping:
		return 0, false
	case g.next != nil:
		g.previous, g.image, g.next = new(g.image), *g.next, nil
		g.estate.HandedOver, g.estate.Refused = true, ""
		g.late = time.After(g.trial)
		g.logf("kernel %d has handed over; %d components run on", g.lastKernel, len(g.children))
		return 0, true
	case g.previous != nil:
		if g.estate.Refused == "" {
			g.estate.Refused = "it ended before it was ready: " + g.estate.Ended
		}
		g.giveUp()
		return 0, true
	}
	return g.bear()
}

// giveUp goes back to the program before the one on trial.
func (g *guardian) giveUp() {
	g.image.close()
	g.image, g.previous, g.late = *g.previous, nil, nil
	g.logf("the new program is given up, the one before it goes on: %s", g.estate.Refused)
}

// unborn decides what follows when a kernel could not even be forked.
func (g *guardian) unborn(err error) (pause time.Duration, follows bool) {
	if g.previous != nil {
		g.estate.Refused = err.Error()
		g.giveUp()
		return 0, true
	}
	g.logf("%v", err)
	return g.count()
}

// bear decides about a death that nobody asked for.
func (g *guardian) bear() (pause time.Duration, follows bool) {
	byItself := !g.status.Signaled()
	if g.conf.Restarts == 0 || byItself && (!g.ready || g.status.ExitStatus() == 0) {
		return 0, false // it has said itself why
	}
	g.logf("kernel %d ended (%s)", g.lastKernel, ending(g.status))
	return g.count()
}

// count charges one death.
func (g *guardian) count() (pause time.Duration, follows bool) {
	now := time.Now()
	g.deaths = slices.DeleteFunc(append(g.deaths, now), func(t time.Time) bool { return now.Sub(t) > deathsPer })
	if len(g.deaths) > g.conf.Restarts {
		g.logf("the kernel ended %d times within %s: all is ended", len(g.deaths), deathsPer)
		return 0, false
	}
	g.logf("another kernel is started; %d components run on", len(g.children))
	return time.Duration(len(g.deaths)-1) * restartPause, true
}

// ending is how a process ended, for a person.
func ending(s unix.WaitStatus) string {
	if s.Signaled() {
		return "signal " + unix.SignalName(s.Signal())
	}
	return "exit code " + strconv.Itoa(s.ExitStatus())
}

// overdue is called when a step of a hand-over was not done in time.
func (g *guardian) overdue() {
	g.late = nil
	if g.next == nil {
		g.estate.Refused = fmt.Sprintf("it was not ready after %s", g.trial)
	}
	g.signalKernel(unix.SIGKILL)
}

// beReady is the kernel's word that it has come up.
func (g *guardian) beReady() {
	g.ready = true
	if g.previous != nil {
		g.previous.close()
		g.previous = nil
	}
	if g.next == nil {
		g.late = nil
	}
	g.estate.Refused = ""
}

// handOver takes the program of the next kernel; the present one ends by itself then.
func (g *guardian) handOver(fd int, trial time.Duration) error {
	if g.next != nil || g.previous != nil || g.stopping {
		return syscall.EBUSY
	}
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, programFDLeast)
	if err != nil {
		return err
	}
	if trial <= 0 {
		trial = trialMost
	}
	g.next, g.trial = &image{kept}, trial
	g.late = time.After(handOverGrace)
	return nil
}

// keep takes what a kernel's successor shall know: of a process, or, with a file, of the kernel itself.
func (g *guardian) keep(r request, fds []int) error {
	if r.PID != 0 {
		c := g.children[r.PID]
		if c == nil {
			return syscall.ESRCH
		}
		c.record = r.Data
		return nil
	}
	if len(fds) != 1 {
		return syscall.EINVAL
	}
	kept, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, programFDLeast)
	if err != nil {
		return err
	}
	if g.note >= 0 {
		unix.Close(g.note)
	}
	g.note = kept
	return nil
}

// inherit lists what the kernel may adopt.
func (g *guardian) inherit() (*Estate, []int) {
	e := g.estate
	for pid, c := range g.children {
		if !c.known {
			e.Pids = append(e.Pids, pid)
		}
	}
	for pid := range g.gone {
		e.Pids = append(e.Pids, pid)
	}
	slices.Sort(e.Pids)
	if g.note < 0 {
		return &e, nil
	}
	return &e, []int{g.note}
}

// adopt hands one process to the kernel. One that ended meanwhile comes with its exit and is forgotten.
func (g *guardian) adopt(pid int) (c *child, fds []int, err error) {
	if c = g.gone[pid]; c == nil {
		c = g.children[pid]
	}
	if c == nil {
		return nil, nil, syscall.ESRCH
	}
	c.known = true
	return c, []int{c.stdout, c.stderr, c.executable}, nil
}

// tell says to the kernel that a process has ended, or keeps it for the next one.
func (g *guardian) tell(c *child, e Exit) {
	if c.known && g.kernel != 0 && !brood.Ending(g.kernel) {
		g.link.out.put(reply{Exit: &e})
		c.close()
		return
	}
	if g.ending {
		c.close()
		return
	}
	c.exit = &e
	unix.Close(c.lifeline)
	c.lifeline = -1
	g.gone[e.PID] = c
}

// spill throws away what processes have printed that no kernel reads, before it holds them up. It says whether there are any.
func (g *guardian) spill() bool {
	unread := false
	for _, c := range g.children {
		if c.known {
			continue
		}
		unread = true
		for _, fd := range []int{c.stdout, c.stderr} {
			c.lost += spillPipe(fd)
		}
	}
	return unread
}

// spillPipe empties a pipe by half when it is three quarters full. The pipe is read by nobody else then.
func spillPipe(fd int) (lost int64) {
	size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return 0
	}
	waiting, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil || waiting < size/4*3 {
		return 0
	}
	b := make([]byte, 64<<10)
	for lost < int64(size/2) {
		n, err := unix.Read(fd, b) // never waits: that much is there
		if n <= 0 || err != nil {
			break
		}
		lost += int64(n)
	}
	return lost
}

// forgetGone lets go of processes that ended and that nobody has adopted.
func (g *guardian) forgetGone() {
	for pid, c := range g.gone {
		c.close()
		delete(g.gone, pid)
	}
}

// takeKernel takes the kernel if it has ended.
func (g *guardian) takeKernel(pid int) {
	if status, _, ok := brood.Take(pid); ok {
		g.lastKernel, g.kernel, g.status = pid, 0, status
	}
}
