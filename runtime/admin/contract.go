// Package admin is the one admin API that the CLI and the console use: JSON over HTTP with server-sent events, on the
// gateway below /api and on the node's admin socket. It must not know how anything it shows or asks for is done.
package admin

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Errors that a Runtime answers with; the API and the CLI give each its own status and exit code.
var (
	ErrNoComponent = cause.Define("CBN-API-001", "No component of that name is installed.",
		"See `carbonado component ls` for the names.").Code(codes.NotFound)
	ErrBusy = cause.Define("CBN-API-002", "The component is being changed by somebody else.",
		"Try again in a moment.").Code(codes.Aborted)
	ErrRefused = cause.Define("CBN-API-003", "The component can't be brought into that state.",
		"See `carbonado component diag` for the cause.").Code(codes.FailedPrecondition)
	ErrTimeout = cause.Define("CBN-API-004", "The component did not reach the state in time.",
		"See `carbonado component diag` and `carbonado component history`.").Code(codes.DeadlineExceeded)
)

// Runtime is what this room needs of the kernel. Methods are safe for concurrent use. Those that change something return
// when the change is done or has failed, within the context's deadline. actor names who asked, for the history.
type Runtime interface {
	Status(ctx context.Context) (Status, error)
	// Components lists the installed ones, ordered by name.
	Components(ctx context.Context) ([]Component, error)
	// Component describes one (Detail set); ErrNoComponent if it is not installed.
	Component(ctx context.Context, name string) (Component, error)
	// History gives the transitions of one component, oldest first: of this run, or with all of earlier ones too.
	History(ctx context.Context, name string, all bool) ([]Transition, error)
	// Diag says why a component is not as asked for: state, first unmet cause with its chain, what it blocks, the fix.
	Diag(ctx context.Context, name string) (Diagnosis, error)
	// Logs copies the last n lines of a component's log ("" is the kernel's) to w, and with follow goes on until ctx ends.
	Logs(ctx context.Context, name string, n int, follow bool, w io.Writer) error

	Start(ctx context.Context, name, actor string) error
	Stop(ctx context.Context, name, actor string) error
	// Restart replaces the process by another one beside it; hard kills the old one first.
	Restart(ctx context.Context, name, actor string, hard bool) error
	// Disable and Enable write a rule that outlives the kernel, and bring the component into the state that follows from it.
	Disable(ctx context.Context, name, actor string) error
	Enable(ctx context.Context, name, actor string) error

	Services(ctx context.Context) ([]ServiceInfo, error)
	// Plan is the present plan as runtime/plan prints it (SEAMS.md section 7).
	Plan(ctx context.Context) (json.RawMessage, error)
	Profile(ctx context.Context) (Profile, error)
	// Listeners are the addresses that this node listens on, by "Component/name" and by "gateway/https", "gateway/http".
	Listeners(ctx context.Context) (map[string]string, error)

	// Events sends what happens from now on until ctx ends; the channel is closed then. A reader that is too slow gets an
	// event of kind "lost" in place of those it missed.
	Events(ctx context.Context) (<-chan Event, error)
}

// Artifacts is the room of hot deployment as far as the API shows it.
type Artifacts interface {
	List(typ string) []deploy.Artifact
}

// Status answers `carbonado status`.
type Status struct {
	// State is STARTING, RUNNING or STOPPING.
	State       string    `json:"state"`
	Profile     string    `json:"profile"`
	GuardianPid int       `json:"guardianPid"`
	KernelPid   int       `json:"kernelPid"`
	Since       time.Time `json:"since"`
	NodeID      string    `json:"nodeId"`
	Version     string    `json:"version"`
	Home        string    `json:"home"`
	PortOffset  int       `json:"portOffset"`
	// Counts of components by state, for one line of summary.
	Components map[string]int `json:"components"`
	// Causes of what is not as it should be; empty if all is well.
	Causes []Cause `json:"causes"`
	// DeploymentPolling: no file events come from some folders of hot deployment, they are looked at every few seconds.
	DeploymentPolling bool `json:"deploymentPolling,omitempty"`
	// Deployment is the generation that this node's deployment folder holds; left out before the first.
	Deployment *Generation `json:"deployment,omitempty"`
	// GuardianVersion is the version of the guardian's program where that is another one than the kernel's: it is replaced at the next
	// start of the whole.
	GuardianVersion string `json:"guardianVersion,omitempty"`
	// Takeover is set in a kernel that followed another beneath running components.
	Takeover *Takeover `json:"takeover,omitempty"`
	// Upgrade is the last one since the guardian's start.
	Upgrade *Upgrade `json:"upgrade,omitempty"`
}

