// Package httpreceiver is the component HTTPReceiver: the input adapter "http", which takes POST /endpoints/<receiver> and answers when
// the events are stored. It must not know streams or mappings.
package httpreceiver

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Options are the component's CLI verbs: none.
var Options []component.Option

// Errors of the adapter.
var (
	ErrOpen      = cause.Define("CBN-RCV-070", "A receiver can't be opened at the http adapter.", "Correct the receiver's properties.").Code(codes.InvalidArgument)
	ErrNone      = cause.Define("CBN-RCV-071", "There is no such http receiver.", "Deploy a file in eventreceivers with eventAdapterType=\"http\" and that name.").Code(codes.NotFound)
	ErrTransport = cause.Define("CBN-RCV-072", "A receiver does not take this transport.", "Use the other of http and https, or change the receiver's property transports.").Code(codes.PermissionDenied)
	ErrBusy      = cause.Define("CBN-RCV-073", "A receiver has too many requests under way, or its events could not be stored in time.", "Send the request again after a while.").Code(codes.Unavailable)
	ErrTooLarge  = cause.Define("CBN-RCV-074", "A request is too large.", "Send fewer events in one request.").Code(codes.ResourceExhausted)
	ErrPublisher = cause.Define("CBN-RCV-075", "A user may not publish events.", "Grant the permission /permission/admin/publish/wso2event to one of the user's roles.").Code(codes.PermissionDenied)
)

// adapter is the running component.
type adapter struct {
	analyticsv1.UnimplementedInputAdapterServer
	c   *component.C
	log hclog.Logger
	// config is replaced as a whole when the operator changes it.
	config atomic.Pointer[config]

	// mu guards all below.
	mu        sync.Mutex
	serving   time.Time // when Acquire came
	receivers map[string]*receiver
	opened    chan struct{} // closed and renewed when a receiver is opened
	requests  int           // under way
	quiet     chan struct{} // closed and renewed when none is
}

// openPatience is how long after its start a process that is not the first waits for a receiver that it does not know: the event receiver
// opens them anew.
const openPatience = 5 * time.Second

type config struct {
	MaxBody  int64  `json:"maxBody"`
	InFlight int    `json:"inFlight"`
	Timeout  string `json:"timeout"`

	timeout time.Duration
}

// readConfig reads the configuration as it stands now.
func readConfig(c *component.C) (*config, error) {
	var out config
	if err := c.Config(&out); err != nil {
		return nil, err
	}
	var err error
	if out.timeout, err = time.ParseDuration(out.Timeout); err != nil || out.timeout <= 0 {
		return nil, component.ErrConfig.New("timeout is %q; a positive duration as 25s is needed", out.Timeout)
	}
	return &out, nil
}

// Modified takes another configuration; requests under way keep theirs.
func (a *adapter) Modified(context.Context) error {
	next, err := readConfig(a.c)
	if err == nil {
		a.config.Store(next)
	}
	return err
}

// Start makes the component.
func Start(c *component.C) error {
	a := &adapter{c: c, log: c.Log(), receivers: map[string]*receiver{}, opened: make(chan struct{}), quiet: make(chan struct{})}
	if err := a.Modified(c.Context()); err != nil {
		return err
	}
	analyticsv1.RegisterInputAdapterServer(c, a)
	component.ServeHTTP(c, "/endpoints", a.routes(), component.HTTPTransports("http,https"))
	return nil
}

// Acquire begins to serve.
func (a *adapter) Acquire(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serving = time.Now()
	return nil
}

// begin counts a request; the function that it gives ends it.
func (a *adapter) begin() (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.requests--; a.requests == 0 {
			close(a.quiet)
			a.quiet = make(chan struct{})
		}
	}
}

// whenQuiet is closed when no request is under way.
func (a *adapter) whenQuiet() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.requests > 0 {
		return a.quiet
	}
	none := make(chan struct{})
	close(none)
	return none
}

