package config

import (
	"sync"

	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
)

// TelemetryFile is where metrics and traces are configured in an installation; messages name it so.
const TelemetryFile = "repository/conf/telemetry.yaml"

// Telemetry is what telemetry.yaml says.
type Telemetry struct {
	// MetricsAuthenticated: GET /metrics needs a sign-in with /permission/admin.
	MetricsAuthenticated Value[bool]
	// Endpoint takes traces by OTLP: "http://host:4318/v1/traces" or "grpc://host:4317" (grpcs:// with TLS). Empty: no traces are made.
	Endpoint Value[string]
	// Ratio is the share of new traces that are kept, 0 to 1.
	Ratio Value[float64]
	// Headers go with each export; they may hold a secret.
	Headers map[string]string
}

const telemetrySchema = `{
  "type": "object", "additionalProperties": false,
  "properties": {
    "metrics": {"type": "object", "additionalProperties": false, "default": {}, "properties": {"authenticated": {"type": "boolean", "default": true}}},
    "traces": {"type": "object", "additionalProperties": false, "default": {}, "properties": {
      "endpoint": {"type": "string", "default": "", "pattern": "^$|^(https?|grpcs?)://[^/]+"},
      "ratio": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
      "headers": {"type": "object", "additionalProperties": {"type": "string", "x-secret": true}, "default": {}}
    }}
  }
}`

var compiledTelemetry = sync.OnceValues(func() (*schema.Schema, error) {
	return schema.Compile("telemetry.schema.json", []byte(telemetrySchema))
})

// loadTelemetry reads telemetry.yaml; without the file defaults hold.
func (c *Config) loadTelemetry() (*Telemetry, error) {
	sch, err := compiledTelemetry()
	if err != nil {
		return nil, err
	}
	doc, err := c.read(TelemetryFile)
	if err != nil {
		return nil, err
	}
	if faults := sch.Check(doc); len(faults) > 0 {
		return nil, faults[0]
	}
	var file struct {
		Metrics struct {
			Authenticated bool `json:"authenticated"`
		} `json:"metrics"`
		Traces struct {
			Endpoint string            `json:"endpoint"`
			Ratio    float64           `json:"ratio"`
			Headers  map[string]string `json:"headers"`
		} `json:"traces"`
	}
	full := &strictyaml.Document{File: TelemetryFile, Value: sch.Defaults(doc.Value)}
	if err := full.Decode(&file); err != nil {
		return nil, ErrRead.Wrap(err, "the file cannot be understood").At(TelemetryFile, 0, 0)
	}
	from := func(path ...string) Origin {
		if p, ok := doc.Exact(path...); ok {
			return Origin{LayerFile, TelemetryFile, p.Line, p.Column}
		}
		return Origin{Layer: LayerDefault}
	}
	t := &Telemetry{
		MetricsAuthenticated: Value[bool]{file.Metrics.Authenticated, from("metrics", "authenticated")},
		Endpoint:             Value[string]{file.Traces.Endpoint, from("traces", "endpoint")},
		Ratio:                Value[float64]{file.Traces.Ratio, from("traces", "ratio")},
		Headers:              map[string]string{},
	}
	for name, value := range file.Traces.Headers {
		if value, _, err = c.expand.expand(value); err != nil {
			return nil, located(err, from("traces", "headers", name))
		}
		t.Headers[name] = value
	}
	if t.Endpoint.V, _, err = c.expand.expand(t.Endpoint.V); err != nil {
		return nil, located(err, t.Endpoint.From)
	}
	return t, nil
}

// Settings lists the values, by key.
func (t *Telemetry) Settings() []Setting {
	return []Setting{
		{"telemetry.metrics.authenticated", t.MetricsAuthenticated.V, t.MetricsAuthenticated.From},
		{"telemetry.traces.endpoint", t.Endpoint.V, t.Endpoint.From},
		{"telemetry.traces.ratio", t.Ratio.V, t.Ratio.From},
	}
}
