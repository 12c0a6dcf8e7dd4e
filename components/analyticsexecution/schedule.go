package analyticsexecution

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// executor runs a script; runner is the one that there is, tests have another.
type executor interface {
	ready() error
	run(ctx context.Context, d *definition, key string, fire time.Time, started func()) (outcome, error)
}

// Service serves analyticsv1.Scripts and keeps the schedule. It is safe for concurrent use.
type Service struct {
	analyticsv1.UnimplementedScriptsServer
	log         hclog.Logger
	tenantID    int32
	runner      *runner
	artifacts   kernelv1.ArtifactsClient
	zone        *time.Location
	historyPath string
	keep        int
	longest     time.Duration

	// wake has one token when the schedule has changed.
	wake chan struct{}
	exec executor
	hist *history
	// runs is done when no run is under way; loop is closed when the schedule has ended.
	runs sync.WaitGroup
	loop chan struct{}
	// stop ends the schedule, kill the runs.
	stop context.CancelFunc
	kill context.CancelCauseFunc
	ctx  context.Context

	// mu guards the fields below and those of each script.
	mu       sync.Mutex
	scripts  map[string]*script
	stopping bool
}

// script is a deployed script.
type script struct {
	def *definition
	// next is when it fires; zero is never.
	next time.Time
	// cancel ends the present run; nil when none is under way.
	cancel context.CancelCauseFunc
	run    *analyticsv1.ScriptRun
}

func sortNewest(runs []*analyticsv1.ScriptRun) {
	sort.SliceStable(runs, func(i, j int) bool {
		if runs[i].StartedUnixMs != runs[j].StartedUnixMs {
			return runs[i].StartedUnixMs > runs[j].StartedUnixMs
		}
		return runs[i].RunId > runs[j].RunId
	})
}

