package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Attaching is implemented by a Runtime that lets a process which its developer started take a component's place.
type Attaching interface {
	// Attach opens a socket for one process; see Invitation.
	Attach(ctx context.Context, name, actor string) (Invitation, error)
}

// Invitation is what a process needs to join in the place of a component. It is good for one process.
type Invitation struct {
	Name string `json:"name"`
	// Socket is a Unix socket that only the server's user and root can use.
	Socket  string    `json:"socket"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// registerAttach adds the call that invites a process.
func (s *Server) registerAttach() {
	a, ok := s.Runtime.(Attaching)
	if !ok {
		return
	}
	type input struct {
		Name string `path:"name" doc:"Name of the component"`
	}
	huma.Register(s.api, huma.Operation{OperationID: "attach", Method: http.MethodPost, Path: "/api/components/{name}/attach", Summary: "Let a process that its developer starts, in a debugger for example, take a component's place", Errors: []int{401, 403, 404, 409}},
		func(ctx context.Context, in *input) (*body[Invitation], error) {
			i, err := a.Attach(ctx, in.Name, actor(ctx))
			if err != nil {
				return nil, failure(err)
			}
			return &body[Invitation]{i}, nil
		})
}
