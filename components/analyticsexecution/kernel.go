package analyticsexecution

import (
	"context"

	"google.golang.org/grpc"

	"carbonado.dev/sdk/component"
)

// kernelService is the connection to one of the kernel's services. The reference "kernel" holds several, and a call must go by the
// link of its own service.
type kernelService struct {
	refs *component.Refs
	name string
}

func (k kernelService) find(ctx context.Context) (*component.Bound, error) {
	// Watch calls at once and at each change; it ends with the context given to it.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var found *component.Bound
	k.refs.Watch(ctx, func(all []*component.Bound) {
		for _, b := range all {
			if found == nil && b.Service() == k.name {
				found = b
				stop()
			}
		}
	})
	if found == nil {
		return nil, ErrStopping.New("the kernel's service %s is not wired", k.name)
	}
	return found, nil
}

// Invoke makes a unary call.
func (k kernelService) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b, err := k.find(ctx)
	if err != nil {
		return err
	}
	return b.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream.
func (k kernelService) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	b, err := k.find(ctx)
	if err != nil {
		return nil, err
	}
	return b.NewStream(ctx, desc, method, opts...)
}
