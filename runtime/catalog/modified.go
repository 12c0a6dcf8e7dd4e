package catalog

import "strconv"

// modified gives the keys that a component takes while it serves; each must be one of its configuration.
func (b *builder) modified(r *raw) []string {
	conf, _ := b.doc.Value.(map[string]any)["config"].(map[string]any)
	props, _ := conf["properties"].(map[string]any)
	for i, key := range r.Modified {
		if key != "*" && props[key] == nil {
			b.fault([]string{"modified", strconv.Itoa(i)}, "the configuration has no key %q", key)
		}
	}
	return r.Modified
}
