package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/config"
)

// Kind is what a change of the plan does to one component.
type Kind string

// The kinds, in the order in which they are done: take away, replace, bring.
const (
	// Stop: it runs and will not.
	Stop Kind = "stop"
	// Remove: its package is gone.
	Remove Kind = "remove"
	// Update: another package takes its place.
	Update Kind = "update"
	// Restart: the same package with another configuration; a new process takes the place of the one that serves.
	Restart Kind = "restart"
	// Modify: another configuration that the process takes while it serves.
	Modify Kind = "modify"
	// Add: a new package.
	Add Kind = "add"
	// Start: it does not run and will.
	Start Kind = "start"
	// Rebind: a reference gets other providers, or one that is replaced.
	Rebind Kind = "rebind"
)

// kinds is their order.
var kinds = []Kind{Stop, Remove, Update, Restart, Modify, Add, Start, Rebind}

// Change is one thing that a new plan would do.
type Change struct {
	Kind      Kind   `json:"kind" yaml:"kind"`
	Component string `json:"component" yaml:"component"`
	// From and To are versions for add, remove and update, providers for rebind.
	From string `json:"from,omitempty" yaml:"from,omitempty"`
	To   string `json:"to,omitempty" yaml:"to,omitempty"`
	// Reason is one sentence for a person.
	Reason string `json:"reason" yaml:"reason"`
}

func (c Change) String() string {
	s := string(c.Kind) + " " + c.Component
	switch {
	case c.From != "" && c.To != "":
		s += " " + c.From + " -> " + c.To
	case c.From+c.To != "":
		s += " " + c.From + c.To
	}
	return s + ": " + c.Reason
}

// Diff says what changes where the plan to takes the place of from, in the order in which it is done. It is pure.
func Diff(from, to *Plan) []Change {
	out := []Change{}
	replaced := map[string]string{} // running components whose process is replaced, and how
	add := func(kind Kind, name, old, new, format string, args ...any) {
		out = append(out, Change{kind, name, old, new, fmt.Sprintf(format, args...)})
	}
	was, is := index(from), index(to)
	for _, name := range names(from, to) {
		a, b := was[name], is[name]
		if a == nil {
			a = &Component{}
		}
		if b == nil {
			b = &Component{}
		}
		switch {
		case a.Runs && !b.Runs:
			add(Stop, name, "", "", "%s", whyNot(b))
		case !a.Runs && b.Runs:
			add(Start, name, "", "", "%s", whyNow(a, b))
		}
		switch {
		case a.Installed && !b.Installed:
			add(Remove, name, version(a), "", "its package is gone")
		case !a.Installed && b.Installed:
			add(Add, name, "", version(b), "a new package")
		case a.Installed && identity(a) != identity(b):
			if a.Runs && b.Runs {
				replaced[name] = version(b)
			}
			why := "another version"
			if version(a) == version(b) {
				why = "the same version with other content"
			}
			add(Update, name, version(a), version(b), "%s", why)
		case a.Runs && b.Runs && configuration(a) != configuration(b):
			keys := config.Changed(a.Config, b.Config)
			if b.Package.Descriptor.InPlace(keys) {
				add(Modify, name, "", "", "its configuration is another one: %s", strings.Join(keys, ", "))
				break
			}
			replaced[name] = version(b)
			add(Restart, name, "", "", "its configuration is another one: %s", strings.Join(keys, ", "))
		}
	}
	for _, name := range names(from, to) {
		if a, b := was[name], is[name]; a != nil && b != nil && a.Runs && b.Runs {
			out = append(out, rebinds(a, b, replaced)...)
		}
	}
	order := func(c Change) int {
		plan, sign := is, 1
		if c.Kind == Stop || c.Kind == Remove {
			plan, sign = was, -1 // the reverse of the start
		}
		if x := plan[c.Component]; x != nil {
			return sign * x.Order
		}
		return 0
	}
	slices.SortStableFunc(out, func(x, y Change) int {
		if k := slices.Index(kinds, x.Kind) - slices.Index(kinds, y.Kind); k != 0 {
			return k
		}
		return order(x) - order(y)
	})
	return out
}

// rebinds compares the wires of a component that runs before and after.
func rebinds(a, b *Component, replaced map[string]string) []Change {
	var out []Change
	was, is := byReference(a), byReference(b)
	var references []string
	for r := range is {
		references = append(references, r)
	}
	for r := range was {
		if _, ok := is[r]; !ok {
			references = append(references, r)
		}
	}
	slices.Sort(references)
	for _, r := range references {
		old, now := was[r], is[r]
		if !slices.Equal(old, now) {
			out = append(out, Change{Rebind, b.Name, r + "=" + list(old), r + "=" + list(now), "its providers are others"})
			continue
		}
		for _, p := range now {
			if v, ok := replaced[p]; ok {
				out = append(out, Change{Rebind, b.Name, "", r + "=" + p, fmt.Sprintf("its provider is replaced (%s)", v)})
			}
		}
	}
	return out
}

func byReference(c *Component) map[string][]string {
	out := map[string][]string{}
	for _, w := range c.Wires {
		out[w.Reference] = append(out[w.Reference], w.Provider)
	}
	return out
}

func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ",")
}

func index(p *Plan) map[string]*Component {
	out := map[string]*Component{}
	for i := range p.Components {
		out[p.Components[i].Name] = &p.Components[i]
	}
	return out
}

func names(a, b *Plan) []string {
	var out []string
	for _, p := range []*Plan{a, b} {
		for i := range p.Components {
			out = append(out, p.Components[i].Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func whyNot(c *Component) string {
	switch {
	case !c.Installed:
		return "its package is gone"
	case len(c.Causes) > 0:
		return c.Causes[0].Leaf().Text
	}
	return "the plan does not run it"
}

func whyNow(was, is *Component) string {
	switch {
	case !was.Installed:
		return "it is new; " + is.Rule
	case !was.Enabled:
		return "it is enabled: " + is.Rule
	case len(was.Causes) > 0:
		return "this holds no longer: " + was.Causes[0].Leaf().Text
	}
	return is.Rule
}

func version(c *Component) string {
	if c.Package == nil {
		return ""
	}
	return c.Package.Version
}

// identity tells packages apart by content.
func identity(c *Component) string {
	if c.Package == nil {
		return ""
	}
	return c.Package.Version + "@" + c.Package.Digest
}

func configuration(c *Component) string {
	if c.Config == nil {
		return ""
	}
	return c.Config.Digest
}

// ID is the identity of a change from one plan to another: the same plans give the same one, and it is another one as soon as either
// end is. Which file and line decided is left out: it moves when a rule is written.
func ID(from, to *Plan) string {
	sum := sha256.New()
	for _, p := range []*Plan{from, to} {
		enc := json.NewEncoder(sum)
		for i := range p.Components {
			c := &p.Components[i]
			_ = enc.Encode([]any{c.Name, c.Installed, c.Enabled, c.Runs, c.Order, c.Wires, identity(c), configuration(c)}) // a hash takes all
		}
		fmt.Fprintln(sum, "--", p.Profile)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}
