package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
)

// DigestOf is Component.Digest of a configuration.
func DigestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Given is a configuration that a running process has, where nothing else is known of it. It has nothing to print.
func Given(name string, text []byte) *Component {
	return &Component{Name: name, JSON: text, Digest: DigestOf(text), Origins: map[string]Origin{}}
}

// AnyKey stands for keys that can't be told.
const AnyKey = "*"

// Changed lists the top-level keys whose values differ between two configurations of one component, by name. Where the values of one are
// not known, for example because an earlier kernel gave them to the process, it is AnyKey. It gives no values: they may be secrets.
func Changed(a, b *Component) []string {
	digest := func(c *Component) string {
		if c == nil {
			return ""
		}
		return c.Digest
	}
	if digest(a) == digest(b) {
		return nil
	}
	was, ok := a.fields()
	is, ok2 := b.fields()
	if !ok || !ok2 {
		return []string{AnyKey}
	}
	changed := map[string]bool{}
	for k, v := range is {
		if w, ok := was[k]; !ok || !bytes.Equal(v, w) {
			changed[k] = true
		}
	}
	for k := range was {
		if _, ok := is[k]; !ok {
			changed[k] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

func (c *Component) fields() (map[string]json.RawMessage, bool) {
	out := map[string]json.RawMessage{}
	if c == nil {
		return out, true
	}
	return out, json.Unmarshal(c.JSON, &out) == nil
}
