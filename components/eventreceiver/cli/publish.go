package cli

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"carbonado.dev/carbonado/components/eventreceiver/jsonevent"
	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge/streamdef"
)

// maxErrors is how many bad lines are printed.
const maxErrors = 20

// Publish is `carbonado publish [flags] STREAM [FILE]`: one JSON object a line, from FILE or standard input.
func Publish(ctx context.Context, inv *component.Invocation) int {
	t := &target{inv: inv}
	f := flag.NewFlagSet("publish", flag.ContinueOnError)
	f.SetOutput(inv.Stderr)
	definition := f.String("definition", "", "file with the stream's definition, which is then defined (default: the node's)")
	t.flags(f)
	f.Usage = func() {
		fmt.Fprint(inv.Stderr, "usage: carbonado publish [flags] NAME:VERSION [FILE]\nPublishes events, one JSON object a line, from FILE or standard input.\n"+
			`A line is {"attribute": value, …} with meta_ and correlation_ before names of those kinds, or DAS's form {"event":{"payloadData":{…}}}.`+"\n")
		f.PrintDefaults()
	}
	if err := f.Parse(inv.Args); err != nil || f.NArg() < 1 || f.NArg() > 2 {
		if err == nil {
			f.Usage()
		}
		return exitUsage
	}
	in := inv.Stdin
	if f.NArg() == 2 {
		file, err := os.Open(f.Arg(1))
		if err != nil {
			return fail(inv, &exitError{exitUsage, err})
		}
		defer file.Close()
		in = file
	}
	d, err := t.definition(ctx, f.Arg(0), *definition)
	if err != nil {
		return fail(inv, err)
	}
	p := &publication{inv: inv}
	a, err := t.connect(ctx, agent.Options{Settled: p.settled})
	if err != nil {
		return fail(inv, err)
	}
	if *definition != "" {
		_, err = a.DefineStream(ctx, string(d.JSON()))
	}
	if err == nil {
		err = p.lines(ctx, a, d, in)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if closeErr := a.Close(end); err == nil {
		err = closeErr
	}
	s := a.Stats()
	fmt.Fprintf(inv.Stdout, "%d events published to %s, %d failed, %d lines not understood\n", s.Acknowledged, d.ID(), s.Failed, p.bad)
	switch {
	case err != nil:
		return fail(inv, err)
	case ctx.Err() != nil:
		return exitInterrupted
	case s.Failed+p.bad > 0 && s.Acknowledged > 0:
		return exitPartly
	case p.bad > 0:
		return exitInvalid
	case s.Failed > 0:
		return exitFailed
	}
	return exitOK
}

// definition reads a file, or asks the node.
func (t *target) definition(ctx context.Context, id, file string) (*streamdef.Definition, error) {
	var text []byte
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return nil, &exitError{exitUsage, err}
		}
	} else {
		var raw rawJSON
		if err := ask(ctx, t.inv, http.MethodGet, "/streams/"+escape(id), nil, &raw); err != nil {
			return nil, err
		}
		text = raw
	}
	d, _, err := streamdef.Parse(file, text)
	if err != nil {
		return nil, &exitError{exitInvalid, err}
	}
	if d.ID() != id {
		return nil, &exitError{exitUsage, fmt.Errorf("%s defines stream %s, not %s", file, d.ID(), id)}
	}
	return d, nil
}

// rawJSON takes any JSON as it is.
type rawJSON []byte

// UnmarshalJSON keeps the text.
func (r *rawJSON) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}

// publication is one run of publish.
type publication struct {
	inv *component.Invocation
	bad uint64 // lines

	// mu guards told.
	mu   sync.Mutex
	told int
}

func (p *publication) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told++; p.told <= maxErrors {
		fmt.Fprintf(p.inv.Stderr, format, args...)
	}
}

func (p *publication) settled(events []agent.Event, err error) {
	if err != nil {
		p.tell("publish: %d events: %s\n", len(events), err.Error())
	}
}

func (p *publication) lines(ctx context.Context, a *agent.Agent, d *streamdef.Definition, in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), 4<<20)
	for n := 1; s.Scan() && ctx.Err() == nil; n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		values, time, err := jsonevent.Line(d, line)
		if err != nil {
			p.bad++
			p.tell("publish: line %d: %s\n", n, err.Error())
			continue
		}
		if err := a.Publish(ctx, agent.Event{Stream: d.ID(), Time: time, Values: values}); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return s.Err()
}
