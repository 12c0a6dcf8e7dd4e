package simulation

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// TakeOver tells a new kernel what the process is and holds.
func (p *Process) TakeOver(context.Context, *controlv1.TakeOverRequest, ...grpc.CallOption) (*controlv1.TakeOverResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errGone
	}
	resp := &controlv1.TakeOverResponse{
		Phase: controlv1.TakeOverResponse_PHASE_PREPARED, Name: p.name, Generation: p.generation, ServiceAddress: "unix://" + p.RunFolder() + "/svc.sock",
	}
	resp.Busy, resp.ConfigJson = p.stuck, []byte(p.config)
	if p.acquired {
		resp.Phase = controlv1.TakeOverResponse_PHASE_ACQUIRED
	}
	for _, ref := range slices.Sorted(maps.Keys(p.bound)) {
		for _, id := range slices.Sorted(maps.Keys(p.bound[ref])) {
			resp.Bindings = append(resp.Bindings, &controlv1.HeldBinding{Bind: p.bound[ref][id], Suspended: p.suspended[ref][id]})
		}
	}
	for _, token := range slices.Sorted(maps.Keys(p.admitted)) {
		resp.Admissions = append(resp.Admissions, p.admitted[token])
	}
	return resp, nil
}
