// Package handshake is what kernel and component must agree on before their first call: go-plugin's handshake, the check of
// the peer's credentials, and message limits; package layout has the file descriptors and the lifeline.
// It must not know what is said over the connection.
//
// A component's main:
//
//	layout.CloseExecutable()
//	line, err := layout.Take()           // exits the process when the guardian is gone
//	...
//	plugin.Serve(handshake.Serve(line, logger, func(s *grpc.Server) error {
//		controlv1.RegisterComponentServer(s, impl)
//		return nil
//	}))
package handshake

import (
	"context"
	"errors"
	"os"
	"sync"

	"carbonado.dev/sdk/handshake/layout"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

const (
	// ProtocolVersion is the major version of the control protocol: carbonado.control.v1.
	ProtocolVersion = 1
	// ProtocolUsers is the version since which a component may run as a user of its own: its service socket lets other users in, by token
	// and peer. The calls are the same.
	ProtocolUsers = 2
	// PluginName is the one entry of the plugin set.
	PluginName = "component"
	// MaxMessage is the largest gRPC message in bytes, on both ends of every connection of ours.
	MaxMessage = 16 << 20
)

// Config is go-plugin's handshake, the same on both sides. The cookie only tells a person who runs a component by hand what is
// wrong; it protects nothing.
func Config() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "CARBONADO_COMPONENT",
		MagicCookieValue: "5d1f0c36a9b24b7c8e3d",
	}
}

// Serve is what a component gives to plugin.Serve. Only the kernel that line names can connect. register adds the component's
// services; logger takes go-plugin's own lines, and must write to the real standard error.
//
// go-plugin replaces os.Stdout and os.Stderr by pipes that it carries to the kernel in pieces of 1 KiB: slow, and what was printed last
// is lost when the process exits. From the kernel's first call on, which comes before Configure, they are the process's real ones
// again, whose lines the kernel logs as well.
func Serve(line *layout.Lifeline, logger hclog.Logger, register func(*grpc.Server) error) *plugin.ServeConfig {
	stdout, stderr := os.Stdout, os.Stderr
	restore := sync.OnceFunc(func() { os.Stdout, os.Stderr = stdout, stderr })
	first := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		restore()
		return handle(ctx, req)
	}
	return &plugin.ServeConfig{
		HandshakeConfig: Config(),
		// Plugins is what a kernel gets that names no versions.
		Plugins:          Plugins(register),
		VersionedPlugins: Versions(register, ProtocolVersion, ProtocolUsers),
		Logger:           logger,
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			opts = append(opts, ServerOptions(KernelOnly(line))...)
			return grpc.NewServer(append(opts, grpc.ChainUnaryInterceptor(first))...)
		},
	}
}

// KernelOnly allows the kernel that the lifeline names at the moment of connecting.
func KernelOnly(line *layout.Lifeline) Allow {
	return func(p Peer) bool { return line.Admits(p.PID, p.UID) }
}

// ServerOptions are peer credentials and message limits for a gRPC server on a Unix socket: the control socket and svc.sock.
func ServerOptions(allow Allow) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(Credentials(allow)),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
	}
}

// DialOptions are peer credentials and message limits for a gRPC client on a Unix socket. They may be given to
// plugin.ClientConfig.GRPCDialOptions, where they replace go-plugin's own, and to grpc.NewClient.
func DialOptions(allow Allow) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(Credentials(allow)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
	}
}

// Plugins is the plugin set of both sides. register is called once, in the component; the kernel passes nil. What the kernel
// dispenses under PluginName is a *Connection.
func Plugins(register func(*grpc.Server) error) plugin.PluginSet {
	return plugin.PluginSet{PluginName: &grpcPlugin{register: register}}
}

// Versions is the plugin set of each version of the control protocol that a side speaks; the highest that both have is taken.
func Versions(register func(*grpc.Server) error, versions ...int) map[int]plugin.PluginSet {
	all := map[int]plugin.PluginSet{}
	for _, v := range versions {
		all[v] = Plugins(register)
	}
	return all
}

// Connection is the kernel's end of a component's control socket.
type Connection struct {
	// Conn belongs to go-plugin, which closes it.
	Conn *grpc.ClientConn
	// Done is cancelled when go-plugin has seen the process end. That can be late (a grandchild may hold the pipes).
	Done context.Context
}

type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server) error
}

func (p *grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	if p.register == nil {
		return errors.New("handshake: nothing to serve")
	}
	return p.register(s)
}

func (p *grpcPlugin) GRPCClient(done context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Connection{Conn: conn, Done: done}, nil
}
