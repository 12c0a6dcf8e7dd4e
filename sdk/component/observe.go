package component

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"carbonado.dev/sdk/link"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	"carbonado.dev/sdk/service"
	"carbonado.dev/sdk/telemetry"
)

// sampleRows is how many rows of a frame a sample shows.
const sampleRows = 3

// Telemetry holds the component's counters: Counter and Gauge add numbers of its own to what the kernel shows as metrics.
func (c *C) Telemetry() *telemetry.Registry { return c.telemetry }

// invoke makes one unary call on a connection and counts it.
func (rs *Refs) invoke(ctx context.Context, b *Bound, conn *providerConn, method string, args, reply any, opts []grpc.CallOption) error {
	r := rs.telemetry
	if r == nil {
		return conn.Invoke(service.WithToken(ctx, conn.token), method, args, reply, opts...)
	}
	call, began := r.Call(telemetry.Out, method), time.Now()
	call.Begin()
	var span *telemetry.Span
	if r.Tracing() {
		var trace telemetry.Trace
		span, trace = r.Start(telemetry.TraceFrom(ctx), method[1:], diagv1.Span_KIND_CLIENT)
		span.Set("provider", b.provider)
		ctx = service.WithTrace(telemetry.WithTrace(ctx, trace))
	}
	err := conn.Invoke(service.WithToken(ctx, conn.token), method, args, reply, opts...)
	took := time.Since(began)
	call.Done(took, err != nil)
	span.End(err)
	if r.Watched() {
		m, _ := args.(proto.Message)
		size := 0
		if m != nil {
			size = proto.Size(m)
		}
		r.SawCall(telemetry.Out, b.provider, method, status.Code(err).String(), took, size, func() string { return service.Sample(m) })
	}
	return err
}

// render writes the first rows of a batch as JSON.
func render(schema, body []byte) string {
	rec, err := DecodeRecord(&link.SchemaInfo{Body: schema}, body)
	if err != nil {
		return ""
	}
	defer rec.Release()
	n := min(rec.NumRows(), sampleRows)
	head := rec.NewSlice(0, n)
	defer head.Release()
	b, err := json.Marshal(head)
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(b))
	if len(text) > 1024 {
		text = text[:1024] + "…"
	}
	return text
}

// Metrics implements diagv1.DiagnosticsServer.
func (s *diagnostics) Metrics(context.Context, *diagv1.MetricsRequest) (*diagv1.MetricsResponse, error) {
	return &diagv1.MetricsResponse{Metrics: s.c.telemetry.Metrics()}, nil
}

// diagnostics is the component's end of carbonado.diag.v1.
type diagnostics struct {
	diagv1.UnimplementedDiagnosticsServer
	c *C
}

// Tap implements diagv1.DiagnosticsServer.
func (s *diagnostics) Tap(req *diagv1.TapRequest, stream grpc.ServerStreamingServer[diagv1.TapEvent]) error {
	t := s.c.telemetry.Tap(req)
	defer t.Close()
	if err := stream.SendHeader(metadata.Pairs("carbonado-tap", "1")); err != nil { // the watcher knows now that it misses nothing from here on
		return err
	}
	for {
		ev, ok := t.Next(stream.Context())
		if !ok {
			return nil
		}
		if err := stream.Send(ev); err != nil {
			return err
		}
	}
}

// Spans implements diagv1.DiagnosticsServer.
func (s *diagnostics) Spans(req *diagv1.SpansRequest, stream grpc.ServerStreamingServer[diagv1.SpansResponse]) error {
	return s.c.telemetry.Spans(stream.Context(), req.Ratio, func(list []*diagv1.Span, out uint64) error {
		return stream.Send(&diagv1.SpansResponse{Spans: list, LeftOut: out})
	})
}
