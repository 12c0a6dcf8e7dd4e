package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
)

// ComponentsFolder is where the components' YAML files lie in an installation.
const ComponentsFolder = "repository/conf/components"

// Component is the configuration of one component: defaults of its schema, then repository/conf/components/<Name>.yaml, then the
// variables of the server's environment that the schema names with x-env. It is read-only once made.
type Component struct {
	Name string
	// JSON is the object that the component gets, secrets resolved. It must not be printed: Redacted is for that.
	JSON json.RawMessage
	// Redacted is JSON for people: values under x-secret are "***", and placeholders stand as they are written.
	Redacted json.RawMessage
	// Digest is the SHA-256, hexadecimal, of JSON: a new one means a new configuration.
	Digest string
	// Origins say where each value stands, by its JSON Pointer.
	Origins map[string]Origin
	// References change what the component's references ask for, by their names. They are no part of JSON and Digest.
	References map[string]*component.Override
	// Notices are things that the operator should know and that stop nothing.
	Notices []component.Cause
	// Cause says why the component must not be started with this configuration; nil if it may.
	Cause *component.Cause
}

// Component reads the configuration of an installed component. It never fails: what is wrong stands in Cause.
func (c *Config) Component(d *component.Descriptor) *Component {
	out := &Component{Name: d.Name, Origins: map[string]Origin{}}
	out.Cause = component.CauseOf(c.fill(out, d))
	return out
}

func (c *Config) fill(out *Component, d *component.Descriptor) error {
	sch, err := schema.Compile(d.Name+".config", d.Config)
	if err != nil {
		return err
	}
	file := ComponentsFolder + "/" + d.Name + ".yaml"
	doc, err := c.read(file)
	if err != nil {
		return err
	}
	if _, ok := doc.Value.(map[string]any); !ok {
		return schema.ErrValue.New("the file must hold keys and values").At(file, 1, 1)
	}
	if doc, out.References, err = references(doc, d); err != nil {
		return err
	}
	unknown, faults := sch.Unknown(doc)
	for _, f := range faults {
		out.Notices = append(out.Notices, *component.CauseOf(f))
	}
	value := doc.Value
	for _, path := range unknown {
		value = without(value, path)
	}
	w := &walker{config: c, doc: doc, schema: sch, descriptor: d.File, origins: out.Origins, variables: map[string]string{}}
	value = w.environment(value)
	value = sch.Defaults(value)
	written := value
	if value, err = w.walk(value, nil); err != nil {
		return err
	}
	if faults := sch.Check(doc.With(value)); len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = f
		}
		return errors.Join(errs...)
	}
	if out.JSON, err = json.Marshal(value); err != nil {
		return ErrRead.Wrap(err, "the configuration of %s cannot be written as JSON", d.Name)
	}
	if out.Redacted, err = json.Marshal(sch.Redact(written)); err != nil {
		return ErrRead.Wrap(err, "the configuration of %s cannot be written as JSON", d.Name)
	}
	out.Digest = DigestOf(out.JSON)
	return nil
}

func (c *Config) read(file string) (*strictyaml.Document, error) {
	data, err := os.ReadFile(filepath.Join(c.home, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ErrRead.Wrap(err, "the file cannot be read").At(file, 0, 0)
	}
	return strictyaml.Parse(file, data)
}

// without gives value without what stands under path. The argument is not changed.
func without(value any, path []string) any {
	switch v := value.(type) {
	case map[string]any:
		out := maps.Clone(v)
		if len(path) == 1 {
			delete(out, path[0])
		} else {
			out[path[0]] = without(v[path[0]], path[1:])
		}
		return out
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(v) || len(path) == 1 {
			return value
		}
		out := slices.Clone(v)
		out[i] = without(v[i], path[1:])
		return out
	}
	return value
}

// walker resolves placeholders in a value and records where each value stands.
type walker struct {
	config     *Config
	doc        *strictyaml.Document
	schema     *schema.Schema
	descriptor string
	origins    map[string]Origin
	// variables are the values that come from the environment: pointer -> variable.
	variables map[string]string
}

// environment gives value with a placeholder for each variable that the schema names with x-env and the server's environment
// has. The argument is not changed.
func (w *walker) environment(value any) any {
	w.schema.Properties(func(path []string, property map[string]any) {
		name, ok := property["x-env"].(string)
		if !ok {
			return
		}
		if _, ok := w.config.expand.env(name); ok {
			value = with(value, path, "${env:"+name+"}")
			w.variables[strictyaml.Pointer(path...)] = name
		}
	})
	return value
}

// with gives value with x under path; objects on the way are made. The argument is not changed.
func with(value any, path []string, x any) any {
	if len(path) == 0 {
		return x
	}
	have, _ := value.(map[string]any)
	out := maps.Clone(have)
	if out == nil {
		out = map[string]any{}
	}
	out[path[0]] = with(have[path[0]], path[1:], x)
	return out
}

func (w *walker) walk(value any, path []string) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			x, err := w.walk(v[key], append(slices.Clone(path), key))
			if err != nil {
				return nil, err
			}
			out[key] = x
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			x, err := w.walk(x, append(slices.Clone(path), strconv.Itoa(i)))
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	}
	origin := Origin{Layer: LayerDefault, File: w.descriptor}
	if p, ok := w.doc.Exact(path...); ok {
		origin = Origin{LayerFile, w.doc.File, p.Line, p.Column}
	}
	pointer := strictyaml.Pointer(path...)
	if name, ok := w.variables[pointer]; ok {
		origin = Origin{Layer: LayerEnvironment, File: "$" + name}
	}
	w.origins[pointer] = origin
	s, ok := value.(string)
	if !ok {
		return value, nil
	}
	text, found, err := w.config.expand.expand(s)
	if err != nil {
		return nil, located(err, origin)
	}
	if !found {
		return text, nil
	}
	return typed(text, w.schema.Type(path)), nil
}

// located puts a place to an error of a placeholder.
func located(err error, at Origin) error {
	return ErrPlaceholder.Wrap(err, "a value cannot be resolved").At(at.File, at.Line, at.Column)
}

// typed makes a resolved placeholder a number or a boolean where the schema asks for one: text is all that an environment or a
// file can hold.
func typed(text, want string) any {
	switch want {
	case "integer", "number":
		if _, err := strconv.ParseFloat(text, 64); err == nil && json.Valid([]byte(text)) {
			return json.Number(text)
		}
	case "boolean":
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	}
	return text
}
