package profile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/sdk/cause"
)

// ErrNotice is the kind of a remark about a flag that is accepted and does nothing, or not what it did in DAS.
var ErrNotice = cause.Define("CBN-CLI-001", "A flag is accepted, but does not do what it did in DAS.", "Leave the flag out.")

// Request is all that decisions depend on.
type Request struct {
	Args Args
	// Rules are the operator's lasting rules.
	Rules []Rule
	// Installed are the names of the installed packages, Remembered those that were once installed.
	Installed, Remembered []string
}

// Resolution is the verdict on every component. It is read-only and safe for concurrent use.
type Resolution struct {
	// Profile is the profile's name.
	Profile string
	// Properties are the -D definitions that are no flags.
	Properties map[string]string
	// Notices are remarks for the operator that stop nothing.
	Notices []component.Cause

	set       *Set
	disable   map[string]statement
	enable    map[string]statement
	impliedBy map[string]string
}

// statement is one flag of a component with its value and who said so.
type statement struct {
	value bool
	by    Decider
	rule  string
	fix   string
	file  string
	line  int
}

// layers orders deciders: for the same flag, the later one has the last word.
var layers = map[Decider]int{ByDefault: 0, ByProfile: 1, ByRule: 2, ByFlag: 3}

// Resolve decides. A disable… or enable… flag that names nothing known, or has a value that is no boolean, gives an error of
// kind ErrUsage that lists all of them and every known name.
func (s *Set) Resolve(req Request) (*Resolution, error) {
	name := req.Args.Profile
	if name == "" {
		name = "default"
	}
	p, ok := s.profiles[name]
	if !ok {
		return nil, ErrUsage.New("there is no profile %q", name).Fix("The profiles are %s.", strings.Join(sortedKeys(s.profiles), ", "))
	}
	r := &Resolution{
		Profile: name, Properties: map[string]string{}, set: s,
		disable: map[string]statement{}, enable: map[string]statement{}, impliedBy: map[string]string{},
	}
	for _, flag := range sortedKeys(p.Flags) {
		value, line := p.Flags[flag], p.lines[flag]
		st := statement{value: value, by: ByProfile, file: s.file, line: line}
		st.rule = fmt.Sprintf("profile %s: %s=%t (%s:%d)", name, flag, value, s.file, line)
		st.fix = fmt.Sprintf("Start with another profile, or with -D%s=%t.", flag, !value)
		r.state(flag, st)
	}
	for _, rule := range req.Rules {
		r.state("disable"+rule.Component, statement{
			value: true, by: ByRule, file: rule.File, line: rule.Line,
			rule: fmt.Sprintf("component disable %s, by %s (%s:%d)", rule.Component, rule.By, rule.File, rule.Line),
			fix:  fmt.Sprintf("Run `carbonado component enable %s`.", rule.Component),
		})
	}
	if err := r.defines(req); err != nil {
		return nil, err
	}
	for _, c := range p.Needs {
		if !slices.Contains(req.Installed, c) {
			r.notice("profile %s is for %s, which is not installed", name, c)
		}
	}
	r.imply()
	return r, nil
}

// state records a statement, unless a higher layer has spoken. Two statements of one layer come from two names of one flag
// (disable.receiver and disableEventReceiver): disable wins.
func (r *Resolution) state(flag string, st statement) {
	disable, c, _ := split(flag)
	m := r.enable
	if disable {
		m = r.disable
	}
	have, ok := m[c]
	if !ok || layers[st.by] > layers[have.by] || st.by == have.by && st.value == disable {
		m[c] = st
	}
}

