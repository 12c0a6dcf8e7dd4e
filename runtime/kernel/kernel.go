// Package kernel is the composition root: it reads an installation, makes the rooms below it and wires them, and runs until it is
// told to stop. Nothing but runtime/cmd imports it. It must not know any component by name, nor do any room's work.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/profile"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/registry"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/carbonado/runtime/tlskeys"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/idle"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
	"carbonado.dev/sdk/service"
	"carbonado.dev/sdk/telemetry"
)

// Exit codes of the server.
const (
	ExitOK      = 0
	ExitFailed  = 1
	ExitUsage   = 64
	ExitConfig  = 78
	ExitRestart = 121
)

const (
	// settleDeadline is how long the start line waits for components that are on their way.
	settleDeadline = 2 * time.Minute
	// startPatience is how long it waits for one whose process doesn't answer, and that no other waits for.
	startPatience = 10 * time.Second
	// shutdownDeadline bounds a stop of everything; the guardian ends what remains.
	shutdownDeadline = 90 * time.Second
)

// ErrHome is the kind of an installation folder that can't be used.
var ErrHome = cause.Define("CBN-CFG-090", "The installation folder can't be used.", "Set CARBON_HOME to a folder made by `make install PREFIX=DIR`.")

// Options say which installation runs, and how it was asked to.
type Options struct {
	// Home is the installation's folder, absolute.
	Home string
	// Args are the server's arguments: profile words and -Dname=value.
	Args []string
	// Version of the product.
	Version string
	// Errors is the error catalogue as docs/errors.md has it.
	Errors string
	// Terminal takes the log besides its files; Out the few lines for the person who started the server.
	Terminal, Out io.Writer
	// Interactive: Out is a terminal, so that a one-time sign-in link may be printed.
	Interactive bool
}

// Kernel is one run.
type Kernel struct {
	options Options
	home    string
	nodeID  string
	run     uint64
	started time.Time
	// booted is when the first plan was made and components began to start.
	booted time.Time
	rules  *profile.Rules
	// based is what basis gives.
	based atomic.Pointer[basis]

	logs        *logs
	log         hclog.Logger
	history     *history
	deployments *deployments
	arguments   *arguments
	metrics     *metrics
	telemetry   *telemetry.Registry
	traces      *traces
	guardian    *guardian.Client
	supervisor  *supervisor.Supervisor
	packages    *packages
	registry    *registry.Registry
	reconciler  *reconcile.Reconciler
	coordinator cluster.Coordinator
	deployer    *deploy.Service
	generations generations
	services    *service.Server
	host        *host
	guests      *guests
	confiner    *confiner
	events      *events
	routes      *routes
	auth        *authenticators
	gateway     *gateway.Gateway
	gatewayEnd  func()
	deployerEnd func()
	updates     updates
	configs     configs
	packagesEnd func()
	admin       *admin.Server
	socket      *admin.Socket
	keys        *tlskeys.Pair
	// succession is this kernel's place among those of one guardian; lastNote is guarded by its keeping.
	succession succession
	lastNote   []byte
	// required are the names of running components that are marked so.
	required atomic.Pointer[map[string]bool]
	// raised is closed when the first start level is reached; nil before.
	raised chan struct{}
	// doors are the gateway's addresses by key; written before anything is served.
	doors map[string]string

	// planning is held while the desired state changes; it guards plans, the planned changes by ID.
	planning sync.Mutex
	plans    map[string]admin.ChangeRequest

	// mu guards state, exit and lost: why a required component takes the server with it.
	mu    sync.Mutex
	state string
	exit  int
	lost  error
	stop  context.CancelFunc
}

