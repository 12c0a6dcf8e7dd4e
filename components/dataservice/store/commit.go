package store

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/components/dataservice/keyindex"
	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/source"
	"carbonado.dev/carbonado/components/dataservice/wal"
	"carbonado.dev/sdk/frame"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// request is something that wants a place in the order: batches that are committed together, or one change of state.
type request struct {
	batches []*pending
	// decide runs in the committer when it is the request's turn: it checks against the state as it is then and says what to
	// log. A nil change is a request without effect.
	decide func() (*change, error)
	// done is called once, by the committer.
	done func(error)

	repeated bool
}

// pending is one frame on its way.
type pending struct {
	src *source.Source
	h   frame.Header
	b   []byte
	// body lies in b.
	body []byte
	// sides and keys of the tables, by target of the source; sides is nil if no target needs a look into the batch.
	sides []side
	keys  [][]string

	first uint64
}

// side is what was found out about a batch for one target.
type side struct {
	poison int
	keys   []keyindex.Key // of a keyed table
	at     []int64        // offset of each key's row in the batch
}

const (
	// maxGroup bounds the bytes committed with one fdatasync.
	maxGroup = 16 << 20
)

// submit hands a request to the committer.
func (s *Store) submit(r *request) {
	s.queueMu.Lock()
	if s.closing {
		s.queueMu.Unlock()
		r.done(ErrClosed.New("no more is taken"))
		return
	}
	s.queue = append(s.queue, r)
	s.queueMu.Unlock()
	s.kick()
}

func (s *Store) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// do runs a change and waits for it.
func (s *Store) do(decide func() (*change, error)) error {
	done := make(chan error, 1)
	s.submit(&request{decide: decide, done: func(err error) { done <- err }})
	return <-done
}

// commitLoop commits whatever waits, as soon as the last fdatasync is over.
func (s *Store) commitLoop() {
	for {
		s.queueMu.Lock()
		queue, closing := s.queue, s.closing
		s.queue = nil
		s.queueMu.Unlock()
		if len(queue) == 0 {
			if closing {
				return
			}
			<-s.wake
			continue
		}
		for len(queue) > 0 {
			n := nextGroup(queue)
			s.commitGroup(queue[:n])
			queue = queue[n:]
		}
	}
}

// nextGroup says how many requests go together: all batches up to the limit, or one change alone.
func nextGroup(queue []*request) int {
	if queue[0].decide != nil {
		return 1
	}
	size := 0
	for i, r := range queue {
		if r.decide != nil {
			return i
		}
		for _, p := range r.batches {
			size += len(p.b)
		}
		if size > maxGroup && i > 0 {
			return i
		}
	}
	return len(queue)
}

func (s *Store) commitGroup(group []*request) {
	if err := s.err(); err != nil {
		finish(group, err)
		return
	}
	if group[0].decide != nil {
		err := s.commitChange(group[0])
		group[0].done(err)
		return
	}
	s.commitBatches(group)
}

func finish(group []*request, err error) {
	for _, r := range group {
		r.done(err)
	}
}

type sentKey struct {
	source  frame.Source
	counter uint64
	part    uint16
}

func (s *Store) commitBatches(group []*request) {
	var kept []*request
	inGroup := map[sentKey]bool{}
	next := s.seq // only the committer changes it
	size := int64(0)
	for _, r := range group {
		if err := s.admit(r, inGroup); err != nil {
			r.done(err)
			continue
		}
		kept = append(kept, r)
		if r.repeated {
			continue
		}
		for _, p := range r.batches {
			p.first = next + 1
			next += uint64(p.h.Rows)
			size += int64(len(p.b))
		}
	}
	if next == s.seq {
		finish(kept, nil)
		return
	}
	if s.log.Full(size) {
		if err := s.roll(); err != nil {
			finish(kept, err)
			return
		}
	}
	var frames [][]byte
	offsets := map[*pending]int64{}
	off := int64(0)
	add := func(b []byte) {
		frames = append(frames, b)
		off += int64(len(b))
	}
	var declared []*source.Source
	for _, r := range kept {
		if r.repeated {
			continue
		}
		for _, p := range r.batches {
			num, ok := s.fileNums[p.src]
			if !ok {
				num = uint32(len(s.fileNums) + 1)
				s.fileNums[p.src] = num
				declared = append(declared, p.src)
				decl, err := s.declare(num, p.src)
				if err != nil {
					s.fail(err)
					finish(kept, err)
					return
				}
				for _, b := range decl {
					add(b)
				}
			}
			frame.Restamp(p.b, p.first, num)
			offsets[p] = off
			add(p.b)
		}
	}
	pos, err := s.write(frames)
	if err != nil {
		for _, src := range declared {
			delete(s.fileNums, src)
		}
		finish(kept, err)
		return
	}
	if err := s.applyBatches(kept, pos, offsets, next); err != nil {
		s.fail(err)
		finish(kept, err)
		return
	}
	finish(kept, nil)
}

