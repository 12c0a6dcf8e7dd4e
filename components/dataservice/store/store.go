// Package store is the embedded record store: one committer that gives every change its place in one order and makes it durable
// in the log, tables made of immutable segments and the log's tail, and what reads them. It must not know gRPC, nor how
// configuration comes in.
//
// State is changed by the committer, by the installation of cuts and compactions, and by nothing else; all under Store.mu. The
// log is written before the state changes. The manifest is a checkpoint of the state; replay of the log from there gives it back.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/components/dataservice/batch"
	"carbonado.dev/carbonado/components/dataservice/dedup"
	"carbonado.dev/carbonado/components/dataservice/keyindex"
	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
	"carbonado.dev/carbonado/components/dataservice/source"
	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/carbonado/components/dataservice/wal"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/frame"
)

// Tenant is the only tenant: carbon.super.
const Tenant = -1234

// Options of a store; zero values of the limits are the defaults.
type Options struct {
	FS vfs.FS
	// Dir is the store's own folder, Segments and Staging are shared with readers and engines.
	Dir, Segments, Staging string
	// Stores are the names of record stores; the first one is the default.
	Stores []string
	Log    hclog.Logger
	Now    func() time.Time

	LogFileSize int64
	NoSync      bool
	// GroupRows is the usual length of a segment's row groups.
	GroupRows int
	// A table's tail is cut when it has so many rows, or bytes, or is so old.
	CutRows  int64
	CutBytes int64
	CutAge   time.Duration
	// Grace is how long unknown files stay after a start: readers of the time before may still use them.
	Grace time.Duration
	// FeedBytes is how much of the log is kept for subscribers that lag.
	FeedBytes int64
	// Idle is how often the background looks for work that nobody asked for.
	Idle time.Duration

	// Broken is called once when the store can't go on: the process must end, so that the log is replayed.
	Broken func(error)
	// Full is called when space runs out, and with nil when writing works again.
	Full func(error)
}

func (o *Options) defaults() {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Stores) == 0 {
		o.Stores = []string{"EVENT_STORE", "PROCESSED_DATA_STORE"}
	}
	set(&o.GroupRows, segment.GroupRows)
	set(&o.CutRows, 2*int64(o.GroupRows))
	set(&o.CutBytes, 64<<20)
	set(&o.CutAge, 5*time.Minute)
	set(&o.Grace, time.Minute)
	set(&o.FeedBytes, 256<<20)
	set(&o.Idle, time.Second)
	if o.Broken == nil {
		o.Broken = func(error) {}
	}
	if o.Full == nil {
		o.Full = func(error) {}
	}
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Store is an open store. Its methods are safe for concurrent use.
type Store struct {
	opts Options
	log  *wal.Log

	// Of the committer.
	fileNums map[*source.Source]uint32 // numbers declared in the current log file
	full     bool

	// queueMu guards queue and closing; wake tells the committer.
	queueMu sync.Mutex
	queue   []*request
	closing bool
	wake    chan struct{}

	// mu guards the state below and in tables.
	mu          sync.RWMutex
	seq         uint64 // last number given
	version     uint64
	tables      map[string]*table
	byID        map[uint32]*table
	streams     map[string]*source.Source
	seen        *dedup.Table
	fences      map[string]uint64
	commits     map[string]manifest.Commit // by key
	txs         map[string]*transaction    // open ones, by id
	nextTable   uint32
	nextSegment uint64
	changed     chan struct{} // closed and renewed at every change
	garbage     []*segFile    // gone from tables, not yet removed
	cursors     map[*Cursor]struct{}
	pins        map[uint64]int // log files that views read, by number
	broken      error

	// keys is nil until a table needs it; then it stays. Set under mu.
	keys *keyindex.Index
	// known is the position up to which the key index had everything when it was opened at the start.
	known uint64

	readers readerCache
	puts    putSources

	cutWake      chan struct{}
	compactWake  chan struct{}
	checkpointMu sync.Mutex // one checkpoint at a time; guards checkpointed
	checkpointed position   // of the last manifest
	opened       time.Time
	unknown      []string // files that nothing named at the start; of the cutter

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
}