// start begins the schedule. Times that passed before are not made up for.
func (s *Service) start(h *history) {
	s.hist = h
	if s.exec == nil {
		s.exec = s.runner
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.ctx, s.kill = context.WithCancelCause(context.Background())
	s.loop = make(chan struct{})
	now := time.Now()
	s.mu.Lock()
	s.stopping = false
	for _, sc := range s.scripts {
		sc.plan(now, s.zone)
	}
	s.mu.Unlock()
	go func() {
		defer close(s.loop)
		s.schedule(ctx)
	}()
}

// plan sets when a script fires next. The caller holds mu.
func (sc *script) plan(after time.Time, zone *time.Location) {
	sc.next = time.Time{}
	if sc.def.schedule == nil {
		return
	}
	if n := sc.def.schedule.Next(after, zone); !n.Never {
		sc.next = n.At
	}
}

// longestSleep bounds how long the schedule sleeps, so that a change of the machine's clock is seen.
const longestSleep = time.Minute

// schedule fires scripts until the context ends.
func (s *Service) schedule(ctx context.Context) {
	for {
		now := time.Now()
		sleep := longestSleep
		var due []*script
		s.mu.Lock()
		for _, sc := range s.scripts {
			switch {
			case sc.next.IsZero():
			case !sc.next.After(now):
				due = append(due, sc)
			default:
				sleep = min(sleep, sc.next.Sub(now))
			}
		}
		sort.Slice(due, func(i, j int) bool { return due[i].def.name < due[j].def.name })
		for _, sc := range due {
			fire := sc.next
			sc.plan(now, s.zone)
			if !sc.next.IsZero() {
				sleep = min(sleep, sc.next.Sub(now))
			}
			s.fire(sc, fire)
		}
		s.mu.Unlock()
		t := time.NewTimer(sleep)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-s.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// poke lets the schedule look again.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fire starts a scheduled run; a script that still runs is left alone. The caller holds mu.
func (s *Service) fire(sc *script, at time.Time) {
	err := s.exec.ready()
	if err == nil {
		_, err = s.begin(sc, "schedule", at)
	}
	if err != nil && !errors.Is(err, ErrStopping) {
		s.skip(sc.def.name, err)
	}
}

// skip records a time at which a script was not run.
func (s *Service) skip(name string, why error) {
	now := time.Now().UnixMilli()
	err := s.hist.skipped(&analyticsv1.ScriptRun{
		RunId: newID(), Script: name, State: stateSkipped, Trigger: "schedule", StartedUnixMs: now, EndedUnixMs: now, Cause: cause.Proto(why),
	})
	if err != nil {
		s.log.Error("history", "error", err)
	}
}

func newID() string {
	b := make([]byte, 8)
	// crypto/rand doesn't fail on systems that this runs on; it ends the program instead.
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// handle is a run that has been started.
type handle struct {
	run *analyticsv1.ScriptRun
	// done is closed at the run's end; run is final then.
	done chan struct{}
}

// begin starts a run. A zero time is a run on demand. The caller holds mu.
func (s *Service) begin(sc *script, trigger string, fire time.Time) (*handle, error) {
	switch {
	case s.stopping || s.ctx == nil:
		return nil, ErrStopping.New("script %s was not run", sc.def.name)
	case sc.cancel != nil:
		return nil, ErrRunning.New("script %s runs since %s", sc.def.name, time.UnixMilli(sc.run.StartedUnixMs).UTC().Format(time.RFC3339))
	}
	run := &analyticsv1.ScriptRun{RunId: newID(), Script: sc.def.name, StartedUnixMs: time.Now().UnixMilli(), State: stateRunning, Trigger: trigger}
	ctx, cancel := context.WithCancelCause(s.ctx)
	sc.cancel, sc.run = cancel, run
	h := &handle{run: run, done: make(chan struct{})}
	d := sc.def
	s.runs.Add(1)
	go func() {
		defer s.runs.Done()
		defer close(h.done)
		h.run = s.perform(ctx, d, run, fire)
		cancel(nil)
		s.mu.Lock()
		sc.cancel, sc.run = nil, nil
		s.mu.Unlock()
	}()
	return h, nil
}

// perform runs a script and keeps its history. It returns the run as it ended.
func (s *Service) perform(ctx context.Context, d *definition, run *analyticsv1.ScriptRun, fire time.Time) *analyticsv1.ScriptRun {
	log := s.log.With("script", d.name, "run", run.RunId)
	key := "script:" + d.name + "/" + run.RunId
	if !fire.IsZero() {
		key = "script:" + d.name + "/" + fire.UTC().Format(time.RFC3339)
	}
	keep := func(run *analyticsv1.ScriptRun) {
		if err := s.hist.put(run); err != nil {
			log.Error("history", "error", err)
		}
	}
	limit, cancel := context.WithTimeoutCause(ctx, s.longest, ErrTooLong.New("script %s ran longer than %s", d.name, s.longest))
	defer cancel()
	started := false
	out, err := s.exec.run(limit, d, key, fire, func() {
		started = true
		keep(run)
	})
	if !started && !fire.IsZero() {
		// Another node has this time of the schedule, or the engine went away in between.
		if !errors.Is(err, errClaimed) {
			s.skip(d.name, err)
		}
		return run
	}
	end := &analyticsv1.ScriptRun{
		RunId: run.RunId, Script: run.Script, StartedUnixMs: run.StartedUnixMs, EndedUnixMs: time.Now().UnixMilli(), Trigger: run.Trigger,
		State: stateSucceeded, Statements: out.statements, RowsWritten: out.rowsWritten, Cause: cause.Proto(err),
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrCancelled):
		end.State = stateCancelled
	default:
		end.State = stateFailed
		log.Error("script failed", "error", err)
	}
	keep(end)
	return end
}

// drain lets runs end, then cancels them.
func (s *Service) drain(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	if s.stop == nil {
		return nil
	}
	s.stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.runs.Wait()
	}()
	grace := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		grace = time.Until(deadline) / 2
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ended:
		return nil
	case <-t.C:
		s.kill(ErrStopping.New("the component stopped during the run"))
	case <-ctx.Done():
		s.kill(ErrStopping.New("the component stopped during the run"))
	}
	<-ended
	return nil
}

// release ends everything and closes the history.
func (s *Service) release(ctx context.Context) error {
	if s.stop == nil {
		return nil
	}
	if err := s.drain(ctx); err != nil {
		return err
	}
	s.kill(nil)
	<-s.loop
	return s.hist.close()
}

// add takes a script or its new text.
func (s *Service) add(d *definition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scripts[d.name]
	if sc == nil {
		sc = &script{}
		s.scripts[d.name] = sc
	}
	if strings.EqualFold(d.cron, keepCron) {
		d.cron, d.schedule = "", nil
		if sc.def != nil {
			d.cron, d.schedule = sc.def.cron, sc.def.schedule
		}
	}
	sc.def = d
	sc.plan(time.Now(), s.zone)
	s.poke()
}

// remove forgets a script and ends its run.
func (s *Service) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, sc := range s.scripts {
		if sc.def.path != path {
			continue
		}
		if sc.cancel != nil {
			sc.cancel(ErrCancelled.New("script %s was deleted during the run", name))
		}
		delete(s.scripts, name)
	}
	s.poke()
}
