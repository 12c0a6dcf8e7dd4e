package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"carbonado.dev/carbonado/runtime/durable"
)

// index is what this room remembers over restarts.
type index struct {
	// Transactions is the end of the reserved range: ids up to it may have been used.
	Transactions uint64               `json:"transactions"`
	Artifacts    map[string]indexItem `json:"artifacts"`
	// damaged says that the file could not be read and was set aside, and where.
	damaged error
}

type indexItem struct {
	Type    string `json:"type"`
	Owner   string `json:"owner"`
	Digest  string `json:"digest"`
	Good    string `json:"good,omitempty"`
	InPlace bool   `json:"inPlace,omitempty"`
	// Of an artifact in an application.
	Application string    `json:"application,omitempty"`
	As          string    `json:"as,omitempty"`
	Place       int       `json:"place,omitempty"`
	Revision    uint64    `json:"revision"`
	Since       time.Time `json:"since"`
	Taken       *taken    `json:"taken,omitempty"`
}

// taken is what one process of the owner runs of an artifact, for a kernel that follows beneath running components.
type taken struct {
	Generation uint64   `json:"generation"`
	Running    string   `json:"running"`
	Offers     []string `json:"offers,omitempty"`
	Needs      []string `json:"needs,omitempty"`
}

// taken is nil where the next kernel should rather ask the owner again.
func (e *entry) taken() *taken {
	if e.earlier != nil {
		return e.earlier // its owner is not there yet
	}
	if e.running == "" || e.parked || e.generation == 0 || e.due || e.inPlace || e.app != "" || e.typ == AppType {
		return nil
	}
	return &taken{Generation: e.generation, Running: e.running, Offers: e.offers, Needs: e.needs}
}

// resume goes on with what an earlier kernel knew of owners' processes, once they are there; what it knew of one that is another by now is
// forgotten. The caller holds mu.
func (s *Service) resume(owners map[string]Owner) {
	for _, p := range sorted(s.entries) {
		e := s.entries[p]
		t, o := e.earlier, owners[e.owner]
		if t == nil || o.Client == nil {
			continue
		}
		e.earlier = nil
		if t.Generation != o.Generation {
			continue
		}
		e.generation, e.running, e.tried = t.Generation, t.Running, t.Running
		s.need(e, t.Needs)
		s.offer(e, t.Offers)
	}
}

// transactionBlock is how many transaction ids are reserved with one write of the index.
const transactionBlock = 1000

func (b *blobs) loadIndex() (index, error) {
	x := index{Artifacts: map[string]indexItem{}}
	data, err := b.root.ReadFile(indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return x, err
	}
	if err := json.Unmarshal(data, &x); err != nil {
		// It is made anew from the files. Transactions only have to grow: the clock's milliseconds are more than were counted.
		kept, aside := durable.SetAside(b.root, indexFile, time.Now())
		if aside != nil {
			return x, fmt.Errorf("repository/data/kernel/artifacts/%s: %w", indexFile, errors.Join(err, aside))
		}
		return index{Transactions: uint64(time.Now().UnixMilli()), Artifacts: map[string]indexItem{}, damaged: fmt.Errorf("%s: %w", kept, err)}, nil
	}
	if x.Artifacts == nil {
		x.Artifacts = map[string]indexItem{}
	}
	return x, nil
}

func (b *blobs) saveIndex(x index) error {
	data, err := json.MarshalIndent(x, "", " ")
	if err != nil {
		return err
	}
	return durable.Write(b.root, indexFile, data, 0o600)
}