// Open opens or makes a store and replays its log.
func Open(opts Options) (_ *Store, err error) {
	opts.defaults()
	for _, dir := range []string{filepath.Join(opts.Dir, "log"), opts.Segments, opts.Staging} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, err
		}
	}
	m, err := manifest.Read(opts.Dir)
	if err != nil {
		return nil, err
	}
	if m == nil {
		m = &manifest.Manifest{LogFile: 1, NextTable: 1, NextSegment: 1}
	}
	s := &Store{
		opts: opts, seq: m.Seq, version: m.Version, nextTable: m.NextTable, nextSegment: m.NextSegment,
		fileNums: map[*source.Source]uint32{},
		wake:     make(chan struct{}, 1), cutWake: make(chan struct{}, 1), compactWake: make(chan struct{}, 1),
		tables: map[string]*table{}, byID: map[uint32]*table{}, streams: map[string]*source.Source{},
		seen: dedup.Load(m.Senders), fences: map[string]uint64{}, commits: map[string]manifest.Commit{}, txs: map[string]*transaction{},
		changed: make(chan struct{}), cursors: map[*Cursor]struct{}{}, pins: map[uint64]int{}, opened: opts.Now(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.readers.init(s)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	if err := s.load(m); err != nil {
		return nil, err
	}
	if err := s.replay(m); err != nil {
		return nil, err
	}
	if err := s.findUnknown(); err != nil {
		return nil, err
	}
	for _, t := range s.byID {
		// What died by a replayed change is known to the key index only.
		t.journal, t.journalFrom = nil, t.LastSeq
		t.settleDead()
	}
	if err := s.emptyStaging(); err != nil {
		return nil, err
	}
	s.wg.Add(3)
	go func() { defer s.wg.Done(); s.commitLoop() }()
	go func() { defer s.wg.Done(); s.cutLoop() }()
	go func() { defer s.wg.Done(); s.compactLoop() }()
	return s, nil
}

// abandon closes what a failed Open had opened.
func (s *Store) abandon() error {
	s.cancel()
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	s.readers.closeAll()
	if s.keys != nil {
		err = errors.Join(err, s.keys.Close())
	}
	return err
}

// load takes over what the manifest says.
func (s *Store) load(m *manifest.Manifest) error {
	if m.KeyIndex {
		if _, err := os.Stat(s.keysDir()); err != nil {
			return keyindex.ErrIndex.Wrap(err, "the folder is missing")
		}
		if err := s.openKeys(); err != nil {
			return err
		}
		s.known = s.keys.Applied()
	}
	for _, mt := range m.Tables {
		t := &table{Table: mt, dead: roaring64.New(), maybe: roaring64.New(), open: map[uint64]bool{}, journalFrom: mt.LastSeq}
		t.Segments = nil
		for _, seg := range mt.Segments {
			if _, err := os.Stat(filepath.Join(s.opts.Segments, filepath.FromSlash(seg.Path))); err != nil {
				return manifest.ErrCorrupt.Wrap(err, "a segment of table %s is missing", t.Name)
			}
			t.segs = append(t.segs, &segFile{Segment: seg})
		}
		s.tables[t.Name], s.byID[t.ID] = t, t
	}
	for _, spec := range m.Sources {
		src, err := source.Compile(spec)
		if err != nil {
			return manifest.ErrCorrupt.Wrap(err, "binding of %s", spec.Stream)
		}
		s.streams[spec.Stream] = src
	}
	for k, v := range m.Fences {
		s.fences[k] = v
	}
	for _, c := range m.Commits {
		s.commits[c.Key] = c
	}
	return s.loadDead()
}

// loadDead takes over from the key index which rows are dead and still lie in files or in the log.
func (s *Store) loadDead() error {
	if s.keys == nil {
		return nil
	}
	for _, t := range s.byID {
		if err := s.loadDeadOf(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadDeadOf(t *table) error {
	return s.keys.Deaths(t.ID, 0, s.known, func(at uint64, dead *roaring64.Bitmap) error {
		t.deaths++
		rest := dead.Clone()
		for _, seg := range t.segs {
			in := deadIn(dead, seg.MinSeq, seg.MaxSeq)
			rest.AndNot(in)
			if at > seg.AsOf {
				t.dead.Or(in)
			}
		}
		// What is in no segment is in the log's tail, or in a file that replay adopts, or gone.
		t.maybe.Or(rest)
		return nil
	})
}

// settleDead keeps, after the replay, those rows of maybe that are there.
func (t *table) settleDead() {
	if t.maybe.IsEmpty() {
		return
	}
	for _, e := range t.tail {
		t.dead.Or(deadIn(t.maybe, e.first, e.last))
	}
	for _, f := range t.segs {
		t.dead.Or(deadIn(t.maybe, f.MinSeq, f.MaxSeq))
	}
	t.maybe = roaring64.New()
}

func (s *Store) keysDir() string { return filepath.Join(s.opts.Dir, "keys") }

// openKeys opens the key index if it isn't open.
func (s *Store) openKeys() error {
	if s.keys != nil {
		return nil
	}
	x, err := keyindex.Open(s.keysDir())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.keys = x
	s.mu.Unlock()
	return nil
}

// Close ends the store in order: what waits is committed, what is cut stays, a manifest is written.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.queueMu.Lock()
		s.closing = true
		s.queueMu.Unlock()
		s.kick()
		s.cancel()
		s.wg.Wait()
		if s.err() == nil {
			err = s.checkpoint()
		}
		if lerr := s.log.Close(); s.err() == nil {
			err = errors.Join(err, lerr)
		}
		s.readers.closeAll()
		if s.keys != nil {
			err = errors.Join(err, s.keys.Close())
		}
	})
	return err
}

// Context ends when the store closes.
func (s *Store) Context() context.Context { return s.ctx }

// Done is closed when the store closes.
func (s *Store) Done() <-chan struct{} { return s.ctx.Done() }

func (s *Store) err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}

