package store

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"carbonado.dev/carbonado/components/dataservice/keyindex"
	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/source"
)

// apply changes the state by a change that is in the log. It is called by the committer, and by replay.
func (s *Store) apply(c *change, seq uint64) error {
	switch c.Op {
	case opDelete:
		return s.applyDelete(c, seq)
	case opTruncate:
		return s.applyTruncate(c, seq)
	case opDrop:
		return s.applyDrop(c, seq)
	case opCommit:
		return s.applyCommit(c, seq)
	}
	var src *source.Source
	if c.Op == opBind {
		var err error
		if src, err = source.Compile(*c.Source); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.Op {
	case opCreate:
		mt := *c.Create
		mt.Born, mt.LastSeq, mt.Cut, mt.Horizon, mt.SchemaVersion = seq, seq, seq, seq, seq
		t := &table{Table: mt, dead: roaring64.New(), maybe: roaring64.New(), open: map[uint64]bool{}, journalFrom: seq}
		s.tables[t.Name], s.byID[t.ID] = t, t
		s.nextTable = max(s.nextTable, t.ID+1)
		if s.keys != nil && seq <= s.known {
			if err := s.loadDeadOf(t); err != nil {
				return err
			}
		}
	case opSchema:
		if t := s.byID[c.Table]; t != nil {
			t.Schema = *c.Schema
			t.SchemaVersion = seq
			t.Extra = slices.DeleteFunc(slices.Clone(t.Extra), func(x rows.Column) bool {
				return slices.ContainsFunc(t.Schema.Columns, func(o manifest.Column) bool { return o.Name == x.Name })
			})
		}
	case opBind:
		if len(src.Targets) == 0 {
			delete(s.streams, c.Source.Stream)
		} else {
			s.streams[c.Source.Stream] = src
		}
	case opFence:
		s.fences[c.Fence] = max(s.fences[c.Fence], c.Epoch)
	}
	s.seq = seq
	s.version++
	s.notify()
	return nil
}

// keysFor says whether the key index lacks what happened at seq, and opens it.
func (s *Store) keysFor(seq uint64) (bool, error) {
	if err := s.openKeys(); err != nil {
		return false, err
	}
	return seq > s.keys.Applied(), nil
}

func (s *Store) applyDelete(c *change, seq uint64) error {
	t := s.byID[c.Table]
	dead := c.dead
	if dead == nil {
		dead = roaring64.New()
		if err := dead.UnmarshalBinary(c.Dead); err != nil {
			return err
		}
	}
	if t == nil {
		return nil
	}
	missing, err := s.keysFor(seq)
	if err != nil {
		return err
	}
	var b *keyindex.Batch
	if missing {
		b = s.keys.NewBatch()
		defer b.Close()
		if err := b.Died(t.ID, seq, dead); err != nil {
			return err
		}
		for i, seqs := 0, dead.ToArray(); (i+1)*len(keyindex.Key{}) <= len(c.Keys) && i < len(seqs); i++ {
			k := keyindex.Key(c.Keys[i*len(keyindex.Key{}):])
			if err := b.Remove(t.ID, k, seqs[i]); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b != nil {
		if err := b.Commit(seq); err != nil {
			return err
		}
	}
	t.kill(dead)
	t.deaths++
	t.LastSeq = seq
	t.record(event{kind: evDelete, at: seq, died: dead})
	s.seq = seq
	s.version++
	s.notify()
	return nil
}

func (s *Store) applyTruncate(c *change, seq uint64) error {
	t := s.byID[c.Table]
	if t == nil {
		return nil
	}
	b, err := s.clearKeys(t, seq)
	if err != nil {
		return err
	}
	if b != nil {
		defer b.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b != nil {
		if err := b.Commit(seq); err != nil {
			return err
		}
	}
	s.emptyTable(t, seq)
	t.record(event{kind: evTruncate, at: seq})
	s.seq = seq
	s.version++
	s.notify()
	return nil
}

// clearKeys begins a batch without the table's keys and deaths; nil if the index has none or has that already.
func (s *Store) clearKeys(t *table, seq uint64) (*keyindex.Batch, error) {
	if s.keys == nil || seq <= s.keys.Applied() {
		return nil, nil
	}
	b := s.keys.NewBatch()
	if err := b.Clear(t.ID); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// emptyTable drops all rows; mu is held.
func (s *Store) emptyTable(t *table, seq uint64) {
	for _, f := range t.segs {
		s.discard(f)
	}
	t.segs, t.tail = nil, nil
	if s.keys == nil || seq > s.known {
		// Else this is replay, and the deaths that were found in the index are those of the time after.
		t.dead, t.deadShared, t.deaths = roaring64.New(), false, 0
		t.maybe = roaring64.New()
	}
	t.LastSeq, t.Cut, t.Horizon = seq, seq, seq
	t.epoch++
	t.cuts.reset()
}

func (s *Store) applyDrop(c *change, seq uint64) error {
	t := s.byID[c.Table]
	if t == nil {
		return nil
	}
	b, err := s.clearKeys(t, seq)
	if err != nil {
		return err
	}
	if b != nil {
		defer b.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b != nil {
		if err := b.Commit(seq); err != nil {
			return err
		}
	}
	s.emptyTable(t, seq)
	delete(s.tables, t.Name)
	delete(s.byID, t.ID)
	for name, src := range s.streams {
		spec := src.Spec
		spec.Targets = slices.DeleteFunc(slices.Clone(spec.Targets), func(x manifest.Target) bool { return x.Table == t.ID })
		switch {
		case len(spec.Targets) == len(src.Spec.Targets):
		case len(spec.Targets) == 0:
			delete(s.streams, name)
		default:
			left, err := source.Compile(spec)
			if err != nil {
				return err
			}
			s.streams[name] = left
		}
	}
	s.seq = seq
	s.version++
	s.notify()
	return nil
}

// applyCommit adopts the files of a transaction.
func (s *Store) applyCommit(c *change, seq uint64) error {
	t := s.byID[c.Table]
	cm := c.Commit
	if t == nil {
		return nil
	}
	var segs []*segFile
	for _, f := range cm.Files {
		segs = append(segs, &segFile{Segment: f})
	}
	var b *keyindex.Batch
	died := roaring64.New()
	if t.keyed() {
		missing, err := s.keysFor(seq)
		if err != nil {
			return err
		}
		if missing {
			b = s.keys.NewBatch()
			defer b.Close()
			if cm.Overwrite {
				if err := b.Clear(t.ID); err != nil {
					return err
				}
			}
			for _, f := range segs {
				if err := s.adoptKeys(b, t, f, died); err != nil {
					return err
				}
			}
			if err := b.Died(t.ID, seq, died); err != nil {
				return err
			}
		}
	} else if cm.Overwrite {
		var err error
		if b, err = s.clearKeys(t, seq); err != nil {
			return err
		}
		if b != nil {
			defer b.Close()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b != nil {
		if err := b.Commit(seq); err != nil {
			return err
		}
	}
	ev := event{kind: evAdopt, first: cm.First, at: seq, died: died}
	if cm.Overwrite {
		s.emptyTable(t, seq)
		ev.kind, ev.died = evOverwrite, nil
	}
	for _, f := range segs {
		ev.last = max(ev.last, f.MaxSeq)
		t.insert(f)
		t.learn(f.Columns)
	}
	t.kill(died)
	if !died.IsEmpty() {
		t.deaths++
	}
	t.LastSeq = seq
	delete(t.open, cm.First)
	t.record(ev)
	if c.Fence != "" {
		s.fences[c.Fence] = max(s.fences[c.Fence], c.Epoch)
	}
	s.remember(cm.Commit, seq)
	s.seq = seq
	s.version++
	s.notify()
	return nil
}

// adoptKeys makes the rows of a file those of their keys.
func (s *Store) adoptKeys(b *keyindex.Batch, t *table, f *segFile, died *roaring64.Bitmap) error {
	r, err := s.readers.get(f)
	if err != nil {
		return err
	}
	defer s.readers.done(r)
	return r.Scan(context.Background(), t.Schema.Keys, segment.Range{}, func(p *rows.Rows) error {
		for i, k := range source.Keys(p.Project(keyColumns(t.Schema)), t.Schema.Keys) {
			old, ok, err := b.Replace(t.ID, k, uint64(p.Seq[i]))
			if err != nil {
				return err
			}
			if ok {
				died.Add(old)
			}
		}
		return nil
	})
}

// keyColumns are the key columns with their declared types.
func keyColumns(schema manifest.Schema) []rows.Column {
	out := make([]rows.Column, len(schema.Keys))
	for i, k := range schema.Keys {
		out[i] = rows.Column{Name: k, Type: rows.String}
		for _, c := range schema.Columns {
			if c.Name == k {
				out[i] = c.Column
			}
		}
	}
	return out
}

// remember keeps a commit, so that the same key is not committed again.
func (s *Store) remember(c manifest.Commit, seq uint64) {
	c.Seq = seq
	s.commits[c.Key] = c
	if len(s.commits) <= maxCommits {
		return
	}
	all := make([]manifest.Commit, 0, len(s.commits))
	for _, c := range s.commits {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b manifest.Commit) int { return cmp.Compare(a.Seq, b.Seq) })
	oldest := s.opts.Now().Add(-forgetAfter).UnixMilli()
	for i, c := range all {
		if i < len(all)/2 && (c.Time < oldest || len(all) > 2*maxCommits) {
			delete(s.commits, c.Key)
		}
	}
}

func (s *Store) segmentPath(rel string) string {
	return filepath.Join(s.opts.Segments, filepath.FromSlash(rel))
}
