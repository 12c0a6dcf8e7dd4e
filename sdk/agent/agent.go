// Package agent publishes events to receivers over Thrift, as WSO2's data agents do, without losing any in silence: each event
// ends acknowledged, which means stored, or is reported with a reason. It must not know what receivers do with events.
//
//	a, err := agent.New(agent.Options{URLs: "tcp://localhost:7611", Username: "admin", Password: secret})
//	err = a.Publish(ctx, agent.Event{Stream: "org.acme.orders:1.0.0", Values: []any{int32(7), "Oslo"}})
//	err = a.Close(ctx)
package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/telemetry"
)

// Errors of the agent.
var (
	ErrOptions  = cause.Define("CBN-RCV-080", "An agent's options are wrong.", "See agent.Options.").Code(codes.InvalidArgument)
	ErrEvent    = cause.Define("CBN-RCV-081", "An event can't be encoded.", "Values are int32, int64, float32, float64, bool, string or nil.").Code(codes.InvalidArgument)
	ErrFull     = cause.Define("CBN-RCV-082", "The agent's queue is full.", "Publish more slowly, wait with Publish, or raise Options.Queue.").Code(codes.ResourceExhausted)
	ErrClosed   = cause.Define("CBN-RCV-083", "The agent is closed.", "Give Close more time to send what is queued.").Code(codes.Unavailable)
	ErrUnsure   = cause.Define("CBN-RCV-084", "Events were sent but not acknowledged.", "They may be stored; sending them again with the same agent would have been safe, with another it may repeat them.").Code(codes.Unknown)
	ErrRefused  = cause.Define("CBN-RCV-085", "A receiver refused events.", "See the receiver's reason in the text.")
	ErrLogin    = cause.Define("CBN-RCV-086", "A receiver refused the login.", "Check user, password and the permission to publish.").Code(codes.Unauthenticated)
	ErrGaveUp   = cause.Define("CBN-RCV-087", "Events could not be sent in time.", "See whether a receiver runs, or raise Options.GiveUp.").Code(codes.Unavailable)
	ErrReceiver = cause.Define("CBN-RCV-088", "A receiver does not answer as it should.", "See whether a receiver runs at the address.").Code(codes.Unavailable)
)

// MaxBundle is the most events in one bundle, as for WSO2's agents.
const MaxBundle = 200

// Event is one event. The agent keeps it until it is settled: don't change Values or Arbitrary after publishing.
type Event struct {
	// Stream is "name:version".
	Stream string
	// Time in milliseconds since 1970; 0 is the time of arrival.
	Time int64
	// Values of the meta, correlation and payload attributes, in the definition's order: int32 (int), int64 (long), float32
	// (float), float64 (double), bool, string, or nil.
	Values []any
	// Arbitrary data; may be nil.
	Arbitrary map[string]string
}

// Options of an agent. URLs are needed, and Username and Password, or Credentials.
type Options struct {
	// URLs of receivers, "tcp://host:7611" or "ssl://host:7711". `a|b` is failover in that order, `a,b` spreads the load; groups
	// `{a|b},{c,d}` each get every event.
	URLs string
	// AuthURLs are where to log in, of the same structure. Empty: for tcp://host:port it is ssl://host:port+100.
	AuthURLs           string
	Username, Password string
	// Credentials, if set, is asked at each login, for passwords that don't last.
	Credentials func(context.Context) (username, password string, err error)
	// TLS for ssl:// URLs; nil trusts the system's authorities.
	TLS *tls.Config
	// Queue is how many events may wait in each group (default 32,768).
	Queue int
	// Bundle is how many events are sent at once (default and most: 200).
	Bundle int
	// Connections to each endpoint (default 1). With more than one, events may overtake each other.
	Connections int
	// Reconnect is the time between two tries to reach an endpoint (default 1 s), and after which failover looks whether an
	// earlier endpoint is back (30 times that).
	Reconnect time.Duration
	// Timeout bounds each call to a receiver (default 30 s).
	Timeout time.Duration
	// GiveUp is how long after publishing an event that could not be sent is reported as failed. 0: never, the queue fills and
	// Publish waits.
	GiveUp time.Duration
	// Settled, if set, is told of each bundle's end: nil is acknowledged. The slice must not be kept. With several groups it is
	// called once for each. It may be called from several goroutines and must not call the agent.
	Settled func(events []Event, err error)
	// Trace, if set, is asked for each bundle that is sent, the same one again after a failure included: the trace (W3C Trace Context) that
	// receiver and store go on with, for example telemetry.ParseTrace of a traceparent. A zero one is none. The slice must not be kept.
	Trace func(events []Event) telemetry.Trace
}

// Stats are an agent's counters. Every event that Publish or TryPublish took is, per group, Acknowledged, Failed, or Waiting.
type Stats struct {
	// Events by group and outcome.
	Acknowledged, Failed, Waiting uint64
	// Full counts events that TryPublish did not take.
	Full uint64
	// Bundles acknowledged, Resends of bundles, Logins and Connects made.
	Bundles, Resends, Logins, Connects uint64
}