// Run runs the kernel until it is told to stop, and answers the process's exit code. It must be called in a process that the guardian
// started.
func Run(o Options) int {
	k := &Kernel{options: o, home: o.Home, started: time.Now(), state: "STARTING", doors: map[string]string{}, plans: map[string]admin.ChangeRequest{}, telemetry: telemetry.New()}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(supervisor.GCPercent) // a start makes much garbage; package idle gives back what is left of it
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, k.stop = context.WithCancel(ctx)
	defer k.stop()
	if err := k.open(ctx); err != nil {
		lost := k.lostRequired()
		switch {
		case lost != nil:
			err = lost // what came of it while this kernel was being opened says less
			k.sayStopping()
		case ctx.Err() != nil && !k.succession.follows():
			fmt.Fprintln(o.Terminal, "carbonado: told to stop while it started")
			k.close()
			return ExitOK
		}
		k.mu.Lock()
		k.exit = exitCode(err)
		k.mu.Unlock()
		k.sayFailure(err)
		if k.succession.follows() && lost == nil {
			k.leave() // the components run on: the guardian tries another kernel, or ends them
		} else {
			k.close()
		}
		return exitCode(err)
	}
	defer func() {
		k.finish()
		if err := k.lostRequired(); err != nil {
			k.sayFailure(err) // the last words, after all else has stopped
		}
	}()
	go idle.Watch(ctx)
	go k.confiner.keepShowing(ctx, k.reconciler.Plan)
	k.announce(ctx)
	k.runGenerations()
	<-ctx.Done()
	k.setState("STOPPING")
	k.log.Info("stopping")
	k.sayStopping()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.exit
}

// sayFailure tells the person who started the server why it ends.
func (k *Kernel) sayFailure(err error) {
	fmt.Fprintf(k.options.Terminal, "carbonado: %v\n", err)
	if fix := cause.From(err).Proto().GetFix(); fix != "" {
		fmt.Fprintf(k.options.Terminal, "  fix: %s\n", fix)
	}
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, profile.ErrUsage), errors.Is(err, config.ErrArgument):
		return ExitUsage
	case strings.HasPrefix(cause.From(err).Code(), "CBN-CFG"):
		return ExitConfig
	}
	return ExitFailed
}

// open brings the node up. On an error, close undoes what was done.
func (k *Kernel) open(ctx context.Context) error {
	if err := k.read(ctx); err != nil {
		return err
	}
	var err error
	if k.guardian, err = guardian.Connect(); err != nil {
		return err
	}
	if err := k.inherit(ctx); err != nil {
		return err
	}
	if err := k.openPackages(ctx); err != nil {
		return err
	}
	k.metrics = newMetrics(k)
	p, err := k.makePlan(ctx)
	if err != nil {
		return err
	}
	if err := k.openKeys(); err != nil {
		return err
	}
	repository := filepath.Join(k.home, "repository")
	if k.confiner, err = newConfiner(k.home, k.basis().config.Server.Privileges); err != nil {
		return err
	}
	if u := k.confiner.users; u != nil && u.damaged != "" {
		k.sayDamaged(filepath.Join("repository", "data", "kernel", u.damaged), errors.New("it can't be read"))
	}
	if k.supervisor, err = supervisor.New(supervisor.Config{Guardian: k.guardian, RunFolder: filepath.Join(repository, "run"), Log: k.logs.root, Digests: k.basis().catalog.Digests(), OwnUsers: k.confiner.users != nil, Inherited: k.succession.follows()}); err != nil {
		return err
	}
	k.registry = registry.New()
	k.events = newEvents()
	k.host = newHost(k)
	k.guests = newGuests(k)
	if err := k.openServices(ctx); err != nil {
		return err
	}
	k.updates.pins = k.pinServing
	k.reconciler = reconcile.New(reconcile.Config{
		Host: k.host, Kernel: k.services, Registry: k.registry, Log: k.log, Random: mathrand.Float64, Notify: k.notify,
	})
	k.deployer, err = deploy.New(deploy.Options{
		Repository: repository, Data: filepath.Join(repository, "data", "kernel", "artifacts"), Deployers: k.packages, Roles: k.roles(), Resume: k.succession.follows(),
		Times: deploy.Times{Rescan: k.basis().config.Server.UpdateInterval.V},
		Log:   k.logs.root.Named("deploy"), OnChange: k.artifact, Listeners: []deploy.Listener{k.events.deployment}, Telemetry: k.telemetry,
	})
	if err != nil {
		return err
	}
	k.attach(ctx, p)
	if p, err = k.keepGiven(ctx, p); err != nil {
		return err
	}
	kernelv1.RegisterCoordinatorServer(k.services, cluster.NewServer(k.coordinator))
	kernelv1.RegisterArtifactsServer(k.services, deploy.NewServer(k.deployer))
	if err := k.services.Start(); err != nil {
		return err
	}
	for i, name := range []string{kernelv1.Coordinator_ServiceDesc.ServiceName, kernelv1.Artifacts_ServiceDesc.ServiceName} {
		if _, err := k.registry.Publish(registry.Publication{
			Service: name, Version: semver.MustParse("1.0.0"), Provider: reconcile.KernelName, Generation: k.run, LocalID: uint64(i + 1),
			Address: k.services.Address(), Pid: os.Getpid(), Uid: os.Getuid(),
		}); err != nil {
			return err
		}
	}
	if err := k.openTraces(); err != nil {
		return err
	}
	// Components start while the front is being built.
	k.history.begin(k.basis().resolution.Profile)
	k.booted = time.Now()
	k.begin(p)
	k.keepNote(ctx) // before any component is told a key that it makes
	k.putInForce(p)
	k.succession.end = k.keepNotes()
	k.raise(ctx)
	k.deployments.record(reconcile.KernelName, "the server started", nil, "done", k.desired())
	if err := k.openDoors(ctx); err != nil {
		return err
	}
	k.runDeployer()
	k.watchPackages()
	k.watchConfiguration()
	k.packages.run()
	return nil
}

