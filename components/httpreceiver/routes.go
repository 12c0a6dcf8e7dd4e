package httpreceiver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// publishPermission is what DAS asks of a publisher.
const publishPermission = "/permission/admin/publish/wso2event"

func (a *adapter) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /endpoints/{receiver}", a.post)
	return mux
}

// post takes one message. Answers: 200 when all events are stored, 400 with the cause if they can't be mapped or are refused, 503 if the
// same request may succeed later.
func (a *adapter) post(w http.ResponseWriter, req *http.Request) {
	if p := component.PrincipalFrom(req.Context()); !component.Granted(p, publishPermission) {
		refuse(w, http.StatusForbidden, ErrPublisher.New("user %.100q", p.GetUser()))
		return
	}
	defer a.begin()()
	name := req.PathValue("receiver")
	r := a.find(req.Context(), name)
	if r == nil {
		select {
		case <-component.Draining(req.Context()):
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, ErrBusy.New("receiver %.100q is taken over by another process", name))
			return
		default:
		}
		refuse(w, http.StatusNotFound, ErrNone.New("receiver %.100q", name))
		return
	}
	if s := req.URL.Scheme; s != "" && !r.transports[s] {
		refuse(w, http.StatusForbidden, ErrTransport.New("receiver %s over %s", name, s))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, a.config.Load().MaxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		refuse(w, http.StatusRequestEntityTooLarge, ErrTooLarge.New("a request of more than %d bytes", large.Limit))
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, ErrOpen.Wrap(err, "the body can't be read"))
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), a.config.Load().timeout)
	defer cancel()
	received := time.Now().UnixMilli()
	var outcome *analyticsv1.MessageOutcome
	for next := r; next != nil; {
		r = next
		var taken bool
		outcome, taken, err = r.deliver(ctx, &analyticsv1.AdapterMessage{Payload: body, ContentType: req.Header.Get("Content-Type"), ReceivedUnixMs: received})
		next = nil
		if !taken || outcome.GetRetry() {
			next = a.successor(r)
		}
	}
	switch {
	case err != nil:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, err)
	case outcome.GetCause() == nil:
		answer(w, http.StatusOK, map[string]any{"status": "stored", "events": outcome.GetEvents()})
	case outcome.GetRetry():
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, cause.FromProto(outcome.GetCause(), codes.Unavailable))
	default:
		refuse(w, http.StatusBadRequest, cause.FromProto(outcome.GetCause(), codes.InvalidArgument))
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
