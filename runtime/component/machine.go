package component

import (
	"fmt"
	"sync"
	"time"

	"carbonado.dev/sdk/cause"
)

// ErrTransition is the kind of a move that the table does not have. It is a defect of the caller, reported and never fatal.
var ErrTransition = cause.Define("CBN-SUP-090", "A unit was asked to make a move that its life cycle does not have.",
	"This is a defect of the kernel: report it with `carbonado component history NAME`.")

// Transition is one move of one unit, as history keeps it.
type Transition struct {
	// Seq counts the moves of one kernel run, over all units, from 1.
	Seq  uint64    `json:"seq" yaml:"seq"`
	Time time.Time `json:"time" yaml:"time"`
	From State     `json:"from" yaml:"from"`
	To   State     `json:"to" yaml:"to"`
	// Reason is one sentence for a person.
	Reason string `json:"reason" yaml:"reason"`
	// Actor is who caused it: "kernel", "operator", "profile", "component".
	Actor string `json:"actor" yaml:"actor"`
	// Generation is the process generation that the move belongs to; 0 is none.
	Generation uint64 `json:"generation,omitempty" yaml:"generation,omitempty"`
	// Cause is the cause of a move for the worse; nil otherwise.
	Cause *Cause `json:"cause,omitempty" yaml:"cause,omitempty"`
	// Beside: the move of a generation that does not serve: a successor that is not ready, or one that was replaced and ends. The
	// unit's own state is that of the serving one.
	Beside bool `json:"beside,omitempty" yaml:"beside,omitempty"`
}

// Move is what the mover says about a transition; the machine adds the rest.
type Move struct {
	To         State
	Reason     string
	Actor      string
	Generation uint64
	Cause      *Cause
}

// Machine holds the state of one unit. Nothing else may hold it. It is safe for concurrent use.
type Machine struct {
	name string
	now  func() time.Time
	next func() uint64
	// record is called for every move made, in order, under mu; it must not call the machine.
	record func(name string, t Transition)

	beside bool // a generation beside the serving one

	mu    sync.Mutex // guards state, since
	state State
	since time.Time
}

// NewMachine makes a machine in state Installed. The clock now and the counter next are shared by all units of a kernel;
// record is told every move made, in order, and must not call the machine. record may be nil.
func NewMachine(name string, now func() time.Time, next func() uint64, record func(name string, t Transition)) *Machine {
	return &Machine{name: name, now: now, next: next, record: record, state: Installed, since: now()}
}

// Successor makes the machine of a process that is to replace the one that m is about. It begins at Resolved; its moves are marked as
// beside. TakeOver makes it the unit's.
func (m *Machine) Successor() *Machine {
	return &Machine{name: m.name, now: m.now, next: m.next, record: m.record, state: Resolved, since: m.now(), beside: true}
}

// TakeOver exchanges the states of the unit's machine and its successor's: from now on m is about the new process and next about the
// old one. Both must belong to one caller, who moves neither meanwhile.
func (m *Machine) TakeOver(next *Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next.mu.Lock()
	defer next.mu.Unlock()
	m.state, next.state = next.state, m.state
	m.since, next.since = next.since, m.since
}

// State is the present state and since when.
func (m *Machine) State() (State, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.since
}

// Move makes one move. A move that the table does not have changes nothing and gives an ErrTransition.
func (m *Machine) Move(mv Move) (Transition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.state.May(mv.To) {
		return Transition{}, ErrTransition.New("%s cannot go from %s to %s (%s, by %s)", m.name, m.state, mv.To, mv.Reason, mv.Actor)
	}
	t := Transition{
		Seq: m.next(), Time: m.now(), From: m.state, To: mv.To,
		Reason: mv.Reason, Actor: mv.Actor, Generation: mv.Generation, Cause: mv.Cause, Beside: m.beside,
	}
	m.state, m.since = t.To, t.Time
	if m.record != nil {
		m.record(m.name, t)
	}
	return t, nil
}

// AsOf gives the state that the moves of one unit, in order, had led to at time t: that of its serving process. Before the first move
// it is Installed.
func AsOf(moves []Transition, t time.Time) State {
	s := Installed
	for _, m := range moves {
		if m.Time.After(t) {
			break
		}
		if !m.Beside {
			s = m.To
		}
	}
	return s
}

// Check replays the moves of one unit and reports the first that does not follow from the one before.
func Check(moves []Transition) error {
	var c Checker
	for _, m := range moves {
		if err := c.Follow(m); err != nil {
			return err
		}
	}
	return nil
}

// Checker follows the moves of one unit. Generations beside the serving one are followed too: a successor begins at Resolved, and is the
// serving one from its move to Active on. The zero value has seen no move.
type Checker struct {
	state   State
	serving uint64
	beside  map[uint64]State
	count   int
}

// Follow reports a move that does not follow from those before.
func (c *Checker) Follow(m Transition) error {
	if c.count++; c.count == 1 {
		c.state = Installed
	}
	was, known := c.beside[m.Generation]
	switch {
	case m.Beside:
		if !known {
			was = Resolved
		}
		if m.From != was || !was.May(m.To) {
			return fmt.Errorf("move %d of generation %d, beside, goes from %s to %s, but it was %s", c.count-1, m.Generation, m.From, m.To, was)
		}
		c.put(m.Generation, m.To)
		return nil
	case known && m.To == Active && was == m.From:
		delete(c.beside, m.Generation)
		c.put(c.serving, c.state)
		c.state = was
	}
	if m.From != c.state || !c.state.May(m.To) {
		return fmt.Errorf("move %d goes from %s to %s, but the unit was %s", c.count-1, m.From, m.To, c.state)
	}
	c.state, c.serving = m.To, m.Generation
	return nil
}

func (c *Checker) put(generation uint64, s State) {
	if c.beside == nil {
		c.beside = map[uint64]State{}
	}
	c.beside[generation] = s
}
