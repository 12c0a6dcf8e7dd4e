package store

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/segment"
)

// segFile is a segment with its users counted. refs and gone are guarded by Store.mu.
type segFile struct {
	manifest.Segment
	refs int
	gone bool
}

// discard takes a segment out of use; it is removed when nobody reads it and a manifest without it is on disk. mu is held.
func (s *Store) discard(f *segFile) {
	if f.gone {
		return
	}
	f.gone = true
	if f.refs == 0 {
		s.garbage = append(s.garbage, f)
	}
}

// unref ends one use; mu is held.
func (s *Store) unref(f *segFile) {
	f.refs--
	if f.gone && f.refs == 0 {
		s.garbage = append(s.garbage, f)
	}
}

// newSegment gives the path of a new segment of a table.
func (s *Store) newSegment(t *table) (id uint64, rel string) {
	s.mu.Lock()
	id = s.nextSegment
	s.nextSegment++
	s.mu.Unlock()
	return id, fmt.Sprintf("%d/%s-%d/%010d.parquet", Tenant, fileSafe(t.Name), t.ID, id)
}

var unsafe = regexp.MustCompile(`[^A-Za-z0-9_]+`)

func fileSafe(name string) string {
	name = unsafe.ReplaceAllString(name, "_")
	return name[:min(len(name), 64)]
}

// makeFolder makes a segment's folder durable if it is new.
func (s *Store) makeFolder(path string) error {
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return errors.Join(s.opts.FS.SyncDir(filepath.Dir(dir)), s.opts.FS.SyncDir(s.opts.Segments))
}

// removeFiles unlinks what checkpoint found to be garbage.
func (s *Store) removeFiles(files []*segFile) {
	for _, f := range files {
		s.readers.forget(f.ID)
		path := s.segmentPath(f.Path)
		if err := s.opts.FS.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.logf(err, "can't remove %s", f.Path)
			continue
		}
		_ = os.Remove(filepath.Dir(path)) // works when it was the table's last file
	}
}

// findUnknown lists the files that a crash left behind, and keeps their numbers from being used again.
func (s *Store) findUnknown() error {
	known := map[string]bool{}
	for _, t := range s.byID {
		for _, f := range t.segs {
			known[f.Path] = true
		}
	}
	return filepath.WalkDir(s.opts.Segments, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.opts.Segments, path)
		if err != nil {
			return err
		}
		if id, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(rel), ".parquet"), 10, 64); err == nil {
			s.nextSegment = max(s.nextSegment, id+1)
		}
		if rel = filepath.ToSlash(rel); !known[rel] {
			s.unknown = append(s.unknown, rel)
		}
		return nil
	})
}

// sweep removes the files that nothing named at the start, after the grace for their readers.
func (s *Store) sweep() {
	if len(s.unknown) == 0 || s.opts.Now().Sub(s.opened) < s.opts.Grace {
		return
	}
	for _, rel := range s.unknown {
		if err := s.opts.FS.Remove(s.segmentPath(rel)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.logf(err, "can't remove %s", rel)
		}
	}
	s.unknown = nil
}

// readerCache keeps segments open: reading a footer costs more than many a lookup.
type readerCache struct {
	s  *Store
	mu sync.Mutex
	// open has the readers by segment; lru those that nobody uses now, the oldest first.
	open map[uint64]*openReader
	lru  *list.List
}

type openReader struct {
	*segment.Reader
	id     uint64
	refs   int
	gone   bool
	unused *list.Element
}

const maxReaders = 48

func (c *readerCache) init(s *Store) { c.s, c.open, c.lru = s, map[uint64]*openReader{}, list.New() }

// get opens a segment; the caller gives it back with done.
func (c *readerCache) get(f *segFile) (*openReader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.open[f.ID]; r != nil {
		r.refs++
		if r.unused != nil {
			c.lru.Remove(r.unused)
			r.unused = nil
		}
		return r, nil
	}
	file, err := c.s.opts.FS.Open(c.s.segmentPath(f.Path))
	if err != nil {
		return nil, segment.ErrDamaged.Wrap(err, "%s", f.Path)
	}
	sr, err := segment.Open(file)
	if err != nil {
		return nil, segment.ErrDamaged.Wrap(err, "%s", f.Path)
	}
	r := &openReader{Reader: sr, id: f.ID, refs: 1}
	c.open[f.ID] = r
	for c.lru.Len() > 0 && len(c.open) > maxReaders {
		c.drop(c.lru.Front().Value.(*openReader))
	}
	return r, nil
}

func (c *readerCache) done(r *openReader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.refs--; r.refs > 0 {
		return
	}
	if r.gone {
		_ = r.Close() // read only
		return
	}
	r.unused = c.lru.PushBack(r)
}

// drop closes an unused reader; mu is held.
func (c *readerCache) drop(r *openReader) {
	c.lru.Remove(r.unused)
	delete(c.open, r.id)
	_ = r.Close() // read only
}

// forget closes a segment that is going to be removed.
func (c *readerCache) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.open[id]; r != nil {
		if r.unused != nil {
			c.drop(r)
			return
		}
		r.gone = true
		delete(c.open, id)
	}
}

// closeIdle closes what nobody reads now.
func (c *readerCache) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.lru.Len() > 0 {
		c.drop(c.lru.Front().Value.(*openReader))
	}
}

func (c *readerCache) closeAll() { c.closeIdle() }
