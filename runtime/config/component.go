package config

import (
	"encoding/json"

	"carbonado.dev/carbonado/runtime/component"
)

// Component is the configuration of one component: defaults of its schema, then repository/conf/components/<Name>.yaml.
type Component struct {
	Name string
	// JSON is the object that the component gets, secrets resolved. It must not be printed: Redacted is for that.
	JSON json.RawMessage
	// Redacted is JSON with every value under x-secret, and every resolved secret, as "***".
	Redacted json.RawMessage
	// Digest is the SHA-256, hexadecimal, of JSON: a new one means a new configuration.
	Digest string
	// Notices are things that the operator should know and that stop nothing.
	Notices []component.Cause
	// Cause says why the component must not be started with this configuration; nil if it may.
	Cause *component.Cause
}
