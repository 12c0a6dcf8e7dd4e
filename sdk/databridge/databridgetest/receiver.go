// Package databridgetest is a receiver in memory for tests of agents and of the protocol: the real server with a handler that keeps
// what it takes. It must not know components.
package databridgetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"carbonado.dev/sdk/databridge"
	"carbonado.dev/sdk/databridge/streamdef"
	"carbonado.dev/sdk/frame"
)

// User and Password that a Receiver knows.
const (
	User     = "admin"
	Password = "correct horse"
)

// Receiver is a handler in memory behind a plain and a TLS port. Set its hooks before the first client comes.
type Receiver struct {
	// Before, if set, is called for each bundle before it is stored; its error is the answer.
	Before func(n int, b *databridge.Bundle) error
	// After, if set, is called when it is stored; its error is the answer.
	After func(n int, b *databridge.Bundle) error

	Plain, Secure string // addresses
	// ClientTLS trusts the secure port.
	ClientTLS *tls.Config

	t       testing.TB
	cert    tls.Certificate
	stop    func()
	servers []*databridge.Server
	// listeners of servers, in the same order.
	listeners []net.Listener

	// mu guards all below.
	mu       sync.Mutex
	streams  map[string]*databridge.Layout
	sessions map[string]bool
	calls    int
	seen     map[key]bool
	rows     []string
	reports  []error
	logins   int
}

type key struct {
	source  frame.Source
	counter uint64
}

// NewReceiver listens on two free ports; the login port is the plain one plus 100 as agents assume. It ends with the test.
func NewReceiver(t testing.TB, streams ...string) *Receiver {
	t.Helper()
	r := &Receiver{t: t, streams: map[string]*databridge.Layout{}, sessions: map[string]bool{}, seen: map[key]bool{}}
	for _, s := range streams {
		r.Define(s)
	}
	cert, pool := certificate(t)
	r.cert, r.ClientTLS = cert, &tls.Config{RootCAs: pool}
	plain, secure := listeners(t)
	r.serve(plain, secure, cert)
	t.Cleanup(func() { r.Stop() })
	return r
}

// listeners finds a port that is free together with the one 100 above.
func listeners(t testing.TB) (plain, secure net.Listener) {
	t.Helper()
	for range 100 {
		p, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := p.Addr().(*net.TCPAddr).Port
		if port+100 < 65536 {
			if s, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+100)); err == nil {
				return p, s
			}
		}
		p.Close()
	}
	t.Fatal("no two free ports with a distance of 100")
	return nil, nil
}

func (r *Receiver) serve(plain, secure net.Listener, cert tls.Certificate) {
	r.Plain, r.Secure = plain.Addr().String(), secure.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	r.servers, r.listeners = nil, nil
	for l, cfg := range map[net.Listener]*tls.Config{plain: nil, secure: {Certificates: []tls.Certificate{cert}}} {
		s := &databridge.Server{Handler: r, TLS: cfg, Report: r.report, Idle: time.Minute, Patience: 5 * time.Second}
		s.Prepare()
		r.servers, r.listeners = append(r.servers, s), append(r.listeners, l)
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := s.Serve(ctx, l); err != nil {
				r.report("", "serve", err)
			}
		}()
	}
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			wg.Wait()
		})
	}
}

// Stop ends the receiver at once, as a crash does.
func (r *Receiver) Stop() { r.stop() }

// Restart listens again at the addresses of before, with what was stored and without sessions. Call Stop first.
func (r *Receiver) Restart() {
	r.t.Helper()
	r.ExpireSessions()
	var ls [2]net.Listener
	for i, address := range []string{r.Plain, r.Secure} {
		var err error
		if ls[i], err = net.Listen("tcp", address); err != nil {
			r.t.Fatal(err)
		}
	}
	r.serve(ls[0], ls[1], r.cert)
}

// Break closes every open connection.
func (r *Receiver) Break() {
	for _, s := range r.servers {
		s.CloseConnections()
	}
}

func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}, pool
}

// Define makes a stream known.
func (r *Receiver) Define(text string) {
	d, _, err := streamdef.Parse("", []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams[d.ID()] = databridge.NewLayout(d)
}

// ExpireSessions forgets all sessions.
func (r *Receiver) ExpireSessions() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.sessions)
}

// Rows are the stored events, "stream col=value …", in the order of their arrival. A repeated bundle is stored once.
func (r *Receiver) Rows() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.rows...)
}

// Calls is how many bundles came, repeats included; Logins how many clients connected.
func (r *Receiver) Calls() (bundles, logins int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls, r.logins
}

