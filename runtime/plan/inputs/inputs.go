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
	// Packages are all versions of all names; the plan takes the highest of each.
	Packages   []*catalog.Package
	Profiles   *profile.Set
	Resolution *profile.Resolution
	Config     *config.Config
	// Components is the configuration of each package that the plan takes, by name.
	Components map[string]*config.Component
	// Rest are the arguments that are neither profile nor -D.
	Rest []string
	// Notices are remarks for the operator that stop nothing, in the order in which they were met.
	Notices []component.Cause
}

// Read reads the installation in home for the given command line. Nothing is written and nothing is started. A wrong flag or
// profile gives an error of kind profile.ErrUsage.
func Read(ctx context.Context, home string, args []string) (*Inputs, error) {
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
	if req.Remembered, err = in.Catalog.Known(); err != nil {
		return nil, err
	}
	if req.Rules, err = profile.RulesAt(home).List(); err != nil {
		return nil, err
	}
	if in.Resolution, err = in.Profiles.Resolve(req); err != nil {
		return nil, err
	}
	if in.Config, err = config.Load(config.Options{Home: home, Properties: in.Resolution.Properties}); err != nil {
		return nil, err
	}
	if in.Packages, err = in.Catalog.Scan(ctx); err != nil {
		return nil, err
	}
	in.Notices = append(append(in.Notices, in.Resolution.Notices...), in.Config.Notices...)
	for _, p := range catalog.Choose(in.Packages) {
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

// Plan makes the plan of what was read.
func (in *Inputs) Plan() *plan.Plan {
	return plan.Build(plan.Input{
		Profile:  in.Resolution.Profile,
		Packages: catalog.Choose(in.Packages),
		Decide:   in.Resolution.Decide,
		Known:    in.Resolution.Known(),
		Config:   func(name string) *config.Component { return in.Components[name] },
	})
}
