package state

import (
	"bytes"
	"context"
	"slices"
	"time"

	"carbonado.dev/carbonado/runtime/cluster"
)

// way is how a member reaches the machine.
type way int

const (
	whole   way = iota
	oneWay      // calls arrive and are done, answers are lost
	cut         // nothing arrives
	goneOut     // closed
)

// Port is the Coordinator of one member.
type Port struct {
	machine         *Machine
	nodeID, address string
	way             way // guarded by machine.mu
}

var _ cluster.Coordinator = (*Port)(nil)

// Cut keeps the member away from the machine: its calls fail, its watches stay silent, and it is no member to the others.
func (p *Port) Cut() { p.reach(cut) }

// LoseAnswers is Cut, but what the member asks for is done: only the answers are lost.
func (p *Port) LoseAnswers() { p.reach(oneWay) }

// Mend ends Cut and LoseAnswers. Watches then tell what has changed meanwhile.
func (p *Port) Mend() { p.reach(whole) }

func (p *Port) reach(w way) {
	m := p.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.way == goneOut {
		return
	}
	p.way = w
	for _, watch := range m.of(p) {
		if v := m.value(watch.key); v.Version != watch.told {
			watch.put(v)
		}
	}
}

// Close ends the member's watches and takes it out of the cluster. It may be called more than once.
func (p *Port) Close() error {
	m := p.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	p.way = goneOut
	for _, w := range m.of(p) {
		w.stop()
		m.unwatch(w)
	}
	m.ports = slices.DeleteFunc(m.ports, func(o *Port) bool { return o == p })
	return nil
}

// begin refuses work after Close, when cut off, after the caller's end and when the state could not be kept. The caller holds mu.
func (p *Port) begin(ctx context.Context) error {
	switch {
	case p.way == goneOut:
		return cluster.ErrClosed.New("the coordinator of %s is closed", p.nodeID)
	case p.way == cut:
		return p.unreached()
	case p.machine.broken != nil:
		return p.machine.broken
	}
	return ctx.Err()
}

func (p *Port) unreached() error {
	return cluster.ErrUnavailable.New("%s does not reach the cluster", p.nodeID)
}

// answered is the error that the caller sees of what was done. The caller holds mu.
func (p *Port) answered(err error) error {
	if p.way == oneWay {
		return p.unreached()
	}
	return err
}

// do runs one call of the member.
func do[T any](ctx context.Context, p *Port, f func(m *Machine) (T, error)) (T, error) {
	var none T
	p.machine.mu.Lock()
	defer p.machine.mu.Unlock()
	if err := p.begin(ctx); err != nil {
		return none, err
	}
	v, err := f(p.machine)
	if err = p.answered(err); err != nil {
		return none, err
	}
	return v, nil
}

// Members implements cluster.Coordinator.
func (p *Port) Members(ctx context.Context) ([]cluster.Member, error) {
	return do(ctx, p, func(m *Machine) ([]cluster.Member, error) { return m.members(p), nil })
}

// Acquire implements cluster.Coordinator.
func (p *Port) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (cluster.Lease, error) {
	if err := cluster.CheckLease(name, holder, ttl); err != nil {
		return cluster.Lease{}, err
	}
	return do(ctx, p, func(m *Machine) (cluster.Lease, error) { return m.acquire(name, holder, ttl) })
}

// Release implements cluster.Coordinator.
func (p *Port) Release(ctx context.Context, name, holder string, token uint64) error {
	if err := cluster.CheckLease(name, holder, cluster.MinTTL); err != nil {
		return err
	}
	_, err := do(ctx, p, func(m *Machine) (struct{}, error) { return struct{}{}, m.release(name, holder, token) })
	return err
}

// Get implements cluster.Coordinator.
func (p *Port) Get(ctx context.Context, key string) (cluster.Value, error) {
	if err := cluster.CheckName("a key", key); err != nil {
		return cluster.Value{}, err
	}
	return do(ctx, p, func(m *Machine) (cluster.Value, error) { return m.value(key), nil })
}

// Set implements cluster.Coordinator.
func (p *Port) Set(ctx context.Context, key string, value []byte, ifVersion uint64) (uint64, error) {
	if err := cluster.CheckValue(key, value); err != nil {
		return 0, err
	}
	return do(ctx, p, func(m *Machine) (uint64, error) {
		now, ok := m.state.Values[key]
		switch {
		case now.Version != ifVersion:
			return 0, moved(key, now.Version, ifVersion)
		case ok && bytes.Equal(now.Bytes, value):
			return now.Version, nil
		}
		return m.change(key, &Item{Bytes: bytes.Clone(value)})
	})
}

// Delete implements cluster.Coordinator.
func (p *Port) Delete(ctx context.Context, key string, ifVersion uint64) error {
	if err := cluster.CheckName("a key", key); err != nil {
		return err
	}
	_, err := do(ctx, p, func(m *Machine) (uint64, error) {
		now, ok := m.state.Values[key]
		switch {
		case now.Version != ifVersion:
			return 0, moved(key, now.Version, ifVersion)
		case !ok:
			return 0, nil
		}
		return m.change(key, nil)
	})
	return err
}

func moved(key string, now, asked uint64) error {
	return cluster.ErrConflict.New("%s is at version %d, not %d", key, now, asked)
}

// Watch implements cluster.Coordinator.
func (p *Port) Watch(ctx context.Context, key string) (<-chan cluster.Value, error) {
	if err := cluster.CheckName("a key", key); err != nil {
		return nil, err
	}
	return do(ctx, p, func(m *Machine) (<-chan cluster.Value, error) {
		if p.way == oneWay {
			return nil, nil // the answer is lost anyway: there would be nobody to end the watch
		}
		return m.watch(ctx, p, key), nil
	})
}
