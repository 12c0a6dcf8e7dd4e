// Package eventreceiver is the component EventReceiver: Thrift on two ports, receivers behind input adapters, stream
// definitions, and the way of each batch to the consumers of its stream. It must not know what consumers do with events.
package eventreceiver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/components/eventreceiver/catalog"
	"carbonado.dev/carbonado/components/eventreceiver/cli"
	"carbonado.dev/carbonado/components/eventreceiver/forward"
	"carbonado.dev/carbonado/components/eventreceiver/receivers"
	"carbonado.dev/carbonado/components/eventreceiver/session"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/frame"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
	"carbonado.dev/sdk/telemetry"
)

// Options are the component's CLI verbs.
var Options = []component.Option{
	component.CLI("publish", "publish events, one JSON object a line, to a stream", cli.Publish),
	component.CLI("sample", "publish events of a sample: sample smart-home", cli.Sample),
}

// sweepEvery is how often idle sessions are forgotten and summed-up log lines written.
const sweepEvery = 10 * time.Second

type config struct {
	SessionIdle      string `json:"sessionIdle"`
	MaxBundle        int    `json:"maxBundle"`
	MaxConnections   int    `json:"maxConnections"`
	Hold             string `json:"hold"`
	StartWait        string `json:"startWait"`
	TLSMinVersion    string `json:"tlsMinVersion"`
	Keystore         string `json:"keystore"`
	KeystorePassword string `json:"keystorePassword"`
	KeystoreAlias    string `json:"keystoreAlias"`
}

// receiver is the running component.
type receiver struct {
	c        *component.C
	log      hclog.Logger
	config   config
	idle     time.Duration
	tls      *tls.Config
	sessions *session.Table
	streams  *catalog.Catalog
	forward  *forward.Forwarder
	inputs   *receivers.Set
	report   *report
	auth     analyticsv1.AuthenticatorClient
	files    kernelv1.ArtifactsClient

	source  frame.Source
	counter atomic.Uint64
	events  atomic.Uint64 // stored, of all transports

	// define is held, as a token, by the one that defines a stream.
	define chan struct{}

	servers   []*databridge.Server
	listeners []net.Listener
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

// Start makes the component.
func Start(c *component.C) error {
	r := &receiver{
		c: c, log: c.Log(), streams: catalog.New(), report: newReport(c.Log()), define: make(chan struct{}, 1),
		auth:  analyticsv1.NewAuthenticatorClient(c.Ref("authenticator")),
		files: kernelv1.NewArtifactsClient(c.Kernel()),
	}
	if err := c.Config(&r.config); err != nil {
		return err
	}
	var err error
	if r.idle, err = duration("sessionIdle", r.config.SessionIdle, 30*time.Minute); err != nil {
		return err
	}
	hold, err := duration("hold", r.config.Hold, 10*time.Second)
	if err != nil {
		return err
	}
	gate, err := duration("startWait", r.config.StartWait, 10*time.Second)
	if err != nil {
		return err
	}
	if r.tls, err = r.serverTLS(); err != nil {
		return err
	}
	if _, err := rand.Read(r.source[:]); err != nil {
		return err
	}
	r.sessions = session.New(r.idle, time.Now)
	r.forward = forward.New(c.Context(), forward.Timing{Hold: hold, Gate: gate}, func(msg string, args ...any) { r.log.Warn(msg, args...) })
	r.inputs = receivers.New(receivers.Host{
		Log: r.log, Tenant: c.Tenant(), Context: c.Context(), Streams: r.streams, Adapters: c.Refs("adapters"), Store: r.store,
	})
	analyticsv1.RegisterStreamAdminServer(c, &streamAdmin{r: r})
	component.ServeHTTP(c, "/streams", r.routes())
	c.Deploys("eventstream", &streamFiles{r: r})
	c.Deploys("eventreceiver", r.inputs)
	c.Manage(r)
	r.handOver()
	return nil
}

func duration(key, text string, def time.Duration) (time.Duration, error) {
	if text == "" {
		return def, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, component.ErrConfig.New("%s is %q; a positive duration as 30m is needed", key, text)
	}
	return d, nil
}

// Acquire begins to serve.
func (r *receiver) Acquire(context.Context) error {
	if r.cancel != nil { // it serves again: its successor failed
		return r.openPorts()
	}
	ctx, cancel := context.WithCancel(r.c.Context())
	r.cancel = cancel
	r.forward.Open()
	r.goes(func() { r.c.Refs("consumers").Watch(ctx, r.forward.Set) })
	r.goes(func() { r.inputs.Run(ctx) })
	r.goes(func() { r.sweep(ctx) })
	return r.openPorts()
}

// openPorts serves both Thrift ports.
func (r *receiver) openPorts() error {
	r.servers, r.listeners = nil, nil
	for _, port := range []struct {
		name string
		tls  *tls.Config
	}{{"thrift", nil}, {"thriftSSL", r.tls}} {
		if port.name == "thriftSSL" && port.tls == nil {
			r.log.Warn("no TLS pair: the secure Thrift port does not serve, so nobody can log in")
			continue
		}
		l, err := r.c.Listener(port.name)
		if err != nil {
			return err
		}
		s := &databridge.Server{
			Handler: &thriftHandler{r}, TLS: port.tls, Report: r.report.call,
			Idle: r.idle, MaxBundle: r.config.MaxBundle, MaxConnections: r.config.MaxConnections,
		}
		s.Prepare()
		r.servers, r.listeners = append(r.servers, s), append(r.listeners, l)
		r.log.Info("Thrift port", "name", port.name, "address", l.Addr().String())
		r.goes(func() {
			if err := s.Serve(r.c.Context(), l); err != nil {
				r.log.Error("Thrift port ended", "name", port.name, "error", err)
				r.c.SetHealth(component.Critical, err)
			}
		})
	}
	r.c.SetHealth(component.OK, nil)
	return nil
}

func (r *receiver) goes(f func()) {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		f()
	}()
}

