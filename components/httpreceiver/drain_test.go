package httpreceiver

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

// patience is how long anything is waited for before a test fails.
const patience = 20 * time.Second

// phases tells when the drain begins and asks something at its end.
type phases struct {
	began   chan struct{}
	drained func()
}

func (p *phases) Drain(context.Context) error   { close(p.began); return nil }
func (p *phases) Release(context.Context) error { p.drained(); return nil }

// underWay opens the receiver "orders" and posts a request, whose outcome is awaited.
func underWay(t *testing.T, c *sdktest.Component) (r *call, m *analyticsv1.AdapterMessage, answer chan reply) {
	t.Helper()
	r, err := open(t, c, "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer = inBackground(t, c.HTTP(sdktest.Admin()), "/endpoints/orders", "{}")
	return r, r.message(), answer
}

// TestReceiversEndAtDrain: a request under way is answered, then its receiver's call ends in order, within the drain.
func TestReceiversEndAtDrain(t *testing.T) {
	ended := make(chan error, 1)
	p := &phases{began: make(chan struct{})}
	p.drained = func() {
		select {
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				t.Errorf("the call ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("a receiver's call is open after the drain")
		}
	}
	k := sdktest.NewKernel(t)
	c := k.Start(func(c *component.C) error {
		c.Manage(p)
		return Start(c)
	})
	r, m, answer := underWay(t, c)
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop() }()
	<-p.began
	go func() {
		_, err := r.stream.Recv()
		ended <- err
	}()
	r.outcome(&analyticsv1.MessageOutcome{Id: m.Id, Events: 1})
	if got := <-answer; got.status != 200 || got.body.Events != 1 {
		t.Errorf("%+v", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestReceiverIsTakenOver: what the old event receiver does not take any more goes to the new one's call of the same receiver.
func TestReceiverIsTakenOver(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start)
	old, m, answer := underWay(t, c)
	next, err := open(t, c, "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	old.outcome(&analyticsv1.MessageOutcome{Id: m.Id, Retry: true, Cause: errBad.New("not any more").Proto()})
	next.outcome(&analyticsv1.MessageOutcome{Id: next.message().Id, Events: 2})
	if got := <-answer; got.status != 200 || got.body.Events != 2 {
		t.Errorf("%+v", got)
	}
}

// TestReceiverIsClosed: an event receiver that ends its call loses no outcome, and is sent no more messages.
func TestReceiverIsClosed(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start)
	r, m, answer := underWay(t, c)
	admin := c.HTTP(sdktest.Admin())
	for range 2 { // asked twice, it closes once
		if err := r.stream.Send(&analyticsv1.ReceiveRequest{Request: &analyticsv1.ReceiveRequest_Close{Close: &analyticsv1.CloseReceiver{}}}); err != nil {
			t.Fatal(err)
		}
	}
	// What the adapter sends before it knows is refused, and posts after that are not sent at all.
	ended := make(chan error, 1)
	go func() {
		for {
			late, err := r.stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			r.outcome(&analyticsv1.MessageOutcome{Id: late.GetMessage().GetId(), Retry: true, Cause: errBad.New("not any more").Proto()})
		}
	}()
	for end := time.Now().Add(patience); ; {
		got := post(t, admin, "/endpoints/orders", "{}")
		if got.status == 503 && got.body.Cause.GetCode() == ErrBusy.ID() {
			break
		}
		if got.status != 503 || time.Now().After(end) {
			t.Fatalf("%+v", got)
		}
	}
	r.outcome(&analyticsv1.MessageOutcome{Id: m.Id, Events: 1})
	if got := <-answer; got.status != 200 || got.body.Events != 1 {
		t.Errorf("%+v", got)
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the call ended with %v", err)
	}
}

// TestNextProcessWaitsForItsReceivers: a request that comes before the event receiver has opened its receivers anew waits for them.
func TestNextProcessWaitsForItsReceivers(t *testing.T) {
	k := sdktest.NewKernel(t)
	c := k.Start(Start).Restart()
	admin := c.HTTP(sdktest.Admin())
	answer := inBackground(t, admin, "/endpoints/orders", "{}")
	if _, err := open(t, c, "other", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-answer:
		t.Fatalf("answered %+v", got)
	default:
	}
	r, err := open(t, c, "orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.outcome(&analyticsv1.MessageOutcome{Id: r.message().Id, Events: 3})
	if got := <-answer; got.status != 200 || got.body.Events != 3 {
		t.Errorf("%+v", got)
	}
}
