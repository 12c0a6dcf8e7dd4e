package server

import (
	"context"
	"errors"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/carbonado/components/dataservice/batch"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/store"
	"carbonado.dev/carbonado/components/dataservice/wal"
	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
)

// EventLog serves analyticsv1.EventLog.
type EventLog struct {
	analyticsv1.UnimplementedEventLogServer
	current Current
}

// NewLog serves a store's log.
func NewLog(current Current) *EventLog { return &EventLog{current: current} }

// Append implements the contract: a frame is acknowledged when it is on disk. Frames of one link are committed in their order.
func (e *EventLog) Append(stream analyticsv1.EventLog_AppendServer) error {
	s, err := e.current()
	if err != nil {
		return err
	}
	// The handler waits for nothing but the committer, which answers every frame: also when the store fails or closes.
	var pending sync.WaitGroup
	defer pending.Wait()
	l := link.New(stream, link.Options{})
	return l.Run(func(in *link.Incoming) error {
		switch in.Kind {
		case frame.Open:
			if in.Open.Kind != linkv1.Open_KIND_STREAM {
				return store.ErrRequest.New("the log takes streams, %s is none", in.Name)
			}
			return nil
		case frame.Batch:
		default:
			in.Refuse(store.ErrRequest.New("the log takes no %s frames", in.Kind), false)
			return nil
		}
		pending.Add(1)
		s.Append(in.Name, in.Header, in.Bytes, in.Body, func(err error) {
			defer pending.Done()
			if err != nil {
				in.Refuse(err, retryable(err))
				return
			}
			in.Ack()
		})
		return nil
	})
}

