// Package state is what a cluster agrees on, as one machine in memory: values, leases and watches, used through one Port for each
// member. It must not know where it is kept, nor how a member reaches it.
package state

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/cluster"
)

// numberBlock is how many numbers (tokens and versions) one keeping of the state reserves.
const numberBlock = 1000

// Snapshot is the whole state. Numbers are reserved in it before they are given, so that they grow over restarts too.
type Snapshot struct {
	// Reserved is the highest number that may have been given as a token or a version.
	Reserved uint64          `json:"reserved"`
	Values   map[string]Item `json:"values"`
	// Leases are those given and not released; renewals are not written down.
	Leases map[string]Kept `json:"leases,omitempty"`
}

// Item is the value of a key.
type Item struct {
	Bytes   []byte `json:"bytes"`
	Version uint64 `json:"version"`
}

// Kept is a lease as a snapshot has it.
type Kept struct {
	Holder string `json:"holder"`
	Token  uint64 `json:"token"`
	TTLMs  int64  `json:"ttlMs"`
}

type lease struct {
	holder  string
	token   uint64
	expires time.Time // with a monotonic reading: a change of the wall clock moves nothing
}

// Machine is the state and its members. It is safe for concurrent use.
type Machine struct {
	keep func(Snapshot) error

	mu       sync.Mutex // guards what follows, and all of every Port
	state    Snapshot
	given    uint64 // highest number given
	leases   map[string]lease
	watchers map[string]map[*watcher]bool
	earlier  map[string]Kept // leases of an earlier run
	ports    []*Port         // in the order in which they joined
	broken   error           // the state could not be kept: nothing is promised any more
}

type watcher struct {
	port   *Port
	key    string
	latest chan cluster.Value // holds one: the latest
	told   uint64             // version of the last value that was put
	stop   func() bool
}

// New goes on from a snapshot; leases in it are forgotten unless Resume takes them up. keep is called with each new state before anybody
// sees it; nil keeps nothing. After an error of it, every call answers that error.
func New(from Snapshot, keep func(Snapshot) error) *Machine {
	if keep == nil {
		keep = func(Snapshot) error { return nil }
	}
	if from.Values == nil {
		from.Values = map[string]Item{}
	}
	m := &Machine{keep: keep, state: from, given: from.Reserved, earlier: from.Leases, leases: map[string]lease{}, watchers: map[string]map[*watcher]bool{}}
	m.state.Leases = nil
	return m
}

// Begin makes tokens and versions go on above a number.
func (m *Machine) Begin(above uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.given = max(m.given, above)
	return m.write(Snapshot{Reserved: m.given, Values: m.state.Values})
}

// Resume takes up the leases of the snapshot that the machine was made from: their holders run on. Each lasts its time to live from now.
// Call it at once after New, or not at all.
func (m *Machine) Resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.state.Leases = m.earlier
	for name, k := range m.earlier {
		m.leases[name] = lease{holder: k.Holder, token: k.Token, expires: now.Add(time.Duration(k.TTLMs) * time.Millisecond)}
	}
}

// Join adds a member.
func (m *Machine) Join(nodeID, address string) *Port {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &Port{machine: m, nodeID: nodeID, address: address}
	m.ports = append(m.ports, p)
	return p
}

// members are those that reach the machine, as one of them sees them. The first that joined leads. The caller holds mu.
func (m *Machine) members(self *Port) []cluster.Member {
	var list []cluster.Member
	for _, p := range m.ports {
		if p.way == whole {
			list = append(list, cluster.Member{NodeID: p.nodeID, Address: p.address, Self: p == self, Leader: len(list) == 0})
		}
	}
	slices.SortStableFunc(list, func(a, b cluster.Member) int { return strings.Compare(a.NodeID, b.NodeID) })
	return list
}

// number gives the next number that was never given before. The caller holds mu and writes the state with it.
func (m *Machine) number() (n, reserved uint64) {
	n, reserved = m.given+1, m.state.Reserved
	if n > reserved {
		reserved = n + numberBlock
	}
	return n, reserved
}

// write keeps a state and makes it the present one. The caller holds mu.
func (m *Machine) write(next Snapshot) error {
	if err := m.keep(next); err != nil {
		m.broken = err
		return err
	}
	m.state = next
	return nil
}

