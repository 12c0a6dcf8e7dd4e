package component

import (
	"encoding/json"
	"fmt"

	"carbonado.dev/sdk/filter"
)

// ReferencesKey is the key of repository/conf/components/<Name>.yaml that changes what a component's references ask for. It is the
// kernel's; the component doesn't see it.
const ReferencesKey = "references"

// Override is what configuration says about one reference. Nil fields change nothing.
type Override struct {
	Filter  *filter.Filter
	Minimum *int
	// File and Line say where it stands.
	File string
	Line int
}

// FilterOf reads a filter as component.yaml and configuration write it: a map of properties, or text. Nothing gives nil.
func FilterOf(raw json.RawMessage) (*filter.Filter, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return filter.Parse(text)
	}
	var props map[string]string
	if err := json.Unmarshal(raw, &props); err != nil {
		return nil, fmt.Errorf("a filter is text, or properties whose values are text")
	}
	return filter.Equal(props), nil
}

// Overridden is the reference as configuration changes it. An override of nil changes nothing.
func (r Require) Overridden(o *Override) Require {
	if o == nil {
		return r
	}
	if o.Filter != nil {
		r.Filter = o.Filter
	}
	if o.Minimum != nil && r.Cardinality.Max == Many {
		r.Cardinality.Min = *o.Minimum
	}
	return r
}

// Policy is "static" or "dynamic".
func (r *Require) Policy() string {
	if r.Static {
		return "static"
	}
	return "dynamic"
}

// Option is "greedy" or "reluctant".
func (r *Require) Option() string {
	if r.Reluctant {
		return "reluctant"
	}
	return "greedy"
}