// Reports are the errors that the server reported.
func (r *Receiver) Reports() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]error(nil), r.reports...)
}

func (r *Receiver) report(_, _ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, err)
}

// Connect implements databridge.Handler.
func (r *Receiver) Connect(_ context.Context, _, user, password string) (string, error) {
	if user != User || password != Password {
		return "", databridge.NewFault(databridge.Authentication, errors.New("wrong user or password"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logins++
	id := fmt.Sprintf("session-%d", r.logins)
	r.sessions[id] = true
	return id, nil
}

// Disconnect implements databridge.Handler.
func (r *Receiver) Disconnect(_ context.Context, session string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, session)
	return nil
}

// Alive implements databridge.Handler.
func (r *Receiver) Alive(session []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[string(session)]
}

// DefineStream implements databridge.Handler.
func (r *Receiver) DefineStream(_ context.Context, session, definition string) (string, error) {
	if !r.Alive([]byte(session)) {
		return "", databridge.NewFault(databridge.SessionExpired, databridge.ErrSession.New("define"))
	}
	d, _, err := streamdef.Parse("", []byte(definition))
	if err != nil {
		return "", databridge.NewFault(databridge.MalformedDefinition, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.streams[d.ID()]; have != nil && !have.Definition.Same(d) {
		return "", databridge.NewFault(databridge.DifferentDefinition, streamdef.ErrDifferent.New("stream %s", d.ID()))
	}
	r.streams[d.ID()] = databridge.NewLayout(d)
	return d.ID(), nil
}

// FindStreamID implements databridge.Handler.
func (r *Receiver) FindStreamID(_ context.Context, session, name, version string) (string, error) {
	if !r.Alive([]byte(session)) {
		return "", databridge.NewFault(databridge.SessionExpired, databridge.ErrSession.New("find"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.streams[name+":"+version]; l != nil {
		return l.ID, nil
	}
	return "", databridge.NewFault(databridge.NoDefinition, errors.New("no stream "+name))
}

// DeleteStream implements databridge.Handler.
func (r *Receiver) DeleteStream(_ context.Context, session, id string) (bool, error) {
	if !r.Alive([]byte(session)) {
		return false, databridge.NewFault(databridge.SessionExpired, databridge.ErrSession.New("delete"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, existed := r.streams[id]
	delete(r.streams, id)
	return existed, nil
}

// Publish implements databridge.Handler.
func (r *Receiver) Publish(_ context.Context, b *databridge.Bundle) error {
	r.mu.Lock()
	r.calls++
	n := r.calls
	r.mu.Unlock()
	if r.Before != nil {
		if err := r.Before(n, b); err != nil {
			return err
		}
	}
	if err := r.store(b); err != nil {
		return databridge.NewFault(databridge.UndefinedEventType, err)
	}
	if r.After != nil {
		return r.After(n, b)
	}
	return nil
}

func (r *Receiver) store(b *databridge.Bundle) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	parts, err := b.Transpose(func(id []byte) *databridge.Layout { return r.streams[string(id)] }, 1, databridge.Stamp{}, nil)
	if err != nil {
		return err
	}
	defer databridge.FreeParts(parts)
	k := key{b.Source, b.Counter}
	if b.HasID && r.seen[k] {
		return nil
	}
	r.seen[k] = b.HasID
	for _, p := range parts {
		rows, err := Decode(p)
		if err != nil {
			return err
		}
		r.rows = append(r.rows, rows...)
	}
	return nil
}

// Decode reads a part with the Arrow library: "stream column=value …" a row, "null" for nulls.
func Decode(p databridge.Part) ([]string, error) {
	_, body, _, err := frame.Parse(p.Frame)
	if err != nil {
		return nil, err
	}
	reader, err := ipc.NewReader(bytes.NewReader(append(append([]byte(nil), p.Layout.Schema.Body...), body...)))
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	batch, err := reader.Read()
	if err != nil {
		return nil, err
	}
	var out []string
	for row := range int(batch.NumRows()) {
		text := p.Layout.ID
		for c := range int(batch.NumCols()) {
			cell := "null"
			if col := batch.Column(c); col.IsValid(row) {
				cell = col.ValueStr(row)
			}
			text += " " + batch.ColumnName(c) + "=" + cell
		}
		out = append(out, text)
	}
	return out, nil
}

// Drain ends the receiver in order.
func (r *Receiver) Drain(ctx context.Context) error {
	var all error
	for i, s := range r.servers {
		all = errors.Join(all, s.Drain(ctx, r.listeners[i]))
	}
	return all
}
