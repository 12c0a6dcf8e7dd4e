package component

import (
	"context"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
)

// Modified takes another configuration while the component serves. It is called when the operator changed keys that component.yaml names
// under `modified`; C's Config, String, Int and Bool give the new values already. An error refuses it: the old configuration holds again,
// and the component's cause says so. Whoever was told of the new one before the refusal is told once more, of the old one. Calls of services
// go on meanwhile.
type Modified interface{ Modified(context.Context) error }

// Modified implements controlv1.ComponentServer.
func (s *Control) Modified(ctx context.Context, req *controlv1.ModifiedRequest) (*controlv1.ModifiedResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseAcquired {
		return nil, ErrPhase.New("Modified in phase %d", s.phase)
	}
	var takers []Modified
	for _, m := range s.c.managedObjects() {
		if t, ok := m.(Modified); ok {
			takers = append(takers, t)
		}
	}
	if len(takers) == 0 {
		return nil, status.Errorf(codes.Unimplemented, "%s has nothing that takes another configuration", s.c.Name())
	}
	old := s.c.conf.Load()
	next := append([]byte(nil), req.ConfigJson...)
	s.c.conf.Store(&next)
	for i, t := range takers {
		if err := s.modified(ctx, t); err != nil {
			s.c.conf.Store(old)
			for _, t := range takers[:i] {
				if back := s.modified(ctx, t); back != nil {
					s.c.log.Error("the old configuration is not taken back", "error", back)
				}
			}
			return nil, cause.From(err)
		}
	}
	return &controlv1.ModifiedResponse{}, nil
}

func (s *Control) modified(ctx context.Context, t Modified) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.c.log.Error("panic", "in", "Modified", "value", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = service.ErrPanic.New("Modified of %s: %v", s.c.Name(), r)
		}
	}()
	return t.Modified(ctx)
}