// Component is one line of `carbonado component ls`; Detail is filled by Component only.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// State is the unit's state, for example ACTIVE; DISABLED for a unit that a rule keeps out.
	State  string `json:"state"`
	Health string `json:"health"`
	// Pid is 0 without a process.
	Pid      int `json:"pid"`
	Restarts int `json:"restarts"`
	// DisabledBy is the rule that disables the component; empty if none.
	DisabledBy string           `json:"disabledBy"`
	Cause      *Cause           `json:"cause"`
	Detail     *ComponentDetail `json:"detail,omitempty"`
}

// ComponentDetail is what `carbonado component show` adds.
type ComponentDetail struct {
	Summary    string    `json:"summary"`
	Generation uint64    `json:"generation"`
	Since      time.Time `json:"since"`
	// Package is the folder of the installed package, Digest that of its executable.
	Package string `json:"package"`
	Digest  string `json:"digest"`
	// LastResult is why the last run ended: ok, exit code, signal, …; empty before the first end.
	LastResult string `json:"lastResult"`
	// LastUpdate is what became of the last replacement of the process by another one beside it, in this run of the kernel.
	LastUpdate *Replacement `json:"lastUpdate,omitempty"`
	Provides   []string     `json:"provides"`
	Requires   []Reference  `json:"requires"`
	Gates      []Gate       `json:"gates"`
	Deploys    []string     `json:"deploys"`
	Verbs      []string     `json:"verbs"`
	// Config is the effective configuration as JSON, secrets as "***".
	Config json.RawMessage `json:"config,omitempty"`
	// Limits bound the running process's use of the machine, Confinement what it gets at; empty without a process.
	Limits      []component.Measure `json:"limits"`
	Confinement []component.Measure `json:"confinement"`
}

// Reference is one entry under `requires` and what it is wired to.
type Reference struct {
	Name        string `json:"name"`
	Service     string `json:"service"`
	Version     string `json:"version"`
	Cardinality string `json:"cardinality"`
	// Minimum, Filter and the cardinality are as configuration has changed them.
	Minimum   int      `json:"minimum"`
	Policy    string   `json:"policy"`
	Option    string   `json:"option"`
	Filter    string   `json:"filter"`
	Bound     []string `json:"bound"`
	Suspended bool     `json:"suspended"`
}

// Gate is a startup gate of a component and how it stands.
type Gate struct {
	Name string `json:"name"`
	// State is open, closed or expired; waiting before the component runs.
	State    string      `json:"state"`
	Policy   string      `json:"policy"`
	Deadline string      `json:"deadline"`
	Services []GateCount `json:"services"`
	// Missing says what a closed gate lacks.
	Missing string `json:"missing"`
}

// GateCount is how many services of one kind a gate has and wants.
type GateCount struct {
	Service string `json:"service"`
	Have    int    `json:"have"`
	Want    int    `json:"want"`
}

// Transition is one line of `carbonado component history`.
type Transition struct {
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	Reason     string    `json:"reason"`
	Actor      string    `json:"actor"`
	Generation uint64    `json:"generation"`
	// Beside: the move of a process that does not serve: a successor that is not ready yet, or one that was replaced.
	Beside bool `json:"beside,omitempty"`
}

// Diagnosis answers `carbonado component diag`.
type Diagnosis struct {
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Health     string    `json:"health"`
	Since      time.Time `json:"since"`
	Profile    string    `json:"profile"`
	DisabledBy string    `json:"disabledBy"`
	// Cause is the first unmet one, its chain down to the leaf; nil if the component is as asked for.
	Cause *Cause `json:"cause"`
	// Blocks names the components that wait for this one.
	Blocks []string `json:"blocks"`
	// LastResult is why the last run ended.
	LastResult string `json:"lastResult"`
	// Evidence are the last lines of the component's log.
	Evidence []string `json:"evidence"`
	// Fix is what to do about the leaf of the cause; empty if nothing is wrong or nothing helps.
	Fix string `json:"fix"`
	// AsOf is the past moment that was asked about; nil is now. Reason and Actor are then those of the last transition before it.
	AsOf   *time.Time `json:"asOf,omitempty"`
	Reason string     `json:"reason,omitempty"`
	Actor  string     `json:"actor,omitempty"`
	// Until is when that state ended; nil if it has not, or if now was asked about.
	Until *time.Time `json:"until,omitempty"`
}

