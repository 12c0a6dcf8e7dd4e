package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"

	"carbonado.dev/carbonado/components/dataservice/batch"
	"carbonado.dev/carbonado/components/dataservice/keyindex"
	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/source"
	"carbonado.dev/carbonado/components/dataservice/wal"
	"carbonado.dev/sdk/frame"
)

// replayer holds what the numbers of the current log file mean.
type replayer struct {
	s        *Store
	upTo     uint64 // the manifest has everything up to here
	file     uint64
	schemas  map[uint32][]byte
	sources  map[uint32]*source.Source
	compiled map[string]*source.Source
}

// replay reads the log from where the manifest's uncut rows begin.
func (s *Store) replay(m *manifest.Manifest) error {
	r := &replayer{s: s, upTo: m.Seq, compiled: map[string]*source.Source{}}
	// A key index that a crash left behind without a manifest that knows it is known by its folder.
	if _, err := os.Stat(s.keysDir()); err == nil && s.keys == nil {
		if err := s.openKeys(); err != nil {
			return err
		}
		s.known = s.keys.Applied()
		if err := s.loadDead(); err != nil {
			return err
		}
	}
	log, torn, err := wal.Open(filepath.Join(s.opts.Dir, "log"), wal.Options{FS: s.opts.FS, FileSize: s.opts.LogFileSize, NoSync: s.opts.NoSync},
		m.LogFile, r.entry)
	if err != nil {
		return err
	}
	s.log = log
	if torn != nil {
		s.opts.Log.Info("cut a torn tail of the log that was never acknowledged", "file", torn.File, "offset", torn.Off, "bytes", torn.Bytes)
	}
	return nil
}

func (r *replayer) entry(e *wal.Entry) error {
	if e.Pos.File != r.file {
		r.file = e.Pos.File
		r.schemas, r.sources = map[uint32][]byte{}, map[uint32]*source.Source{}
	}
	switch e.Kind {
	case frame.Open:
		return nil
	case frame.Schema:
		r.schemas[e.Stream] = append([]byte(nil), e.Body...)
		return nil
	case frame.Batch:
		return r.batch(e)
	case wal.KindChange:
		return r.change(e)
	}
	return wal.ErrCorrupt.New("a record of kind %d", e.Kind)
}

func (r *replayer) change(e *wal.Entry) error {
	var c change
	if err := json.Unmarshal(e.Body, &c); err != nil {
		return wal.ErrCorrupt.Wrap(err, "a change")
	}
	if c.Op == opSource {
		spec := *c.Source
		number := spec.Number
		spec.Number, spec.Schema = 0, r.schemas[number]
		id, err := json.Marshal(spec)
		if err != nil {
			return err
		}
		// The same source of another file stays the same object, so that the rows of both can be cut together.
		src := r.compiled[string(id)]
		if src == nil {
			if src, err = source.Compile(spec); err != nil {
				return wal.ErrCorrupt.Wrap(err, "source %d", number)
			}
			r.compiled[string(id)] = src
		}
		r.sources[number] = src
		return nil
	}
	if e.LinkSeq <= r.upTo {
		return nil
	}
	return r.s.apply(&c, e.LinkSeq)
}

func (r *replayer) batch(e *wal.Entry) error {
	src := r.sources[e.Stream]
	if src == nil {
		return wal.ErrCorrupt.New("a batch of number %d, which nothing says the meaning of", e.Stream)
	}
	s := r.s
	first := e.LinkSeq
	last := first + uint64(e.Rows) - 1
	var rec arrow.RecordBatch
	decode := func() error {
		if rec != nil {
			return nil
		}
		var err error
		if rec, err = batch.Parse(src.Schema, e.Body, int(e.Rows)); err != nil {
			return wal.ErrCorrupt.Wrap(err, "a batch")
		}
		return nil
	}
	var keys *keyindex.Batch
	defer func() {
		if keys != nil {
			keys.Close()
		}
	}()
	for _, target := range src.Targets {
		t := s.byID[target.Table]
		if t == nil || last <= t.Cut {
			continue
		}
		ef := effect{t: t, e: newEntry(src, target, e.Pos, len(e.Frame), int(e.Rows), first)}
		needKeys := false
		if t.keyed() && last > r.upTo {
			missing, err := s.keysFor(last)
			if err != nil {
				return err
			}
			needKeys = missing
		}
		if target.MayFail || needKeys {
			if err := decode(); err != nil {
				return err
			}
			rs, poison := target.Rows(rec, first)
			ef.e.rows -= countRows(poison)
			if needKeys {
				if keys == nil {
					keys = s.keys.NewBatch()
				}
				var err error
				if ef.died, err = replaceKeys(keys, t.ID, source.Keys(rs, t.Schema.Keys), offsets(rs.Seq, first), first, last); err != nil {
					return err
				}
			}
		}
		if last <= r.upTo {
			t.tail = append(t.tail, ef.e)
			t.cuts.added(ef.e, s.opts.Now())
			continue
		}
		s.addEntry(ef)
	}
	if keys != nil {
		// What the index lost in the crash.
		if err := keys.Commit(last); err != nil {
			return err
		}
	}
	if last > r.upTo {
		s.seq = last
		s.seen.Mark(&e.Header, s.opts.Now())
	}
	return nil
}

// offsets are the rows' places in their batch.
func offsets(seqs []int64, first uint64) []int64 {
	at := make([]int64, len(seqs))
	for i, q := range seqs {
		at[i] = q - int64(first)
	}
	return at
}

func countRows(poison []source.Poison) int {
	n, last := 0, -1
	seen := map[int]bool{}
	for _, p := range poison {
		if p.Row != last && !seen[p.Row] {
			n++
			seen[p.Row] = true
		}
		last = p.Row
	}
	return n
}

// emptyStaging removes the folders of transactions that the last process left: there are no open ones now.
func (s *Store) emptyStaging() error {
	entries, err := os.ReadDir(s.opts.Staging)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.opts.Staging, e.Name())); err != nil {
			return fmt.Errorf("staging: %w", err)
		}
	}
	return nil
}
