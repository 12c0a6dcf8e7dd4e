// Package local is a cluster of one: a Coordinator whose state lies in one file of this node. It must not know what is
// kept or guarded.
package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/cluster"
	"carbonado.dev/carbonado/runtime/durable"
)

// StateFile is the file's name.
const StateFile = "coordinator.json"

const (
	lockFile = "coordinator.lock"
	// numberBlock is how many numbers (tokens and versions) one write of the file reserves.
	numberBlock = 1000
)

// state is the file. Every holder on a cluster of one is a process beneath this node's guardian and ends with it, so leases are
// forgotten unless a kernel follows another beneath running holders (Resume). Tokens go on from where they were in any case, because
// numbers are reserved on disk before they are given.
type state struct {
	// Reserved is the highest number that may have been given as a token or a version.
	Reserved uint64          `json:"reserved"`
	Values   map[string]item `json:"values"`
	// Leases are those given and not released; renewals are not written down.
	Leases map[string]kept `json:"leases,omitempty"`
}

// kept is a lease for a kernel that follows.
type kept struct {
	Holder string `json:"holder"`
	Token  uint64 `json:"token"`
	TTLMs  int64  `json:"ttlMs"`
}

type item struct {
	Bytes   []byte `json:"bytes"`
	Version uint64 `json:"version"`
}

type lease struct {
	holder  string
	token   uint64
	expires time.Time // with a monotonic reading: a change of the wall clock moves nothing
}

// Coordinator is a cluster.Coordinator of one member. It is safe for concurrent use.
type Coordinator struct {
	self cluster.Member
	root *os.Root
	lock *os.File

	mu       sync.Mutex // guards what follows
	state    state
	given    uint64 // highest number given
	leases   map[string]lease
	watchers map[string]map[*watcher]bool
	closed   bool
	earlier  map[string]kept // leases of an earlier kernel
	broken   error           // a write failed: what is on disk is not known, so nothing is promised any more
}

type watcher struct {
	latest chan cluster.Value // holds one: the latest
	stop   func() bool
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
	c := &Coordinator{
		self:   cluster.Member{NodeID: nodeID, Address: address, Self: true, Leader: true},
		root:   root,
		state:  state{Values: map[string]item{}},
		leases: map[string]lease{}, watchers: map[string]map[*watcher]bool{},
	}
	if err := c.load(folder); err != nil {
		if c.lock != nil {
			err = errors.Join(err, c.lock.Close())
		}
		return nil, errors.Join(err, root.Close())
	}
	return c, nil
}

// Begin is Open for a folder without a state: tokens and versions begin above a number.
func Begin(folder, nodeID, address string, above uint64) (*Coordinator, error) {
	c, err := Open(folder, nodeID, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given = max(c.given, above)
	if err := c.write(state{Reserved: c.given, Values: c.state.Values}); err != nil {
		return nil, errors.Join(err, c.lock.Close(), c.root.Close())
	}
	return c, nil
}

func (c *Coordinator) load(folder string) error {
	lock, err := c.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return cluster.ErrStorage.Wrap(err, "%s/%s can't be opened", folder, lockFile)
	}
	c.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return cluster.ErrInUse.New("%s is locked by another process", folder)
		}
		return cluster.ErrStorage.Wrap(err, "%s/%s can't be locked", folder, lockFile)
	}
	if err := durable.RemoveTemp(c.root, "."); err != nil {
		return cluster.ErrStorage.Wrap(err, "%s can't be cleaned", folder)
	}
	data, err := c.root.ReadFile(StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cluster.ErrStorage.Wrap(err, "%s/%s can't be read", folder, StateFile)
	}
	if err := json.Unmarshal(data, &c.state); err != nil {
		return cluster.ErrDamaged.Wrap(err, "%s/%s", folder, StateFile)
	}
	if c.state.Values == nil {
		c.state.Values = map[string]item{}
	}
	c.given = c.state.Reserved
	c.earlier, c.state.Leases = c.state.Leases, nil
	return nil
}

// Close ends all watches and unlocks the folder. It may be called more than once.
func (c *Coordinator) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	for _, set := range c.watchers {
		for w := range set {
			w.stop()
			close(w.latest)
		}
	}
	c.watchers = nil
	return errors.Join(c.lock.Close(), c.root.Close())
}

// begin refuses work after Close, after the caller's end and after a failed write. The caller holds mu.
func (c *Coordinator) begin(ctx context.Context) error {
	switch {
	case c.closed:
		return cluster.ErrClosed.New("the coordinator of %s is closed", c.self.NodeID)
	case c.broken != nil:
		return c.broken
	}
	return ctx.Err()
}

// number gives the next number that was never given before. The caller holds mu and writes next.values, if any, with it.
func (c *Coordinator) number() (n, reserved uint64) {
	n, reserved = c.given+1, c.state.Reserved
	if n > reserved {
		reserved = n + numberBlock
	}
	return n, reserved
}

// write brings a state to disk and makes it the present one. The caller holds mu.
func (c *Coordinator) write(next state) error {
	data, err := json.Marshal(next)
	if err == nil {
		err = durable.Write(c.root, StateFile, data, 0o600)
	}
	if err != nil {
		c.broken = cluster.ErrStorage.Wrap(err, "the coordinator of %s gives no promises until the server is restarted", c.self.NodeID)
		return c.broken
	}
	c.state = next
	return nil
}

// Members implements cluster.Coordinator.
func (c *Coordinator) Members(ctx context.Context) ([]cluster.Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return []cluster.Member{c.self}, nil
}

