package privilege

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/launch"
)

var allOn = Switches{OwnUser: true, Landlock: true, Seccomp: true, NetworkNamespace: true, DropCapabilities: true}

// best is a machine that holds everything, bare one that holds nothing.
var (
	best = launch.Machine{Root: true, Landlock: 7}
	bare = launch.Machine{NoLandlock: "none here", NoSeccomp: "no filters", NoNamespace: "not allowed"}
)

func subject(privileges ...string) Subject {
	return Subject{
		Name: "A", Privileges: privileges, Home: "/srv/carbonado", Package: "/srv/carbonado/plugins/A/1.0.0", Data: "/srv/carbonado/repository/data/A",
		Repository: "/srv/carbonado/repository", User: 58003, Groups: []int{58001},
		Shares: []Share{{Path: "/srv/carbonado/repository/data/B/in"}, {Path: "/srv/carbonado/repository/data/B/out", Write: true}},
	}
}

func build(t *testing.T, s Subject, on Switches, m launch.Machine) (launch.Cage, []component.Measure) {
	t.Helper()
	c, list, err := Build(s, on, m)
	if err != nil {
		t.Fatal(err)
	}
	return c, list
}

func TestPrivilegesBecomeRules(t *testing.T) {
	c, list := build(t, subject("tls.server", "repository.read:conf/datasources", "files.read:/var/log/app", "files.write:/srv/out"), allOn, best)
	if c.UID != 58003 || c.GID != 58003 || !slices.Equal(c.Groups, []int{58001}) || !c.Landlock || !c.Seccomp || !c.NoNetwork || !c.DropCapabilities || c.Connect || c.Listen {
		t.Errorf("%+v", c)
	}
	for path, want := range map[string]launch.Access{
		"/srv/carbonado/plugins/A/1.0.0":             launch.Read | launch.Execute,
		"/srv/carbonado/repository/data/A":           launch.Read | launch.Write,
		"/srv/carbonado/repository/data/B/in":        launch.Read,
		"/srv/carbonado/repository/data/B/out":       launch.Read | launch.Write,
		"/srv/carbonado/repository/conf/datasources": launch.Read,
		"/var/log/app": launch.Read,
		"/srv/out":     launch.Read | launch.Write,
		"/etc/hosts":   launch.Read,
	} {
		if i := slices.IndexFunc(c.Rules, func(r launch.Rule) bool { return r.Path == path }); i < 0 || c.Rules[i].Access != want {
			t.Errorf("rule for %s: index %d", path, i)
		}
	}
	for _, r := range c.Rules {
		if r.Access&launch.Write != 0 && r.Access&launch.Execute != 0 {
			t.Errorf("%s can be written and executed", r.Path)
		}
		if slices.Contains([]string{"/", "/etc", "/srv", "/srv/carbonado", "/tmp", "/root", "/home", "/var"}, r.Path) {
			t.Errorf("a rule for all of %s", r.Path)
		}
	}
	for _, m := range list {
		if !m.Enforced {
			t.Errorf("not enforced: %s", m.Line())
		}
	}
}

func TestNetworkIsGivenToThoseWhoAsk(t *testing.T) {
	c, list := build(t, subject("net.connect"), allOn, best)
	if !c.Connect || c.Listen || c.NoNetwork {
		t.Errorf("%+v", c)
	}
	if m := list[1]; m.What != "opens no port by itself" || !m.Enforced || !strings.Contains(m.Why, "UDP") {
		t.Errorf("%+v", m)
	}
	if c, _ := build(t, subject("net.listen", "net.connect"), allOn, best); !c.Connect || !c.Listen || c.NoNetwork {
		t.Errorf("%+v", c)
	}
}

func TestWhatIsNotEnforcedIsSaid(t *testing.T) {
	c, list := build(t, subject(), allOn, bare)
	if c.Landlock || c.Seccomp || c.NoNetwork || c.UID != 0 || c.DropCapabilities {
		t.Errorf("%+v", c)
	}
	for _, m := range list[:3] {
		if m.Enforced || m.Why == "" {
			t.Errorf("%+v", m)
		}
	}
	if !strings.Contains(list[0].Line(), "not enforced (Landlock: none here; user: the server does not run as root)") {
		t.Error(list[0].Line())
	}
	// Each switch takes its mechanism away, and is named.
	for name, off := range map[string]Switches{
		"Landlock": {OwnUser: true, Seccomp: true, NetworkNamespace: true, DropCapabilities: true},
		"seccomp":  {OwnUser: true, Landlock: true, NetworkNamespace: true, DropCapabilities: true},
		"network":  {OwnUser: true, Landlock: true, Seccomp: true, DropCapabilities: true},
	} {
		c, list := build(t, subject(), off, best)
		if name == "Landlock" && (c.Landlock || len(c.Rules) > 0) || name == "seccomp" && c.Seccomp || name == "network" && c.NoNetwork {
			t.Errorf("%s is off: %+v", name, c)
		}
		if !slices.ContainsFunc(list, func(m component.Measure) bool { return strings.Contains(m.Why, name+": switched off in carbon.xml") }) {
			t.Errorf("%s: %+v", name, list)
		}
	}
	if _, _, err := Build(subject("net.conect"), allOn, best); err == nil {
		t.Error("an unknown privilege was taken")
	}
}

// An installation below a folder that everybody may read must not be readable with it.
func TestInstallationIsCutOutOfTheSystem(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{"lib", "local/bin", "local/carbonado/repository"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range around(launch.Rule{Path: top, Access: launch.Read}, filepath.Join(top, "local", "carbonado")) {
		rel, _ := filepath.Rel(top, r.Path)
		got = append(got, rel)
	}
	if !slices.Equal(got, []string{"lib", "local/bin"}) {
		t.Errorf("%q", got)
	}
}
