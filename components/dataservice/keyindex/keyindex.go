// Package keyindex keeps, for tables with keys, key -> `_seq`, and for all tables which rows died when. It must not know schemas
// or where rows are: a key is a hash, a row a number.
//
// It is a Pebble store without a log of its own: the store's log is the log. Pebble flushes whole batches in order, so after a
// crash it stands at some position that Applied tells, and the store applies again what came later. A key's new row and the
// old one's death are in one batch; that is why both are here.
package keyindex

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// ErrIndex is the error of an index that can't be read or written.
var ErrIndex = cause.Define("CBN-STORE-060", "The store's key index failed.",
	"The component restarts and replays its log; see the disk's health if it happens again.").Code(codes.Unavailable)

// Key is the hash of a row's key columns.
type Key [20]byte

// Index is an open index. Reads are safe for concurrent use; one batch at a time.
type Index struct {
	db      *pebble.DB
	applied atomic.Uint64
	dirty   atomic.Bool
}

// Memory of the index in bytes.
const (
	cacheSize    = 8 << 20
	memTableSize = 8 << 20
)

// Open opens or makes the index in a folder.
func Open(dir string) (*Index, error) {
	cache := pebble.NewCache(cacheSize)
	defer cache.Unref()
	opts := &pebble.Options{
		Cache: cache, MemTableSize: memTableSize, DisableWAL: true, MaxOpenFiles: 256, Logger: quiet{},
		FormatMajorVersion: pebble.FormatNewest, L0CompactionThreshold: 4,
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, ErrIndex.Wrap(err, "open")
	}
	x := &Index{db: db}
	v, ok, err := x.get([]byte{tagApplied})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if ok {
		x.applied.Store(v)
	}
	return x, nil
}

// quiet drops Pebble's own messages: its errors come back from the calls.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("key index: "+format, args...))
}

const (
	tagApplied = 'a'
	tagDeath   = 'd'
	tagKey     = 'k'
)

func keyOf(table uint32, k Key) []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, 25), tagKey), table)
	return append(b, k[:]...)
}

func deathOf(table uint32, at uint64) []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, 13), tagDeath), table)
	return binary.BigEndian.AppendUint64(b, at)
}

func (x *Index) get(key []byte) (uint64, bool, error) {
	v, closer, err := x.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, ErrIndex.Wrap(err, "read")
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, false, ErrIndex.New("a value of %d bytes", len(v))
	}
	return binary.BigEndian.Uint64(v), true, nil
}

// Get is the row that has a key now.
func (x *Index) Get(table uint32, k Key) (seq uint64, ok bool, err error) {
	return x.get(keyOf(table, k))
}

// Applied is the position up to which the index has everything.
func (x *Index) Applied() uint64 { return x.applied.Load() }

// Batch gathers changes that become visible and durable together.
type Batch struct {
	x     *Index
	b     *pebble.Batch
	keys  map[tableKey]uint64
	clear map[uint32]bool
}

type tableKey struct {
	table uint32
	key   Key
}

// NewBatch begins a batch. It must be ended with Commit or Close.
func (x *Index) NewBatch() *Batch {
	return &Batch{x: x, b: x.db.NewBatch(), keys: map[tableKey]uint64{}, clear: map[uint32]bool{}}
}

// Replace makes seq the row of a key and gives the row that it was before, the batch's own changes included.
func (b *Batch) Replace(table uint32, k Key, seq uint64) (old uint64, ok bool, err error) {
	tk := tableKey{table, k}
	if old, ok = b.keys[tk]; !ok && !b.clear[table] {
		if old, ok, err = b.x.Get(table, k); err != nil {
			return 0, false, err
		}
	}
	b.keys[tk] = seq
	if err := b.b.Set(keyOf(table, k), binary.BigEndian.AppendUint64(nil, seq), nil); err != nil {
		return 0, false, ErrIndex.Wrap(err, "write")
	}
	return old, ok && old != 0, nil
}

