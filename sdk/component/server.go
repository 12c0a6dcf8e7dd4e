package component

import (
	"context"
	"path/filepath"

	"carbonado.dev/sdk/link"
	"carbonado.dev/sdk/service"
)

// serviceServer is the component's svc.sock, checked against component.yaml.
type serviceServer struct {
	*service.Server
	c    *C
	desc *Descriptor
}

// newServiceServer makes the socket's server in the component's run folder.
func newServiceServer(c *C, desc *Descriptor) (*serviceServer, error) {
	// Callers may be users of their own. Who gets as far as the socket is a matter of its folder, which the kernel makes.
	s, err := service.New(c.ctx, c.Name(), c.log, filepath.Join(c.cfg.RunFolder, "svc.sock"), service.ForAllUsers(true))
	if err != nil {
		return nil, err
	}
	return &serviceServer{Server: s, c: c, desc: desc}, nil
}

// start serves what Start registered.
func (s *serviceServer) start() error {
	if err := s.check(); err != nil {
		return err
	}
	for _, svc := range s.c.services {
		s.RegisterService(svc.desc, svc.impl)
	}
	return s.Start()
}

// CallerFrom is the name of the component that made the call, as the kernel introduced it; "kernel" for the kernel itself.
func CallerFrom(ctx context.Context) string { return service.CallerFrom(ctx) }

// Draining is for handlers of streams that have no end of their own: a watch, a request over HTTP whose answer goes on. It is closed when
// the stream is to end in order, because another process takes over or the component stops; the handler returns nil, and its consumer opens
// the stream anew. A handler that goes on keeps the old process for ten seconds. ctx is the call's; nil for another one.
func Draining(ctx context.Context) <-chan struct{} { return link.Draining(ctx) }

// check compares registrations with component.yaml.
func (s *serviceServer) check() error {
	if s.desc == nil {
		return nil
	}
	registered := map[string]bool{}
	for _, svc := range s.c.services {
		registered[svc.desc.ServiceName] = true
	}
	for _, p := range s.desc.Provides {
		if p.Service == CapabilityService {
			continue
		}
		if !registered[p.Service] {
			return ErrMismatch.New("%s provides %s in component.yaml but registers no implementation", s.desc.Name, p.Service)
		}
		delete(registered, p.Service)
	}
	for name := range registered {
		return ErrMismatch.New("%s registers %s, which component.yaml does not provide", s.desc.Name, name)
	}
	return nil
}

// publishStatic publishes what component.yaml provides and doesn't mark dynamic.
func (s *serviceServer) publishStatic() error {
	if s.desc == nil {
		return nil
	}
	for _, p := range s.desc.Provides {
		if p.Dynamic {
			continue
		}
		if _, err := s.c.publish(p.Service, p.Version, p.Properties, p.Exported); err != nil {
			return err
		}
	}
	return nil
}
