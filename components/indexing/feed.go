package indexing

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// follow keeps one subscription to the store's changes for all tables, each from its committed position.
func (e *engine) follow(ctx context.Context) {
	wait, warned := firstWait, time.Time{}
	for ctx.Err() == nil {
		e.mu.Lock()
		tables := slices.Collect(maps.Values(e.tables))
		wanted := e.wanted
		e.again = false
		linkCtx, cancel := context.WithCancel(ctx)
		e.restart = cancel
		e.mu.Unlock()
		if len(tables) == 0 {
			cancel()
			select {
			case <-ctx.Done():
			case <-wanted:
			}
			continue
		}
		served, err := e.subscribe(linkCtx, tables)
		cancel()
		if served {
			wait = firstWait
		}
		for _, t := range tables {
			if rerr := e.settle(t); rerr != nil {
				err = rerr
				e.setDisk(rerr)
			}
		}
		e.mu.Lock()
		again := e.again
		e.restart = nil
		e.mu.Unlock()
		if again || ctx.Err() != nil {
			continue
		}
		if err == nil {
			err = errClosed
		}
		e.setFeed(ErrFeed.Wrap(err, "change feed"))
		if time.Since(warned) < warnAgain {
			e.log.Debug("the change feed ended again", "in", wait.String(), "reason", err)
		} else {
			warned = time.Now()
			e.log.Warn("the change feed ended; subscribing again", "in", wait.String(), "tables", len(tables), "reason", err)
		}
		ring(e.refresh) // a table may be gone
		select {
		case <-ctx.Done():
		case <-wanted:
		case <-time.After(wait):
		}
		wait = min(2*wait, mostWait)
	}
}

// settle leaves a table as its last commit did, after committing what a broken subscription left whole.
func (e *engine) settle(t *table) error {
	t.mu.Lock()
	var err error
	if !t.closed && !t.marked && !t.dirty.IsZero() {
		err = t.commit()
	}
	closed := t.closed
	t.mu.Unlock()
	if err != nil {
		e.commitFailed(err, "table", t.name)
	}
	if closed {
		return nil
	}
	return t.rollback()
}

// errClosed is the reason where the store ended the feed without saying why.
var errClosed = errors.New("the store closed it")

// subscribe follows tables until the feed ends, and tells whether the store served any of it.
func (e *engine) subscribe(ctx context.Context, tables []*table) (served bool, err error) {
	stream, err := e.feed.Subscribe(ctx, link.CallOption())
	if err != nil {
		return false, err
	}
	l := link.New(stream, link.Options{})
	byName := make(map[string]*table, len(tables))
	for i, t := range tables {
		byName[t.name] = t
		t.mu.Lock()
		after := t.position
		t.suspended = false
		t.mu.Unlock()
		if err := l.SendOpen(uint32(i+1), &linkv1.Open{Kind: linkv1.Open_KIND_TABLE, Name: t.name, AfterSeq: after}); err != nil {
			return false, err
		}
	}
	seen := map[string]frame.SchemaID{}
	err = l.Run(func(in *link.Incoming) error {
		t := byName[in.Name]
		if t == nil {
			return ErrFeed.New("a frame of table %s, which was not asked for", in.Name)
		}
		if in.Kind == frame.Open {
			served = true
			e.setFeed(nil)
			return nil
		}
		if in.Kind == frame.Batch && in.Schema != nil && seen[in.Name] != in.Schema.ID {
			// Rows of a new schema: learn what of it is indexed before they are.
			if err := e.look(ctx); err != nil {
				return err
			}
			seen[in.Name] = in.Schema.ID
		}
		err := e.apply(t, in)
		in.Ack()
		if errors.Is(err, ErrDisk) {
			e.setDisk(err)
		}
		return err
	})
	return served, err
}

// apply takes one frame into memory and commits where that is due.
func (e *engine) apply(t *table, in *link.Incoming) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.suspended {
		return nil
	}
	defer func() {
		if t.waiters > 0 {
			t.tell()
		}
	}()
	var err error
	switch in.Kind {
	case frame.Batch:
		err = t.addRows(in)
	case frame.Delete:
		err = t.deleteRows(in)
	case frame.Truncate:
		for _, s := range t.shards {
			if in.Counter == 0 || in.Counter > s.Position() {
				s.Truncate()
			}
		}
	case frame.Mark:
		return e.mark(t, in)
	default:
		return ErrFeed.New("a frame of kind %s in a change feed", in.Kind)
	}
	if err != nil {
		return err
	}
	t.reached(in.Counter)
	return e.touched(t)
}