// retryable says whether the same frame may succeed later.
func retryable(err error) bool {
	for _, kind := range []error{wal.ErrFull, wal.ErrBroken, store.ErrClosed, store.ErrNoBinding, store.ErrOtherSchema, store.ErrNoTable} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// ChangeFeed serves analyticsv1.ChangeFeed.
type ChangeFeed struct {
	analyticsv1.UnimplementedChangeFeedServer
	current Current
}

// NewFeed serves a store's changes.
func NewFeed(current Current) *ChangeFeed { return &ChangeFeed{current: current} }

// Subscribe implements the contract. Each table's changes go out in order; a subscriber without credit holds up its own feed only.
func (f *ChangeFeed) Subscribe(stream analyticsv1.ChangeFeed_SubscribeServer) error {
	s, err := f.current()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	stop := context.AfterFunc(s.Context(), cancel)
	defer stop()
	var tables sync.WaitGroup
	defer tables.Wait()
	defer cancel()
	l := link.New(stream, link.Options{})
	// failed takes the first error of a table's feed, which ends the link.
	failed := make(chan error, 1)
	err = l.Run(func(in *link.Incoming) error {
		select {
		case err := <-failed:
			return err
		default:
		}
		if in.Kind != frame.Open || in.Open.Kind != linkv1.Open_KIND_TABLE {
			return store.ErrRequest.New("a subscriber sends OPEN of tables only, not %s", in.Kind)
		}
		c, err := s.Subscribe(in.Name, in.Open.AfterSeq)
		if err != nil {
			return err
		}
		if err := l.SendOpen(in.Stream, &linkv1.Open{Kind: linkv1.Open_KIND_TABLE, Name: c.Table(), AfterSeq: in.Open.AfterSeq}); err != nil {
			c.Close()
			return err
		}
		t := &tableFeed{l: l, stream: in.Stream}
		tables.Add(1)
		go func() {
			defer tables.Done()
			defer c.Close()
			for {
				if err := c.Next(ctx, func(ch store.Change) error { return t.send(ctx, ch) }); err != nil {
					if ctx.Err() == nil && !errors.Is(err, store.ErrNoTable) {
						select {
						case failed <- err:
						default:
						}
						// The subscriber sees the end and subscribes again.
						_ = l.SendClose()
					}
					return
				}
			}
		}()
		return nil
	})
	select {
	case ferr := <-failed:
		return ferr
	default:
		return err
	}
}

// tableFeed sends one table's changes.
type tableFeed struct {
	l      *link.Link
	stream uint32
	schema *arrow.Schema
	id     frame.SchemaID
	deadID frame.SchemaID
}

var deadSchema = arrow.NewSchema([]arrow.Field{{Name: rows.SeqColumn, Type: arrow.PrimitiveTypes.Int64}}, nil)

func (t *tableFeed) send(ctx context.Context, ch store.Change) error {
	h := frame.Header{Counter: ch.Pos, Stream: t.stream, Tenant: store.Tenant}
	switch ch.Kind {
	case store.ChangeRows:
		return t.rows(ctx, h, ch.Rows)
	case store.ChangeDelete:
		return t.dead(ctx, h, ch.Dead)
	case store.ChangeTruncate:
		h.Kind = frame.Truncate
		return t.frame(ctx, &h, nil)
	}
	m := &linkv1.Mark{Seq: ch.Pos}
	switch ch.Kind {
	case store.ChangeBegin:
		m.Edge = linkv1.Mark_EDGE_BEGIN
	case store.ChangeEnd:
		m.Edge = linkv1.Mark_EDGE_END
	case store.ChangeCaughtUp:
		m.Edge = linkv1.Mark_EDGE_CAUGHT_UP
	case store.ChangeDropped:
		m.Edge, m.Dropped = linkv1.Mark_EDGE_END, true
	}
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	h.Kind = frame.Mark
	return t.frame(ctx, &h, body)
}

func (t *tableFeed) frame(ctx context.Context, h *frame.Header, body []byte) error {
	b, err := frame.Append(nil, h, body)
	if err != nil {
		return err
	}
	return t.out(ctx, b)
}

// out sends a sealed frame when the subscriber has credit. Its acknowledgement changes nothing here: the subscriber remembers
// its position itself.
func (t *tableFeed) out(ctx context.Context, b []byte) error {
	return t.l.Send(ctx, b, t.stream, func(error) {})
}

func (t *tableFeed) rows(ctx context.Context, h frame.Header, rec arrow.RecordBatch) error {
	if t.schema == nil || !t.schema.Equal(rec.Schema()) {
		id, err := t.declare(rec.Schema())
		if err != nil {
			return err
		}
		t.schema, t.id = rec.Schema(), id
	}
	b, err := batch.Seal(h, t.id, rec)
	if err != nil {
		if n := rec.NumRows(); n > 1 && errors.Is(err, frame.ErrTooLarge) {
			// Rows of very different sizes; the first half's position is its own.
			half := h
			half.Counter = min(h.Counter, uint64(rec.Column(0).(*array.Int64).Value(int(n/2-1))))
			if err := t.rows(ctx, half, rec.NewSlice(0, n/2)); err != nil {
				return err
			}
			return t.rows(ctx, h, rec.NewSlice(n/2, n))
		}
		return err
	}
	return t.out(ctx, b)
}

func (t *tableFeed) declare(schema *arrow.Schema) (frame.SchemaID, error) {
	msg, err := batch.SchemaMessage(schema)
	if err != nil {
		return frame.SchemaID{}, err
	}
	id := batch.SchemaID(msg)
	return id, t.l.SendSchema(t.stream, &link.SchemaInfo{ID: id, Body: msg})
}

func (t *tableFeed) dead(ctx context.Context, h frame.Header, dead []uint64) error {
	if t.deadID == (frame.SchemaID{}) {
		id, err := t.declare(deadSchema)
		if err != nil {
			return err
		}
		t.deadID = id
	}
	seqs := make([]int64, len(dead))
	for i, q := range dead {
		seqs[i] = int64(q)
	}
	rec := array.NewRecordBatch(deadSchema, []arrow.Array{rows.Int64s(seqs)}, int64(len(seqs)))
	b, err := batch.Seal(h, t.deadID, rec)
	if err != nil {
		return err
	}
	// Seal makes BATCH frames; this one has the same body under another kind.
	h.Kind, h.Schema, h.Rows = frame.Delete, t.deadID, uint32(len(seqs))
	_, body, _, err := frame.Parse(b)
	if err != nil {
		return err
	}
	frame.Seal(b, &h, len(body))
	return t.out(ctx, b)
}
