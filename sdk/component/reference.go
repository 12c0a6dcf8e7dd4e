package component

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
	"carbonado.dev/sdk/telemetry"
)

const (
	// defaultDeadline bounds unary calls whose context has none.
	defaultDeadline = 30 * time.Second
	// retryPause is the least time between two tries of an idempotent call; a new provider ends it early.
	retryPause = 10 * time.Millisecond
	// mostLost is how many processes of a provider one idempotent call may lose: then the call itself may be what ends them.
	mostLost = 3
)

// ErrLost is the kind of a call that is not repeated any more.
var ErrLost = cause.Define("CBN-SDK-041", "A call has lost one process of its provider after the other and is not repeated.",
	"See the provider's log: what the call asks for may be what ends it.").Code(codes.Unavailable)

// Refs is all providers of one reference, best first: highest ranking, then oldest registration.
type Refs struct {
	name string
	ctx  context.Context
	// telemetry counts the calls; nil counts none.
	telemetry *telemetry.Registry

	// mu guards all below.
	mu      sync.Mutex
	bound   []*Bound
	changed chan struct{} // closed and renewed at each change
	leaving []func(context.Context, *Bound)
}

// Bound is one provider of a reference. Its generation is swapped beneath it when the provider restarts; calls wait meanwhile.
type Bound struct {
	refs     *Refs
	id       uint64
	service  string
	provider string

	// mu guards all below.
	mu         sync.Mutex
	generation uint64
	props      map[string]string
	ranking    int32
	conn       *providerConn // nil while suspended
	told       *controlv1.BindRequest
	gone       bool
	changed    chan struct{}
}

// providerConn is a connection to one generation of a provider. It closes when it is retired and its last call has ended. A condition
// (health:X=ok) has no ClientConn: there is nobody to call.
type providerConn struct {
	*grpc.ClientConn
	token string

	mu      sync.Mutex
	calls   int
	retired bool
}

func (p *providerConn) acquire() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return false
	}
	p.calls++
	return true
}

func (p *providerConn) release() {
	p.mu.Lock()
	p.calls--
	last := p.retired && p.calls == 0
	p.mu.Unlock()
	if last {
		p.close()
	}
}

func (p *providerConn) retire() {
	p.mu.Lock()
	already := p.retired
	p.retired = true
	idle := p.calls == 0
	p.mu.Unlock()
	if idle && !already {
		p.close()
	}
}

func (p *providerConn) close() {
	if p.ClientConn != nil {
		p.ClientConn.Close()
	}
}

// Ref is a reference to the best provider, whichever that is at the time of a call. It is a grpc.ClientConnInterface.
type Ref struct{ refs *Refs }

// Ref is the reference of that name under `requires`. Calls wait, up to their deadline, while there is no provider or it is being
// restarted; idempotent calls are repeated on Unavailable until then. Unary calls without a deadline get 30 s.
func (c *C) Ref(name string) *Ref { return &Ref{c.Refs(name)} }

// Kernel is the reference to the kernel's own services (sdk/proto/carbonado/kernel/v1). Every component has it.
func (c *C) Kernel() *Ref { return c.Ref("kernel") }

// Refs is the set of all providers of the reference of that name.
func (c *C) Refs(name string) *Refs {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.refs[name]
	if r == nil {
		r = NewRefs(c.ctx, name)
		c.refs[name] = r
	}
	return r
}

// All is a snapshot, best first; providers that are being restarted are in it.
func (rs *Refs) All() []*Bound {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return slices.Clone(rs.bound)
}

// Watch calls f with the present providers and again after each change, until ctx ends. Changes may be joined.
func (rs *Refs) Watch(ctx context.Context, f func([]*Bound)) {
	for {
		rs.mu.Lock()
		all, changed := slices.Clone(rs.bound), rs.changed
		rs.mu.Unlock()
		f(all)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// OnUnbind lets f be called before a provider goes for good or a better one has taken its place: it is still in All and can still be
// called, until f returns or its context ends (a few seconds; the kernel does not wait longer). A provider that crashed can't be called.
// Functions are called in the order in which they were given.
func (rs *Refs) OnUnbind(f func(ctx context.Context, leaving *Bound)) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.leaving = append(rs.leaving, f)
}

// farewell calls what OnUnbind was given.
func (rs *Refs) farewell(ctx context.Context, id uint64) {
	rs.mu.Lock()
	fs := slices.Clone(rs.leaving)
	at := slices.IndexFunc(rs.bound, func(b *Bound) bool { return b.id == id })
	var b *Bound
	if at >= 0 {
		b = rs.bound[at]
	}
	rs.mu.Unlock()
	if b == nil {
		return
	}
	for _, f := range fs {
		f(ctx, b)
	}
}

func (rs *Refs) touch() {
	slices.SortStableFunc(rs.bound, func(a, b *Bound) int {
		return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(a.id, b.id))
	})
	close(rs.changed)
	rs.changed = make(chan struct{})
}

