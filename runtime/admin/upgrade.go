package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/runtime/gateway"
	"carbonado.dev/sdk/cause"
)

// The kinds of error of an upgrade.
var (
	ErrProgram = cause.Define("CBN-API-020", "A file is no kernel that this node can be upgraded to.",
		"Give the `carbonado` binary of a release for this machine's architecture.").Code(codes.FailedPrecondition)
	ErrUpgrading = cause.Define("CBN-API-021", "The kernel can't hand over now.",
		"Wait until the server is RUNNING and no other upgrade is under way.").Code(codes.Aborted)
	ErrNotHere = cause.Define("CBN-API-022", "This can be asked for on the node only.",
		"Log in on the node and use its `carbonado` command.").Code(codes.PermissionDenied)
	ErrUpgradeFailed = cause.Define("CBN-API-023", "An upgrade was given up; the program before it runs on.",
		"See the kernel's log for why the new one did not come up, then try another.").Code(codes.FailedPrecondition)
)

// ViaSocket is how a principal has come who called on the node's admin socket.
const ViaSocket = "admin-socket"

// Upgrading is what a Runtime adds that can be replaced while its components run. It is found by assertion.
type Upgrading interface {
	// Upgrade verifies a program, installs it and hands the node over to it: the answer comes before that has happened, Status says how it
	// went.
	Upgrade(ctx context.Context, r UpgradeRequest, actor string) (Upgrade, error)
}

// UpgradeRequest asks for another kernel program.
type UpgradeRequest struct {
	// File is an absolute path on the node; empty is the installation's bin/carbonado, which somebody has replaced.
	File string `json:"file,omitempty" doc:"Absolute path of the new program on this node; empty: bin/carbonado as it is now"`
	// Digest is the SHA-256, hexadecimal, that the file must have; empty is any.
	Digest string `json:"digest,omitempty" doc:"SHA-256 that the file must have"`
	// DeadlineMs is how long the new kernel may take to be RUNNING; 0 is a minute.
	DeadlineMs int64 `json:"deadlineMs,omitempty" doc:"How long the new kernel may take to be RUNNING, in milliseconds; 0: a minute"`
}

// Upgrade is one replacement of the kernel's program.
type Upgrade struct {
	File   string    `json:"file"`
	Digest string    `json:"digest"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
	// State is "handing over", "done" or "refused"; Reason says why it was refused.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// Takeover says how this kernel followed another.
type Takeover struct {
	// Kernel is the pid of the one before, Ended how that ended.
	Kernel int       `json:"kernel"`
	Ended  string    `json:"ended"`
	At     time.Time `json:"at"`
	// Components that went on, of those that were running.
	Components int `json:"components"`
	Of         int `json:"of"`
	// Milliseconds from the end of the one before until this one was RUNNING; 0 before that.
	TookMs int64 `json:"tookMs"`
}

// registerUpgrade adds what an Upgrading runtime can do.
func (s *Server) registerUpgrade() {
	u, ok := s.Runtime.(Upgrading)
	if !ok {
		return
	}
	huma.Register(s.api, huma.Operation{OperationID: "upgrade", Method: http.MethodPost, Path: "/api/upgrade", Summary: "Replace the kernel's program beneath running components", Errors: []int{400, 401, 403, 409}},
		func(ctx context.Context, in *struct{ Body UpgradeRequest }) (*body[Upgrade], error) {
			if p := gateway.PrincipalFrom(ctx); p == nil || p.Via != ViaSocket {
				return nil, failure(ErrNotHere.New("an upgrade executes a file of the node"))
			}
			v, err := u.Upgrade(ctx, in.Body, actor(ctx))
			if err != nil {
				return nil, failure(err)
			}
			return &body[Upgrade]{v}, nil
		})
}
