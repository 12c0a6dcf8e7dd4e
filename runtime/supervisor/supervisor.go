package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/digest"
	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
)

const (
	// DefaultFiles is the number of descriptors of a component whose descriptor names none.
	DefaultFiles = 4096
	// DefaultProcesses is the number of processes and threads of a component whose descriptor names none.
	DefaultProcesses = 1024
	// TailLines is how many of the last lines of output an Exit keeps.
	TailLines = 40
	// oomScore makes the system choose components before guardian and kernel when memory runs out.
	oomScore = 300
	// GCPercent lets the heap grow to five times what lives, within GOMEMLIMIT: a third less CPU at the same bound (SEAMS.md section 2). The
	// kernel takes it too.
	GCPercent = 400
	// dataLeast and dataFactor make RLIMIT_DATA of the memory budget. It is a backstop against a leak that would take the machine, not
	// the budget itself: runtimes map more than they use.
	dataLeast  = 1 << 30
	dataFactor = 4
	// pluginMargin is added to go-plugin's own start timeout, which must not fire before ours.
	pluginMargin = time.Minute
)

// AllowedEnv are the names that Spec.Env may set. The supervisor sets those that are not given (TZ only where the kernel has it), and
// go-plugin adds its handshake. Nothing else is in a component's environment.
var AllowedEnv = []string{"GOGC", "GOMEMLIMIT", "TZ", "LANG", "TMPDIR", "CARBONADO_PACKAGE", "CARBONADO_JAVA"}

// Config is what the composition root gives.
type Config struct {
	// Guardian is the way to fork.
	Guardian *guardian.Client
	// RunFolder is repository/run. Attempts get folders of their own below it, or below a folder that it names where its path is
	// too long for Unix sockets.
	RunFolder string
	// Protocols are the versions of the control protocol that this kernel speaks; nil is all that there are.
	Protocols []int
	// OwnUsers: components may be users of their own (Spec.Cage), who must be able to pass through the run folder.
	OwnUsers bool
	// Digests remembers the digests of executables; nil is a memory of its own.
	Digests *digest.Cache
	// Inherited: processes of an earlier kernel run. Their run folders stay until Tidy.
	Inherited bool
	// Log takes the components' lines, each under its component's name, and the supervisor's own.
	Log hclog.Logger
}

// Supervisor starts instances. Safe for concurrent use.
type Supervisor struct {
	conf     Config
	attempts attempts
	events   *events
	work     sync.WaitGroup // every goroutine of an instance

	mu        sync.Mutex // guards what follows
	instances map[*Instance]struct{}
	short     []string // names given to ShortFolder
	closed    bool

	life context.Context // ends with Close, and with it every start under way
	die  context.CancelFunc
}

// New makes a supervisor and, unless processes were inherited, clears what an earlier kernel left in the run folder.
func New(c Config) (*Supervisor, error) {
	if c.Guardian == nil || c.Log == nil {
		return nil, ErrSpec.New("a supervisor without guardian or log")
	}
	a, err := newAttempts(c.RunFolder, c.Inherited)
	if err != nil {
		return nil, err
	}
	if c.OwnUsers {
		if err := os.Chmod(a.root, 0o711); err != nil {
			return nil, ErrFolder.Wrap(err, "run folder")
		}
	}
	if c.Protocols == nil {
		c.Protocols = []int{handshake.ProtocolVersion, handshake.ProtocolUsers}
	}
	if c.Digests == nil {
		c.Digests = &digest.Cache{}
	}
	s := &Supervisor{conf: c, attempts: a, events: newEvents(), instances: map[*Instance]struct{}{}}
	s.life, s.die = context.WithCancel(context.Background())
	return s, nil
}

// Events gives every start and end, in order. The channel is never full: what the reader doesn't take waits in memory. It has
// one reader, and is closed by Close.
func (s *Supervisor) Events() <-chan Event { return s.events.out }

