package supervisor

import (
	"errors"
	"time"

	"carbonado.dev/carbonado/runtime/component"
)

// Exit says how an instance ended. It is complete once Instance.Done is closed.
type Exit struct {
	// Result is the reason: the one that Stop or Kill was given where the kernel ended the process, else what the system says.
	Result component.Result
	// Forced: SIGKILL was needed.
	Forced bool
	// At is when the guardian saw the end; Ran is how long the process lived.
	At  time.Time
	Ran time.Duration
	// MaxRSS in bytes and CPU time of the process and the children that it waited for.
	MaxRSS int64
	CPU    time.Duration
	// Tail is the end of the process's output, at most TailLines lines, for a diagnosis.
	Tail []string
	// Complaint is the last line of its standard error; empty if there was none.
	Complaint string
	// Protocol is the version of the control protocol in its handshake; 0 if that did not come.
	Protocol int
}

// startError is what Start fails with when a process existed.
type startError struct {
	error
	exit Exit
}

func (e *startError) Unwrap() error { return e.error }

// ExitOf returns how the process of a failed Start ended. ok is false where no process was made.
func ExitOf(err error) (exit Exit, ok bool) {
	var e *startError
	if errors.As(err, &e) {
		return e.exit, true
	}
	return Exit{}, false
}
