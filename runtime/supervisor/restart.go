package supervisor

import (
	"time"

	"carbonado.dev/carbonado/runtime/component"
)

// Backoff between restarts: 100 ms doubled with each crash in a row, at most 30 s, a fifth of it random so that components which
// fell together don't rise together. A run of a minute counts as healthy and begins anew.
const (
	BackoffFirst  = 100 * time.Millisecond
	BackoffMost   = 30 * time.Second
	BackoffJitter = 0.2
	HealthyAfter  = time.Minute
)

// Restarts is the restart budget of one unit. It is a plain value without a clock of its own: its owner tells it what happened and
// does what it says. The zero value has the budget component.DefaultRestart. Not safe for concurrent use.
//
// The budget decays: each crash takes one, and it comes back at Budget per Per. When a crash finds less than one left, it is
// spent, and stays spent until Reset.
type Restarts struct {
	budget component.Restart
	row    int       // crashes in a row, none of them after a healthy run
	used   float64   // of the budget, at time seen
	seen   time.Time // of the last crash
	spent  bool
}

// NewRestarts makes the budget of a unit. The zero value of r is component.DefaultRestart; with a time, a budget of 0 forgives no crash.
func NewRestarts(r component.Restart) Restarts {
	if r == (component.Restart{}) {
		r = component.DefaultRestart
	}
	return Restarts{budget: r}
}

// Decision is what to do after a crash.
type Decision struct {
	// Spent: the budget is used up; the unit is FAILED until somebody resets it.
	Spent bool
	// After is the pause before the next start.
	After time.Duration
	// Row is the number of crashes in a row, this one included.
	Row int
}

// Crashed takes a crash at a time, after a run of that length, and decides. random is in [0,1) and spreads the pause.
func (r *Restarts) Crashed(at time.Time, ran time.Duration, random float64) Decision {
	if r.budget.Per == 0 {
		*r = NewRestarts(r.budget)
	}
	if ran >= HealthyAfter {
		r.row = 0
	}
	r.row++
	if elapsed := at.Sub(r.seen); !r.seen.IsZero() && elapsed > 0 {
		r.used = max(0, r.used-float64(r.budget.Budget)*float64(elapsed)/float64(r.budget.Per))
	}
	r.seen = at
	r.used++
	if r.used > float64(r.budget.Budget) {
		r.spent = true
	}
	if r.spent {
		return Decision{Spent: true, Row: r.row}
	}
	return Decision{After: pause(r.row, random), Row: r.row}
}

// Spent reports whether the budget is used up.
func (r *Restarts) Spent() bool { return r.spent }

// Reset gives the whole budget back: reset-failed, a new digest, a new configuration.
func (r *Restarts) Reset() { *r = Restarts{budget: r.budget} }

// pause is the backoff before restart number row, counted from 1.
func pause(row int, random float64) time.Duration {
	d := BackoffMost
	if shift := row - 1; shift < 16 {
		d = min(BackoffFirst<<shift, BackoffMost)
	}
	return d - time.Duration(BackoffJitter*random*float64(d))
}

// SavedRestarts is a Restarts on its way from one kernel to the next.
type SavedRestarts struct {
	Row   int       `json:"row,omitempty"`
	Used  float64   `json:"used,omitempty"`
	Seen  time.Time `json:"seen,omitzero"`
	Spent bool      `json:"spent,omitempty"`
}

// Save gives what has been charged so far.
func (r *Restarts) Save() SavedRestarts { return SavedRestarts{r.row, r.used, r.seen, r.spent} }

// Restore goes on with what an earlier kernel had charged, under the budget of this value.
func (r *Restarts) Restore(s SavedRestarts) {
	r.row, r.used, r.seen, r.spent = s.Row, s.Used, s.Seen, s.Spent
}
