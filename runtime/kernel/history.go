package kernel

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"carbonado.dev/carbonado/runtime/component"
)

// historyBytes is when the file of transitions is set aside; one older file is kept.
const historyBytes = 8 << 20

// entry is one line of history.jsonl.
type entry struct {
	Component string `json:"component"`
	component.Transition
}

// history keeps every transition: this run's in memory, all of them in repository/data/kernel/history.jsonl. A line that a crash cut
// short is passed over.
type history struct {
	path string

	// mu guards the fields below.
	mu   sync.Mutex
	run  map[string][]component.Transition
	file *os.File
	// verdicts are the rules as last kept.
	verdicts map[string]string
}

func openHistory(folder string) (*history, error) {
	path := filepath.Join(folder, "history.jsonl")
	if st, err := os.Stat(path); err == nil && st.Size() > historyBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &history{path: path, run: map[string][]component.Transition{}, file: f}, nil
}

func (h *history) record(name string, t component.Transition) {
	b, err := json.Marshal(entry{name, t})
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run[name] = append(h.run[name], t)
	_, _ = h.file.Write(append(b, '\n')) // a full disk must not stop a component; the run's history is in memory
}

// of gives a component's transitions, oldest first: of this run, or all that are kept.
func (h *history) of(name string, all bool) []component.Transition {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !all {
		return append([]component.Transition(nil), h.run[name]...)
	}
	var out []component.Transition
	h.each(func(b []byte) bool {
		var e entry
		if json.Unmarshal(b, &e) == nil && e.Component == name && e.To != 0 { // 0: a line that is no transition
			out = append(out, e.Transition)
		}
		return true
	})
	return out
}

// each reads all lines that are kept, oldest first, until take answers false. A line is valid until take returns.
func (h *history) each(take func(line []byte) bool) {
	for _, path := range []string{h.path + ".1", h.path} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		s := bufio.NewScanner(f)
		s.Buffer(nil, 1<<20)
		more := true
		for more && s.Scan() {
			more = take(s.Bytes())
		}
		f.Close()
		if !more {
			return
		}
	}
}

func (h *history) close() { h.file.Close() }
