package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/guardian"

	"github.com/hashicorp/go-plugin/runner"
)

// killMost is how long the end of a process may take after SIGKILL. Longer means that the system holds it (a dead disk).
const killMost = 5 * time.Second

// drainMost is how long the rest of a process's output may take after its end: something else holds the pipes then.
const drainMost = 250 * time.Millisecond

// process is go-plugin's view of a process of the guardian's. go-plugin gets the handshake and nothing else of its output: its own reading
// stops for ever at a line of 64 KiB, and takes the end of the pipes for the end of the process.
type process struct {
	name   string
	folder string // of the attempt: the only place where its sockets may be
	start  func(context.Context) (*guardian.Process, error)
	output *output

	// What go-plugin reads: the handshake line from hello, nothing from silent. Both end with the process.
	hello, silent *io.PipeReader
	helloEnd      *io.PipeWriter
	silentEnd     *io.PipeWriter

	opening opening // what stdout began with

	started chan struct{} // closed once p or failed is set
	failed  error
	p       *guardian.Process
	control string         // path of its control socket, from the handshake
	readers sync.WaitGroup // of the process's pipes
	drained chan struct{}  // closed when the process has ended and its output is read
}

func newProcess(name, folder string, out *output, start func(context.Context) (*guardian.Process, error)) *process {
	r := &process{name: name, folder: folder, start: start, output: out, started: make(chan struct{}), drained: make(chan struct{})}
	r.hello, r.helloEnd = io.Pipe()
	r.silent, r.silentEnd = io.Pipe()
	return r
}

var _ runner.Runner = (*process)(nil)

// adopted is a process that an earlier kernel has shaken hands with.
func adopted(name, folder string, out *output, p *guardian.Process) *process {
	r := newProcess(name, folder, out, nil)
	r.p = p
	close(r.started)
	for from, f := range map[stream]io.Reader{fromStdout: p.Stdout, fromStderr: p.Stderr} {
		r.readers.Go(func() { readLines(f, func(text []byte, cut int) { r.output.put(from, text, cut) }) })
	}
	go r.drain()
	return r
}

// Start is called by go-plugin, once.
func (r *process) Start(ctx context.Context) error {
	defer close(r.started)
	r.p, r.failed = r.start(ctx)
	if r.failed != nil {
		return r.failed
	}
	r.readers.Go(r.readStdout)
	r.readers.Go(func() {
		readLines(r.p.Stderr, func(text []byte, cut int) { r.output.put(fromStderr, text, cut) })
	})
	go r.drain()
	return nil
}

// readStdout gives go-plugin the handshake and all other lines to the log.
func (r *process) readStdout() {
	shaken := false
	readLines(io.TeeReader(r.p.Stdout, &r.opening), func(text []byte, cut int) {
		switch {
		case shaken:
			r.output.put(fromStdout, text, cut)
		case cut == 0 && isHandshake(text):
			shaken = true
			r.opening.shaken(text)
			r.control = controlOf(text)
			// go-plugin reads it, or has given up and closed the pipe.
			_, _ = r.helloEnd.Write(append(bytes.Clone(text), '\n'))
		default:
			r.output.put(beforeHandshake, text, cut)
		}
	})
	r.helloEnd.Close()
}

// drain waits for the process and then for the rest of its output.
func (r *process) drain() {
	defer close(r.drained)
	<-r.p.Done()
	late := time.AfterFunc(drainMost, func() { // unless nothing of it is left
		_ = r.p.Stdout.SetReadDeadline(time.Now())
		_ = r.p.Stderr.SetReadDeadline(time.Now())
	})
	r.hello.CloseWithError(io.EOF) // a handshake that nobody takes must not hold the reader up
	r.readers.Wait()
	late.Stop()
	r.p.Stdout.Close()
	r.p.Stderr.Close()
	r.helloEnd.Close()
	r.silentEnd.Close()
}

// Wait is go-plugin's way to learn of the end.
func (r *process) Wait(ctx context.Context) error {
	select {
	case <-r.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill is called by go-plugin where the handshake fails, and when the rest is collected.
func (r *process) Kill(context.Context) error {
	if r.p == nil {
		return nil
	}
	err := r.p.Kill()
	select {
	case <-r.drained:
		return nil
	case <-time.After(killMost):
		return errors.Join(err, fmt.Errorf("process %d does not end", r.p.PID))
	}
}

func (r *process) Stdout() io.ReadCloser           { return r.hello }
func (r *process) Stderr() io.ReadCloser           { return r.silent }
func (r *process) Name() string                    { return r.name }
func (r *process) Diagnose(context.Context) string { return "" }

func (r *process) ID() string {
	if r.p == nil {
		return ""
	}
	return strconv.Itoa(r.p.PID)
}

// PluginToHost refuses sockets that are not in the attempt's own folder.
func (r *process) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != r.folder {
		return "", "", fmt.Errorf("its control socket is %s %s, and not in its run folder", network, address)
	}
	return network, address, nil
}

func (r *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
