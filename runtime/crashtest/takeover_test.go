package crashtest

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestCase62KernelReplacedUnderLoad: the kernel is killed and upgraded again and again under load. The agent's connection is never cut, nothing
// is sent twice, every event is stored and indexed exactly once, and no component's process changes.
func TestCase62KernelReplacedUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		load func(*lab) *load
	}{
		{"agent", (*lab).agentLoad},
		{"another agent", (*lab).plainLoad},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := seeded(t)
			l := install(t)
			l.start()
			l.stream()
			x := c.load(l)
			x.moved(300)
			calm := x.restTime()
			before := l.look()
			var gaps []int64
			for range 3 { // no more deaths within a minute than the guardian bears
				x.moved(random.Int64N(600))
				was := mustStatus(l)
				l.kill9("kernel")
				gaps = append(gaps, l.follows(was))
				x.moved(random.Int64N(600))
				was = mustStatus(l)
				if out, errs, code := l.cli("upgrade"); code != 0 {
					t.Fatalf("upgrade: exit code %d: %s%s", code, out, errs)
				}
				gaps = append(gaps, l.follows(was))
			}
			x.moved(300)
			for name, a := range l.look() {
				b := before[name]
				if a.Pid != b.Pid || a.State != "ACTIVE" || a.Health != "OK" || a.Restarts != 0 || a.Detail.Generation != b.Detail.Generation {
					t.Errorf("%s was process %d of generation %d, is %d of %d, %s, %s, %d restarts: %s", name, b.Pid, b.Detail.Generation, a.Pid, a.Detail.Generation, a.State, a.Health, a.Restarts, a.Cause)
				}
			}
			t.Logf("milliseconds from the end of a kernel to the RUNNING of the next: %v", gaps)
			n := x.settle()
			if x.plain != nil {
				t.Logf("longest wait for an acknowledgement: %s, before anything happened %s", x.longest.Round(time.Millisecond), calm.Round(time.Millisecond))
				if x.plain.repeats > 0 {
					t.Errorf("the agent's connection was cut %d times", x.plain.repeats)
				}
			}
			l.exactly(n)
			l.stop()
		})
	}
}

// restTime is the longest wait so far.
func (x *load) restTime() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.longest
}

// follows waits for another kernel that is RUNNING beneath the same guardian, and says how long there was none, in milliseconds.
func (l *lab) follows(was status) int64 {
	l.t.Helper()
	var s struct {
		status
		Takeover *struct{ Kernel, Components, Of, TookMs int64 }
	}
	l.wait("another kernel to be RUNNING", func() error {
		s.Takeover = nil
		if err := l.get("/api/status", &s); err != nil {
			return err
		}
		if s.KernelPid == was.KernelPid || s.State != "RUNNING" {
			return fmt.Errorf("kernel %d is %s", s.KernelPid, s.State)
		}
		if s.Takeover == nil {
			return errors.New("it says nothing of the one before")
		}
		return nil
	})
	if s.GuardianPid != was.GuardianPid || s.Takeover.Components != s.Takeover.Of || s.Takeover.Kernel != int64(was.KernelPid) {
		l.t.Errorf("guardian %d, was %d; %d of %d components were taken over from kernel %d, which was %d", s.GuardianPid, was.GuardianPid, s.Takeover.Components, s.Takeover.Of, s.Takeover.Kernel, was.KernelPid)
	}
	return s.Takeover.TookMs
}