// Close kills every instance that still runs, waits for all goroutines until ctx ends, and closes Events.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.die()
	running := slices.Collect(maps.Keys(s.instances))
	s.mu.Unlock()
	for _, i := range running {
		s.work.Go(func() { i.Kill(ctx, component.ResultOperator) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.work.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("instances still run: %w", ctx.Err())
	}
	s.events.close()
	return s.attempts.close()
}

// Start verifies, starts, shakes hands and connects. It returns when the component can be called, or, with an error, when nothing
// of the attempt is left. ctx or the spec's StartTimeout ends the attempt.
func (s *Supervisor) Start(ctx context.Context, spec Spec) (*Instance, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrCancelled.New("start %s: the kernel stops", spec.Name)
	}
	s.work.Add(1)
	s.mu.Unlock()
	defer s.work.Done()

	spec, err := spec.complete()
	if err != nil {
		return nil, err
	}
	executable, err := open(s.conf.Digests, spec.Executable, spec.Digest)
	if err != nil {
		return nil, err
	}
	defer executable.Close()
	if err := os.MkdirAll(spec.DataFolder, 0o700); err != nil {
		return nil, ErrFolder.Wrap(err, "data folder of %s", spec.Name)
	}
	listeners, err := s.listeners(ctx, spec)
	if err != nil {
		return nil, err
	}
	folder, err := s.attempts.add(spec.Name, spec.Generation, spec.Cage.UID, s.conf.OwnUsers)
	if err != nil {
		return nil, err
	}
	log := s.conf.Log.Named(spec.Name)
	lines := newLineLog(log)
	i := &Instance{
		spec: spec, runFolder: folder, listeners: listeners, started: time.Now(), done: make(chan struct{}),
		output: newOutput(lines.line, lines.lost, time.Now),
	}
	if err := s.shake(ctx, i, executable); err != nil {
		return nil, err
	}
	return i, nil
}

// shake makes the process and its connection. On an error nothing of them is left.
func (s *Supervisor) shake(ctx context.Context, i *Instance, executable *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, i.spec.StartTimeout)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	client := s.client(i, executable)

	type result struct {
		connection *handshake.Connection
		err        error
	}
	shaken := make(chan result, 1)
	s.work.Go(func() { // go-plugin's Start holds its lock until it returns: it is left alone meanwhile
		c, err := dispense(client)
		shaken <- result{c, err}
	})
	var r result
	select {
	case r = <-shaken:
	case <-ctx.Done():
		select {
		case <-i.process.started:
		case r = <-shaken:
		}
		if i.process.p != nil {
			_ = i.process.p.Kill() // it may have ended
		}
		if r.connection == nil && r.err == nil {
			r = <-shaken // soon: its pipes have ended
		}
		r.err = errors.Join(ctx.Err(), r.err)
	}
	if r.err == nil {
		i.conn, i.protocol = r.connection.Conn, client.NegotiatedVersion()
		r.err = i.Ping(ctx) // the first call: peer credentials are checked here
	}
	if r.err == nil {
		s.remember(ctx, i)
		s.mu.Lock()
		if s.closed {
			r.err = context.Canceled
		} else {
			s.instances[i] = struct{}{}
			s.events.put(Event{Kind: Started, Instance: i, At: time.Now()})
			s.work.Go(func() { s.watch(i, client) })
			s.work.Go(func() { s.guard(i) })
		}
		s.mu.Unlock()
	}
	if r.err == nil {
		s.conf.Log.Debug("component started", "component", i.spec.Name, "version", i.spec.Version,
			"generation", i.spec.Generation, "pid", i.PID(), "after", time.Since(i.started).Round(100*time.Microsecond))
		return nil
	}
	return s.failed(ctx, i, client, r.err)
}

// failed ends what there is of a start, and says why.
func (s *Supervisor) failed(ctx context.Context, i *Instance, client *plugin.Client, reason error) error {
	p := i.process.p
	if p == nil {
		s.collect(i, client)
		if ctx.Err() == nil {
			return ErrFork.Wrap(reason, "%s", i.spec.Name)
		}
		return ErrCancelled.Wrap(reason, "start %s", i.spec.Name)
	}
	if ctx.Err() == nil {
		// A process whose connection breaks is about to end, as a rule; what it says then is worth more.
		t := time.NewTimer(drainMost)
		select {
		case <-p.Done():
		case <-t.C:
		}
		t.Stop()
	}
	_ = p.Kill() // it may have ended
	kind := component.ResultStartTimeout
	if errors.Is(ctx.Err(), context.Canceled) {
		kind = component.ResultOperator
	}
	alone := false // it ended before anybody touched it
	select {
	case <-i.process.drained:
		if e := p.Exit(); !e.Ours {
			alone, kind = true, component.ResultNone
		}
		i.mu.Lock()
		i.asked = kind
		i.mu.Unlock()
		i.finish()
	case <-time.After(killMost): // the system holds it
		i.exit = Exit{Result: component.Result{Kind: kind}, Forced: true}
	}
	s.collect(i, client)
	var err error
	switch {
	case alone:
		err = ErrStart.Wrap(i.exit.Err(i.spec.Name), "%s%s", i.spec.Name, i.process.opening.text())
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = ErrStartTimeout.New("%s was not ready after %s%s%s", i.spec.Name, i.spec.StartTimeout, i.process.opening.text(), lastWords(i.exit))
	case ctx.Err() != nil:
		err = ErrCancelled.New("start %s", i.spec.Name)
	case i.process.opening.foreign(s.conf.Protocols) != 0:
		err = ErrHandshake.New("%s speaks version %d of the control protocol, this kernel %s%s", i.spec.Name,
			i.process.opening.foreign(s.conf.Protocols), list(s.conf.Protocols), lastWords(i.exit))
	default:
		err = ErrHandshake.Wrap(reason, "%s", i.spec.Name)
	}
	return &startError{error: err, exit: i.exit}
}

