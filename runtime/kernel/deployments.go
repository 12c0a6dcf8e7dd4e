package kernel

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/plan"
)

// deploymentsKept is how many changes of the desired state are kept.
const deploymentsKept = 1000

// deployments is the record of desired states, one line of JSON each in repository/data/kernel/deployments.jsonl.
type deployments struct {
	path string

	// mu guards the fields below.
	mu   sync.Mutex
	list []admin.Deployment
}

func openDeployments(folder string) (*deployments, error) {
	d := &deployments{path: filepath.Join(folder, "deployments.jsonl")}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var x admin.Deployment
		if json.Unmarshal(s.Bytes(), &x) == nil && x.Number > 0 {
			d.list = append(d.list, x)
		}
	}
	if len(d.list) > deploymentsKept {
		d.list = slices.Clone(d.list[len(d.list)-deploymentsKept:])
		return d, d.rewrite()
	}
	return d, nil
}

// rewrite replaces the file by what is kept.
func (d *deployments) rewrite() error {
	var b strings.Builder
	for _, x := range d.list {
		line, err := json.Marshal(x)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	next := d.path + ".new"
	if err := os.WriteFile(next, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, d.path)
}

// all gives the entries, oldest first.
func (d *deployments) all() []admin.Deployment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]admin.Deployment{}, d.list...)
}

// record adds an entry unless the desired state is the same as in the last one, and gives its number, or the last one's.
func (d *deployments) record(actor, what string, changes []plan.Change, outcome string, desired admin.Desired) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	number := 1
	if n := len(d.list); n > 0 {
		if last := d.list[n-1]; sameDesired(last.Desired, desired) && !slices.ContainsFunc(changes, configured) {
			return last.Number
		}
		number = d.list[n-1].Number + 1
	}
	x := admin.Deployment{Number: number, Time: time.Now().UTC(), Actor: actor, What: what, Changes: changes, Outcome: outcome, Desired: desired}
	if x.Changes == nil {
		x.Changes = []plan.Change{}
	}
	d.list = append(d.list, x)
	line, err := json.Marshal(x)
	if err != nil {
		return number
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return number // a full disk must not stop a change; it is known until the kernel ends
	}
	defer f.Close()
	_, _ = f.Write(append(line, '\n'))
	return number
}

// configured tells whether a change is one of a configuration, whose values the desired state does not hold.
func configured(c plan.Change) bool { return c.Kind == plan.Modify || c.Kind == plan.Restart }

func sameDesired(a, b admin.Desired) bool {
	return a.Profile == b.Profile && slices.Equal(a.Arguments, b.Arguments) && slices.Equal(a.Disabled, b.Disabled) &&
		maps.Equal(a.Packages, b.Packages) && maps.Equal(a.Digests, b.Digests)
}

// arguments are those of the server: of its command line, or those laid over them at run time. The latter last as long as the guardian:
// a kernel that is started anew by it goes on with them.
type arguments struct {
	path string

	// mu guards the fields below.
	mu      sync.Mutex
	command []string
	changed []string // nil: none
}

type changedArguments struct {
	Guardian  int      `json:"guardianPid"`
	Arguments []string `json:"arguments"`
}

func openArguments(folder string, command []string, guardian int) *arguments {
	a := &arguments{path: filepath.Join(folder, "arguments.json"), command: command}
	var kept changedArguments
	if data, err := os.ReadFile(a.path); err == nil && json.Unmarshal(data, &kept) == nil && kept.Guardian == guardian && kept.Arguments != nil {
		a.changed = kept.Arguments
	}
	return a
}

func (a *arguments) inForce() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed != nil {
		return slices.Clone(a.changed)
	}
	return slices.Clone(a.command)
}

func (a *arguments) set(args []string, guardian int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if args == nil {
		args = []string{}
	}
	data, err := json.Marshal(changedArguments{guardian, args})
	if err != nil {
		return err
	}
	if err := os.WriteFile(a.path+".new", data, 0o600); err != nil {
		return err
	}
	if err := os.Rename(a.path+".new", a.path); err != nil {
		return err
	}
	a.changed = args
	return nil
}
