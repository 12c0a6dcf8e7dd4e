// Command javalink measures a link from Go to a component in Java: time until it can be called, and events per second through decoded
// Arrow batches, against a bare gRPC stream of the same bytes. It starts the package of plugins/examples/parrot as the kernel would, and
// must not know what the component does with the events.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"

	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
	"carbonado.dev/sdk/service"
)

const (
	stream = "org.acme.greetings:1.0.0"
	rows   = 1000
	starts = 5
)

func main() {
	pkg := flag.String("package", "plugins/examples/parrot/build/Parrot", "the package's folder")
	span := flag.Duration("span", 4*time.Second, "time of each measurement, after as much again to warm up")
	flag.Parse()
	if err := run(*pkg, *span); err != nil {
		fmt.Fprintln(os.Stderr, "javalink:", err)
		os.Exit(1)
	}
}

func run(pkg string, span time.Duration) error {
	pkg, err := filepath.Abs(pkg)
	if err != nil {
		return err
	}
	var ready []time.Duration
	for range starts {
		p, err := start(pkg)
		if err != nil {
			return err
		}
		ready = append(ready, p.ready)
		p.end()
	}
	slices.Sort(ready)
	fmt.Printf("java-start median=%dms worst=%dms (from fork to Acquire, %d starts)\n", ready[starts/2].Milliseconds(), ready[starts-1].Milliseconds(), starts)
	p, err := start(pkg)
	if err != nil {
		return err
	}
	defer p.end()
	schema, batch, err := sample()
	if err != nil {
		return err
	}
	java, err := p.pump(schema, batch, span)
	if err != nil {
		return err
	}
	bare, err := bareStream(batch, span)
	if err != nil {
		return err
	}
	fmt.Printf("java-events-per-second ratio=%.2f target=>=1 (events/s, decoded, over 2.3 million)\n", java/2.3e6)
	fmt.Printf("java-link-to-raw-stream ratio=%.3f (%.0f events/s decoded in Java, %.0f carried by a bare stream)\n", java/bare, java, bare)
	return nil
}

type process struct {
	cmd      *exec.Cmd
	dir      string
	lifeline *os.File
	conn     *grpc.ClientConn
	svc      *grpc.ClientConn
	token    string
	ready    time.Duration
}

