// Command start measures the time from exec of the kernel to all components ACTIVE, against as many bare go-plugin plugins started in
// parallel, in turn within one run. It must not know any component.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/bench/server"
)

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH_START", MagicCookieValue: "plugin"}

// bare is a plugin without any service of its own.
type bare struct{ plugin.NetRPCUnsupportedPlugin }

func (bare) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (bare) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return struct{}{}, nil
}

func main() {
	if os.Getenv(handshake.MagicCookieKey) != "" {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugin.PluginSet{"bare": bare{}}, GRPCServer: plugin.DefaultGRPCServer})
		return
	}
	rounds := flag.Int("rounds", 7, "pairs of starts")
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := measure(*root, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(root string, rounds int) error {
	i, err := server.Lay(root)
	if err != nil {
		return err
	}
	defer i.Remove()
	ctx := context.Background()
	var ratios []float64
	var last time.Duration
	for n := range rounds + 1 {
		r, err := i.Start(ctx)
		if err != nil {
			return err
		}
		pids, err := i.Processes(ctx)
		if err != nil {
			return err
		}
		if err := r.Stop(); err != nil {
			return err
		}
		components := len(pids) - server.Own
		plain, err := startBare(components)
		if err != nil {
			return err
		}
		if n == 0 {
			continue // the first start makes keys, users and tables
		}
		ratios = append(ratios, r.Took.Seconds()/plain.Seconds())
		last = r.Took
	}
	slices.Sort(ratios)
	fmt.Printf("start-to-active ratio=%.2f target=<=5 (median of %d pairs; the last start took %s)\n", ratios[len(ratios)/2], rounds, last.Round(time.Millisecond))
	return nil
}

// startBare starts n plugins in parallel and answers the time until the last has answered its first call.
func startBare(n int) (time.Duration, error) {
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
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := clients[i].Client()
			if err == nil {
				err = c.Ping()
			}
			errs[i] = err
		}()
	}
	wg.Wait()
	took := time.Since(began)
	for i := range n {
		clients[i].Kill()
		if errs[i] != nil {
			return 0, errs[i]
		}
	}
	return took, nil
}
