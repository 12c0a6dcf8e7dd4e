// Command Broken is a component with one fault, which the file `fault` of its package names; without a name it has none.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

var fault string

// admin is the service that it provides.
type admin struct {
	analyticsv1.UnimplementedStreamAdminServer
}

func (admin) Get(context.Context, *analyticsv1.GetStreamRequest) (*analyticsv1.GetStreamResponse, error) {
	return &analyticsv1.GetStreamResponse{}, nil
}

func (a admin) List(ctx context.Context, r *analyticsv1.ListStreamsRequest) (*analyticsv1.ListStreamsResponse, error) {
	if fault == "unimplemented" {
		return a.UnimplementedStreamAdminServer.List(ctx, r)
	}
	return &analyticsv1.ListStreamsResponse{}, nil
}

func main() {
	b, _ := os.ReadFile(filepath.Join(os.Getenv("CARBONADO_PACKAGE"), "fault"))
	fault = strings.TrimSpace(string(b))
	_ = layout.CloseExecutable()
	if os.Getenv("PLUGIN_UNIX_SOCKET_DIR") == "" {
		if fault == "hand" {
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, "started by hand")
		os.Exit(64)
	}
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, JSONFormat: fault != "log"})
	line := lifeline()
	switch fault {
	case "stdout":
		fmt.Println("hello, world")
	case "silent":
		select {}
	case "crash":
		fmt.Fprintln(os.Stderr, "no such thing")
		os.Exit(3)
	case "socket":
		os.Setenv("PLUGIN_UNIX_SOCKET_DIR", os.Getenv("TMPDIR"))
	case "sigint":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGINT)
		go func() { <-c; os.Exit(130) }()
	case "sigterm":
		signal.Ignore(syscall.SIGTERM)
	}
	logger.Info("begins")
	desc := &component.Descriptor{Name: "Broken", Version: "1.0.0", Provides: []component.Provided{{Service: analyticsv1.StreamAdmin_ServiceDesc.ServiceName, Version: "1.0.0"}}}
	impl := &broken{Control: component.NewControl(component.Spec{Start: func(c *component.C) error {
		analyticsv1.RegisterStreamAdminServer(c, admin{})
		if fault != "modified" {
			c.Manage(taker{})
		}
		return nil
	}}, desc, component.Host{Log: logger, Exit: func() {
		if fault != "stays" {
			time.AfterFunc(30*time.Millisecond, func() { os.Exit(0) })
		}
	}})}
	config := handshake.Serve(line, logger.Named("go-plugin"), func(s *grpc.Server) error {
		controlv1.RegisterComponentServer(s, impl)
		return nil
	})
	allow, most := handshake.KernelOnly(line), handshake.MaxMessage
	switch fault {
	case "peer":
		allow = func(handshake.Peer) bool { return true }
	case "small":
		most = 4 << 20
	}
	config.GRPCServer = func(opts []grpc.ServerOption) *grpc.Server {
		return grpc.NewServer(append(append(opts, handshake.ServerOptions(allow)...), grpc.MaxRecvMsgSize(most))...)
	}
	plugin.Serve(config)
}

func lifeline() *layout.Lifeline {
	if fault == "lifeline" {
		line := layout.Watch(os.NewFile(layout.FDLifeline, "lifeline"), func() { select {} })
		_, _ = line.Kernel(context.Background())
		return line
	}
	line, err := layout.Take()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return line
}

// taker takes every configuration.
type taker struct{}

func (taker) Modified(context.Context) error { return nil }

// broken is a Control with a fault.
type broken struct {
	*component.Control
	address    string
	configured bool
	acquired   bool
}

func (b *broken) Configure(ctx context.Context, r *controlv1.ConfigureRequest) (*controlv1.ConfigureResponse, error) {
	if fault == "configure" && b.configured {
		return nil, errors.New("configured already")
	}
	a, err := b.Control.Configure(ctx, r)
	if err != nil {
		return nil, err
	}
	b.configured = true
	if fault == "token" && b.address == "" { // its own socket, which asks for nothing
		path := filepath.Join(r.RunFolder, "open.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		s := grpc.NewServer()
		analyticsv1.RegisterStreamAdminServer(s, admin{})
		go s.Serve(l)
		b.address = "unix://" + path
	}
	if b.address != "" {
		a.ServiceAddress = b.address
	}
	return a, nil
}

func (b *broken) Prepare(ctx context.Context, r *controlv1.PrepareRequest) (*controlv1.PrepareResponse, error) {
	a, err := b.Control.Prepare(ctx, r)
	if fault == "order" {
		err = nil
	}
	return a, err
}

func (b *broken) Acquire(ctx context.Context, r *controlv1.AcquireRequest) (*controlv1.AcquireResponse, error) {
	if fault == "twice" && b.acquired {
		return nil, errors.New("acquired already")
	}
	a, err := b.Control.Acquire(ctx, r)
	b.acquired = err == nil
	return a, err
}

func (b *broken) Drain(ctx context.Context, r *controlv1.DrainRequest) (*controlv1.DrainResponse, error) {
	if fault == "drain" {
		return &controlv1.DrainResponse{}, nil
	}
	return b.Control.Drain(ctx, r)
}

func (b *broken) Revoke(ctx context.Context, r *controlv1.RevokeRequest) (*controlv1.RevokeResponse, error) {
	if fault == "revoke" {
		return &controlv1.RevokeResponse{}, nil
	}
	return b.Control.Revoke(ctx, r)
}

func (b *broken) Watch(r *controlv1.WatchRequest, s grpc.ServerStreamingServer[controlv1.ComponentEvent]) error {
	return b.Control.Watch(r, &filtered{s})
}

// filtered leaves events out.
type filtered struct {
	grpc.ServerStreamingServer[controlv1.ComponentEvent]
}

func (f *filtered) Send(e *controlv1.ComponentEvent) error {
	left := ""
	switch e.Event.(type) {
	case *controlv1.ComponentEvent_Synced:
		left = "synced"
	case *controlv1.ComponentEvent_Published:
		left = "publish"
	case *controlv1.ComponentEvent_Health:
		left = "health"
	}
	if left != "" && fault == left {
		return nil
	}
	return f.ServerStreamingServer.Send(e)
}