// start takes a process up to Acquire.
func start(pkg string) (_ *process, err error) {
	p := &process{}
	if p.dir, err = os.MkdirTemp("", "cbn"); err != nil {
		return nil, err
	}
	exe, err := os.Open(filepath.Join(pkg, "bin", filepath.Base(pkg)))
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	p.lifeline = write
	if _, err := write.WriteString(layout.Kernel{PID: os.Getpid(), UID: os.Geteuid()}.Line()); err != nil {
		return nil, err
	}
	c := handshake.Config()
	p.cmd = exec.Command("/proc/self/fd/3")
	p.cmd.Args, p.cmd.Dir, p.cmd.ExtraFiles, p.cmd.Stderr = []string{filepath.Base(pkg)}, p.dir, []*os.File{exe, read}, os.Stderr
	p.cmd.Env = []string{
		c.MagicCookieKey + "=" + c.MagicCookieValue, "PLUGIN_PROTOCOL_VERSIONS=1,2", "PLUGIN_UNIX_SOCKET_DIR=" + p.dir,
		"CARBONADO_PACKAGE=" + pkg, "TMPDIR=" + p.dir, "CARBONADO_JAVA=" + os.Getenv("CARBONADO_JAVA"),
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	f := strings.Split(line, "|")
	if err != nil || len(f) < 5 {
		return nil, fmt.Errorf("handshake %q: %w", line, err)
	}
	peer := handshake.Exactly(p.cmd.Process.Pid, os.Geteuid())
	if p.conn, err = grpc.NewClient("unix://"+f[3], handshake.DialOptions(peer)...); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	control := controlv1.NewComponentClient(p.conn)
	configured, err := control.Configure(ctx, &controlv1.ConfigureRequest{
		Name: filepath.Base(pkg), Version: "1.0.0", Generation: 1, ConfigJson: []byte(`{"word":"Hi"}`), DataFolder: p.dir, RunFolder: p.dir, PackageFolder: pkg, Tenant: -1234,
	})
	if err == nil {
		_, err = control.Prepare(ctx, &controlv1.PrepareRequest{})
	}
	if err == nil {
		_, err = control.Acquire(ctx, &controlv1.AcquireRequest{})
	}
	if err != nil {
		return nil, err
	}
	p.ready = time.Since(began)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	p.token = string(secret)
	_, err = control.Admit(ctx, &controlv1.AdmitRequest{
		Token: secret, Consumer: "bench", Service: analyticsv1.StreamConsumer_ServiceDesc.ServiceName, ConsumerPid: int32(os.Getpid()), ConsumerUid: int32(os.Geteuid()),
	})
	if err == nil {
		p.svc, err = service.Dial(configured.ServiceAddress, p.cmd.Process.Pid, os.Geteuid())
	}
	return p, err
}

func (p *process) end() {
	p.lifeline.Close()
	_ = p.cmd.Wait() // it ends with its lifeline, which is an exit code of its own
	p.conn.Close()
	p.svc.Close()
	os.RemoveAll(p.dir)
}

// pump sends batches as a producer does and counts the acknowledged events of the second half of the time.
func (p *process) pump(schema *link.SchemaInfo, batch []byte, span time.Duration) (float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	producer := link.NewProducer(ctx, func(ctx context.Context) (link.Transport, error) {
		return analyticsv1.NewStreamConsumerClient(p.svc).Consume(service.WithToken(ctx, p.token), link.CallOption())
	}, link.Options{})
	defer producer.Close()
	defer cancel()
	var acked, refused atomic.Int64
	h := frame.Header{Kind: frame.Batch, Parts: 1, Schema: schema.ID, Rows: rows, Tenant: -1234}
	var counted int64
	var since time.Time
	for end := time.Now().Add(2 * span); time.Now().Before(end); {
		if since.IsZero() && time.Until(end) < span {
			since, counted = time.Now(), acked.Load()
		}
		h.Counter++
		b := link.Alloc(frame.Size(len(batch)))
		clear(b[frame.HeaderSize:])
		copy(b[frame.HeaderSize:], batch)
		frame.Seal(b, &h, len(batch))
		err := producer.Send(ctx, stream, schema, b, func(err error) {
			if err == nil {
				acked.Add(rows)
			} else {
				refused.Add(1)
			}
			link.Free(b)
		})
		if err != nil {
			return 0, err
		}
	}
	if refused.Load() > 0 {
		return 0, fmt.Errorf("%d batches were refused", refused.Load())
	}
	return float64(acked.Load()-counted) / time.Since(since).Seconds(), nil
}

// sink answers every message with an empty one.
type sink struct {
	analyticsv1.UnimplementedStreamConsumerServer
}

func (sink) Consume(s grpc.BidiStreamingServer[linkv1.Frame, linkv1.Frame]) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return nil
		}
		link.Free(m.Data)
		if err := s.Send(&linkv1.Frame{Data: []byte{1}}); err != nil {
			return err
		}
	}
}

// bareStream sends the same bytes over a gRPC stream to a Go server that looks at nothing, 64 in flight.
func bareStream(batch []byte, span time.Duration) (float64, error) {
	dir, err := os.MkdirTemp("", "cbn")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return 0, err
	}
	server := grpc.NewServer(handshake.ServerOptions(handshake.OfUser(os.Geteuid()))...)
	analyticsv1.RegisterStreamConsumerServer(server, sink{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { server.Stop(); <-served }()
	conn, err := service.Dial("unix://"+l.Addr().String(), os.Getpid(), os.Geteuid())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t, err := analyticsv1.NewStreamConsumerClient(conn).Consume(ctx, link.CallOption())
	if err != nil {
		return 0, err
	}
	credit, done := make(chan struct{}, 64), make(chan struct{})
	var acked atomic.Int64
	go func() {
		defer close(done)
		for {
			m, err := t.Recv()
			if err != nil {
				return
			}
			link.Free(m.Data)
			acked.Add(rows)
			<-credit
		}
	}()
	message := make([]byte, frame.Size(len(batch)))
	var counted int64
	var since time.Time
	for end := time.Now().Add(2 * span); time.Now().Before(end); {
		if since.IsZero() && time.Until(end) < span {
			since, counted = time.Now(), acked.Load()
		}
		credit <- struct{}{}
		if err := t.Send(&linkv1.Frame{Data: message}); err != nil {
			return 0, err
		}
	}
	rate := float64(acked.Load()-counted) / time.Since(since).Seconds()
	cancel()
	<-done
	return rate, nil
}

// sample is a batch of the example's stream.
func sample() (*link.SchemaInfo, []byte, error) {
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "_arbitrary", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(1_700_000_000_000 + i))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("somebody %d", i))
		b.Field(2).AppendNull()
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	var out bytes.Buffer
	if err := ipc.NewWriter(&out, ipc.WithSchema(sc)).Write(rec); err != nil {
		return nil, nil, err
	}
	all := out.Bytes()
	n := 8 + int(binary.LittleEndian.Uint32(all[4:]))
	sum := sha256.Sum256(all[:n])
	return &link.SchemaInfo{ID: frame.SchemaID(sum[:8]), Body: all[:n]}, all[n:], nil
}
