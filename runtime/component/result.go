package component

import (
	"fmt"
	"strings"
)

// ResultKind names why a process ended.
type ResultKind uint8

const (
	// ResultNone: no process has ended yet.
	ResultNone ResultKind = iota
	// ResultOK: it was asked to stop and exited with 0.
	ResultOK
	// ResultExit: it exited by itself; Code has the status.
	ResultExit
	// ResultSignal: a signal that the kernel did not send ended it; Signal has its name.
	ResultSignal
	// ResultWatchdog: it did not answer in time and was killed.
	ResultWatchdog
	// ResultStartTimeout: it was not ACTIVE by its deadline and was killed.
	ResultStartTimeout
	// ResultOutOfMemory: the system's memory limit ended it.
	ResultOutOfMemory
	// ResultOperator: a person asked for it.
	ResultOperator
	// ResultReplaced: a newer generation serves in its place.
	ResultReplaced
)

var resultNames = map[ResultKind]string{
	ResultNone: "none", ResultOK: "ok", ResultExit: "exit-code", ResultSignal: "signal", ResultWatchdog: "watchdog",
	ResultStartTimeout: "start-timeout", ResultOutOfMemory: "out of memory", ResultOperator: "operator",
	ResultReplaced: "replaced",
}

func (k ResultKind) String() string {
	if n, ok := resultNames[k]; ok {
		return n
	}
	return fmt.Sprintf("result(%d)", uint8(k))
}

// MarshalText writes the kind's name.
func (k ResultKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *ResultKind) UnmarshalText(text []byte) error {
	for v, n := range resultNames {
		if n == strings.ReplaceAll(string(text), "out-of-memory", "out of memory") { // as the first release wrote it
			*k = v
			return nil
		}
	}
	return fmt.Errorf("no result is called %q", text)
}

// Result says why the last run of a unit ended. The zero value means that none has.
type Result struct {
	Kind ResultKind `json:"kind"`
	// Code is the exit status where Kind is ResultExit.
	Code int `json:"code,omitempty"`
	// Signal is the signal's name where Kind is ResultSignal, for example "SIGKILL".
	Signal string `json:"signal,omitempty"`
}

// Crash tells whether the end counts against the restart budget.
func (r Result) Crash() bool {
	switch r.Kind {
	case ResultExit, ResultSignal, ResultWatchdog, ResultStartTimeout, ResultOutOfMemory:
		return true
	}
	return false
}

func (r Result) String() string {
	switch r.Kind {
	case ResultExit:
		return fmt.Sprintf("exit code %d", r.Code)
	case ResultSignal:
		return "signal " + r.Signal
	}
	return r.Kind.String()
}
