package component

import (
	"fmt"
	"slices"
)

// State is where a unit stands in its life cycle. Disabled is not a state: it is a gate, decided by the plan.
type State uint8

const (
	// Installed: the package is in the catalog; nothing has been asked of it.
	Installed State = iota + 1
	// Resolved: the plan says that it can run.
	Resolved
	// Waiting: a provider, a gate or a listener is missing; a deadline runs.
	Waiting
	// Starting: a process is being launched and brought through Configure, Prepare and Acquire.
	Starting
	// Active: it serves.
	Active
	// Draining: it refuses new work and ends what is under way.
	Draining
	// Stopping: it lets go of exclusive resources and ends.
	Stopping
	// Backoff: its process ended too early; the next attempt has a time.
	Backoff
	// Failed: the restart budget is spent, or it cannot be resolved for good. Left only by an operator, a new digest or a
	// new configuration.
	Failed
	// Uninstalled: its package is gone. Terminal.
	Uninstalled
)

var stateNames = map[State]string{
	Installed: "INSTALLED", Resolved: "RESOLVED", Waiting: "WAITING", Starting: "STARTING", Active: "ACTIVE",
	Draining: "DRAINING", Stopping: "STOPPING", Backoff: "BACKOFF", Failed: "FAILED", Uninstalled: "UNINSTALLED",
}

// transitions is the whole machine (SEAMS.md section 3). Nothing else decides which move is right.
var transitions = map[State][]State{
	Installed:   {Resolved, Failed, Uninstalled},
	Resolved:    {Waiting, Starting, Installed, Uninstalled},
	Waiting:     {Starting, Resolved, Uninstalled},
	Starting:    {Active, Stopping, Backoff},
	Active:      {Draining, Backoff},
	Draining:    {Stopping, Backoff},
	Stopping:    {Resolved, Waiting},
	Backoff:     {Starting, Waiting, Resolved, Failed},
	Failed:      {Resolved, Uninstalled},
	Uninstalled: {},
}

// States lists every state in the order of a life.
func States() []State {
	return []State{Installed, Resolved, Waiting, Starting, Active, Draining, Stopping, Backoff, Failed, Uninstalled}
}

// Next lists the states that s may move to. The slice is the caller's.
func (s State) Next() []State { return slices.Clone(transitions[s]) }

// May tells whether the table has the move from s to next.
func (s State) May(next State) bool { return slices.Contains(transitions[s], next) }

// Live tells whether a unit in state s owns a process, or is about to.
func (s State) Live() bool { return s == Starting || s == Active || s == Draining || s == Stopping }

func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return fmt.Sprintf("STATE(%d)", uint8(s))
}

// MarshalText writes the name as the CLI and the admin API print it.
func (s State) MarshalText() ([]byte, error) {
	n, ok := stateNames[s]
	if !ok {
		return nil, fmt.Errorf("no state has the number %d", uint8(s))
	}
	return []byte(n), nil
}

// UnmarshalText reads a name as MarshalText writes it.
func (s *State) UnmarshalText(text []byte) error {
	for k, n := range stateNames {
		if n == string(text) {
			*s = k
			return nil
		}
	}
	return fmt.Errorf("no state is called %q", text)
}
