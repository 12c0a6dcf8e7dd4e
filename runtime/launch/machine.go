package launch

import (
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what this system lets the launcher enforce. A field that names a reason is empty where the mechanism works.
type Machine struct {
	// Root: the server runs as root, and may give users of their own.
	Root bool
	// NoUser says why root can't give users of its own: it lacks the powers in a container.
	NoUser string
	// Landlock is the version of its interface; 0 is none, for the reason NoLandlock.
	Landlock   int
	NoLandlock string
	// NoSeccomp, NoNamespace: why there is no filter of system calls, no network namespace.
	NoSeccomp   string
	NoNamespace string
}

// Look finds out, in well below a millisecond.
func Look() Machine {
	m := Machine{Root: os.Geteuid() == 0}
	if m.Root {
		m.NoUser = lacking(powers)
	}
	var err error
	if m.Landlock, err = landlockVersion(); err != nil {
		m.NoLandlock = err.Error()
	}
	if _, ok := seccompArch(); !ok {
		m.NoSeccomp = "no filter is known for " + runtime.GOARCH
	} else if b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail"); err != nil || !strings.Contains(string(b), "errno") {
		m.NoSeccomp = "the kernel was built without seccomp filters"
	}
	m.NoNamespace = lacking(admin) // to make one and see takes long
	return m
}

// powers are the capabilities that giving users takes.
var powers = map[string]uint{
	"CAP_CHOWN": unix.CAP_CHOWN, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FOWNER": unix.CAP_FOWNER, "CAP_KILL": unix.CAP_KILL,
	"CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID,
}

// admin is what a network namespace takes.
var admin = map[string]uint{"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN}

// lacking names the capabilities that this process would need and has not.
func lacking(powers map[string]uint) string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return "capabilities: " + err.Error()
	}
	var missing []string
	for name, bit := range powers {
		if have[0].Effective&(1<<bit) == 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return "the server lacks " + strings.Join(missing, ", ")
}

// Scopes tells whether this Landlock keeps signals and abstract sockets within a process's own domain; TCP whether it knows TCP.
func (m Machine) Scopes() bool { return m.Landlock >= landlockScopes }
func (m Machine) TCP() bool    { return m.Landlock >= landlockTCP }

// EmptyNetwork makes a network namespace that has no network, not even a loopback that is up. It lives as long as the file or a process
// in it. One serves all: those in it can't open sockets either.
func EmptyNetwork() (*os.File, error) {
	type made struct {
		f   *os.File
		err error
	}
	got := make(chan made)
	go func() {
		runtime.LockOSThread() // for ever: this thread ends with the goroutine, and nobody else gets into the namespace by mistake
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			got <- made{nil, os.NewSyscallError("unshare", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		got <- made{f, err}
	}()
	m := <-got
	return m.f, m.err
}
