// Package watch is the process above the guardian, so that nothing outlives the guardian either: what loses its parent when the
// guardian is killed becomes the watch's child and is ended. It must not know what the guardian does, and imports little: a program
// that imports it becomes the watch when its argv[0] is Name, before most other packages are initialised, and so costs a megabyte.
//
// Without it a guardian's death would end the kernel and the components (the system's parent-death signals see to that), but
// not the processes that a component has started.
package watch

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/guardian/brood"
	"carbonado.dev/sdk/idle"

	"golang.org/x/sys/unix"
)

// Name is the argv[0] that turns a program which imports this package into the watch.
const Name = "carbonado-watch"

// Env tells the guardian the descriptor that ends when its watch does.
const Env = "CARBONADO_WATCH"

// lineFD is that descriptor.
const lineFD = 3

// program is what the guardian is executed from: this process's own file.
const program = "/proc/self/exe"

const (
	// returnMemoryAfter is when the guardian has started.
	returnMemoryAfter = 20 * time.Second
	// endMost is how long the end of what a guardian left may take.
	endMost = 4 * time.Second
	// killEvery is how often those who appear in the course of it are looked for.
	killEvery = 20 * time.Millisecond
)

// exitSoftware is EX_SOFTWARE of sysexits.h.
const exitSoftware = 70

// Execute makes this process the watch, which starts the same program with the same arguments again, beneath it. It returns only
// an error.
func Execute() error {
	return unix.Exec(program, append([]string{Name}, os.Args...), os.Environ())
}

// Line returns the read end of a pipe that ends when the watch does, and takes it out of the environment. It is nil in a process
// without a watch.
func Line() *os.File {
	text := os.Getenv(Env)
	os.Unsetenv(Env)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil
	}
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "watch")
}

func init() {
	if len(os.Args) > 1 && os.Args[0] == Name {
		os.Exit(watch(os.Args[1:]))
	}
}

// watch starts the guardian, waits for it, ends what it left, and returns its exit code.
func watch(args []string) int {
	fail := func(what string, err error) int {
		os.Stderr.WriteString(Name + ": " + what + ": " + err.Error() + "\n")
		return exitSoftware
	}
	_ = os.WriteFile("/proc/self/comm", []byte(Name), 0) // for the eyes alone
	if err := brood.Adopt(); err != nil {
		return fail("become a subreaper", err)
	}
	// Caught, not ignored: what is ignored stays ignored in the programs started. The terminal's signals are the kernel's.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGPIPE)
	if !signal.Ignored(unix.SIGHUP) {
		signal.Notify(signals, unix.SIGHUP)
	}
	var line [2]int
	if err := unix.Pipe2(line[:], unix.O_CLOEXEC); err != nil {
		return fail("pipe", err)
	}
	// syscall, not os, which would keep an eye on the child: it is brood's to take.
	guardian, err := syscall.ForkExec(program, args, &syscall.ProcAttr{
		Env:   append(os.Environ(), Env+"="+strconv.Itoa(lineFD)),
		Files: []uintptr{0, 1, 2, uintptr(line[0])},
	})
	if err != nil {
		return fail("start the guardian", err)
	}
	unix.Close(line[0])
	time.AfterFunc(returnMemoryAfter, idle.Return)
	for s := range signals {
		switch s {
		case unix.SIGTERM, unix.SIGHUP:
			unix.Kill(guardian, unix.SIGTERM)
		case unix.SIGCHLD:
			if status, _, ok := brood.Take(guardian); ok {
				end()
				return brood.Code(status)
			}
			for _, pid := range brood.Children() { // strays come here only when the guardian is gone
				if pid != guardian {
					brood.Take(pid)
				}
			}
		}
	}
	return exitSoftware
}

// end kills all that has become ours, until nothing is left.
func end() {
	deadline := time.Now().Add(endMost)
	for time.Now().Before(deadline) {
		left := brood.Children()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			if _, _, ok := brood.Take(pid); !ok {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(killEvery)
	}
}
