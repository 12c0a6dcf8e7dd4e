package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// aliveEvery is how long GET /api/events is silent at most: a dead peer is noticed on both sides.
	aliveEvery = 15 * time.Second
	// readerPatience is how long a reader of events may take for one of them.
	readerPatience = 10 * time.Second
)

// registerEvents adds GET /api/events. It is no sse.Register of huma's: that leaves a write deadline behind, which over HTTP/2
// ends the stream at the first pause.
func (s *Server) registerEvents() {
	schema := huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[Event]())
	huma.Register(s.api, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/api/events", Summary: "What happens, as server-sent events",
		Description: "Each message's data is one event. The first one tells the present state; after at most 15 seconds of silence one of kind status comes.",
		Errors:      []int{401, 403, 503},
		Responses:   map[string]*huma.Response{"200": {Description: "Events until the reader goes", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}}}},
	}, func(ctx context.Context, _ *none) (*huma.StreamResponse, error) {
		ch, err := s.Runtime.Events(ctx)
		if err != nil {
			return nil, failure(err)
		}
		status, err := s.Runtime.Status(ctx)
		if err != nil {
			return nil, failure(err)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			_, w := humago.Unwrap(hc)
			s.stream(ctx, w, status.State, ch)
		}}, nil
	})
}

// stream writes events until the reader goes, is too slow, or the server ends.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, state string, ch <-chan Event) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := eventWriter{w: w, rc: http.NewResponseController(w), patience: s.patience}
	if out.send(Event{Time: time.Now().UTC(), Kind: "status", Text: "connected", State: state}) != nil {
		return
	}
	tick := time.NewTicker(s.alive)
	defer tick.Stop()
	for {
		var err error
		select {
		case ev, ok := <-ch:
			if !ok {
				return
			}
			tick.Reset(s.alive)
			err = out.send(ev)
		case <-tick.C:
			err = out.send(Event{Time: time.Now().UTC(), Kind: "status", Text: "alive"})
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// eventWriter writes one event at a time, each within patience.
type eventWriter struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
}

func (o eventWriter) send(ev Event) error {
	data, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	_ = o.rc.SetWriteDeadline(time.Now().Add(o.patience)) // not every connection has deadlines: then there is none
	if ev.Seq > 0 {
		_, err = fmt.Fprintf(o.w, "id: %d\ndata: %s\n\n", ev.Seq, data)
	} else {
		_, err = fmt.Fprintf(o.w, "data: %s\n\n", data)
	}
	if err == nil {
		err = o.rc.Flush()
	}
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	_ = o.rc.SetWriteDeadline(time.Time{})
	return err
}