// Acquire implements cluster.Coordinator.
func (c *Coordinator) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (cluster.Lease, error) {
	if err := cluster.CheckLease(name, holder, ttl); err != nil {
		return cluster.Lease{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return cluster.Lease{}, err
	}
	now := time.Now()
	held, ok := c.leases[name]
	if ok && now.Before(held.expires) {
		if held.holder != holder {
			return cluster.Lease{Token: held.token, Holder: held.holder, Expires: held.expires}, nil
		}
		held.expires = now.Add(ttl)
	} else {
		n, reserved := c.number()
		next := state{Reserved: reserved, Values: c.state.Values, Leases: c.keptLeases(now)}
		next.Leases[name] = kept{Holder: holder, Token: n, TTLMs: ttl.Milliseconds()}
		if err := c.write(next); err != nil {
			return cluster.Lease{}, err
		}
		c.given = n
		held = lease{holder: holder, token: n, expires: now.Add(ttl)}
		c.forgetExpired(now)
	}
	c.leases[name] = held
	return cluster.Lease{Granted: true, Token: held.token, Holder: holder, Expires: held.expires}, nil
}

// forgetExpired keeps the map as large as what is held. The caller holds mu.
func (c *Coordinator) forgetExpired(now time.Time) {
	for n, l := range c.leases {
		if !now.Before(l.expires) {
			delete(c.leases, n)
		}
	}
}

// Release implements cluster.Coordinator.
func (c *Coordinator) Release(ctx context.Context, name, holder string, token uint64) error {
	if err := cluster.CheckLease(name, holder, cluster.MinTTL); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return err
	}
	if l, ok := c.leases[name]; ok && l.holder == holder && l.token == token {
		delete(c.leases, name)
		return c.write(state{Reserved: c.state.Reserved, Values: c.state.Values, Leases: c.keptLeases(time.Now())})
	}
	return nil
}

// keptLeases copies the leases on disk that are still given. The caller holds mu.
func (c *Coordinator) keptLeases(now time.Time) map[string]kept {
	out := map[string]kept{}
	for name, k := range c.state.Leases {
		if l, ok := c.leases[name]; ok && l.token == k.Token && now.Before(l.expires) {
			out[name] = k
		}
	}
	return out
}

// Resume takes up the leases that an earlier kernel had given and not taken back: their holders run on. Each lasts its time to live from
// now. Call it at once after Open, or not at all.
func (c *Coordinator) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.state.Leases = c.earlier
	for name, k := range c.earlier {
		c.leases[name] = lease{holder: k.Holder, token: k.Token, expires: now.Add(time.Duration(k.TTLMs) * time.Millisecond)}
	}
}

// Get implements cluster.Coordinator.
func (c *Coordinator) Get(ctx context.Context, key string) (cluster.Value, error) {
	if err := cluster.CheckName("a key", key); err != nil {
		return cluster.Value{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return cluster.Value{}, err
	}
	return c.value(key), nil
}

// value copies what a key holds. The caller holds mu.
func (c *Coordinator) value(key string) cluster.Value {
	i, ok := c.state.Values[key]
	if !ok {
		return cluster.Value{}
	}
	return cluster.Value{Found: true, Bytes: bytes.Clone(i.Bytes), Version: i.Version}
}

// Set implements cluster.Coordinator.
func (c *Coordinator) Set(ctx context.Context, key string, value []byte, ifVersion uint64) (uint64, error) {
	if err := cluster.CheckValue(key, value); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	now, ok := c.state.Values[key]
	if now.Version != ifVersion {
		return 0, cluster.ErrConflict.New("%s is at version %d, not %d", key, now.Version, ifVersion)
	}
	if ok && bytes.Equal(now.Bytes, value) {
		return now.Version, nil
	}
	return c.change(key, &item{Bytes: bytes.Clone(value)})
}

// Delete implements cluster.Coordinator.
func (c *Coordinator) Delete(ctx context.Context, key string, ifVersion uint64) error {
	if err := cluster.CheckName("a key", key); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return err
	}
	now, ok := c.state.Values[key]
	if now.Version != ifVersion {
		return cluster.ErrConflict.New("%s is at version %d, not %d", key, now.Version, ifVersion)
	}
	if !ok {
		return nil
	}
	_, err := c.change(key, nil)
	return err
}

// change puts or, with nil, removes an item, and wakes those who watch it. The caller holds mu.
func (c *Coordinator) change(key string, to *item) (uint64, error) {
	n, reserved := c.number()
	next := state{Reserved: reserved, Values: make(map[string]item, len(c.state.Values)+1), Leases: c.state.Leases}
	for k, v := range c.state.Values {
		next.Values[k] = v
	}
	delete(next.Values, key)
	if to != nil {
		to.Version = n
		next.Values[key] = *to
	}
	if err := c.write(next); err != nil {
		return 0, err
	}
	c.given = n
	for w := range c.watchers[key] {
		w.put(c.value(key))
	}
	return n, nil
}

// put replaces what the watcher has not read yet. The caller holds Coordinator.mu, so it is the only one that sends.
func (w *watcher) put(v cluster.Value) {
	select {
	case <-w.latest:
	default:
	}
	w.latest <- v
}

// Watch implements cluster.Coordinator.
func (c *Coordinator) Watch(ctx context.Context, key string) (<-chan cluster.Value, error) {
	if err := cluster.CheckName("a key", key); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	w := &watcher{latest: make(chan cluster.Value, 1)}
	w.put(c.value(key))
	if c.watchers[key] == nil {
		c.watchers[key] = map[*watcher]bool{}
	}
	c.watchers[key][w] = true
	w.stop = context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.watchers[key][w] {
			return
		}
		delete(c.watchers[key], w)
		if len(c.watchers[key]) == 0 {
			delete(c.watchers, key)
		}
		close(w.latest)
	})
	return w.latest, nil
}
