package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/carbonado/runtime/plan/inputs"
)

// Levels of a finding.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

// finding is one line of `carbonado doctor`.
type finding struct {
	Check string `json:"check"`
	// Level is ok, warn or fail.
	Level string `json:"level"`
	Text  string `json:"text"`
	Fix   string `json:"fix"`
}

// checkup collects findings.
type checkup struct {
	home    string
	running bool
	list    []finding
}

func (c *checkup) add(check, level, fix, format string, args ...any) {
	if level == levelOK {
		fix = ""
	}
	c.list = append(c.list, finding{check, level, fmt.Sprintf(format, args...), fix})
}

const (
	diskWarn, diskFail = 2 << 30, 256 << 20
	filesWanted        = 4096
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{Use: "doctor [-- --profile NAME -Dname=value …]", Short: "Check the installation and the machine: files, rights, packages, ports, clock, disk, limits, what can be enforced", RunE: func(cmd *cobra.Command, args []string) error {
		list := a.checkup(cmd.Context(), args)
		if err := a.print(list, func(w io.Writer) {
			for _, f := range list {
				fmt.Fprintf(w, "%-4s  %-12s %s\n", f.Level, f.Check, f.Text)
				if f.Fix != "" {
					fmt.Fprintf(w, "      %-12s fix: %s\n", "", f.Fix)
				}
			}
		}); err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(f finding) bool { return f.Level == levelFail }) {
			return exit(ExitFailed)
		}
		return nil
	}}
}

// checkup makes all checks. None of them changes anything.
func (a *app) checkup(ctx context.Context, args []string) []finding {
	c := &checkup{home: a.Home}
	c.server(ctx, a)
	in, err := inputs.Read(ctx, a.Home, args)
	if err != nil {
		c.add("conf", levelFail, "Correct what is named.", "%v", err)
	} else {
		c.configuration(in)
		c.packages(in)
		c.ports(in)
	}
	c.rights()
	c.disk()
	c.limits()
	c.clock()
	c.paths()
	c.machine()
	return c.list
}

// server says whether one runs, and what is not well with its components.
func (c *checkup) server(ctx context.Context, a *app) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := get[admin.Status](ctx, a, "/api/status")
	switch {
	case errors.Is(err, admin.ErrNoServer):
		c.add("server", levelOK, "", "none runs on this installation")
		return
	case err != nil:
		c.add("server", levelFail, "See repository/logs/carbonado.log.", "it does not answer: %v", err)
		return
	}
	c.running = true
	c.add("server", levelOK, "", "%s, profile %s, kernel %d", s.State, s.Profile, s.KernelPid)
	list, err := get[[]admin.Component](ctx, a, "/api/components")
	if err != nil {
		return
	}
	for _, x := range list {
		if x.Cause != nil && x.DisabledBy == "" {
			c.add("component", levelFail, x.Cause.FixText(), "%s is %s, health %s: %s %s", x.Name, x.State, x.Health, x.Cause.Leaf().Code, x.Cause.Leaf().Text)
		}
		d, err := get[admin.Component](ctx, a, "/api/components/"+x.Name)
		if err != nil || d.Detail == nil {
			continue
		}
		for _, m := range slices.Concat(d.Detail.Limits, d.Detail.Confinement) {
			if !m.Enforced {
				c.add("confinement", levelWarn, "See docs/privileges.md for what the machine must offer.", "%s: %s", x.Name, m.Line())
			}
		}
	}
}

func (c *checkup) configuration(in *inputs.Inputs) {
	bad := 0
	for _, p := range in.Plan().Components {
		if p.Config != nil && p.Config.Cause != nil {
			bad++
			c.add("conf", levelFail, p.Config.Cause.Leaf().Fix, "%s: %s", p.Name, p.Config.Cause.String())
		}
	}
	for _, n := range in.Notices {
		c.add("conf", levelWarn, n.Fix, "%s", n.String())
	}
	if bad == 0 {
		c.add("conf", levelOK, "", "repository/conf can be read, profile %s", in.Resolution.Profile)
	}
}

func (c *checkup) packages(in *inputs.Inputs) {
	bad := 0
	for _, p := range in.Packages {
		if p.Cause != nil {
			bad++
			c.add("packages", levelFail, p.Cause.Leaf().Fix, "%s %s: %s", p.Name, p.Version, p.Cause.String())
		}
	}
	for _, x := range in.Plan().Broken() {
		if len(x.Causes) > 0 {
			leaf := x.Causes[0].Leaf()
			c.add("plan", levelFail, leaf.Fix, "%s can't run: %s %s", x.Name, leaf.Code, leaf.Text)
		}
	}
	if bad == 0 {
		c.add("packages", levelOK, "", "%d, every file as it was installed", len(in.Packages))
	}
}

// ports looks whether the ports can be had; those of a running server are its own.
func (c *checkup) ports(in *inputs.Inputs) {
	if c.running {
		return
	}
	s := in.Config.Server
	offset := s.PortOffset.V
	wanted := map[string]int{"gateway/https": s.HTTPS.V + offset, "gateway/http": s.HTTP.V + offset}
	for _, p := range in.Plan().Running() {
		for _, x := range p.Package.Descriptor.Ports {
			wanted[p.Name+"/"+x.Name] = x.Port + offset
		}
	}
	free := 0
	for name, port := range wanted {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			c.add("ports", levelFail, "End the process that holds it (ss -ltnp), or start with -DportOffset=N.", "%s can't listen on %d: %v", name, port, err)
			continue
		}
		l.Close()
		free++
	}
	if free == len(wanted) {
		c.add("ports", levelOK, "", "%d can be had, offset %d", free, offset)
	}
}

