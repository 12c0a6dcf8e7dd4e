package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// ErrNoKey is the kind of a key that no configuration has.
var ErrNoKey = cause.Define("CBN-CFG-091", "No configuration has that key.", "See `carbonado config explain` for all keys.").Code(codes.NotFound)

// Setting is one value and where it stands.
type Setting struct {
	// Key is the path with dots: Ports.HTTPS of carbon.xml, DataService.fsync of a component.
	Key string
	// Value for people: secrets are Hidden.
	Value any
	From  Origin
}

// hidden are the elements of carbon.xml whose values are secrets.
var hidden = []string{"Password", "KeyPassword"}

// Settings lists the values of carbon.xml that have an effect, by key.
func (s *Server) Settings() []Setting {
	var out []Setting
	add := func(key string, v any, from Origin) {
		if last := key[strings.LastIndex(key, ".")+1:]; slices.Contains(hidden, last) && v != "" {
			v = "***"
		}
		out = append(out, Setting{key, v, from})
	}
	str := func(key string, v Value[string]) { add(key, v.V, v.From) }
	str("Name", s.Name)
	str("ServerKey", s.ServerKey)
	str("HostName", s.HostName)
	str("MgtHostName", s.MgtHostName)
	for _, r := range s.Roles {
		str("ServerRoles.Role", r)
	}
	add("Ports.Offset", s.PortOffset.V, s.PortOffset.From)
	add("Ports.HTTP", s.HTTP.V, s.HTTP.From)
	add("Ports.HTTPS", s.HTTPS.V, s.HTTPS.From)
	for name, st := range map[string]*Store{"KeyStore": &s.KeyStore, "TrustStore": &s.TrustStore} {
		p := "Security." + name + "."
		str(p+"Location", st.Location)
		str(p+"Type", st.Type)
		str(p+"Password", st.Password)
		if name == "KeyStore" {
			str(p+"KeyAlias", st.KeyAlias)
			str(p+"KeyPassword", st.KeyPassword)
		}
	}
	str("Security.TLS.MinimumVersion", s.TLSMinimum)
	add("Axis2Config.DeploymentUpdateInterval", int(s.UpdateInterval.V.Seconds()), s.UpdateInterval.From)
	add("FileUploadConfig.TotalFileSizeLimit", s.UploadLimit.V>>20, s.UploadLimit.From)
	slices.SortStableFunc(out, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// Settings lists the component's values, by key. A configuration that can't be used has none.
func (c *Component) Settings() []Setting {
	var value any
	if c.Cause != nil || json.Unmarshal(c.Redacted, &value) != nil {
		return nil
	}
	var out []Setting
	for _, pointer := range slices.Sorted(maps.Keys(c.Origins)) {
		path := strictyaml.Path(pointer)
		if v, ok := at(value, path); ok {
			out = append(out, Setting{strings.Join(append([]string{c.Name}, path...), "."), v, c.Origins[pointer]})
		}
	}
	return out
}

// Explain gives the settings of a key and of all keys below it; an empty key means all.
func Explain(c *Config, components map[string]*Component, key string) ([]Setting, error) {
	all := append(c.Server.Settings(), c.Telemetry.Settings()...)
	for _, name := range slices.Sorted(maps.Keys(components)) {
		all = append(all, components[name].Settings()...)
	}
	if key == "" {
		return all, nil
	}
	var out []Setting
	for _, x := range all {
		if x.Key == key || strings.HasPrefix(x.Key, key+".") {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		name, _, _ := strings.Cut(key, ".")
		if c := components[name]; c != nil && c.Cause != nil {
			return nil, cause.FromProto(c.Cause.Proto(), codes.FailedPrecondition)
		}
		return nil, ErrNoKey.New("no key %s", key)
	}
	return out, nil
}

// at gives what stands under a path of a JSON value.
func at(value any, path []string) (any, bool) {
	for _, key := range path {
		switch v := value.(type) {
		case map[string]any:
			x, ok := v[key]
			if !ok {
				return nil, false
			}
			value = x
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}
