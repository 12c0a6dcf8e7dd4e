package launch_test

import (
	"os"
	"os/exec"
	"testing"

	"carbonado.dev/carbonado/runtime/launch"
)

// BenchmarkLaunch is the launcher's step with the execution of a small program, bare and in the cage of a component.
func BenchmarkLaunch(b *testing.B) {
	rules := []launch.Rule{}
	for _, path := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt"} {
		rules = append(rules, launch.Rule{Path: path, Access: launch.Read | launch.Execute})
	}
	for _, name := range []string{"hosts", "ssl", "localtime", "passwd", "group", "resolv.conf", "nsswitch.conf", "ld.so.cache", "services", "protocols"} {
		rules = append(rules, launch.Rule{Path: "/etc/" + name, Access: launch.Read})
	}
	program, err := os.Open("/bin/true")
	if err != nil {
		b.Fatal(err)
	}
	defer program.Close()
	for _, c := range []struct {
		name string
		cage launch.Cage
	}{
		{"bare", launch.Cage{}}, {"landlock", launch.Cage{Landlock: true, Rules: rules}}, {"seccomp", launch.Cage{Seccomp: true}},
		{"both", launch.Cage{Landlock: true, Rules: rules, Seccomp: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("/proc/self/exe")
				cmd.Args = launch.Args("true", os.Getpid(), 0, launch.Limits{}, c.cage)
				cmd.ExtraFiles = []*os.File{program, program}
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}
