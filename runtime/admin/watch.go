package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Watching is what a Runtime adds for those who watch it at work. It is found by assertion.
type Watching interface {
	// Top is what each component uses and has done so far.
	Top(ctx context.Context) (Top, error)
	// Tap sends what passes through a service or a stream until ctx ends or send fails. Neither being known is an error of kind ErrNothing.
	Tap(ctx context.Context, r TapRequest, send func(TapLine) error) error
}

// Top answers GET /api/top: two of them make rates.
type Top struct {
	Time       time.Time `json:"time"`
	Components []TopLine `json:"components"`
}

// TopLine is one component. Counts are totals since its process began.
type TopLine struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Health string `json:"health"`
	Pid    int    `json:"pid"`
	// CPUSeconds is its CPU time, ResidentBytes its memory now.
	CPUSeconds    float64 `json:"cpuSeconds"`
	ResidentBytes int64   `json:"residentBytes"`
	Threads       int     `json:"threads"`
	Restarts      int     `json:"restarts"`
	// Calls that it served, Failed of them, and events that came in and went out over links.
	Calls     float64 `json:"calls"`
	Failed    float64 `json:"failed"`
	EventsIn  float64 `json:"eventsIn"`
	EventsOut float64 `json:"eventsOut"`
	Dropped   float64 `json:"dropped"`
	// Rates per second are filled by `carbonado top`.
	CPUPercent      float64 `json:"cpuPercent,omitempty"`
	CallsPerSecond  float64 `json:"callsPerSecond,omitempty"`
	EventsPerSecond float64 `json:"eventsPerSecond,omitempty"`
}

// TapRequest says what to watch: a service or a stream.
type TapRequest struct {
	Service string
	Stream  string
	// Samples per second that show content, per component; 0 is none.
	Samples int
}

// TapLine is one call or frame as a component saw it.
type TapLine struct {
	Time      time.Time `json:"time"`
	Component string    `json:"component"`
	// Direction is in or out, Peer the component at the other end.
	Direction  string  `json:"direction"`
	Peer       string  `json:"peer"`
	Method     string  `json:"method,omitempty"`
	Code       string  `json:"code,omitempty"`
	DurationMs float64 `json:"durationMs,omitempty"`
	Stream     string  `json:"stream,omitempty"`
	Kind       string  `json:"kind,omitempty"`
	Rows       uint32  `json:"rows,omitempty"`
	Bytes      uint64  `json:"bytes"`
	Sample     string  `json:"sample,omitempty"`
	// Seen, SeenRows and SeenBytes count since the tap began, LeftOut what the reader was too slow for.
	Seen      uint64 `json:"seen"`
	SeenRows  uint64 `json:"seenRows"`
	SeenBytes uint64 `json:"seenBytes"`
	LeftOut   uint64 `json:"leftOut"`
}

// maxSamples is the most samples per second and component that one tap gets.
const maxSamples = 1000

func (s *Server) registerWatching() {
	watch, ok := s.Runtime.(Watching)
	if !ok {
		return
	}
	get(s, "top", "/api/top", "What each component uses and has done", func(ctx context.Context, _ *none) (Top, error) { return watch.Top(ctx) })
	s.mux.HandleFunc("GET /api/tap", func(w http.ResponseWriter, r *http.Request) { s.tap(watch, w, r) })
	text := &huma.Schema{Type: huma.TypeString}
	s.api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "tap", Method: http.MethodGet, Path: "/api/tap", Summary: "Traffic of a service or a stream, one JSON object a line",
		Parameters: []*huma.Param{
			{Name: "service", In: "query", Description: "Full name of a service", Schema: text}, {Name: "stream", In: "query", Description: "Name of a stream, with or without its version", Schema: text},
			{Name: "samples", In: "query", Description: "How many lines per second and component show content", Schema: &huma.Schema{Type: huma.TypeInteger, Default: 10}},
		},
		Responses: map[string]*huma.Response{"200": {Description: "Lines until the reader goes", Content: map[string]*huma.MediaType{"application/x-ndjson": {Schema: text}}}},
	})
}

func (s *Server) tap(watch Watching, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := TapRequest{Service: q.Get("service"), Stream: q.Get("stream"), Samples: 10}
	if text := q.Get("samples"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxSamples {
			writeFailure(w, failure(ErrInput.New("samples=%s: a number from 0 to %d", text, maxSamples)).(*Failure))
			return
		}
		req.Samples = n
	}
	if (req.Service == "") == (req.Stream == "") {
		writeFailure(w, failure(ErrInput.New("one of service and stream is needed")).(*Failure))
		return
	}
	rc, begun := http.NewResponseController(w), false
	begin := func() {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.WriteHeader(http.StatusOK)
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	err := watch.Tap(r.Context(), req, func(l TapLine) error {
		begin()
		if l.Component != "" { // an empty line only says that the tap has begun
			_ = rc.SetWriteDeadline(time.Now().Add(s.patience)) // not every connection has deadlines: then there is none
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		return rc.Flush()
	})
	if err != nil && !begun {
		writeFailure(w, failure(err).(*Failure))
	}
}
