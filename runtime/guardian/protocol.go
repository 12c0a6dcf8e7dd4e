package guardian

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/launch"

	"golang.org/x/sys/unix"
)

// The socketpair is of type SOCK_SEQPACKET: one packet is one message, and its descriptors arrive with it.

// maxPacket bounds a message. The largest is a Start with its environment.
const maxPacket = 64 << 10

// maxFDs is the most descriptors that one message carries.
const maxFDs = 4

type op string

const (
	opListen   op = "listen"
	opUnlisten op = "unlisten"
	opShare    op = "share"
	opStart    op = "start"
	opSignal   op = "signal"
	opKill     op = "kill"
	// What follows makes a kernel replaceable; see succession.go.
	opReady    op = "ready"
	opStopping op = "stopping"
	opKeep     op = "keep"
	opInherit  op = "inherit"
	opAdopt    op = "adopt"
	opHandOver op = "handover"
)

// request goes from the kernel to the guardian. Start carries the executable's descriptor, HandOver the next kernel's, Keep of the
// kernel's own note a file that holds it. A kernel may be newer or older than the guardian: fields and operations are only added.
type request struct {
	ID      uint64         `json:"id"`
	Op      op             `json:"op"`
	Key     string         `json:"key,omitempty"`
	Address string         `json:"address,omitempty"`
	Order   *Order         `json:"order,omitempty"`
	PID     int            `json:"pid,omitempty"`
	Signal  syscall.Signal `json:"signal,omitempty"`
	// Data is what Keep keeps of the process PID.
	Data []byte `json:"data,omitempty"`
	// Deadline is how long HandOver's program may take to be ready.
	Deadline time.Duration `json:"deadline,omitempty"`
}

// reply goes from the guardian to the kernel: the answer to request ID, or, with ID 0, an exit.
type reply struct {
	ID      uint64        `json:"id"`
	Error   string        `json:"error,omitempty"`
	Errno   syscall.Errno `json:"errno,omitempty"`
	Address string        `json:"address,omitempty"`
	PID     int           `json:"pid,omitempty"`
	Exit    *Exit         `json:"exit,omitempty"`
	// Of a start: whether the process has a control group of its own, and what bounds it there.
	Grouped     bool     `json:"grouped,omitempty"`
	Controllers []string `json:"controllers,omitempty"`
	Estate      *Estate  `json:"estate,omitempty"`
	Heir        *heir    `json:"heir,omitempty"`
}

// Estate is what a kernel finds that is not the guardian's first.
type Estate struct {
	// Kernels counts the kernels that this guardian has started, this one included; the first finds 1 and nothing else.
	Kernels int `json:"kernels"`
	// Previous is the pid of the kernel before, Ended says how that ended, for a person, and EndedAt when the guardian saw it.
	Previous int       `json:"previous,omitempty"`
	Ended    string    `json:"ended,omitempty"`
	EndedAt  time.Time `json:"endedAt,omitzero"`
	// HandedOver: the kernel before asked for this one.
	HandedOver bool `json:"handedOver,omitempty"`
	// Refused says why the program that a kernel had handed over to was given up, where this kernel is of the program before it.
	Refused string `json:"refused,omitempty"`
	// Pids are the processes to adopt, those included that ended while no kernel ran.
	Pids []int `json:"pids,omitempty"`
}

// heir is what Adopt answers about a process beside its descriptors: stdout, stderr and the executable.
type heir struct {
	Name    string    `json:"name"`
	Record  []byte    `json:"record,omitempty"`
	Started time.Time `json:"started"`
	Lost    int64     `json:"lost,omitempty"`
}

// Order is what a process is made of.
type Order struct {
	// Name is the program's argv[0].
	Name string `json:"name"`
	// Env is the whole environment.
	Env []string `json:"env,omitempty"`
	// Dir is the working folder.
	Dir string `json:"dir"`
	// Listeners are keys given to Listen; the i-th becomes descriptor layout.FDFirstListener+i.
	Listeners []string `json:"listeners,omitempty"`
	// Limits of the process.
	Limits launch.Limits `json:"limits"`
	// Cage is what the process can get at.
	Cage launch.Cage `json:"cage,omitzero"`
}

// Exit says how a process ended.
type Exit struct {
	PID int `json:"pid"`
	// Code is the exit status, or -1 after a signal.
	Code int `json:"code"`
	// Signal that ended it, or 0.
	Signal syscall.Signal `json:"signal,omitempty"`
	// Ours: the guardian had been asked to send that signal.
	Ours bool `json:"ours,omitempty"`
	// OutOfMemory: the system chose it when memory ran out.
	OutOfMemory bool      `json:"outOfMemory,omitempty"`
	Started     time.Time `json:"started"`
	At          time.Time `json:"at"`
	// MaxRSS in bytes, CPU in user and system together, the process's children included once they were waited for.
	MaxRSS int64         `json:"maxRSS"`
	CPU    time.Duration `json:"cpu"`
}

// errBroken is what a message that can't be read ends in.
var errBroken = errors.New("guardian: broken message")

// socketpair makes both ends, close-on-exec.
func socketpair() (ours, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	return fds[0], fds[1], nil
}

// wire is one end of the socketpair. send and receive may be called concurrently with each other, neither with itself.
type wire struct{ conn *net.UnixConn }

// newWire takes ownership of fd.
func newWire(fd int) (wire, error) {
	f := os.NewFile(uintptr(fd), "guardian")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return wire{}, fmt.Errorf("guardian's socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return wire{}, fmt.Errorf("guardian's socket is a %s socket", c.LocalAddr().Network())
	}
	return wire{u}, nil
}

// send writes one message. The descriptors stay the caller's.
func (w wire) send(message any, fds ...int) error {
	b, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(b) > maxPacket {
		return fmt.Errorf("%w: %d bytes", syscall.EMSGSIZE, len(b))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = w.conn.WriteMsgUnix(b, rights, nil)
	return err
}

// receive reads one message. The descriptors, which are close-on-exec, become the caller's. The other end's absence is an error.
func (w wire) receive(message any) (fds []int, err error) {
	b := make([]byte, maxPacket)
	rights := make([]byte, unix.CmsgSpace(4*maxFDs))
	n, rn, flags, _, err := w.conn.ReadMsgUnix(b, rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, net.ErrClosed
	}
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	controls, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	for i := range controls {
		got, err := unix.ParseUnixRights(&controls[i])
		if err != nil {
			return fds, fmt.Errorf("%w: %w", errBroken, err)
		}
		fds = append(fds, got...)
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return fds, fmt.Errorf("%w: cut off", errBroken)
	}
	if err := json.Unmarshal(b[:n], message); err != nil {
		return fds, fmt.Errorf("%w: %w", errBroken, err)
	}
	return fds, nil
}

func (w wire) close() error { return w.conn.Close() }

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