// sweep forgets idle sessions and writes the report's sums.
func (r *receiver) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.sessions.Sweep()
			r.report.flush()
		case <-ctx.Done():
			return
		}
	}
}

// Drain lets calls under way be answered and takes no more.
func (r *receiver) Drain(ctx context.Context) error {
	var failure error
	for i, s := range r.servers {
		drain := s.Drain
		if r.c.Replaced() {
			drain = s.Park
		}
		if err := drain(ctx, r.listeners[i]); err != nil {
			failure = err
		}
	}
	return failure
}

// Release lets go of the ports.
func (r *receiver) Release(context.Context) error {
	for _, l := range r.listeners {
		_ = l.Close()
	}
	return nil
}

// stopPatience bounds the wait for the outcomes of messages under way.
const stopPatience = 3 * time.Second

// Stop ends links and receivers.
func (r *receiver) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	r.inputs.Close(ctx)
	if r.cancel != nil {
		r.cancel()
	}
	for _, s := range r.servers {
		s.Close()
	}
	r.forward.Close()
	r.wg.Wait()
	r.report.flush()
	r.log.Info("stopped", "events", r.events.Load())
	return nil
}

// stamp names a bundle of this process.
func (r *receiver) stamp() databridge.Stamp {
	return databridge.Stamp{Source: r.source, Counter: r.counter.Add(1), Tenant: r.c.Tenant()}
}

// store forwards events that came from an input adapter; nil means that all are stored.
func (r *receiver) store(ctx context.Context, rows *databridge.Rows) (err error) {
	stamp := r.stamp()
	if t := r.c.Telemetry(); t.Tracing() {
		span, trace := t.Start(telemetry.TraceFrom(ctx), "receive events", diagv1.Span_KIND_SERVER)
		stamp.Trace = frame.Trace(trace)
		defer func() { span.End(err) }()
	}
	parts, err := rows.Parts(stamp, nil)
	if err != nil {
		return err
	}
	if err := r.forward.Forward(ctx, parts); err != nil {
		return err
	}
	r.events.Add(uint64(rows.Len()))
	return nil
}
