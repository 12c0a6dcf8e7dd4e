package kernel

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/sdk/cause"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

var _ admin.Watching = (*Kernel)(nil)

// errNothing is the kind of a service or a stream that nobody here has.
var errNothing = cause.Define("CBN-API-011", "There is nothing of that name to watch.", "See `carbonado service ls`, and `carbonado artifact ls` for streams.").Code(codes.NotFound)

// Top implements admin.Watching.
func (k *Kernel) Top(ctx context.Context) (admin.Top, error) {
	counters := k.counters(ctx)
	top := admin.Top{Time: time.Now().UTC(), Components: []admin.TopLine{}}
	for _, v := range k.reconciler.Views() {
		if v.Planned == nil {
			continue
		}
		c := k.line(v)
		l := admin.TopLine{Name: c.Name, State: c.State, Health: c.Health, Pid: c.Pid, Restarts: c.Restarts}
		if p, ok := processOf(v.Pid); ok {
			l.CPUSeconds, l.ResidentBytes, l.Threads = p.cpu.Seconds(), p.rss, p.threads
		}
		for _, m := range counters[v.Name] {
			for _, s := range m.Samples {
				in := s.Labels["direction"] == "in"
				switch {
				case m.Name == "carbonado_call_seconds" && in:
					l.Calls += float64(s.Count)
				case m.Name == "carbonado_calls_failed_total" && in:
					l.Failed += s.Value
				case m.Name == "carbonado_link_events_total" && in:
					l.EventsIn += s.Value
				case m.Name == "carbonado_link_events_total":
					l.EventsOut += s.Value
				case m.Name == "carbonado_link_dropped_total":
					l.Dropped += s.Value
				}
			}
		}
		top.Components = append(top.Components, l)
	}
	return top, nil
}

// Tap implements admin.Watching: a service is watched where it is provided, a stream at every component that knows it.
func (k *Kernel) Tap(ctx context.Context, r admin.TapRequest, send func(admin.TapLine) error) error {
	conns := k.reconciler.Conns()
	names := slices.Sorted(maps.Keys(conns))
	if r.Service != "" {
		if names = k.reconciler.ProvidersOf(r.Service); len(names) == 0 {
			return errNothing.New("nobody provides %s", r.Service)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	lines := make(chan admin.TapLine)
	var wg sync.WaitGroup
	defer wg.Wait() // after cancel
	defer cancel()
	begun := make(chan bool, len(names))
	for _, name := range names {
		conn, ok := conns[name]
		if !ok {
			begun <- false // the kernel's own services are not watched
			continue
		}
		stream, err := diagv1.NewDiagnosticsClient(conn).Tap(ctx, &diagv1.TapRequest{Service: r.Service, Stream: r.Stream, SamplesPerSecond: uint32(r.Samples)})
		if err != nil {
			begun <- false
			continue
		}
		wg.Go(func() {
			head, err := stream.Header()
			begun <- err == nil && len(head.Get("carbonado-tap")) > 0 // a component of an older SDK answers without
			for {
				ev, err := stream.Recv()
				if err != nil {
					if status.Code(err) != codes.Canceled {
						k.log.Debug("a tap ended", "component", name, "error", err)
					}
					return
				}
				select {
				case lines <- tapLine(name, ev):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	any := false
	for range names {
		any = <-begun || any
	}
	if !any {
		return errNothing.New("no component here can be watched")
	}
	if err := send(admin.TapLine{}); err != nil {
		return err
	}
	for {
		select {
		case l := <-lines:
			if err := send(l); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func tapLine(component string, ev *diagv1.TapEvent) admin.TapLine {
	return admin.TapLine{
		Time: time.Unix(0, ev.UnixNano).UTC(), Component: component, Direction: ev.Direction, Peer: ev.Peer, Method: ev.Method, Code: ev.Code,
		DurationMs: float64(ev.DurationNano) / 1e6, Stream: ev.Stream, Kind: ev.Kind, Rows: ev.Rows, Bytes: ev.Bytes, Sample: ev.Sample,
		Seen: ev.Seen, SeenRows: ev.SeenRows, SeenBytes: ev.SeenBytes, LeftOut: ev.LeftOut,
	}
}