// rights looks who may read and write what.
func (c *checkup) rights() {
	bad := len(c.list)
	for _, dir := range []string{"repository/data", "repository/logs", "repository/run", "repository/deployment/server"} {
		path := filepath.Join(c.home, dir)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = filepath.Dir(path) // it is made at the first start
		}
		if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
			c.add("rights", levelFail, "chown or chmod it for the server's user.", "%s can't be written: %v", path, err)
		}
	}
	for _, file := range []string{"repository/resources/security/server.pem", "repository/data/initial-password"} {
		st, err := os.Stat(filepath.Join(c.home, file))
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			c.add("rights", levelFail, "chmod 600 "+file, "%s can be read by others (%s)", file, st.Mode().Perm())
		}
	}
	for _, dir := range []string{"repository/conf", "plugins", "bin", "repository/components/dropins"} {
		st, err := os.Stat(filepath.Join(c.home, dir))
		if err == nil && st.Mode().Perm()&0o002 != 0 {
			c.add("rights", levelFail, "chmod o-w "+dir, "%s can be written by everybody", dir)
		}
	}
	if len(c.list) == bad {
		c.add("rights", levelOK, "", "folders can be written, secrets can't be read by others")
	}
}

func (c *checkup) disk() {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(c.home, "repository"), &st); err != nil {
		c.add("disk", levelFail, "Check the file system.", "repository: %v", err)
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	level := levelOK
	switch {
	case free < diskFail:
		level = levelFail
	case free < diskWarn:
		level = levelWarn
	}
	c.add("disk", level, "Free space, or purge tables.", "%.1f GiB free for repository", float64(free)/(1<<30))
	if st.Files > 0 && st.Ffree < 10_000 {
		c.add("disk", levelWarn, "Remove files: the file system has few inodes left.", "%d inodes free", st.Ffree)
	}
}

func (c *checkup) limits() {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err == nil {
		level := levelOK
		if l.Max < filesWanted {
			level = levelWarn
		}
		c.add("limits", level, fmt.Sprintf("Raise it: ulimit -Hn %d, or LimitNOFILE= of the service.", filesWanted), "%d open files at most", l.Max)
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				level := levelOK
				if kib < 1<<20 && !c.running {
					level = levelWarn
				}
				c.add("limits", level, "The default profile wants 1 GiB.", "%.1f GiB of memory available", float64(kib)/(1<<20))
			}
		}
	}
}

// clock looks whether the time can be right: history, leases and certificates depend on it.
func (c *checkup) clock() {
	now := time.Now()
	newest := time.Time{}
	for _, f := range []string{"history.jsonl", "deployments.jsonl", "runs"} {
		if st, err := os.Stat(filepath.Join(c.home, "repository", "data", "kernel", f)); err == nil && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
	}
	if newest.After(now.Add(time.Minute)) {
		c.add("clock", levelFail, "Set the clock right (timedatectl), then restart the server.", "it is %s, but the server wrote at %s: the clock has gone back", now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
		return
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0) {
		c.add("clock", levelWarn, "Run a time service (chrony, systemd-timesyncd); in a cluster it is needed.", "%s, not synchronised", now.UTC().Format(time.RFC3339))
		return
	}
	c.add("clock", levelOK, "", "%s", now.UTC().Format(time.RFC3339))
}

func (c *checkup) paths() {
	// Unix sockets end at 108 bytes; the server then takes a folder below the temporary one.
	if n := len(filepath.Join(c.home, "repository", "run")); n > 60 {
		c.add("paths", levelOK, "", "CARBON_HOME is long (%d bytes): sockets lie below %s", n, os.TempDir())
	}
	if _, err := os.ReadFile(filepath.Join(c.home, catalog.PinsFile)); err == nil {
		if pins, err := catalog.ReadPins(c.home); err != nil {
			c.add("packages", levelFail, "Remove the file: the highest versions run then.", "%v", err)
		} else {
			for name, p := range pins {
				c.add("packages", levelWarn, "`carbonado rollback` and installing a higher version change it.", "%s is kept at %s although %s is installed", name, p.Version, p.Over)
			}
		}
	}
}

// machine says what the system lets the server enforce.
func (c *checkup) machine() {
	m := launch.Look()
	ability := func(name, missing, fix, have string) {
		if missing == "" {
			c.add("machine", levelOK, "", "%s: %s", name, have)
			return
		}
		c.add("machine", levelWarn, fix, "%s: %s", name, missing)
	}
	ability("Landlock", m.NoLandlock, "Linux 5.13 or later with landlock among lsm=; without it components can read each other's files unless they have users of their own.", fmt.Sprintf("version %d", m.Landlock))
	ability("seccomp", m.NoSeccomp, "A kernel with seccomp filters.", "filters can be had")
	ability("no network", m.NoNamespace, "Root, or user namespaces; without them a filter of system calls does it.", "a network namespace can be made")
	if m.Root {
		ability("users", m.NoUser, "Give the container these capabilities.", "components get users of their own")
	} else {
		c.add("machine", levelWarn, "Start the server as root: it gives each component a user of its own.", "users: the server is not root, all components run as %d", os.Geteuid())
	}
	missing := ""
	if b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		missing = "there is no cgroup v2 hierarchy"
	} else if !strings.Contains(string(b), "memory") {
		missing = "the hierarchy has no memory controller"
	}
	ability("cgroup v2", missing, "A unified hierarchy that is delegated to the server (systemd: Delegate=yes); without it rlimits hold.", "there")
}