// touched notes that a table has something to commit, and commits or writes it out if it is much.
func (e *engine) touched(t *table) error {
	if t.dirty.IsZero() {
		t.dirty = time.Now()
		ring(e.wake)
	}
	docs, bytes := t.pending()
	if t.marked {
		if bytes < commitBytes {
			return nil
		}
		for _, s := range t.shards {
			if err := s.Stage(); err != nil {
				return ErrDisk.Wrap(err, "table %s", t.name)
			}
		}
		return nil
	}
	if docs < e.cfg.CommitDocuments && bytes < commitBytes {
		return nil
	}
	return t.commit()
}

func (e *engine) mark(t *table, in *link.Incoming) error {
	var m linkv1.Mark
	if err := proto.Unmarshal(in.Body, &m); err != nil {
		return ErrFeed.Wrap(err, "MARK of table %s", t.name)
	}
	position := max(t.position, t.reading, m.Seq, in.Counter)
	switch {
	case m.Dropped:
		// The table's folder goes with the next look at the store, which also finds a new table of that name.
		t.dropped, t.suspended = true, true
		ring(e.refresh)
		return nil
	case m.Edge == linkv1.Mark_EDGE_BEGIN:
		// What came before is a commit of its own.
		if !t.dirty.IsZero() {
			if err := t.commit(); err != nil {
				return err
			}
		}
		t.marked = true
		return nil
	case m.Edge == linkv1.Mark_EDGE_END:
		t.marked = false
		t.position = position
		return t.commit()
	case m.Edge != linkv1.Mark_EDGE_CAUGHT_UP:
		return ErrFeed.New("a MARK of edge %s in a change feed", m.Edge)
	}
	moved := position > t.position
	t.position = position
	if t.rebuilding {
		t.target = min(t.target, position)
		return t.commit()
	}
	if moved {
		return e.touched(t)
	}
	return nil
}

func (t *table) addRows(in *link.Incoming) error {
	if in.Schema == nil {
		return ErrFeed.New("a batch of table %s without a schema", t.name)
	}
	rec, err := component.DecodeRecord(in.Schema, in.Body)
	if err != nil {
		return err
	}
	defer rec.Release()
	b, err := newBatch(rec)
	if err != nil {
		return err
	}
	want := make([]bool, rec.NumRows())
	for i, s := range t.shards {
		// A row may come twice: after a break in the middle of a position, or because another shard lags behind this one.
		snap := s.Acquire()
		known := snap.MaxSeq()
		if s.Truncated() {
			known = 0
		}
		some := false
		for row := range want {
			seq := uint64(b.seq.Value(row))
			want[row] = shardOf(seq, len(t.shards)) == i
			if want[row] && seq <= known {
				_, _, have := snap.Find(seq)
				want[row] = !have
			}
			some = some || want[row]
		}
		snap.Release()
		if some {
			b.addTo(s.Batch(), t.schema, want)
		}
	}
	return nil
}

func (t *table) deleteRows(in *link.Incoming) error {
	if in.Schema == nil {
		return ErrFeed.New("deletes of table %s without a schema", t.name)
	}
	rec, err := component.DecodeRecord(in.Schema, in.Body)
	if err != nil {
		return err
	}
	defer rec.Release()
	seqs, ok := columnOf(rec, segment.Seq).(*array.Int64)
	if !ok {
		return ErrFeed.New("deletes of table %s have no column _seq of type int64", t.name)
	}
	for i := range seqs.Len() {
		seq := uint64(seqs.Value(i))
		t.shards[shardOf(seq, len(t.shards))].Delete(seq)
	}
	return nil
}

// replay reads a table again from the beginning: because of damage, or because it was asked for.
func (e *engine) replay(t *table, reason error) error {
	e.mu.Lock()
	last := e.infos[t.name].GetLastSeq()
	e.mu.Unlock()
	err := t.rebuild(reason, last)
	if err != nil && !errors.Is(err, context.Canceled) {
		e.setDisk(err)
	}
	e.resubscribe()
	e.healthChanged()
	return err
}
