package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Updating is what a Runtime adds that replaces a component's package while it serves. It is found by assertion.
type Updating interface {
	// Update makes the component run its highest installed version, or the one that is named. It returns when that one serves, or
	// when what ran before serves on: that is a Replacement too, not an error.
	Update(ctx context.Context, name, version, actor string) (Replacement, error)
}

// Replacement is what became of an update, or of a restart, in which the new process stood beside the old one.
type Replacement struct {
	Name string `json:"name"`
	// Outcome is UPDATED, ROLLED_BACK (the new process failed, the old one serves), REFUSED (nothing was started) or UNCHANGED.
	Outcome string `json:"outcome"`
	// From and To are versions.
	From string `json:"from"`
	To   string `json:"to"`
	// Generation that serves now.
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`
	// StallMs is how long calls had to wait, in milliseconds.
	StallMs float64 `json:"stallMs"`
	// Cause says why the new one does not serve; null if it does.
	Cause *Cause `json:"cause"`
}

// registerUpdates adds the calls that replace a process.
func (s *Server) registerUpdates() {
	type restartInput struct {
		Name string `path:"name" doc:"Name of the component"`
		Hard bool   `query:"hard" doc:"Kill the old process first, instead of replacing it by one beside it"`
	}
	huma.Register(s.api, huma.Operation{OperationID: "restart", Method: http.MethodPost, Path: "/api/components/{name}/restart", Summary: "restart a component", Errors: []int{401, 403, 404, 409, 504}},
		func(ctx context.Context, in *restartInput) (*body[Component], error) {
			ctx, cancel := context.WithTimeout(ctx, changeTimeout)
			defer cancel()
			if err := s.Runtime.Restart(ctx, in.Name, actor(ctx), in.Hard); err != nil {
				if ctx.Err() != nil {
					err = ErrTimeout.Wrap(err, "restart of %s", in.Name)
				}
				return nil, failure(err)
			}
			c, err := s.Runtime.Component(ctx, in.Name)
			if err != nil {
				return nil, failure(err)
			}
			return &body[Component]{c}, nil
		})
	u, ok := s.Runtime.(Updating)
	if !ok {
		return
	}
	type updateInput struct {
		Name    string `path:"name" doc:"Name of the component"`
		Version string `query:"version" doc:"Installed version that is to run; without it the highest"`
	}
	huma.Register(s.api, huma.Operation{OperationID: "update", Method: http.MethodPost, Path: "/api/components/{name}/update", Summary: "Run another installed version of a component, without losing a call", Errors: []int{401, 403, 404, 409, 504}},
		func(ctx context.Context, in *updateInput) (*body[Replacement], error) {
			ctx, cancel := context.WithTimeout(ctx, changeTimeout)
			defer cancel()
			v, err := u.Update(ctx, in.Name, in.Version, actor(ctx))
			if err != nil {
				if ctx.Err() != nil {
					err = ErrTimeout.Wrap(err, "update of %s", in.Name)
				}
				return nil, failure(err)
			}
			return &body[Replacement]{v}, nil
		})
}