func (b *Bound) rank() int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ranking
}

// Bound reports whether there is a provider that is not being restarted.
func (r *Ref) Bound() bool {
	for _, b := range r.refs.All() {
		if b.up() {
			return true
		}
	}
	return false
}

// Changed is closed at the next change of providers.
func (r *Ref) Changed() <-chan struct{} {
	r.refs.mu.Lock()
	defer r.refs.mu.Unlock()
	return r.refs.changed
}

// Provider is the name of the component that a call would go to; empty if none.
func (r *Ref) Provider() string {
	if all := r.refs.All(); len(all) > 0 {
		return all[0].provider
	}
	return ""
}

// best waits for a provider of the method's service, suspended or not: a reference such as "kernel" holds several services.
func (r *Ref) best(ctx context.Context, method string) (*Bound, error) {
	serviceName, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	for {
		r.refs.mu.Lock()
		bound, changed := r.refs.bound, r.refs.changed
		for _, b := range bound {
			if b.service == serviceName {
				r.refs.mu.Unlock()
				return b, nil
			}
		}
		r.refs.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ErrUnbound.New("reference %s has no provider", r.refs.name)
		case <-r.refs.ctx.Done():
			return nil, ErrUnbound.New("reference %s: this component stops", r.refs.name)
		}
	}
}

// Invoke makes a unary call on the best provider.
func (r *Ref) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	for {
		b, err := r.best(ctx, method)
		if err != nil {
			return err
		}
		err = b.Invoke(ctx, method, args, reply, opts...)
		if !b.isGone() || ctx.Err() != nil || status.Code(err) != codes.Unavailable {
			return err
		}
	}
}

// NewStream opens a stream on the best provider.
func (r *Ref) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	b, err := r.best(ctx, method)
	if err != nil {
		return nil, err
	}
	return b.NewStream(ctx, desc, method, opts...)
}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultDeadline)
}

// ID is the registry's number of the service: the same over restarts of its provider.
func (b *Bound) ID() uint64 { return b.id }

// Service is the full name of the contract.
func (b *Bound) Service() string { return b.service }

// Provider is the name of the component that provides it.
func (b *Bound) Provider() string { return b.provider }

// Generation is the provider's process generation.
func (b *Bound) Generation() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.generation
}

// Properties are the registration's.
func (b *Bound) Properties() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.props)
}

func (b *Bound) up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn != nil
}

func (b *Bound) isGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone
}

// acquire waits for a connection. The caller must release it.
func (b *Bound) acquire(ctx context.Context) (*providerConn, error) {
	for {
		b.mu.Lock()
		conn, gone, changed := b.conn, b.gone, b.changed
		b.mu.Unlock()
		switch {
		case gone:
			return nil, ErrUnbound.New("provider %s of %s is gone", b.provider, b.service)
		case conn != nil && conn.ClientConn == nil:
			return nil, ErrUnbound.New("%s is a condition: there is nobody to call", b.service)
		case conn != nil && conn.acquire():
			return conn, nil
		case conn != nil:
			continue // retired in this moment: look again
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ErrUnbound.New("provider %s of %s is being restarted", b.provider, b.service)
		case <-b.refs.ctx.Done():
			return nil, ErrUnbound.New("reference %s: this component stops", b.refs.name)
		}
	}
}

// Invoke makes a unary call on this provider.
func (b *Bound) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	var last *providerConn
	lost := 0
	for {
		conn, err := b.acquire(ctx)
		if err != nil {
			return err
		}
		err = b.refs.invoke(ctx, b, conn, method, args, reply, opts)
		conn.release()
		if status.Code(err) != codes.Unavailable || !repeatable(method) || ctx.Err() != nil {
			return err
		}
		if conn != last {
			last = conn
			if lost++; lost == mostLost {
				return ErrLost.Wrap(err, "%s has met %d processes of %s, and none has answered", method, lost, b.provider)
			}
		}
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(retryPause):
		case <-ctx.Done():
			return err
		}
	}
}

// NewStream opens a stream on this provider. The connection stays open until the stream has ended.
func (b *Bound) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := b.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if r := b.refs.telemetry; r != nil {
		ctx = service.WithTrace(telemetry.WithPeer(telemetry.With(ctx, r), b.provider))
	}
	s, err := conn.NewStream(service.WithToken(ctx, conn.token), desc, method, opts...)
	if err != nil {
		conn.release()
		return nil, err
	}
	context.AfterFunc(s.Context(), conn.release)
	return s, nil
}