// admit checks a request of batches when it is its turn.
func (s *Store) admit(r *request, inGroup map[sentKey]bool) error {
	for i, p := range r.batches {
		if err := s.refresh(p); err != nil {
			return err
		}
		if i > 0 || p.h.Source == (frame.Source{}) {
			continue
		}
		k := sentKey{p.h.Source, p.h.Counter, p.h.Part}
		if inGroup[k] || s.seen.Known(&p.h) {
			r.repeated = true
			return nil
		}
		inGroup[k] = true
	}
	return nil
}

// refresh prepares a frame anew if a binding or a table's keys changed since it was prepared.
func (s *Store) refresh(p *pending) error {
	stale := false
	if name := p.src.Spec.Stream; name != "" && s.streams[name] != p.src {
		if p.src = s.streams[name]; p.src == nil {
			return ErrNoBinding.New("stream %s", name)
		}
		stale = true
	}
	for i, target := range p.src.Targets {
		t := s.byID[target.Table]
		if t == nil {
			return ErrNoTable.New("the table was dropped")
		}
		stale = stale || !slices.Equal(t.Schema.Keys, p.keys[i])
	}
	if !stale {
		return nil
	}
	letters, err := s.prepare(p)
	if err == nil && len(letters) > 0 {
		err = ErrOtherSchema.New("the binding of stream %s changed meanwhile", p.src.Spec.Stream)
	}
	return err
}

// declare makes the frames that say what a number of this log file means.
func (s *Store) declare(num uint32, src *source.Source) ([][]byte, error) {
	open := &linkv1.Open{Kind: linkv1.Open_KIND_STREAM, Name: src.Spec.Stream}
	if src.Spec.Stream == "" {
		open.Kind = linkv1.Open_KIND_TABLE
		open.Name = s.byID[src.Targets[0].Table].Name
	}
	body, err := proto.Marshal(open)
	if err != nil {
		return nil, err
	}
	a, err := frame.Append(nil, &frame.Header{Kind: frame.Open, Stream: num, Tenant: Tenant}, body)
	if err != nil {
		return nil, err
	}
	b, err := frame.Append(nil, &frame.Header{Kind: frame.Schema, Stream: num, Schema: src.ID, Tenant: Tenant}, src.Spec.Schema)
	if err != nil {
		return nil, err
	}
	spec := src.Spec
	spec.Number, spec.Schema = num, nil // the schema is in the frame before
	c, err := (&change{Op: opSource, Source: &spec}).frame(0)
	return [][]byte{a, b, c}, err
}

func (s *Store) roll() error {
	if err := s.log.Roll(); err != nil {
		s.fail(err)
		return err
	}
	clear(s.fileNums)
	return nil
}

// write commits frames to the log.
func (s *Store) write(frames [][]byte) (wal.Pos, error) {
	pos, err := s.log.Commit(frames)
	switch {
	case err == nil:
		if s.full {
			s.full = false
			s.opts.Full(nil)
		}
	case errors.Is(err, wal.ErrFull):
		if !s.full {
			s.full = true
			s.opts.Full(err)
		}
	default:
		s.fail(err)
	}
	return pos, err
}

