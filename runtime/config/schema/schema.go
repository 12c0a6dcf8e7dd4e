// Package schema checks YAML documents against JSON Schemas, and says in which line a document is wrong. It fills in
// defaults and hides secrets by the same schema. It must not know whose schema it is.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/sdk/cause"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// The kinds of error of this package.
var (
	ErrSchema = cause.Define("CBN-CFG-002", "A JSON Schema is itself wrong.", "Correct the schema: JSON Schema draft 2020-12, no references to other files.")
	ErrValue  = cause.Define("CBN-CFG-003", "A value is not what its schema asks for.", "Correct the line that is named.")
	ErrKey    = cause.Define("CBN-CFG-004", "A key is unknown.", "Remove it, or correct its spelling.")
)

// Schema is one compiled JSON Schema. It is read-only and safe for concurrent use.
type Schema struct {
	raw      map[string]any
	compiled *jsonschema.Schema
}

// Compile makes a Schema of a JSON object. The name stands in messages. References that leave the document are refused.
func Compile(name string, object []byte) (*Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(object))
	if err != nil {
		return nil, ErrSchema.Wrap(err, "the schema %s is no JSON", name)
	}
	raw, ok := doc.(map[string]any)
	if !ok {
		return nil, ErrSchema.New("the schema %s is no object", name)
	}
	url := "schema:///" + name
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.AssertFormat()
	if err := c.AddResource(url, doc); err != nil {
		return nil, ErrSchema.Wrap(err, "the schema %s cannot be used", name)
	}
	s, err := c.Compile(url)
	if err != nil {
		return nil, ErrSchema.New("the schema %s cannot be used: %s", name, schemaError(err))
	}
	return &Schema{raw: raw, compiled: s}, nil
}

// schemaError shortens what the compiler says of a wrong schema to its leaf.
func schemaError(err error) string {
	var sv *jsonschema.SchemaValidationError
	var ve *jsonschema.ValidationError
	if errors.As(err, &sv) && errors.As(sv.Err, &ve) {
		for len(ve.Causes) > 0 {
			ve = ve.Causes[0]
		}
		return fmt.Sprintf("at %s: %s", dotted(ve.InstanceLocation), ve.ErrorKind.LocalizedString(english))
	}
	return err.Error()
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s: a schema may not refer to another document", url)
}

var english = message.NewPrinter(language.English)

// Check validates a document and gives every fault, in the order of lines. Faults are of kind ErrValue or ErrKey.
func (s *Schema) Check(d *strictyaml.Document) []*cause.Error {
	err := s.compiled.Validate(d.Value)
	var ve *jsonschema.ValidationError
	if !errors.As(err, &ve) {
		if err != nil {
			return []*cause.Error{ErrValue.New("%s", err).At(d.File, 0, 0)}
		}
		return nil
	}
	var out []*cause.Error
	leaves(ve, func(e *jsonschema.ValidationError) { out = append(out, s.faults(d, e)...) })
	slices.SortStableFunc(out, func(a, b *cause.Error) int {
		_, la, ca := a.Position()
		_, lb, cb := b.Position()
		if la != lb {
			return la - lb
		}
		return ca - cb
	})
	return slices.CompactFunc(out, func(a, b *cause.Error) bool { return a.Error() == b.Error() })
}

func leaves(e *jsonschema.ValidationError, visit func(*jsonschema.ValidationError)) {
	if _, name := e.ErrorKind.(*kind.PropertyNames); name || len(e.Causes) == 0 {
		visit(e)
		return
	}
	for _, c := range e.Causes {
		leaves(c, visit)
	}
}