var repeatableMethods sync.Map // full method -> bool

// repeatable reports whether the method's idempotency level allows a second try.
func repeatable(method string) bool {
	if v, ok := repeatableMethods.Load(method); ok {
		return v.(bool)
	}
	yes := false
	name := protoreflect.FullName(replaceSlashes(method))
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		if m, ok := d.(protoreflect.MethodDescriptor); ok {
			if o, ok := m.Options().(*descriptorpb.MethodOptions); ok {
				switch o.GetIdempotencyLevel() {
				case descriptorpb.MethodOptions_NO_SIDE_EFFECTS, descriptorpb.MethodOptions_IDEMPOTENT:
					yes = true
				}
			}
		}
	}
	repeatableMethods.Store(method, yes)
	return yes
}

// replaceSlashes turns "/a.b.Service/Method" into "a.b.Service.Method".
func replaceSlashes(method string) string {
	out := []byte(method)
	if len(out) > 0 && out[0] == '/' {
		out = out[1:]
	}
	for i, ch := range out {
		if ch == '/' {
			out[i] = '.'
		}
	}
	return string(out)
}

// NewRefs makes a reference outside of a component: for the kernel, which consumes services too. It ends with ctx or Close.
func NewRefs(ctx context.Context, name string) *Refs {
	return &Refs{name: name, ctx: ctx, telemetry: telemetry.From(ctx), changed: make(chan struct{})}
}

// Best is the reference to whichever provider is best at the time of a call.
func (rs *Refs) Best() *Ref { return &Ref{rs} }

// Bind is what the kernel's Bind does to a reference: a new provider, or a new generation or new properties of one that is bound.
func (rs *Refs) Bind(req *controlv1.BindRequest) error {
	if rs.modify(req) {
		return nil
	}
	conn := &providerConn{token: string(req.Token)}
	if req.Address != "" {
		cc, err := service.Dial(req.Address, int(req.ProviderPid), int(req.ProviderUid))
		if err != nil {
			return err
		}
		conn.ClientConn = cc
	}
	rs.mu.Lock()
	if rs.ctx.Err() != nil { // Close has been here, or is about to
		rs.mu.Unlock()
		conn.retire()
		return ErrUnbound.New("reference %s: this component stops", rs.name)
	}
	var b *Bound
	for _, have := range rs.bound {
		if have.id == req.ServiceId {
			b = have
		}
	}
	if b == nil {
		b = &Bound{refs: rs, id: req.ServiceId, service: req.Service, provider: req.Provider, changed: make(chan struct{})}
		rs.bound = append(rs.bound, b)
	}
	old := b.swap(conn, req)
	rs.touch()
	rs.mu.Unlock()
	if old != nil {
		old.retire()
	}
	return nil
}

// modify takes a Bind that changes no more than properties.
func (rs *Refs) modify(req *controlv1.BindRequest) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, b := range rs.bound {
		if b.id != req.ServiceId {
			continue
		}
		b.mu.Lock()
		same := b.conn != nil && b.generation == req.Generation && b.conn.token == string(req.Token)
		if same {
			b.props, b.ranking, b.told = req.Properties, req.Ranking, req
		}
		b.mu.Unlock()
		if same {
			rs.touch()
		}
		return same
	}
	return false
}

func (b *Bound) swap(conn *providerConn, req *controlv1.BindRequest) (old *providerConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old, b.conn = b.conn, conn
	b.generation, b.props, b.ranking, b.told = req.Generation, req.Properties, req.Ranking, req
	close(b.changed)
	b.changed = make(chan struct{})
	return old
}

// Suspend says that a provider is being restarted.
func (rs *Refs) Suspend(id uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, b := range rs.bound {
		if b.id == id {
			b.drop(false)
		}
	}
	rs.touch()
}

// Unbind says that a provider is gone for good.
func (rs *Refs) Unbind(id uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.bound = slices.DeleteFunc(rs.bound, func(b *Bound) bool {
		if b.id == id {
			b.drop(true)
		}
		return b.id == id
	})
	rs.touch()
}

func (b *Bound) drop(gone bool) {
	b.mu.Lock()
	conn := b.conn
	b.conn, b.gone = nil, gone
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
	if conn != nil {
		conn.retire()
	}
}

// Close ends all connections.
func (rs *Refs) Close() {
	for _, b := range rs.All() {
		b.mu.Lock()
		conn := b.conn
		b.conn, b.gone = nil, true
		b.mu.Unlock()
		if conn != nil && conn.ClientConn != nil && conn.GetState() != connectivity.Shutdown {
			conn.ClientConn.Close()
		}
	}
}