// applyBatches makes what is durable visible.
func (s *Store) applyBatches(group []*request, pos wal.Pos, offsets map[*pending]int64, last uint64) error {
	now := s.opts.Now()
	var keys *keyindex.Batch
	var effects []effect
	defer func() {
		if keys != nil {
			keys.Close()
		}
	}()
	for _, r := range group {
		if r.repeated {
			continue
		}
		for _, p := range r.batches {
			at := wal.Pos{File: pos.File, Off: pos.Off + offsets[p]}
			for i, target := range p.src.Targets {
				ef := effect{t: s.byID[target.Table], e: newEntry(p.src, target, at, len(p.b), int(p.h.Rows), p.first)}
				if p.sides != nil {
					sd := p.sides[i]
					ef.e.rows -= sd.poison
					if ef.t.keyed() {
						if keys == nil {
							if err := s.openKeys(); err != nil {
								return err
							}
							keys = s.keys.NewBatch()
						}
						died, err := replaceKeys(keys, target.Table, sd.keys, sd.at, p.first, ef.e.last)
						if err != nil {
							return err
						}
						ef.died = died
					}
				}
				effects = append(effects, ef)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys != nil {
		if err := keys.Commit(last); err != nil {
			return err
		}
	}
	for _, r := range group {
		if !r.repeated && len(r.batches) > 0 {
			s.seen.Mark(&r.batches[0].h, now)
		}
	}
	for _, ef := range effects {
		s.addEntry(ef)
	}
	s.seq = last
	s.notify()
	s.wakeCut(effects)
	return nil
}

func newEntry(src *source.Source, target *source.Target, at wal.Pos, size, n int, first uint64) *entry {
	return &entry{src: src, target: target, pos: at, size: size, rows: n, first: first, last: first + uint64(n) - 1}
}

// effect is an entry on its way into a table.
type effect struct {
	t    *table
	e    *entry
	died *roaring64.Bitmap
}

func (s *Store) addEntry(ef effect) {
	t := ef.t
	t.learn(ef.e.target.Columns)
	t.LastSeq = ef.e.last
	t.tail = append(t.tail, ef.e)
	if ef.died != nil {
		t.kill(ef.died)
		t.deaths++
	}
	t.record(event{kind: evRows, first: ef.e.first, last: ef.e.last, at: ef.e.last, e: ef.e, died: ef.died})
	t.cuts.added(ef.e, s.opts.Now())
}

// replaceKeys makes the rows of a batch those of their keys, and gives the rows that they replace.
func replaceKeys(b *keyindex.Batch, table uint32, keys []keyindex.Key, at []int64, first, position uint64) (*roaring64.Bitmap, error) {
	died := roaring64.New()
	for i, k := range keys {
		old, ok, err := b.Replace(table, k, first+uint64(at[i]))
		if err != nil {
			return nil, err
		}
		if ok {
			died.Add(old)
		}
	}
	if died.IsEmpty() {
		return nil, nil
	}
	return died, b.Died(table, position, died)
}

// notify tells everybody who waits that the state changed; mu is held.
func (s *Store) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// The changes of state in the log.
const (
	opSource   = "source"
	opCreate   = "create"
	opDrop     = "drop"
	opSchema   = "schema"
	opBind     = "bind"
	opDelete   = "delete"
	opTruncate = "truncate"
	opFence    = "fence"
	opCommit   = "commit"
)

// change is a change of state as the log keeps it.
type change struct {
	Op     string           `json:"op"`
	Source *manifest.Source `json:"source,omitempty"`
	Table  uint32           `json:"table,omitempty"`
	Create *manifest.Table  `json:"create,omitempty"`
	Schema *manifest.Schema `json:"schema,omitempty"`
	// Dead are rows, as a bitmap; Keys their keys one behind the other, in their order, if the table has keys.
	Dead   []byte     `json:"dead,omitempty"`
	Keys   []byte     `json:"keys,omitempty"`
	Fence  string     `json:"fence,omitempty"`
	Epoch  uint64     `json:"epoch,omitempty"`
	Commit *committed `json:"commit,omitempty"`

	dead *roaring64.Bitmap // Dead, decoded
}

// committed is a transaction's commit.
type committed struct {
	manifest.Commit
	Overwrite bool               `json:"overwrite,omitempty"`
	First     uint64             `json:"first"`
	Files     []manifest.Segment `json:"files"`
}

func (c *change) frame(seq uint64) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return frame.Append(nil, &frame.Header{Kind: wal.KindChange, LinkSeq: seq, Tenant: Tenant}, body)
}

func (s *Store) commitChange(r *request) error {
	c, err := r.decide()
	if err != nil || c == nil {
		return err
	}
	seq := s.seq + 1
	b, err := c.frame(seq)
	if err != nil {
		return err
	}
	if s.log.Full(int64(len(b))) {
		if err := s.roll(); err != nil {
			return err
		}
	}
	if _, err := s.write([][]byte{b}); err != nil {
		return err
	}
	if err := s.apply(c, seq); err != nil {
		s.fail(err)
		return err
	}
	return nil
}

// scriptOf is the part of a transaction's key that a lease is about: "script:x" of "script:x/2026-…/3".
func scriptOf(key string) string {
	script, _, _ := strings.Cut(key, "/")
	return script
}

// isScript tells whether a key belongs to a stored script, of which one run at a time exists; queries have keys of their own.
func isScript(key string) bool { return strings.HasPrefix(key, "script:") }

// runOf is the part of a key that names one run: "script:x/2026-…" of "script:x/2026-…/3".
func runOf(key string) string {
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		return key[:i]
	}
	return key
}

// Commits are remembered for a week, the newest ones in any case up to a limit.
const (
	maxCommits  = 10000
	forgetAfter = 7 * 24 * time.Hour
)
