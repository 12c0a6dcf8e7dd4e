package analyticsexecution

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// States of a run.
const (
	stateRunning   = "RUNNING"
	stateSucceeded = "SUCCEEDED"
	stateFailed    = "FAILED"
	stateCancelled = "CANCELLED"
	stateSkipped   = "SKIPPED"
)

// compactBytes is the size at which the file is written anew at the next open or append.
const compactBytes = 4 << 20

// history keeps the last runs of each script in memory and in a file of JSON lines, one for each change of a run. The last line of
// a run counts; a torn last line is dropped. It is safe for concurrent use.
type history struct {
	path string
	keep int

	// mu guards the fields below.
	mu   sync.Mutex
	file *os.File
	size int64
	runs map[string][]*analyticsv1.ScriptRun // by script, oldest first
}

// openHistory reads a history. A run that was under way when the process ended becomes FAILED.
func openHistory(path string, keep int) (*history, error) {
	h := &history{path: path, keep: keep, runs: map[string][]*analyticsv1.ScriptRun{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, ErrHistory.Wrap(err, "history")
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, compactBytes)
	for lines.Scan() {
		run := new(analyticsv1.ScriptRun)
		if protojson.Unmarshal(lines.Bytes(), run) == nil && run.RunId != "" {
			h.remember(run)
		}
	}
	for _, runs := range h.runs {
		for _, run := range runs {
			if run.State == stateRunning {
				run.State = stateFailed
				run.EndedUnixMs = time.Now().UnixMilli()
				run.Cause = cause.Proto(ErrLost.New("the process that ran the script ended before the run did"))
			}
		}
	}
	if err := h.rewrite(); err != nil {
		return nil, err
	}
	return h, nil
}

// remember puts a run into memory, in the place of its earlier state.
func (h *history) remember(run *analyticsv1.ScriptRun) {
	runs := h.runs[run.Script]
	for i := len(runs) - 1; i >= 0; i-- {
		if runs[i].RunId == run.RunId {
			runs[i] = run
			return
		}
	}
	runs = append(runs, run)
	if len(runs) > h.keep {
		runs = append([]*analyticsv1.ScriptRun(nil), runs[len(runs)-h.keep:]...)
	}
	h.runs[run.Script] = runs
}

// rewrite writes the file anew and opens it for appending. The caller holds mu, or is alone.
func (h *history) rewrite() error {
	if h.file != nil {
		_ = h.file.Close()
		h.file = nil
	}
	var b bytes.Buffer
	for _, runs := range h.runs {
		for _, run := range runs {
			line, err := encode(run)
			if err != nil {
				return err
			}
			b.Write(line)
		}
	}
	fail := func(err error) error { return ErrHistory.Wrap(err, "history") }
	tmp := h.path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(err)
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, h.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(h.path))
	}
	if err != nil {
		return fail(err)
	}
	if h.file, err = os.OpenFile(h.path, os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return fail(err)
	}
	h.size = int64(b.Len())
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// encode makes one line; protojson puts blanks at random, which json.Compact removes.
func encode(run *analyticsv1.ScriptRun) ([]byte, error) {
	b, err := protojson.Marshal(run)
	if err != nil {
		return nil, ErrHistory.Wrap(err, "run %s", run.RunId)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b); err != nil {
		return nil, ErrHistory.Wrap(err, "run %s", run.RunId)
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

// put records the state of a run, on disk before it returns.
func (h *history) put(run *analyticsv1.ScriptRun) error {
	line, err := encode(run)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(run)
	if h.file == nil {
		return ErrHistory.New("the history is closed")
	}
	if h.size > compactBytes {
		return h.rewrite()
	}
	_, err = h.file.Write(line)
	if err = errors.Join(err, h.file.Sync()); err != nil {
		return ErrHistory.Wrap(err, "history")
	}
	h.size += int64(len(line))
	return nil
}

// skipped records that a script was not run. What is skipped again and again for one reason is one entry, whose end moves on.
func (h *history) skipped(run *analyticsv1.ScriptRun) error {
	h.mu.Lock()
	if runs := h.runs[run.Script]; len(runs) > 0 {
		last := runs[len(runs)-1]
		if last.State == stateSkipped && last.Cause.GetCode() == run.Cause.GetCode() {
			moved := &analyticsv1.ScriptRun{
				RunId: last.RunId, Script: last.Script, State: last.State, Trigger: last.Trigger, Cause: run.Cause,
				StartedUnixMs: last.StartedUnixMs, EndedUnixMs: run.EndedUnixMs,
			}
			runs[len(runs)-1] = moved
			h.mu.Unlock()
			return nil
		}
	}
	h.mu.Unlock()
	return h.put(run)
}

// list gives runs newest first, of one script or of all.
func (h *history) list(script string, limit int) []*analyticsv1.ScriptRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*analyticsv1.ScriptRun
	for name, runs := range h.runs {
		if script == "" || name == script {
			out = append(out, runs...)
		}
	}
	sortNewest(out)
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

// last gives the newest run of a script; nil without one.
func (h *history) last(script string) *analyticsv1.ScriptRun {
	h.mu.Lock()
	defer h.mu.Unlock()
	if runs := h.runs[script]; len(runs) > 0 {
		return runs[len(runs)-1]
	}
	return nil
}

// close ends the file.
func (h *history) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil
	}
	err := h.file.Close()
	h.file = nil
	if err != nil {
		return ErrHistory.Wrap(err, "history")
	}
	return nil
}