// defines sorts the -D definitions into flags, notices and properties. Of the same name twice the later counts.
func (r *Resolution) defines(req Request) error {
	last := map[string]Define{}
	for _, d := range req.Args.Defines {
		last[d.Name] = d
	}
	var faults []error
	for _, d := range slices.SortedFunc(maps.Values(last), func(a, b Define) int { return a.Index - b.Index }) {
		if err := r.define(d, req); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (r *Resolution) define(d Define, req Request) error {
	flag := d.Name
	if o, ok := r.set.flags[d.Name]; ok {
		if o.Notice != "" {
			r.notice("argument %d, %s: %s", d.Index, d, o.Notice)
		}
		if o.Means == "" {
			if !isSwitch(d.Name) {
				r.Properties[d.Name] = d.Value
			}
			return nil
		}
		flag = o.Means
	} else if !isSwitch(d.Name) {
		r.Properties[d.Name] = d.Value
		return nil
	}
	_, c, _ := split(flag)
	k, inFile := r.set.components[c]
	installed := slices.Contains(req.Installed, c)
	remembered := slices.Contains(req.Remembered, c)
	if !inFile && !installed && !remembered {
		return r.unknown(d, req)
	}
	value, err := parseBool(d)
	if err != nil {
		return err
	}
	switch {
	case k.Notice != "":
		r.notice("argument %d, %s: %s", d.Index, d, k.Notice)
	case !installed && remembered && !inFile:
		r.notice("argument %d, %s: %s was once installed and is not now", d.Index, d, c)
	case !installed:
		r.notice("argument %d, %s: %s is not installed", d.Index, d, c)
	}
	st := statement{value: value, by: ByFlag, rule: fmt.Sprintf("%s (argument %d)", d, d.Index)}
	st.fix = fmt.Sprintf("Start without %s.", d)
	r.state(flag, st)
	return nil
}

// unknown makes the error for a flag that names nothing, with the list of what could be named.
func (r *Resolution) unknown(d Define, req Request) error {
	components := slices.Concat(sortedKeys(r.set.components), req.Installed, req.Remembered)
	slices.Sort(components)
	components = slices.Compact(components)
	var flags []string
	for _, c := range components {
		flags = append(flags, "disable"+c, "enable"+c)
	}
	for _, n := range sortedKeys(r.set.flags) {
		if isSwitch(n) {
			flags = append(flags, n)
		}
	}
	e := ErrUsage.New("argument %d: -D%s names nothing known", d.Index, d.Name)
	list := "The names are, after disable or enable: " + strings.Join(components, ", ") + "."
	var others []string
	for _, n := range flags {
		if r.set.flags[n] != (other{}) {
			others = append(others, n)
		}
	}
	if len(others) > 0 {
		list += " Others: " + strings.Join(others, ", ") + "."
	}
	if near := schema.Nearest(d.Name, flags); near != "" {
		list = fmt.Sprintf("Did you mean -D%s? ", near) + list
	}
	return e.Fix("%s", list)
}

// imply works out which components are off because another one is.
func (r *Resolution) imply() {
	for _, name := range sortedKeys(r.set.components) {
		if st, ok := r.disable[name]; !ok || !st.value {
			continue
		}
		for _, c := range r.set.components[name].Implies {
			if r.impliedBy[c] == "" {
				r.impliedBy[c] = name
			}
		}
	}
}

func (r *Resolution) notice(format string, args ...any) {
	r.Notices = append(r.Notices, *component.CauseOf(ErrNotice.New(format, args...)))
}

// Decide gives the verdict on a component.
func (r *Resolution) Decide(name string) Decision {
	d, disabling := r.disable[name]
	e, enabling := r.enable[name]
	k, inFile := r.set.components[name]
	by := r.impliedBy[name]
	switch {
	case disabling && d.value:
		return d.decision(false)
	case by != "":
		v := r.disable[by].decision(false)
		v.Rule = fmt.Sprintf("disabled with %s: %s", by, v.Rule)
		return v
	case enabling:
		return e.decision(e.value)
	case inFile && !k.Starts:
		return Decision{
			By: ByDefault, Rule: fmt.Sprintf("default: runs only where enable%s=true (%s:%d)", name, r.set.file, k.line),
			Fix: fmt.Sprintf("Start with -Denable%s=true.", name), File: r.set.file, Line: k.line,
		}
	case disabling:
		return d.decision(true)
	}
	return Decision{Enabled: true, By: ByDefault, Rule: "default: no rule names it"}
}

func (st statement) decision(enabled bool) Decision {
	d := Decision{Enabled: enabled, By: st.by, Rule: st.rule, File: st.file, Line: st.line}
	if !enabled {
		d.Fix = st.fix
	}
	return d
}

// Known lists the names that profiles.yaml knows.
func (r *Resolution) Known() []string { return r.set.Components() }
