// Package plan works out, from catalog, profile and configuration, which components run, wired to what, in which order, and
// why the others don't. It is pure: it reads no file and no clock, and it must not know processes.
package plan

import (
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/profile"
)

// Input is all that a plan depends on.
type Input struct {
	// Profile is the profile's name, for example "default".
	Profile string
	// Packages are the chosen packages, one per name: the highest version of each.
	Packages []*catalog.Package
	// Decide gives the verdict on a component by name.
	Decide func(name string) profile.Decision
	// Known lists the names that profiles.yaml knows, installed or not.
	Known []string
	// Config gives the configuration of an installed component by name; nil is none.
	Config func(name string) *config.Component
}

// Plan is the result. Its JSON form is SEAMS.md section 7.
type Plan struct {
	Profile string `json:"-" yaml:"-"`
	// Components: those that run in their order, then the others by name.
	Components []Component `json:"components" yaml:"components"`
	// numbers are those of names; places, by them, are where components stand in Components.
	numbers numbers
	places  []int32
}

// Component is what the plan says about one name.
type Component struct {
	Name      string `json:"name" yaml:"name"`
	Installed bool   `json:"installed" yaml:"installed"`
	// Enabled is the verdict of profile, flags and rules, whether or not the component is installed or can run.
	Enabled bool `json:"enabled" yaml:"enabled"`
	Runs    bool `json:"runs" yaml:"runs"`
	// Rule says which rule decided Enabled, with its place.
	Rule string `json:"rule" yaml:"rule"`
	// Order is the start position from 1; 0 for one that does not run. Stop is the reverse.
	Order int    `json:"order" yaml:"order"`
	Wires []Wire `json:"wires" yaml:"wires"`
	// Causes say why it does not run: one per thing that is missing, each with the chain down to its leaf.
	Causes []component.Cause `json:"causes" yaml:"causes"`

	// References are what the component asks for, configuration included.
	References []Reference `json:"references" yaml:"references"`
	// Gates are its startup gates, and what they expect.
	Gates []Gate `json:"gates" yaml:"gates"`
	// Waits: only providers are missing. The unit waits for them; otherwise it does not come that far.
	Waits bool `json:"-" yaml:"-"`
	// Lasts: if it runs it may go on, although it could perhaps not be started.
	Lasts bool `json:"-" yaml:"-"`
	// Requires are References for those who act on them.
	Requires []component.Require `json:"-" yaml:"-"`
	// Package and Config are what the component is started with; Package is nil if it is not installed.
	Package *catalog.Package  `json:"-" yaml:"-"`
	Config  *config.Component `json:"-" yaml:"-"`
	// After lists the components that must be ACTIVE before this one starts, by name: providers of mandatory references.
	After []string `json:"-" yaml:"-"`
}

// Reference is one entry of `requires` as it holds: configuration may change its filter and its minimum.
type Reference struct {
	Name        string `json:"name" yaml:"name"`
	Service     string `json:"service" yaml:"service"`
	Version     string `json:"version" yaml:"version"`
	Cardinality string `json:"cardinality" yaml:"cardinality"`
	Minimum     int    `json:"minimum" yaml:"minimum"`
	Policy      string `json:"policy" yaml:"policy"`
	Option      string `json:"option" yaml:"option"`
	Filter      string `json:"filter" yaml:"filter"`
}

// Wire is one planned connection of a reference. A reference without a provider has none.
type Wire struct {
	Reference   string `json:"reference" yaml:"reference"`
	Service     string `json:"service" yaml:"service"`
	Provider    string `json:"provider" yaml:"provider"`
	Version     string `json:"version" yaml:"version"`
	Cardinality string `json:"cardinality" yaml:"cardinality"`
}

// Find gives what the plan says about a name; nil if it says nothing.
func (p *Plan) Find(name string) *Component {
	if n, ok := p.numbers[name]; ok {
		return &p.Components[p.places[n]]
	}
	return nil
}

// Running lists the components that run, in start order.
func (p *Plan) Running() []*Component {
	var out []*Component
	for i := range p.Components {
		if p.Components[i].Runs {
			out = append(out, &p.Components[i])
		}
	}
	return out
}

// Broken lists the components that are installed and enabled and yet can't run: what --strict fails on.
func (p *Plan) Broken() []*Component {
	var out []*Component
	for i := range p.Components {
		if c := &p.Components[i]; c.Installed && c.Enabled && !c.Runs {
			out = append(out, c)
		}
	}
	return out
}
