// Package eventsink is the component EventSink: it turns the files of eventsink/ into tables and bindings of the store, and passes
// frames on to the store's log untouched. It must not know what events hold.
package eventsink

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Options are the component's CLI verbs: none.
var Options []component.Option

// storePatience is how long a frame waits for the store before its sender may try again.
const storePatience = 30 * time.Second

// sink is the running component.
type sink struct {
	c       *component.C
	log     hclog.Logger
	store   analyticsv1.RecordStoreClient
	events  analyticsv1.EventLogClient
	streams analyticsv1.StreamAdminClient

	producer *link.Producer
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	// mu guards byFile, byTable and their deployments' fields; changing is held, as a token, by the one that talks to the store.
	mu       sync.Mutex
	byFile   map[string]*deployment
	byTable  map[string]*deployment
	changing chan struct{}
}

// deployment is a sink in force.
type deployment struct {
	file   string
	def    *definition
	bound  map[string]*streamdef.Definition // by stream id, as last bound
	taking map[string]*component.Consumption
}

// Start makes the component.
func Start(c *component.C) error {
	s := &sink{
		c: c, log: c.Log(), changing: make(chan struct{}, 1), byFile: map[string]*deployment{}, byTable: map[string]*deployment{},
		store:   analyticsv1.NewRecordStoreClient(c.Ref("store")),
		events:  analyticsv1.NewEventLogClient(c.Ref("log")),
		streams: analyticsv1.NewStreamAdminClient(c.Ref("streams")),
	}
	component.PrepareConsumer(c)
	c.Deploys("eventsink", s)
	c.Manage(s)
	return nil
}

// Acquire opens the link to the store's log.
func (s *sink) Acquire(context.Context) error {
	if s.producer != nil { // it serves again: its successor failed
		s.c.SetHealth(component.OK, nil)
		return nil
	}
	ctx, cancel := context.WithCancel(s.c.Context())
	s.cancel = cancel
	s.producer = link.NewProducer(ctx, func(ctx context.Context) (link.Transport, error) {
		return s.events.Append(ctx, link.CallOption())
	}, link.Options{})
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.follow(ctx)
	}()
	s.c.SetHealth(component.OK, nil)
	return nil
}

// Stop ends the link; frames under way are refused, and their senders may send them again.
func (s *sink) Stop(context.Context) error {
	if s.cancel != nil {
		s.cancel()
		s.producer.Close()
	}
	s.wg.Wait()
	return nil
}

// take passes one frame on. It is acknowledged when the store has it on disk.
func (s *sink) take(in *link.Incoming) {
	ctx, cancel := context.WithTimeout(s.c.Context(), storePatience)
	defer cancel()
	err := s.producer.Send(ctx, in.Name, in.Schema, in.Bytes, func(err error) { finish(in, err) })
	if err != nil {
		in.Refuse(ErrStore.Wrap(cause.From(err), "stream %s", in.Name), true)
	}
}

func finish(in *link.Incoming, err error) {
	if err == nil {
		in.Ack()
		return
	}
	if refused, ok := err.(*link.Refused); ok {
		in.Refuse(refused.Reason, refused.Retry)
		return
	}
	in.Refuse(ErrStore.Wrap(cause.From(err), "stream %s", in.Name), true)
}

// follow watches stream definitions: one that changes is bound anew, one that is gone is no longer taken.
func (s *sink) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.watch(ctx); ctx.Err() == nil {
			s.log.Debug("watching streams ended; it begins again", "error", err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// watch ends with the reason why it can't go on.
func (s *sink) watch(ctx context.Context) error {
	w, err := s.streams.Watch(ctx, &analyticsv1.WatchStreamsRequest{Tenant: s.c.Tenant()})
	if err != nil {
		return err
	}
	for {
		m, err := w.Recv()
		if err != nil {
			return err
		}
		if m.GetDefinition() == nil || m.GetRemoved() {
			continue // a removal makes the kernel hand the sink's file over again
		}
		d, err := streamdef.FromProto(m.GetDefinition())
		if err != nil {
			s.log.Error("a stream definition that can't be read", "error", err)
			continue
		}
		if err := s.rebind(ctx, d); err != nil {
			s.log.Error("a stream that changed could not be bound anew", "stream", d.ID(), "error", err)
		}
	}
}

// rebind binds a stream whose definition changed since it was bound.
func (s *sink) rebind(ctx context.Context, d *streamdef.Definition) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.mu.Lock()
	var dep *deployment
	for _, have := range s.byTable {
		if old := have.bound[d.ID()]; old != nil && !old.Same(d) {
			dep = have
		}
	}
	s.mu.Unlock()
	if dep == nil {
		return nil
	}
	if err := s.bind(ctx, dep.def, d); err != nil {
		return err
	}
	s.mu.Lock()
	dep.bound[d.ID()] = d
	s.mu.Unlock()
	return nil
}

func (s *sink) lock(ctx context.Context) error {
	select {
	case s.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sink) unlock() { <-s.changing }

// bind tells the store which table a stream's frames go to.
func (s *sink) bind(ctx context.Context, d *definition, stream *streamdef.Definition) error {
	req := &analyticsv1.StoreBindRequest{
		Tenant: s.c.Tenant(), Stream: stream.ID(), Table: d.table, StreamSchema: databridge.NewLayout(stream).Schema.Body, Version: stream.Version,
	}
	for _, c := range stream.Columns() {
		for _, to := range d.schema.Columns {
			if to.Name == c.Name {
				req.Columns = append(req.Columns, &analyticsv1.BindingColumn{From: c.Name, To: to})
			}
		}
	}
	_, err := s.store.Bind(ctx, req)
	return err
}
