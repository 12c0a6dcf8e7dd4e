// Package inputs reads from an installation all that a plan depends on: packages, profile, flags, rules, configuration. It
// must not know what is done with the plan.
package inputs

import (
	"context"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
)

// Inputs is what was read. It is read-only.
type Inputs struct {
	Catalog *catalog.Catalog
	// Packages are all versions of all names; the plan takes the highest of each that is not pinned.
	Packages []*catalog.Package
	// Pins in force; Missing are versions that a change asked for and that are not installed ("Name version").
	Pins       catalog.Pins
	Missing    []string
	Profiles   *profile.Set
	Resolution *profile.Resolution
	Config     *config.Config
	// Components is the configuration of each package that the plan takes, by name.
	Components map[string]*config.Component
	kept       map[string]*catalog.Package
	// Rest are the arguments that are neither profile nor -D.
	Rest []string
	// Notices are remarks for the operator that stop nothing, in the order in which they were met.
	Notices []component.Cause
}

// Read reads the installation in home for the given command line. Nothing is written and nothing is started. A wrong flag or
// profile gives an error of kind profile.ErrUsage.
func Read(ctx context.Context, home string, args []string) (*Inputs, error) {
	return ReadChanged(ctx, home, args, Change{})
}

// ReadChanged is Read as if a change had been made. The change is not made.
func ReadChanged(ctx context.Context, home string, args []string, change Change) (*Inputs, error) {
	in := &Inputs{Catalog: catalog.At(home), Components: map[string]*config.Component{}}
	var err error
	if in.Profiles, err = profile.Load(home); err != nil {
		return nil, err
	}
	req := profile.Request{}
	if req.Args, in.Rest, err = in.Profiles.ParseArgs(args); err != nil {
		return nil, err
	}
	if req.Installed, err = in.Catalog.Names(); err != nil {
		return nil, err
	}
	req.Installed = change.names(req.Installed)
	if req.Remembered, err = in.Catalog.Known(); err != nil {
		return nil, err
	}
	if req.Rules, err = profile.RulesAt(home).List(); err != nil {
		return nil, err
	}
	req.Rules = change.rules(req.Rules)
	if in.Resolution, err = in.Profiles.Resolve(req); err != nil {
		return nil, err
	}
	if in.Config, err = config.Load(config.Options{Home: home, Properties: in.Resolution.Properties}); err != nil {
		return nil, err
	}
	if in.Packages, err = in.Catalog.Scan(ctx); err != nil {
		return nil, err
	}
	in.Packages = change.packages(in.Packages)
	if in.Pins, err = catalog.ReadPins(home); err != nil {
		return nil, err
	}
	in.Pins, in.Missing = in.Pins.Apply(in.Packages, change.Versions)
	in.Notices = append(append(in.Notices, in.Resolution.Notices...), in.Config.Notices...)
	for _, p := range catalog.ChoosePinned(in.Packages, in.Pins) {
		if p.Descriptor == nil {
			continue
		}
		c := in.Config.Component(p.Descriptor)
		in.Components[p.Name] = c
		in.Notices = append(in.Notices, c.Notices...)
	}
	in.Notices = append(in.Notices, in.Config.Orphans(req.Installed)...)
	return in, nil
}

// Keep puts one installed package in the place of the one that is chosen of its name.
func (in *Inputs) Keep(p *catalog.Package) {
	if in.kept == nil {
		in.kept = map[string]*catalog.Package{}
	}
	in.kept[p.Name] = p
	if p.Descriptor != nil {
		in.Components[p.Name] = in.Config.Component(p.Descriptor)
	}
}

// Chosen are the packages that the plan takes, one per name.
func (in *Inputs) Chosen() []*catalog.Package {
	out := catalog.ChoosePinned(in.Packages, in.Pins)
	for i, p := range out {
		if kept := in.kept[p.Name]; kept != nil {
			out[i] = kept
		}
	}
	return out
}

// Plan makes the plan of what was read.
func (in *Inputs) Plan() *plan.Plan {
	return plan.Build(plan.Input{
		Profile:  in.Resolution.Profile,
		Packages: in.Chosen(),
		Decide:   in.Resolution.Decide,
		Known:    in.Resolution.Known(),
		Config:   func(name string) *config.Component { return in.Components[name] },
	})
}
