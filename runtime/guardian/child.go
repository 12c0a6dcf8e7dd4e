package guardian

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/guardian/brood"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/sdk/handshake/layout"

	"golang.org/x/sys/unix"
)

// child is one component's process.
type child struct {
	pid     int
	name    string
	started time.Time
	cgroup  string
	// Controllers that bound it in its group, for example memory.
	controllers []string
	// Read ends of its pipes: held here too, so that a kernel's end does not break the component's output.
	stdout, stderr int
	// Write end of its lifeline.
	lifeline int
	// The executable's descriptor, for the next kernel to verify.
	executable int
	// The last ending signal that we were asked to send.
	sent syscall.Signal

	// known: the present kernel has started or adopted it.
	known bool
	// record is what a kernel wants its successor to know of it.
	record []byte
	// lost is how many bytes of its output were thrown away since no kernel read them.
	lost int64
	// exit is set when it ended while no kernel knew it.
	exit *Exit
}

// start forks the launcher for one component. exe is the verified executable; it stays the caller's.
func (g *guardian) start(o *Order, exe int) (_ *child, err error) {
	c := &child{name: o.Name, stdout: -1, stderr: -1, lifeline: -1, executable: -1, known: true}
	files := []uintptr{uintptr(g.null)}
	var theirs []int // ours no longer after the fork
	defer func() { closeAll(theirs) }()
	pipe := func(read, write *int) error {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		*read, *write = p[0], p[1]
		return nil
	}
	fail := func(err error) (*child, error) {
		c.close()
		return nil, err
	}

	var out, errs, line int
	if err := pipe(&c.stdout, &out); err != nil {
		return fail(err)
	}
	theirs = append(theirs, out)
	if err := pipe(&c.stderr, &errs); err != nil {
		return fail(err)
	}
	theirs = append(theirs, errs)
	if err := pipe(&line, &c.lifeline); err != nil {
		return fail(err)
	}
	theirs = append(theirs, line)
	kernel := layout.Kernel{PID: g.kernel, UID: os.Geteuid()}
	if _, err := unix.Write(c.lifeline, []byte(kernel.Line())); err != nil {
		return fail(fmt.Errorf("lifeline: %w", err))
	}
	unix.SetNonblock(c.lifeline, true) // a frozen process must not hold the guardian up when the next kernel is named
	if c.executable, err = unix.FcntlInt(uintptr(exe), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return fail(fmt.Errorf("keep the executable: %w", err))
	}
	if uid := o.Cage.UID; uid != 0 { // programs reach them by path too: /dev/stderr, /proc/self/fd/4
		for _, fd := range []int{out, errs, line} {
			if err := unix.Fchown(fd, uid, o.Cage.GID); err != nil {
				return fail(fmt.Errorf("give a pipe to user %d: %w", uid, err))
			}
		}
	}
	files = append(files, uintptr(out), uintptr(errs), uintptr(exe), uintptr(line))
	for _, key := range o.Listeners {
		l, err := g.listener(key)
		if err != nil {
			return fail(err)
		}
		files = append(files, uintptr(l.fd))
	}

	if o.Cage.NoNetwork { // after the last listener, where the launcher looks for it
		namespace, err := g.noNetwork()
		if err != nil {
			return fail(fmt.Errorf("a network namespace (see <NetworkNamespace> in carbon.xml): %w", err))
		}
		files = append(files, namespace.Fd())
	}

	folder, group, err := g.cgroups.add(o.Name, o.Limits)
	if err != nil {
		g.logf("control groups are given up: %v", err)
		g.cgroups.off = true
		folder, group = "", -1
	}
	attr := &syscall.ProcAttr{
		Dir:   o.Dir,
		Env:   o.Env,
		Files: files,
		Sys: &syscall.SysProcAttr{
			Setpgid:     true, // never setsid: the session stays the operator's
			Pdeathsig:   unix.SIGKILL,
			UseCgroupFD: group >= 0,
			CgroupFD:    group,
		},
	}
	if attr.Env == nil {
		attr.Env = []string{} // nil would be our own
	}
	args := launch.Args(o.Name, os.Getpid(), len(o.Listeners), o.Limits, o.Cage)
	c.started = time.Now()
	c.pid, err = syscall.ForkExec(program, args, attr)
	if err != nil && group >= 0 {
		// clone3 is forbidden in some containers: go on without.
		attr.Sys.UseCgroupFD = false
		if c.pid, err = syscall.ForkExec(program, args, attr); err == nil {
			g.logf("control groups are given up: processes can't be started in them")
			g.cgroups.off = true
			g.cgroups.remove(folder)
			folder = ""
		}
	}
	if group >= 0 {
		unix.Close(group)
	}
	if err != nil {
		g.cgroups.remove(folder)
		return fail(fmt.Errorf("fork: %w", err))
	}
	if c.cgroup = folder; folder != "" {
		c.controllers = g.cgroups.controllers
	}
	g.children[c.pid] = c
	return c, nil
}