func (m *Machine) acquire(name, holder string, ttl time.Duration) (cluster.Lease, error) {
	now := time.Now()
	held, ok := m.leases[name]
	if ok && now.Before(held.expires) {
		if held.holder != holder {
			return cluster.Lease{Token: held.token, Holder: held.holder, Expires: held.expires}, nil
		}
		held.expires = now.Add(ttl)
	} else {
		n, reserved := m.number()
		next := Snapshot{Reserved: reserved, Values: m.state.Values, Leases: m.keptLeases(now)}
		next.Leases[name] = Kept{Holder: holder, Token: n, TTLMs: ttl.Milliseconds()}
		if err := m.write(next); err != nil {
			return cluster.Lease{}, err
		}
		m.given = n
		held = lease{holder: holder, token: n, expires: now.Add(ttl)}
		m.forgetExpired(now)
	}
	m.leases[name] = held
	return cluster.Lease{Granted: true, Token: held.token, Holder: holder, Expires: held.expires}, nil
}

// forgetExpired keeps the map as large as what is held. The caller holds mu.
func (m *Machine) forgetExpired(now time.Time) {
	for n, l := range m.leases {
		if !now.Before(l.expires) {
			delete(m.leases, n)
		}
	}
}

func (m *Machine) release(name, holder string, token uint64) error {
	if l, ok := m.leases[name]; !ok || l.holder != holder || l.token != token {
		return nil
	}
	delete(m.leases, name)
	return m.write(Snapshot{Reserved: m.state.Reserved, Values: m.state.Values, Leases: m.keptLeases(time.Now())})
}

// keptLeases copies the leases of the snapshot that are still given. The caller holds mu.
func (m *Machine) keptLeases(now time.Time) map[string]Kept {
	out := map[string]Kept{}
	for name, k := range m.state.Leases {
		if l, ok := m.leases[name]; ok && l.token == k.Token && now.Before(l.expires) {
			out[name] = k
		}
	}
	return out
}

// value copies what a key holds. The caller holds mu.
func (m *Machine) value(key string) cluster.Value {
	i, ok := m.state.Values[key]
	if !ok {
		return cluster.Value{}
	}
	return cluster.Value{Found: true, Bytes: slices.Clone(i.Bytes), Version: i.Version}
}

// change puts or, with nil, removes an item, and wakes those who watch it. The caller holds mu.
func (m *Machine) change(key string, to *Item) (uint64, error) {
	n, reserved := m.number()
	next := Snapshot{Reserved: reserved, Values: make(map[string]Item, len(m.state.Values)+1), Leases: m.state.Leases}
	for k, v := range m.state.Values {
		next.Values[k] = v
	}
	delete(next.Values, key)
	if to != nil {
		to.Version = n
		next.Values[key] = *to
	}
	if err := m.write(next); err != nil {
		return 0, err
	}
	m.given = n
	for w := range m.watchers[key] {
		w.put(m.value(key))
	}
	return n, nil
}

// put replaces what the watcher has not read yet; one whose member can't be reached hears nothing. The caller holds Machine.mu, so it is
// the only one that sends.
func (w *watcher) put(v cluster.Value) {
	if w.port.way != whole {
		return
	}
	select {
	case <-w.latest:
	default:
	}
	w.latest <- v
	w.told = v.Version
}

// watch begins a watch of a member. The caller holds mu.
func (m *Machine) watch(ctx context.Context, p *Port, key string) <-chan cluster.Value {
	w := &watcher{port: p, key: key, latest: make(chan cluster.Value, 1)}
	w.put(m.value(key))
	if m.watchers[key] == nil {
		m.watchers[key] = map[*watcher]bool{}
	}
	m.watchers[key][w] = true
	w.stop = context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.unwatch(w)
	})
	return w.latest
}

// unwatch ends a watch, once. The caller holds mu.
func (m *Machine) unwatch(w *watcher) {
	if !m.watchers[w.key][w] {
		return
	}
	delete(m.watchers[w.key], w)
	if len(m.watchers[w.key]) == 0 {
		delete(m.watchers, w.key)
	}
	close(w.latest)
}

// of are the watches of one member. The caller holds mu.
func (m *Machine) of(p *Port) []*watcher {
	var list []*watcher
	for _, set := range m.watchers {
		for w := range set {
			if w.port == p {
				list = append(list, w)
			}
		}
	}
	return list
}
