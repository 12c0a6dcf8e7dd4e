package eventreceiver

import (
	"encoding/json"
	"net/http"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
)

// routes serves /streams: the definitions in force and what came in.
func (r *receiver) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /streams", r.allowed(func(w http.ResponseWriter, _ *http.Request) {
		all, _ := r.streams.Streams()
		type line struct {
			ID      string `json:"id"`
			File    string `json:"file"`
			Durable string `json:"durable,omitempty"`
		}
		out := struct {
			Streams []line `json:"streams"`
			// Events stored and refused since the component's start.
			Stored   uint64 `json:"eventsStored"`
			Refused  uint64 `json:"eventsRefused"`
			Sessions int    `json:"sessions"`
		}{Streams: []line{}, Stored: r.events.Load(), Refused: r.report.events.Load(), Sessions: r.sessions.Sweep()}
		for _, s := range all {
			out.Streams = append(out.Streams, line{s.ID, "eventstreams/" + s.File + ".json", s.Definition.Durable})
		}
		answer(w, http.StatusOK, out)
	}))
	mux.HandleFunc("GET /streams/{id}", r.allowed(func(w http.ResponseWriter, req *http.Request) {
		s, err := r.streams.Get(req.PathValue("id"))
		if err != nil {
			refuse(w, http.StatusNotFound, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(s.Definition.JSON())
	}))
	return mux
}

// allowed asks for the permission to publish.
func (r *receiver) allowed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if p := component.PrincipalFrom(req.Context()); !component.Granted(p, publishPermission) {
			refuse(w, http.StatusForbidden, ErrPermission.New("user %.100q", p.GetUser()))
			return
		}
		h(w, req)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// refuse answers an error as all of the server's routes do: {status, message, cause}.
func refuse(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]any{"status": "failed", "message": err.Error(), "cause": cause.Proto(err)})
}
