package indexing

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/disk"
	"carbonado.dev/carbonado/components/indexing/shard"
)

// table is one table's index: shards that together hold every row, each with its own position, so that one of them can be
// lost, copied or owned elsewhere without the others.
type table struct {
	e      *engine
	name   string
	folder string

	// mu guards what follows, and the shards' writing side.
	mu       sync.Mutex
	schema   *schema
	shards   []*shard.Shard
	position uint64 // up to which everything is in memory
	reading  uint64 // position of the last frame, of which more may come
	dropped  bool   // in the store
	marked   bool   // between MARK BEGIN and END: nothing is committed
	// suspended: what the present subscription still sends is not for this state of the table; the next one is.
	suspended bool
	dirty     time.Time
	closed    bool

	// rebuilding: a shard was emptied and has not caught up with target yet. reason is nil where that was asked for.
	rebuilding bool
	target     uint64
	reason     error

	suspect atomic.Pointer[error] // why the table is to be examined

	changed chan struct{} // closed and replaced after each commit, and after each frame while somebody waits
	waiters int
}

// tableFile says what must not change for the life of a table's index.
type tableFile struct {
	Table  string `json:"table"`
	Shards int    `json:"shards"`
}

// shardOf spreads rows over shards by a hash of `_seq`: evenly whatever the pattern of keys, times or gaps, known for a delete
// from its `_seq` alone, and the same on every node.
func shardOf(seq uint64, shards int) int {
	if shards == 1 {
		return 0
	}
	seq ^= seq >> 33
	seq *= 0xff51afd7ed558ccd
	seq ^= seq >> 33
	seq *= 0xc4ceb9fe1a85ec53
	return int((seq ^ seq>>33) % uint64(shards))
}

func (e *engine) openTable(name string, s *schema) (*table, error) {
	t := &table{e: e, name: name, folder: filepath.Join(e.folder, url.PathEscape(name)), schema: s, changed: make(chan struct{})}
	if err := os.MkdirAll(t.folder, 0o700); err != nil {
		return nil, ErrDisk.Wrap(err, "table %s", name)
	}
	shards, err := t.shardCount()
	if err != nil {
		return nil, ErrDisk.Wrap(err, "table %s", name)
	}
	t.shards = make([]*shard.Shard, shards)
	for i := range t.shards {
		if err := t.openShard(i); err != nil {
			t.close()
			return nil, err
		}
	}
	t.position = t.committed()
	return t, nil
}

// shardCount is as the table's file says, which is made at the first time.
func (t *table) shardCount() (int, error) {
	path := filepath.Join(t.folder, "table.json")
	var f tableFile
	p, err := os.ReadFile(path)
	if err == nil && json.Unmarshal(p, &f) == nil && f.Shards > 0 && f.Table == t.name {
		return f.Shards, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	f = tableFile{Table: t.name, Shards: t.e.cfg.ShardCount}
	if p, err = json.Marshal(f); err != nil {
		return 0, err
	}
	if err := disk.Write(disk.OS{}, path, append(p, '\n')); err != nil {
		return 0, err
	}
	return f.Shards, disk.OS{}.SyncFolder(t.folder)
}

func (t *table) shardFolder(i int) string { return filepath.Join(t.folder, fmt.Sprintf("shard-%d", i)) }

// openShard opens shard i, and an empty one in its place if it is damaged or of another format.
func (t *table) openShard(i int) error {
	opts := shard.Options{Stop: t.e.cfg.stop(), FS: t.e.fs, OnMerge: t.onMerge}
	s, err := shard.Open(t.shardFolder(i), opts)
	if errors.Is(err, codec.ErrDamaged) || errors.Is(err, shard.ErrOutdated) {
		t.e.log.Warn("index shard is read again from the store", "table", t.name, "shard", i, "reason", err)
		if errors.Is(err, codec.ErrDamaged) {
			t.rebuilding, t.reason = true, ErrRebuild.Wrap(err, "shard %d of table %s", i, t.name)
		}
		if err = shard.Destroy(t.e.fs, t.shardFolder(i)); err == nil {
			s, err = shard.Open(t.shardFolder(i), opts)
		}
	}
	if err != nil {
		return ErrDisk.Wrap(err, "shard %d of table %s", i, t.name)
	}
	t.shards[i] = s
	return nil
}

func (t *table) onMerge(docs int, took time.Duration, err error) {
	if err != nil {
		t.e.log.Warn("merging segments failed; it is tried again", "table", t.name, "documents", docs, "reason", err)
		t.suspect.Store(&err)
		ring(t.e.wake) // the committer looks at it: a merge's goroutine can't close its own shard
		return
	}
	t.e.log.Debug("merged segments", "table", t.name, "documents", docs, "took", took.String())
}

// committed is the position that all shards have.
func (t *table) committed() uint64 {
	p := uint64(1<<64 - 1)
	for _, s := range t.shards {
		p = min(p, s.Position())
	}
	return p
}

func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, s := range t.shards {
		if s != nil {
			_ = s.Close()
		}
	}
	t.tell()
}

// reached notes that a frame of this position has come. A position is whole when a greater one comes, or a MARK says so: the
// rows and deletes of one position may fill several frames.
func (t *table) reached(position uint64) {
	if position > t.reading {
		t.position = max(t.position, t.reading)
		t.reading = position
	}
}

// tell wakes who waits for a commit. mu is held.
func (t *table) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// acquire returns a snapshot of every shard; the caller releases each.
func (t *table) acquire() ([]*shard.Snapshot, *schema, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	snaps := make([]*shard.Snapshot, len(t.shards))
	for i, s := range t.shards {
		snaps[i] = s.Acquire()
	}
	return snaps, t.schema, !t.rebuilding
}

// pending is what commits are counted by. mu is held.
func (t *table) pending() (docs, bytes int) {
	for _, s := range t.shards {
		docs += s.Pending()
		bytes += s.PendingBytes()
	}
	return docs, bytes
}

// commit makes what is in memory durable. mu is held.
func (t *table) commit() error {
	for i, s := range t.shards {
		if err := s.Commit(t.position); err != nil {
			return ErrDisk.Wrap(err, "shard %d of table %s", i, t.name)
		}
	}
	t.dirty = time.Time{}
	if t.rebuilding && t.position >= t.target {
		t.rebuilding, t.reason = false, nil
		t.e.log.Info("index is whole again", "table", t.name)
		t.e.healthChanged()
	}
	t.e.wellWritten()
	t.tell()
	return nil
}

// rollback forgets what is in memory, for a new subscription. Shards that a failure broke are opened again.
func (t *table) rollback() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marked, t.dirty = false, time.Time{}
	for i, s := range t.shards {
		s.Rollback()
		if s.Err() == nil {
			continue
		}
		_ = s.Close()
		if err := t.openShard(i); err != nil {
			return err
		}
	}
	t.position, t.reading = t.committed(), 0
	return nil
}

// rebuild destroys every shard, to be filled again by the next subscription.
func (t *table) rebuild(reason error, upTo uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, s := range t.shards {
		_ = s.Close()
		if err := shard.Destroy(t.e.fs, t.shardFolder(i)); err != nil {
			return ErrDisk.Wrap(err, "shard %d of table %s", i, t.name)
		}
		if err := t.openShard(i); err != nil {
			return err
		}
	}
	t.rebuilding, t.reason, t.target = true, reason, upTo
	t.position, t.reading, t.marked, t.suspended, t.dirty = 0, 0, false, true, time.Time{}
	t.tell()
	return nil
}

// remove ends the table's index for good.
func (t *table) remove() error {
	t.close()
	return os.RemoveAll(t.folder)
}
