package kernel

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/sdk/cause"
)

// errNotRunning is why nothing ran at a past time.
var errNotRunning = cause.Define("CBN-API-006", "The server did not run at that time.", "Start it with `bin/carbonado.sh start`; the log of that time says why it ended.")

// Kinds of the lines of history.jsonl that are no transitions.
const (
	noteBegin  = "begin"
	noteEnd    = "end"
	noteHealth = "health"
	noteCause  = "cause"
	noteRule   = "rule"
)

// note is such a line.
type note struct {
	Note      string           `json:"note"`
	Component string           `json:"component,omitempty"`
	Time      time.Time        `json:"time"`
	Health    string           `json:"health,omitempty"`
	Cause     *component.Cause `json:"cause,omitempty"`
	// Rule and Enabled are the plan's verdict; Text is the profile where a run begins.
	Rule    string `json:"rule,omitempty"`
	Enabled bool   `json:"enabled,omitempty"`
	Text    string `json:"text,omitempty"`
}

// line is any line of the file.
type line struct {
	note
	Seq        uint64          `json:"seq"`
	From       component.State `json:"from"`
	To         component.State `json:"to"`
	Reason     string          `json:"reason"`
	Actor      string          `json:"actor"`
	Generation uint64          `json:"generation"`
}

func (h *history) note(n note) {
	n.Time = time.Now().UTC()
	b, err := json.Marshal(n)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = h.file.Write(append(b, '\n')) // see record
}

// begin and end mark the span of a run of the kernel.
func (h *history) begin(profile string) { h.note(note{Note: noteBegin, Text: profile}) }

func (h *history) end() { h.note(note{Note: noteEnd}) }

// event keeps what a transition does not say: changes of health and of causes.
func (h *history) event(ev reconcile.Event) {
	switch {
	case ev.Transition != nil || ev.Service != nil:
	case ev.CauseChanged:
		h.note(note{Note: noteCause, Component: ev.Component, Cause: ev.Cause})
	case ev.Health != 0:
		h.note(note{Note: noteHealth, Component: ev.Component, Health: ev.Health.String(), Cause: ev.Cause})
	}
}

// rules keeps the plan's verdict on each component whose verdict is another than before.
func (h *history) rules(p *plan.Plan) {
	for _, c := range p.Components {
		if !c.Installed {
			continue
		}
		h.mu.Lock()
		same := h.verdicts[c.Name] == c.Rule
		if h.verdicts == nil {
			h.verdicts = map[string]string{}
		}
		h.verdicts[c.Name] = c.Rule
		h.mu.Unlock()
		if !same {
			h.note(note{Note: noteRule, Component: c.Name, Rule: c.Rule, Enabled: c.Enabled})
		}
	}
}

// moment is what was known about one component at one past time.
type moment struct {
	state       component.State
	generation  uint64
	since       time.Time
	until       time.Time // zero: it lasts
	reason      string
	actor       string
	cause       *component.Cause
	health      string
	healthCause *component.Cause
	rule        string
	enabled     bool
}

// past is the node at one past time.
type past struct {
	running bool
	profile string
	// begun is when the run began that was under way, or had ended; ended when it had; next when the one after it began.
	begun, ended, next time.Time
	last               time.Time // of the last line before
	units              map[string]*moment
}

// at reads from the file what was so at t.
func (h *history) at(t time.Time) past {
	p := past{units: map[string]*moment{}}
	after := map[string]bool{} // the end of the state at t has been seen
	h.lines(func(l line) bool {
		if !l.Time.After(t) {
			p.take(l)
			return true
		}
		if l.Note == noteBegin {
			p.next = l.Time
			return false
		}
		if u := p.units[l.Component]; u != nil && u.follows(l) && !after[l.Component] {
			after[l.Component], u.until = true, l.Time
		}
		return true
	})
	return p
}

// follows tells whether a line is a move of the process that serves, or of one that takes its place: while one serves, a successor gets
// ready beside it, and afterwards the old one ends.
func (u *moment) follows(l line) bool {
	switch {
	case l.Note != "" || l.To == 0:
		return false
	case u.state != component.Active || l.Generation == 0 || l.Generation == u.generation:
		return true
	}
	return l.Generation > u.generation && l.To == component.Active
}

func (p *past) take(l line) {
	p.last = l.Time
	switch l.Note {
	case noteBegin:
		p.running, p.begun, p.profile, p.ended = true, l.Time, l.Text, time.Time{}
		for _, u := range p.units {
			u.state, u.since, u.reason, u.actor = component.Installed, l.Time, "the server started", "kernel"
			u.cause, u.health, u.healthCause = nil, "", nil
		}
		return
	case noteEnd:
		p.running, p.ended = false, l.Time
		return
	}
	if l.Component == "" {
		return
	}
	u := p.units[l.Component]
	if u == nil {
		u = &moment{state: component.Installed, since: l.Time, enabled: true}
		p.units[l.Component] = u
	}
	switch l.Note {
	case noteHealth:
		u.health, u.healthCause = l.Health, l.Cause
	case noteCause:
		u.cause = l.Cause
	case noteRule:
		u.rule, u.enabled = l.Rule, l.Enabled
	case "":
		if !u.follows(l) {
			return
		}
		u.generation = max(u.generation, l.Generation)
		u.state, u.since, u.reason, u.actor = l.To, l.Time, l.Reason, l.Actor
		switch {
		case l.Cause != nil:
			u.cause = l.Cause
		case l.To == component.Active || l.To == component.Starting:
			u.cause = nil
		}
	}
}

// lines reads all that is kept, oldest first, until take answers false.
func (h *history) lines(take func(line) bool) {
	h.each(func(b []byte) bool {
		var l line
		return json.Unmarshal(b, &l) != nil || take(l)
	})
}

// fresh follows a cause through the components that it names: where one of them has a cause of its own, that one takes the place of what
// was known when the cause was made. So the chain ends at the leaf as it is at the asked moment.
func fresh(name string, c *component.Cause, known map[string]bool, causeOf func(name string) *component.Cause) *component.Cause {
	visited := map[string]bool{name: true}
	return follow(c, visited, known, causeOf)
}

func follow(c *component.Cause, visited, known map[string]bool, causeOf func(string) *component.Cause) *component.Cause {
	if c == nil {
		return nil
	}
	entries := append([]component.Cause{*c}, c.Chain...)
	for i, e := range entries {
		for _, next := range mentioned(e.Text, known) {
			if visited[next] {
				continue
			}
			why := causeOf(next)
			if why == nil {
				continue
			}
			visited[next] = true
			out := entries[0]
			out.Chain = slices.Clone(entries[1 : i+1])
			out = out.Because(*follow(why, visited, known, causeOf))
			return &out
		}
	}
	return c
}

// mentioned lists the known names that stand in a sentence as words of their own.
func mentioned(text string, known map[string]bool) []string {
	var out []string
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t,;:()[]\"'`→", r) }) {
		if word = strings.TrimSuffix(word, "."); known[word] && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}
