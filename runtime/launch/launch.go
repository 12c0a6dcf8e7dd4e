// Package launch is the step between fork and a component's program: limits, privileges, descriptors, exec.
// It must not know what it starts, and imports little: a program that imports it becomes the launcher when its argv[0] is Name,
// before most other packages are initialised, so the step costs about a millisecond.
package launch

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"carbonado.dev/sdk/handshake/layout"

	"golang.org/x/sys/unix"
)

// Name is the argv[0] that turns a program which imports this package into the launcher.
const Name = "carbonado-launch"

// Exit codes of the launcher itself, as a shell has them. Its standard error says more.
const (
	// ExitCannotExecute: the program was found and could not be executed, or a limit could not be set.
	ExitCannotExecute = 126
	// ExitOrphan: the guardian was gone before the launcher ran.
	ExitOrphan = layout.ExitLifeline
)

// Args is the argument list that makes the launcher execute descriptor layout.FDExecutable under the name given. The process's
// environment, working folder and descriptors are what the program gets; descriptors after the last listener are closed. parent
// is the guardian's pid. With Cage.NoNetwork the descriptor after the last listener is a network namespace.
func Args(name string, parent, listeners int, l Limits, c Cage) []string {
	setting := []string{
		"parent=" + strconv.Itoa(parent),
		"listeners=" + strconv.Itoa(listeners),
		"files=" + strconv.FormatUint(l.Files, 10),
		"data=" + strconv.FormatUint(l.Data, 10),
		"nice=" + strconv.Itoa(l.Nice),
		"oom=" + strconv.Itoa(l.OOMScore),
	}
	if c.UID != 0 && l.Processes > 0 {
		setting = append(setting, "processes="+strconv.FormatUint(l.Processes, 10))
	}
	return []string{Name, strings.Join(setting, ","), c.text(), name}
}

func init() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	code, err := launch(os.Args[1:])
	os.Stderr.WriteString(Name + ": " + err.Error() + "\n")
	os.Exit(code)
}

// launch returns only if it could not execute. It runs on the process's first thread: the parent-death signal and the niceness
// belong to the thread that executes.
func launch(args []string) (int, error) {
	runtime.LockOSThread()
	if len(args) < 3 {
		return ExitCannotExecute, errors.New("is started by carbonado, not by hand")
	}
	l, parent, listeners, err := parse(args[0])
	if err != nil {
		return ExitCannotExecute, err
	}
	c, err := parseCage(args[1])
	if err != nil {
		return ExitCannotExecute, err
	}
	// The guardian's fork has asked for this signal already. Asking again and looking at the parent afterwards leaves no moment in
	// which the guardian's death goes unseen.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return ExitCannotExecute, errors.New("parent-death signal: " + err.Error())
	}
	if os.Getppid() != parent {
		return ExitOrphan, errors.New("the guardian is gone")
	}
	if err := bound(l); err != nil {
		return ExitCannotExecute, err
	}
	if err := enter(c, layout.FDFirstListener+listeners); err != nil {
		return ExitCannotExecute, err
	}
	if os.Getppid() != parent { // between the change of user and the second asking
		return ExitOrphan, errors.New("the guardian is gone")
	}
	err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(layout.FDExecutable), args[2:], os.Environ())
	return ExitCannotExecute, errors.New("execute " + args[2] + ": " + err.Error())
}

// enter puts this thread into the cage, each step while the rights for it last. first is the first descriptor that the program does not
// get; a network namespace is there.
func enter(c Cage, first int) error {
	rules := -1
	var err error
	if c.Landlock {
		if rules, err = landlockRuleset(c); err != nil {
			return err
		}
	}
	if c.NoNetwork {
		if err := unix.Setns(first, unix.CLONE_NEWNET); err != nil {
			return errors.New("network namespace: " + err.Error())
		}
	}
	switch {
	case c.UID != 0:
		err = become(c)
	case c.DropCapabilities:
		err = dropCapabilities()
	}
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return errors.New("no_new_privs: " + err.Error())
	}
	// A change of user has taken it off.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return errors.New("parent-death signal: " + err.Error())
	}
	if err := closeFrom(first); err != nil {
		return errors.New("close stray descriptors: " + err.Error())
	}
	if rules >= 0 {
		if err := landlockRestrict(rules); err != nil {
			return err
		}
	}
	if c.Seccomp {
		return seccompRestrict(c)
	}
	return nil
}

func parse(setting string) (l Limits, parent, listeners int, err error) {
	for _, s := range strings.Split(setting, ",") {
		key, text, _ := strings.Cut(s, "=")
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return l, 0, 0, errors.New("setting " + s + ": " + err.Error())
		}
		switch key {
		case "parent":
			parent = int(n)
		case "listeners":
			listeners = int(n)
		case "files":
			l.Files = n
		case "data":
			l.Data = n
		case "processes":
			l.Processes = n
		case "nice":
			l.Nice = int(n)
		case "oom":
			l.OOMScore = int(n)
		default:
			return l, 0, 0, errors.New("setting " + s + " is not known")
		}
	}
	return l, parent, listeners, nil
}

func bound(l Limits) error {
	// A core file would hold secrets and fill the disk.
	if err := syscall.Setrlimit(unix.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return errors.New("core limit: " + err.Error())
	}
	if l.Files > 0 {
		// syscall's Setrlimit, not unix's: it makes syscall.Exec leave the limit alone instead of restoring the inherited one.
		if err := lower(unix.RLIMIT_NOFILE, l.Files); err != nil {
			return errors.New("files limit: " + err.Error())
		}
	}
	if l.Data > 0 {
		if err := lower(unix.RLIMIT_DATA, l.Data); err != nil {
			return errors.New("data limit: " + err.Error())
		}
	}
	if l.Processes > 0 {
		// Twice, because a successor is made ready beside its predecessor, which is the same user.
		if err := lower(unix.RLIMIT_NPROC, 2*l.Processes); err != nil {
			return errors.New("processes limit: " + err.Error())
		}
	}
	if l.Nice > 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, l.Nice); err != nil {
			return errors.New("niceness: " + err.Error())
		}
	}
	if l.OOMScore > 0 {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(l.OOMScore)), 0); err != nil {
			return errors.New("out-of-memory score: " + err.Error())
		}
	}
	return nil
}

// lower sets a limit to n, or to the highest that this user may have if that is less.
func lower(resource int, n uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil {
		return err
	}
	n = min(n, now.Max)
	return syscall.Setrlimit(resource, &syscall.Rlimit{Cur: n, Max: n})
}

// closeFrom makes every descriptor from first on end with the execution. They are not closed before it: among them are those of the
// Go runtime, whose other threads go on until then.
func closeFrom(first int) error {
	err := unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err != unix.ENOSYS && err != unix.EINVAL {
		return err
	}
	// Before Linux 5.11.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
