package supervisor

import (
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/launch"
)

// DefaultStartTimeout is the time from fork to the control connection. A Go component needs 10 ms, a JVM under load seconds.
const DefaultStartTimeout = 30 * time.Second

// DefaultMemoryLimit is the memory budget of a component whose descriptor names none.
const DefaultMemoryLimit = 128 << 20

// Spec is everything that one start needs. It is a value; the supervisor keeps a copy.
type Spec struct {
	// Name is the component's name: argv[0], the name of its log lines, part of its folders' names.
	Name    string
	Version string
	// Generation grows with each start of this component on this node.
	Generation uint64

	// Executable is the absolute path of the program.
	Executable string
	// Digest is the SHA-256 recorded at installation, in hexadecimal. A file with another one is not started.
	Digest string

	// PackageFolder becomes CARBONADO_PACKAGE.
	PackageFolder string
	// DataFolder is the working folder. It is made, 0700, where it is missing.
	DataFolder string

	// Listeners are names given to guardian's Client.Listen before. Listener i becomes descriptor layout.FDFirstListener+i.
	Listeners []Listener

	// MemoryLimit in bytes: GOMEMLIMIT is 80 % of it. 0 is DefaultMemoryLimit.
	MemoryLimit int64
	// Files that may be open at once; 0 is DefaultFiles.
	Files int64
	// Processes and threads at once; 0 is DefaultProcesses.
	Processes int64
	// CPU in thousandths of a core; 0 is no limit.
	CPU int64
	// Watchdog is how long the process may give no sign of life before it is ended with component.ResultWatchdog; 0 is
	// DefaultWatchdog, a negative one is for ever.
	Watchdog time.Duration
	// Nice is added to the scheduling niceness, 0 to 19.
	Nice int
	// Env adds to the environment. Only names of AllowedEnv are accepted.
	Env map[string]string

	// StartTimeout from fork to the control connection; 0 is DefaultStartTimeout.
	StartTimeout time.Duration

	// Cage is what the process can get at beside its run folder, and Confinement the same in words, for those who ask. The data folder must
	// be the cage's user's.
	Cage        launch.Cage
	Confinement []component.Measure

	// Limits overrides what the supervisor derives from MemoryLimit, Files and Nice. Zero fields are derived.
	Limits launch.Limits
}

// Listener asks for a TCP listener that the guardian holds.
type Listener struct {
	// Name under `ports` of the descriptor, which the component asks for.
	Name string
	// Key is the name under which the kernel asked the guardian to listen, for example "EventReceiver/thrift".
	Key string
}
