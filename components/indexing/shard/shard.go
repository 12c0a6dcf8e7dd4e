// Package shard is an index that changes by commits: segments, deletes and the feed's position under one manifest, read
// through snapshots and merged in the background. It must not know tables, schemas or queries.
package shard

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/builder"
	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/disk"
	"carbonado.dev/carbonado/components/indexing/segment"
)

// ErrOutdated: the shard was written by another format or analysis. It is to be destroyed and replayed.
var ErrOutdated = errors.New("index of another format or analysis")

// ErrBroken: a commit failed, so what is on disk is not known. The shard is to be closed and opened again.
var ErrBroken = errors.New("shard is broken by an earlier failure")

// Options of a shard.
type Options struct {
	// FS is the file system; nil is the operating system's.
	FS disk.FS
	// Stop are the stop words of the analysis.
	Stop []string
	// MergeFactor is how many neighbours of one size are merged into one; 0 is 10.
	MergeFactor int
	// MaxMerged bounds the documents of a merged segment; 0 is 5 million.
	MaxMerged int
	// OnMerge, if set, hears how each merge ended. It is called from the merging goroutine.
	OnMerge func(docs int, took time.Duration, err error)
}

func (o Options) analysis() string { return "standard-1:" + strings.Join(o.Stop, ",") }

// Shard is one index folder. One goroutine at a time may write (Batch, Delete, Truncate, Commit, Rollback); everything else
// is safe for concurrent use.
type Shard struct {
	folder string
	opts   Options
	fs     disk.FS

	// Of the writing goroutine.
	batch    *builder.Builder
	deletes  []uint64
	truncate bool
	staged   []segmentRecord // written, and part of the next commit

	// commit serialises changes of the manifest. It is taken before mu.
	commit   sync.Mutex
	manifest *manifest
	broken   error
	busy     map[uint64]bool // segments being merged

	// mu guards current.
	mu      sync.Mutex
	current *Snapshot

	ctx     context.Context
	cancel  context.CancelFunc
	mergers sync.WaitGroup
	wake    chan struct{}
	merged  chan struct{} // closed and replaced after each merge; guarded by commit
}

// Open opens the shard in a folder, which is made if need be, and checks every file's checksums. An error that is
// codec.ErrDamaged or ErrOutdated calls for Destroy and another Open. Files that belong to nothing are removed.
func Open(folder string, opts Options) (*Shard, error) {
	if opts.FS == nil {
		opts.FS = disk.OS{}
	}
	if opts.MergeFactor == 0 {
		opts.MergeFactor = 10
	}
	if opts.MaxMerged == 0 {
		opts.MaxMerged = 5_000_000
	}
	s := &Shard{folder: folder, opts: opts, fs: opts.FS, batch: builder.New(analysis.New(opts.Stop)),
		busy: map[uint64]bool{}, wake: make(chan struct{}, 1), merged: make(chan struct{})}
	if err := s.fs.MakeFolder(folder); err != nil {
		return nil, err
	}
	m, err := readManifest(s.fs, folder)
	if err != nil {
		return nil, err
	}
	if m == nil {
		m = &manifest{Format: manifestFormat, Analysis: opts.analysis()}
	}
	if m.Analysis != opts.analysis() {
		return nil, fmt.Errorf("%w: analysis %q, wanted %q", ErrOutdated, m.Analysis, opts.analysis())
	}
	s.manifest = m
	if err := s.removeOrphans(); err != nil {
		return nil, err
	}
	snap := &Snapshot{Position: m.Position}
	snap.refs.Store(1)
	for _, r := range m.Segments {
		p, err := s.openPart(r, true)
		if err != nil {
			snap.Release()
			return nil, err
		}
		snap.Parts = append(snap.Parts, p)
	}
	s.current = snap
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// Two: a long merge must not hold the short ones up.
	for _, limit := range []int{smallMerge, opts.MaxMerged} {
		s.mergers.Add(1)
		go s.merger(limit)
	}
	s.kick()
	return s, nil
}

