package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// modified hands a component that says `modified` the configuration that it has, as if the operator had changed it.
func (s *suite) modified(ctx context.Context, p *process) (string, error) {
	if len(s.descriptor.Modified) == 0 {
		return "component.yaml names no keys under modified: a changed configuration replaces the process", errNone
	}
	if !slices.Contains(p.abilities, "modified") {
		return "", errors.New("component.yaml has modified, but Configure does not announce the ability")
	}
	config, err := s.config()
	if err != nil {
		return "", err
	}
	for range 2 {
		_, err := called(ctx, s, p.control.Modified, &controlv1.ModifiedRequest{ConfigJson: config})
		if status.Code(err) == codes.Unimplemented {
			return "", fmt.Errorf("component.yaml has modified, but nothing takes a configuration: %w", err)
		}
		if err != nil {
			return "", fmt.Errorf("the configuration that it has is refused: %w", err)
		}
	}
	return "takes " + strings.Join(s.descriptor.Modified, ", ") + " while it serves", nil
}
