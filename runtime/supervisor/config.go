package supervisor

import (
	"carbonado.dev/carbonado/runtime/guardian"

	"github.com/hashicorp/go-hclog"
)

// DefaultFiles is the number of descriptors of a component whose descriptor names none.
const DefaultFiles = 4096

// TailLines is how many of the last lines of output an Exit keeps.
const TailLines = 40

// Config is what the composition root gives.
type Config struct {
	// Guardian is the way to fork.
	Guardian *guardian.Client
	// RunFolder is repository/run. Attempts get folders of their own below it, or below a folder that it names where its path is
	// too long for Unix sockets.
	RunFolder string
	// Log takes the components' lines, each under its component's name, and the supervisor's own.
	Log hclog.Logger
}

// AllowedEnv are the names that Spec.Env may set. go-plugin's handshake variables and the supervisor's own are added to them.
var AllowedEnv = []string{"GOGC", "GOMEMLIMIT", "TZ", "LANG", "TMPDIR", "CARBONADO_PACKAGE"}

// New makes a supervisor.
func New(c Config) (*Supervisor, error) { return &Supervisor{}, nil }
