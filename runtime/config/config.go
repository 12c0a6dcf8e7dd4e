package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/sdk/cause"
)

// The kinds of error of this package.
var (
	ErrRead = cause.Define("CBN-CFG-005", "A configuration file cannot be read.", "Check the file and its permissions.")
	ErrXML  = cause.Define("CBN-CFG-006", "A value of carbon.xml is not right.", "Correct the line that is named.")
	// ErrArgument is the kind of a wrong value of a -D property that the kernel itself reads.
	ErrArgument = cause.Define("CBN-CLI-065", "A -D property has a value that cannot be used.", "Correct the command line.")
	ErrIgnored  = cause.Define("CBN-CFG-007", "Something in the configuration has no effect.", "Nothing has to be done; the lines may be removed.")
)

// Options say where configuration comes from.
type Options struct {
	// Home is the installation's folder.
	Home string
	// Properties are the -D definitions that are no flags.
	Properties map[string]string
	// Env looks up the server's environment; nil is os.LookupEnv.
	Env func(name string) (string, bool)
}

// Config is the configuration of one node. It is not safe for concurrent use while components are read from it.
type Config struct {
	Server    *Server
	Telemetry *Telemetry
	// Notices are things that the operator should know and that stop nothing.
	Notices []component.Cause

	home   string
	expand *expander
}

// Load reads repository/conf/carbon.xml; without the file, defaults hold. Components are read by Component. An error stops the
// start.
func Load(o Options) (*Config, error) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	c := &Config{home: o.Home, expand: &expander{home: o.Home, env: o.Env, props: o.Properties}}
	s, notices, err := loadServer(o, c.expand)
	if err != nil {
		return nil, err
	}
	c.Server, c.Notices = s, notices
	if c.Telemetry, err = c.loadTelemetry(); err != nil {
		return nil, err
	}
	return c, nil
}

// Sources are the files beside the components' own that values come from, absolute: the file of secrets, and those that were named
// by ${file:PATH} so far.
func (c *Config) Sources() []string {
	return append([]string{filepath.Join(c.home, SecretsFile)}, c.expand.files...)
}

// Orphans gives a notice for each file in repository/conf/components that belongs to none of the names.
func (c *Config) Orphans(installed []string) []component.Cause {
	entries, _ := os.ReadDir(filepath.Join(c.home, ComponentsFolder))
	var out []component.Cause
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), ".yaml")
		if is && !slices.Contains(installed, name) {
			n := ErrIgnored.New("no component %s is installed", name).At(ComponentsFolder+"/"+e.Name(), 0, 0)
			out = append(out, *component.CauseOf(n))
		}
	}
	return out
}
