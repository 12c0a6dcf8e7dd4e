package crashtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/databridge/wire"
)

// The tests' own stream and table. Each event has its own number.
const (
	streamID = "crash.events:1.0.0"
	table    = "CRASH_EVENTS"

	streamFile = `{"name": "crash.events", "version": "1.0.0", "payloadData": [
  {"name": "n", "type": "LONG"}, {"name": "part", "type": "INT"}, {"name": "label", "type": "STRING"}]}`
	sinkFile = `<EventStoreConfiguration>
  <TableSchema>
    <ColumnDefinition><Name>n</Name><EnableIndexing>true</EnableIndexing><IsPrimaryKey>false</IsPrimaryKey><EnableScoreParam>false</EnableScoreParam><IsFacet>false</IsFacet><Type>LONG</Type></ColumnDefinition>
    <ColumnDefinition><Name>part</Name><EnableIndexing>true</EnableIndexing><IsPrimaryKey>false</IsPrimaryKey><EnableScoreParam>false</EnableScoreParam><IsFacet>false</IsFacet><Type>INTEGER</Type></ColumnDefinition>
    <ColumnDefinition><Name>label</Name><EnableIndexing>false</EnableIndexing><IsPrimaryKey>false</IsPrimaryKey><EnableScoreParam>false</EnableScoreParam><IsFacet>false</IsFacet><Type>STRING</Type></ColumnDefinition>
  </TableSchema>
  <Source><StreamId>crash.events:1.0.0</StreamId></Source>
  <MergeSchema>false</MergeSchema>
  <RecordStoreName>EVENT_STORE</RecordStoreName>
</EventStoreConfiguration>`
)

// stream deploys the tests' stream and its sink.
func (l *lab) stream() {
	l.t.Helper()
	l.write("deployment/server/eventstreams/crash.events_1.0.0.json", streamFile)
	l.write("deployment/server/eventsink/crash_events.xml", sinkFile)
	l.deployed("eventstreams/crash.events_1.0.0.json")
	l.deployed("eventsink/crash_events.xml")
}

// trust is the TLS configuration for the server's own certificate, which outlives the server.
func (l *lab) trust() *tls.Config {
	l.t.Helper()
	if l.certificate != nil {
		return l.certificate
	}
	var c struct{ Certificate string }
	if err := l.ask(http.MethodPost, "/api/credentials", map[string]string{"purpose": "publish"}, &c); err != nil {
		l.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.Certificate)) {
		l.t.Fatal("the node's certificate is no PEM")
	}
	l.certificate = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	return l.certificate
}

// load is a source of events with numbers 1, 2, 3 … at a steady pace, until settle.
type load struct {
	l      *lab
	stop   context.CancelFunc
	ended  chan struct{}
	label  string
	agent  *agent.Agent // nil for a plain client
	plain  *plainClient
	mu     sync.Mutex
	sent   int64
	acked  int64
	failed []error
	// longest is the longest that one publish has taken, for a plain client until the acknowledgement.
	longest time.Duration
}

// pace is events each tick; 10 ms a tick.
const (
	pace = 30
	tick = 10 * time.Millisecond
)

