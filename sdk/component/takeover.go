package component

import (
	"context"
	"maps"
	"slices"
	"time"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// takeOverLook is how often TakeOver looks whether the life-cycle call of the earlier kernel has returned.
const takeOverLook = 5 * time.Millisecond

// takeOverWait is how long it waits for that: the call's context ended with the earlier kernel.
const takeOverWait = time.Second

var phases = map[phase]controlv1.TakeOverResponse_Phase{
	phaseNew:        controlv1.TakeOverResponse_PHASE_NEW,
	phaseConfigured: controlv1.TakeOverResponse_PHASE_CONFIGURED,
	phasePrepared:   controlv1.TakeOverResponse_PHASE_PREPARED,
	phaseAcquired:   controlv1.TakeOverResponse_PHASE_ACQUIRED,
	phaseDrained:    controlv1.TakeOverResponse_PHASE_DRAINED,
	phaseReleased:   controlv1.TakeOverResponse_PHASE_RELEASED,
	phaseStopped:    controlv1.TakeOverResponse_PHASE_STOPPED,
}

// TakeOver implements controlv1.ComponentServer: what this component is and holds, for a kernel that follows another.
func (s *Control) TakeOver(ctx context.Context, _ *controlv1.TakeOverRequest) (*controlv1.TakeOverResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, takeOverWait)
	defer cancel()
	for !s.mu.TryLock() {
		select {
		case <-time.After(takeOverLook):
		case <-ctx.Done():
			return &controlv1.TakeOverResponse{Busy: true}, nil
		}
	}
	at := s.phase
	s.mu.Unlock()
	resp := &controlv1.TakeOverResponse{Phase: phases[at]}
	svc, err := s.service()
	if err != nil {
		return resp, nil // nothing is known and nothing is held before Configure
	}
	resp.Name, resp.Version, resp.Generation = s.c.Name(), s.c.Version(), s.c.Generation()
	resp.ServiceAddress, resp.Abilities, resp.Admissions = svc.Address(), abilities, svc.Admissions()
	resp.ConfigJson = s.c.configJSON()
	s.c.mu.Lock()
	refs := make([]*Refs, 0, len(s.c.refs))
	for _, name := range slices.Sorted(maps.Keys(s.c.refs)) {
		refs = append(refs, s.c.refs[name])
	}
	s.c.mu.Unlock()
	for _, r := range refs {
		for _, b := range r.All() {
			resp.Bindings = append(resp.Bindings, b.held())
		}
	}
	return resp, nil
}

// held is the binding as a later kernel must know it. Messages that were received are not changed, so they may be passed on.
func (b *Bound) held() *controlv1.HeldBinding {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &controlv1.HeldBinding{Bind: b.told, Suspended: b.conn == nil}
}
