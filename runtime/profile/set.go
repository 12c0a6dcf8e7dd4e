package profile

import (
	_ "embed"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// ExitUsage is the exit status of a command line that cannot be understood (EX_USAGE of sysexits.h).
const ExitUsage = 64

// The kinds of error of this package.
var (
	ErrProfiles = cause.Define("CBN-CFG-010", "profiles.yaml cannot be used.", "Correct repository/conf/profiles.yaml.")
	// ErrUsage is the kind of a wrong flag or profile on the command line: exit with ExitUsage.
	ErrUsage = cause.Define("CBN-CLI-064", "The command line names a flag or a profile that is not known.",
		"Correct the command line.").Code(codes.InvalidArgument)
	ErrRules = cause.Define("CBN-CFG-011", "The operator's lasting rules cannot be read or written.",
		"Check repository/data/kernel/rules.yaml and its permissions.")
)

// File is where profiles.yaml lies in an installation; messages name it so.
const File = "repository/conf/profiles.yaml"

// Schema is the JSON Schema of profiles.yaml, for editors and for the documentation.
//
//go:embed profiles.schema.json
var Schema []byte

var profilesSchema = sync.OnceValues(func() (*schema.Schema, error) {
	return schema.Compile("profiles.schema.json", Schema)
})

// Set is profiles.yaml, read. It is read-only and safe for concurrent use.
type Set struct {
	file       string
	profiles   map[string]profile
	components map[string]known
	flags      map[string]other
}

type profile struct {
	Summary  string          `json:"summary"`
	Argument string          `json:"argument"`
	Needs    []string        `json:"needs"`
	Flags    map[string]bool `json:"flags"`
	lines    map[string]int
}

type known struct {
	Summary string   `json:"summary"`
	Starts  bool     `json:"starts"`
	Implies []string `json:"implies"`
	Notice  string   `json:"notice"`
	line    int
}

type other struct {
	Means  string `json:"means"`
	Notice string `json:"notice"`
}

// Load reads repository/conf/profiles.yaml of the installation in home.
func Load(home string) (*Set, error) {
	data, err := os.ReadFile(filepath.Join(home, File))
	if err != nil {
		return nil, ErrProfiles.Wrap(err, "the file cannot be read").At(File, 0, 0)
	}
	return Parse(File, data)
}

// Parse reads a profiles.yaml. Errors name file and line.
func Parse(file string, data []byte) (*Set, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	sch, err := profilesSchema()
	if err != nil {
		return nil, err
	}
	if faults := sch.Check(doc); len(faults) > 0 {
		return nil, faults[0]
	}
	var r struct {
		Profiles   map[string]profile `json:"profiles"`
		Components map[string]known   `json:"components"`
		Flags      map[string]other   `json:"flags"`
	}
	full := &strictyaml.Document{File: file, Value: sch.Defaults(doc.Value)}
	if err := full.Decode(&r); err != nil {
		return nil, ErrProfiles.Wrap(err, "the file cannot be understood").At(file, 0, 0)
	}
	s := &Set{file: file, profiles: r.Profiles, components: map[string]known{}, flags: r.Flags}
	for name, k := range r.Components {
		k.line = doc.KeyAt("components", name).Line
		s.components[name] = k
	}
	for name, p := range s.profiles {
		p.lines = map[string]int{}
		for flag := range p.Flags {
			p.lines[flag] = doc.KeyAt("profiles", name, "flags", flag).Line
		}
		s.profiles[name] = p
	}
	return s, s.check(doc)
}

// check finds names that lead nowhere.
func (s *Set) check(doc *strictyaml.Document) error {
	bad := func(name string, path ...string) error {
		p := doc.At(path...)
		return ErrProfiles.New("%s is not among the components of this file", name).At(s.file, p.Line, p.Column).
			Fix("Add it under components, or correct its spelling.")
	}
	for _, name := range sortedKeys(s.profiles) {
		for _, flag := range sortedKeys(s.profiles[name].Flags) {
			if _, c, _ := split(flag); s.components[c].line == 0 {
				return bad(c, "profiles", name, "flags", flag)
			}
		}
	}
	for _, name := range sortedKeys(s.components) {
		for _, c := range s.components[name].Implies {
			if s.components[c].line == 0 {
				return bad(c, "components", name, "implies")
			}
		}
	}
	for _, name := range sortedKeys(s.flags) {
		if means := s.flags[name].Means; means != "" {
			if _, c, _ := split(means); s.components[c].line == 0 {
				return bad(c, "flags", name, "means")
			}
		}
	}
	return nil
}

// Profile is one profile, for listings and completion.
type Profile struct {
	Name, Argument, Summary string
}

// Profiles lists the profiles: default first, then by name.
func (s *Set) Profiles() []Profile {
	var out []Profile
	for _, n := range sortedKeys(s.profiles) {
		p := Profile{n, s.profiles[n].Argument, s.profiles[n].Summary}
		if n == "default" {
			out = slices.Insert(out, 0, p)
			continue
		}
		out = append(out, p)
	}
	return out
}

// Components lists the names that profiles.yaml knows, by name.
func (s *Set) Components() []string { return sortedKeys(s.components) }

// Summary is what profiles.yaml says a component does; empty for a name that it does not know.
func (s *Set) Summary(name string) string { return s.components[name].Summary }
