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
		return x, fmt.Errorf("repository/data/kernel/artifacts/%s: %w", indexFile, err)
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