// Remove forgets a key, if its row is seq.
func (b *Batch) Remove(table uint32, k Key, seq uint64) error {
	tk := tableKey{table, k}
	old, ok := b.keys[tk]
	if !ok && !b.clear[table] {
		var err error
		if old, ok, err = b.x.Get(table, k); err != nil {
			return err
		}
	}
	if !ok || old != seq {
		return nil
	}
	b.keys[tk] = 0
	if err := b.b.Delete(keyOf(table, k), nil); err != nil {
		return ErrIndex.Wrap(err, "write")
	}
	return nil
}

// Died records that rows died at a position.
func (b *Batch) Died(table uint32, at uint64, dead *roaring64.Bitmap) error {
	if dead.IsEmpty() {
		return nil
	}
	v, err := dead.ToBytes()
	if err == nil {
		err = b.b.Set(deathOf(table, at), v, nil)
	}
	if err != nil {
		return ErrIndex.Wrap(err, "write")
	}
	return nil
}

// Clear forgets all keys and deaths of a table.
func (b *Batch) Clear(table uint32) error {
	b.clear[table] = true
	for tk := range b.keys {
		if tk.table == table {
			delete(b.keys, tk)
		}
	}
	for _, tag := range []byte{tagKey, tagDeath} {
		from := binary.BigEndian.AppendUint32([]byte{tag}, table)
		to := binary.BigEndian.AppendUint32([]byte{tag}, table+1)
		if err := b.b.DeleteRange(from, to, nil); err != nil {
			return ErrIndex.Wrap(err, "write")
		}
	}
	return nil
}

// Forget drops the deaths of a table up to a position, that included.
func (b *Batch) Forget(table uint32, upTo uint64) error {
	if err := b.b.DeleteRange(deathOf(table, 0), deathOf(table, upTo+1), nil); err != nil {
		return ErrIndex.Wrap(err, "write")
	}
	return nil
}

// Commit makes the batch visible; the index then has everything up to applied.
func (b *Batch) Commit(applied uint64) error {
	if applied > b.x.applied.Load() {
		if err := b.b.Set([]byte{tagApplied}, binary.BigEndian.AppendUint64(nil, applied), nil); err != nil {
			return ErrIndex.Wrap(err, "write")
		}
	}
	if err := b.b.Commit(pebble.NoSync); err != nil {
		return ErrIndex.Wrap(err, "write")
	}
	if applied > b.x.applied.Load() {
		b.x.applied.Store(applied)
	}
	b.x.dirty.Store(true)
	return nil
}

// Close drops a batch that is not committed.
func (b *Batch) Close() { _ = b.b.Close() }

// Deaths calls each, in order, with the rows of a table that died at positions in (after, upTo].
func (x *Index) Deaths(table uint32, after, upTo uint64, each func(at uint64, dead *roaring64.Bitmap) error) error {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: deathOf(table, after+1), UpperBound: deathOf(table, upTo+1)})
	if err != nil {
		return ErrIndex.Wrap(err, "read")
	}
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		dead := roaring64.New()
		v, err := it.ValueAndErr()
		if err == nil {
			err = dead.UnmarshalBinary(v)
		}
		if err != nil {
			return errors.Join(ErrIndex.Wrap(err, "deaths of table %d", table), it.Close())
		}
		if err := each(binary.BigEndian.Uint64(key[len(key)-8:]), dead); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return ErrIndex.Wrap(err, "read")
	}
	return nil
}

// Flush makes durable what was committed before the call.
func (x *Index) Flush() error {
	if !x.dirty.Swap(false) {
		return nil
	}
	if err := x.db.Flush(); err != nil {
		x.dirty.Store(true)
		return ErrIndex.Wrap(err, "flush")
	}
	return nil
}

// Close closes the index; what was not flushed is applied again from the log.
func (x *Index) Close() error {
	if err := x.db.Close(); err != nil {
		return ErrIndex.Wrap(err, "close")
	}
	return nil
}
