package shard

import (
	"fmt"
	"path/filepath"
	"time"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/segment"
)

// A commit waits for merges once there are this many segments, at most stallTime: searches must not meet thousands of files.
const (
	stallSegments = 120
	stallTime     = time.Minute
)

// change is a commit in the making: the next manifest, its parts, and files to remove if it fails or succeeds.
type change struct {
	s       *Shard
	next    *manifest
	parts   []*Part
	touched map[int]bool
	made    []string // files of this change
	opened  []*Part  // parts of this change
}

// Commit makes everything pending, and the position, durable and visible in one step. After an error the shard is broken:
// what is pending is forgotten, the last commit's snapshot goes on serving, and every further commit fails with ErrBroken.
func (s *Shard) Commit(position uint64) error {
	if err := s.commitPending(position); err != nil {
		return err
	}
	s.kick()
	s.stall()
	return nil
}

func (s *Shard) commitPending(position uint64) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	if s.batch.Docs() == 0 && len(s.deletes) == 0 && len(s.staged) == 0 && !s.truncate && position == s.manifest.Position {
		return nil
	}
	c := s.begin()
	c.next.Position = position
	if s.truncate {
		c.next.Segments, c.parts = nil, nil
	}
	err := c.addBatch()
	if err == nil {
		err = Guard(c.applyDeletes)
	}
	s.staged = nil
	s.Rollback()
	if err == nil {
		err = c.install()
	}
	if err != nil {
		c.abandon()
		s.broken = err
	}
	return err
}

// begin copies the present state. The commit lock is held until the change is installed or abandoned.
func (s *Shard) begin() *change {
	c := &change{s: s, next: s.manifest.clone(), touched: map[int]bool{}}
	c.next.Generation++
	c.parts = append(c.parts, s.current.Parts...)
	return c
}

func (c *change) addBatch() error {
	s := c.s
	for _, r := range s.staged {
		c.made = append(c.made, r.file())
		if err := c.adopt(r); err != nil {
			return err
		}
	}
	if s.batch.Docs() == 0 {
		return nil
	}
	r, err := s.writeSegment(c.next.Next, s.batch.Docs(), s.batch.WriteTo)
	c.made = append(c.made, r.file())
	if err != nil {
		return err
	}
	c.next.Next++
	return c.adopt(r)
}

func (c *change) adopt(r segmentRecord) error {
	p, err := c.s.openPart(r, false)
	if err != nil {
		return err
	}
	c.opened = append(c.opened, p)
	c.next.Segments, c.parts = append(c.next.Segments, r), append(c.parts, p)
	return nil
}

// writeSegment makes a segment file durable; its folder entry is synced with the manifest's.
func (s *Shard) writeSegment(id uint64, docs int, fill func(*segment.Writer) error) (segmentRecord, error) {
	r := segmentRecord{ID: id, Docs: docs}
	f, err := s.fs.Create(filepath.Join(s.folder, r.file()))
	if err != nil {
		return r, err
	}
	w := segment.NewWriter(f, s.folder, docs)
	err = fill(w)
	if err == nil {
		r.Bytes, r.Sum, err = w.Close()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return r, err
}

func (c *change) applyDeletes() error {
	snap := Snapshot{Parts: c.parts}
	for _, seq := range c.s.deletes {
		if i, doc, ok := snap.Find(seq); ok {
			c.delete(i, doc)
		}
	}
	return nil
}

// delete marks a document; the part is copied when it is touched first.
func (c *change) delete(i int, doc uint32) {
	p := c.parts[i]
	if p.Deleted.Has(doc) {
		return
	}
	if !c.touched[i] {
		c.touched[i] = true
		q := *p
		q.Deleted = codec.NewBitmap(p.Docs())
		copy(q.Deleted, p.Deleted)
		p = &q
		c.parts[i] = p
	}
	p.Deleted.Set(doc)
	p.Dead++
}

// install writes delete files and manifest and publishes the new snapshot.
func (c *change) install() error {
	s := c.s
	var parts []*Part
	var records []segmentRecord
	for i, p := range c.parts {
		r := c.next.Segments[i]
		if p.Live() == 0 {
			continue
		}
		if c.touched[i] {
			r.Deletes, r.Deleted = c.next.Generation, p.Dead
			c.made = append(c.made, r.deletesFile())
			if err := writeDeletes(s.fs, filepath.Join(s.folder, r.deletesFile()), p.Deleted); err != nil {
				return err
			}
			p.record = r
		}
		parts, records = append(parts, p), append(records, r)
	}
	c.next.Segments = records
	if err := c.next.write(s.fs, s.folder); err != nil {
		return err
	}
	if err := s.fs.SyncFolder(s.folder); err != nil {
		return err
	}
	old := s.manifest
	s.manifest = c.next
	s.publish(parts)
	for _, p := range c.opened {
		p.mapped.release() // the snapshot has its own
	}
	s.removeReplaced(old, c.made)
	return nil
}

func (s *Shard) publish(parts []*Part) {
	snap := &Snapshot{Parts: parts, Position: s.manifest.Position}
	snap.refs.Store(1)
	for _, p := range parts {
		p.mapped.retain()
	}
	s.mu.Lock()
	old := s.current
	s.current = snap
	s.mu.Unlock()
	old.Release()
}

// removeReplaced unlinks what the new manifest no longer names. Snapshots keep their mappings. A file that cannot be removed
// is an orphan for the next Open.
func (s *Shard) removeReplaced(old *manifest, made []string) {
	keep := map[string]bool{}
	for _, r := range s.manifest.Segments {
		keep[r.file()], keep[r.deletesFile()] = true, true
	}
	for _, r := range old.Segments {
		made = append(made, r.file(), r.deletesFile())
	}
	for _, name := range made {
		if name != "" && !keep[name] {
			_ = s.fs.Remove(filepath.Join(s.folder, name))
		}
	}
}

// abandon gives up what the change opened. Its files stay: the manifest may have been renamed before the error, so only the
// next Open can tell whether they belong.
func (c *change) abandon() {
	for _, p := range c.opened {
		p.mapped.release()
	}
}

// stall holds the writer back while there are too many segments. Merges that fail do not stop it for good: OnMerge hears of them.
func (s *Shard) stall() {
	deadline := time.NewTimer(stallTime)
	defer deadline.Stop()
	for {
		s.commit.Lock()
		n, merged, broken := len(s.manifest.Segments), s.merged, s.broken
		s.commit.Unlock()
		if n < stallSegments || broken != nil {
			return
		}
		select {
		case <-merged:
		case <-s.ctx.Done():
			return
		case <-deadline.C:
			return
		}
	}
}
