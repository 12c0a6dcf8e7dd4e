package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/guardian/guardiantest"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/carbonado/runtime/supervisor"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Acceptance cases of the supervisor, by the numbers of the list.

func TestCase63GarbageBeforeTheHandshakeIsShown(t *testing.T) {
	b := newBench(t)
	_, err := b.Start(b.context(), b.spec("Garbage"))
	if !errors.Is(err, supervisor.ErrStart) {
		t.Fatal(err)
	}
	for _, want := range []string{`"Welcome to ACME 3.1!\n\x00\x01"`, "licence expired", "exit code 3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %s", want, err)
		}
	}
	spec := b.spec("Babbling")
	spec.StartTimeout = 500 * time.Millisecond
	_, err = b.Start(b.context(), spec)
	if !errors.Is(err, supervisor.ErrStartTimeout) || !strings.Contains(err.Error(), `"no newline, xxx`) || !strings.Contains(err.Error(), "bytes more") {
		t.Error(err)
	}
}

func TestCase64VersionsOfTheProtocol(t *testing.T) {
	for _, c := range []struct {
		component string
		kernel    []int
		want      int // 0 is refused
	}{
		{"Old", []int{2, 3}, 0}, {"Old", []int{1, 2}, 1}, {"Good", []int{2, 3}, 2}, {"Good", []int{1, 2}, 2}, {"Good", []int{1}, 1}, {"Good", []int{3, 4}, 0},
	} {
		t.Run(fmt.Sprint(c.component, c.kernel), func(t *testing.T) {
			b := newBench(t)
			s, err := supervisor.New(supervisor.Config{
				Guardian: guardiantest.Client(), RunFolder: filepath.Join(b.home, "run2"), Log: hclog.NewNullLogger(), Protocols: c.kernel,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close(b.context()) })
			i, err := s.Start(b.context(), b.spec(c.component))
			if c.want != 0 {
				if err != nil {
					t.Fatal(err)
				}
				if i.Protocol() != c.want {
					t.Errorf("they speak version %d, want %d", i.Protocol(), c.want)
				}
				return
			}
			both := fmt.Sprintf("speaks version 1 of the control protocol, this kernel %d, %d", c.kernel[0], c.kernel[1])
			if !errors.Is(err, supervisor.ErrHandshake) || !strings.Contains(err.Error(), both) {
				t.Errorf("%v, want %q", err, both)
			}
		})
	}
}

func TestCase67StartTimeoutEndsChildrenToo(t *testing.T) {
	b := newBench(t)
	spec := b.spec("Parent")
	spec.StartTimeout = 500 * time.Millisecond
	_, err := b.Start(b.context(), spec)
	exit, ok := supervisor.ExitOf(err)
	if !errors.Is(err, supervisor.ErrStartTimeout) || !ok || exit.Result.Kind != component.ResultStartTimeout {
		t.Fatalf("%v, %+v", err, exit)
	}
	var child int
	if _, err := fmt.Sscanf(exit.Complaint, "child %d", &child); err != nil {
		t.Fatalf("%q: %v", exit.Complaint, err)
	}
	for deadline := time.Now().Add(longest); unix.Kill(child, 0) == nil; unix.Poll(nil, 5) {
		if time.Now().After(deadline) {
			t.Fatal("the child lives on")
		}
	}
}

// A component that is a user of its own is called and calls as that user, in a folder of its own.
func TestOwnUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root gives users")
		return
	}
	const user = 58998
	b := newBench(t)
	for dir := b.home; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	s, err := supervisor.New(supervisor.Config{
		Guardian: guardiantest.Client(), RunFolder: filepath.Join(b.home, "run3"), Log: hclog.NewNullLogger(), OwnUsers: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(b.context()); err != nil {
			t.Error(err)
		}
	})
	spec := b.spec("Good")
	spec.Cage = launch.Cage{UID: user, GID: user}
	if err := os.MkdirAll(spec.DataFolder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(spec.DataFolder, user, user); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(spec.DataFolder), 0o711); err != nil {
		t.Fatal(err)
	}
	i, err := s.Start(b.context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if i.UID() != user {
		t.Errorf("user %d", i.UID())
	}
	if _, err := i.Component().Configure(b.context(), &controlv1.ConfigureRequest{ConfigJson: []byte("peer")}); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(i.RunFolder(), &st); err != nil || st.Uid != user || st.Mode&0o777 != 0o711 {
		t.Errorf("run folder of user %d, mode %o, %v", st.Uid, st.Mode&0o777, err)
	}
	if err := unix.Stat(fmt.Sprintf("/proc/%d", i.PID()), &st); err != nil || st.Uid != user {
		t.Errorf("process of user %d, %v", st.Uid, err)
	}
	var limited bool
	for _, m := range i.Limits() {
		limited = limited || m.What == fmt.Sprintf("processes %d", supervisor.DefaultProcesses) && m.Enforced
	}
	if !limited {
		t.Errorf("%+v", i.Limits())
	}
}