// ServiceInfo is one line of `carbonado service ls`.
type ServiceInfo struct {
	ID         uint64            `json:"id"`
	Service    string            `json:"service"`
	Version    string            `json:"version"`
	Provider   string            `json:"provider"`
	Generation uint64            `json:"generation"`
	Ranking    int32             `json:"ranking"`
	Exported   bool              `json:"exported"`
	Properties map[string]string `json:"properties"`
	// Users are the references that are bound to it, "Component/reference".
	Users []string `json:"users"`
}

// Profile says what runs by which rule.
type Profile struct {
	Name string `json:"name"`
	// Rules in force, strongest first.
	Rules []ProfileRule `json:"rules"`
}

// ProfileRule is one decision about one component.
type ProfileRule struct {
	Component string `json:"component"`
	Enabled   bool   `json:"enabled"`
	// Rule names its origin, for example "profile receiver (repository/conf/profiles.yaml:12)" or "-DdisableIndexing=true".
	Rule string `json:"rule"`
}

// Event is one message of GET /api/events.
type Event struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	// Kind is transition, health, service, artifact, deployment, update, level, status or lost.
	Kind string `json:"kind"`
	// Component it is about; empty for the kernel.
	Component string `json:"component"`
	// Text is one sentence for people.
	Text string `json:"text"`
	// Transition is set for kind transition.
	Transition *Transition `json:"transition,omitempty"`
	// Deployment is set for kind deployment.
	Deployment *ArtifactOperation `json:"deployment,omitempty"`
	// State and Health after the event, where they are known.
	State  string `json:"state,omitempty"`
	Health string `json:"health,omitempty"`
	Cause  *Cause `json:"cause,omitempty"`
}

// Cause as it is printed (SEAMS.md section 7).
type Cause struct {
	Code   string  `json:"code"`
	Text   string  `json:"text"`
	Chain  []Cause `json:"chain"`
	Fix    string  `json:"fix"`
	File   string  `json:"file,omitempty"`
	Line   int     `json:"line,omitempty"`
	Column int     `json:"column,omitempty"`
}

// CauseOf turns a cause of a contract into the one that is printed. Nil stays nil.
func CauseOf(c *commonv1.Cause) *Cause {
	if c == nil {
		return nil
	}
	out := &Cause{Code: c.Code, Text: c.Text, Fix: c.Fix, File: c.File, Line: int(c.Line), Column: int(c.Column), Chain: []Cause{}}
	for _, r := range c.Chain {
		out.Chain = append(out.Chain, *CauseOf(r))
	}
	return out
}

// Leaf is the one thing that is missing: the end of the chain, or the cause itself. Nil stays nil.
func (c *Cause) Leaf() *Cause {
	if c == nil || len(c.Chain) == 0 {
		return c
	}
	return &c.Chain[len(c.Chain)-1]
}

// FixText is what to do: the advice of the entry nearest the leaf that has one.
func (c *Cause) FixText() string {
	if c == nil {
		return ""
	}
	for i := len(c.Chain) - 1; i >= 0; i-- {
		if c.Chain[i].Fix != "" && c.Chain[i].Code != cause.Unknown.ID() { // what to do about the system's own words stands above them
			return c.Chain[i].Fix
		}
	}
	return c.Fix
}

// ArtifactOperation is one moment of an operation on an artifact, as listeners are told it.
type ArtifactOperation struct {
	// Phase is before or after, Operation deploy, update or undeploy.
	Phase       string `json:"phase"`
	Operation   string `json:"operation"`
	Path        string `json:"path"`
	Type        string `json:"type"`
	Digest      string `json:"digest"`
	Transaction uint64 `json:"transaction"`
	// Result after it: DEPLOYED, WAITING, FAULTY or GONE.
	Result string `json:"result,omitempty"`
	// Trace is the id of the trace that it was done under.
	Trace string `json:"trace"`
}
