package conform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"carbonado.dev/carbonado/runtime/pluginkit"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
)

// raw carries messages as their bytes, under protobuf's content subtype.
type raw struct{}

var _ encoding.Codec = raw{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// admission is one token for one service.
type admission struct {
	service string
	token   []byte
}

// admitAll admits this process to every service that the component provides, before it serves.
func (s *suite) admitAll(ctx context.Context, p *process) (out []admission) {
	s.check("admit", func() (string, error) {
		if len(s.descriptor.Provides) == 0 {
			return "it provides no service", errNone
		}
		seen := map[string]bool{}
		for _, provided := range s.descriptor.Provides {
			if seen[provided.Service] {
				continue
			}
			seen[provided.Service] = true
			a := admission{provided.Service, token()}
			for range 2 { // the same token twice is one admission
				if err := s.admit(ctx, p, a, os.Getpid()); err != nil {
					return "", fmt.Errorf("Admit after Configure: %w", err)
				}
			}
			out = append(out, a)
		}
		return "answered after Configure, and a second time", nil
	})
	return out
}

func (s *suite) admit(ctx context.Context, p *process, a admission, pid int) error {
	_, err := called(ctx, s, p.control.Admit, &controlv1.AdmitRequest{
		Token: a.token, Consumer: "conform", Service: a.service, ConsumerPid: int32(pid), ConsumerUid: int32(os.Geteuid()),
	})
	return err
}

// contract finds a service's description: in the package, or among the SDK's own.
func (s *suite) contract(name string) protoreflect.ServiceDescriptor {
	for _, p := range s.descriptor.Provides {
		if p.Service != name || p.Contract == "" {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(s.folder, filepath.FromSlash(p.Contract))); err == nil {
			if d, err := pluginkit.FindService(b, name); err == nil {
				return d
			}
		}
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	sd, _ := d.(protoreflect.ServiceDescriptor)
	return sd
}

// harmless tells whether a method may be called at will: it is unary and says that it has no side effects.
func harmless(m protoreflect.MethodDescriptor) bool {
	o, ok := m.Options().(*descriptorpb.MethodOptions)
	return ok && !m.IsStreamingClient() && !m.IsStreamingServer() && o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

// method is a unary method to try: a harmless one, or else any, of which only calls that must be refused are made.
func method(sd protoreflect.ServiceDescriptor) (name string, safe bool) {
	for i := range sd.Methods().Len() {
		m := sd.Methods().Get(i)
		full := "/" + string(sd.FullName()) + "/" + string(m.Name())
		if harmless(m) {
			return full, true
		}
		if name == "" && !m.IsStreamingClient() && !m.IsStreamingServer() {
			name = full
		}
	}
	return name, false
}

// caller makes raw calls on a service socket.
type caller struct {
	s    *suite
	conn *grpc.ClientConn
}

func (c caller) call(ctx context.Context, method string, token, body []byte) error {
	return c.s.within(ctx, func(ctx context.Context) error {
		if token != nil {
			ctx = service.WithToken(ctx, string(token))
		}
		var answer []byte
		return c.conn.Invoke(ctx, method, &body, &answer, grpc.ForceCodec(raw{}))
	})
}

// refused wants that a call was refused for want of a right.
func refused(what string, err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return nil
	case codes.OK:
		return fmt.Errorf("%s is answered", what)
	}
	return fmt.Errorf("%s is not refused with PERMISSION_DENIED: %w", what, err)
}

// passed wants that a call came through; what the component says to it is its own affair.
func passed(what string, err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.Unavailable, codes.ResourceExhausted:
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// services checks the service socket with every contract that has a unary method.
func (s *suite) services(ctx context.Context, p *process, admitted []admission) {
	conn, err := service.Dial(p.address, p.cmd.Process.Pid, os.Geteuid())
	if err != nil {
		s.check("service", func() (string, error) { return "", err })
		return
	}
	defer conn.Close()
	c := caller{s, conn}
	for _, a := range admitted {
		sd := s.contract(a.service)
		if sd == nil {
			s.check("service", func() (string, error) { return a.service + " has no contract in the package", errNone })
			continue
		}
		if name, safe := method(sd); name != "" { // streams: see links
			s.service(ctx, p, c, a, name, safe)
		}
	}
	s.check("service.contract", func() (string, error) { return s.registered(ctx, p, c) })
}

// service checks one service by one of its methods.
func (s *suite) service(ctx context.Context, p *process, c caller, a admission, name string, safe bool) {
	s.check("service.token", func() (string, error) {
		if err := refused("a call of "+name+" without a token", c.call(ctx, name, nil, nil)); err != nil {
			return "", err
		}
		if err := refused("a call of "+name+" with a token that nobody gave", c.call(ctx, name, token(), nil)); err != nil {
			return "", err
		}
		other := admission{"conform.v1.Another", token()}
		if err := s.admit(ctx, p, other, os.Getpid()); err != nil {
			return "", err
		}
		if err := refused("a call of "+name+" with the token of another service", c.call(ctx, name, other.token, nil)); err != nil {
			return "", err
		}
		return name + ": calls without the right token are refused", nil
	})
	s.check("service.peer", func() (string, error) {
		other := admission{a.service, token()}
		if err := s.admit(ctx, p, other, 1); err != nil {
			return "", err
		}
		if err := refused("a call from another process than the one admitted", c.call(ctx, name, other.token, nil)); err != nil {
			return "", should{err}
		}
		return name + ": a token in another process's hands is refused", nil
	})
	if safe {
		s.check("service.call", func() (string, error) {
			return name + " answers", passed("a call of "+name+" with the right token", c.call(ctx, name, a.token, nil))
		})
		s.check("service.big", func() (string, error) {
			// A field that no contract has: it must be skipped.
			body := protowire.AppendTag(nil, 536870000, protowire.BytesType)
			body = protowire.AppendBytes(body, make([]byte, 12<<20))
			return name + ": a call of 12 MiB passes", passed("a call of 12 MiB", c.call(ctx, name, a.token, body))
		})
	}
	s.check("service.revoke", func() (string, error) {
		for range 2 {
			if _, err := called(ctx, s, p.control.Revoke, &controlv1.RevokeRequest{Token: a.token}); err != nil {
				return "", fmt.Errorf("Revoke, once and again: %w", err)
			}
		}
		return name + ": a revoked token is refused", refused("a call with a revoked token", c.call(ctx, name, a.token, nil))
	})
}

// registered calls every harmless method of every contract: each must be implemented.
func (s *suite) registered(ctx context.Context, p *process, c caller) (string, error) {
	n := 0
	for _, provided := range s.descriptor.Provides {
		sd := s.contract(provided.Service)
		if sd == nil {
			continue
		}
		a := admission{provided.Service, token()}
		if err := s.admit(ctx, p, a, os.Getpid()); err != nil {
			return "", err
		}
		for i := range sd.Methods().Len() {
			m := sd.Methods().Get(i)
			if !harmless(m) {
				continue
			}
			full := "/" + provided.Service + "/" + string(m.Name())
			if status.Code(c.call(ctx, full, a.token, nil)) == codes.Unimplemented {
				return "", fmt.Errorf("component.yaml provides %s, and %s is not implemented", provided.Service, full)
			}
			n++
		}
	}
	if n == 0 {
		return "no contract has a method without side effects", errNone
	}
	return fmt.Sprintf("%d methods without side effects are implemented", n), nil
}