// agentLoad publishes by sdk/agent.
func (l *lab) agentLoad() *load {
	l.t.Helper()
	x := &load{l: l, label: strings.Repeat("x", 60)}
	a, err := agent.New(agent.Options{
		URLs: "tcp://" + l.port(7611), AuthURLs: "ssl://" + l.port(7711), TLS: l.trust(), Username: adminUser, Password: adminPassword,
		Queue: 4000, Reconnect: 100 * time.Millisecond,
		Settled: func(events []agent.Event, err error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			if err != nil {
				x.failed = append(x.failed, err)
				return
			}
			x.acked += int64(len(events))
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	x.agent = a
	x.run(func(ctx context.Context, from, to int64) error {
		for n := from; n <= to; n++ {
			if err := a.Publish(ctx, agent.Event{Stream: streamID, Values: []any{n, int32(n % 7), x.label}}); err != nil {
				return fmt.Errorf("event %d: %w", n, err)
			}
		}
		return nil
	})
	return x
}

// plainLoad publishes as an agent does that knows nothing of field 100: a bundle that got no answer is sent again.
func (l *lab) plainLoad() *load {
	l.t.Helper()
	x := &load{l: l, label: strings.Repeat("y", 60), plain: &plainClient{secure: l.port(7711), plain: l.port(7611), tls: l.trust()}}
	x.run(func(ctx context.Context, from, to int64) error {
		if err := x.plain.publish(ctx, from, to, x.label); err != nil {
			return err
		}
		x.mu.Lock()
		x.acked += to - from + 1
		x.mu.Unlock()
		return nil
	})
	return x
}

func (x *load) run(publish func(ctx context.Context, from, to int64) error) {
	ctx, cancel := context.WithCancel(context.Background())
	x.stop, x.ended = cancel, make(chan struct{})
	x.l.t.Cleanup(x.abandon)
	go func() {
		defer close(x.ended)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// What was begun is finished after the stop, so that `sent` is what was taken.
			limit, end := context.WithTimeout(context.WithoutCancel(ctx), patience)
			x.mu.Lock()
			from := x.sent + 1
			x.mu.Unlock()
			begun := time.Now()
			err := publish(limit, from, from+pace-1)
			end()
			x.mu.Lock()
			x.longest = max(x.longest, time.Since(begun))
			if err != nil {
				x.failed = append(x.failed, err)
				x.mu.Unlock()
				return
			}
			x.sent += pace
			x.mu.Unlock()
		}
	}()
}

// abandon ends the load of a test that failed.
func (x *load) abandon() {
	x.stop()
	if x.agent != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = x.agent.Close(now)
	}
	<-x.ended
}

func (x *load) counts() (sent, acked int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent, x.acked
}

// moved waits until n more events are acknowledged.
func (x *load) moved(n int64) {
	x.l.t.Helper()
	_, before := x.counts()
	x.l.wait(fmt.Sprintf("%d more acknowledged events", n), func() error {
		sent, acked := x.counts()
		if acked < before+n {
			return fmt.Errorf("%d of %d sent, %d before", acked, sent, before)
		}
		return nil
	})
}

// settle stops the load and waits until all that was sent is acknowledged; nothing may have failed. It answers how many.
func (x *load) settle() int64 {
	x.l.t.Helper()
	x.stop()
	<-x.ended
	if x.agent != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := x.agent.Close(ctx); err != nil {
			x.l.t.Errorf("the agent ends with losses: %v", err)
		}
		s := x.agent.Stats()
		x.l.t.Logf("agent: %+v", s)
		if s.Waiting != 0 || s.Failed != 0 {
			x.l.t.Errorf("the agent ends with events that are not acknowledged: %+v", s)
		}
	}
	sent, acked := x.counts()
	if sent != acked || len(x.failed) > 0 {
		x.l.t.Fatalf("%d sent, %d acknowledged, failures: %v", sent, acked, x.failed)
	}
	return acked
}

// exactly wants numbers 1 to n in the table, each once, and as many documents in the index.
func (l *lab) exactly(n int64) {
	l.t.Helper()
	l.stored(n, true)
	l.wait("the index to hold what the table holds", func() error {
		got, err := l.searchCount(table, "*:*")
		if err == nil && got > n {
			l.t.Fatalf("the index holds %d documents of %d events", got, n)
		}
		if err == nil && got != n {
			err = fmt.Errorf("%d of %d documents", got, n)
		}
		return err
	})
	const part = 3
	want, err := l.query(fmt.Sprintf("SELECT count(*) FROM %s WHERE part = %d", table, part))
	if err != nil {
		l.t.Fatal(err)
	}
	if got, err := l.searchCount(table, fmt.Sprint("part:", part)); err != nil || got != want[0] {
		l.t.Errorf("the index finds %d documents of part %d, the table has %d: %v", got, part, want[0], err)
	}
}

