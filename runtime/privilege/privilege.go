// Package privilege turns what a component asks for, and what a machine can hold, into the cage that its process is put in, and into
// words on what of it is enforced. It must not know processes: the launcher puts them into the cage.
package privilege

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/launch"
)

// Switches are the mechanisms that the operator has left on.
type Switches struct{ OwnUser, Landlock, Seccomp, NetworkNamespace, DropCapabilities bool }

// Subject is one component on one installation.
type Subject struct {
	Name       string
	Privileges []string
	// Home is the installation; Package, Data and Repository are its folders, absolute.
	Home, Package, Data, Repository string
	// Runtime is the folder of a language's runtime that it needs, wherever that was installed; empty if it needs none.
	Runtime string
	// Shares are the folders of others that it uses.
	Shares []Share
	// User is the number of its own user and group; 0 is none, for the reason NoUser. Groups are the providers' whose shares it uses.
	User   int
	Groups []int
	NoUser string
}

// Share is a folder of another component.
type Share struct {
	Path  string
	Write bool
}

// system is what every program may read: programs and libraries, the machine's description, the few files of /etc that libraries open.
var system = []launch.Rule{
	{Path: "/usr", Access: launch.Read | launch.Execute}, {Path: "/bin", Access: launch.Read | launch.Execute},
	{Path: "/sbin", Access: launch.Read | launch.Execute}, {Path: "/lib", Access: launch.Read | launch.Execute},
	{Path: "/lib32", Access: launch.Read | launch.Execute}, {Path: "/lib64", Access: launch.Read | launch.Execute},
	{Path: "/opt", Access: launch.Read | launch.Execute}, {Path: "/nix/store", Access: launch.Read | launch.Execute},
	{Path: "/proc", Access: launch.Read}, {Path: "/sys", Access: launch.Read},
	// Its own entry: the launcher is the process, and SetProcessName writes there.
	{Path: "/proc/self", Access: launch.Read | launch.Write},
	{Path: "/dev/null", Access: launch.Read | launch.Write}, {Path: "/dev/zero", Access: launch.Read | launch.Write},
	{Path: "/dev/full", Access: launch.Read | launch.Write}, {Path: "/dev/random", Access: launch.Read}, {Path: "/dev/urandom", Access: launch.Read},
}

// etc are the files and folders of /etc that libraries read: names, time, certificates, Java's settings, the loader's cache.
var etc = []string{
	"alternatives", "ca-certificates", "crypto-policies", "fonts", "gai.conf", "group", "host.conf", "hosts", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	"localtime", "locale.alias", "mime.types", "nsswitch.conf", "os-release", "passwd", "pki", "protocols", "resolv.conf", "services", "ssl", "timezone",
}

// javas is how Debian calls the folders of its Java settings.
const javas = "/etc/java-*"

// Build makes the cage and tells what it holds.
func Build(s Subject, on Switches, m launch.Machine) (launch.Cage, []component.Measure, error) {
	var c launch.Cage
	asked := map[component.PrivilegeKind][]string{}
	for _, text := range s.Privileges {
		p, err := component.ParsePrivilege(text)
		if err != nil {
			return c, nil, err
		}
		asked[p.Kind] = append(asked[p.Kind], p.Path)
	}
	_, c.Connect = asked[component.NetConnect]
	_, c.Listen = asked[component.NetListen]
	if m.Root && s.User != 0 {
		c.UID, c.GID, c.Groups = s.User, s.User, s.Groups
	}
	c.DropCapabilities = m.Root && on.DropCapabilities
	c.Seccomp = on.Seccomp && m.NoSeccomp == ""
	c.NoNetwork = on.NetworkNamespace && m.NoNamespace == "" && !c.Connect && !c.Listen
	if c.Landlock = on.Landlock && m.Landlock > 0; c.Landlock {
		c.Rules = rules(s, asked)
	}
	return c, measures(s, c, on, m, asked), nil
}

func rules(s Subject, asked map[component.PrivilegeKind][]string) []launch.Rule {
	var out []launch.Rule
	for _, r := range system {
		out = append(out, around(r, s.Home)...)
	}
	for _, name := range etc {
		out = append(out, launch.Rule{Path: filepath.Join("/etc", name), Access: launch.Read})
	}
	settings, _ := filepath.Glob(javas) // a pattern that is right
	for _, path := range settings {
		out = append(out, launch.Rule{Path: path, Access: launch.Read})
	}
	if len(asked[component.NetConnect]) > 0 { // where resolv.conf leads to
		out = append(out, launch.Rule{Path: "/run/systemd/resolve", Access: launch.Read})
	}
	out = append(out,
		launch.Rule{Path: s.Package, Access: launch.Read | launch.Execute},
		launch.Rule{Path: s.Data, Access: launch.Read | launch.Write})
	if s.Runtime != "" {
		out = append(out, around(launch.Rule{Path: s.Runtime, Access: launch.Read | launch.Execute}, s.Home)...)
	}
	for _, share := range s.Shares {
		r := launch.Rule{Path: share.Path, Access: launch.Read}
		if share.Write {
			r.Access |= launch.Write
		}
		out = append(out, r)
	}
	for _, path := range asked[component.RepositoryRead] {
		out = append(out, launch.Rule{Path: filepath.Join(s.Repository, path), Access: launch.Read})
	}
	for _, path := range asked[component.FilesRead] {
		out = append(out, launch.Rule{Path: path, Access: launch.Read})
	}
	for _, path := range asked[component.FilesWrite] {
		out = append(out, launch.Rule{Path: path, Access: launch.Read | launch.Write})
	}
	return out
}

