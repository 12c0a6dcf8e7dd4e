// Package profile decides which components are enabled, from the profile, the flags, and the operator's lasting rules, and
// records who decided what. It must not know whether a component can run.
package profile

// Decider is the layer that had the last word on a component.
type Decider string

const (
	// ByDefault: no rule names the component.
	ByDefault Decider = "default"
	// ByProfile: the profile's flags in profiles.yaml.
	ByProfile Decider = "profile"
	// ByRule: a lasting rule made with `carbonado component disable`.
	ByRule Decider = "rule"
	// ByFlag: a -D flag of this start.
	ByFlag Decider = "flag"
)

// Decision is the verdict on one component.
type Decision struct {
	Enabled bool
	By      Decider
	// Rule says in one line which rule decided, with its file and line or the argument's number.
	Rule string
	// Fix says how the operator turns the verdict round; empty if Enabled.
	Fix string
	// File and Line of the rule, if it stands in a file.
	File string
	Line int
}
