package launch_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"carbonado.dev/carbonado/runtime/launch"

	"golang.org/x/sys/unix"
)

// The test binary is also the program in the cage: it tries what its arguments say and prints what came of it.
func TestMain(m *testing.M) {
	if os.Args[0] == "caged" {
		for _, word := range os.Args[1:] {
			what, rest, _ := strings.Cut(word, "=")
			fmt.Printf("%s %t\n", what, caged(what, rest) == nil)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func caged(what, rest string) error {
	dial := func(network, address string) error {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		return err
	}
	pid, _ := strconv.Atoi(rest)
	switch what {
	case "read", "mem":
		f, err := os.Open(rest)
		if err == nil {
			f.Close()
		}
		return err
	case "write":
		return os.WriteFile(filepath.Join(rest, "new"), nil, 0o600)
	case "rename":
		return errors.Join(os.Mkdir(filepath.Join(rest, "d"), 0o700), os.WriteFile(filepath.Join(rest, "a"), nil, 0o600),
			os.Rename(filepath.Join(rest, "a"), filepath.Join(rest, "d", "b")))
	case "execute":
		return exec.Command(rest).Run()
	case "tcp4", "tcp6", "udp4", "unix":
		return dial(what, rest)
	case "listen":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			l.Close()
		}
		return err
	case "signal":
		return unix.Kill(pid, 0)
	case "root":
		if os.Getuid() == 0 {
			return unix.Mount("none", rest, "tmpfs", 0, "")
		}
		return syscall.Setuid(0)
	case "ptrace":
		return unix.PtraceSeize(pid)
	case "packet":
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		unix.Close(fd)
		return err
	}
	return errors.New("unknown")
}

// cagedRun runs the tries in a cage; the map tells which succeeded.
func cagedRun(t *testing.T, c launch.Cage, tries ...string) map[string]bool {
	t.Helper()
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	files := []*os.File{exe, exe}
	if c.NoNetwork {
		ns, err := launch.EmptyNetwork()
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		files = append(files, ns)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append(launch.Args("caged", os.Getpid(), 0, launch.Limits{Processes: 4000}, c), tries...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		what, ok, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[what] = ok == "true"
	}
	return got
}

func TestCageSurvivesItsText(t *testing.T) {
	odd := "/a b/\"c\"\n,d"
	c := launch.Cage{
		UID: 58000, GID: 58001, Groups: []int{7, 8}, Landlock: true, Seccomp: true, NoNetwork: true, Connect: true, Listen: true, DropCapabilities: true,
		Rules: []launch.Rule{{Path: odd, Access: launch.Read | launch.Execute}, {Path: "/x", Access: launch.Write}},
	}
	got, err := launch.ParseCage(launch.TextOf(c))
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Each mechanism refuses what it is there for, and leaves alone what a component needs.
func TestCageRefuses(t *testing.T) {
	machine := launch.Look()
	home, err := os.MkdirTemp("", "cage") // t.TempDir's parent is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	mine, others := filepath.Join(home, "mine"), filepath.Join(home, "others")
	for _, dir := range []string{mine, others} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(others, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	listen := func(network, address string) string {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	tcp := listen("tcp4", "127.0.0.1:0")
	abstract := listen("unix", fmt.Sprintf("@carbonado-cage-%d", os.Getpid()))
	pid := strconv.Itoa(os.Getpid())
	tries := []string{
		"read=" + secret, "write=" + mine, "rename=" + mine, "execute=/bin/true", "tcp4=" + tcp, "udp4=127.0.0.1:53", "unix=" + abstract, "listen=",
		"signal=" + pid, "mem=/proc/" + pid + "/mem", "root=" + mine, "ptrace=" + pid, "packet=",
	}
	system := []launch.Rule{
		{Path: "/usr", Access: launch.Read | launch.Execute}, {Path: "/bin", Access: launch.Read | launch.Execute},
		{Path: "/lib", Access: launch.Read | launch.Execute}, {Path: "/lib64", Access: launch.Read | launch.Execute},
		{Path: "/dev/null", Access: launch.Read | launch.Write}, {Path: "/proc", Access: launch.Read}, {Path: "/nowhere", Access: launch.Read},
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	rules := append(system, launch.Rule{Path: mine, Access: launch.Read | launch.Write}, launch.Rule{Path: self, Access: launch.Read | launch.Execute})
	root := os.Geteuid() == 0
	for _, c := range []struct {
		name     string
		possible bool
		cage     launch.Cage
		refused  string
	}{
		{"Landlock", machine.Landlock > 0, launch.Cage{Landlock: true, Rules: rules}, refusedByLandlock(machine, root)},
		{"Landlock with network", machine.Landlock > 0, launch.Cage{Landlock: true, Rules: rules, Connect: true, Listen: true},
			strings.NewReplacer(" tcp4", "").Replace(refusedByLandlock(machine, root))},
		{"seccomp", machine.NoSeccomp == "", launch.Cage{Seccomp: true}, " tcp4 udp4 listen root ptrace packet"},
		{"seccomp with network", machine.NoSeccomp == "", launch.Cage{Seccomp: true, Connect: true}, " root ptrace packet"},
		{"no network", machine.NoNamespace == "", launch.Cage{NoNetwork: true}, " tcp4 udp4 unix"}, // listen: where nobody is
		{"own user", root, launch.Cage{UID: 58999, GID: 58999}, " read signal mem root ptrace packet"},
		{"no capabilities", root, launch.Cage{DropCapabilities: true}, " mem root ptrace packet"},
		{"to connect alone", machine.Scopes() && machine.NoSeccomp == "", launch.Cage{Landlock: true, Rules: rules, Seccomp: true, Connect: true},
			" read listen unix signal mem root ptrace packet"},
		{"all", root && machine.Scopes() && machine.NoSeccomp == "" && machine.NoNamespace == "",
			launch.Cage{UID: 58999, GID: 58999, Landlock: true, Rules: rules, Seccomp: true, NoNetwork: true},
			" read tcp4 udp4 unix listen signal mem root ptrace packet"},
	} {
		if !c.possible {
			t.Logf("%s: can't be had here: %+v", c.name, machine)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			os.RemoveAll(filepath.Join(mine, "d"))
			os.Remove(filepath.Join(mine, "new"))
			owner := max(0, c.cage.UID)
			if c.cage.UID == 0 {
				owner = os.Geteuid()
			}
			if root {
				if err := os.Chown(mine, owner, owner); err != nil {
					t.Fatal(err)
				}
			}
			got := cagedRun(t, c.cage, tries...)
			for _, try := range tries {
				what, _, _ := strings.Cut(try, "=")
				want := !strings.Contains(c.refused+" ", " "+what+" ")
				if !root && (what == "root" || what == "packet" || what == "ptrace") {
					want = false
				}
				if ok, said := got[what]; !said || ok != want {
					t.Errorf("%s: succeeds %t, want %t", what, ok, want)
				}
			}
		})
	}
}

func refusedByLandlock(m launch.Machine, root bool) string {
	refused := " read mem ptrace"
	if root {
		refused += " root"
	}
	if m.TCP() {
		refused += " tcp4" // listen goes through: Multipath TCP, which seccomp is there for
	}
	if m.Scopes() {
		refused += " unix signal"
	}
	return refused
}
