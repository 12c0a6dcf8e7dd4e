package component

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	"carbonado.dev/sdk/idle"
)

// SDKVersion is the version of this SDK, reported by --describe.
const SDKVersion = "1.0.0"

const (
	// packageEnv names the component's package folder, in a component's process and in a CLI verb's.
	packageEnv = "CARBONADO_PACKAGE"
	// adminEnv names the node's admin socket in a CLI verb's process.
	adminEnv = "CARBONADO_ADMIN_SOCKET"
	// exitDelay lets the answer to Stop reach the kernel before the process ends.
	exitDelay = 30 * time.Millisecond
)

// Option adds to a component beside its Start.
type Option func(*options)

type options struct {
	verbs map[string]verb
}

type verb struct {
	summary string
	run     func(context.Context, *Invocation) int
}

// CLI adds a verb that component.yaml lists under `cli`. run answers the exit code.
func CLI(name, summary string, run func(context.Context, *Invocation) int) Option {
	return func(o *options) { o.verbs[name] = verb{summary, run} }
}

// Main runs a component and doesn't return.
func Main(start func(*C) error, opts ...Option) {
	run(filepath.Base(os.Args[0]), Spec{Start: start, Options: opts})
}

// MainOf runs the component that argv[0] names and doesn't return.
func MainOf(specs map[string]Spec) {
	name := filepath.Base(os.Args[0])
	spec, ok := specs[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s is no component of this executable\n", name)
		os.Exit(64)
	}
	run(name, spec)
}

func run(name string, spec Spec) {
	o := options{verbs: map[string]verb{}}
	for _, opt := range spec.Options {
		opt(&o)
	}
	switch {
	case len(os.Args) > 2 && os.Args[1] == "cli":
		os.Exit(runVerb(name, o, os.Args[2], os.Args[3:]))
	case len(os.Args) == 2 && os.Args[1] == "--describe":
		os.Exit(describe(name, o))
	}
	serve(name, spec)
}

func serve(name string, spec Spec) {
	if os.Getenv(attachEnv) != "" {
		serveAttached(name, spec)
		return
	}
	_ = layout.CloseExecutable()
	// Name and level come first: what goes to the real standard error is parsed by the kernel.
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Debug, JSONFormat: true})
	line, err := layout.Take()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is a component of Carbonado. It is started by `carbonado server`, not by hand (%v).\n", name, err)
		os.Exit(64)
	}
	_ = layout.SetProcessName(name)
	desc, err := readDescriptor(os.Getenv(packageEnv))
	if err != nil {
		logger.Error("component.yaml", "error", err)
		os.Exit(78)
	}
	layout.ProtectFromChildren(64)
	control := NewControl(spec, desc, Host{Log: logger, Listener: openInherited, Exit: func() {
		time.AfterFunc(exitDelay, func() { os.Exit(0) })
	}})
	go idle.Watch(control.c.ctx) // for the process's whole life
	// SIGINT reaches the whole group when an operator presses ^C; the kernel decides what happens then.
	signal.Ignore(syscall.SIGINT)
	plugin.Serve(handshake.Serve(line, logger.Named("go-plugin"), func(s *grpc.Server) error {
		control.Register(s)
		return nil
	}))
}

// serveAttached is serve for a process that its developer started. Its log is for the developer's eyes.
func serveAttached(name string, spec Spec) {
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Debug})
	a, err := attach()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s can't join the kernel: %v\n", name, err)
		os.Exit(1)
	}
	desc, err := readDescriptor(os.Getenv(packageEnv))
	if err != nil {
		logger.Error("component.yaml", "error", err)
		os.Exit(78)
	}
	control := NewControl(spec, desc, Host{Log: logger, Listener: a.open, Exit: func() {
		time.AfterFunc(exitDelay, func() { os.Exit(0) })
	}})
	config := handshake.Serve(a.line, logger.Named("go-plugin"), func(s *grpc.Server) error {
		control.Register(s)
		return nil
	})
	if err := a.announce(); err != nil {
		logger.Error("attach", "error", err)
		os.Exit(1)
	}
	plugin.Serve(config)
}

func readDescriptor(pkg string) (*Descriptor, error) {
	b, err := os.ReadFile(filepath.Join(pkg, "component.yaml"))
	if err != nil {
		return nil, err
	}
	var d Descriptor
	if err := yaml.Unmarshal(b, &d); err != nil {
		return nil, err
	}
	return &d, nil
}

// describe prints what this executable is, without serving.
func describe(name string, o options) int {
	verbs := map[string]string{}
	for n, v := range o.verbs {
		verbs[n] = v.summary
	}
	out := struct {
		Name     string            `json:"name"`
		SDK      string            `json:"sdk"`
		Protocol int               `json:"protocol"`
		Verbs    map[string]string `json:"verbs"`
		*Descriptor
	}{Name: name, SDK: SDKVersion, Protocol: handshake.ProtocolVersion, Verbs: verbs}
	exe, err := os.Executable()
	if err == nil {
		out.Descriptor, _ = readDescriptor(filepath.Dir(filepath.Dir(exe)))
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	if e.Encode(out) != nil {
		return 1
	}
	return 0
}

func runVerb(name string, o options, verbName string, args []string) int {
	v, ok := o.verbs[verbName]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s has no verb %s\n", name, verbName)
		return 64
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return v.run(ctx, &Invocation{Verb: verbName, Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Admin: AdminClient(os.Getenv(adminEnv))})
}