func (c *child) close() {
	for _, fd := range []*int{&c.stdout, &c.stderr, &c.lifeline, &c.executable} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// signal goes to the whole group of a component. One that is gone is no error.
func (g *guardian) signal(pid int, s syscall.Signal) error {
	c := g.children[pid]
	if c == nil {
		return nil
	}
	if s == unix.SIGTERM || s == unix.SIGKILL {
		c.sent = s
	}
	return unix.Kill(-pid, s)
}

// kill ends a component and all that belongs to it. One that is gone is no error.
func (g *guardian) kill(pid int) {
	c := g.children[pid]
	if c == nil {
		return
	}
	c.sent = unix.SIGKILL
	unix.Kill(-pid, unix.SIGKILL)
	g.cgroups.kill(c.cgroup)
}

// terminateAll asks every component to end. One that is stopped by a signal is woken up for it.
func (g *guardian) terminateAll() {
	for pid := range g.children {
		_ = g.signal(pid, unix.SIGTERM) // it may have ended
		unix.Kill(-pid, unix.SIGCONT)
	}
}

// killAll ends every process that descends from us, as far as it can be seen now; reap goes on with those that appear then.
func (g *guardian) killAll() {
	g.killed = true
	for pid := range g.children {
		g.kill(pid)
	}
	g.reap()
}

// reap looks at every child: an ended component is taken off the list and told to the kernel; a stray, which is a process whose
// parent died, is killed unless it has stayed in a living component's group.
func (g *guardian) reap() {
	if g.kernel != 0 && brood.Ended(g.kernel) {
		g.takeKernel(g.kernel) // first: what ended with it is for the next one to hear
	}
	for pid, c := range g.children {
		if !brood.Ended(pid) {
			continue
		}
		// As long as it is not waited for, its number is taken and the group is surely its own.
		unix.Kill(-pid, unix.SIGKILL)
		g.cgroups.kill(c.cgroup)
		exit, ok := wait(pid)
		if !ok {
			continue
		}
		exit.Started, exit.At = c.started, time.Now()
		exit.Ours = exit.Signal != 0 && exit.Signal == c.sent
		if exit.Signal == unix.SIGKILL && !exit.Ours {
			exit.OutOfMemory = g.oom.chose(pid) || groupRanOut(c.cgroup)
		}
		delete(g.children, pid)
		g.cgroups.remove(c.cgroup)
		g.tell(c, exit)
	}
	for _, pid := range brood.Children() {
		switch {
		case g.children[pid] != nil:
		case pid == g.kernel:
			g.takeKernel(pid)
		default:
			if _, ok := wait(pid); ok {
				continue
			}
			group, err := unix.Getpgid(pid)
			if err == nil && g.children[group] != nil && !g.killed {
				continue
			}
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// wait takes a zombie. ok is false if the process lives.
func wait(pid int) (e Exit, ok bool) {
	status, usage, ok := brood.Take(pid)
	if !ok {
		return Exit{}, false
	}
	e = Exit{
		PID:    pid,
		Code:   status.ExitStatus(),
		MaxRSS: int64(usage.Maxrss) << 10,
		CPU:    time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
	}
	if status.Signaled() {
		e.Signal = status.Signal()
	}
	return e, true
}
