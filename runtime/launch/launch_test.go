package launch_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/launch"
)

// launched runs the launcher, which this test binary is under its name, with a program as descriptor 3.
func launched(t *testing.T, program string, args ...string) (out string, code int) {
	t.Helper()
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := exec.Command("/proc/self/exe")
	c.Args = append([]string{launch.Name}, args...)
	c.Env = []string{"A=b"}
	c.ExtraFiles = []*os.File{f, f, f, f}
	b, _ := c.CombinedOutput()
	return string(b), c.ProcessState.ExitCode()
}

func TestItExecutesWhatItIsGiven(t *testing.T) {
	args := launch.Args("env", os.Getpid(), 1, launch.Limits{Files: 100, Data: 1 << 30, Nice: 1, OOMScore: 10}, launch.Cage{})
	out, code := launched(t, "/usr/bin/env", args[1:]...)
	if out != "A=b\n" || code != 0 {
		t.Errorf("code %d, output %q", code, out)
	}
	// ls sees 0-5 and its own for the folder; the second of two listeners was not announced and is closed.
	ls := launch.Args("ls", os.Getpid(), 1, launch.Limits{}, launch.Cage{})
	ls = append(ls, "/proc/self/fd")
	out, code = launched(t, "/bin/ls", ls[1:]...)
	if got := strings.Fields(out); code != 0 || len(got) != 7 {
		t.Errorf("code %d, descriptors %q", code, got)
	}
}

func TestMoreThanTheUserMayHaveIsTheMost(t *testing.T) {
	args := launch.Args("true", os.Getpid(), 0, launch.Limits{Files: 1 << 62}, launch.Cage{})
	if out, code := launched(t, "/bin/true", args[1:]...); code != 0 {
		t.Errorf("code %d, output %q", code, out)
	}
}

func TestItSaysWhyItCannot(t *testing.T) {
	good := launch.Args("true", os.Getpid(), 0, launch.Limits{}, launch.Cage{})[1]
	for _, c := range []struct {
		name, program string
		args          []string
		code          int
		says          string
	}{
		{"by hand", "/bin/true", nil, launch.ExitCannotExecute, "not by hand"},
		{"guardian gone", "/bin/true", []string{strings.Replace(good, strconv.Itoa(os.Getpid()), "1", 1), "", "true"}, launch.ExitOrphan, "guardian is gone"},
		{"unknown setting", "/bin/true", []string{good + ",colour=3", "", "true"}, launch.ExitCannotExecute, "colour=3"},
		{"broken setting", "/bin/true", []string{"parent=x", "", "true"}, launch.ExitCannotExecute, "parent=x"},
		{"impossible score", "/bin/true", []string{strings.Replace(good, "oom=0", "oom=5000", 1), "", "true"}, launch.ExitCannotExecute, "out-of-memory score"},
		{"unknown bar of the cage", "/bin/true", []string{good, "colour 3\n", "true"}, launch.ExitCannotExecute, "colour 3 is not known"},
		{"broken rule", "/bin/true", []string{good, "rule1 /x\n", "true"}, launch.ExitCannotExecute, "rule1 /x"},
		{"no namespace", "/bin/true", []string{good, "nonet 1\n", "true"}, launch.ExitCannotExecute, "network namespace"},
		{"no program", "/etc/passwd", []string{good, "", "passwd"}, launch.ExitCannotExecute, "execute passwd"},
	} {
		if out, code := launched(t, c.program, c.args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: code %d, output %q", c.name, code, out)
		}
	}
}
