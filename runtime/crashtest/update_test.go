package crashtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// replacement is the answer to an update.
type replacement struct {
	Outcome, From, To string
	Generation        uint64
	StallMs           float64
	Cause             *causeLine
}

// caller asks the node the same things without a pause: calls through the gateway to several components, none of which may fail.
type caller struct {
	l    *lab
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	calls   map[string]int
	longest map[string]time.Duration
	failed  []string
}

// reads are idempotent requests, by the component that answers them.
var reads = map[string]string{
	"AnalyticsExecution": "/scripts",
	"EventReceiver":      "/streams",
	"Identity":           "/identity/users",
	"Portal":             "/analytics/tables",
}

func (l *lab) calls() *caller {
	ctx, cancel := context.WithCancel(context.Background())
	c := &caller{l: l, stop: cancel, calls: map[string]int{}, longest: map[string]time.Duration{}}
	l.t.Cleanup(func() {
		cancel()
		c.wg.Wait()
	})
	for name, path := range reads {
		c.wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				err := c.call(path)
				c.mu.Lock()
				c.calls[name]++
				c.longest[name] = max(c.longest[name], time.Since(began))
				if err != nil {
					c.failed = append(c.failed, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), path, err))
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

func (c *caller) call(path string) error {
	resp, err := c.l.admin.Get("http://admin" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var body [300]byte
		n, _ := resp.Body.Read(body[:])
		return fmt.Errorf("%s: %s", resp.Status, body[:n])
	}
	return nil
}

// end stops the calls; none may have failed.
func (c *caller) end() {
	c.l.t.Helper()
	c.stop()
	c.wg.Wait()
	for name := range reads {
		c.l.t.Logf("%d calls of %s, the longest took %s", c.calls[name], name, c.longest[name].Round(time.Millisecond))
		if c.calls[name] == 0 {
			c.l.t.Errorf("%s was not called", name)
		}
	}
	if n := len(c.failed); n > 0 {
		c.l.t.Errorf("%d calls failed, the first: %s", n, strings.Join(c.failed[:min(n, 5)], "\n"))
	}
}

// nextVersion installs a package of a component that differs in its version alone.
func (l *lab) nextVersion(name, version string) {
	l.t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		l.t.Fatal(err)
	}
	next := l.t.TempDir()
	if out, err := exec.Command("cp", "-r", filepath.Join(root, "build", "packages", name)+"/.", next).CombinedOutput(); err != nil {
		l.t.Fatalf("%v %s", err, out)
	}
	file := filepath.Join(next, "component.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	text := strings.Replace(string(b), "version: 1.0.0\n", "version: "+version+"\n", 1)
	if text == string(b) {
		l.t.Fatalf("%s has another version than 1.0.0", name)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
	if _, errs, code := l.cli("plugin", "install", next); code != 0 {
		l.t.Fatalf("install %s: %s", name, errs)
	}
}

var nine = []string{"EventReceiver", "EventSink", "DataService", "Identity", "Indexing", "AnalyticsEngine", "AnalyticsExecution", "HTTPReceiver", "Portal"}

// Case 68: under a constant load of calls and of event streams each of the nine components is restarted and updated: no idempotent call
// fails, no acknowledged event is lost or doubled, nobody else's process is touched, no crash is counted.
func TestCase68UpdateAndRestartUnderLoad(t *testing.T) {
	l := install(t)
	l.start()
	l.stream()
	events := l.agentLoad()
	events.moved(300)
	calls := l.calls()
	for _, name := range nine {
		before := l.look()
		if _, errs, code := l.cli("component", "restart", name); code != 0 {
			t.Fatalf("restart %s: %s", name, errs)
		}
		events.moved(150)
		l.nextVersion(name, "1.0.1")
		out, errs, code := l.cli("component", "update", name, "-o", "json")
		var r replacement
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || (r.Outcome != "UPDATED" && r.Outcome != "UNCHANGED") {
			t.Fatalf("update %s: exit code %d, %s%s %v", name, code, out, errs, err)
		}
		events.moved(150)
		after := l.look()
		t.Logf("%s: %s, calls waited %.0f ms", name, r.Outcome, r.StallMs)
		for other, b := range before {
			a := after[other]
			if a.State != "ACTIVE" || a.Restarts != b.Restarts {
				t.Errorf("after %s: %s is %s with %d restarts: %s", name, other, a.State, a.Restarts, a.Cause)
			}
			if other != name && a.Pid != b.Pid && other != "" {
				t.Errorf("update of %s moved %s from pid %d to %d", name, other, b.Pid, a.Pid)
			}
			if other == name && (a.Pid == b.Pid || a.Version != "1.0.1") {
				t.Errorf("%s is still %s, pid %d", name, a.Version, a.Pid)
			}
		}
	}
	calls.end()
	l.exactly(events.settle())
	l.stop()
}

// A client of WSO2's kind keeps its one connection over updates and restarts of EventReceiver: not one resend, no event lost or doubled.
func TestThriftConnectionSurvivesAnUpdateOfEventReceiver(t *testing.T) {
	l := install(t)
	l.start()
	l.stream()
	x := l.plainLoad()
	x.moved(300)
	for i := range 3 {
		if _, errs, code := l.cli("component", "restart", "EventReceiver"); code != 0 {
			t.Fatalf("restart: %s", errs)
		}
		x.moved(300)
		l.nextVersion("EventReceiver", fmt.Sprintf("1.0.%d", i+1))
		if _, errs, code := l.cli("component", "update", "EventReceiver"); code != 0 {
			t.Fatalf("update: %s", errs)
		}
		x.moved(300)
	}
	n := x.settle()
	if x.plain.repeats != 0 {
		t.Errorf("the client had to begin anew %d times", x.plain.repeats)
	}
	l.stored(n, true)
	l.stop()
}

// The process that was replaced ends as soon as its calls have ended: watches, receivers and links over which nothing comes do not hold it.
// Requests to an HTTP receiver are stored meanwhile, each of them.
func TestTheReplacedProcessEndsSoon(t *testing.T) {
	l := install(t)
	l.start()
	l.deployed("eventreceivers/smart_home_http.xml")
	posts, posted := l.posts("smart_home_http", `{"event":{"metaData":{},"correlationData":{},"payloadData":{"house_id":1,"metro_area":"Here","state":"Texas","device_id":1,"power_reading":1.5,"is_peak":true}}}`)
	for _, name := range []string{"HTTPReceiver", "EventReceiver", "EventSink", "Indexing", "DataService"} {
		old := l.look()[name].Pid
		began := time.Now()
		l.nextVersion(name, "1.0.1")
		l.waitFor(patience, "the old process of "+name+" to end", func() error {
			if !zombie(old) {
				return fmt.Errorf("pid %d lives", old)
			}
			return nil
		})
		// Calls may keep it for ten seconds.
		if time.Since(began) > 8*time.Second {
			t.Errorf("something kept the old process of %s", name)
		}
		t.Logf("%s: the old process ended %s after its successor was installed", name, time.Since(began).Round(time.Millisecond))
	}
	posts()
	n, failed := posted()
	t.Logf("%d posts", n)
	if n == 0 || len(failed) > 0 {
		t.Errorf("%d posts were stored, %d failed, the first: %.400s", n, len(failed), failed)
	}
	l.stop()
}

// posts posts the same event again and again, until the first function that it gives is called. The second tells how many were stored, and
// why the others were not.
func (l *lab) posts(receiver, body string) (stop func(), result func() (int, []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n, failed := 0, []string{}
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := l.ask(http.MethodPost, "/endpoints/"+receiver, json.RawMessage(body), nil); err != nil {
				failed = append(failed, time.Now().Format("15:04:05.000 ")+err.Error())
			} else {
				n++
			}
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	l.t.Cleanup(stop)
	return stop, func() (int, []string) { return n, failed }
}
