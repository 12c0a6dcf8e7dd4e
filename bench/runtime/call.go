package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/service"
)

const (
	callSocket = "BENCH_RUNTIME_SOCKET"
	callToken  = "0123456789abcdef0123456789abcdef"
)

// yes answers every question with yes.
type yes struct {
	analyticsv1.UnimplementedAuthorizerServer
}

func (yes) Authorize(context.Context, *analyticsv1.AuthorizeRequest) (*analyticsv1.AuthorizeResponse, error) {
	return &analyticsv1.AuthorizeResponse{Allowed: true}, nil
}

// callMain is the providing process: it serves until its standard input ends.
func callMain() bool {
	socket := os.Getenv(callSocket)
	if socket == "" {
		return false
	}
	s, err := service.New(context.Background(), "provider", hclog.NewNullLogger(), socket)
	if err == nil {
		analyticsv1.RegisterAuthorizerServer(s, yes{})
		s.Admit(&controlv1.AdmitRequest{Token: []byte(callToken), Consumer: "caller", Service: analyticsv1.Authorizer_ServiceDesc.ServiceName, ConsumerUid: int32(os.Getuid())})
		err = s.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // ends with its parent
	s.Stop()
	return true
}

// measureCall is a unary call through a bound reference against the same call by plain gRPC on the same socket, in turn.
func measureCall(o options) (err error) {
	dir, err := os.MkdirTemp("", "call")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	socket := filepath.Join(dir, "svc.sock")
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(exe)
	child.Env, child.Stderr = append(os.Environ(), callSocket+"="+socket), os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close(), child.Wait()) }()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("the provider did not start: %w", err)
	}

	raw, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer raw.Close()
	refs := component.NewRefs(context.Background(), "bench")
	defer refs.Close()
	if err := refs.Bind(&controlv1.BindRequest{
		Reference: "bench", ServiceId: 1, Generation: 1, Service: analyticsv1.Authorizer_ServiceDesc.ServiceName, Provider: "provider",
		Address: "unix://" + socket, Token: []byte(callToken), ProviderPid: int32(child.Process.Pid), ProviderUid: int32(os.Getuid()),
	}); err != nil {
		return err
	}
	plain, bound := analyticsv1.NewAuthorizerClient(raw), analyticsv1.NewAuthorizerClient(refs.Best())
	withToken := service.WithToken(context.Background(), callToken)
	const calls = 3000
	measure := func(ctx context.Context, c analyticsv1.AuthorizerClient) (time.Duration, error) {
		began := time.Now()
		for range calls {
			if _, err := c.Authorize(ctx, &analyticsv1.AuthorizeRequest{}); err != nil {
				return 0, err
			}
		}
		return time.Since(began) / calls, nil
	}
	var ratios []float64
	var direct, through time.Duration
	for n := range 2*o.rounds + 1 {
		first, err := measure(withToken, plain)
		if err != nil {
			return err
		}
		second, err := measure(context.Background(), bound)
		if err != nil {
			return err
		}
		if n == 0 {
			continue // connections are made
		}
		ratios = append(ratios, second.Seconds()/first.Seconds())
		direct, through = first, second
	}
	slices.Sort(ratios)
	print("call", ratios[len(ratios)/2], 1.1, "through a bound reference against plain gRPC; the last pair took %s and %s a call", through, direct)
	return nil
}
