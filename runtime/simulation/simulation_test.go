package simulation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// seeds is how many histories `make test` tries; -rapid.checks overrides it.
const seeds = "2000"

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", seeds); err != nil {
		panic(err)
	}
	flag.Parse()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// op is one thing that happens to the node.
type op struct {
	Kind string
	Who  int
	N    int
}

func (o op) String() string { return fmt.Sprintf("%s(%d,%d)", o.Kind, o.Who, o.N) }

var kinds = []string{
	"crash", "crash", "crash twice", "crash all", "stop", "start", "restart", "restart hard", "update", "update", "configure", "configure", "disable", "enable", "uninstall", "install",
	"fail", "hang", "exit", "slow", "health", "kernel", "wait", "wait",
}

var phases = []string{"launch", "configure", "prepare", "acquire", "drain", "release", "modified"}

// history is a whole case, drawn before the simulation begins.
type history struct {
	Descriptors []string
	Ops         []op
}

func names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("C%d", i))
	}
	return out
}

func drawHistory(t *rapid.T) history {
	var h history
	n := rapid.IntRange(2, 6).Draw(t, "components")
	for i := range n {
		d := fmt.Sprintf("name: C%d\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: test.v1.S%d, version: 1.0.0}, {service: test.v1.Any, version: 1.0.0}]\nrestart: {budget: 4, per: 10m}\nconfig: {properties: {value: {type: string}}}\n", i, i)
		if rapid.Bool().Draw(t, "modified") {
			d += "modified: [value]\n"
		}
		var refs []string
		for j := range n {
			if i == j {
				continue
			}
			switch rapid.IntRange(0, 8).Draw(t, "edge") {
			case 0, 1:
				refs = append(refs, fmt.Sprintf("{name: r%d, service: test.v1.S%d, cardinality: 1..1}", j, j))
			case 2:
				refs = append(refs, fmt.Sprintf("{name: r%d, service: test.v1.S%d, cardinality: 0..1}", j, j))
			}
		}
		switch rapid.IntRange(0, 4).Draw(t, "any") {
		case 0:
			refs = append(refs, "{name: any, service: test.v1.Any, cardinality: 1..1}")
		case 1:
			refs = append(refs, "{name: any, service: test.v1.Any, cardinality: 0..n}")
		}
		h.Descriptors = append(h.Descriptors, d+"requires: ["+strings.Join(refs, ", ")+"]\n")
	}
	h.Ops = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		return op{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Who: rapid.IntRange(0, n-1).Draw(t, "who"), N: rapid.IntRange(0, 5).Draw(t, "n")}
	}), 1, 25).Draw(t, "ops")
	return h
}

// run plays a history within a synctest bubble and says what went wrong.
func (h history) run() error {
	w := New()
	if err := w.Install(h.Descriptors...); err != nil {
		return err
	}
	w.Apply()
	all := names(len(h.Descriptors))
	held, gone := map[string]bool{}, map[string]bool{}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	var asked []chan struct{}
	ask := func(f func(context.Context, string, string) error, name string) {
		done := make(chan struct{})
		asked = append(asked, done)
		go func() {
			defer close(done)
			_ = f(ctx, name, "tester") // that the component can't do it is no fault of the kernel; the invariants are checked
		}()
	}
	var wrong error
	for i, o := range h.Ops {
		name := all[o.Who]
		switch o.Kind {
		case "crash", "crash twice":
			for range len(o.Kind) / 5 {
				if p := w.Process(name); p != nil {
					p.Crash()
				}
				if o.Kind != "crash" {
					time.Sleep(150 * time.Millisecond)
				}
			}
		case "crash all":
			for _, n := range all {
				if p := w.Process(n); p != nil {
					p.Crash()
				}
			}
		case "stop":
			if !gone[name] { // the order would have no addressee
				held[name] = true
			}
			ask(w.Reconciler.Stop, name)
		case "start":
			delete(held, name)
			ask(w.Reconciler.Start, name)
		case "restart":
			delete(held, name)
			ask(func(ctx context.Context, name, actor string) error {
				return w.Reconciler.Restart(ctx, name, actor, false)
			}, name)
		case "restart hard":
			delete(held, name)
			ask(func(ctx context.Context, name, actor string) error {
				return w.Reconciler.Restart(ctx, name, actor, true)
			}, name)
		case "update":
			if gone[name] {
				break
			}
			if err := w.Install(strings.Replace(h.Descriptors[o.Who], "version: 1.0.0\nsummary", fmt.Sprintf("version: 1.%d.0\nsummary", o.N), 1)); err != nil {
				return err
			}
			w.Apply()
		case "kernel":
			held = w.ReplaceKernel()
			w.Apply()
		case "configure":
			value := fmt.Sprint(o.N)
			if o.N == 4 {
				value = "bad"
			}
			w.Configure(name, value)
			w.Apply()
		case "disable", "enable":
			w.Enable(name, o.Kind == "enable")
			w.Apply()
		case "uninstall":
			w.Uninstall(name)
			delete(held, name)
			gone[name] = true
			w.Apply()
		case "install":
			if err := w.Install(h.Descriptors[o.Who]); err != nil {
				return err
			}
			delete(gone, name)
			w.Apply()
		case "fail", "hang", "exit":
			w.SetFault(name, Fault{Phase: phases[(o.N+o.Who)%len(phases)], Hang: o.Kind == "hang", Exit: o.Kind == "exit", Times: 1 + o.N%3})
		case "slow":
			w.SetSlow(name, time.Duration(o.N)*time.Second)
		case "health":
			if p := w.Process(name); p != nil {
				p.SetHealth(controlv1.Health(2 + o.N%4))
			}
		case "wait":
			time.Sleep(time.Duration(1+o.N*o.N*o.N) * 200 * time.Millisecond)
		}
		synctest.Wait()
		if err := w.Check(); err != nil {
			wrong = fmt.Errorf("after step %d, %s: %w", i, o, err)
			break
		}
	}
	if wrong == nil {
		for _, n := range all {
			w.SetFault(n, Fault{})
			w.SetSlow(n, 0)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		wrong = w.CheckSettled(held)
	}
	shutdown, end := context.WithTimeout(context.Background(), 10*time.Minute)
	w.Reconciler.Shutdown(shutdown)
	end()
	cancel()
	for _, done := range asked {
		<-done
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.processes) > 0 {
		wrong = errors.Join(wrong, fmt.Errorf("%d processes are left after the shutdown", len(w.processes)))
	}
	return wrong
}

// TestEveryHistoryKeepsTheInvariants tries thousands of histories; a failing one is shrunk and printed with its seed.
func TestEveryHistoryKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		var err error
		synctest.Test(t, func(*testing.T) { err = h.run() })
		if err != nil {
			rt.Fatalf("%v\ncomponents:\n%s\nops: %v", err, strings.Join(h.Descriptors, "---\n"), h.Ops)
		}
	})
}
