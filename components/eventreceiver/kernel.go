package eventreceiver

import (
	"context"

	"google.golang.org/grpc"

	"carbonado.dev/sdk/component"
)

// serviceOf is the part of a reference that provides one service: the reference "kernel" binds several services of the kernel, each
// with a token of its own.
type serviceOf struct {
	refs    *component.Refs
	service string
}

// find waits for the provider of the service.
func (s serviceOf) find(ctx context.Context) (*component.Bound, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var found *component.Bound
	s.refs.Watch(ctx, func(bounds []*component.Bound) {
		for _, b := range bounds {
			if b.Service() == s.service {
				found = b
				cancel()
				return
			}
		}
	})
	if found == nil {
		return nil, component.ErrUnbound.New("service %s has no provider", s.service)
	}
	return found, nil
}

// Invoke implements grpc.ClientConnInterface.
func (s serviceOf) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	b, err := s.find(ctx)
	if err != nil {
		return err
	}
	return b.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (s serviceOf) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	b, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	return b.NewStream(ctx, desc, method, opts...)
}
