package config

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
)

// references takes the reserved key out of a component's file and reads it:
//
//	references:
//	  transports: {filter: "(kind=tcp)", minimum: 3}
//
// It gives the document without the key.
func references(doc *strictyaml.Document, d *component.Descriptor) (*strictyaml.Document, map[string]*component.Override, error) {
	value, ok := doc.Value.(map[string]any)
	if !ok || value[component.ReferencesKey] == nil {
		return doc, nil, nil
	}
	rest := maps.Clone(value)
	delete(rest, component.ReferencesKey)
	var errs []error
	fault := func(path []string, format string, args ...any) {
		p := doc.At(append([]string{component.ReferencesKey}, path...)...)
		errs = append(errs, schema.ErrValue.New(format, args...).At(doc.File, p.Line, p.Column))
	}
	out := map[string]*component.Override{}
	all, ok := value[component.ReferencesKey].(map[string]any)
	if !ok {
		fault(nil, "references must hold names of references")
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		i := slices.IndexFunc(d.Requires, func(r component.Require) bool { return r.Name == name })
		entry, isMap := all[name].(map[string]any)
		switch {
		case i < 0:
			fault([]string{name}, "%s has no reference %q", d.Name, name)
			continue
		case !isMap:
			fault([]string{name}, "references.%s must hold filter or minimum", name)
			continue
		}
		o := &component.Override{File: doc.File, Line: doc.At(component.ReferencesKey, name).Line}
		for _, key := range slices.Sorted(maps.Keys(entry)) {
			at := []string{name, key}
			raw, err := json.Marshal(entry[key])
			if err != nil {
				fault(at, "references.%s.%s cannot be read", name, key)
				continue
			}
			switch key {
			case "filter":
				if o.Filter, err = component.FilterOf(raw); err != nil {
					fault(at, "%s", err)
				}
			case "minimum":
				var n int
				switch {
				case json.Unmarshal(raw, &n) != nil || n < 1 || n > 10000:
					fault(at, "references.%s.minimum must be a whole number from 1 to 10000", name)
				case d.Requires[i].Cardinality.Max != component.Many:
					fault(at, "references.%s takes one provider: minimum is for the cardinalities 0..n and 1..n", name)
				default:
					o.Minimum = &n
				}
			default:
				fault(at, "references.%s has no key %q: filter or minimum", name, key)
			}
		}
		out[name] = o
	}
	return doc.With(rest), out, errors.Join(errs...)
}
