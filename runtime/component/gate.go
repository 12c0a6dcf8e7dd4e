package component

import (
	"time"

	"carbonado.dev/sdk/filter"
)

// CapabilityService is the marker by which a component says at run time how many services it will bring: a registration of it has the
// properties CapabilityOf and CapabilityCount. Nobody calls it.
const (
	CapabilityService = "carbonado.kernel.v1.CapabilityProvider"
	CapabilityOf      = "capability.service"
	CapabilityCount   = "capability.count"
	// GateSkip is the property, "true", of a service that gates neither expect nor count.
	GateSkip = "gate.skip"
)

// DefaultGateDeadline holds where a gate says nothing.
const DefaultGateDeadline = time.Minute

// Gate is a startup gate: the component is told when all services that it expects are there.
type Gate struct {
	// Name is how the component's code calls the gate, and the reference under which the services are bound.
	Name     string
	Services []GateService
	// Deadline is how long the component may serve with the gate closed before that counts.
	Deadline time.Duration
	// Fail: at the deadline the component is FAILED. Otherwise its health is CRITICAL until the gate opens.
	Fail bool
	Line int
}

// GateService is one kind of service that a gate expects.
type GateService struct {
	Service  string
	Versions *Range
	Filter   *filter.Filter
	// Count is how many are expected with every provider installed and enabled; Computed is the number that the packages say.
	Count int
}

// Computed is GateService.Count where the number comes from the installed packages.
const Computed = -1

// Policy is "fail" or "degrade".
func (g *Gate) Policy() string {
	if g.Fail {
		return "fail"
	}
	return "degrade"
}

// Require is the gate's service as a reference asks for it.
func (s *GateService) Require(gate string) Require {
	return Require{Name: gate, Service: s.Service, Versions: s.Versions, Filter: s.Filter, Cardinality: Multiple}
}