// find is the receiver of a name; nil if there is none.
func (a *adapter) find(ctx context.Context, name string) *receiver {
	for {
		a.mu.Lock()
		r, opened := a.receivers[name], a.opened
		left := openPatience - time.Since(a.serving)
		a.mu.Unlock()
		if r != nil || left <= 0 || a.c.Generation() <= 1 {
			return r
		}
		select {
		case <-opened:
		case <-time.After(left):
		case <-component.Draining(ctx):
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// successor is the receiver that was opened in place of r; nil if none was.
func (a *adapter) successor(r *receiver) *receiver {
	a.mu.Lock()
	defer a.mu.Unlock()
	if next := a.receivers[r.name]; next != r {
		return next
	}
	return nil
}

// receiver is one opened receiver: a call of the event receiver.
type receiver struct {
	name       string
	transports map[string]bool
	places     chan struct{} // one per message under way
	send       chan *analyticsv1.AdapterMessage
	closing    chan struct{} // closed when the event receiver takes no more messages
	answered   chan struct{} // closed when closing is and nobody waits for an outcome
	ended      chan struct{}
	next       atomic.Uint64

	// mu guards all below.
	mu      sync.Mutex
	closed  bool
	waiting map[uint64]chan *analyticsv1.MessageOutcome
}

// Receive implements analyticsv1.InputAdapterServer: one call is one receiver.
func (a *adapter) Receive(stream grpc.BidiStreamingServer[analyticsv1.ReceiveRequest, analyticsv1.ReceiveResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil || open.GetName() == "" {
		return ErrOpen.New("the first message does not open a receiver")
	}
	if open.GetTenant() != a.c.Tenant() {
		return ErrOpen.New("receiver %s is of tenant %d", open.GetName(), open.GetTenant())
	}
	r := &receiver{
		name: open.GetName(), places: make(chan struct{}, a.config.Load().InFlight), send: make(chan *analyticsv1.AdapterMessage),
		closing: make(chan struct{}), answered: make(chan struct{}), ended: make(chan struct{}), waiting: map[uint64]chan *analyticsv1.MessageOutcome{},
	}
	if r.transports, err = transports(open.GetProperties()["transports"]); err != nil {
		return err
	}
	if open.GetProperties()["basicAuthEnabled"] == "false" {
		a.log.Warn("basicAuthEnabled=false is passed over: every request is signed in", "receiver", r.name)
	}
	a.mu.Lock()
	// A new call of the same receiver takes over: the event receiver was restarted.
	a.receivers[r.name] = r
	close(a.opened)
	a.opened = make(chan struct{})
	a.mu.Unlock()
	defer a.forget(r)
	if err := stream.Send(&analyticsv1.ReceiveResponse{Response: &analyticsv1.ReceiveResponse_Ready{Ready: &analyticsv1.ReceiverReady{}}}); err != nil {
		return err
	}
	requests := make(chan error, 1)
	go func() { requests <- r.requests(stream) }()
	// Requests under way are answered before the call ends for another process.
	draining, quiet := component.Draining(stream.Context()), (<-chan struct{})(nil)
	send, closing := r.send, r.closing
	for {
		select {
		case m := <-send:
			if err := stream.Send(&analyticsv1.ReceiveResponse{Response: &analyticsv1.ReceiveResponse_Message{Message: m}}); err != nil {
				return err
			}
		case err := <-requests:
			return err
		case <-closing:
			closing, send = nil, nil
		case <-r.answered:
			return nil
		case <-draining:
			draining, quiet = nil, a.whenQuiet()
		case <-quiet:
			return nil
		case <-a.c.Context().Done():
			return nil
		}
	}
}

func transports(text string) (map[string]bool, error) {
	switch text {
	case "", "all":
		return map[string]bool{"http": true, "https": true}, nil
	case "http", "https":
		return map[string]bool{text: true}, nil
	}
	return nil, ErrOpen.New("property transports is %.40q; all, http and https are possible", text)
}

func (a *adapter) forget(r *receiver) {
	a.mu.Lock()
	if a.receivers[r.name] == r {
		delete(a.receivers, r.name)
	}
	a.mu.Unlock()
	close(r.ended)
}

// requests hands each outcome to the request that waits for it, until the call ends.
func (r *receiver) requests(stream grpc.BidiStreamingServer[analyticsv1.ReceiveRequest, analyticsv1.ReceiveResponse]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch x := m.GetRequest().(type) {
		case *analyticsv1.ReceiveRequest_Outcome:
			r.settle(x.Outcome.GetId(), x.Outcome)
		case *analyticsv1.ReceiveRequest_Close:
			r.close()
		default:
			return ErrOpen.New("receiver %s was opened twice on one call", r.name)
		}
	}
}

// close lets no more messages be sent.
func (r *receiver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	close(r.closing)
	if len(r.waiting) == 0 {
		close(r.answered)
	}
}

// enter makes somebody wait for the outcome of a message; false if no more are sent.
func (r *receiver) enter(id uint64, waiter chan *analyticsv1.MessageOutcome) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.waiting[id] = waiter
	}
	return !r.closed
}

// settle ends the wait for the outcome of a message, if somebody waits.
func (r *receiver) settle(id uint64, outcome *analyticsv1.MessageOutcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiter := r.waiting[id]
	if waiter == nil {
		return
	}
	waiter <- outcome // has room for one
	delete(r.waiting, id)
	if r.closed && len(r.waiting) == 0 {
		close(r.answered)
	}
}

// deliver sends one message and waits for its outcome. It answers ErrBusy if there is no place, no time or no call; taken tells whether
// the event receiver may have it.
func (r *receiver) deliver(ctx context.Context, m *analyticsv1.AdapterMessage) (_ *analyticsv1.MessageOutcome, taken bool, _ error) {
	select {
	case r.places <- struct{}{}:
		defer func() { <-r.places }()
	default:
		return nil, false, ErrBusy.New("receiver %s has %d requests under way", r.name, cap(r.places))
	}
	m.Id = r.next.Add(1)
	outcome := make(chan *analyticsv1.MessageOutcome, 1)
	if !r.enter(m.Id, outcome) {
		return nil, false, ErrBusy.New("receiver %s is being restarted", r.name)
	}
	defer r.settle(m.Id, nil)
	select {
	case r.send <- m:
	case <-r.closing:
		return nil, false, ErrBusy.New("receiver %s is being restarted", r.name)
	case <-r.ended:
		return nil, false, ErrBusy.New("receiver %s is being restarted", r.name)
	case <-ctx.Done():
		return nil, false, late(ctx, r.name)
	}
	select {
	case o := <-outcome:
		return o, true, nil
	case <-r.ended:
		select {
		case o := <-outcome: // it came before the end
			return o, true, nil
		default:
			return nil, true, ErrBusy.New("receiver %s was restarted; the events may be stored", r.name)
		}
	case <-ctx.Done():
		return nil, true, late(ctx, r.name)
	}
}

func late(ctx context.Context, name string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ErrBusy.New("the request to receiver %s was given up", name)
	}
	return ErrBusy.New("receiver %s did not store the events in time; they may be stored later", name)
}
