package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/sdk/cause"
)

// The kinds of error of changes that are planned first.
var (
	ErrMoved = cause.Define("CBN-API-007", "The node is no longer as it was when the change was planned.",
		"Plan it again, look at it, and apply that one.").Code(codes.Aborted)
	ErrNoDeployment = cause.Define("CBN-API-008", "The history has no such entry.", "See `carbonado history`.").Code(codes.NotFound)
	ErrArguments    = cause.Define("CBN-API-009", "Something can't be changed while the server runs.",
		"Profile words and -Ddisable…/-Denable… switches can; for the rest start the server with the new arguments.").Code(codes.FailedPrecondition)
	ErrUnapplied = cause.Define("CBN-API-010", "A change was made, but something did not come up.",
		"See `carbonado component diag` of those that are named; `carbonado rollback` takes the change back.").Code(codes.FailedPrecondition)
)

// Changing is what a Runtime adds for changes of the desired state that are looked at first. It is found by assertion.
type Changing interface {
	// PlanChange says what a change would do, and changes nothing.
	PlanChange(ctx context.Context, r ChangeRequest, actor string) (PlannedChange, error)
	// ApplyChange does it. With an ID in the request it does exactly what was planned under that ID, or fails with ErrMoved.
	ApplyChange(ctx context.Context, r ChangeRequest, actor string) (PlannedChange, error)
	// Deployments lists the changes of the desired state, oldest first.
	Deployments(ctx context.Context) ([]Deployment, error)
}

// ChangeRequest is a change of the desired state. The zero value means: as the installation's files are now.
type ChangeRequest struct {
	// ID of the planned change that is to be applied; empty applies whatever it comes to.
	ID string `json:"id,omitempty" doc:"Identity of the planned change, as POST /api/plan answered it"`
	// Arguments: profile words, --profile NAME, -D definitions. They are laid over those in force; a profile takes the place of the profile.
	Arguments []string `json:"arguments,omitempty" doc:"Profile words, --profile NAME and -D switches, laid over those in force"`
	Disable   []string `json:"disable,omitempty" doc:"Components that a lasting rule is to disable"`
	Enable    []string `json:"enable,omitempty" doc:"Components whose lasting rule is to be taken back"`
	Packages  []string `json:"packages,omitempty" doc:"Absolute paths of packages on this node that are to be installed"`
	// Rollback is the number of an entry of the history: its desired state. -1 is the one before the last.
	Rollback int `json:"rollback,omitempty" doc:"Back to the desired state of this entry of the history; -1: the one before the last"`
}

// PlannedChange answers POST /api/plan and POST /api/apply.
type PlannedChange struct {
	ID string `json:"id"`
	// Changes in the order in which they are done; empty if nothing changes.
	Changes []plan.Change `json:"changes"`
	// Notices are things that the operator should know.
	Notices []string `json:"notices"`
	// Components is the plan after the change (SEAMS.md section 7).
	Components json.RawMessage `json:"components"`
	// Number of the entry in the history, once applied.
	Number int `json:"number,omitempty"`
}

// Deployment is one entry of `carbonado history`: a desired state, and who brought it about.
type Deployment struct {
	Number int       `json:"number"`
	Time   time.Time `json:"time"`
	Actor  string    `json:"actor"`
	// What is one sentence: what was asked for.
	What string `json:"what"`
	// Changes are what it did.
	Changes []plan.Change `json:"changes"`
	// Outcome is "done", or what did not come up.
	Outcome string  `json:"outcome"`
	Desired Desired `json:"desired"`
}

// Desired is all that an operator decides.
type Desired struct {
	Profile string `json:"profile"`
	// Arguments of the server, those changed at run time included.
	Arguments []string `json:"arguments"`
	// Disabled are the components that lasting rules disable.
	Disabled []string `json:"disabled"`
	// Packages are the versions in force, by component.
	Packages map[string]string `json:"packages"`
	// Digests of the packages, by component.
	Digests map[string]string `json:"digests"`
}

func (s *Server) registerChanges() {
	c, ok := s.Runtime.(Changing)
	if !ok {
		return
	}
	type input struct{ Body ChangeRequest }
	huma.Register(s.api, huma.Operation{OperationID: "planChange", Method: http.MethodPost, Path: "/api/plan", Summary: "What a change would do; nothing is changed", Errors: []int{400, 401, 403, 404, 409}},
		func(ctx context.Context, in *input) (*body[PlannedChange], error) {
			v, err := c.PlanChange(ctx, in.Body, actor(ctx))
			if err != nil {
				return nil, failure(err)
			}
			return &body[PlannedChange]{v}, nil
		})
	huma.Register(s.api, huma.Operation{OperationID: "apply", Method: http.MethodPost, Path: "/api/apply", Summary: "Make a change of the desired state", Errors: []int{400, 401, 403, 404, 409, 504}},
		func(ctx context.Context, in *input) (*body[PlannedChange], error) {
			ctx, cancel := context.WithTimeout(ctx, changeTimeout)
			defer cancel()
			v, err := c.ApplyChange(ctx, in.Body, actor(ctx))
			if err != nil {
				if ctx.Err() != nil {
					err = ErrTimeout.Wrap(err, "the change")
				}
				return nil, failure(err)
			}
			return &body[PlannedChange]{v}, nil
		})
	get(s, "deployments", "/api/history", "Changes of the desired state", func(ctx context.Context, _ *none) ([]Deployment, error) { return c.Deployments(ctx) })
}
