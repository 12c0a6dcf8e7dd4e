// Package depsync keeps the deployment folders of a cluster's nodes equal: what lies in one node's folder becomes numbered generations,
// and the other nodes bring theirs to the latest. It must not know what the files mean, who deploys them, or how the nodes agree.
package depsync

import (
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Keys of the shared state, and the name of the committer's lease.
const (
	keyCurrent   = "deployment/current"
	keyCommitter = "deployment/committer"
	keyNodes     = "deployment/nodes"
)

// keyNode is where a node reports.
func keyNode(id string) string { return keyNodes + "/" + id }

// Errors of this package.
var (
	ErrManifest = cause.Define("CBN-SYN-001", "A list of deployed files can't be used.",
		"Look at the node that is the committer (`carbonado node ls`): it made the list.").Code(codes.InvalidArgument)
	ErrContent = cause.Define("CBN-SYN-002", "A deployed content is not what its digest says.",
		"Nothing: it was thrown away, and another node is asked. If it comes again, look at the disk of the node that is named.").Code(codes.DataLoss)
	ErrNoSource = cause.Define("CBN-SYN-003", "A deployed content can't be had from any node.",
		"Bring a node back that has it. Where this node is the committer and its folder is right, run `carbonado node commit`.").Code(codes.Unavailable)
	ErrOtherCommitter = cause.Define("CBN-SYN-004", "Another node is the cluster's committer of deployments.",
		"Let one node only be the committer, and deploy there.").Code(codes.FailedPrecondition)
	ErrMuchGone = cause.Define("CBN-SYN-005", "Much of the deployment folder is gone at once; it was not passed on.",
		"Look whether a disk is missing. If the files are meant to be gone, run `carbonado node commit`.").Code(codes.FailedPrecondition)
	ErrChanging = cause.Define("CBN-SYN-006", "A file changed while it was taken into a generation.",
		"Nothing: it is tried again.").Code(codes.Aborted)
	ErrOlder = cause.Define("CBN-SYN-007", "The cluster's shared state is older than this node's deployment.",
		"The node keeps what it has. Let the committer commit again (`carbonado node commit`).").Code(codes.FailedPrecondition)
	ErrDisk = cause.Define("CBN-SYN-008", "Deployed files can't be read or written.",
		"Free space or repair the file system that is named.").Code(codes.Unavailable)
	ErrFollows = cause.Define("CBN-SYN-009", "This node takes deployments over; it commits none.",
		"Deploy on the node that is the committer (`carbonado node ls`).").Code(codes.FailedPrecondition)
)

// Pointer says which generation is the present one.
type Pointer struct {
	// Generation counts the contents that there were; it only grows. 0 is none.
	Generation uint64 `json:"generation"`
	// Digest of the manifest.
	Digest string `json:"digest"`
	// Committer is the node that made it, Token its lease's.
	Committer string `json:"committer"`
	Token     uint64 `json:"token"`
	// Time by the committer's clock, for people.
	Time time.Time `json:"time"`
}

// Report is what a node says of itself.
type Report struct {
	Node       string `json:"node"`
	Generation uint64 `json:"generation"`
	Digest     string `json:"digest"`
	// Time is when the node came to the generation, by its clock.
	Time time.Time `json:"time"`
	// Problem is what keeps it from the present one; empty for nothing.
	Problem string `json:"problem,omitempty"`
}

// NodeState is a node as the others see it.
type NodeState struct {
	Report
	// Address is empty for a node that is no member now.
	Address string
	// Member is false for a node that can't be reached; Report is the last that it gave.
	Member bool
	// Committer is true for the node whose folder the others follow.
	Committer bool
	// Behind is how many generations there were since the node's; 0 if it is current.
	Behind uint64
}

// Times are the waits of this package; a zero field means its default.
type Times struct {
	// Debounce is the quiet time after Ring before a look (1 s).
	Debounce time.Duration
	// Reread is the time between looks without any news (15 s).
	Reread time.Duration
	// Verify is the time after which a follower reads its folder again (1 h).
	Verify time.Duration
	// Call is how long one call of the coordinator, or the beginning of a transfer, may take (3 s).
	Call time.Duration
}

func (t Times) orDefaults() Times {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Debounce, time.Second)
	set(&t.Reread, 15*time.Second)
	set(&t.Verify, time.Hour)
	set(&t.Call, 3*time.Second)
	return t
}
