package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Leveled is what a Runtime adds that has start levels. It is found by assertion.
type Leveled interface {
	Level(ctx context.Context) (Levels, error)
	// SetLevel goes up or down, one level after the other, and returns when that is done.
	SetLevel(ctx context.Context, level int, actor string) error
}

// Resetting is what a Runtime adds that forgets failures. It is found by assertion.
type Resetting interface {
	// ResetFailed gives a component its whole restart budget back; one that is FAILED starts again if it should run.
	ResetFailed(ctx context.Context, name, actor string) error
}

// Levels answers `carbonado level`.
type Levels struct {
	// Level in force; Target differs from it while a change is under way.
	Level  int     `json:"level"`
	Target int     `json:"target"`
	Levels []Level `json:"levels"`
}

// Level is one start level that components have.
type Level struct {
	Level      int      `json:"level"`
	Components []string `json:"components"`
}

// registerLevels adds the calls of start levels and of failures.
func (s *Server) registerLevels() {
	if l, ok := s.Runtime.(Leveled); ok {
		get(s, "level", "/api/level", "The start level", func(ctx context.Context, _ *none) (Levels, error) { return l.Level(ctx) })
		type input struct {
			Body struct {
				Level int `json:"level" minimum:"1" maximum:"1000" doc:"The level to go to"`
			}
		}
		huma.Register(s.api, huma.Operation{OperationID: "set-level", Method: http.MethodPost, Path: "/api/level", Summary: "Go up or down to a start level", Errors: []int{400, 401, 403, 504}},
			func(ctx context.Context, in *input) (*body[Levels], error) {
				ctx, cancel := context.WithTimeout(ctx, changeTimeout)
				defer cancel()
				if err := l.SetLevel(ctx, in.Body.Level, actor(ctx)); err != nil {
					if ctx.Err() != nil {
						err = ErrTimeout.Wrap(err, "level %d", in.Body.Level)
					}
					return nil, failure(err)
				}
				v, err := l.Level(ctx)
				if err != nil {
					return nil, failure(err)
				}
				return &body[Levels]{v}, nil
			})
	}
	if f, ok := s.Runtime.(Resetting); ok {
		huma.Register(s.api, huma.Operation{OperationID: "reset-failed", Method: http.MethodPost, Path: "/api/components/{name}/reset-failed", Summary: "Give a component its restart budget back", Errors: []int{401, 403, 404, 504}},
			func(ctx context.Context, in *named) (*body[Component], error) {
				ctx, cancel := context.WithTimeout(ctx, changeTimeout)
				defer cancel()
				if err := f.ResetFailed(ctx, in.Name, actor(ctx)); err != nil {
					return nil, failure(err)
				}
				c, err := s.Runtime.Component(ctx, in.Name)
				if err != nil {
					return nil, failure(err)
				}
				return &body[Component]{c}, nil
			})
	}
}
