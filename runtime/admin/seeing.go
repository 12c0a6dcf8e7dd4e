package admin

import (
	"context"
	"time"

	"carbonado.dev/carbonado/runtime/config"
)

// Seeing is what a Runtime adds for those who look closely. It is found by assertion.
type Seeing interface {
	// DiagAt is Diag as of a past time, from what was recorded.
	DiagAt(ctx context.Context, name string, at time.Time) (Diagnosis, error)
	// Boot says how the last start went: who took how long, waited for whom, and which chain made the whole so long.
	Boot(ctx context.Context) (Boot, error)
	// Graph is who is wired to whom; with a name, that component and its neighbours only.
	Graph(ctx context.Context, name string) (Graph, error)
	// Explain says where configuration values stand: those of a key, and of all keys below it. An unknown key is an ErrNoKey.
	Explain(ctx context.Context, key string) ([]Setting, error)
}

// Boot answers `carbonado blame`. Times are milliseconds since the kernel's start.
type Boot struct {
	Since time.Time `json:"since"`
	// KernelMs is when the first component began to start, TotalMs when the last of those that run was ACTIVE.
	KernelMs int64 `json:"kernelMs"`
	TotalMs  int64 `json:"totalMs"`
	// Components that were ACTIVE in this run, in the order in which they were.
	Components []BootStep `json:"components"`
	// Critical is the chain that took longest, first to last: each began when the one before it was ACTIVE.
	Critical []string `json:"critical"`
}

// BootStep is the first start of one component.
type BootStep struct {
	Name string `json:"name"`
	// WaitedMs is how long it waited for providers, StartingMs how long its own start took.
	WaitedMs   int64 `json:"waitedMs"`
	StartingMs int64 `json:"startingMs"`
	// StartedAtMs and ActiveAtMs are when its own start began and ended.
	StartedAtMs int64 `json:"startedAtMs"`
	ActiveAtMs  int64 `json:"activeAtMs"`
	// After is the provider that it waited for last, or the last component of the start levels beneath its own; empty if none.
	After string `json:"after"`
	// Attempts is how many starts it took.
	Attempts int `json:"attempts"`
}

// Graph answers `carbonado graph`.
type Graph struct {
	// Focus is the component asked for; empty is all.
	Focus string      `json:"focus"`
	Nodes []GraphNode `json:"nodes"`
	Edges []GraphEdge `json:"edges"`
}

// GraphNode is one component, or the kernel.
type GraphNode struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Health string `json:"health"`
	Cause  *Cause `json:"cause"`
}

// GraphEdge is one reference: From needs To.
type GraphEdge struct {
	From        string `json:"from"`
	To          string `json:"to"`
	Reference   string `json:"reference"`
	Service     string `json:"service"`
	Cardinality string `json:"cardinality"`
	// State is bound, suspended (the provider is being restarted) or planned (not bound now).
	State string `json:"state" enum:"bound,suspended,planned"`
}

// Setting is one line of `carbonado config explain`.
type Setting struct {
	Key string `json:"key"`
	// Value as JSON, secrets as "***".
	Value any `json:"value"`
	// Layer is default, file, environment or argument.
	Layer string `json:"layer"`
	// File is where the value stands: a path in the installation, "$VARIABLE", "-Dname"; Line and Column from 1, 0 is unknown.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// registerSeeing adds the calls of Seeing; diag without a time needs none.
func (s *Server) registerSeeing() {
	type diagInput struct {
		Name string    `path:"name" doc:"Name of the component"`
		At   time.Time `query:"at" doc:"A past time, RFC 3339; left out: now"`
	}
	see, _ := s.Runtime.(Seeing)
	get(s, "diag", "/api/components/{name}/diag", "Why a component is not, or was not, as asked for", func(ctx context.Context, in *diagInput) (Diagnosis, error) {
		if in.At.IsZero() || see == nil {
			return s.Runtime.Diag(ctx, in.Name)
		}
		if in.At.After(time.Now()) {
			return Diagnosis{}, ErrInput.New("%s is not past", in.At.Format(time.RFC3339))
		}
		return see.DiagAt(ctx, in.Name, in.At)
	})
	if see == nil {
		return
	}
	get(s, "boot", "/api/boot", "How the last start went", func(ctx context.Context, _ *none) (Boot, error) { return see.Boot(ctx) })
	type graphInput struct {
		Component string `query:"component" doc:"Only this component and its neighbours"`
	}
	get(s, "graph", "/api/graph", "Who is wired to whom", func(ctx context.Context, in *graphInput) (Graph, error) { return see.Graph(ctx, in.Component) })
	type keyInput struct {
		Key string `query:"key" doc:"A key of carbon.xml (Ports.HTTPS) or of a component (DataService.fsync), or what stands above keys; left out: all"`
	}
	get(s, "config", "/api/config", "Where configuration values stand", func(ctx context.Context, in *keyInput) ([]Setting, error) { return see.Explain(ctx, in.Key) })
}

// Settings turns settings of the configuration into those that are printed.
func Settings(in []config.Setting) []Setting {
	out := make([]Setting, len(in))
	for i, x := range in {
		out[i] = Setting{Key: x.Key, Value: x.Value, Layer: string(x.From.Layer), File: x.From.File, Line: x.From.Line, Column: x.From.Column}
	}
	return out
}
