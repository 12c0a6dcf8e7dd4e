// Package registry is the one list of services on a node: who publishes what, with which properties, and who wants to hear
// of it. It must not know processes, sockets or the plan: it is told what happened and tells those who track.
package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"carbonado.dev/carbonado/runtime/few"
	"carbonado.dev/sdk/cause"
	"github.com/Masterminds/semver/v3"
	"google.golang.org/grpc/codes"
)

// The kinds of error of this package.
var (
	ErrNotFound = cause.Define("CBN-SUP-121", "No service is registered under this id.",
		"See the registered services with `carbonado service ls`.").Code(codes.NotFound)
	ErrInvalid = cause.Define("CBN-SUP-122", "A registration lacks its service, its provider or a version.",
		"Correct the component's `provides` or its call of Publish.").Code(codes.InvalidArgument)
	ErrStale = cause.Define("CBN-SUP-123", "An older process of a component speaks for it.",
		"Nothing: the newer process serves.").Code(codes.Aborted)
)

// Publication is what a provider says about one service.
type Publication struct {
	// Service is the contract's full name, for example "carbonado.analytics.v1.RecordStore".
	Service string
	// Version of the contract; nil is 0.0.0.
	Version *semver.Version
	// Properties are copied by Publish and Modify; those of a Service must not be changed.
	Properties map[string]string
	// Ranking: the higher one is taken first; among equals the one with the lower id.
	Ranking int
	// Exported: other nodes may use it.
	Exported bool
	// Provider is the component's name; "kernel" for the kernel's own.
	Provider string
	// Generation is the provider's process generation: it grows with each start.
	Generation uint64
	// LocalID is the provider's own number for it, unique within one generation.
	LocalID uint64
	// Address of the provider's service socket, Pid and Uid of its process: what a consumer needs to connect.
	Address  string
	Pid, Uid int
}

// Service is one registration as it was at one moment. It is a copy: it stays readable after the service is gone.
type Service struct {
	Publication
	// ID is given by the registry, never reused, and kept while the provider restarts.
	ID uint64
	// Suspended: the provider is being restarted. Calls wait; the registration holds.
	Suspended bool
	// Revision grows with each change of this registration.
	Revision uint64
}

// Query says which services are meant. The zero value means all.
type Query struct {
	// Service is the contract's full name; empty is any.
	Service string
	// Versions restricts the contract's version; nil is any. *component.Range is one.
	Versions interface{ Has(*semver.Version) bool }
	// Filter: each of these properties must have this value.
	Filter map[string]string
	// Where is a condition on the properties; nil is any. *filter.Filter is one.
	Where interface {
		Matches(properties map[string]string) bool
	}
	// Provider restricts to one component; empty is any.
	Provider string
	// Exported: only services that other nodes may use.
	Exported bool
	// AnyOf, if there are any, makes the query mean what one of these means; the other fields are not looked at then.
	AnyOf []Query
}

// Matches tells whether s is meant by q. Suspended services are.
func (q Query) Matches(s Service) bool {
	if len(q.AnyOf) > 0 {
		return slices.ContainsFunc(q.AnyOf, func(o Query) bool { return o.Matches(s) })
	}
	if q.Service != "" && q.Service != s.Service || q.Provider != "" && q.Provider != s.Provider || q.Exported && !s.Exported {
		return false
	}
	if q.Versions != nil && !q.Versions.Has(s.Version) {
		return false
	}
	for k, v := range q.Filter {
		if have, ok := s.Properties[k]; !ok || have != v {
			return false
		}
	}
	return q.Where == nil || q.Where.Matches(s.Properties)
}

// Registry holds the services of one node. It is safe for concurrent use, also from trackers.
type Registry struct {
	mu sync.RWMutex // guards what follows
	// last is the highest id given.
	last     uint64
	services map[uint64]*Service
	// index is services by their keys.
	index map[Key]few.Map[uint64, *Service]
	// newest is, per provider, the highest generation seen: older ones may no longer speak.
	newest map[string]uint64
	// restored are those by Restore that were not published since.
	restored map[uint64]bool
	// trackings by the keys of their queries.
	trackings map[Key]few.Map[*Tracking, struct{}]
}

// New makes an empty registry.
func New() *Registry {
	return &Registry{
		services: map[uint64]*Service{}, index: map[Key]few.Map[uint64, *Service]{},
		newest: map[string]uint64{}, restored: map[uint64]bool{}, trackings: map[Key]few.Map[*Tracking, struct{}]{},
	}
}

// Publish registers a service. A provider's new generation gets the ids of its older registrations back: the one of the
// same service with the same properties, or else with the same LocalID; so does a generation that was suspended and serves again. The
// same provider, generation and LocalID twice is
// a Modify. A generation older than the newest one seen of the provider gives ErrStale.
func (r *Registry) Publish(p Publication) (Service, error) {
	if p.Service == "" || p.Provider == "" {
		return Service{}, ErrInvalid.New("a registration of service %q by provider %q needs both", p.Service, p.Provider)
	}
	if p.Version == nil {
		p.Version = semver.New(0, 0, 0, "", "")
	}
	p.Properties = maps.Clone(p.Properties)
	r.mu.Lock()
	defer r.mu.Unlock()
	if newest := r.newest[p.Provider]; p.Generation < newest {
		return Service{}, ErrStale.New("%s of generation %d published %s, but generation %d runs", p.Provider, p.Generation, p.Service, newest)
	}
	r.newest[p.Provider] = p.Generation
	s := r.heir(p)
	if s == nil {
		r.last++
		s = &Service{ID: r.last}
		s.Publication, s.Revision = p, 1
		r.services[s.ID] = s
		r.enter(s)
		r.tell(nil, s)
		return *s, nil
	}
	old := *s
	r.leave(&old)
	delete(r.restored, s.ID)
	s.Publication, s.Suspended = p, false
	s.Revision++
	r.enter(s)
	r.tell(&old, s)
	return *s, nil
}

