package component

import (
	"errors"
	"testing"

	"github.com/hashicorp/go-hclog"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// A kernel that calls a start off may have its Stop overtake its Configure.
func TestConfigureAfterStopIsRefused(t *testing.T) {
	s := NewControl(Spec{Start: func(*C) error { return nil }}, &Descriptor{Name: "Late", Version: "1.0.0"}, Host{Log: hclog.NewNullLogger(), Exit: func() {}})
	if _, err := s.Stop(t.Context(), &controlv1.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Configure(t.Context(), &controlv1.ConfigureRequest{Name: "Late", RunFolder: t.TempDir()}); !errors.Is(err, ErrPhase) {
		t.Errorf("got %v", err)
	}
}
