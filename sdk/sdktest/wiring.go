package sdktest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
)

func (c *Component) configJSON() []byte {
	values := map[string]any{}
	for key, p := range c.desc.Config.Properties {
		if p.Default != nil {
			values[key] = p.Default
		}
	}
	maps.Copy(values, c.opts.config)
	b, err := json.Marshal(values)
	if err != nil {
		c.k.t.Fatal(err)
	}
	return b
}

// watchStream receives a component's events.
type watchStream struct {
	grpc.ServerStream
	ctx context.Context
	c   *Component
}

func (w *watchStream) Context() context.Context { return w.ctx }

func (w *watchStream) Send(ev *controlv1.ComponentEvent) error {
	k, c := w.c.k, w.c
	k.mu.Lock()
	defer k.mu.Unlock()
	switch e := ev.Event.(type) {
	case *controlv1.ComponentEvent_Health:
		c.health = e.Health
	case *controlv1.ComponentEvent_Published:
		k.publish(c, e.Published)
	case *controlv1.ComponentEvent_Withdrawn:
		k.services = slices.DeleteFunc(k.services, func(p *published) bool { return p.owner == c && p.local == e.Withdrawn.LocalId })
	case *controlv1.ComponentEvent_Synced:
		// What the last generation published and this one doesn't is gone.
		k.services = slices.DeleteFunc(k.services, func(p *published) bool { return p.owner == c && p.local == 0 })
		close(c.synced)
	}
	k.rewire()
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

// publish takes a registration: new, changed, or taken over from the last generation.
func (k *Kernel) publish(c *Component, s *controlv1.ServicePublished) {
	for _, p := range k.services {
		if p.owner == c && p.local == s.LocalId {
			p.props = s.Properties
			return
		}
	}
	for _, p := range k.services {
		if p.owner == c && p.local == 0 && p.service == s.Service && maps.Equal(p.props, s.Properties) {
			p.local, p.suspended = s.LocalId, false
			return
		}
	}
	k.services = append(k.services, &published{id: k.id(), owner: c, local: s.LocalId, service: s.Service, props: s.Properties})
}

func (r *requirement) fits(p *published) bool {
	return r.Service == p.service && r.Filter.Matches(p.props)
}

// rewire makes the bindings of all components what they should be; k.mu is held.
func (k *Kernel) rewire() {
	ctx, cancel := context.WithTimeout(k.ctx, 5*time.Second)
	defer cancel()
	want := map[wireKey]*published{}
	for _, c := range k.components {
		requires := append([]requirement{
			{Name: "kernel", Service: "carbonado.kernel.v1.Coordinator"}, {Name: "kernel", Service: "carbonado.kernel.v1.Artifacts"},
		}, c.desc.Requires...)
		for _, g := range c.desc.Gates {
			requires = append(requires, g.all()...)
		}
		for i := range requires {
			for _, p := range k.services {
				if requires[i].fits(p) && p.owner != c {
					want[wireKey{c, requires[i].Name, p.id}] = p
				}
			}
		}
	}
	for key := range k.wires {
		if want[key] == nil {
			if slices.Contains(k.components, key.consumer) {
				_, _ = key.consumer.control.Unbind(ctx, &controlv1.UnbindRequest{Reference: key.reference, ServiceId: key.service})
			}
			delete(k.wires, key)
		}
	}
	for key, p := range want {
		k.connect(ctx, key, p)
	}
	k.openGates(ctx)
}

// connect admits, binds, suspends or renews one wire.
func (k *Kernel) connect(ctx context.Context, key wireKey, p *published) {
	have := k.wires[key]
	if p.suspended {
		if have != nil && have.generation != 0 {
			_, _ = key.consumer.control.Suspend(ctx, &controlv1.SuspendRequest{Reference: key.reference, ServiceId: p.id})
			have.generation = 0
		}
		return
	}
	generation := uint64(1)
	if p.owner != nil {
		generation = p.owner.generation
	}
	if have != nil && have.generation == generation && p.owner != nil && have.token != nil {
		return
	}
	if have != nil && p.owner == nil {
		return
	}
	w := &wire{token: make([]byte, 32), generation: generation}
	_, _ = rand.Read(w.token)
	address, provider := k.own.Address(), "kernel"
	admit := &controlv1.AdmitRequest{Token: w.token, Consumer: key.consumer.desc.Name, Service: p.service, ConsumerPid: int32(os.Getpid()), ConsumerUid: int32(os.Getuid())}
	if p.owner != nil {
		address, provider = p.owner.address, p.owner.desc.Name
		if _, err := p.owner.control.Admit(ctx, admit); err != nil {
			k.t.Errorf("admit: %v", err)
			return
		}
	} else {
		k.own.Admit(admit)
	}
	k.wires[key] = w
	if _, err := key.consumer.control.Bind(ctx, &controlv1.BindRequest{
		Reference: key.reference, ServiceId: p.id, Generation: generation, Service: p.service, Properties: p.props,
		Provider: provider, Address: address, Token: w.token, ProviderPid: int32(os.Getpid()), ProviderUid: int32(os.Getuid()),
	}); err != nil {
		k.t.Errorf("bind: %v", err)
	}
}

// testConn calls a component's service as the kernel would.
type testConn struct {
	*grpc.ClientConn
	token string
}

func (c *testConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConn.Invoke(service.WithToken(ctx, c.token), method, args, reply, opts...)
}

func (c *testConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConn.NewStream(service.WithToken(ctx, c.token), desc, method, opts...)
}

// Conn is a connection to one service of the component, as the consumer "kernel". It closes with the test.
func (c *Component) Conn(serviceName string) grpc.ClientConnInterface {
	return c.ConnAs("kernel", serviceName)
}

// ConnAs is Conn under another consumer's name.
func (c *Component) ConnAs(consumer, serviceName string) grpc.ClientConnInterface {
	c.k.t.Helper()
	token := make([]byte, 32)
	_, _ = rand.Read(token)
	ctx, cancel := context.WithTimeout(c.k.ctx, deadline)
	defer cancel()
	if _, err := c.control.Admit(ctx, &controlv1.AdmitRequest{Token: token, Consumer: consumer, Service: serviceName, ConsumerPid: int32(os.Getpid()), ConsumerUid: int32(os.Getuid())}); err != nil {
		c.k.t.Fatal(err)
	}
	cc, err := service.Dial(c.address, os.Getpid(), os.Getuid())
	if err != nil {
		c.k.t.Fatal(err)
	}
	c.k.t.Cleanup(func() { cc.Close() })
	return &testConn{cc, string(token)}
}
