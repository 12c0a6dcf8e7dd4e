package component

// Measure is one bound on a component: what it may not do or exceed, by which mechanism that is held, and, where it is not, why.
type Measure struct {
	// What is bounded, in an operator's words: "memory 128 MiB", "files of others".
	What string `json:"what"`
	// Enforced tells whether the system holds it.
	Enforced bool `json:"enforced"`
	// By is the mechanism; empty where there is none.
	By string `json:"by,omitempty"`
	// Why says what is missing where a measure, or a better mechanism for it, can't be had.
	Why string `json:"why,omitempty"`
}

// Line is the measure as one line of text.
func (m Measure) Line() string {
	out := m.What + ": "
	switch {
	case m.Enforced:
		out += m.By
	case m.By != "":
		out += "not enforced, " + m.By
	default:
		out += "not enforced"
	}
	if m.Why != "" {
		out += " (" + m.Why + ")"
	}
	return out
}
