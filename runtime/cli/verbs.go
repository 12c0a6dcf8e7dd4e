package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"syscall"
	"time"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/sdk/cause"
)

// verb is one command that an installed package adds.
type verb struct {
	verb, summary, component, version string
}

// verbs reads the component.yaml of every installed package, of each the version that would run; packages that can't be read add nothing.
func (a *app) verbs() []verb {
	cat := catalog.At(a.Home)
	names, err := cat.Names()
	if err != nil {
		return nil
	}
	pins, err := catalog.ReadPins(a.Home)
	if err != nil {
		return nil
	}
	var out []verb
	for _, name := range names {
		version := highest(filepath.Join(a.Home, "plugins", name))
		if pin, ok := pins[name]; ok {
			if best, err := cat.Get(name, version); err == nil && pin.Holds(best) {
				version = pin.Version
			}
		}
		file := filepath.Join(a.Home, "plugins", name, version, "component.yaml")
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		d, err := catalog.ParseDescriptor(file, data)
		if err != nil {
			continue
		}
		for _, v := range d.CLI {
			out = append(out, verb{v.Verb, v.Summary, name, version})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].verb < out[j].verb })
	return out
}

// highest is the highest version among the folders of a component.
func highest(folder string) string {
	entries, _ := os.ReadDir(folder)
	var best *semver.Version
	for _, e := range entries {
		if v, err := semver.NewVersion(e.Name()); err == nil && (best == nil || v.GreaterThan(best)) {
			best = v
		}
	}
	if best == nil {
		return ""
	}
	return best.Original()
}

// packageVerb executes the package's own executable for a verb; ok is false if no package has it. The file is verified from the
// descriptor that is executed.
func (a *app) packageVerb(args []string) (code int, ok bool) {
	for _, v := range a.verbs() {
		if v.verb == args[0] {
			return a.report(a.execute(v, args)), true
		}
	}
	return 0, false
}

// errAway is the kind of a verb whose component doesn't run on this node.
var errAway = cause.Define("CBN-CLI-072", "The component of this command doesn't run on this node.", "See `carbonado why` and the component's name.").Code(codes.FailedPrecondition)

// askTimeout is how long the server may take to say whether a verb's component runs.
const askTimeout = 5 * time.Second

// away says why a verb can't be answered, where the component that brings it doesn't run: by which rule, or for want of what. A server
// that can't be asked is the executable's to complain about.
func (a *app) away(v verb, args []string) error {
	if slices.ContainsFunc(args, func(s string) bool { return s == "-h" || s == "--help" || s == "help" }) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	c, err := get[admin.Component](ctx, a, "/api/components/"+url.PathEscape(v.component))
	if err != nil || c.Pid > 0 || c.State == "BACKOFF" || c.State == "STARTING" { // the last two will run: requests wait for them
		return nil
	}
	why, fix := short(c.Cause), ""
	if c.DisabledBy != "" {
		why = "it is disabled by " + c.DisabledBy
	}
	for k := c.Cause; k != nil; {
		if k.Fix != "" {
			fix = k.Fix
		}
		if len(k.Chain) == 0 {
			break
		}
		k = &k.Chain[0]
	}
	if why == "" {
		why = "it is " + c.State
	}
	e := errAway.New("%s answers `carbonado %s`, and doesn't run on this node: %s", v.component, v.verb, why)
	if fix != "" {
		e = e.Fix("%s", fix)
	}
	return e
}

func (a *app) execute(v verb, args []string) error {
	if err := a.away(v, args); err != nil {
		return err
	}
	cat := catalog.At(a.Home)
	p, err := cat.Get(v.component, v.version)
	if err != nil {
		return err
	}
	exe, err := cat.OpenExecutable(p)
	if err != nil {
		return err
	}
	defer exe.Close()
	env := append(os.Environ(), "CARBONADO_PACKAGE="+p.Dir)
	// The socket is reached through its folder's descriptor, which the executable inherits: a Unix path ends at 108 bytes.
	dir, err := unix.Open(a.runFolder(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return admin.ErrNoServer.Wrap(err, "no server has run here")
	}
	env = append(env, fmt.Sprintf("CARBONADO_ADMIN_SOCKET=/proc/self/fd/%d/%s", dir, admin.SocketName))
	argv := append([]string{v.component, "cli"}, args...)
	return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", exe.Fd()), argv, env)
}
