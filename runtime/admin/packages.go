package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Packages is what a Runtime may be besides: one that follows changes of the installed packages.
type Packages interface {
	// RefreshPackages reads plugins/ and the rules for packages anew, and has what runs follow. It waits a while for that.
	RefreshPackages(ctx context.Context) error
}

// Refreshed answers POST /api/packages/refresh.
type Refreshed struct {
	Status string `json:"status" enum:"ok"`
}

func (s *Server) registerPackages() {
	p, ok := s.Runtime.(Packages)
	if !ok {
		return
	}
	huma.Register(s.api, huma.Operation{OperationID: "refreshPackages", Method: http.MethodPost, Path: "/api/packages/refresh",
		Summary: "Take up what changed in plugins/ and in the rules for packages", Errors: []int{401, 403, 504}},
		func(ctx context.Context, _ *struct{}) (*body[Refreshed], error) {
			ctx, cancel := context.WithTimeout(ctx, changeTimeout)
			defer cancel()
			if err := p.RefreshPackages(ctx); err != nil {
				return nil, failure(err)
			}
			return &body[Refreshed]{Refreshed{Status: "ok"}}, nil
		})
}
