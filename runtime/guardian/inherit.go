package guardian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ready says that this kernel has come up. From now on its death is answered by a new kernel, and a program that was handed over
// to it is no longer on trial.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: opReady})
	return err
}

// Stopping says that this kernel ends for good: its death from now on is the end of all.
func (c *Client) Stopping(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: opStopping})
	return err
}

// HandOver asks for a kernel of another program after this one, which must end soon. The new kernel must be Ready within the time
// given, or the program of this one comes back and finds the reason in its Estate. The file stays the caller's.
func (c *Client) HandOver(ctx context.Context, program *os.File, trial time.Duration) error {
	raw, err := program.SyscallConn()
	if err != nil {
		return err
	}
	if control := raw.Control(func(fd uintptr) {
		_, err = c.ask(ctx, request{Op: opHandOver, Deadline: trial}, int(fd))
	}); control != nil {
		return control
	}
	return err
}

// KeepNote gives the guardian what a kernel's successor shall know, in place of what it had. The guardian doesn't read it.
func (c *Client) KeepNote(ctx context.Context, note []byte) error {
	fd, err := unix.MemfdCreate("carbonado-note", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("keep a note: %w", err)
	}
	f := os.NewFile(uintptr(fd), "note")
	defer f.Close()
	if _, err := f.Write(note); err != nil {
		return fmt.Errorf("keep a note: %w", err)
	}
	_, err = c.ask(ctx, request{Op: opKeep}, fd)
	return err
}

// Inherit says what the kernels before this one have left: the Estate, and the last note. Both are empty in the first kernel.
func (c *Client) Inherit(ctx context.Context) (Estate, []byte, error) {
	a, err := c.ask(ctx, request{Op: opInherit})
	if err != nil {
		return Estate{}, nil, err
	}
	if a.Estate == nil {
		a.drop()
		return Estate{}, nil, errBroken
	}
	if len(a.fds) == 0 {
		return *a.Estate, nil, nil
	}
	f := os.NewFile(uintptr(a.fds[0]), "note")
	closeAll(a.fds[1:])
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return *a.Estate, nil, fmt.Errorf("read the note: %w", err)
	}
	note, err := io.ReadAll(io.NewSectionReader(f, 0, info.Size())) // its offset is shared with those who read it before
	if err != nil {
		return *a.Estate, nil, fmt.Errorf("read the note: %w", err)
	}
	return *a.Estate, note, nil
}

// Adopt takes over a process of an earlier kernel, its pipes and its exit. One that has ended meanwhile is Done at once.
// errors.Is(err, syscall.ESRCH) tells that there is none of that pid.
func (c *Client) Adopt(ctx context.Context, pid int) (*Process, error) {
	a, err := c.ask(ctx, request{Op: opAdopt, PID: pid})
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", pid, err)
	}
	if a.process == nil {
		a.drop()
		return nil, errBroken
	}
	return a.process, nil
}

// Keep gives the guardian what a kernel's successor shall know of the process, in place of what it had: at most KeepMost bytes.
func (p *Process) Keep(ctx context.Context, record []byte) error {
	if len(record) > KeepMost {
		return errors.New("guardian: a record is too long")
	}
	_, err := p.client.ask(ctx, request{Op: opKeep, PID: p.PID, Data: record})
	return err
}

// KeepMost bounds the record of a process.
const KeepMost = 16 << 10