// stored compares the set of numbers: all of 1 to n, and each of them once if once.
func (l *lab) stored(n int64, once bool) {
	l.t.Helper()
	row, err := l.query("SELECT count(*), count(DISTINCT n), min(n), max(n), sum(DISTINCT n) FROM " + table)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Logf("%d events acknowledged; table: %d rows, %d numbers", n, row[0], row[1])
	if row[1] != n || row[2] != 1 || row[3] != n || row[4] != n*(n+1)/2 {
		l.t.Errorf("acknowledged are 1 to %d; the table has %d numbers from %d to %d with sum %d, want %d", n, row[1], row[2], row[3], row[4], n*(n+1)/2)
	}
	if once && row[0] != n || row[0] < n {
		l.t.Errorf("%d rows of %d events", row[0], n)
	}
}

// plainClient is a client made of generated code alone: no bundle identity, a resend repeats.
type plainClient struct {
	secure, plain string
	tls           *tls.Config
	session       string
	client        *wire.ThriftSecureEventTransmissionServiceClient
	transport     thrift.TTransport
	repeats       int
}

const callTimeout = 20 * time.Second

// dial opens a connection; nil TLS is plain.
func dial(address string, conf *tls.Config) (*wire.ThriftSecureEventTransmissionServiceClient, thrift.TTransport, error) {
	c := &thrift.TConfiguration{ConnectTimeout: 5 * time.Second, SocketTimeout: callTimeout, TLSConfig: conf}
	var socket thrift.TTransport
	if conf == nil {
		socket = thrift.NewTSocketConf(address, c)
	} else {
		socket = thrift.NewTSSLSocketConf(address, c)
	}
	buffered := thrift.NewTBufferedTransport(socket, 1<<16)
	if err := buffered.Open(); err != nil {
		return nil, nil, err
	}
	p := thrift.NewTBinaryProtocolConf(buffered, c)
	return wire.NewThriftSecureEventTransmissionServiceClient(thrift.NewTStandardClient(p, p)), buffered, nil
}

// login opens a session.
func (c *plainClient) login(ctx context.Context, password string) error {
	client, transport, err := dial(c.secure, c.tls)
	if err != nil {
		return err
	}
	defer transport.Close()
	c.session, err = client.Connect(ctx, adminUser, password)
	return err
}

// publish sends until it is acknowledged.
func (c *plainClient) publish(ctx context.Context, from, to int64, label string) error {
	for {
		err := c.try(ctx, from, to, label)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("events %d to %d: %w", from, to, err)
		}
		c.repeats++
		if c.transport != nil {
			c.transport.Close()
			c.client, c.transport = nil, nil
		}
		c.session = ""
		pause()
	}
}

func (c *plainClient) try(ctx context.Context, from, to int64, label string) error {
	if c.session == "" {
		if err := c.login(ctx, adminPassword); err != nil {
			return err
		}
	}
	if c.client == nil {
		var err error
		if c.client, c.transport, err = dial(c.plain, nil); err != nil {
			return err
		}
	}
	return c.client.Publish(ctx, bundle(c.session, from, to, label))
}

// bundle is one of WSO2's: attributes by type, stream id and time first.
func bundle(session string, from, to int64, label string) *wire.ThriftEventBundle {
	b := wire.NewThriftEventBundle()
	events := int32(to - from + 1)
	b.SessionId, b.EventNum = &session, &events
	for n := from; n <= to; n++ {
		b.StringAttributeList = append(b.StringAttributeList, streamID, label)
		b.LongAttributeList = append(b.LongAttributeList, time.Now().UnixMilli(), n)
		b.IntAttributeList = append(b.IntAttributeList, int32(n%7))
	}
	return b
}