// fail makes the store refuse everything from now on.
func (s *Store) fail(err error) {
	s.mu.Lock()
	first := s.broken == nil
	if first {
		s.broken = err
	}
	s.mu.Unlock()
	if first {
		s.opts.Log.Error("the store can't go on", "cause", err)
		s.opts.Broken(err)
	}
}

// find is a table by its name in any case; mu is held.
func (s *Store) find(name string) (*table, error) {
	t := s.tables[strings.ToUpper(name)]
	if t == nil {
		return nil, ErrNoTable.New("table %s", strings.ToUpper(name))
	}
	return t, nil
}

// view is a picture of a table.
func (s *Store) view(name string) (*view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	t, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return s.viewOf(t), nil
}

// viewOf makes a picture of a table and keeps its part of the log; mu is held for writing.
func (s *Store) viewOf(t *table) *view {
	v := t.view()
	if len(v.tail) > 0 {
		s.pins[v.tail[0].pos.File]++
	}
	return v
}

// release ends the use of a view's files.
func (s *Store) release(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(v)
}

func (s *Store) releaseLocked(v *view) {
	for _, f := range v.segs {
		s.unref(f)
	}
	if len(v.tail) > 0 {
		n := v.tail[0].pos.File
		if s.pins[n]--; s.pins[n] == 0 {
			delete(s.pins, n)
		}
	}
}

// readEntry reads the rows of an entry of the log. buf is memory to use; the rows alias what is given back.
func (s *Store) readEntry(e *entry, buf []byte) (*rows.Rows, []byte, error) {
	b, err := s.log.Read(e.pos, e.size, buf)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, buf, err
		}
		return nil, buf, wal.ErrCorrupt.Wrap(err, "read log file %d at %d", e.pos.File, e.pos.Off)
	}
	h, body, _, err := frame.Parse(b)
	if err == nil {
		err = frame.CheckBody(b)
	}
	var rec arrow.RecordBatch
	if err == nil {
		rec, err = batch.Parse(e.src.Schema, body, int(h.Rows))
	}
	if err != nil {
		return nil, b, wal.ErrCorrupt.Wrap(err, "read log file %d at %d", e.pos.File, e.pos.Off)
	}
	r, _ := e.target.Rows(rec, e.first)
	return r, b, nil
}

func (s *Store) logf(err error, format string, args ...any) {
	s.opts.Log.Warn(fmt.Sprintf(format, args...), "cause", cause.From(err))
}
