// Package conform starts the executable of a package as the kernel would, without a server, and checks it against docs/protocol.md,
// whatever language it is written in. It must not know what a component does.
package conform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/pluginkit"
	"carbonado.dev/sdk/cause"
)

// ErrNotConform is the kind of a package that breaks the protocol.
var ErrNotConform = cause.Define("CBN-PKG-085", "A component does not keep the component protocol.", "See the lines marked FAIL, and docs/protocol.md.")

// State is what became of one check.
type State string

// The states. A warning is a rule of the form "should": it fails nothing.
const (
	OK   State = "ok"
	Fail State = "FAIL"
	Warn State = "warn"
	// None: the component has nothing that the check is about.
	None State = "-"
)

// Result is one check.
type Result struct {
	// Name is the rule's name in docs/protocol.md, for example "handshake.line".
	Name  string `json:"name"`
	State State  `json:"state"`
	// Text says what was seen.
	Text string `json:"text"`
}

// Report is the outcome of all checks, in their order.
type Report struct {
	Component string   `json:"component"`
	Version   string   `json:"version"`
	Results   []Result `json:"results"`
}

// Count counts the checks in a state.
func (r *Report) Count(s State) int {
	n := 0
	for _, x := range r.Results {
		if x.State == s {
			n++
		}
	}
	return n
}

// Err is nil if nothing failed.
func (r *Report) Err() error {
	if n := r.Count(Fail); n > 0 {
		return ErrNotConform.New("%s %s: %d of %d checks failed", r.Component, r.Version, n, len(r.Results))
	}
	return nil
}

// Options are what a run needs beside the package.
type Options struct {
	// Config is the component's configuration, a JSON object; empty: the defaults of its schema.
	Config []byte
	// Each is told every result as it comes; nil is nobody.
	Each func(Result)
	// Patience is how long a step may take at most; 0 is 10 s.
	Patience time.Duration
}

// suite is one run.
type suite struct {
	Options
	folder     string // the package
	descriptor *component.Descriptor
	scratch    string
	report     *Report
	double     *double
	generation uint64
	// stop is set when going on makes no sense.
	stop bool
}

// errNone marks a check as not applicable.
var errNone = errors.New("nothing to check")

// should is the error of a rule that is only recommended.
type should struct{ error }

// Run checks the package in a folder. The error says that the suite itself could not work; what the component does wrong is in the report.
func Run(ctx context.Context, folder string, o Options) (*Report, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(folder, "component.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, pluginkit.ErrProject.Wrap(err, "%s is no package", folder)
	}
	d, err := catalog.ParseDescriptor(file, data)
	if err != nil {
		return nil, err
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	scratch, err := os.MkdirTemp("", "cbn") // short: Unix paths end at 108 bytes
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	s := &suite{Options: o, folder: folder, descriptor: d, scratch: scratch, report: &Report{Component: d.Name, Version: d.Version.String()}}
	if s.double, err = newDouble(scratch); err != nil {
		return nil, err
	}
	defer s.double.close()
	s.contracts()
	for _, part := range []func(context.Context){s.byHand, s.strangers, s.life, s.beside, s.ends} {
		if s.stop {
			break
		}
		part(ctx)
	}
	return s.report, nil
}

// check runs one check and keeps its result. It reports whether it did not fail.
func (s *suite) check(name string, f func() (string, error)) bool {
	text, err := f()
	r := Result{Name: name, State: OK, Text: text}
	var soft should
	switch {
	case errors.Is(err, errNone):
		r.State = None
	case errors.As(err, &soft):
		r.State, r.Text = Warn, err.Error()
	case err != nil:
		r.State, r.Text = Fail, err.Error()
	}
	s.report.Results = append(s.report.Results, r)
	if s.Each != nil {
		s.Each(r)
	}
	return r.State != Fail
}

// must is check for what the rest stands on: a failure ends the run.
func (s *suite) must(name string, f func() (string, error)) bool {
	ok := s.check(name, f)
	if !ok {
		s.stop = true
	}
	return ok
}

// within gives a step its time.
func (s *suite) within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("not done after %s: %w", s.Patience, err)
	}
	return err
}