// faults turns one leaf of the library's tree into errors with places and advice.
func (s *Schema) faults(d *strictyaml.Document, e *jsonschema.ValidationError) []*cause.Error {
	path := e.InstanceLocation
	if k, ok := e.ErrorKind.(*kind.PropertyNames); ok {
		// The library overwrites the location of this kind later on: the name and the depth are all that is sure.
		p := d.FindKey(len(path)+1, k.Property)
		return []*cause.Error{ErrKey.New("a key may not be called %q here", k.Property).At(d.File, p.Line, p.Column)}
	}
	at := d.At(path...)
	where := dotted(path)
	if secret, _ := s.subschema(path)["x-secret"].(bool); secret {
		return []*cause.Error{ErrValue.New("%s is a secret that is not as its schema asks for", where).At(d.File, at.Line, at.Column)}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		var out []*cause.Error
		known := propertyNames(s.subschema(path))
		for _, key := range k.Properties {
			p := d.KeyAt(append(slices.Clone(path), key)...)
			f := ErrKey.New("%s has no key %q", where, key).At(d.File, p.Line, p.Column)
			if near := Nearest(key, known); near != "" {
				f.Fix("Did you mean %q?", near)
			} else if len(known) > 0 {
				f.Fix("The keys are %s.", strings.Join(known, ", "))
			}
			out = append(out, f)
		}
		return out
	case *kind.Required:
		f := ErrValue.New("%s needs %s", where, quoted(k.Missing)).At(d.File, at.Line, at.Column)
		return []*cause.Error{f.Fix("Add %s.", quoted(k.Missing))}
	case *kind.Type:
		f := ErrValue.New("%s is %s, but must be %s", where, article(k.Got), article(strings.Join(k.Want, " or "))).At(d.File, at.Line, at.Column)
		if k.Got == "number" && slices.Contains(k.Want, "string") {
			f.Fix("Put the value in quotes.")
		}
		return []*cause.Error{f}
	case *kind.Not:
		return []*cause.Error{ErrValue.New("%s has a value that is reserved", where).At(d.File, at.Line, at.Column)}
	case *kind.Pattern:
		f := ErrValue.New("%s does not have the right form", where).At(d.File, at.Line, at.Column)
		if sub, ok := s.subschema(path)["description"].(string); ok {
			f.Fix("%s", sub)
		} else {
			f.Fix("It must match %s.", k.Want)
		}
		return []*cause.Error{f}
	}
	if k, ok := e.ErrorKind.(*kind.Format); ok {
		return []*cause.Error{ErrValue.New("%s is no valid %s", where, k.Want).At(d.File, at.Line, at.Column)}
	}
	return []*cause.Error{ErrValue.New("%s: %s", where, e.ErrorKind.LocalizedString(english)).At(d.File, at.Line, at.Column)}
}

// subschema follows properties and items along a path; nil where the schema says nothing simple about it.
func (s *Schema) subschema(path []string) map[string]any {
	node := s.deref(s.raw)
	for _, key := range path {
		node = s.deref(child(node, key))
	}
	return node
}

func child(node map[string]any, key string) map[string]any {
	if props, ok := node["properties"].(map[string]any); ok {
		if sub, ok := props[key].(map[string]any); ok {
			return sub
		}
	}
	if sub, ok := node["additionalProperties"].(map[string]any); ok {
		return sub
	}
	if sub, ok := node["items"].(map[string]any); ok {
		return sub
	}
	return nil
}

// deref follows "#/$defs/…" references within the document.
func (s *Schema) deref(node map[string]any) map[string]any {
	for range 16 {
		ref, ok := node["$ref"].(string)
		if !ok || !strings.HasPrefix(ref, "#/") {
			return node
		}
		next := s.raw
		for _, key := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			next, _ = next[key].(map[string]any)
		}
		node = next
	}
	return node
}

// Type is the type that the schema asks for under a path, for example "integer"; empty where it names none, or several.
func (s *Schema) Type(path []string) string {
	t, _ := s.subschema(path)["type"].(string)
	return t
}

