// Command frames measures what a link between two components carries: frames of 200 events of about 200 bytes through svc.sock from
// one process to another, against the same frames through a channel within one process, and against 3 million events per second. It
// must not know any component: both ends are the SDK alone.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
	"carbonado.dev/sdk/service"
)

const (
	events    = 200
	eventSize = 200
	target    = 3e6
	token     = "0123456789abcdef0123456789abcdef"
)

func main() {
	consumer := flag.String("consumer", "", "run as the consuming process on this socket")
	window := flag.Duration("window", 2*time.Second, "length of one window")
	rounds := flag.Int("rounds", 5, "windows of each kind, taken in turn; the best counts")
	flag.Parse()
	if *consumer != "" {
		if err := consume(*consumer); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := measure(*window, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// sink acknowledges every frame after reading its header, as a forwarding consumer does.
type sink struct {
	analyticsv1.UnimplementedStreamConsumerServer
}

func (sink) Consume(s grpc.BidiStreamingServer[linkv1.Frame, linkv1.Frame]) error {
	return link.New(s, link.Options{}).Run(func(in *link.Incoming) error {
		if in.Kind == frame.Batch {
			in.Ack()
		}
		return nil
	})
}

func consume(socket string) error {
	s, err := service.New(context.Background(), "consumer", hclog.NewNullLogger(), socket)
	if err != nil {
		return err
	}
	analyticsv1.RegisterStreamConsumerServer(s, sink{})
	s.Admit(&controlv1.AdmitRequest{Token: []byte(token), Consumer: "producer", Service: analyticsv1.StreamConsumer_ServiceDesc.ServiceName, ConsumerUid: int32(os.Getuid())})
	if err := s.Start(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = bufio.NewReader(os.Stdin).ReadByte() // ends with its parent
	_ = err
	s.Stop()
	return nil
}

func newFrame() ([]byte, error) {
	return frame.Append(nil, &frame.Header{Kind: frame.Batch, Rows: events, Schema: frame.SchemaID{1}}, make([]byte, events*eventSize))
}

func measure(window time.Duration, rounds int) error {
	dir, err := os.MkdirTemp("", "frames")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "svc.sock")
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(exe, "-consumer", socket)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
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
	defer func() {
		stdin.Close()
		_ = child.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("the consumer did not start: %w", err)
	}
	cc, err := service.Dial("unix://"+socket, child.Process.Pid, os.Getuid())
	if err != nil {
		return err
	}
	defer cc.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := link.NewProducer(ctx, func(ctx context.Context) (link.Transport, error) {
		return analyticsv1.NewStreamConsumerClient(cc).Consume(service.WithToken(ctx, token), link.CallOption())
	}, link.Options{})
	defer p.Close()
	var linked, channelled float64
	for range rounds {
		l, err := overLink(ctx, p, window)
		if err != nil {
			return err
		}
		linked = max(linked, l)
		channelled = max(channelled, overChannel(window))
	}
	fmt.Printf("frames-link-to-channel ratio=%.3f (%.0f frames/s over the link, %.0f through a channel)\n", linked/channelled, linked, channelled)
	fmt.Printf("frames-events-per-second ratio=%.2f target=>=1 (events/s over 3 million)\n", linked*events/target)
	return nil
}

// overLink answers acknowledged frames per second.
func overLink(ctx context.Context, p *link.Producer, window time.Duration) (float64, error) {
	const inFlight = 64
	free := make(chan []byte, inFlight)
	for range inFlight {
		f, err := newFrame()
		if err != nil {
			return 0, err
		}
		free <- f
	}
	var acked atomic.Int64
	var failed atomic.Value
	schema := &link.SchemaInfo{ID: frame.SchemaID{1}, Body: []byte("schema")}
	start := time.Now()
	for time.Since(start) < window {
		f := <-free
		if err := p.Send(ctx, "bench:1.0.0", schema, f, func(err error) {
			if err != nil {
				failed.Store(err)
			}
			acked.Add(1)
			free <- f
		}); err != nil {
			return 0, err
		}
	}
	n := acked.Load()
	elapsed := time.Since(start)
	for range inFlight {
		<-free
	}
	if err, ok := failed.Load().(error); ok {
		return 0, err
	}
	return float64(n) / elapsed.Seconds(), nil
}

// overChannel hands the same frames to a goroutine of this process, which reads the header and answers.
func overChannel(window time.Duration) float64 {
	f, err := newFrame()
	if err != nil {
		return 0
	}
	frames, acks := make(chan []byte, 64), make(chan uint64, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := range frames {
			h, _, _, err := frame.Parse(b)
			if err != nil {
				return
			}
			acks <- h.LinkSeq
		}
	}()
	n := 0
	start := time.Now()
	for time.Since(start) < window {
		frames <- f
		<-acks
		n++
	}
	elapsed := time.Since(start)
	close(frames)
	<-done
	return float64(n) / elapsed.Seconds()
}
