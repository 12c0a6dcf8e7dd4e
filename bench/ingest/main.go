// Command ingest measures how many events per second go from the Go agent to an acknowledgement of the store, through a whole server,
// against PostgreSQL taking the same rows by COPY. It must not know components but by their ports and files.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"carbonado.dev/carbonado/bench/load"
	"carbonado.dev/carbonado/bench/server"
	"carbonado.dev/sdk/agent"
)

const (
	connections = 8
	bundleSize  = agent.MaxBundle
)

func main() {
	seconds := flag.Int("seconds", 60, "length of each measurement")
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := measure(*root, time.Duration(*seconds)*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(root string, length time.Duration) error {
	ctx := context.Background()
	events := load.Pool()
	ours, err := ingest(ctx, root, length, events, false)
	if err != nil {
		return err
	}
	indexed, err := ingest(ctx, root, length, events, true)
	if err != nil {
		return err
	}
	theirs, version, err := postgres(ctx, length, events)
	if errors.Is(err, errNoPostgres) {
		fmt.Printf("ingest %.0f events/s; no ratio: %v\n", ours, err)
		fmt.Printf("ingest-indexed %.0f events/s; no ratio\n", indexed)
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Printf("ingest ratio=%.2f target=>=2 (%.0f events/s acknowledged against %.0f by COPY, PostgreSQL %s, %d connections, %d events a batch, %s)\n", ours/theirs, ours, theirs, version, connections, bundleSize, length)
	fmt.Printf("ingest-indexed ratio=%.2f (%.0f events/s with one indexed column)\n", indexed/theirs, indexed)
	return nil
}

// ingest runs a server and answers the acknowledged events per second.
func ingest(ctx context.Context, root string, length time.Duration, events []agent.Event, indexed bool) (float64, error) {
	inst, err := server.Lay(root)
	if err != nil {
		return 0, err
	}
	defer inst.Remove()
	if err := load.Deploy(inst.Home, indexed); err != nil {
		return 0, err
	}
	running, err := inst.Start(ctx)
	if err != nil {
		return 0, err
	}
	rate, err := publish(ctx, inst, length, events)
	return rate, errors.Join(err, running.Stop())
}

func publish(ctx context.Context, inst *server.Installation, length time.Duration, events []agent.Event) (float64, error) {
	var failure atomic.Value
	address := func(base int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+inst.Offset)) }
	a, err := agent.New(agent.Options{
		URLs: "tcp://" + address(7611), AuthURLs: "ssl://" + address(7711), Username: "admin", Password: server.Password,
		TLS: &tls.Config{InsecureSkipVerify: true}, Connections: connections, Queue: 4 * connections * bundleSize,
		Settled: func(_ []agent.Event, err error) {
			if err != nil {
				failure.CompareAndSwap(nil, err)
			}
		},
	})
	if err != nil {
		return 0, err
	}
	if err := a.Connect(ctx); err != nil {
		return 0, err
	}
	end := time.Now().Add(length)
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; failure.Load() == nil && (i%bundleSize != 0 || time.Now().Before(end)); i++ {
			if err := a.Publish(ctx, events[i%len(events)]); err != nil {
				failure.CompareAndSwap(nil, err)
			}
		}
	})
	wg.Wait()
	closing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = a.Close(closing)
	took := time.Since(began)
	s := a.Stats()
	if f, ok := failure.Load().(error); ok {
		err = errors.Join(err, f)
	}
	if err != nil {
		return 0, err
	}
	if err := counted(ctx, inst, s.Acknowledged); err != nil {
		return 0, err
	}
	return float64(s.Acknowledged) / took.Seconds(), nil
}

// counted checks that the store has as many rows as were acknowledged.
func counted(ctx context.Context, inst *server.Installation, want uint64) error {
	out, err := inst.Command(ctx, "query", load.Count).CombinedOutput()
	if err != nil {
		return fmt.Errorf("query: %w\n%s", err, out)
	}
	if !strings.Contains(string(out), strconv.FormatUint(want, 10)) {
		return fmt.Errorf("%d events were acknowledged, the store has\n%s", want, out)
	}
	return nil
}
