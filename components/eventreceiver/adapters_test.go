package eventreceiver_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	"carbonado.dev/sdk/sdktest"
)

// adapter is an input adapter of the test's: it hands messages over, waits for their outcomes, and ends a call when it is asked to.
type adapter struct {
	analyticsv1.UnimplementedInputAdapterServer
	opened  chan *analyticsv1.OpenReceiver
	message chan *analyticsv1.AdapterMessage
	outcome chan *analyticsv1.MessageOutcome
	ended   chan struct{}
	cut     atomic.Int64 // calls that were not ended in order
}

func newAdapter() *adapter {
	return &adapter{opened: make(chan *analyticsv1.OpenReceiver, 16), message: make(chan *analyticsv1.AdapterMessage), outcome: make(chan *analyticsv1.MessageOutcome, 16), ended: make(chan struct{}, 16)}
}

func (a *adapter) Receive(stream grpc.BidiStreamingServer[analyticsv1.ReceiveRequest, analyticsv1.ReceiveResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	a.opened <- first.GetOpen()
	defer func() { a.ended <- struct{}{} }()
	if err := stream.Send(&analyticsv1.ReceiveResponse{Response: &analyticsv1.ReceiveResponse_Ready{Ready: &analyticsv1.ReceiverReady{}}}); err != nil {
		return err
	}
	var open atomic.Int64 // messages without an outcome
	go func() {
		for {
			select {
			case m := <-a.message:
				open.Add(1)
				_ = stream.Send(&analyticsv1.ReceiveResponse{Response: &analyticsv1.ReceiveResponse_Message{Message: m}})
			case <-stream.Context().Done():
				return
			}
		}
	}()
	for closing := false; !closing || open.Load() > 0; {
		m, err := stream.Recv()
		if err != nil {
			a.cut.Add(1)
			return err
		}
		if m.GetClose() != nil {
			closing = true
			continue
		}
		open.Add(-1)
		a.outcome <- m.GetOutcome()
	}
	return nil
}

func receiverFile(name, adapter, mapping string) string {
	return fmt.Sprintf(`<eventReceiver name="%s"><from eventAdapterType="%s"><property name="p">v</property></from><mapping type="%s"/><to streamName="s" version="1.0.0"/></eventReceiver>`, name, adapter, mapping)
}

// TestReceiverOfAdapter: a receiver waits for its stream, opens its adapter, and answers each message when its events are stored.
func TestReceiverOfAdapter(t *testing.T) {
	a := newAdapter()
	w := newWorld(t, durableS, map[string]any{"startWait": "1ms"}, func(k *sdktest.Kernel) {
		k.Provide(&analyticsv1.InputAdapter_ServiceDesc, a, map[string]string{"adapter.type": "test"})
	})
	if state, c := w.kernel.Deploy("eventreceivers/r.xml", receiverFile("r", "test", "json")); state != waits || !strings.Contains(c.GetText(), "eventstream:s:1.0.0") {
		t.Fatalf("%v %v", state, c)
	}
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	open := <-a.opened
	if open.Name != "r" || open.Properties["p"] != "v" || open.Tenant != sdktest.Tenant {
		t.Errorf("%v", open)
	}
	if state := w.kernel.ArtifactState("eventreceivers/r.xml"); state != deployed {
		t.Errorf("%v", state)
	}
	send := func(id uint64, text string) *analyticsv1.MessageOutcome {
		a.message <- &analyticsv1.AdapterMessage{Id: id, Payload: []byte(text), ReceivedUnixMs: 7}
		return <-a.outcome
	}
	if o := send(1, `[{"event":{"payloadData":{"n":0,"t":"t0"}}},{"event":{"payloadData":{"n":1,"t":"t1"}}}]`); o.Id != 1 || o.Cause != nil || o.Events != 2 {
		t.Errorf("%v", o)
	}
	numbered(t, w.keeper.stored(), 2)
	if o := send(2, `{"event":{"payloadData":{"t":"t0"}}}`); o.Id != 2 || o.Cause.GetCode() != "CBN-RCV-053" || o.Retry || o.Cause.GetLine() != 1 {
		t.Errorf("%v", o)
	}
	w.keeper.set(func(in *link.Incoming) bool {
		in.Refuse(errors.New("for now"), true)
		return true
	})
	if o := send(3, `{"event":{"payloadData":{"n":2}}}`); o.Cause.GetCode() != "CBN-RCV-031" || !o.Retry {
		t.Errorf("%v", o)
	}
	w.keeper.set(nil)
	if state, c := w.kernel.Deploy("eventreceivers/other.xml", receiverFile("r", "test", "json")); state != faulty || c.GetCode() != "CBN-RCV-052" {
		t.Errorf("a second file of the name: %v %v", state, c)
	}
	if state, _ := w.kernel.Deploy("eventreceivers/r.xml", "<broken"); state != faulty {
		t.Errorf("%v", state)
	}
	if o := send(4, `{"event":{"payloadData":{"n":2,"t":"t2"}}}`); o.Cause != nil {
		t.Errorf("the last good one should go on: %v", o)
	}
	numbered(t, w.keeper.stored(), 3)
	w.kernel.Undeploy("eventreceivers/r.xml")
	for range len(a.opened) + 1 { // each call that was opened has ended
		select {
		case <-a.ended:
		case <-within(t).Done():
			t.Fatal("the call of an undeployed receiver is open")
		}
	}
	if n := a.cut.Load(); n > 0 {
		t.Errorf("%d calls were cut", n)
	}
}

// TestReceiverWithoutAdapter: it waits and says for what; wso2event needs none.
func TestReceiverWithoutAdapter(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.kernel.MustDeploy("eventstreams/s.json", streamS)
	if state, c := w.kernel.Deploy("eventreceivers/r.xml", receiverFile("r", "mqtt", "json")); state != waits || !strings.Contains(c.GetText(), "InputAdapter?adapter.type=mqtt") {
		t.Errorf("%v %v", state, c)
	}
	w.kernel.MustDeploy("eventreceivers/w.xml", receiverFile("w", "wso2event", "wso2event"))
	if state, c := w.kernel.Deploy("eventreceivers/x.xml", `<!DOCTYPE x><eventReceiver/>`); state != faulty || !strings.HasPrefix(c.GetCode(), "CBN-") || c.GetFile() == "" || c.GetLine() != 1 {
		t.Errorf("%v %v", state, c)
	}
}
