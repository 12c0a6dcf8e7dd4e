package component

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// The marker by which a component says how many services it will bring (see C.Capability), and its properties.
const (
	CapabilityService = "carbonado.kernel.v1.CapabilityProvider"
	CapabilityOf      = "capability.service"
	CapabilityCount   = "capability.count"
)

// Gate lets f be called when the gate of that name under `gates` opens: all services that it expects are there, and in bound. It is called
// once in a process, on a goroutine of its own, with a context that ends when the component stops. The services are the providers of
// c.Refs(name): what comes later is told there. Call Gate within Start.
func (c *C) Gate(name string, f func(ctx context.Context, bound []*Bound)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gates == nil {
		c.gates = map[string]func(context.Context, []*Bound){}
	}
	c.gates[name] = f
}

// Capability says that this component will bring count services of a contract: gates that expect the contract wait for that many more.
// component.yaml must provide CapabilityService, dynamic, with the property capability.service: the contract's name; gates wait for the
// number until it has been said. Zero is a number too.
func (c *C) Capability(service string, count int) (*Registration, error) {
	return c.publish(CapabilityService, "1.0.0", map[string]string{CapabilityOf: service, CapabilityCount: strconv.Itoa(count)}, false)
}

// opened calls what Gate was given, once.
func (c *C) opened(name string) {
	bound := c.Refs(name).All()
	c.mu.Lock()
	f := c.gates[name]
	delete(c.gates, name)
	c.mu.Unlock()
	if f == nil {
		return
	}
	go func() {
		defer func() {
			if r := recover(); r != nil {
				c.log.Error("panic", "in", "gate "+name, "value", fmt.Sprint(r), "stack", string(debug.Stack()))
				c.SetHealth(Critical, ErrPhase.New("the gate %s: %v", name, r))
			}
		}()
		f(c.ctx, bound)
	}()
}

// Gate implements controlv1.ComponentServer.
func (s *Control) Gate(_ context.Context, req *controlv1.GateRequest) (*controlv1.GateResponse, error) {
	s.c.opened(req.Name)
	return &controlv1.GateResponse{}, nil
}
