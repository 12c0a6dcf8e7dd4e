package conform

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/sdk/frame"
	"carbonado.dev/sdk/link"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	linkv1 "carbonado.dev/sdk/proto/carbonado/link/v1"
	"carbonado.dev/sdk/service"
)

// frames is how many batches the link check sends.
const frames = 200

// links checks the component as a consumer of streams.
func (s *suite) links(ctx context.Context, p *process, w *watcher) {
	consumer := analyticsv1.StreamConsumer_ServiceDesc.ServiceName
	stream := ""
	for _, reg := range w.published() {
		if reg.Service == consumer && stream == "" {
			stream = reg.Properties["stream"]
			s.check("link.properties", func() (string, error) {
				if d := reg.Properties["durable"]; stream == "" || (d != "true" && d != "false") {
					return "", fmt.Errorf("a StreamConsumer is registered with stream=%q and durable=%q", stream, d)
				}
				return "it consumes " + stream, nil
			})
		}
	}
	if stream == "" {
		s.check("link", func() (string, error) { return "it consumes no stream", errNone })
		return
	}
	conn, err := service.Dial(p.address, p.cmd.Process.Pid, os.Geteuid())
	if err != nil {
		s.check("link", func() (string, error) { return "", err })
		return
	}
	defer conn.Close()
	a := admission{consumer, token()}
	open := func(ctx context.Context) (*wire, error) {
		t, err := analyticsv1.NewStreamConsumerClient(conn).Consume(service.WithToken(ctx, string(a.token)), link.CallOption())
		return &wire{t: t}, err
	}
	run := func(name string, f func(context.Context, *wire) (string, error)) {
		s.check(name, func() (text string, err error) {
			err = s.within(ctx, func(ctx context.Context) error {
				l, err := open(ctx)
				if err != nil {
					return err
				}
				text, err = f(ctx, l)
				return err
			})
			return text, err
		})
	}
	run("link.token", func(_ context.Context, l *wire) (string, error) {
		if _, err := l.next(); err == nil {
			return "", errors.New("a link without a right token is served")
		} else if err := refused("a link without a right token", err); err != nil {
			return "", err
		}
		return "a link without a right token is refused", s.admit(ctx, p, a, os.Getpid())
	})
	run("link.credit", func(_ context.Context, l *wire) (string, error) {
		c, err := l.credit()
		if err != nil {
			return "", fmt.Errorf("its first frame is no right CREDIT: %w", err)
		}
		return fmt.Sprintf("%d bytes, %d frames", c.Bytes, c.Frames), nil
	})
	run("link.frames", func(_ context.Context, l *wire) (string, error) { return l.flow(stream) })
	run("link.close", func(ctx context.Context, l *wire) (string, error) {
		if err := l.send(&frame.Header{Kind: frame.Close}, nil); err != nil {
			return "", err
		}
		return "CLOSE ends the call", l.ended(ctx, "CLOSE does not end the call")
	})
	run("link.damaged", func(ctx context.Context, l *wire) (string, error) {
		b, err := frame.Append(nil, &frame.Header{Kind: frame.Open, Stream: 1}, nil)
		if err != nil {
			return "", err
		}
		b[30]++
		if err := l.t.Send(&linkv1.Frame{Data: b}); err != nil {
			return "", err
		}
		return "a frame whose header sum is wrong ends the link", l.ended(ctx, "a frame whose header sum is wrong does not end the link")
	})
	run("link.revoke", func(ctx context.Context, l *wire) (string, error) {
		if _, err := l.credit(); err != nil {
			return "", err
		}
		if _, err := p.control.Revoke(ctx, &controlv1.RevokeRequest{Token: a.token}); err != nil {
			return "", err
		}
		begin := time.Now()
		err := l.ended(ctx, "Revoke does not end a link that is open")
		return fmt.Sprintf("Revoke ends an open link after %s", time.Since(begin).Round(time.Millisecond)), err
	})
	s.check("link.alive", func() (string, error) { return "the component lives on", s.ping(ctx, p, s.Patience) })
}

// wire is one link, driven by hand.
type wire struct {
	t   grpc.BidiStreamingClient[linkv1.Frame, linkv1.Frame]
	seq uint64
}

type received struct {
	frame.Header
	body []byte
}

func (l *wire) next() (received, error) {
	m, err := l.t.Recv()
	if err != nil {
		return received{}, err
	}
	h, body, rest, err := frame.Parse(m.Data)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind a %s frame", len(rest), h.Kind)
	}
	if err == nil {
		err = frame.CheckBody(m.Data)
	}
	return received{h, body}, err
}

