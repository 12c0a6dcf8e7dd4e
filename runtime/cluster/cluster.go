// Package cluster is the contract of agreement between nodes: members, fenced leases, small shared state and watches. It
// must not know how agreement is reached, nor what the leases guard.
package cluster

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Limits of the shared state, equal for every implementation so that no user meets them only in production.
const (
	// MaxKey is the longest key, lease name or holder in bytes.
	MaxKey = 512
	// MaxValue is the largest value in bytes.
	MaxValue = 512 << 10
	// MinTTL and MaxTTL bound how long a lease lasts without being renewed.
	MinTTL = 100 * time.Millisecond
	MaxTTL = 24 * time.Hour
)

// Errors of a Coordinator.
var (
	ErrConflict = cause.Define("CBN-CLU-001", "The value has changed since it was read.",
		"Read it again and decide anew.").Code(codes.Aborted)
	ErrInvalid = cause.Define("CBN-CLU-002", "A name, value or time is outside the coordinator's limits.",
		"Keep keys within 512 bytes, values within 512 KiB and times to live between 100 ms and 24 h.").Code(codes.InvalidArgument)
	ErrClosed = cause.Define("CBN-CLU-003", "The coordinator is closed.",
		"The node is stopping; ask again after its start.").Code(codes.Unavailable)
	ErrStorage = cause.Define("CBN-CLU-004", "The coordinator's state can't be kept on disk.",
		"Free space or repair the file system below repository/data/kernel, then restart the server.").Code(codes.Unavailable)
	ErrInUse = cause.Define("CBN-CLU-005", "Another server uses this installation's data.",
		"Stop the other server, or give this one a CARBON_HOME of its own.").Code(codes.FailedPrecondition)
	ErrDamaged = cause.Define("CBN-CLU-006", "The coordinator's state on disk is damaged.",
		"Nothing: the server sets it aside and goes on with higher numbers. What it held is lost: see the file that was set aside.").Code(codes.DataLoss)
	ErrUnavailable = cause.Define("CBN-CLU-007", "The cluster's shared state can't be reached.",
		"Nothing on this node: it keeps what it has and asks again. Look at the network between the nodes.").Code(codes.Unavailable)
)

// Member is one node.
type Member struct {
	NodeID  string
	Address string
	// Self is true for the node that answers.
	Self bool
	// Leader is true for the one node that does what only one may.
	Leader bool
}

// Lease is the answer to Acquire.
type Lease struct {
	// Granted is false if another holder has it; Holder says who.
	Granted bool
	// Token grows with every new holder of the name, for ever. What the lease guards refuses smaller ones than it has seen.
	Token  uint64
	Holder string
	// Expires is when the lease ends unless it is renewed.
	Expires time.Time
}

// Value is what a key holds.
type Value struct {
	Found bool
	Bytes []byte
	// Version grows with each change of the key and is never used again, not even after the key was deleted. 0 is absent.
	Version uint64
}

// Coordinator is agreement between nodes. All methods are safe for concurrent use. An error of Acquire, Set or Delete that
// is not one of ErrConflict or ErrInvalid leaves the outcome unknown: the caller reads again.
type Coordinator interface {
	// Members lists the nodes, ordered by id.
	Members(ctx context.Context) ([]Member, error)
	// Acquire takes a lease, or renews it for the holder that has it (same token).
	Acquire(ctx context.Context, name, holder string, ttl time.Duration) (Lease, error)
	// Release gives a lease up. One that is not held by this holder under this token is no error and changes nothing.
	Release(ctx context.Context, name, holder string, token uint64) error
	// Get reads a key; an absent one is no error.
	Get(ctx context.Context, key string) (Value, error)
	// Set writes a key if its version still is ifVersion (0: if it is absent), else ErrConflict. The same bytes again
	// change nothing, wake nobody and return the present version.
	Set(ctx context.Context, key string, value []byte, ifVersion uint64) (uint64, error)
	// Delete removes a key under the same condition. An absent key with ifVersion 0 is no error.
	Delete(ctx context.Context, key string, ifVersion uint64) error
	// Watch gives the present value at once and then the latest one after each change; values in between may be left out.
	// The channel is closed when ctx ends or the coordinator closes.
	Watch(ctx context.Context, key string) (<-chan Value, error)
}
