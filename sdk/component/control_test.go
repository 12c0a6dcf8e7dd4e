package component

import (
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// A kernel that calls a start off may have its Drain, Release and Stop overtake its Configure.
func TestConfigureAfterTheEndBeganIsRefused(t *testing.T) {
	for name, end := range map[string]func(*Control) error{
		"Drain":   func(s *Control) error { _, err := s.Drain(t.Context(), &controlv1.DrainRequest{}); return err },
		"Release": func(s *Control) error { _, err := s.Release(t.Context(), &controlv1.ReleaseRequest{}); return err },
		"Stop":    func(s *Control) error { _, err := s.Stop(t.Context(), &controlv1.StopRequest{}); return err },
	} {
		s := NewControl(Spec{Start: func(*C) error { return nil }}, &Descriptor{Name: "Late", Version: "1.0.0"}, Host{Log: hclog.NewNullLogger(), Exit: func() {}})
		if err := end(s); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Configure(t.Context(), &controlv1.ConfigureRequest{Name: "Late", RunFolder: t.TempDir()}); !errors.Is(err, ErrPhase) {
			t.Errorf("after %s: %v", name, err)
		}
		if _, err := s.Acquire(t.Context(), &controlv1.AcquireRequest{}); !errors.Is(err, ErrPhase) {
			t.Errorf("Acquire after %s: %v", name, err)
		}
	}
}
