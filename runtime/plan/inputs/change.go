package inputs

import (
	"slices"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/profile"
)

// Change is what would be another way than it stands in the installation. The zero value is no change.
type Change struct {
	// Disable and Enable are lasting rules that By would make and take back.
	Disable, Enable []string
	By              string
	// Packages would be installed.
	Packages []*catalog.Package
	// Versions would be chosen instead of the highest, by component.
	Versions map[string]string
}

// rules gives the lasting rules after the change.
func (c Change) rules(have []profile.Rule) []profile.Rule {
	out := slices.DeleteFunc(slices.Clone(have), func(r profile.Rule) bool { return slices.Contains(c.Enable, r.Component) })
	for _, name := range c.Disable {
		if !slices.ContainsFunc(out, func(r profile.Rule) bool { return r.Component == name }) {
			out = append(out, profile.Rule{Component: name, By: c.By, File: profile.RulesFile})
		}
	}
	return out
}

// packages gives all packages after the change.
func (c Change) packages(have []*catalog.Package) []*catalog.Package {
	for _, p := range c.Packages {
		have = slices.DeleteFunc(have, func(x *catalog.Package) bool { return x.Name == p.Name && x.Version == p.Version })
		have = append(have, p)
	}
	return have
}

// names gives the installed names after the change.
func (c Change) names(have []string) []string {
	for _, p := range c.Packages {
		if !slices.Contains(have, p.Name) {
			have = append(have, p.Name)
		}
	}
	slices.Sort(have)
	return have
}
