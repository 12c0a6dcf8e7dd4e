// Package strictyaml reads one YAML document into plain JSON values and remembers where each stands. It refuses what lets a
// file say one thing and mean another: duplicate keys, anchors, aliases, merges, tags. It must not know what the keys mean.
package strictyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"carbonado.dev/sdk/cause"
	"go.yaml.in/yaml/v3"
)

// Limits of a document. Configuration files are small; a larger one is a mistake or an attack.
const (
	MaxBytes = 1 << 20
	MaxDepth = 64
)

// ErrYAML is the kind of a file that is not strict YAML.
var ErrYAML = cause.Define("CBN-CFG-001", "A YAML file cannot be read.", "Correct the line that is named.")

// Pos is a place in a file; line and column count from 1, 0 is unknown.
type Pos struct{ Line, Column int }

// Document is one file read. It is read-only and safe for concurrent use.
type Document struct {
	// File is the name given to Parse, for messages.
	File string
	// Value consists of map[string]any, []any, string, bool, json.Number and nil. An empty file is an empty map.
	Value  any
	values map[string]Pos
	keys   map[string]Pos
}

// Parse reads data as one YAML document. Errors are of kind ErrYAML and name file, line and column.
func Parse(file string, data []byte) (*Document, error) {
	d := &Document{File: file, values: map[string]Pos{}, keys: map[string]Pos{}}
	if len(data) > MaxBytes {
		return nil, ErrYAML.New("the file has %d bytes; the most is %d", len(data), MaxBytes).At(file, 0, 0)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	err := dec.Decode(&root)
	switch {
	case errors.Is(err, io.EOF):
		d.Value = map[string]any{}
		return d, nil
	case err != nil:
		return nil, syntax(file, err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return nil, d.refuse(&second, "a second document begins here; one file holds one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, syntax(file, err)
	}
	v, err := d.read(root.Content[0], nil)
	if err != nil {
		return nil, err
	}
	if v == nil {
		v = map[string]any{}
	}
	d.Value = v
	return d, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax takes the line out of the library's message.
func syntax(file string, err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	text, line := err.Error(), 0
	if m != nil {
		text = strings.TrimPrefix(text, m[0])
		line, _ = strconv.Atoi(m[1])
	}
	return ErrYAML.New("%s", text).At(file, line, 0)
}

func (d *Document) refuse(n *yaml.Node, format string, args ...any) error {
	return ErrYAML.New(format, args...).At(d.File, n.Line, n.Column)
}

func (d *Document) read(n *yaml.Node, path []string) (any, error) {
	p := Pointer(path...)
	d.values[p] = Pos{n.Line, n.Column}
	if len(path) > MaxDepth {
		return nil, d.refuse(n, "values are nested more than %d deep", MaxDepth)
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return nil, d.refuse(n, "anchors and aliases (& and *) are not allowed; write the value out")
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return nil, d.refuse(n, "tags such as %s are not allowed; write the plain value", n.Tag)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.mapping(n, path)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, c := range n.Content {
			v, err := d.read(c, append(path, strconv.Itoa(i)))
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.ScalarNode:
		return d.scalar(n)
	}
	return nil, d.refuse(n, "this is neither a value, a list nor a map")
}

func (d *Document) mapping(n *yaml.Node, path []string) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			return nil, d.refuse(k, "a key must be plain text")
		}
		if k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 {
			return nil, d.refuse(k, "a key must be plain text, without an anchor or a tag")
		}
		at := append(path[:len(path):len(path)], k.Value)
		p := Pointer(at...)
		if first, twice := d.keys[p]; twice {
			return nil, d.refuse(k, "the key %q stands twice; the first is in line %d", k.Value, first.Line)
		}
		d.keys[p] = Pos{k.Line, k.Column}
		x, err := d.read(v, at)
		if err != nil {
			return nil, err
		}
		m[k.Value] = x
	}
	return m, nil
}

func (d *Document) scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value), nil
		}
		if digits := strings.TrimLeft(n.Value, "+-"); len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
			return nil, d.refuse(n, "%s could be read as octal; write it without the zero, or in quotes", n.Value)
		}
		var i int64
		if err := n.Decode(&i); err != nil {
			return nil, d.refuse(n, "%q is no whole number that fits 64 bits", n.Value)
		}
		return json.Number(strconv.FormatInt(i, 10)), nil
	case "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value), nil
		}
		var f float64
		if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, d.refuse(n, "%q is no finite number", n.Value)
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return n.Value, nil
}

// At gives the place of the value under a path of keys and indices; the nearest value above it, if there is none.
func (d *Document) At(path ...string) Pos {
	for {
		if p, ok := d.values[Pointer(path...)]; ok {
			return p
		}
		if len(path) == 0 {
			return Pos{1, 1}
		}
		path = path[:len(path)-1]
	}
}

// Exact gives the place of the value under a path, and whether the document has one there.
func (d *Document) Exact(path ...string) (Pos, bool) {
	p, ok := d.values[Pointer(path...)]
	return p, ok
}

// With gives the document with another value and the same places.
func (d *Document) With(value any) *Document {
	return &Document{File: d.File, Value: value, values: d.values, keys: d.keys}
}

// KeyAt gives the place of the key that a path ends in; the value's place, if it ends in an index.
func (d *Document) KeyAt(path ...string) Pos {
	if p, ok := d.keys[Pointer(path...)]; ok {
		return p
	}
	return d.At(path...)
}

// FindKey gives the place of the first key of a name at a depth: 1 is the outermost.
func (d *Document) FindKey(depth int, name string) Pos {
	var first Pos
	for pointer, at := range d.keys {
		if strings.Count(pointer, "/") != depth || !strings.HasSuffix(pointer, Pointer(name)) {
			continue
		}
		if first.Line == 0 || at.Line < first.Line || at.Line == first.Line && at.Column < first.Column {
			first = at
		}
	}
	return first
}

// Decode puts the value into a Go value by its json tags. Unknown keys are an error: validate the document first.
func (d *Document) Decode(into any) error {
	b, err := json.Marshal(d.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", d.File, err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", d.File, err)
	}
	return nil
}

// escaper writes a key as a JSON Pointer has it (RFC 6901 section 3).
var escaper = strings.NewReplacer("~", "~0", "/", "~1")

// Pointer writes a path as a JSON Pointer (RFC 6901).
func Pointer(path ...string) string {
	var b strings.Builder
	for _, p := range path {
		b.WriteByte('/')
		b.WriteString(escaper.Replace(p))
	}
	return b.String()
}

// Path reads a JSON Pointer that Pointer wrote.
func Path(pointer string) []string {
	if pointer == "" {
		return nil
	}
	path := strings.Split(pointer[1:], "/")
	for i, p := range path {
		path[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return path
}