// around is the rule, or, where the installation lies below its path, rules for everything beside the installation.
func around(r launch.Rule, home string) []launch.Rule {
	if r.Path == home {
		return nil
	}
	if !strings.HasPrefix(home, r.Path+"/") {
		return []launch.Rule{r}
	}
	entries, err := os.ReadDir(r.Path)
	if err != nil {
		return nil
	}
	var out []launch.Rule
	for _, e := range entries {
		out = append(out, around(launch.Rule{Path: filepath.Join(r.Path, e.Name()), Access: r.Access}, home)...)
	}
	return out
}

// reason says why a mechanism is not used.
func reason(on bool, can string) string {
	switch {
	case can != "":
		return can
	case !on:
		return "switched off in carbon.xml"
	}
	return ""
}

func measures(s Subject, c launch.Cage, on Switches, m launch.Machine, asked map[component.PrivilegeKind][]string) []component.Measure {
	var by, why []string
	add := func(used bool, name, not string) {
		if used {
			by = append(by, name)
		} else if not != "" {
			why = append(why, strings.Fields(name)[0]+": "+not)
		}
	}
	flush := func(what string, enforced bool) component.Measure {
		x := component.Measure{What: what, Enforced: enforced, By: strings.Join(by, ", "), Why: strings.Join(why, "; ")}
		by, why = nil, nil
		return x
	}
	noLandlock, noSeccomp := reason(on.Landlock, m.NoLandlock), reason(on.Seccomp, m.NoSeccomp)
	noUser := reason(on.OwnUser, s.NoUser)
	if !m.Root {
		noUser = "the server does not run as root"
	}
	own := "user"
	if c.UID != 0 {
		own = fmt.Sprintf("user %d of its own", c.UID)
	}
	var out []component.Measure

	add(c.Landlock, fmt.Sprintf("Landlock %d", m.Landlock), noLandlock)
	add(c.UID != 0, own, noUser)
	out = append(out, flush("reads no files of others"+extra(asked), c.Landlock || c.UID != 0))

	switch {
	case c.Connect && c.Listen:
		out = append(out, component.Measure{What: "net.connect and net.listen were asked for", Enforced: true, By: "nothing is kept from it"})
	default:
		what := "opens no connection and no port"
		if c.Connect {
			what = "opens no port by itself"
		} else if c.Listen {
			what = "opens no connection"
		}
		none := !c.Connect && !c.Listen
		add(c.Seccomp, "seccomp", noSeccomp)
		add(c.Landlock && m.TCP(), "Landlock for TCP", first(noLandlock, "knows no TCP before version 4"))
		if none {
			add(c.NoNetwork, "network namespace", reason(on.NetworkNamespace, m.NoNamespace))
		} else {
			why = append(why, "UDP is not told apart")
		}
		enforced := c.Seccomp || c.NoNetwork
		if !none {
			enforced = c.Seccomp && c.Landlock && m.TCP()
		}
		out = append(out, flush(what, enforced))
	}

	add(c.Seccomp, "seccomp", noSeccomp)
	add(c.Landlock && m.Scopes(), "Landlock scopes", first(noLandlock, "knows no scopes before version 6"))
	add(c.UID != 0, own, noUser)
	out = append(out, flush("touches no other process", c.UID != 0 || (c.Landlock && m.Scopes())))

	add(true, "no_new_privs", "")
	if m.Root {
		add(c.UID != 0 || c.DropCapabilities, "no capabilities", reason(on.DropCapabilities, ""))
	}
	out = append(out, flush("gains no powers", !m.Root || c.UID != 0 || c.DropCapabilities))

	return append(out, component.Measure{
		What: "Unix sockets by path", Enforced: true, By: "the sockets' file modes; service sockets by token and peer",
		Why: "Landlock has no rule for them here",
	})
}

// extra names what was granted beyond its own folders.
func extra(asked map[component.PrivilegeKind][]string) string {
	var list []string
	for _, k := range []component.PrivilegeKind{component.RepositoryRead, component.FilesRead, component.FilesWrite} {
		list = append(list, asked[k]...)
	}
	if len(list) == 0 {
		return ""
	}
	return " but " + strings.Join(list, ", ")
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
