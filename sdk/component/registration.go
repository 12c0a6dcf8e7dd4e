package component

import (
	"maps"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// Registration is one published service: the same implementation may be published several times under different properties
// (the whiteboard).
type Registration struct {
	c  *C
	id uint64
	// service and ranking don't change; props are guarded by c.mu.
	service string
	ranking int32
	props   map[string]string
}

// Publish announces a service that Start registered with RegisterService, under properties of its own. Use it for services that
// component.yaml marks `dynamic: true`; the others are published by themselves after Acquire.
func (c *C) Publish(serviceName string, props map[string]string) (*Registration, error) {
	return c.publish(serviceName, "", props, false)
}

func (c *C) publish(serviceName, version string, props map[string]string, exported bool) (*Registration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := serviceName == CapabilityService // a marker: nobody calls it
	for _, s := range c.services {
		found = found || s.desc.ServiceName == serviceName
	}
	if !found {
		return nil, ErrMismatch.New("%s publishes %s without having registered it", c.cfg.Name, serviceName)
	}
	c.nextLocal++
	r := &Registration{c: c, id: c.nextLocal, service: serviceName, props: maps.Clone(props)}
	c.published[r.id] = r
	c.events.publish(&controlv1.ServicePublished{LocalId: r.id, Service: serviceName, Version: version, Properties: maps.Clone(props), Exported: exported})
	return r, nil
}

// Update replaces the registration's properties.
func (r *Registration) Update(props map[string]string) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.published[r.id] != r {
		return
	}
	r.props = maps.Clone(props)
	r.c.events.publish(&controlv1.ServicePublished{LocalId: r.id, Service: r.service, Properties: maps.Clone(props), Ranking: r.ranking})
}

// Withdraw ends the registration. Calling it twice is no error.
func (r *Registration) Withdraw() {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.published[r.id] != r {
		return
	}
	delete(r.c.published, r.id)
	r.c.events.withdraw(r.id)
}

func (c *C) withdrawAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.published {
		delete(c.published, id)
		c.events.withdraw(id)
	}
}