// ended reads until the call ends.
func (l *wire) ended(ctx context.Context, otherwise string) error {
	for {
		if _, err := l.next(); err != nil {
			if ctx.Err() != nil {
				return errors.New(otherwise)
			}
			return nil
		}
	}
}

func (l *wire) credit() (*linkv1.Credit, error) {
	r, err := l.next()
	if err != nil {
		return nil, err
	}
	if r.Kind != frame.Credit {
		return nil, fmt.Errorf("it is %s", r.Kind)
	}
	c := &linkv1.Credit{}
	if err := proto.Unmarshal(r.body, c); err != nil {
		return nil, err
	}
	if c.Bytes < frame.MaxSize || c.Frames == 0 {
		return nil, fmt.Errorf("it grants %d bytes and %d frames: the largest frame has %d bytes", c.Bytes, c.Frames, frame.MaxSize)
	}
	return c, nil
}

func (l *wire) send(h *frame.Header, body []byte) error {
	b, err := frame.Append(nil, h, body)
	if err != nil {
		return err
	}
	return l.t.Send(&linkv1.Frame{Data: b})
}

// flow sends batches within credit and wants every one acknowledged or refused, and enough credit to go on.
func (l *wire) flow(stream string) (string, error) {
	schema, batch, err := sample()
	if err != nil {
		return "", err
	}
	open, err := proto.Marshal(&linkv1.Open{Kind: linkv1.Open_KIND_STREAM, Name: stream})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(schema)
	h := frame.Header{Kind: frame.Batch, Parts: 1, Stream: 7, Schema: frame.SchemaID(sum[:8]), Rows: 10, Tenant: -1234}
	_, _ = rand.Read(h.Source[:])
	if err := l.send(&frame.Header{Kind: frame.Open, Stream: 7}, open); err != nil {
		return "", err
	}
	if err := l.send(&frame.Header{Kind: frame.Schema, Stream: 7, Schema: h.Schema}, schema); err != nil {
		return "", err
	}
	size := uint64(frame.Size(len(batch)))
	var bytes uint64
	var credit uint32
	done, refusals, refusal := map[uint64]bool{}, 0, ""
	for len(done) < frames {
		for ; l.seq < frames && credit > 0 && bytes >= size; credit-- {
			l.seq++
			h.LinkSeq, h.Counter = l.seq, l.seq
			if err := l.send(&h, batch); err != nil {
				return "", err
			}
			bytes -= size
		}
		r, err := l.next()
		if err != nil {
			return "", fmt.Errorf("%d of %d frames are answered, then the link ends: %w", len(done), frames, err)
		}
		switch r.Kind {
		case frame.Credit:
			var c linkv1.Credit
			if err := proto.Unmarshal(r.body, &c); err != nil {
				return "", err
			}
			bytes += c.Bytes
			credit += c.Frames
		case frame.Ack:
			if r.LinkSeq > l.seq {
				return "", fmt.Errorf("frame %d is acknowledged, and %d were sent", r.LinkSeq, l.seq)
			}
			for n := uint64(1); n <= r.LinkSeq; n++ {
				done[n] = true
			}
		case frame.Error:
			var x linkv1.Refusal
			if err := proto.Unmarshal(r.body, &x); err != nil {
				return "", err
			}
			done[r.LinkSeq], refusal = true, x.Cause.GetText()
			refusals++
		default:
			return "", fmt.Errorf("a consumer sends %s", r.Kind)
		}
	}
	if refusals > 0 {
		return fmt.Sprintf("%d frames, %d of them refused (%s)", frames, refusals, cut(refusal)), nil
	}
	return fmt.Sprintf("%d frames are acknowledged", frames), nil
}

// sample is a batch of ten rows with the columns that every stream has: its Schema and its RecordBatch message.
func sample() (schema, batch []byte, err error) {
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "_timestamp", Type: arrow.PrimitiveTypes.Int64},
		{Name: "_arbitrary", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	for i := range 10 {
		b.Field(0).(*array.Int64Builder).Append(int64(1_700_000_000_000 + i))
		b.Field(1).AppendNull()
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(sc))
	if err := w.Write(rec); err != nil {
		return nil, nil, err
	}
	all := out.Bytes()
	n := 8 + int(binary.LittleEndian.Uint32(all[4:])) // the encapsulated Schema message has no body
	return all[:n], all[n:], nil
}