func lastWords(e Exit) string {
	if len(e.Tail) == 0 {
		return " and has said nothing"
	}
	if e.Complaint != "" {
		return "; its last line: " + printable(e.Complaint)
	}
	return "; its last line: " + printable(e.Tail[len(e.Tail)-1])
}

// watch follows one instance to its end.
func (s *Supervisor) watch(i *Instance, client *plugin.Client) {
	<-i.process.drained
	i.finish()
	s.mu.Lock()
	delete(s.instances, i)
	s.events.put(Event{Kind: Ended, Instance: i, Exit: i.exit, At: i.exit.At})
	s.mu.Unlock()
	s.collect(i, client)
}

// collect lets go of all that an ended process leaves: go-plugin's goroutines, the rest of its lines, its folder.
func (s *Supervisor) collect(i *Instance, client *plugin.Client) {
	s.work.Go(func() {
		if client != nil {
			// Kill first asks the dead process to shut down, which fails at once, and then waits for go-plugin's goroutines.
			client.Kill()
		} else if i.conn != nil {
			i.conn.Close()
		}
		i.output.close()
		<-i.output.done
		if !s.attempts.has(i.runFolder) {
			return
		}
		if err := os.RemoveAll(i.runFolder); err != nil {
			s.conf.Log.Warn("a run folder is left", "component", i.spec.Name, "error", err)
		}
	})
}

// client makes go-plugin's side of one attempt; it can't be used twice.
func (s *Supervisor) client(i *Instance, executable *os.File) *plugin.Client {
	i.process = newProcess(i.spec.Name, i.runFolder, i.output, nil)
	uid := i.UID()
	return plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake.Config(),
		VersionedPlugins: handshake.Versions(nil, s.conf.Protocols...),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		// Never Managed, AutoMTLS, Reattach or SecureConfig: we collect ourselves, check peers by the system's word, and hash what is executed.
		SkipHostEnv:         true,
		StartTimeout:        i.spec.StartTimeout + pluginMargin,
		UnixSocketConfig:    &plugin.UnixSocketConfig{TempDir: filepath.Join(i.runFolder, "tmp")},
		PluginLogBufferSize: 4 << 10, // its own reader of standard error, which finds nothing
		SyncStdout:          &lineWriter{out: i.output, from: fromStdout},
		SyncStderr:          &lineWriter{out: i.output, from: fromStderr},
		Logger:              hclog.NewNullLogger(), // what it says is said by us, once
		GRPCDialOptions: handshake.DialOptions(func(p handshake.Peer) bool {
			return i.process.p != nil && p.PID == i.process.p.PID && p.UID == uid
		}),
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			i.process.start = func(ctx context.Context) (*guardian.Process, error) {
				return s.conf.Guardian.Start(ctx, i.order(cmd.Env), executable)
			}
			return i.process, nil
		},
	})
}

// order is what the guardian is asked for. handshakeEnv is what go-plugin wants the process to find.
func (i *Instance) order(handshakeEnv []string) guardian.Order {
	env := i.spec.env(i.runFolder)
	for _, e := range handshakeEnv {
		if strings.HasPrefix(e, plugin.EnvUnixSocketDir+"=") { // its own folder is one level too deep for long paths
			e = plugin.EnvUnixSocketDir + "=" + i.runFolder
		}
		if list, ok := strings.CutPrefix(e, "PLUGIN_PROTOCOL_VERSIONS="); ok { // go-plugin takes them from a map
			versions := strings.Split(list, ",")
			slices.Sort(versions)
			e = "PLUGIN_PROTOCOL_VERSIONS=" + strings.Join(versions, ",")
		}
		env = append(env, e)
	}
	keys := make([]string, len(i.spec.Listeners))
	for n, l := range i.spec.Listeners {
		keys[n] = l.Key
	}
	return guardian.Order{Name: i.spec.Name, Env: env, Dir: i.spec.DataFolder, Listeners: keys, Limits: i.spec.Limits, Cage: i.cage()}
}

