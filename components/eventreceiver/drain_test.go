package eventreceiver_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

// TestWatchEndsAtDrain: those who watch streams learn within the drain that another process is to be asked.
func TestWatchEndsAtDrain(t *testing.T) {
	w := newWorld(t, nil, nil)
	admin := analyticsv1.NewStreamAdminClient(w.receiver.Conn(analyticsv1.StreamAdmin_ServiceDesc.ServiceName))
	watch, err := admin.Watch(within(t), &analyticsv1.WatchStreamsRequest{Tenant: sdktest.Tenant})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || !m.Synced {
		t.Fatal(m, err)
	}
	if quiet := w.receiver.Drain(5 * time.Second); !quiet {
		t.Error("calls are under way after the drain")
	}
	if _, err := watch.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the watch ended with %v", err)
	}
}

// TestMessagesUnderWayEndBeforeStop: a message of an adapter that was taken has its outcome before its call ends, in order; one that
// comes later is told to come again.
func TestMessagesUnderWayEndBeforeStop(t *testing.T) {
	a := newAdapter()
	w := newWorld(t, durableS, map[string]any{"startWait": "1ms"}, func(k *sdktest.Kernel) {
		k.Provide(&analyticsv1.InputAdapter_ServiceDesc, a, map[string]string{"adapter.type": "test"})
	})
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	w.kernel.MustDeploy("eventreceivers/r.xml", receiverFile("r", "test", "json"))
	<-a.opened
	held := make(chan *link.Incoming, 1)
	w.keeper.set(func(in *link.Incoming) bool { held <- in; return true })
	send := func(id uint64) {
		a.message <- &analyticsv1.AdapterMessage{Id: id, Payload: []byte(`{"event":{"payloadData":{"n":0,"t":"t0"}}}`)}
	}
	send(1)
	in := <-held
	w.keeper.set(func(in *link.Incoming) bool { in.Refuse(errors.New("not now"), false); return true })
	stopped := make(chan error, 1)
	go func() { stopped <- w.receiver.Stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for id := uint64(2); ; id++ {
		send(id)
		o := <-a.outcome
		if o.Cause.GetCode() == "CBN-RCV-055" && o.Retry {
			break
		}
		if ctx.Err() != nil || o.Id == 1 {
			t.Fatalf("%v", o)
		}
	}
	w.keeper.keep(in)
	in.Ack()
	if o := <-a.outcome; o.Id != 1 || o.Cause != nil || o.Events != 1 {
		t.Errorf("%v", o)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	<-a.ended
	if n := a.cut.Load(); n > 0 {
		t.Errorf("%d calls were cut", n)
	}
}