// heir finds the registration that p continues: the same one told again, or one of an earlier generation. Called under mu.
func (r *Registry) heir(p Publication) *Service {
	var best *Service
	score := 0
	in := r.index[Key{provider: p.Provider}]
	for _, s := range in.All() {
		if s.Service != p.Service {
			continue
		}
		n := 0
		switch {
		case s.Generation == p.Generation && s.LocalID == p.LocalID:
			n = 4
		case s.Generation > p.Generation, s.Generation == p.Generation && !s.Suspended:
		case maps.Equal(s.Properties, p.Properties) && s.LocalID == p.LocalID:
			n = 3
		case maps.Equal(s.Properties, p.Properties):
			n = 2
		case s.LocalID == p.LocalID:
			n = 1
		}
		if n > score || n > 0 && n == score && s.ID < best.ID {
			best, score = s, n
		}
	}
	return best
}

// Modify replaces properties and ranking of a registration. An unknown id gives ErrNotFound.
func (r *Registry) Modify(id uint64, properties map[string]string, ranking int) (Service, error) {
	properties = maps.Clone(properties)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.services[id]
	if s == nil {
		return Service{}, ErrNotFound.New("service %d is not registered", id)
	}
	old := *s
	r.leave(&old)
	s.Properties, s.Ranking = properties, ranking
	s.Revision++
	r.enter(s)
	r.tell(&old, s)
	return *s, nil
}

// Withdraw removes a registration for good. An unknown id gives ErrNotFound.
func (r *Registry) Withdraw(id uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.services[id]
	if s == nil {
		return ErrNotFound.New("service %d is not registered", id)
	}
	r.remove(s)
	return nil
}

// Suspend marks all services of a provider up to a generation: its process ended and will be started again. It gives the
// services that were marked, by id. Doing it twice is no error.
func (r *Registry) Suspend(provider string, generation uint64) []Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Service
	for _, s := range r.of(provider) {
		if s.Suspended || s.Generation > generation {
			continue
		}
		old := *s
		s.Suspended = true
		s.Revision++
		r.tell(&old, s)
		out = append(out, *s)
	}
	return out
}

// Settle ends a restart: what the provider had before this generation, or before it was suspended, and has not published again goes
// for good, and so does what Restore entered. It gives the services that went, by id.
func (r *Registry) Settle(provider string, generation uint64) []Service {
	return r.removeWhere(provider, func(s *Service) bool {
		return s.Generation < generation || s.Generation == generation && s.Suspended || r.restored[s.ID]
	})
}

// WithdrawProvider removes all services of a provider for good: it is stopped, failed, disabled or uninstalled. It gives
// the services that went, by id.
func (r *Registry) WithdrawProvider(provider string) []Service {
	return r.removeWhere(provider, func(*Service) bool { return true })
}

func (r *Registry) removeWhere(provider string, gone func(*Service) bool) []Service {
	if !r.any(provider, gone) { // the usual case, which keeps nobody from reading
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Service
	for _, s := range r.of(provider) {
		if gone(s) {
			r.remove(s)
			out = append(out, *s)
		}
	}
	return out
}

// any tells whether something holds for a registration of a provider.
func (r *Registry) any(provider string, holds func(*Service) bool) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	in := r.index[Key{provider: provider}]
	for _, s := range in.All() {
		if holds(s) {
			return true
		}
	}
	return false
}

// remove takes s out and tells. Called under mu.
func (r *Registry) remove(s *Service) {
	delete(r.services, s.ID)
	r.leave(s)
	delete(r.restored, s.ID)
	r.tell(s, nil)
}

// of lists the registrations of a provider by id. Called under mu.
func (r *Registry) of(provider string) []*Service {
	in := r.index[Key{provider: provider}]
	out := make([]*Service, 0, in.Len())
	for _, s := range in.All() {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Service) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Get gives one registration. An unknown id gives ErrNotFound.
func (r *Registry) Get(id uint64) (Service, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.services[id]; s != nil {
		return s.copy(), nil
	}
	return Service{}, ErrNotFound.New("service %d is not registered", id)
}

// Find lists the services that q means, the best first: the higher ranking, then the lower id.
func (r *Registry) Find(q Query) []Service {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.find(q)
}

// Count tells how many of the services that q means one counts.
func (r *Registry) Count(q Query, counts func(Service) bool) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := 0
	r.each(q, func(s *Service) {
		if counts(*s) {
			n++
		}
	})
	return n
}

// Better orders services: negative if a is taken before b.
func Better(a, b Service) int {
	if c := cmp.Compare(b.Ranking, a.Ranking); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}

// copy gives a Service that shares nothing that the registry changes. Property maps are replaced, never written, so they
// are shared.
func (s *Service) copy() Service { return *s }

// String names the registration for messages.
func (s Service) String() string {
	return fmt.Sprintf("%s %s of %s (id %d, generation %d)", s.Service, s.Version, s.Provider, s.ID, s.Generation)
}
