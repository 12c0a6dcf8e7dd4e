package sdktest

import (
	"context"
	"maps"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// Modify changes keys of the component's configuration while it serves, as the kernel does for keys that component.yaml names under
// `modified`. An error is the component's: the configuration before is in force then.
func (c *Component) Modify(values map[string]any) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	before := maps.Clone(c.opts.config)
	if c.opts.config == nil {
		c.opts.config = map[string]any{}
	}
	maps.Copy(c.opts.config, values)
	_, err := c.control.Modified(ctx, &controlv1.ModifiedRequest{ConfigJson: c.configJSON()})
	if err != nil {
		c.opts.config = before
	}
	return err
}