// dispense starts the process, and returns its connection.
func dispense(client *plugin.Client) (*handshake.Connection, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense(handshake.PluginName)
	if err != nil {
		return nil, err
	}
	return raw.(*handshake.Connection), nil
}

// listeners asks the guardian where the listeners are bound.
func (s *Supervisor) listeners(ctx context.Context, spec Spec) ([]*controlv1.Listener, error) {
	var all []*controlv1.Listener
	for n, l := range spec.Listeners {
		address, err := s.conf.Guardian.Address(ctx, l.Key)
		if err != nil {
			return nil, ErrFork.Wrap(err, "listener %s of %s", l.Name, spec.Name)
		}
		all = append(all, &controlv1.Listener{Name: l.Name, Fd: int32(layout.FDFirstListener + n), Address: address})
	}
	return all, nil
}

// complete checks a spec and fills in what it leaves out.
func (s Spec) complete() (Spec, error) {
	if s.Name == "" || strings.ContainsAny(s.Name, "/\x00") || s.Name == "." || s.Name == ".." {
		return s, ErrSpec.New("%q is no name for a component", s.Name)
	}
	for _, path := range []string{s.Executable, s.PackageFolder, s.DataFolder} {
		if !filepath.IsAbs(path) {
			return s, ErrSpec.New("%s: %q is no absolute path", s.Name, path)
		}
	}
	for name := range s.Env {
		if !slices.Contains(AllowedEnv, name) {
			return s, ErrSpec.New("%s: %s does not belong in a component's environment", s.Name, name)
		}
	}
	if s.StartTimeout <= 0 {
		s.StartTimeout = DefaultStartTimeout
	}
	if s.MemoryLimit <= 0 {
		s.MemoryLimit = DefaultMemoryLimit
	}
	if s.Files <= 0 {
		s.Files = DefaultFiles
	}
	if s.Processes <= 0 {
		s.Processes = DefaultProcesses
	}
	if s.Watchdog == 0 {
		s.Watchdog = DefaultWatchdog
	}
	derived := launch.Limits{
		Files: uint64(s.Files), Data: max(dataLeast, dataFactor*uint64(s.MemoryLimit)), Nice: s.Nice, OOMScore: oomScore,
		Processes: uint64(s.Processes), Memory: uint64(s.MemoryLimit), CPU: uint64(max(0, s.CPU)),
	}
	s.Limits.Processes = cmp.Or(s.Limits.Processes, derived.Processes)
	s.Limits.Memory = cmp.Or(s.Limits.Memory, derived.Memory)
	s.Limits.CPU = cmp.Or(s.Limits.CPU, derived.CPU)
	if s.Limits.Files == 0 {
		s.Limits.Files = derived.Files
	}
	if s.Limits.Data == 0 {
		s.Limits.Data = derived.Data
	}
	if s.Limits.Nice == 0 {
		s.Limits.Nice = derived.Nice
	}
	if s.Limits.OOMScore == 0 {
		s.Limits.OOMScore = derived.OOMScore
	}
	s.Listeners = slices.Clone(s.Listeners)
	s.Env = maps.Clone(s.Env)
	return s, nil
}

// env is the environment without go-plugin's part, sorted.
func (s Spec) env(runFolder string) []string {
	all := map[string]string{
		"GOGC":              strconv.Itoa(GCPercent),
		"GOMEMLIMIT":        fmt.Sprint(s.MemoryLimit / 5 * 4),
		"LANG":              "C.UTF-8",
		"TMPDIR":            filepath.Join(runFolder, "tmp"),
		"CARBONADO_PACKAGE": s.PackageFolder,
	}
	if tz, ok := os.LookupEnv("TZ"); ok {
		all["TZ"] = tz
	}
	maps.Copy(all, s.Env)
	env := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env
}

// ShortFolder makes a folder, 0700, beside those of attempts, whose path is short enough for a socket: for the kernel's own. It goes
// with Close.
func (s *Supervisor) ShortFolder(name string) (string, error) {
	s.mu.Lock()
	s.short = append(s.short, name)
	s.mu.Unlock()
	folder := filepath.Join(s.attempts.root, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", ErrFolder.Wrap(err, "run folder of %s", name)
	}
	if s.conf.OwnUsers { // components call what is served there
		if err := os.Chmod(folder, 0o711); err != nil {
			return "", ErrFolder.Wrap(err, "run folder of %s", name)
		}
	}
	return folder, nil
}
