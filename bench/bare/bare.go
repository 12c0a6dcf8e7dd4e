// Package bare starts plugins of go-plugin that do nothing: what a process costs that is started the plain way. It must not know what it is
// compared with.
package bare

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH_BARE", MagicCookieValue: "plugin"}

// bare is a plugin without any service of its own.
type bare struct{ plugin.NetRPCUnsupportedPlugin }

func (bare) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (bare) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return struct{}{}, nil
}

// Main serves as a plugin, if this process is one; a program that calls Start calls it first.
func Main() bool {
	if os.Getenv(handshake.MagicCookieKey) == "" {
		return false
	}
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugin.PluginSet{"bare": bare{}}, GRPCServer: plugin.DefaultGRPCServer})
	return true
}

// Start starts n plugins in parallel, of this very executable, and answers the time until the last has answered its first call.
func Start(n int) (time.Duration, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	clients := make([]*plugin.Client, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		clients[i] = plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig: handshake, Plugins: plugin.PluginSet{"bare": bare{}}, Cmd: exec.Command(exe),
			AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
		})
		wg.Go(func() {
			c, err := clients[i].Client()
			if err == nil {
				err = c.Ping()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	took := time.Since(began)
	for _, c := range clients {
		c.Kill()
	}
	return took, errors.Join(errs...)
}
