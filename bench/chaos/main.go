// Command chaos runs `carbonado chaos` against a whole server while an agent publishes without a pause, and checks after each step that no
// acknowledged event is lost and none doubled. It must not know components but by their ports and files.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"carbonado.dev/carbonado/bench/load"
	"carbonado.dev/carbonado/bench/server"
	"carbonado.dev/sdk/agent"
)

func main() {
	root := flag.String("root", ".", "the repository")
	duration := flag.Duration("duration", 30*time.Minute, "how long")
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "makes a run again")
	rate := flag.Int("rate", 1000, "events per second")
	actions := flag.String("actions", "", "only these actions, with commas")
	flag.Parse()
	if err := run(*root, *duration, *seed, *rate, *actions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// lab is the server, the agent, and what the agent was told.
type lab struct {
	*server.Installation
	agent *agent.Agent
	sent  atomic.Uint64
}

func run(root string, duration time.Duration, seed uint64, rate int, actions string) (err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	i, err := server.Lay(root)
	if err != nil {
		return err
	}
	l := &lab{Installation: i}
	defer func() {
		if err == nil {
			err = i.Remove()
		} else {
			err = fmt.Errorf("%w\nthe installation is kept: %s", err, i.Home)
		}
	}()
	if err := load.Deploy(i.Home, true); err != nil {
		return err
	}
	r, err := i.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	address := func(base int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+i.Offset)) }
	l.agent, err = agent.New(agent.Options{
		URLs: "tcp://" + address(7611), AuthURLs: "ssl://" + address(7711), Username: "admin", Password: server.Password, TLS: &tls.Config{InsecureSkipVerify: true},
	})
	if err != nil {
		return err
	}
	if err := l.agent.Connect(ctx); err != nil {
		return err
	}
	publishing, pause := context.WithCancel(ctx)
	published := make(chan error, 1)
	go func() { published <- l.publish(publishing, rate) }()
	steps, err := l.trouble(ctx, duration, seed, actions)
	pause()
	err = errors.Join(err, <-published)
	closing, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err = errors.Join(err, l.agent.Close(closing))
	if err != nil {
		return err
	}
	s := l.agent.Stats()
	rows, err := l.check(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("chaos steps=%d clean (%s, seed %d; %d events acknowledged, %d failed, %d rows, none doubled; %d resends)\n", steps, duration, seed, s.Acknowledged, s.Failed, rows, s.Resends)
	return nil
}

// publish sends events with serials that never repeat until ctx ends.
func (l *lab) publish(ctx context.Context, rate int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for range max(1, rate/100) {
			if err := l.agent.Publish(ctx, load.Event(n)); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			n++
			l.sent.Store(uint64(n))
		}
	}
}

// check counts: what was acknowledged before the query must be there, each once, and no more than was sent.
func (l *lab) check(ctx context.Context) (rows uint64, err error) {
	acknowledged := l.agent.Stats().Acknowledged
	out, err := l.Command(ctx, "query", load.Count, "-o", "json").Output()
	if err != nil {
		return 0, fmt.Errorf("query: %w\n%s", err, out)
	}
	var answer struct{ Rows [][2]uint64 }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Rows) != 1 {
		return 0, fmt.Errorf("query answered %s (%v)", out, err)
	}
	n, d := answer.Rows[0][0], answer.Rows[0][1]
	switch sent := l.sent.Load() + 1; { // the one that is being sent
	case n != d:
		return n, fmt.Errorf("%d rows of %d events: some are doubled", n, d)
	case n < acknowledged:
		return n, fmt.Errorf("%d events were acknowledged, the store has %d", acknowledged, n)
	case n > sent:
		return n, fmt.Errorf("%d events were sent, the store has %d", sent, n)
	}
	return n, nil
}

// trouble runs `carbonado chaos` with check after each step and answers how many there were.
func (l *lab) trouble(ctx context.Context, duration time.Duration, seed uint64, actions string) (steps int, err error) {
	doorbell, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	answers := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := l.check(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- answers.Serve(doorbell) }()
	defer func() {
		err = errors.Join(err, answers.Close())
		<-served
	}()
	args := []string{"chaos", "--yes", "--seed", strconv.FormatUint(seed, 10), "--duration", duration.String(), "--check", "curl -s --fail-with-body http://" + doorbell.Addr().String()}
	if actions != "" {
		args = append(args, "--actions", actions)
	}
	cmd := l.Command(ctx, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(os.Stderr, lines.Text())
		if n, _ := fmt.Sscanf(lines.Text(), "step %d:", &steps); n == 1 {
			continue
		}
	}
	return steps, cmd.Wait()
}
