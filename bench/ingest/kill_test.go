package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbonado.dev/carbonado/bench/load"
	"carbonado.dev/carbonado/bench/server"
	"carbonado.dev/sdk/agent"
)

// TestKill9 publishes with the Go agent while each process on the path is killed, and then all of them: after the restart every event
// is stored exactly once, counted by unique values. It needs what `make build` makes.
func TestKill9(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	inst, err := server.Lay("../..")
	if err != nil {
		t.Fatalf("an installation can't be laid out (run make build): %v", err)
	}
	t.Cleanup(func() {
		if err := inst.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := load.Deploy(inst.Home, true); err != nil {
		t.Fatal(err)
	}
	if _, err := inst.Start(ctx); err != nil {
		t.Fatal(err)
	}
	address := func(base int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+inst.Offset)) }
	a, err := agent.New(agent.Options{
		URLs: "tcp://" + address(7611), AuthURLs: "ssl://" + address(7711), Username: "admin", Password: server.Password,
		TLS: &tls.Config{InsecureSkipVerify: true}, Connections: 4, Queue: 4000, Reconnect: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	n := 0
	publish := func(events int) {
		t.Helper()
		for range events {
			if err := a.Publish(ctx, load.Event(n)); err != nil {
				t.Fatalf("event %d: %v, %+v", n, err, a.Stats())
			}
			n++
		}
	}
	const step = 20_000
	publish(step)
	for _, name := range []string{"EventReceiver", "EventSink", "DataService"} {
		before := component(ctx, t, inst, name)
		if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		publish(step)
		if err := a.Flush(ctx); err != nil {
			t.Fatalf("after kill -9 of %s: %v, %+v", name, err, a.Stats())
		}
		after := component(ctx, t, inst, name)
		if after.Pid == before.Pid || after.State != "ACTIVE" || after.Restarts != before.Restarts+1 {
			t.Errorf("%s before %+v, after %+v", name, before, after)
		}
	}
	// Everything at once, in the middle of bundles.
	pids, err := inst.Processes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	publish(step)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one may take others with it
	}
	gone(ctx, t, pids)
	running, err := inst.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	publish(step)
	if err := a.Close(ctx); err != nil {
		t.Fatalf("%v, %+v", err, a.Stats())
	}
	if s := a.Stats(); s.Acknowledged != uint64(n) || s.Failed != 0 {
		t.Errorf("%d published, %+v", n, s)
	}
	out, err := inst.Command(ctx, "query", "-o", "json", load.Count).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var answer struct{ Rows [][]int }
	if err := json.Unmarshal(out, &answer); err != nil || fmt.Sprint(answer.Rows) != fmt.Sprintf("[[%d %d]]", n, n) {
		t.Errorf("%d published; rows and different ones: %v (%v)", n, answer.Rows, err)
	}
	if err := running.Stop(); err != nil && !strings.Contains(err.Error(), "signal") {
		t.Error(err)
	}
}

// gone waits until none of the processes is left; the server promises five seconds.
func gone(ctx context.Context, t *testing.T, pids []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("process %d is left after kill -9 of all", pid)
			}
		}
	}
}

type state struct {
	Name, State   string
	Pid, Restarts int
}

func component(ctx context.Context, t *testing.T, inst *server.Installation, name string) state {
	t.Helper()
	out, err := inst.Command(ctx, "component", "ls", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []state
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("%s is not in %s", name, out)
	return state{}
}
