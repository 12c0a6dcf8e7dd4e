package cluster

import (
	"context"
	"time"

	"google.golang.org/grpc"

	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// Server is kernelv1.Coordinator on top of a Coordinator. Errors are causes, which travel with their own status code.
type Server struct {
	kernelv1.UnimplementedCoordinatorServer
	coordinator Coordinator
}

// NewServer makes the gRPC face of c.
func NewServer(c Coordinator) *Server { return &Server{coordinator: c} }

// Members implements kernelv1.CoordinatorServer.
func (s *Server) Members(ctx context.Context, _ *kernelv1.MembersRequest) (*kernelv1.MembersResponse, error) {
	list, err := s.coordinator.Members(ctx)
	if err != nil {
		return nil, err
	}
	resp := &kernelv1.MembersResponse{}
	for _, m := range list {
		resp.Members = append(resp.Members, &kernelv1.MembersResponse_Member{NodeId: m.NodeID, Address: m.Address, Self: m.Self, Leader: m.Leader})
	}
	return resp, nil
}

// Acquire implements kernelv1.CoordinatorServer.
func (s *Server) Acquire(ctx context.Context, r *kernelv1.AcquireLeaseRequest) (*kernelv1.AcquireLeaseResponse, error) {
	if r.TtlMs < MinTTL.Milliseconds() || r.TtlMs > MaxTTL.Milliseconds() {
		return nil, ErrInvalid.New("a time to live of %d ms", r.TtlMs)
	}
	l, err := s.coordinator.Acquire(ctx, r.Name, r.Holder, time.Duration(r.TtlMs)*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return &kernelv1.AcquireLeaseResponse{Granted: l.Granted, Token: l.Token, Holder: l.Holder, ExpiresUnixMs: l.Expires.UnixMilli()}, nil
}

// Release implements kernelv1.CoordinatorServer.
func (s *Server) Release(ctx context.Context, r *kernelv1.ReleaseLeaseRequest) (*kernelv1.ReleaseLeaseResponse, error) {
	if err := s.coordinator.Release(ctx, r.Name, r.Holder, r.Token); err != nil {
		return nil, err
	}
	return &kernelv1.ReleaseLeaseResponse{}, nil
}

// Get implements kernelv1.CoordinatorServer.
func (s *Server) Get(ctx context.Context, r *kernelv1.GetStateRequest) (*kernelv1.GetStateResponse, error) {
	v, err := s.coordinator.Get(ctx, r.Key)
	if err != nil {
		return nil, err
	}
	return v.response(), nil
}

// Set implements kernelv1.CoordinatorServer.
func (s *Server) Set(ctx context.Context, r *kernelv1.SetStateRequest) (*kernelv1.SetStateResponse, error) {
	if r.Delete {
		if err := s.coordinator.Delete(ctx, r.Key, r.IfVersion); err != nil {
			return nil, err
		}
		return &kernelv1.SetStateResponse{}, nil
	}
	version, err := s.coordinator.Set(ctx, r.Key, r.Value, r.IfVersion)
	if err != nil {
		return nil, err
	}
	return &kernelv1.SetStateResponse{Version: version}, nil
}

// Watch implements kernelv1.CoordinatorServer.
func (s *Server) Watch(r *kernelv1.WatchStateRequest, stream grpc.ServerStreamingServer[kernelv1.GetStateResponse]) error {
	values, err := s.coordinator.Watch(stream.Context(), r.Key)
	if err != nil {
		return err
	}
	for v := range values {
		if err := stream.Send(v.response()); err != nil {
			return err
		}
	}
	if err := stream.Context().Err(); err != nil {
		return err
	}
	return ErrClosed.New("the watch of %s ended with the coordinator", r.Key)
}

func (v Value) response() *kernelv1.GetStateResponse {
	return &kernelv1.GetStateResponse{Found: v.Found, Value: v.Bytes, Version: v.Version}
}

// CheckName refuses a key, a lease name or a holder outside the limits. Implementations call it first.
func CheckName(what, name string) error {
	if name == "" || len(name) > MaxKey {
		return ErrInvalid.New("%s of %d bytes", what, len(name))
	}
	return nil
}

// CheckLease refuses the arguments of Acquire that are outside the limits.
func CheckLease(name, holder string, ttl time.Duration) error {
	if err := CheckName("a lease name", name); err != nil {
		return err
	}
	if err := CheckName("a holder", holder); err != nil {
		return err
	}
	if ttl < MinTTL || ttl > MaxTTL {
		return ErrInvalid.New("a time to live of %s", ttl)
	}
	return nil
}

// CheckValue refuses the arguments of Set that are outside the limits.
func CheckValue(key string, value []byte) error {
	if err := CheckName("a key", key); err != nil {
		return err
	}
	if len(value) > MaxValue {
		return ErrInvalid.New("a value of %d bytes", len(value))
	}
	return nil
}