// runDeployer keeps deployers equal to the disk until close.
func (k *Kernel) runDeployer() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := k.deployer.Run(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("hot deployment ended", "error", err)
			k.stop()
		}
	}()
	offers := k.registry.Track(registry.Query{}, func(registry.Event) { k.deployer.Provide(k.offers()) })
	k.deployerEnd = func() {
		offers.Close()
		cancel()
		<-ended
	}
}

// offers names the published services, for artifacts that wait for one.
func (k *Kernel) offers() []string {
	names := map[string]bool{}
	for _, s := range k.registry.Find(registry.Query{}) {
		names["service:"+s.Service] = true
		for key, value := range s.Properties {
			names["service:"+s.Service+"?"+key+"="+value] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// read reads the installation: configuration, flags, packages.
func (k *Kernel) read(ctx context.Context) error {
	repository := filepath.Join(k.home, "repository")
	if st, err := os.Stat(filepath.Join(repository, "conf")); err != nil || !st.IsDir() {
		return ErrHome.Wrap(err, "%s has no repository/conf", k.home)
	}
	data := filepath.Join(repository, "data", "kernel")
	for _, dir := range []string{data, filepath.Join(repository, "run"), filepath.Join(repository, "deployment", "server"), filepath.Join(repository, "resources", "security")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return unusable(err, dir)
		}
	}
	var err error
	if k.logs, err = newLogs(filepath.Join(repository, "logs"), k.options.Terminal, hclog.Info); err != nil {
		return unusable(err, "log folder")
	}
	k.log = k.logs.root.Named(kernelLog)
	if k.nodeID, err = k.readNodeID(data); err != nil {
		return unusable(err, "node id")
	}
	// The coordinator's lock on its folder is what keeps a second server out of the installation.
	if k.coordinator, err = k.openCoordinator(filepath.Join(data, "coordinator")); err != nil {
		return err
	}
	if k.run, err = k.nextRun(data); err != nil {
		return unusable(err, "run counter")
	}
	if k.history, err = openHistory(data); err != nil {
		return unusable(err, "history")
	}
	if k.deployments, err = openDeployments(data); err != nil {
		return unusable(err, "history of the desired state")
	}
	k.arguments = openArguments(data, k.options.Args, os.Getppid())
	k.rules = profile.RulesAt(k.home)
	return nil
}

// makePlan reads flags, packages, rules and configuration anew and plans.
func (k *Kernel) makePlan(ctx context.Context) (*plan.Plan, error) {
	began := time.Now()
	in, err := inputs.Read(ctx, k.home, k.arguments.inForce())
	if err != nil {
		return nil, err
	}
	if len(in.Rest) > 0 {
		return nil, profile.ErrUsage.New("argument %q is not known", in.Rest[0])
	}
	var names []string
	for _, p := range in.Packages {
		names = append(names, p.Name)
	}
	if err := in.Catalog.Remember(names...); err != nil {
		return nil, err
	}
	for _, n := range in.Notices {
		k.log.Warn("notice", "cause", n.String())
	}
	p := k.settleOn(in)
	if err := requiredRun(p); err != nil {
		return nil, err
	}
	k.baseOn(in)
	if k.metrics != nil {
		k.metrics.planned(time.Since(began))
	}
	return p, nil
}

// remembered is the content of a small file, made at the first use.
func remembered(path string, make func() string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	v := make()
	return v, os.WriteFile(path, []byte(v+"\n"), 0o600)
}

// notify passes the reconciler's events on: to history, to watchers, to hot deployment and the gateway.
func (k *Kernel) notify(ev reconcile.Event) {
	if t := ev.Transition; t != nil {
		k.confiner.look()
		k.metrics.transition(ev.Component, t.To.String())
		k.traces.look()
		k.history.record(ev.Component, *t)
		k.mourn(ev.Component, *t)
		level := hclog.Info
		if t.Cause != nil && t.To != t.From {
			level = hclog.Warn
		}
		k.log.Log(level, "state", "component", ev.Component, "from", t.From.String(), "to", t.To.String(), "reason", t.Reason, "actor", t.Actor)
		if k.deployer != nil {
			k.deployer.Ring()
		}
	}
	k.history.event(ev)
	k.updates.ended(ev)
	k.events.reconcile(ev)
}

func (k *Kernel) setState(s string) {
	k.mu.Lock()
	k.state = s
	k.mu.Unlock()
	k.events.status(s)
}

// announce waits until the components have settled and says so.
func (k *Kernel) announce(ctx context.Context) {
	most := settleDeadline
	if k.succession.follows() {
		most = takeOverSettle
	}
	settle, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	select {
	case <-k.raised:
	case <-settle.Done():
	}
	late, err := k.reconciler.WaitMostSettled(settle, startPatience)
	if ctx.Err() != nil {
		return
	}
	if err != nil || len(late) > 0 {
		k.log.Warn("some components are still on their way", "components", strings.Join(late, ", "))
	}
	if err := k.guardian.Ready(ctx); err != nil {
		k.log.Warn("the guardian does not know that this kernel has come up", "error", err)
	}
	k.setState("RUNNING")
	k.tookOver()
	k.writeSummary(ctx)
	if err := k.basis().catalog.SaveDigests(); err != nil {
		k.log.Warn("digests are not kept for the next start", "error", err)
	}
}

// close ends everything in the reverse order; it may be called after a failed open.
func (k *Kernel) close() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownDeadline)
	defer cancel()
	k.closeDoors(ctx)
	if k.guests != nil {
		k.guests.close()
	}
	if k.packagesEnd != nil {
		k.packagesEnd()
	}
	if k.configs.end != nil {
		k.configs.end()
	}
	if k.succession.end != nil {
		k.succession.end()
	}
	k.closeGenerations()
	if k.deployerEnd != nil {
		k.deployerEnd()
	} else if k.deployer != nil {
		_ = k.deployer.Close()
	}
	if k.packages != nil {
		k.packages.close()
	}
	if k.reconciler != nil {
		k.reconciler.Shutdown(ctx)
		k.confiner.show(k.reconciler.Plan())
	}
	if k.services != nil {
		k.services.Stop()
	}
	if k.supervisor != nil {
		k.supervisor.Close(ctx)
	}
	k.traces.close()
	if c, ok := k.coordinator.(io.Closer); ok && c != nil {
		_ = c.Close()
	}
	if k.history != nil {
		k.history.end()
		k.history.close()
	}
	if k.logs != nil {
		k.mu.Lock()
		exit := k.exit
		k.mu.Unlock()
		k.log.Info("stopped", "exit", exit)
		k.logs.close()
	}
}
