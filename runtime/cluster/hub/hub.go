// Package hub is a cluster of any number of members in one process, for the tests of what runs on several nodes. It must not know what
// is kept or guarded.
package hub

import (
	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/state"
)

// Hub is what the members share. It lives as long as the process.
type Hub struct{ machine *state.Machine }

// Member is the Coordinator of one node. Beside what every one can, it can be cut off from the others (Cut), lose the answers to what it
// asks for (LoseAnswers), come back (Mend) and leave (Close).
type Member = state.Port

var _ cluster.Coordinator = (*Member)(nil)

// New makes a cluster without members.
func New() *Hub { return &Hub{state.New(state.Snapshot{}, nil)} }

// Join adds a member. One that was closed joins again under the same id as another Member.
func (h *Hub) Join(nodeID, address string) *Member { return h.machine.Join(nodeID, address) }
