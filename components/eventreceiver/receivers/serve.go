package receivers

import (
	"context"
	"errors"
	"sync"
	"time"

	"carbonado.dev/carbonado/components/eventreceiver/catalog"
	"carbonado.dev/carbonado/components/eventreceiver/forward"
	"carbonado.dev/carbonado/components/eventreceiver/jsonevent"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// inFlight is how many messages of one receiver are mapped and stored at once; beyond it the adapter waits.
const inFlight = 64

// serve opens one call and answers its messages until it ends. When open ends it asks the adapter to end it.
func (s *Set) serve(ctx, open context.Context, r *running, b *component.Bound) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call, err := analyticsv1.NewInputAdapterClient(b).Receive(ctx)
	if err != nil {
		return err
	}
	var sending sync.Mutex // a gRPC stream takes one Send at a time
	send := func(m *analyticsv1.ReceiveRequest) error {
		sending.Lock()
		defer sending.Unlock()
		return call.Send(m)
	}
	opening := &analyticsv1.OpenReceiver{Name: r.def.name, Properties: r.def.properties, Tenant: s.host.Tenant}
	if err := send(&analyticsv1.ReceiveRequest{Request: &analyticsv1.ReceiveRequest_Open{Open: opening}}); err != nil {
		return err
	}
	// Of what can't be sent any more the loop below sees why.
	closing := context.AfterFunc(open, func() {
		_ = send(&analyticsv1.ReceiveRequest{Request: &analyticsv1.ReceiveRequest_Close{Close: &analyticsv1.CloseReceiver{}}})
	})
	defer closing()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // before the wait: messages under way end with the call
	places := make(chan struct{}, inFlight)
	for {
		m, err := call.Recv()
		if err != nil {
			return err
		}
		switch x := m.GetResponse().(type) {
		case *analyticsv1.ReceiveResponse_Ready:
			select {
			case <-r.ready:
			default:
				close(r.ready)
			}
		case *analyticsv1.ReceiveResponse_Message:
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			wg.Go(func() {
				defer func() { <-places }()
				outcome := &analyticsv1.MessageOutcome{Id: x.Message.GetId(), Retry: true}
				if open.Err() == nil {
					outcome = s.take(ctx, r.def, x.Message)
				} else {
					outcome.Cause = cause.Proto(ErrClosing.New("receiver %s", r.def.name))
				}
				_ = send(&analyticsv1.ReceiveRequest{Request: &analyticsv1.ReceiveRequest_Outcome{Outcome: outcome}})
			})
		}
	}
}

// take maps and stores one message.
func (s *Set) take(ctx context.Context, d *definition, m *analyticsv1.AdapterMessage) *analyticsv1.MessageOutcome {
	out := &analyticsv1.MessageOutcome{Id: m.GetId()}
	rows, err := s.rows(d, m)
	if err == nil {
		if err = s.host.Store(ctx, rows); err == nil {
			out.Events = uint32(rows.Len())
			return out
		}
	}
	out.Cause = cause.Proto(err)
	out.Retry = errors.Is(err, forward.ErrNotStored) || errors.Is(err, forward.ErrNoConsumer) || errors.Is(err, catalog.ErrUnknown) || ctx.Err() != nil
	if !out.Retry {
		s.host.Log.Warn("a message was refused", "receiver", d.name, "error", err.Error())
	}
	return out
}

func (s *Set) rows(d *definition, m *analyticsv1.AdapterMessage) (*databridge.Rows, error) {
	stream, err := s.host.Streams.Get(d.stream)
	if err != nil {
		return nil, err
	}
	now := m.GetReceivedUnixMs()
	if now == 0 {
		now = time.Now().UnixMilli()
	}
	return jsonevent.Map(stream.Layout, m.GetPayload(), now)
}