// Destroy removes a shard's folder contents, whatever state they are in; the shard must not be open. The manifest goes first,
// so that a half-done destruction leaves an empty shard.
func Destroy(fsys disk.FS, folder string) error {
	if fsys == nil {
		fsys = disk.OS{}
	}
	if err := fsys.MakeFolder(folder); err != nil {
		return err
	}
	if err := fsys.Remove(filepath.Join(folder, manifestName)); err != nil {
		return err
	}
	if err := fsys.SyncFolder(folder); err != nil {
		return err
	}
	names, err := fsys.List(folder)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := fsys.Remove(filepath.Join(folder, n)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shard) removeOrphans() error {
	keep := map[string]bool{manifestName: true}
	for _, r := range s.manifest.Segments {
		keep[r.file()], keep[r.deletesFile()] = true, true
	}
	names, err := s.fs.List(s.folder)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !keep[n] {
			if err := s.fs.Remove(filepath.Join(s.folder, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Shard) openPart(r segmentRecord, verify bool) (*Part, error) {
	path := filepath.Join(s.folder, r.file())
	m, err := s.fs.Map(path)
	if err != nil {
		return nil, codec.Damaged("segment %s: %v", r.file(), err)
	}
	fail := func(err error) (*Part, error) {
		_ = m.Close()
		return nil, fmt.Errorf("%s: %w", r.file(), err)
	}
	if uint64(len(m.Data())) != r.Bytes {
		return fail(codec.Damaged("%d bytes, the manifest says %d", len(m.Data()), r.Bytes))
	}
	var seg *segment.Segment
	err = Guard(func() (err error) {
		if seg, err = segment.Open(m.Data()); err == nil && verify {
			err = seg.Verify()
			m.Forget() // what nobody searches should not stay in memory for having been checked
		}
		return err
	})
	if err != nil {
		return fail(err)
	}
	if seg.Sum() != r.Sum || seg.Docs() != r.Docs {
		return fail(codec.Damaged("not the file that the manifest names"))
	}
	p := &Part{Segment: seg, MaxSeq: seg.MaxSeq(), record: r, mapped: &mapped{m: m}}
	if name := r.deletesFile(); name != "" {
		if p.Deleted, err = readDeletes(s.fs, filepath.Join(s.folder, name), r.Docs); err != nil {
			return fail(codec.Damaged("%s: %v", name, err))
		}
		if p.Dead = p.Deleted.Count(); p.Dead != r.Deleted {
			return fail(codec.Damaged("%s: %d deleted, the manifest says %d", name, p.Dead, r.Deleted))
		}
	}
	p.mapped.retain()
	return p, nil
}

// Acquire returns the present snapshot, to be released.
func (s *Shard) Acquire() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.refs.Add(1)
	return s.current
}

// Position is the feed's position of the last commit.
func (s *Shard) Position() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Position
}

// Pending is the number of documents and deletes that are not committed.
func (s *Shard) Pending() int {
	n := s.batch.Docs() + len(s.deletes)
	for _, r := range s.staged {
		n += r.Docs
	}
	return n
}

// PendingBytes is about how much memory the uncommitted documents take.
func (s *Shard) PendingBytes() int { return s.batch.Bytes() + 8*len(s.deletes) }

// Batch is where documents of the next commit go.
func (s *Shard) Batch() *builder.Builder { return s.batch }

// Delete takes a row out with the next commit, wherever it is. A row that is not there is no error.
func (s *Shard) Delete(seq uint64) { s.deletes = append(s.deletes, seq) }

// Truncate empties the shard with the next commit, what is pending included.
func (s *Shard) Truncate() {
	s.Rollback()
	s.truncate = true
}

// Truncated tells whether the next commit empties the shard first.
func (s *Shard) Truncated() bool { return s.truncate }

// Rollback forgets what is pending.
func (s *Shard) Rollback() {
	s.batch.Reset()
	for _, r := range s.staged {
		_ = s.fs.Remove(filepath.Join(s.folder, r.file()))
	}
	s.deletes, s.truncate, s.staged = s.deletes[:0], false, nil
}

// Stage writes the batch to a segment that the next commit adopts, so that a transaction may be larger than memory. After an
// error the shard is broken, as after a failed Commit.
func (s *Shard) Stage() error {
	if s.batch.Docs() == 0 {
		return nil
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	r, err := s.writeSegment(s.manifest.Next, s.batch.Docs(), s.batch.WriteTo)
	if err != nil {
		s.broken = err
		return err
	}
	s.manifest.Next++
	s.staged = append(s.staged, r)
	s.batch.Reset()
	return nil
}

// Close stops merging and gives the current snapshot up. What is pending is lost: the feed has it.
func (s *Shard) Close() error {
	s.cancel()
	s.mergers.Wait()
	s.mu.Lock()
	snap := s.current
	s.current = &Snapshot{Position: snap.Position}
	s.current.refs.Store(1)
	s.mu.Unlock()
	snap.Release()
	return nil
}

// Err is what broke the shard, nil if nothing.
func (s *Shard) Err() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	return s.broken
}

func (s *Shard) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
