package service

import (
	"context"
	"encoding/json"
	"regexp"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
	"carbonado.dev/sdk/telemetry"
)

// sampleBytes is the most that a sample of a call shows.
const sampleBytes = 1024

// observed handles a unary call and counts it.
func (s *Server) observed(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
	call, began := s.telemetry.Call(telemetry.In, info.FullMethod), time.Now()
	call.Begin()
	var span *telemetry.Span
	if s.telemetry.Tracing() {
		var trace telemetry.Trace
		span, trace = s.telemetry.Start(incomingTrace(ctx), info.FullMethod[1:], diagv1.Span_KIND_SERVER)
		span.Set("component", s.owner)
		span.Set("caller", CallerFrom(ctx))
		ctx = telemetry.WithTrace(ctx, trace)
	}
	defer func() {
		took := time.Since(began)
		call.Done(took, err != nil)
		span.End(err)
		if s.telemetry.Watched() {
			size := 0
			m, ok := req.(proto.Message)
			if ok {
				size = proto.Size(m)
			}
			s.telemetry.SawCall(telemetry.In, CallerFrom(ctx), info.FullMethod, status.Code(err).String(), took, size, func() string { return Sample(m) })
		}
	}()
	defer s.Recovered(info.FullMethod, &err)
	reply, err = handler(ctx, req)
	return reply, asStatus(err)
}

// observedStream counts a stream; done ends it. What is done under its context is counted too.
func (s *Server) observedStream(ctx context.Context, method string) (_ context.Context, done func(error)) {
	ctx = telemetry.WithPeer(telemetry.With(ctx, s.telemetry), CallerFrom(ctx))
	var span *telemetry.Span
	if s.telemetry.Tracing() {
		// A stream that came with no trace is a link, whose frames have traces of their own.
		if parent := incomingTrace(ctx); parent != (telemetry.Trace{}) {
			var trace telemetry.Trace
			span, trace = s.telemetry.Start(parent, method[1:], diagv1.Span_KIND_SERVER)
			span.Set("component", s.owner)
			span.Set("caller", CallerFrom(ctx))
			ctx = telemetry.WithTrace(ctx, trace)
		}
	}
	call, began := s.telemetry.Call(telemetry.In, method), time.Now()
	call.Begin()
	return ctx, func(err error) {
		call.Done(time.Since(began), err != nil)
		span.End(err)
	}
}

// incomingTrace is the trace that came with a call.
func incomingTrace(ctx context.Context) telemetry.Trace {
	if v := metadata.ValueFromIncomingContext(ctx, telemetry.TraceKey); len(v) == 1 {
		return telemetry.ParseTrace(v[0])
	}
	return telemetry.Trace{}
}

// WithTrace puts the trace of a context on the calls that are made under it.
func WithTrace(ctx context.Context) context.Context {
	if t := telemetry.TraceFrom(ctx); t != (telemetry.Trace{}) {
		return metadata.AppendToOutgoingContext(ctx, telemetry.TraceKey, t.Header())
	}
	return ctx
}

// secret are the names of fields that a sample does not show.
var secret = regexp.MustCompile(`(?i)passw|token|secret|credential|session|signature|private|authorization|cookie|(^|_)key$|pem$`)

// Sample writes a message as JSON for a person: secrets by the names of their fields as "***", cut short.
func Sample(m proto.Message) string {
	if m == nil {
		return ""
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return ""
	}
	var v any
	if json.Unmarshal(b, &v) != nil {
		return ""
	}
	if b, err = json.Marshal(hide(v)); err != nil {
		return ""
	}
	if len(b) > sampleBytes {
		return string(b[:sampleBytes]) + "…"
	}
	return string(b)
}

func hide(v any) any {
	switch v := v.(type) {
	case map[string]any:
		// A header is a name and its values: the name says whether it is a secret.
		if name, ok := v["name"].(string); ok && secret.MatchString(name) {
			return map[string]any{"name": name, "values": "***"}
		}
		for key, x := range v {
			if secret.MatchString(key) {
				v[key] = "***"
			} else {
				v[key] = hide(x)
			}
		}
	case []any:
		for i, x := range v {
			v[i] = hide(x)
		}
	}
	return v
}