// Agent is safe for concurrent use.
type Agent struct {
	opts   Options
	groups []*group
	source [16]byte
	next   atomic.Uint64 // counter of the last bundle
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	acked, failed, full                atomic.Uint64
	bundles, resends, logins, connects atomic.Uint64
}

// New starts an agent. It does not wait for a receiver: see Connect.
func New(opts Options) (*Agent, error) {
	groups, err := parseURLs(opts.URLs, opts.AuthURLs)
	if err != nil {
		return nil, err
	}
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&opts.Queue, 32768)
	def(&opts.Bundle, MaxBundle)
	def(&opts.Connections, 1)
	if opts.Bundle > MaxBundle {
		return nil, ErrOptions.New("a bundle of %d events; at most %d are possible", opts.Bundle, MaxBundle)
	}
	if opts.Reconnect <= 0 {
		opts.Reconnect = time.Second
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 30 * time.Second
	}
	a := &Agent{opts: opts}
	_, _ = rand.Read(a.source[:]) // crypto/rand.Read never fails
	a.ctx, a.cancel = context.WithCancel(context.Background())
	for _, spec := range groups {
		g := newGroup(a, spec)
		a.groups = append(a.groups, g)
		for _, s := range g.senders() {
			a.wg.Add(1)
			go func() {
				defer a.wg.Done()
				s.run(a.ctx)
			}()
		}
	}
	return a, nil
}

// Connect logs in to an endpoint of each group and answers why not. Agents do so by themselves when there is something to send; call
// it to know early.
func (a *Agent) Connect(ctx context.Context) error {
	for _, g := range a.groups {
		var last error
		for _, e := range g.endpoints {
			if _, last = e.login(ctx, ""); last == nil {
				break
			}
		}
		if last != nil {
			return last
		}
	}
	return nil
}

// Publish queues an event for every group. It waits while a queue is full, until ctx ends or the agent is closed; then the event was
// not taken by the groups whose queue was full, and the error says so. nil does not mean stored: see Options.Settled and Flush.
func (a *Agent) Publish(ctx context.Context, e Event) error {
	if err := check(&e); err != nil {
		return err
	}
	for _, g := range a.groups {
		if err := g.put(ctx, e, true); err != nil {
			return err
		}
	}
	return nil
}

// TryPublish is Publish that does not wait: ErrFull if any group's queue is full, and then no group has taken the event.
func (a *Agent) TryPublish(e Event) error {
	if err := check(&e); err != nil {
		return err
	}
	for i, g := range a.groups {
		if !g.reserve() {
			for _, r := range a.groups[:i] {
				r.unreserve()
			}
			a.full.Add(1)
			return ErrFull.New("%d events wait for %s", a.opts.Queue, g.name)
		}
	}
	for _, g := range a.groups {
		if err := g.putReserved(e); err != nil {
			return err
		}
	}
	return nil
}

// DefineStream defines a stream at one endpoint of each group; text is a definition in JSON. It answers the stream's id.
func (a *Agent) DefineStream(ctx context.Context, text string) (string, error) {
	id := ""
	for _, g := range a.groups {
		var last error
		for _, e := range g.endpoints {
			if id, last = e.defineStream(ctx, text); last == nil || !retryable(last) {
				break
			}
		}
		if last != nil {
			return "", last
		}
	}
	return id, nil
}

// Flush waits until every event published before is settled, acknowledged or failed.
func (a *Agent) Flush(ctx context.Context) error {
	for _, g := range a.groups {
		if err := g.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close takes no more events and sends what is queued until ctx ends. What is left then is reported as failed: ErrClosed, or
// ErrUnsure if it was sent and no answer had come. It answers an error if there was any such.
func (a *Agent) Close(ctx context.Context) error {
	for _, g := range a.groups {
		g.close()
	}
	err := a.Flush(ctx)
	a.cancel()
	a.wg.Wait()
	for _, g := range a.groups {
		g.abandon()
		for _, e := range g.endpoints {
			e.logout()
		}
	}
	if err != nil {
		return ErrClosed.Wrap(err, "not all events were sent before the agent was closed")
	}
	return nil
}

// Stats are the counters now.
func (a *Agent) Stats() Stats {
	s := Stats{
		Acknowledged: a.acked.Load(), Failed: a.failed.Load(), Full: a.full.Load(),
		Bundles: a.bundles.Load(), Resends: a.resends.Load(), Logins: a.logins.Load(), Connects: a.connects.Load(),
	}
	for _, g := range a.groups {
		s.Waiting += uint64(g.waiting())
	}
	return s
}

// settle ends a bundle.
func (a *Agent) settle(b *bundle, err error) {
	if err == nil {
		a.acked.Add(uint64(len(b.events)))
		a.bundles.Add(1)
	} else {
		a.failed.Add(uint64(len(b.events)))
	}
	if a.opts.Settled != nil {
		a.opts.Settled(b.events, err)
	}
	b.group.settled(b)
}
