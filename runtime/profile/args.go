package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Args is what the command line says about profile and flags.
type Args struct {
	// Profile is the profile's name; empty is the default one.
	Profile string
	Defines []Define
}

// Define is one -Dname=value.
type Define struct {
	Name, Value string
	// Index is the argument's number, from 1.
	Index int
}

// ParseArgs takes the profile and the -D definitions out of a command line, in any order, and gives the other arguments
// back. A profile is chosen by its word (-receiverNode) or by --profile NAME. A definition without a value is "true", as in
// DAS. Errors are of kind ErrUsage.
func (s *Set) ParseArgs(args []string) (Args, []string, error) {
	var out Args
	var rest []string
	words := map[string]string{}
	for name, p := range s.profiles {
		if p.Argument != "" {
			words[p.Argument] = name
		}
	}
	chosen := ""
	choose := func(name, how string) error {
		if chosen != "" && out.Profile != name {
			return ErrUsage.New("two profiles are named: %s and %s", chosen, how).Fix("Name one.")
		}
		if _, ok := s.profiles[name]; !ok {
			return ErrUsage.New("there is no profile %q", name).Fix("The profiles are %s.", strings.Join(sortedKeys(s.profiles), ", "))
		}
		out.Profile, chosen = name, how
		return nil
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		var err error
		switch {
		case words[arg] != "":
			err = choose(words[arg], arg)
		case arg == "--profile" && i+1 < len(args):
			i++
			err = choose(args[i], "--profile "+args[i])
		case strings.HasPrefix(arg, "--profile="):
			err = choose(strings.TrimPrefix(arg, "--profile="), arg)
		case strings.HasPrefix(arg, "-D"):
			err = out.define(arg, i+1)
		default:
			rest = append(rest, arg)
		}
		if err != nil {
			return Args{}, nil, err
		}
	}
	return out, rest, nil
}

func (a *Args) define(arg string, index int) error {
	name, value, given := strings.Cut(strings.TrimPrefix(arg, "-D"), "=")
	if name == "" {
		return ErrUsage.New("argument %d, %s, has no name", index, arg).Fix("Write -Dname=value.")
	}
	if !given {
		value = "true"
	}
	a.Defines = append(a.Defines, Define{name, value, index})
	return nil
}

// split takes a flag apart: "disableIndexing" is disable, Indexing.
func split(flag string) (disable bool, component string, ok bool) {
	if c, is := strings.CutPrefix(flag, "disable"); is {
		return true, c, c != ""
	}
	if c, is := strings.CutPrefix(flag, "enable"); is {
		return false, c, c != ""
	}
	return false, "", false
}

// isSwitch tells whether a -D name claims to switch a component.
func isSwitch(name string) bool {
	return strings.HasPrefix(name, "disable") || strings.HasPrefix(name, "enable")
}

func parseBool(d Define) (bool, error) {
	switch strings.ToLower(d.Value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, ErrUsage.New("argument %d: -D%s=%s must be true or false", d.Index, d.Name, d.Value).
		Fix("Write -D%s=true or -D%s=false.", d.Name, d.Name)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (d Define) String() string { return fmt.Sprintf("-D%s=%s", d.Name, d.Value) }
