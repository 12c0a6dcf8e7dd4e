package crashtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// backoff is the most that a component waits before its start after so many crashes in a row: 100 ms, doubled each time, at most
// 30 s. See docs and SEAMS: a component is back within its backoff; its start itself takes what the machine gives it.
func backoff(row int) time.Duration { return min(100*time.Millisecond<<min(row-1, 20), 30*time.Second) }

// tolerance is how late a timer may be on a machine that is busy.
const tolerance = 2 * time.Second

// TestKillEachComponent: kill -9 of every component under load, in a random order, and then of random ones for -crash.duration.
// Each is back within its backoff, nobody else is touched, and every event is stored and indexed exactly once.
func TestKillEachComponent(t *testing.T) {
	random := seeded(t)
	l := install(t)
	l.start()
	l.stream()
	names := []string{"EventReceiver", "EventSink", "DataService", "Identity", "Indexing", "AnalyticsEngine", "AnalyticsExecution", "HTTPReceiver", "Portal"}
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	x := l.agentLoad()
	x.moved(500)
	crashes := map[string]int{}
	for _, name := range names {
		crashes[name]++
		l.killOne(name, crashes[name])
		x.moved(200)
	}
	// The path of the events again and again, within the budget of five crashes in ten minutes, so that none is FAILED.
	path := []string{"EventReceiver", "EventSink", "DataService", "Indexing"}
	used, seen := map[string]float64{}, map[string]time.Time{}
	for begin := time.Now(); time.Since(begin) < *duration; x.moved(200) {
		name := path[random.IntN(len(path))]
		if last, ok := seen[name]; ok {
			used[name] = max(0, used[name]-time.Since(last).Minutes()/2)
		} else {
			used[name] = 1 // of the first round
		}
		seen[name] = time.Now()
		if used[name] > 4 {
			continue
		}
		used[name]++
		crashes[name]++
		l.killOne(name, crashes[name])
	}
	t.Logf("kills: %v", crashes)
	l.exactly(x.settle())
	l.stop()
	if text := l.output.String(); strings.Contains(text, "panic:") {
		t.Errorf("something panicked:\n%s", tailFrom(text, "panic:"))
	}
	// What was stored is there after an ordinary restart too.
	n := x.acked
	l.start()
	l.exactly(n)
	l.stop()
}

// killOne kills a component and wants it back within its backoff, and everybody else untouched.
func (l *lab) killOne(name string, crashes int) {
	l.t.Helper()
	was, before := mustStatus(l), l.look()
	l.kill9(name)
	l.wait(name+" to be back", func() error {
		var c componentLine
		if err := l.get("/api/components/"+name, &c); err != nil {
			return err
		}
		if c.Pid == before[name].Pid || c.State != "ACTIVE" || c.Health != "OK" {
			return fmt.Errorf("it is %s, %s: %s", c.State, c.Health, c.Cause)
		}
		return nil
	})
	is, after := mustStatus(l), l.look()
	if was.KernelPid != is.KernelPid || was.GuardianPid != is.GuardianPid {
		l.t.Errorf("after kill -9 of %s: kernel and guardian were %d, %d and are %d, %d", name, was.KernelPid, was.GuardianPid, is.KernelPid, is.GuardianPid)
	}
	for other, b := range before {
		a := after[other]
		if other == name {
			if a.Restarts != b.Restarts+1 || a.Detail.Generation <= b.Detail.Generation {
				l.t.Errorf("%s: %d restarts and generation %d, before %d and %d", name, a.Restarts, a.Detail.Generation, b.Restarts, b.Detail.Generation)
			}
			continue
		}
		if a.Pid != b.Pid || a.Detail.Generation != b.Detail.Generation || a.State != "ACTIVE" {
			l.t.Errorf("kill -9 of %s moved %s: pid %d generation %d -> pid %d generation %d %s", name, other, b.Pid, b.Detail.Generation, a.Pid, a.Detail.Generation, a.State)
		}
	}
	l.inTime(name, crashes)
}

// inTime reads from the history how long the component was in BACKOFF the last time.
func (l *lab) inTime(name string, crashes int) {
	l.t.Helper()
	var h []transition
	if err := l.get("/api/components/"+name+"/history", &h); err != nil {
		l.t.Fatal(err)
	}
	var fell, rose, up time.Time
	for _, x := range h {
		switch {
		case x.To == "BACKOFF":
			fell = x.Time
		case x.From == "BACKOFF" && x.To == "STARTING":
			rose = x.Time
		case x.To == "ACTIVE":
			up = x.Time
		}
	}
	if fell.IsZero() || rose.Before(fell) || up.Before(rose) {
		l.t.Fatalf("history of %s has no crash and start: %+v", name, h)
	}
	l.t.Logf("kill -9 %s: back after %s of backoff and %s of start", name, rose.Sub(fell).Round(time.Millisecond), up.Sub(rose).Round(time.Millisecond))
	if d := rose.Sub(fell); d > backoff(crashes)+tolerance {
		l.t.Errorf("%s was in BACKOFF for %s after crash %d, at most %s", name, d, crashes, backoff(crashes))
	}
}

func mustStatus(l *lab) status {
	l.t.Helper()
	s, err := l.status()
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// TestKillEverything: guardian, kernel and all components at once under load, twice; the agents go on by themselves.
func TestKillEverything(t *testing.T) {
	for _, c := range []struct {
		name string
		load func(*lab) *load
		once bool
	}{
		{"agent", (*lab).agentLoad, true},
		{"another agent", (*lab).plainLoad, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := seeded(t)
			l := install(t)
			l.start()
			l.stream()
			x := c.load(l)
			for range 2 {
				x.moved(300 + random.Int64N(1200))
				l.killAll()
				l.start()
			}
			x.moved(500)
			n := x.settle()
			if c.once {
				l.exactly(n)
			} else {
				t.Logf("bundles sent again: %d", x.plain.repeats)
				l.stored(n, false)
			}
			l.stop()
		})
	}
}

// TestKillTheRoof: kill -9 of the guardian under load: within five seconds no process and no listener is left, and the installation
// starts again with the same events, in the table and in the index.
func TestKillTheRoof(t *testing.T) {
	l := install(t)
	l.start()
	l.stream()
	x := l.agentLoad()
	x.moved(1000)
	l.look()
	l.kill9("guardian")
	l.nothingLeft(5 * time.Second)
	l.gone()
	l.server = nil
	l.start()
	x.moved(300)
	l.exactly(x.settle())
	l.stop()
}

// tailFrom is what a text has from a mark on, at most 2,000 bytes.
func tailFrom(text, mark string) string {
	text = text[strings.Index(text, mark):]
	return text[:min(len(text), 2000)]
}
