package registry_test

import (
	"testing"

	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/registry"
)

// TestCase62RestoredServicesKeepTheirIDs: what an earlier kernel had is continued by the provider's word and removed without it.
func TestCase62RestoredServicesKeepTheirIDs(t *testing.T) {
	r := registry.New()
	pub := func(generation, local uint64, lane string) registry.Publication {
		return registry.Publication{Service: "a.B", Version: semver.MustParse("1.2.0"), Provider: "P", Generation: generation, LocalID: local, Properties: map[string]string{"lane": lane}}
	}
	r.Restore(registry.Service{ID: 7, Publication: pub(3, 1, "x")})
	r.Restore(registry.Service{ID: 9, Publication: pub(3, 2, "x")})
	r.Restore(registry.Service{ID: 9, Publication: pub(3, 4, "y")}) // taken
	r.Restore(registry.Service{ID: 5, Publication: registry.Publication{Service: "c.D", Provider: "Dead", Generation: 2}, Suspended: true})
	// The same process tells again: same ids, whatever else is equal.
	for local, id := range map[uint64]uint64{1: 7, 2: 9} {
		if s, err := r.Publish(pub(3, local, "x")); err != nil || s.ID != id || s.Suspended {
			t.Errorf("local id %d: %v, %v", local, s, err)
		}
	}
	if s, _ := r.Publish(pub(3, 3, "z")); s.ID != 10 {
		t.Errorf("a new one has id %d", s.ID)
	}
	if gone := r.Settle("P", 3); len(gone) != 0 {
		t.Errorf("settled: %v", gone)
	}
	// A successor of the dead process inherits; what it does not publish goes.
	r.Restore(registry.Service{ID: 20, Publication: registry.Publication{Service: "e.F", Provider: "Dead", Generation: 4}})
	if s, _ := r.Publish(registry.Publication{Service: "c.D", Provider: "Dead", Generation: 4, LocalID: 1}); s.ID != 5 || s.Suspended {
		t.Errorf("the successor's is %v", s)
	}
	if gone := r.Settle("Dead", 4); len(gone) != 1 || gone[0].ID != 20 {
		t.Errorf("settled: %v", gone)
	}
	if gone := r.Settle("Dead", 4); len(gone) != 0 {
		t.Errorf("settled again: %v", gone)
	}
}
