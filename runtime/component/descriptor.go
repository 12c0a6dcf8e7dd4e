package component

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"carbonado.dev/sdk/filter"
	"github.com/Masterminds/semver/v3"
)

// Descriptor is what component.yaml says, checked. It is read-only once made; runtime/catalog makes it.
type Descriptor struct {
	// Name is the component's name and the name of its flag: -Ddisable<Name>=true.
	Name    string
	Version *semver.Version
	Summary string
	// Executable is the path of the executable within the package, with slashes.
	Executable string
	Provides   []Provide
	Requires   []Require
	Gates      []Gate
	Deploys    []Deploy
	// Config is the JSON Schema of the component's configuration: an object, `{}` if the component has none.
	Config     json.RawMessage
	CLI        []Verb
	Ports      []Port
	Shares     []Share
	Uses       []Use
	StartLevel int
	Resources  Resources
	Restart    Restart
	// StartTimeout bounds the way from the launch to ACTIVE; 0 leaves it to the bounds of each step.
	StartTimeout time.Duration
	// Modified are the top-level keys of the configuration that the component takes while it serves; "*" is all.
	Modified []string
	// Runtime is what the executable needs of the machine.
	Runtime Runtime
	// Watchdog is how long the process may give no sign of life before it is replaced; 0 is the supervisor's default.
	Watchdog time.Duration
	// HealthGrace is how long it may be TEMPORARILY_UNAVAILABLE before it is CRITICAL; 0 is the kernel's default.
	HealthGrace time.Duration
	// Privileges the component asks for, for example "tls.server".
	Privileges []string
	// Required: the host stops if this component cannot run.
	Required bool
	// File is the descriptor's own path, for messages.
	File string
}

// Provide is one service that the component offers.
type Provide struct {
	// Service is the full name of the contract.
	Service string
	Version *semver.Version
	// Contract is the FileDescriptorSet within the package, or empty.
	Contract   string
	Properties map[string]string
	// Dynamic: the component publishes registrations itself, with more properties than stand here.
	Dynamic bool
	// Count is how many registrations it brings, for gates that expect them: 1, or what a dynamic one says.
	Count   int
	Ranking int
	// Exported: other nodes may use it.
	Exported bool
	Line     int
}

// Cardinality says how many providers a reference needs at least and takes at most.
type Cardinality struct {
	Min int
	// Max is the most bound at once; Many is no limit.
	Max int
	// AtStart: Min holds for the start only; afterwards the reference is optional.
	AtStart bool
}

// Many is Cardinality.Max without limit.
const Many = -1

// The cardinalities that component.yaml knows; `minimum` raises Min of the last two.
var (
	Optional  = Cardinality{Min: 0, Max: 1}
	Mandatory = Cardinality{Min: 1, Max: 1}
	AtStart   = Cardinality{Min: 1, Max: 1, AtStart: true}
	Multiple  = Cardinality{Min: 0, Max: Many}
	AtLeast1  = Cardinality{Min: 1, Max: Many}
)

// Needs is how many providers must be there: for a component that is to start, or for one that runs.
func (c Cardinality) Needs(running bool) int {
	if running && c.AtStart {
		return 0
	}
	return c.Min
}

func (c Cardinality) String() string {
	switch {
	case c.Max == Many:
		return fmt.Sprintf("%d..n", c.Min)
	case c.AtStart:
		return "1..1 at start"
	case c.Min == 0:
		return "0..1"
	}
	return "1..1"
}

// Require is one reference of the component.
type Require struct {
	// Name is how the component's code calls the reference.
	Name    string
	Service string
	// Contract is the FileDescriptorSet within the package that the component was built with; empty where the component provides the same
	// service, whose contract is taken then, or where it is not known.
	Contract string
	// Versions is the range of contract versions that will do; nil is any.
	Versions    *Range
	Cardinality Cardinality
	// Filter says which properties a provider must have; nil is any.
	Filter *filter.Filter
	// Static: a change of providers ends the component and starts it anew. Otherwise they change beneath it.
	Static bool
	// Reluctant: what is bound is kept while it lasts. Otherwise a better provider takes its place (greedy).
	Reluctant bool
	// Grace: how long the health that a reference asks for may be lost before it counts.
	Grace time.Duration
	// Line in component.yaml.
	Line int
}

// Deploy is one type of artifact that the component takes.
type Deploy struct {
	Type string
	// Directory below repository/deployment/server.
	Directory string
	// Suffix of the files, with its dot.
	Suffix string
}

// Verb is one command that the package adds to the command line.
type Verb struct {
	Verb    string
	Summary string
}

// Port is a TCP port that the kernel opens and hands over; the port offset is added by the kernel.
type Port struct {
	Name string
	Port int
	// Host to listen on; empty is every address.
	Host string
}

// Share is a folder in the component's data folder that other components may use.
type Share struct {
	Name string
	// Write: users of it may write there.
	Write bool
}

// Use names a share of another component.
type Use struct {
	Component string
	Share     string
}

func (u Use) String() string { return u.Component + "/" + u.Share }

// Resources is the component's budget. Zero is the default of the supervisor.
type Resources struct {
	// Memory in bytes.
	Memory int64
	// CPU in thousandths of a core.
	CPU int64
	// Files that may be open at once.
	Files int64
	// Processes and threads at once.
	Processes int64
}

// Runtime names language runtimes that must be there; nil is none.
type Runtime struct {
	// Java is the range of versions that will do.
	Java *semver.Constraints
}

// Restart is the restart budget: so many crashes per so much time are forgiven, with 0 none.
type Restart struct {
	Budget int
	// Per is above 0; only the zero Restart, which stands for DefaultRestart, has none.
	Per time.Duration
}

// DefaultRestart holds where a descriptor says nothing.
var DefaultRestart = Restart{Budget: 5, Per: 10 * time.Minute}

// InPlace tells whether the component takes a change of these keys of its configuration while it serves.
func (d *Descriptor) InPlace(keys []string) bool {
	if slices.Contains(d.Modified, "*") {
		return true
	}
	for _, k := range keys {
		if !slices.Contains(d.Modified, k) {
			return false
		}
	}
	return len(keys) > 0
}

// HasPrivilege tells whether the descriptor asks for a privilege.
func (d *Descriptor) HasPrivilege(name string) bool {
	for _, p := range d.Privileges {
		if p == name {
			return true
		}
	}
	return false
}
