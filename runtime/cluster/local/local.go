// Package local is a cluster of one: a Coordinator whose state lies in one file of this node. It must not know what is
// kept or guarded.
package local

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/cluster/state"
	"carbonado.dev/carbonado/runtime/durable"
)

// StateFile is the file's name.
const StateFile = "coordinator.json"

const lockFile = "coordinator.lock"

// Coordinator is a cluster.Coordinator of one member. It is safe for concurrent use.
//
// Every holder on a cluster of one is a process beneath this node's guardian and ends with it, so leases are forgotten unless a kernel
// follows another beneath running holders (Resume). Tokens go on from where they were in any case.
type Coordinator struct {
	cluster.Coordinator
	machine *state.Machine
	root    *os.Root
	lock    *os.File
	close   func() error
}

var _ cluster.Coordinator = (*Coordinator)(nil)

// Open reads the state below folder, which is made if missing and locked until Close or the process's end; ErrInUse if
// another process has it.
func Open(folder, nodeID, address string) (*Coordinator, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, cluster.ErrStorage.Wrap(err, "%s can't be made", folder)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, cluster.ErrStorage.Wrap(err, "%s can't be opened", folder)
	}
	c := &Coordinator{root: root}
	from, err := c.load(folder)
	if err != nil {
		if c.lock != nil {
			err = errors.Join(err, c.lock.Close())
		}
		return nil, errors.Join(err, root.Close())
	}
	c.machine = state.New(from, func(next state.Snapshot) error {
		data, err := json.Marshal(next)
		if err == nil {
			err = durable.Write(root, StateFile, data, 0o600)
		}
		if err != nil {
			return cluster.ErrStorage.Wrap(err, "the coordinator of %s gives no promises until the server is restarted", nodeID)
		}
		return nil
	})
	port := c.machine.Join(nodeID, address)
	c.Coordinator = port
	c.close = sync.OnceValue(func() error { return errors.Join(port.Close(), c.lock.Close(), c.root.Close()) })
	return c, nil
}

// Begin is Open for a folder without a state: tokens and versions begin above a number.
func Begin(folder, nodeID, address string, above uint64) (*Coordinator, error) {
	c, err := Open(folder, nodeID, address)
	if err != nil {
		return nil, err
	}
	if err := c.machine.Begin(above); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// load locks the folder and reads its state.
func (c *Coordinator) load(folder string) (state.Snapshot, error) {
	var from state.Snapshot
	lock, err := c.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return from, cluster.ErrStorage.Wrap(err, "%s/%s can't be opened", folder, lockFile)
	}
	c.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return from, cluster.ErrInUse.New("%s is locked by another process", folder)
		}
		return from, cluster.ErrStorage.Wrap(err, "%s/%s can't be locked", folder, lockFile)
	}
	if err := durable.RemoveTemp(c.root, "."); err != nil {
		return from, cluster.ErrStorage.Wrap(err, "%s can't be cleaned", folder)
	}
	data, err := c.root.ReadFile(StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return from, nil
	}
	if err != nil {
		return from, cluster.ErrStorage.Wrap(err, "%s/%s can't be read", folder, StateFile)
	}
	if err := json.Unmarshal(data, &from); err != nil {
		return from, cluster.ErrDamaged.Wrap(err, "%s/%s", folder, StateFile)
	}
	return from, nil
}

// Close ends all watches and unlocks the folder. It may be called more than once.
func (c *Coordinator) Close() error { return c.close() }

// Resume takes up the leases that an earlier kernel had given and not taken back: their holders run on. Call it at once after Open, or
// not at all.
func (c *Coordinator) Resume() { c.machine.Resume() }
