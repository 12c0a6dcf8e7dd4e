package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Clustered is what a Runtime adds that is a node of a cluster, of one at least. It is found by assertion.
type Clustered interface {
	// Nodes lists all that ever reported their deployment and all members, ordered by id.
	Nodes(ctx context.Context) ([]Node, error)
	// CommitDeployment makes a generation of what lies in this node's deployment folder, though much may be gone from it.
	CommitDeployment(ctx context.Context, actor string) (Generation, error)
}

// Node is one line of `carbonado node ls`.
type Node struct {
	Node string `json:"node"`
	// Address is empty for one that is no member now.
	Address string `json:"address"`
	// Generation and Digest are what the node's deployment folder holds, by its last report; 0 is none.
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest"`
	// State is NodeStateText of Behind: how many generations there were since.
	State  string `json:"state"`
	Behind uint64 `json:"behind"`
	// Since is when the node came to its generation, by its own clock.
	Since *time.Time `json:"since"`
	// Member is false for a node that can't be reached.
	Member bool `json:"member"`
	// Committer is true for the node whose deployment folder the others follow, Self for the one that answers.
	Committer bool `json:"committer"`
	Self      bool `json:"self"`
	// Problem is what keeps the node from the present generation; empty for nothing.
	Problem string `json:"problem"`
}

// NodeStateText is "current", or "behind N" for a node that many generations behind.
func NodeStateText(behind uint64) string {
	if behind == 0 {
		return "current"
	}
	return fmt.Sprintf("behind %d", behind)
}

// Generation is one state of the deployment folder. Nodes with equal digests have equal folders.
type Generation struct {
	Generation uint64    `json:"generation"`
	Digest     string    `json:"digest"`
	Committer  string    `json:"committer"`
	Time       time.Time `json:"time"`
}

// registerNodes adds the calls of Clustered.
func (s *Server) registerNodes() {
	c, ok := s.Runtime.(Clustered)
	if !ok {
		return
	}
	get(s, "nodes", "/api/nodes", "Nodes of the cluster and what is deployed on them", func(ctx context.Context, _ *none) ([]Node, error) { return c.Nodes(ctx) })
	huma.Register(s.api, huma.Operation{OperationID: "commit-deployment", Method: http.MethodPost, Path: "/api/nodes/commit", Summary: "Make a generation of this node's deployment folder as it is", Errors: []int{401, 403, 409, 503}},
		func(ctx context.Context, _ *none) (*body[Generation], error) {
			ctx, cancel := context.WithTimeout(ctx, changeTimeout)
			defer cancel()
			d, err := c.CommitDeployment(ctx, actor(ctx))
			if err != nil {
				return nil, failure(err)
			}
			return &body[Generation]{d}, nil
		})
}