func propertyNames(node map[string]any) []string {
	props, _ := node["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(props))
}

// Unknown lists the keys of a document that the schema neither names nor admits in words, with their paths. JSON Schema lets
// them pass; an operator wants to hear of them.
func (s *Schema) Unknown(d *strictyaml.Document) (paths [][]string, faults []*cause.Error) {
	s.walkUnknown(s.raw, d.Value, nil, func(path []string, known []string) {
		p := d.KeyAt(path...)
		key := path[len(path)-1]
		f := ErrKey.New("%s has no key %q; it is not used", dotted(path[:len(path)-1]), key).At(d.File, p.Line, p.Column)
		if near := Nearest(key, known); near != "" {
			f.Fix("Did you mean %q?", near)
		}
		paths = append(paths, slices.Clone(path))
		faults = append(faults, f)
	})
	return paths, faults
}

func (s *Schema) walkUnknown(node map[string]any, v any, path []string, unknown func(path, known []string)) {
	node = s.deref(node)
	switch v := v.(type) {
	case map[string]any:
		props, _ := node["properties"].(map[string]any)
		_, open := node["additionalProperties"]
		_, patterns := node["patternProperties"]
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := append(path, key)
			switch {
			case props[key] != nil:
				s.walkUnknown(child(node, key), v[key], at, unknown)
			case !open && !patterns && (props != nil || len(path) == 0):
				unknown(at, propertyNames(node))
			}
		}
	case []any:
		if items, ok := node["items"].(map[string]any); ok {
			for i, x := range v {
				s.walkUnknown(items, x, append(path, fmt.Sprint(i)), unknown)
			}
		}
	}
}

// Defaults gives value with the schema's defaults where it has nothing. The argument is not changed.
func (s *Schema) Defaults(value any) any { return s.defaults(s.raw, value) }

func (s *Schema) defaults(node map[string]any, value any) any {
	node = s.deref(node)
	switch v := value.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for key, have := range out {
			out[key] = s.defaults(child(node, key), have)
		}
		props, _ := node["properties"].(map[string]any)
		for key := range props {
			sub := s.deref(child(node, key))
			if _, ok := out[key]; ok {
				continue
			} else if def, ok := sub["default"]; ok {
				out[key] = s.defaults(sub, def)
			} else if sub["type"] == "object" {
				if made := s.defaults(sub, map[string]any{}).(map[string]any); len(made) > 0 {
					out[key] = made
				}
			}
		}
		return out
	case []any:
		items, _ := node["items"].(map[string]any)
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = s.defaults(items, x)
		}
		return out
	}
	return value
}

// maxProperties bounds how deep Properties follows a schema that refers to itself.
const maxProperties = 16

// Properties visits what the schema says about each property of the object and of objects in it, by path.
func (s *Schema) Properties(visit func(path []string, property map[string]any)) {
	s.properties(s.raw, nil, visit)
}

func (s *Schema) properties(node map[string]any, path []string, visit func([]string, map[string]any)) {
	node = s.deref(node)
	if len(path) > 0 {
		visit(path, node)
	}
	if len(path) == maxProperties {
		return
	}
	for _, key := range propertyNames(node) {
		s.properties(child(node, key), append(slices.Clone(path), key), visit)
	}
}

// Hidden is what a secret prints as.
const Hidden = "***"

// Redact gives value with everything under "x-secret": true as "***". The argument is not changed.
func (s *Schema) Redact(value any) any { return s.redact(s.raw, value) }

func (s *Schema) redact(node map[string]any, value any) any {
	node = s.deref(node)
	if secret, _ := node["x-secret"].(bool); secret && value != nil {
		return Hidden
	}
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, x := range v {
			out[key] = s.redact(child(node, key), x)
		}
		return out
	case []any:
		items, _ := node["items"].(map[string]any)
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = s.redact(items, x)
		}
		return out
	}
	return value
}

// article puts "a" or "an" before the name of a type.
func article(typ string) string {
	if strings.ContainsRune("aio", rune((typ + " ")[0])) {
		return "an " + typ
	}
	return "a " + typ
}

func dotted(path []string) string {
	if len(path) == 0 {
		return "the file"
	}
	var b strings.Builder
	for i, p := range path {
		switch {
		case p != "" && strings.Trim(p, "0123456789") == "":
			fmt.Fprintf(&b, "[%s]", p)
		case i > 0:
			b.WriteByte('.')
			b.WriteString(p)
		default:
			b.WriteString(p)
		}
	}
	return b.String()
}

func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		b, _ := json.Marshal(n)
		q[i] = string(b)
	}
	return strings.Join(q, ", ")
}
