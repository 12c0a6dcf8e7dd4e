package store

import (
	"cmp"
	"path/filepath"
	"slices"

	"carbonado.dev/carbonado/components/dataservice/dedup"
	"carbonado.dev/carbonado/components/dataservice/manifest"
)

func (s *Store) syncFolder(rel string) error {
	return s.opts.FS.SyncDir(filepath.Dir(s.segmentPath(rel)))
}

// position says what a manifest covers.
type position struct {
	version, logFile uint64
}

// checkpoint writes a manifest if one is due: when segments, tables or bindings changed, when files wait to be removed, or when
// log files can go by it. Then it removes them.
func (s *Store) checkpoint() error {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	s.mu.Lock()
	s.seen.Expire(s.opts.Now().Add(-dedup.Forget))
	m := s.manifest()
	garbage := s.garbage
	due := position{m.Version, m.LogFile}
	if due == s.checkpointed && len(garbage) == 0 {
		s.mu.Unlock()
		return nil
	}
	s.garbage = nil
	keep := s.neededLog(m.LogFile)
	keys := s.keys
	s.mu.Unlock()
	err := func() error {
		if keys != nil {
			// The index must never be behind a manifest: what the manifest leaves out of the replay can't be applied again.
			if err := keys.Flush(); err != nil {
				return err
			}
		}
		return manifest.Write(s.opts.FS, s.opts.Dir, m)
	}()
	if err != nil {
		s.mu.Lock()
		s.garbage = append(garbage, s.garbage...)
		s.mu.Unlock()
		return err
	}
	s.checkpointed = due
	s.removeFiles(garbage)
	return s.log.DropBefore(keep)
}

// manifest is the state as it is now; mu is held.
func (s *Store) manifest() *manifest.Manifest {
	_, last := s.log.Bounds()
	m := &manifest.Manifest{
		Version: s.version, Seq: s.seq, LogFile: max(last, 1), NextTable: s.nextTable, NextSegment: s.nextSegment,
		KeyIndex: s.keys != nil, Senders: s.seen.Save(), Fences: map[string]uint64{},
	}
	for _, t := range s.byID {
		mt := t.Table
		mt.Segments = make([]manifest.Segment, len(t.segs))
		for i, f := range t.segs {
			mt.Segments[i] = f.Segment
		}
		m.Tables = append(m.Tables, mt)
		if len(t.tail) > 0 {
			m.LogFile = min(m.LogFile, t.tail[0].pos.File)
		}
	}
	slices.SortFunc(m.Tables, func(a, b manifest.Table) int { return cmp.Compare(a.ID, b.ID) })
	for _, src := range s.streams {
		m.Sources = append(m.Sources, src.Spec)
	}
	slices.SortFunc(m.Sources, func(a, b manifest.Source) int { return cmp.Compare(a.Stream, b.Stream) })
	for k, v := range s.fences {
		m.Fences[k] = v
	}
	for _, c := range s.commits {
		m.Commits = append(m.Commits, c)
	}
	slices.SortFunc(m.Commits, func(a, b manifest.Commit) int { return cmp.Compare(a.Seq, b.Seq) })
	return m
}

// neededLog is the first log file that anything still reads; mu is held.
func (s *Store) neededLog(replay uint64) uint64 {
	need := replay
	for n := range s.pins {
		need = min(need, n)
	}
	// Subscribers read from the log what they lag behind, within limits; beyond them they read segments.
	feed := replay
	for c := range s.cursors {
		if n := c.logFile.Load(); n > 0 {
			feed = min(feed, n)
		}
	}
	for feed < need && s.log.Bytes(feed)-s.log.Bytes(need) > s.opts.FeedBytes {
		feed++
	}
	return min(need, feed)
}
